#include "interleave/world.h"

#include "api/alloc_fast.h"
#include "core/arenas/arena_slices.h"
#include "core/memory/bitmap.h"
#include "core/heaps/theap_pages.h"

#include <string.h>

enum { BLOCKS = 256 };

typedef struct watched_s {
  uint8_t* p; // NULL: not in use
  size_t size;
} watched_t;

static watched_t blocks[BLOCKS];
static int block_count;

// ---- threads ----------------------------------------------------------------------------------------------

static void on_decommit(const void* start, size_t size) {
  for (int i = 0; i < block_count; i++)
    if (blocks[i].p != NULL && blocks[i].p < (const uint8_t*)start + size &&
        blocks[i].p + blocks[i].size > (const uint8_t*)start)
      schedule_fail("the memory of block %d is decommitted", i);
}

void world_begin(unsigned last) {
  options_init();
  option_set(option_arena_reserve, 16 * 1024);
  option_set(option_page_commit_on_demand, 1);
  option_set(option_purge_delay, -1);
  model_on_decommit = on_decommit;
  for (unsigned i = A; i <= last; i++) {
    schedule_as(i);
    world_start_thread();
  }
  schedule_as(0);
}

thread_t* world_self(void) {
  theap_t* theap = theap_current();
  return theap == NULL ? NULL : theap->thread;
}

void world_start_thread(void) {
  thread_t* thread = thread_acquire(subproc_main());
  if (thread == NULL) schedule_fail("no record for a thread");
  os_slot_set(thread->main);
  thread_reap_some(thread);
}

void world_end_thread(void) {
  thread_t* self = world_self();
  os_slot_set(OS_SLOT_DETACHED);
  thread_give_back(self);
}

// ---- blocks -----------------------------------------------------------------------------------------------

static uint64_t tag_of(int block) { return 0x1234567800000000u + (uint64_t)block; }

static int watch(uint8_t* p, size_t size, bool is_zero) {
  if (p == NULL) schedule_fail("out of memory");
  if (block_count == BLOCKS) schedule_fail("more than %d blocks", BLOCKS);
  for (int i = 0; i < block_count; i++)
    if (blocks[i].p != NULL && p < blocks[i].p + blocks[i].size && p + size > blocks[i].p)
      schedule_fail("%p (%zu bytes) is handed out while block %d has it", (void*)p, size, i);
  if (!model_is_committed(p, size)) schedule_fail("there is no memory behind %p (%zu bytes)", (void*)p, size);
  size_t step =
      size <= SLICE_SIZE ? sizeof(uint64_t) : SLICE_SIZE; // what is read once is looked at after each run
  if (is_zero)
    for (size_t i = 0; i < size; i += step)
      if (*(uint64_t*)(p + i) != 0) schedule_fail("%p is said to be zero and isn't, at %zu", (void*)p, i);
  int block = block_count++;
  uint64_t tag = tag_of(block);
  blocks[block] = (watched_t){p, size};
  memcpy(p, &tag, sizeof(tag));
  memcpy(p + size - sizeof(tag), &tag, sizeof(tag));
  return block;
}

int world_take_in(heap_t* heap, size_t size) {
  bool is_zero = false;
  theap_t* theap = heap == NULL ? theap_current() : thread_theap(world_self(), heap);
  uint8_t* p = (uint8_t*)block_malloc_fast(theap, size);
  if (p == NULL) p = (uint8_t*)theap_allocate(theap, size, &is_zero);
  return watch(p, size, is_zero);
}

int world_take(size_t size) { return world_take_in(NULL, size); }

void* world_address(int block) { return blocks[block].p; }
page_t* world_page(int block) { return page_map_page(blocks[block].p); }

void world_check(int block) {
  uint64_t tag = tag_of(block);
  const watched_t* at = &blocks[block];
  if (memcmp(at->p, &tag, sizeof(tag)) != 0 || memcmp(at->p + at->size - sizeof(tag), &tag, sizeof(tag)) != 0)
    schedule_fail("block %d was written to", block);
}

void world_forget(int block) { blocks[block].p = NULL; }

static void free_by(theap_t* theap, int block) {
  uint8_t* p = blocks[block].p;
  if (p == NULL) schedule_fail("block %d is freed a second time by the scenario", block);
  world_check(block);
  world_forget(block);
  if (theap != NULL && block_free_fast(p)) return;
  if (theap_free(theap, p) != FREE_DONE) schedule_fail("block %d is not known any more", block);
}

