// Sequences of calls of the public functions, by several threads, with calls of the operating system that
// fail now and then, against a shadow: contents, alignment, zeros, sizes, no two blocks in the same place.
//
// An input is a header of 4 bytes and a list of calls of 4 bytes each. Up to 64 calls are a round: in it each
// thread makes those of its slots. Then the slots go on to the next thread, which so resizes and frees other
// threads' blocks. All but the first thread end with the round; what they leave belongs to threads that are
// gone.
#include "fuzz.h"
#include "support/os_faults.h"
#include "support/test_data.h"
#include "support/test_thread.h"

#include <mimalloc.h>

enum { SLOTS = 48, EXCHANGED = 16, RECORDS = SLOTS + EXCHANGED, THREADS_MAX = 4, ROUND = 64, CALL_SIZE = 4 };
enum { SIZE_CHECKED = 256 * 1024 }; // of larger blocks, both ends

typedef struct record_s { // a block, or none
  char* p;
  size_t size;
  uint64_t tag;
  bool is_zeroed; // born zeroed: may be resized by the functions that keep that
} record_t;

static record_t records[RECORDS];
static unsigned
    owner_of[RECORDS]; // slot, or place for exchange: the record that is there; swapped atomically
static uint64_t tags;
static bool may_fail;

static void fail(const char* what, const record_t* record, size_t detail) {
  fprintf(stderr, "fuzz_api: %s: block %p of %zu bytes, %zu\n", what, (void*)record->p, record->size, detail);
  abort();
}

static void on_output(const char* text, void* arg) {
  (void)arg;
  // Nothing here is misused.
  if (strstr(text, "double free") != NULL || strstr(text, "invalid pointer") != NULL ||
      strstr(text, "corrupt") != NULL) {
    fputs(text, stderr);
    abort();
  }
}

static size_t checked_size(const record_t* record) {
  return record->size < SIZE_CHECKED ? record->size : SIZE_CHECKED / 2;
}

static void fill(record_t* record) {
  record->tag = __atomic_add_fetch(&tags, 1, __ATOMIC_RELAXED);
  pattern_fill_sampled(record->p, checked_size(record), record->tag);
  if (record->size >= SIZE_CHECKED) pattern_fill(record->p + record->size - 64, 64, record->tag);
}

static void check(const record_t* record) {
  if (record->p == NULL) return;
  size_t wrong = pattern_mismatch_sampled(record->p, checked_size(record), record->tag);
  if (wrong == SIZE_MAX && record->size >= SIZE_CHECKED &&
      pattern_mismatch(record->p + record->size - 64, 64, record->tag) != SIZE_MAX)
    wrong = record->size - 64;
  if (wrong != SIZE_MAX) fail("contents are lost", record, wrong);
  if (mi_usable_size(record->p) < record->size)
    fail("usable size is too small", record, mi_usable_size(record->p));
}

static void check_zero(const record_t* record, size_t from) {
  size_t end = mi_usable_size(record->p);
  if (end > SIZE_CHECKED) end = SIZE_CHECKED;
  if (end <= from) return;
  size_t wrong = pattern_nonzero(record->p + from, end - from);
  if (wrong != SIZE_MAX) fail("not zero", record, from + wrong);
}

static void store(record_t* record, void* p, size_t size, size_t alignment, size_t offset, bool is_zeroed) {
  if (p == NULL) {
    if (!may_fail) fail("no memory", record, size);
    return;
  }
  *record = (record_t){.p = p, .size = size, .is_zeroed = is_zeroed};
  if (((uintptr_t)p + offset) % alignment != 0) fail("not aligned", record, alignment);
  if (is_zeroed) check_zero(record, 0);
  fill(record);
}

static void release(record_t* record, unsigned how) {
  check(record);
  if (how % 3 == 1)
    mi_free_size(record->p, record->size);
  else if (how % 3 == 2)
    mi_cfree(record->p);
  else
    mi_free(record->p);
  record->p = NULL;
}

