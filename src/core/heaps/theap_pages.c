#include "core/heaps/theap_pages.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/single.h"
#include "core/heaps/thread.h"
#include "core/report/counters.h"
#include "core/report/options.h"
#include "base/memory.h"

#define KEEP_TICKS      4  // ticks of the owner that an empty page is kept
#define KEEP_SLICES_MAX 16 // committed ones, 1 MiB: what an idle thread may hold on to
#define FILLED_WHOLE    4  // after so many full pages of a class, further ones are committed at once

// ---- queues ---------------------------------------------------------------------------------------------

void queue_first_changed(theap_t* theap, unsigned bin) {
  if (size_class_size(bin) > SMALL_SIZE_MAX) return;
  page_t* first = theap->bins[bin].first;
  if (first == NULL || theap->guard_rate != 0)
    first = (page_t*)(uintptr_t)&page_none; // guarded sampling counts all
  size_t from = bin == 1 ? 0 : size_class_size(bin - 1) / 8 + 1;
  for (size_t i = from, end = size_class_size(bin) / 8; i <= end; i++) {
    theap->small[i] = first;
    atomic_compiler_fence(); // 16 words at most: not worth vectors
  }
}

MI_INLINE uint64_t* kept_word(theap_t* theap, unsigned bin) { return &theap->kept_bins[bin / 64]; }

void page_unkeep(theap_t* theap, page_t* page) {
  if (!page->is_kept) return;
  page->is_kept = 0;
  atomic_compiler_fence(); // killed here, the page never looks empty; the other way round it would too early
  page->allocated--;
  theap->kept_slices -= page->committed_slices;
  *kept_word(theap, page->bin) &= ~((uint64_t)1 << page->bin % 64);
}

// A kept page is the only one of its queue: it goes, or is in use, before another comes.
static void queue_settle_kept(theap_t* theap, unsigned bin) {
  page_t* kept = theap->bins[bin].first;
  if (kept == NULL || !kept->is_kept) return;
  bool is_empty = page_used(kept) == 0;
  page_unkeep(theap, kept);
  if (!is_empty) return;
  queue_remove(theap, kept);
  page_retire(theap, kept);
}

static void queue_counts_one_more(theap_t* theap, unsigned bin) {
  theap->bins[bin].count++;
  theap->queued_bins[bin / 64] |= (uint64_t)1 << bin % 64;
}

void queue_push(theap_t* theap, page_t* page) {
  queue_settle_kept(theap, page->bin);
  page_queue_t* queue = &theap->bins[page->bin];
  page->previous = NULL;
  page->next = queue->first;
  if (queue->first != NULL) {
    queue->first->previous = page;
  } else {
    queue->last = page;
  }
  queue->first = page;
  queue_counts_one_more(theap, page->bin);
  queue_first_changed(theap, page->bin);
}

void queue_append(theap_t* theap, page_t* page) {
  queue_settle_kept(theap, page->bin);
  page_queue_t* queue = &theap->bins[page->bin];
  page->next = NULL;
  page->previous = queue->last;
  bool is_first = queue->last == NULL;
  if (is_first) {
    queue->first = page;
  } else {
    queue->last->next = page;
  }
  queue->last = page;
  queue_counts_one_more(theap, page->bin);
  if (is_first) queue_first_changed(theap, page->bin);
}

void queue_remove(theap_t* theap, page_t* page) {
  page_queue_t* queue = &theap->bins[page->bin];
  if (theap->sweep_page == page) theap->sweep_page = page->next;
  bool was_first = queue->first == page;
  if (page->previous != NULL) {
    page->previous->next = page->next;
  } else {
    queue->first = page->next;
  }
  if (page->next != NULL) {
    page->next->previous = page->previous;
  } else {
    queue->last = page->previous;
  }
  page->next = page->previous = NULL;
  if (--queue->count == 0) theap->queued_bins[page->bin / 64] &= ~((uint64_t)1 << page->bin % 64);
  if (was_first) queue_first_changed(theap, page->bin);
}

// ---- pages come and go ----------------------------------------------------------------------------------