void world_free(int block) { free_by(theap_current(), block); }
void world_free_by_nobody(int block) { free_by(NULL, block); }

int world_fill_page(size_t size, unsigned room) {
  int first = world_take(size);
  page_t* page = world_page(first);
  while (page_used(page) + room < page->reserved) world_take(size);
  return first;
}

int world_begin_with_free(size_t size, unsigned owner, unsigned freer) {
  world_begin(C);
  option_set(option_purge_delay, 1000);
  schedule_as(owner);
  int first = world_fill_page(size, 1);
  schedule_as(freer);
  for (int i = 2; i < 7; i++) world_free(first + i);
  schedule_as(0);
  return first;
}

// ---- the end ----------------------------------------------------------------------------------------------

static void add_arena(arena_t* arena, void* arg) {
  MI_UNUSED(arena);
  ++*(size_t*)arg;
}

size_t world_arenas(void) {
  size_t count = 0;
  arena_visit(&subproc_main()->arenas, &add_arena, &count);
  return count;
}

static void add_free(arena_t* arena, void* arg) { *(size_t*)arg += arena_usage(arena).free; }

size_t world_free_slices(void) {
  size_t count = 0;
  arena_visit(&subproc_main()->arenas, &add_free, &count);
  return count;
}

typedef struct left_s {
  size_t pages, taken; // slices that aren't free
  bool is_any_killed;  // a killed thread may leave hints that miss something
} left_t;

static bool count_page(page_t* page, void* arg) {
  MI_UNUSED(page);
  ((left_t*)arg)->pages++;
  return true;
}

static bool check_heap(page_t* page, void* arg) {
  MI_UNUSED(arg);
  if (!heap_is_valid(page->heap)) schedule_fail("page %p belongs to a heap that is gone", (void*)page);
  return true;
}

// The hints are wrong only towards "perhaps": what is free can be found.
static void check_hints(const arena_t* arena, size_t chunk) {
  size_t from = chunk * CHUNK_SLICES, to = from + CHUNK_SLICES, longest = 0;
  if (to > arena->slice_count) to = arena->slice_count;
  uint32_t fits = 0;
  for (size_t at = from; at < to; at++) {
    size_t run = bitmap_next(arena->free, at, arena->slice_count, false) - at;
    if (run > longest) longest = run;
    if (at % PAGE_MEDIUM_SLICES == 0 && run >= PAGE_MEDIUM_SLICES) fits |= FITS_MEDIUM;
    if (at % 64 == 0 && run >= 64) fits |= FITS_WORD;
  }
  if ((fits & ~(uint32_t)arena->fits[chunk]) != 0) schedule_fail("the hints miss a run for a page");
  if (longest > LONGEST_UNKNOWN) longest = LONGEST_UNKNOWN;
  if (longest > arena->longest[chunk] || longest > arena->longest_run)
    schedule_fail("the hints miss a run of %zu free slices", longest);
}