// Two bytes of the input: a quarter each to 128 bytes, to 4 KiB, to 256 KiB, to 3 MiB.
static size_t size_of(const uint8_t* call) {
  size_t value = call[2] | (size_t)call[3] << 8, scale = value & 3;
  value >>= 2;
  return scale == 0 ? value & 127 : scale == 1 ? value & 4095 : scale == 2 ? value << 4 : value * 192;
}

enum {
  FREE,
  MALLOC,
  CALLOC,
  ALIGNED,
  ZALIGNED,
  ALIGNED_AT,
  REALLOC,
  REALLOC_ALIGNED,
  RECALLOC,
  EXPAND,
  EXCHANGE,
  STRNDUP,
  COLLECT,
  COLLECT_ALL,
  MALLOC_AGAIN,
  FREE_AGAIN,
  CALLS
};

static void resize(record_t* record, size_t size, unsigned function, unsigned how) {
  check(record);
  record_t before = *record;
  size_t alignment = function == REALLOC_ALIGNED ? (size_t)1 << how % 21 : 1;
  bool is_zeroed = function == RECALLOC && before.is_zeroed;
  void* p = function == REALLOC_ALIGNED ? mi_realloc_aligned(before.p, size, alignment)
            : is_zeroed                 ? mi_recalloc(before.p, 1, size)
                                        : mi_realloc(before.p, size);
  if (p == NULL) {
    if (!may_fail) fail("no memory to resize", record, size);
    check(record); // still there
    return;
  }
  *record = (record_t){.p = p, .size = size, .tag = before.tag, .is_zeroed = is_zeroed};
  if ((uintptr_t)p % alignment != 0) fail("not aligned", record, alignment);
  size_t kept = before.size < size ? before.size : size;
  if (kept > 64) kept = 64; // the sampled pattern is whole there
  size_t wrong = pattern_mismatch(p, kept, before.tag);
  if (wrong != SIZE_MAX) fail("resizing lost contents", record, wrong);
  if (is_zeroed) check_zero(record, before.size < size ? before.size : size);
  fill(record);
}

static void call(const uint8_t* bytes, unsigned slot) {
  record_t* record = &records[__atomic_load_n(&owner_of[slot], __ATOMIC_ACQUIRE)];
  unsigned function = bytes[0] % CALLS, how = bytes[0] / CALLS;
  size_t size = size_of(bytes), alignment = (size_t)1 << (bytes[2] ^ bytes[3]) % 21;
  bool is_used = record->p != NULL;
  switch (function) {
  case EXCHANGE: {
    unsigned mine = __atomic_load_n(&owner_of[slot], __ATOMIC_ACQUIRE);
    unsigned other = __atomic_exchange_n(&owner_of[SLOTS + bytes[2] % EXCHANGED], mine, __ATOMIC_ACQ_REL);
    __atomic_store_n(&owner_of[slot], other, __ATOMIC_RELEASE);
    check(&records[other]);
    return;
  }
  case COLLECT:
    mi_collect(false);
    return;
  case COLLECT_ALL:
    if (how % 4 == 0) mi_collect(true);
    return;
  case REALLOC:
  case REALLOC_ALIGNED:
  case RECALLOC:
    if (is_used)
      resize(record, size, function, bytes[2] + how);
    else
      store(record, mi_realloc(NULL, size), size, 1, 0, false);
    return;
  case EXPAND:
    if (is_used) {
      void* p = mi_expand(record->p, size);
      if (p != NULL && p != record->p) fail("expand moved", record, size);
      if (p != NULL && size > mi_usable_size(p)) fail("expand granted too much", record, size);
    }
    return;
  default:
    break;
  }
  if (is_used) release(record, how);
  switch (function) {
  case MALLOC:
  case MALLOC_AGAIN:
    store(record, mi_malloc(size), size, size > 8 ? 16 : 1, 0, false);
    break;
  case CALLOC:
    store(record, how % 2 == 0 ? mi_calloc(size, 1) : mi_zalloc(size), size, 1, 0, true);
    break;
  case ALIGNED:
    store(record, mi_malloc_aligned(size, alignment), size, alignment, 0, false);
    break;
  case ZALIGNED:
    store(record, mi_zalloc_aligned(size, alignment), size, alignment, 0, true);
    break;
  case ALIGNED_AT:
    if (how % 2 == 0)
      store(record, mi_malloc_aligned_at(size, alignment, bytes[2]), size, alignment, bytes[2], false);
    else
      store(record, mi_zalloc_aligned_at(size, alignment, bytes[2]), size, alignment, bytes[2], true);
    break;
  case STRNDUP: {
    static const char text[] = "some text that is copied";
    size_t length = size % sizeof(text);
    char* copy = mi_strndup(text, length);
    if (copy == NULL && !may_fail) fail("no memory for a text", record, length);
    if (copy != NULL && (memcmp(copy, text, length) != 0 || copy[length] != 0))
      fail("text is wrong", record, length);
    store(record, copy, length + 1, 1, 0, false);
    break;
  }
  }
}