void page_emptied(theap_t* theap, page_t* page) {
  page_queue_t* queue = &theap->bins[page->bin];
  bool is_only = queue->first == page && queue->last == page;
  if (is_only && (page->is_kept || theap->kept_slices + page->committed_slices <= KEEP_SLICES_MAX)) {
    if (!page->is_kept) {
      page->allocated++; // never looks empty to the fast path of free
      atomic_compiler_fence();
      page->is_kept = 1;
      page->keep_ticks = KEEP_TICKS;
      theap->kept_slices += page->committed_slices;
      *kept_word(theap, page->bin) |= (uint64_t)1 << page->bin % 64;
    }
    return;
  }
  page_unkeep(theap, page);
  queue_remove(theap, page);
  page_retire(theap, page);
}

void page_set_full(theap_t* theap, page_t* page) {
  page_unkeep(theap, page);
  if (page->extended >= page->reserved) theap->bins[page->bin].filled++;
  queue_remove(theap, page);
  page_abandon(theap, page);
}

void page_set_own(theap_t* theap, page_t* page) {
  page_unlist(page);
  theap->counts.remote_frees += page_collect_remote(page);
  queue_append(theap, page);
}

arena_source_t theap_source(theap_t* theap) {
  heap_t* heap = theap->heap;
  return (arena_source_t){&heap->subproc->arenas, heap->arena, heap->numa_node, &theap->thread->hands};
}

// How many slices of a page are committed when `needed` have to be: as it is cut at first; a thread that
// fills page after page of a class gets them whole, for the sake of the system calls.
static size_t commit_wanted(theap_t* theap, unsigned bin, size_t slice_count, size_t needed) {
  if (option_is_enabled(option_page_commit_on_demand)) return needed;
  uint32_t filled = theap->bins[bin].filled;
  size_t wanted = filled >= FILLED_WHOLE ? slice_count
                  : filled > 0           ? needed + slice_count / 4
                                         : needed + needed / 4;
  return wanted > slice_count ? slice_count : wanted;
}

page_t* page_fresh(theap_t* theap, unsigned bin) {
  size_t size = size_class_size(bin), slices = page_slices_for(size);
  size_t needed = size <= PAGE_PART_SIZE ? 0 : bits_divide_up(size, SLICE_SIZE);
  arena_source_t source = theap_source(theap);
  size_t wanted = needed;
  if (theap->bins[bin].filled > 0) wanted = commit_wanted(theap, bin, slices, needed == 0 ? 1 : needed);
  page_t* page = arena_page_allocate(&source, slices, wanted, 1);
  if (page == NULL && wanted > needed) page = arena_page_allocate(&source, slices, needed, 1);
  if (page == NULL) return NULL;
  page_init(page, bin, size, (uintptr_t)theap, theap->heap);
  heap_page_add(theap->heap, page);
  arena_page_made(&theap->thread->hands);
  theap->counts.pages_made++;
  queue_push(theap, page);
  return page;
}

bool page_commit_more(theap_t* theap, page_t* page) {
  page_unkeep(theap, page); // what it may be kept with is counted in slices
  size_t needed = bits_divide_up((page->extended + (size_t)1) * page->block_size, SLICE_SIZE);
  size_t wanted = commit_wanted(theap, page->bin, page->slice_count, needed);
  arena_hands_t* hands = &theap->thread->hands;
  return arena_page_commit(page, wanted, hands) ||
         (wanted > needed && arena_page_commit(page, needed, hands));
}

void theap_drop_kept(theap_t* theap) {
  for (unsigned word = 0; word < 2; word++) {
    for (uint64_t bits = theap->kept_bins[word]; bits != 0; bits &= bits - 1) {
      page_t* page = theap->bins[word * 64 + bits_lowest(bits)].first;
      if (page_used(page) != 0) {
        page_unkeep(theap, page); // in use again; the next time it empties it is kept anew
      } else if (--page->keep_ticks == 0) {
        page_unkeep(theap, page);
        queue_remove(theap, page);
        page_retire(theap, page);
      }
    }
  }
}

// The next bin behind `bin` whose queue isn't empty, round at the end; 0 when all are.
static unsigned next_queued_bin(const theap_t* theap, unsigned bin) {
  for (unsigned i = 0; i < 3; i++) { // the word of `bin` twice: behind it, and before it
    unsigned word = (bin / 64 + i) % 2;
    uint64_t bits = theap->queued_bins[word];
    if (i == 0) bits &= bin % 64 == 63 ? 0 : ~(uint64_t)0 << (bin % 64 + 1);
    if (bits != 0) return word * 64 + bits_lowest(bits);
  }
  return 0;
}