// Bits are what they say: committed slices have memory, those that aren't dirty are zero.
static void check_arena(arena_t* arena, void* arg) {
  left_t* left = arg;
  left->taken += arena->slice_count - bitmap_count(arena->free, 0, arena->slice_count);
  for (size_t word = 0; word < arena->word_count; word++) {
    uint64_t committed = arena->committed[word], begun = arena->begun[word];
    uint64_t clean = (committed | begun) & ~arena->dirty[word];
    if ((committed & begun) != 0) schedule_fail("slices are marked as committed and as begun");
    if (!left->is_any_killed && arena->free[word] != 0 &&
        (arena->free_summary[word / 64] >> word % 64 & 1) == 0)
      schedule_fail("the summary misses free slices");
    for (; committed != 0; committed &= committed - 1) {
      const uint8_t* slice = arena->base + (word * 64 + bits_lowest(committed)) * SLICE_SIZE;
      if (!model_is_committed(slice, SLICE_SIZE))
        schedule_fail("slice %p is marked as committed and isn't", (const void*)slice);
    }
    for (; begun != 0; begun &= begun - 1) {
      const uint8_t* slice = arena->base + (word * 64 + bits_lowest(begun)) * SLICE_SIZE;
      if (!model_is_committed(slice, PAGE_PART_SIZE))
        schedule_fail("slice %p is marked as begun and isn't", (const void*)slice);
    }
    for (; clean != 0; clean &= clean - 1) {
      const uint8_t* slice = arena->base + (word * 64 + bits_lowest(clean)) * SLICE_SIZE;
      for (size_t i = 0; i < PAGE_PART_SIZE; i += PAGE_PART_SIZE / 2)
        if (slice[i] != 0) schedule_fail("slice %p is marked as zero and isn't", (const void*)slice);
    }
    if (left->is_any_killed) continue;
    uint64_t waiting = arena->aging[word] | arena->old[word];
    if (waiting != 0 && (arena->waiting_summary[word / 64] >> word % 64 & 1) == 0)
      schedule_fail("the summary misses slices that wait for their purge");
    if (waiting != 0 && arena->purge_waiting == 0) schedule_fail("nobody will purge slices that wait for it");
  }
  if (left->is_any_killed) return;
  for (size_t chunk = 0; chunk * CHUNK_SLICES < arena->slice_count; chunk++) check_hints(arena, chunk);
  bool is_any_free = bitmap_next(arena->free, 0, arena->slice_count, true) < arena->slice_count;
  if (is_any_free && (arena->set->open[arena->index / 64] >> arena->index % 64 & 1) == 0)
    schedule_fail("an arena with free slices is closed");
  if (arena->purge_busy != 0 && !schedule_is_dead(arena->purge_busy))
    schedule_fail("an arena is still being purged");
  if (arena->purge_waiting != 0 && (arena->set->waiting[arena->index / 64] >> arena->index % 64 & 1) == 0)
    schedule_fail("an arena with slices that wait for their purge isn't marked");
}

// The system's idea of what is committed is the statistics', but for what nobody counts.
static void check_committed(void) {
  int64_t counted = stats_process.committed.current, there = (int64_t)model_committed_bytes();
  if (counted != there)
    schedule_fail("the statistics count %lld committed bytes, there are %lld", (long long)counted,
                  (long long)there);
}

static bool check_lists(heap_t* heap, void* arg) {
  MI_UNUSED(arg);
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) {
    const page_list_t* list = &heap->abandoned[bin];
    if (list->lock.owner != 0) continue; // a killed thread's: made anew by who wants it next
    const page_t* last = NULL;
    uint32_t count = 0;
    for (const page_t* page = list->first; page != NULL; last = page, page = page->next, count++)
      if (page->previous != last || page->heap != heap || page->bin != bin || !page->is_listed ||
          count > 1000)
        schedule_fail("a list of abandoned pages is damaged");
    if (list->last != last || list->count != count)
      schedule_fail("a list of abandoned pages is damaged at its end");
  }
  if (heap->pages_lock.owner != 0) return true;
  const page_t* previous = NULL;
  for (const page_t* page = heap->pages; page != NULL; previous = page, page = page->heap_next)
    if (page->heap_previous != previous || page->heap != heap || page->owner == 0)
      schedule_fail("a heap's list of pages is damaged");
  return true;
}

// Blocks of it are in use, in its lists, or untouched: none is lost.
static bool check_blocks(page_t* page, void* arg) {
  MI_UNUSED(arg);
  if (page->bin == BIN_HUGE) return true;
  uint64_t count = 0;
  for (block_t* at = page->free; at != NULL && count <= page->extended; count++)
    if (!block_get_next(page, at, &at)) break;
  if (count + page_used(page) != page->extended)
    schedule_fail("the page at %p has lost blocks: %u, %llu free, %llu used", (void*)page->start,
                  page->extended, (unsigned long long)count, (unsigned long long)page_used(page));
  return true;
}

// Of a page that nobody owns all is as the last look at it should have left it.
static bool check_abandoned(page_t* page, void* arg) {
  MI_UNUSED(arg);
  uintptr_t owner = page->owner;
  if ((owner & (PAGE_OWNER_CLAIMED | PAGE_OWNER_LISTING)) != 0)
    schedule_fail("somebody took the page at %p for a moment and left it so", (void*)page->start);
  if (!page_is_abandoned(owner) || (owner & PAGE_OWNER_SINGLE) != 0) return true;
  if (page_used(page) == page_remote_count(page))
    schedule_fail("nobody's page at %p is empty, and still there", (void*)page->start);
  if (page_available(page) * LISTED_FREE_SHARE >= page->reserved && !page->is_listed)
    schedule_fail("nobody's page at %p has room, and isn't listed", (void*)page->start);
  return true;
}