typedef struct worker_s {
  test_thread_t thread;
  const uint8_t* calls;
  size_t count;
  unsigned index, threads, round;
} worker_t;

static void work(void* arg) {
  worker_t* worker = arg;
  for (size_t i = 0; i < worker->count; i++) {
    const uint8_t* bytes = worker->calls + i * CALL_SIZE;
    unsigned slot = bytes[1] % SLOTS;
    if ((slot + worker->round) % worker->threads == worker->index) call(bytes, slot);
  }
}

static int by_address(const void* a, const void* b) {
  uintptr_t x = (uintptr_t)(*(record_t*const*)a)->p, y = (uintptr_t)(*(record_t*const*)b)->p;
  return x < y ? -1 : x > y;
}

static void check_all(void) {
  record_t* sorted[RECORDS];
  for (unsigned i = 0; i < RECORDS; i++) {
    check(&records[i]);
    sorted[i] = &records[i];
  }
  qsort(sorted, RECORDS, sizeof(sorted[0]), by_address);
  for (unsigned i = 1; i < RECORDS; i++) {
    record_t *a = sorted[i - 1], *b = sorted[i];
    if (a->p != NULL && (a->p == b->p || a->p + a->size > b->p))
      fail("overlaps the next block", a, (size_t)(b->p - a->p));
  }
}

static void set_up(const uint8_t* header) {
  static bool is_ready;
  static const long delays[] = {1000, 0, -1, 10};
  if (!is_ready) {
    is_ready = true;
    mi_register_output(on_output, NULL);
    mi_option_enable(mi_option_show_errors);
    mi_option_set(mi_option_max_errors, -1);
    for (unsigned i = 0; i < RECORDS; i++) owner_of[i] = i;
  }
  mi_option_set(mi_option_purge_delay, delays[header[0] >> 2 & 3]);
  mi_option_set_enabled(mi_option_purge_decommits, (header[0] & 16) != 0);
  mi_option_set(mi_option_generic_collect, (header[0] & 32) != 0 ? 100 : 10000);
  unsigned kind = header[1] % (OS_CALL_KINDS + 2);
  may_fail = kind <= OS_CALL_ANY;
  if (may_fail) os_faults_fail_at_random((os_call_t)kind, 1 + header[2] % 16, header[3]);
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  set_up(data);
  unsigned threads = 1 + data[0] % THREADS_MAX;
  static worker_t workers[THREADS_MAX];
  size_t calls = (size - 4) / CALL_SIZE;
  unsigned round = 0;
  for (size_t done = 0; done < calls; round++) {
    size_t count = calls - done < ROUND ? calls - done : ROUND;
    for (unsigned i = 0; i < threads; i++) {
      workers[i].calls = data + 4 + done * CALL_SIZE;
      workers[i].count = count;
      workers[i].index = i;
      workers[i].threads = threads;
      workers[i].round = round;
      if (i > 0) test_thread_start(&workers[i].thread, work, &workers[i]);
    }
    work(&workers[0]);
    for (unsigned i = 1; i < threads; i++) test_thread_join(&workers[i].thread);
    check_all();
    done += count;
  }
  os_faults_none();
  may_fail = false;
  for (unsigned i = 0; i < RECORDS; i++) {
    if (records[i].p != NULL) release(&records[i], i);
  }
  if ((data[0] & 64) != 0) mi_collect(true);
  return 0;
}