void theap_sweep(theap_t* theap, size_t budget) {
  unsigned start = theap->sweep_bin,
           is_round = 0; // once round at most: to where it started, all of that bin included
  bool takes_all = budget == SIZE_MAX;
  while (budget > 0) {
    page_t* page = theap->sweep_page;
    if (page == NULL) {
      unsigned bin = next_queued_bin(theap, theap->sweep_bin);
      is_round += bin <= theap->sweep_bin;
      if (bin == 0 || is_round > 1 || (is_round == 1 && bin > start)) return;
      theap->sweep_bin = bin;
      theap->sweep_page = theap->bins[bin].first;
      continue;
    }
    theap->sweep_page = page->next;
    budget--;
    if (page->is_kept && page_used(page) == 0) continue;
    uint32_t pending = page_remote_count(page);
    if (pending == 0) continue;
    if (theap->bins[page->bin].first != page) {
      // Others free its blocks: left to them, so that the last one of these gives it back, even if this
      // thread never comes here again. What they freed isn't taken in for that: the way through its links is long.
      page_set_full(theap, page);
    } else if (takes_all || pending >= page_used(page)) {
      theap->counts.remote_frees += page_collect_remote(page);
      if (page_used(page) != 0) continue;
      page_unkeep(theap, page);
      queue_remove(theap, page);
      page_retire(theap, page);
    }
  }
}

// A block in use keeps the system pages that it lies in, and those of its neighbours that reach into them: worth the walk is a
// page where that leaves something.
static bool has_free_system_pages(const page_t* page) {
  return page->free != NULL &&
         page_used(page) * (page->block_size + os_page_size()) <= page->slice_count * SLICE_SIZE;
}

static void offer_free(page_t* page) {
  block_t *first = page->free, *last = first;
  uint64_t count = 1;
  for (block_t* next; (next = block_next(page, last)) != NULL; last = next)
    if (++count > page->extended) return; // it isn't a list any more
  if (count > page->freed) return;        // some were never handed out
  // Blocks that are counted and in no list come back with their page, should this thread be killed.
  page->free = NULL;
  atomic_compiler_fence();
  page->freed -= count;
  page_put_back_remote(page, first, last, count);
}

void theap_offer_free(theap_t* theap) {
  if (MI_SECURE || option_get(option_purge_delay) < 0) return;
  for (unsigned bin = 1; bin <= BIN_LAST; bin++)
    for (page_t* page = theap->bins[bin].first; page != NULL; page = page->next)
      if (has_free_system_pages(page)) offer_free(page);
}

void theap_forget_pages(theap_t* theap) {
  for (size_t i = 0; i <= SMALL_WORDS; i++) theap->small[i] = (page_t*)(uintptr_t)&page_none;
  mem_zero(theap->bins, sizeof(theap->bins));
  mem_zero(theap->kept_bins, sizeof(theap->kept_bins));
  mem_zero(theap->queued_bins, sizeof(theap->queued_bins));
  theap->kept_slices = 0;
  mem_zero(theap->singles, sizeof(theap->singles));
  theap->singles_lengths = 0;
  theap->singles_slices = 0;
  theap->sweep_page = NULL;
  if (MI_SECURE) racks_forget(theap);
  if (MI_SECURE) mem_zero(theap->ring, sizeof(theap->ring));
}

MI_COLD void theap_abandon_all(theap_t* theap) {
  singles_give_up(theap);
  for (unsigned bin = next_queued_bin(theap, 0); bin != 0; bin = next_queued_bin(theap, bin)) {
    page_t* page;
    while ((page = theap->bins[bin].first) != NULL) {
      page_unkeep(theap, page);
      queue_remove(theap, page);
      theap->counts.remote_frees +=
          page_remote_count(page) == page_used(page) ? page_drop_remote(page) : page_collect_remote(page);
      if (page_used(page) == 0) {
        page_retire(theap, page);
      } else {
        page_abandon(theap, page);
      }
    }
    theap->bins[bin].filled = 0;
  }
}

void theap_flush_levels(theap_t* theap) {
  int64_t pages = theap->counts.pages_made - theap->counts.pages_gone;
  int64_t huge = theap->counts.huge_allocated_bytes - theap->counts.huge_freed_bytes;
  if (pages != theap->pages_flushed) stats_change(&stats_process.pages, pages - theap->pages_flushed);
  if (huge != theap->huge_flushed) stats_change(&stats_process.huge_bytes, huge - theap->huge_flushed);
  theap->pages_flushed = pages;
  theap->huge_flushed = huge;
}