// As the statistics count: blocks in use are those that we know.
static void check_counts(bool is_exact) {
  static stats_blocks_t sums;
  stats_collect_blocks(&sums);
  int64_t known = 0, counted = 0;
  for (int i = 0; i < block_count; i++) known += blocks[i].p != NULL && blocks[i].size <= LARGE_SIZE_MAX;
  counted = 0;
  for (unsigned bin = 1; bin < BIN_HUGE; bin++) counted += sums.allocated[bin] - sums.freed[bin];
  if (is_exact && counted != known)
    schedule_fail("the statistics count %lld blocks in use, there are %lld", (long long)counted,
                  (long long)known);
}

static bool check_empty(heap_t* heap, void* arg) {
  MI_UNUSED(arg);
  for (unsigned bin = 0; bin < BIN_COUNT; bin++)
    if (heap->abandoned[bin].lock.owner == 0 && heap->abandoned[bin].first != NULL)
      schedule_fail("a list of abandoned pages still has one");
  return true;
}

static void check_records(world_loss_t loss) {
  size_t owned = 0, lost = 0;
  for (thread_t* at = thread_first(); at != NULL; at = at->all_next) {
    unsigned kind = thread_holder_kind(at->holder);
    owned += kind == THREAD_OWNED;
    lost += kind == THREAD_TAKEN;
    if (at->hands.claimed.run != 0 || at->hands.purging.run != 0)
      schedule_fail("a thread ended with slices in its hands");
  }
  if (owned != 1 || lost > loss.records)
    schedule_fail("%zu thread records are owned, %zu taken", owned, lost);
  owned = 0;
  for (theap_t* at = theap_first(); at != NULL; at = at->all_next) owned += at->state != THEAP_SPARE;
  if (owned < 1 || owned > 1 + (size_t)loss.records) schedule_fail("%zu theaps are in use", owned);
}

void world_end(world_loss_t loss) {
  bool is_any_killed = false;
  for (unsigned i = A; i <= C; i++) {
    is_any_killed |= schedule_is_killed(i);
    schedule_as(i);
    if (!schedule_is_killed(i) && world_self() != NULL) world_end_thread();
  }
  schedule_as(0);
  bool is_exact = !is_any_killed && loss.blocks == 0;
  world_start_thread();
  if (is_any_killed) thread_reap(world_self(), SIZE_MAX);
  for (int i = 0; i < block_count; i++)
    if (blocks[i].p != NULL) world_check(i);
  subproc_visit_heaps(subproc_main(), &check_lists, NULL);
  check_counts(is_exact);
  left_t left = {.is_any_killed = is_any_killed};
  arena_visit(&subproc_main()->arenas, &check_arena, &left);
  if (!is_any_killed) {
    arena_visit_pages(&subproc_main()->arenas, &check_abandoned, NULL);
    if (loss.blocks == 0) arena_visit_pages(&subproc_main()->arenas, &check_blocks, NULL);
    check_committed();
  }
  for (int i = 0; i < block_count; i++)
    if (blocks[i].p != NULL) world_free(i);
  left = (left_t){.is_any_killed = is_any_killed};
  theap_collect(theap_current(), true); // of its own pages only: others go with their last block
  arena_visit_pages(&subproc_main()->arenas, &count_page, &left);
  if (!is_any_killed && left.pages > loss.pages)
    schedule_fail("%zu pages outlive their last block", left.pages);
  thread_collect(world_self(), true);
  arena_visit_pages(&subproc_main()->arenas, &check_heap, NULL);
  check_counts(is_exact);
  left = (left_t){.is_any_killed = is_any_killed};
  arena_visit(&subproc_main()->arenas, &check_arena, &left);
  arena_visit_pages(&subproc_main()->arenas, &count_page, &left);
  if (left.pages > loss.pages) schedule_fail("%zu pages are left over", left.pages);
  if (left.taken > loss.slices) schedule_fail("%zu slices are lost", left.taken);
  if (left.pages == 0) subproc_visit_heaps(subproc_main(), &check_empty, NULL);
  if (is_exact && atomic_get_relaxed(&stats_process.pages.current) != 0) {
    theap_flush_levels(theap_current());
    int64_t pages = stats_process.pages.current;
    if (pages != 0) schedule_fail("the statistics count %lld pages", (long long)pages);
  }
  check_records(loss);
  if (model_messages != 0) schedule_fail("a message: %s", model_message);
}

void world_end_without_loss(void) { world_end((world_loss_t){0}); }
