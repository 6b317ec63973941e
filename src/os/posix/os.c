// The operating system contract (os.h) for the native build: mmap, held to the rules of Windows'
// VirtualAlloc.
//
//   reservation   what one os_reserve* call returned: starts at a multiple of 64 KiB, released only as a
//   whole committed     a page that may be touched; every other page of a reservation faults (PROT_NONE)
//
// A table of the reservations, each with a bit per page, answers what VirtualAlloc would refuse: a commit
// across two reservations, a release of a part, a reset of pages that aren't committed. The table allocates
// by mmap only, since malloc may be us.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/os.h"
#include "os_posix.h"
#include "base/atomics.h"
#include "base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define MAP_PLAIN (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

// ---- start-up -------------------------------------------------------------------------------------------

static size_t page_size;
static size_t processor_count;
static uint64_t start_ms;

static uint64_t clock_ms(clockid_t clock) {
  struct timespec now;
  if (clock_gettime(clock, &now) != 0) return 0;
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void os_init(void) {
  if (atomic_get_acquire(&page_size) != 0) return;
  cpu_set_t processors;
  CPU_ZERO(&processors);
  int count = sched_getaffinity(0, sizeof(processors), &processors) == 0 ? CPU_COUNT(&processors) : 1;
  atomic_set_relaxed(&processor_count, (size_t)(count > 0 ? count : 1));
  atomic_set_relaxed(&start_ms, clock_ms(CLOCK_MONOTONIC));
  atomic_set_release(&page_size, (size_t)sysconf(_SC_PAGESIZE)); // last: it says that the others are set
}

size_t os_page_size(void) { return atomic_get_relaxed(&page_size); }
size_t os_processor_count(void) { return atomic_get_relaxed(&processor_count); }
size_t os_mapping_limit(void) { return 65530; } // vm.max_map_count

// ---- the table of reservations --------------------------------------------------------------------------

typedef struct reservation_s {
  uintptr_t base;
  size_t size;         // bytes, as asked for
  uint64_t* committed; // a bit per page, in a mapping of its own
} reservation_t;

static os_lock_t table_lock;
static reservation_t* table; // sorted by base
static size_t table_count;
static size_t table_capacity;
static size_t reserved_bytes, committed_bytes, committed_peak;

static size_t bitmap_size(size_t size) {
  return bits_align_up(bits_divide_up(size / os_page_size(), 8), os_page_size());
}

// Index of the first reservation with a base above `address`.
static size_t table_upper(uintptr_t address) {
  size_t low = 0, high = table_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (table[middle].base <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The reservation that holds all of start..start+size, or NULL; start and size must be multiples of the page
// size.
static reservation_t* table_find_locked(const void* start, size_t size) {
  uintptr_t address = (uintptr_t)start;
  if (size == 0 || ((address | size) & (os_page_size() - 1)) != 0) return NULL;
  size_t index = table_upper(address);
  if (index == 0) return NULL;
  reservation_t* found = &table[index - 1];
  size_t offset = address - found->base;
  return offset < found->size && size <= found->size - offset ? found : NULL;
}

static bool table_grow_locked(void) {
  if (table_count < table_capacity) return true;
  size_t capacity = table_capacity == 0 ? os_page_size() / sizeof(reservation_t) : table_capacity * 2;
  void* grown = mmap(NULL, capacity * sizeof(reservation_t), PROT_READ | PROT_WRITE, MAP_PLAIN, -1, 0);
  if (grown == MAP_FAILED) return false;
  if (table != NULL) {
    memcpy(grown, table, table_count * sizeof(reservation_t));
    munmap(table, table_capacity * sizeof(reservation_t));
  }
  table = grown;
  table_capacity = capacity;
  return true;
}

// Sets (or clears) the bits of start..start+size and keeps the sum of committed bytes.
static void mark_locked(reservation_t* reservation, const void* start, size_t size, bool committed) {
  size_t first = ((uintptr_t)start - reservation->base) / os_page_size();
  size_t last = first + size / os_page_size(); // exclusive
  size_t changed = 0;
  while (first < last) {
    size_t bit = first % 64, count = last - first < 64 - bit ? last - first : 64 - bit;
    uint64_t* word = &reservation->committed[first / 64];
    uint64_t mask = bits_mask(bit, count), before = *word;
    uint64_t after = committed ? before | mask : before & ~mask;
    if (after != before) { // an untouched word of the bitmap stays untouched: it costs no memory
      *word = after;
      changed += bits_count(before ^ after);
    }
    first += count;
  }
  if (committed) {
    committed_bytes += changed * os_page_size();
    if (committed_bytes > committed_peak) committed_peak = committed_bytes;
  } else {
    committed_bytes -= changed * os_page_size();
  }
}

static bool all_committed_locked(const reservation_t* reservation, const void* start, size_t size) {
  size_t first = ((uintptr_t)start - reservation->base) / os_page_size();
  size_t last = first + size / os_page_size();
  while (first < last) {
    size_t bit = first % 64, count = last - first < 64 - bit ? last - first : 64 - bit;
    uint64_t mask = bits_mask(bit, count);
    if ((reservation->committed[first / 64] & mask) != mask) return false;
    first += count;
  }
  return true;
}

static bool table_insert(void* base, size_t size, bool committed) {
  void* bitmap = mmap(NULL, bitmap_size(size), PROT_READ | PROT_WRITE, MAP_PLAIN, -1, 0);
  if (bitmap == MAP_FAILED) return false;
  os_lock_acquire(&table_lock);
  bool ok = table_grow_locked();
  if (ok) {
    size_t index = table_upper((uintptr_t)base);
    memmove(&table[index + 1], &table[index], (table_count - index) * sizeof(reservation_t));
    table[index] = (reservation_t){.base = (uintptr_t)base, .size = size, .committed = bitmap};
    table_count++;
    reserved_bytes += size;
    if (committed) mark_locked(&table[index], base, size, true);
  }
  os_lock_release(&table_lock);
  if (!ok) munmap(bitmap, bitmap_size(size));
  return ok;
}

os_posix_balance_t os_posix_balance(void) {
  os_lock_acquire(&table_lock);
  os_posix_balance_t balance = {
      .reservations = table_count, .reserved = reserved_bytes, .committed = committed_bytes};
  os_lock_release(&table_lock);
  return balance;
}

bool os_posix_is_committed(const void* start, size_t size) {
  uintptr_t first = bits_align_down((uintptr_t)start, os_page_size());
  uintptr_t end = bits_align_up((uintptr_t)start + size, os_page_size());
  os_lock_acquire(&table_lock);
  const reservation_t* found = table_find_locked((void*)first, end - first);
  bool committed = found != NULL && all_committed_locked(found, (void*)first, end - first);
  os_lock_release(&table_lock);
  return committed;
}

// ---- memory ---------------------------------------------------------------------------------------------

// The tail of the last 64 KiB of a reservation is not usable, as on Windows: nothing can be reserved there,
// because addresses given to os_reserve_at must be multiples of the granularity.
static void* map_aligned(size_t size, int protection) {
  void* p = mmap(NULL, size, protection, MAP_PLAIN, -1, 0);
  if (p == MAP_FAILED) return NULL;
  if (bits_is_aligned(p, OS_GRANULARITY)) return p;
  munmap(p, size);
  size_t padded;
  if (__builtin_add_overflow(size, OS_GRANULARITY, &padded)) return NULL;
  p = mmap(NULL, padded, protection, MAP_PLAIN, -1, 0);
  if (p == MAP_FAILED) return NULL;
  uintptr_t start = (uintptr_t)p, base = bits_align_up(start, OS_GRANULARITY);
  if (base > start) munmap(p, base - start);
  size_t tail = start + padded - (base + size);
  if (tail > 0) munmap((void*)(base + size), tail);
  return (void*)base;
}

static bool is_page_multiple(size_t size) { return size != 0 && (size & (os_page_size() - 1)) == 0; }

static void* reserve(size_t size, int protection) {
  if (!is_page_multiple(size)) return NULL;
  void* p = map_aligned(size, protection);
  if (p == NULL) return NULL;
  if (table_insert(p, size, protection != PROT_NONE)) return p;
  munmap(p, size);
  return NULL;
}

void* os_reserve(size_t size) { return reserve(size, PROT_NONE); }
void* os_reserve_and_commit(size_t size) { return reserve(size, PROT_READ | PROT_WRITE); }

void* os_reserve_at(void* address, size_t size) {
  if (address == NULL || !bits_is_aligned(address, OS_GRANULARITY) || !is_page_multiple(size)) return NULL;
#if defined(__SANITIZE_THREAD__)
  return NULL; // ThreadSanitizer ends the process at addresses that it has no shadow for
#endif
  void* p = mmap(address, size, PROT_NONE, MAP_PLAIN | MAP_FIXED_NOREPLACE, -1, 0);
  if (p == MAP_FAILED) return NULL;
  if (p == address && table_insert(p, size, false)) return p;
  munmap(p, size); // a kernel before 4.17 takes the address for a hint
  return NULL;
}

bool os_commit(void* start, size_t size) {
  os_lock_acquire(&table_lock);
  reservation_t* found = table_find_locked(start, size);
  bool ok = found != NULL && mprotect(start, size, PROT_READ | PROT_WRITE) == 0;
  if (ok) mark_locked(found, start, size, true);
  os_lock_release(&table_lock);
  return ok;
}

bool os_wait_for_memory(uint32_t ms) {
  MI_UNUSED(ms);
  return false;
}

bool os_decommit(void* start, size_t size) {
  os_lock_acquire(&table_lock);
  reservation_t* found = table_find_locked(start, size);
  // A fresh mapping over the old one drops the contents and the access at once.
  bool ok = found != NULL && mmap(start, size, PROT_NONE, MAP_PLAIN | MAP_FIXED, -1, 0) != MAP_FAILED;
  if (ok) mark_locked(found, start, size, false);
  os_lock_release(&table_lock);
  return ok;
}

bool os_reset(void* start, size_t size) {
  os_lock_acquire(&table_lock);
  reservation_t* found = table_find_locked(start, size);
  bool ok =
      found != NULL && all_committed_locked(found, start, size) && madvise(start, size, MADV_DONTNEED) == 0;
  if (ok && MI_DEBUG) {
    // Windows may keep the contents: who relies on zeros after a reset must fail here as well.
    memset(start, 0xD7, 16);
    memset((char*)start + size - 16, 0xD7, 16);
  }
  os_lock_release(&table_lock);
  return ok;
}

bool os_protect(void* start, size_t size, bool accessible) {
  return mprotect(start, size, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0;
}

// Large pages would have to be set aside by the administrator; the native build is for tests.
void* os_reserve_large(size_t size, int numa_node) {
  MI_UNUSED(size);
  MI_UNUSED(numa_node);
  return NULL;
}

bool os_release(void* base, size_t size) {
  os_lock_acquire(&table_lock);
  reservation_t* found = table_find_locked(base, size);
  bool ok = found != NULL && found->base == (uintptr_t)base && found->size == size;
  if (ok) {
    // Under the lock: once unmapped, another thread may be given the same address and insert it.
    mark_locked(found, base, size, false);
    munmap(found->committed, bitmap_size(size));
    munmap(base, size);
    size_t index = (size_t)(found - table);
    memmove(found, found + 1, (table_count - index - 1) * sizeof(reservation_t));
    table_count--;
    reserved_bytes -= size;
  }
  os_lock_release(&table_lock);
  return ok;
}

// ---- time and environment -------------------------------------------------------------------------------

uint32_t os_clock_ms(void) { return (uint32_t)clock_ms(CLOCK_MONOTONIC_COARSE); }

bool os_environment(const char* name, char* value, size_t capacity) {
  const char* found = getenv(name);
  if (found == NULL) return false;
  size_t length = strlen(found);
  if (length >= capacity) return false;
  memcpy(value, found, length + 1);
  return true;
}

// One character of UTF-8 text, moved on over; U+FFFD for what is none.
static uint32_t utf8_next(const unsigned char** text) {
  const unsigned char* s = *text;
  size_t follow = s[0] < 0x80 ? 0 : s[0] < 0xC2 ? 9 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : s[0] < 0xF5 ? 3 : 9;
  uint32_t code = follow == 0 ? s[0] : s[0] & (0x3Fu >> follow);
  for (size_t i = 1; i <= follow; i++) {
    if (follow == 9 || (s[i] & 0xC0) != 0x80) {
      *text = s + 1;
      return 0xFFFD;
    }
    code = code << 6 | (s[i] & 0x3Fu);
  }
  *text = s + follow + 1;
  return code;
}

// The environment is UTF-8 here, wchar_t holds a whole character. Names of plain ASCII only: no program has
// others.
bool os_environment_wide(const wchar_t* name, wchar_t* value, size_t capacity) {
  char narrow[256];
  size_t length = 0;
  for (; name[length] != 0; length++) {
    if ((uint32_t)name[length] >= 0x80 || length + 1 >= sizeof(narrow)) return false;
    narrow[length] = (char)name[length];
  }
  narrow[length] = 0;
  const unsigned char* text = (const unsigned char*)getenv(narrow);
  if (text == NULL) return false;
  size_t count = 0;
  while (*text != 0) {
    if (count + 1 >= capacity) return false;
    value[count++] = (wchar_t)utf8_next(&text);
  }
  if (count >= capacity) return false;
  value[count] = 0;
  return true;
}

void os_write_error(const char* text, size_t length) {
  int saved = errno;
  while (length > 0) {
    ssize_t written = write(STDERR_FILENO, text, length);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    text += written;
    length -= (size_t)written;
  }
  errno = saved;
}

static uint64_t timeval_ms(struct timeval t) {
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_usec / 1000;
}

// The second number of /proc/self/statm: resident pages.
static size_t resident_pages(void) {
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[128];
  ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  if (length <= 0) return 0;
  text[length] = 0;
  const char* second = strchr(text, ' ');
  return second == NULL ? 0 : (size_t)strtoull(second, NULL, 10);
}

void os_process_usage(os_process_usage_t* usage) {
  struct rusage resources;
  memset(usage, 0, sizeof(*usage));
  usage->elapsed_ms = clock_ms(CLOCK_MONOTONIC) - atomic_get_relaxed(&start_ms);
  if (getrusage(RUSAGE_SELF, &resources) == 0) {
    usage->user_ms = timeval_ms(resources.ru_utime);
    usage->system_ms = timeval_ms(resources.ru_stime);
    usage->peak_rss = (size_t)resources.ru_maxrss * MI_KIB;
    usage->page_faults = (size_t)resources.ru_majflt;
  }
  usage->current_rss = resident_pages() * os_page_size();
  os_lock_acquire(&table_lock);
  usage->current_commit = committed_bytes; // our own: the kernel keeps no count per process
  usage->peak_commit = committed_peak;
  os_lock_release(&table_lock);
}

size_t os_path_max(void) { return PATH_MAX; }

size_t os_full_path(const char* name, char* path, size_t capacity) {
  char full[PATH_MAX];
  if (realpath(name, full) == NULL) return 0;
  size_t length = strlen(full);
  if (length >= capacity) return 0;
  memcpy(path, full, length + 1);
  return length;
}

MI_NORETURN void os_abort(void) { abort(); }

void os_set_errno(int code) { errno = code; }

// ---- threads --------------------------------------------------------------------------------------------

static __thread uint32_t thread_id __attribute__((tls_model("local-exec")));

uint32_t os_thread_id(void) {
  if (MI_UNLIKELY(thread_id == 0)) thread_id = (uint32_t)syscall(SYS_gettid);
  return thread_id;
}

static bool exiting;

void os_posix_set_exiting(bool now) { atomic_set_release(&exiting, now); }

bool os_thread_is_dead(uint32_t id) {
  int saved = errno;
  bool is_dead = syscall(SYS_tgkill, getpid(), (pid_t)id, 0) != 0 && errno == ESRCH;
  errno = saved;
  return is_dead;
}

void* os_stack_base(void) { return (void*)UINTPTR_MAX; }

bool os_is_exiting(void) { return atomic_get_acquire(&exiting); }

void os_yield(void) { sched_yield(); }

bool os_lock_try(os_lock_t* lock) {
  uint32_t open = 0;
  return atomic_cas_acq_rel(&lock->owner, &open, os_thread_id());
}

// Is the holder dead, so that the lock is the caller's to take?
static bool take_over(os_lock_t* lock, uint32_t holder) {
  return holder != 0 && (os_is_exiting() || os_thread_is_dead(holder)) &&
         atomic_cas_acq_rel(&lock->owner, &holder, os_thread_id());
}

bool os_lock_acquire(os_lock_t* lock) {
  for (unsigned tries = 0; !os_lock_try(lock); tries++) {
    uint32_t holder = atomic_get_relaxed(&lock->owner);
    if (MI_DEBUG && holder == os_thread_id()) {
      static const char text[] = "mimalloc: error: a thread takes a lock that it holds already\n";
      os_write_error(text, sizeof(text) - 1);
      os_abort();
    }
    if (tries < 64) {
      atomic_pause();
    } else {
      if (tries % 64 == 0 && take_over(lock, holder)) return true;
      os_yield();
    }
  }
  return false;
}

void os_lock_release(os_lock_t* lock) { atomic_set_release(&lock->owner, 0); }

// ---- the per-thread slot --------------------------------------------------------------------------------

__thread void* os_slot_value __attribute__((tls_model("local-exec")));

bool os_slot_init(void) { return true; }
void os_slot_free(void) {}
