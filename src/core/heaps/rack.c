// The slow paths of racks; see rack.h. Secure builds only.
#include "core/heaps/rack.h"

#include "core/heaps/theap.h"
#include "base/memory.h"

#if MI_SECURE

#define STACK_BLOCKS 216           // in a stack at most
#define STACK_BYTES  (32 * MI_KIB) // of blocks there, but
#define STACK_LEAST  40            // so many always: more than leave the waiting room at once
#define FILL_BLOCKS  64            // taken from a page's list, or cut, at a time
#define FILL_SIZE    (4 * MI_KIB)  // cut at a time

// An empty stack where no block can be put.
#define NOTHING  (rack_none_instance.below + 2)
#define NO_BLOCK ((block_t*)&rack_none_instance)
rack_t rack_none_instance = {.top = NOTHING, .bottom = NOTHING, .below = {NO_BLOCK, NO_BLOCK}};

// A number that depends on the process's keys and `salt`.
static uint64_t seed_of(const void* salt) {
  return block_mix((uintptr_t)salt ^ block_keys[2], block_keys[3]);
}

static size_t stack_count(const rack_t* rack) { return (size_t)(rack->top - rack->bottom); }

static MI_COLD void report_damage(const block_t* block) {
  block_report(MISUSE_LINK, page_map_page(block), block, NULL);
}

MI_COLD void rack_zero_middle(void* p, size_t tail) {
  size_t size = tail + 8, ends = BLOCK_ZEROED_BEGIN + BLOCK_ZEROED_END;
  if (size > ends) mem_zero((uint8_t*)p + BLOCK_ZEROED_BEGIN, size - ends);
}

// ---- from pages ---------------------------------------------------------------------------------------------------

#define NEXT_RANDOM(random, step) ((random) = (random)*0x5851f42d4c957f2du + (step))

// From the page's list.
static void fill_from_list(rack_t* rack, page_t* page) {
  size_t room = (size_t)(rack->limit - rack->bottom), most = room < FILL_BLOCKS ? room : FILL_BLOCKS;
  block_t **stack = rack->bottom, **top = stack, *block = page->free;
  while (block != NULL && top < stack + most) {
    block_t* next;
    uint64_t pad = block_pad(block);
    __builtin_prefetch(block_tail(page, block), 1);
    if (MI_UNLIKELY(!block_get_next_by(page, block, pad, &next))) {
      block_report(MISUSE_LINK, page, block, NULL);
      next = NULL; // the rest is lost
    }
    page->allocated++; // should the thread be killed in between, the block is lost, but the page isn't
    atomic_compiler_fence();
    page->free = next;
    block_words(block)[1] = 0;
    block_words(block)[0] = pad;
    *top++ = block;
    block = next;
  }
  rack->filled += (uint64_t)(top - stack);
  rack->top = top;
}

// From the page's untouched end, in random order.
static void fill_from_room(racks_t* racks, rack_t* rack, page_t* page) {
  size_t count = FILL_SIZE / page->block_size, left = page_uncut(page);
  if (count > FILL_BLOCKS) count = FILL_BLOCKS;
  if (count > (size_t)(rack->limit - rack->bottom)) count = (size_t)(rack->limit - rack->bottom);
  if (count == 0) count = 1;
  if (count > left) count = left;
  uint8_t* at = page->start + page->extended * page->block_size;
  page->allocated += count;
  atomic_compiler_fence();
  page_set_extended(page, page->extended + count);
  rack->filled += count;
  block_t** stack = rack->bottom;
  uint64_t random = racks->random, step = racks->step;
  for (size_t i = 0; i < count; i++, at += page->block_size) {
    block_t* block = (block_t*)at;
    size_t other = (size_t)((NEXT_RANDOM(random, step) >> 32) * (i + 1) >> 32);
    stack[i] = stack[other];
    stack[other] = block;
    block_words(block)[0] = block_pad(block);
    if (page->is_zero) continue; // as the system gave it
    block_words(block)[1] = 0;
    *block_tail(page, block) = 0;
  }
  racks->random = random;
  atomic_compiler_fence();
  rack->top = stack + count;
}

block_t* rack_take_from(racks_t* racks, rack_t* rack, page_t* page) {
  for (;;) {
    block_t* block = rack_take(rack);
    if (block != NULL) return block;
    if (rack->top > rack->bottom) { // lost, should an error function let the process go on
      report_damage(*--rack->top);
    } else if (page != NULL && page->free != NULL) {
      fill_from_list(rack, page);
    } else if (page != NULL && page_uncut(page) > 0) {
      fill_from_room(racks, rack, page);
    } else {
      return NULL;
    }
  }
}

// ---- back to the pages ------------------------------------------------------------------------------------

// The pad of a block that leaves the rack; was it written to?
MI_INLINE uint64_t checked_pad(const rack_t* rack, const block_t* block) {
  uint64_t pad = block_pad(block);
  if (MI_UNLIKELY(!rack_block_is_whole(block, rack->tail, pad))) report_damage(block);
  return pad;
}

// Blocks of one page: each is linked to the one before it, and all go at once. For a page of another thread's that is one
// exchange instead of one for each, and what a thread frees of others' often lies side by side.
static void give_back_run(theap_t* theap, rack_t* rack, block_t* const* blocks, uint32_t count) {
  block_t *block = blocks[0], *last = block;
  page_t* page = page_map_record(block);
  uint64_t last_pad = checked_pad(rack, last);
  for (uint32_t i = 1; i < count; i++) {
    uint64_t pad = checked_pad(rack, blocks[i]);
    block_set_next_by(page, blocks[i], pad, block);
    block = blocks[i];
  }
  bool is_own = atomic_get_relaxed(&page->owner) == (uintptr_t)theap;
  uint64_t freed = is_own ? page->freed + count : 0;
  if (MI_UNLIKELY(!is_own || freed >= page->allocated)) {
    theap_release_run(theap, page, (block_run_t){block, last, count});
    return;
  }
  block_set_next_by(page, last, last_pad, page->free);
  block_list_grows(page, block, freed);
}

static void give_back(theap_t* theap, rack_t* rack, block_t* const* blocks, size_t count) {
  for (size_t i = 0; i < count;) {
    uintptr_t slice = (uintptr_t)blocks[i] >> SLICE_SHIFT;
    uint32_t run = 1;
    while (i + run < count && (uintptr_t)blocks[i + run] >> SLICE_SHIFT == slice) run++;
    give_back_run(theap, rack, blocks + i, run);
    i += run;
  }
}

// The lower half of a stack: these were freed long ago.
static void give_half_back(theap_t* theap, rack_t* rack) {
  size_t count = stack_count(rack), half = (count + 1) / 2;
  give_back(theap, rack, rack->bottom, half);
  for (size_t i = half; i < count; i++) rack->bottom[i - half] = rack->bottom[i];
  rack->top = rack->bottom + count - half;
}

static MI_COLD void push_full(theap_t* theap, rack_t* rack, block_t* block) {
  give_half_back(theap, rack);
  *rack->top++ = block;
}

// Empties the other half. A thread may be killed anywhere: then blocks are lost.
void racks_turn(theap_t* theap) {
  racks_t* racks = &theap->racks;
  waiting_t* other = racks->limit == racks->waiting[1] + RACK_WAITING ? racks->waiting[0] : racks->waiting[1];
  racks->end = other;
  racks->limit = other + RACK_WAITING;
  if (MI_UNLIKELY(other->rack == NULL)) return; // the first turn: there is nothing
  uint64_t random = NEXT_RANDOM(racks->random, racks->step);
  // Places are offsets in the half, which is an instruction less for each.
  uint32_t one = (uint32_t)sizeof(waiting_t), mask = (RACK_WAITING - 1) * one;
  uint32_t factor = ((uint32_t)(random >> 32) & mask) | one;
  uint32_t first = (uint32_t)(random >> 41) & mask, flip = (uint32_t)(random >> 50) & mask, place = first;
  do {
    const waiting_t* at = (const waiting_t*)((const uint8_t*)other + (place ^ flip));
    rack_t* rack = at->rack;
    block_t** top = rack->top;
    if (MI_UNLIKELY(top == rack->limit)) {
      push_full(theap, rack, at->block);
    } else {
      *top = at->block;
      rack->top = top + 1;
    }
    place = (place + factor) & mask;
  } while (place != first);
}

// What went round without its page's counting it is counted with blocks of pages that are gone.
static void settle(theap_t* theap, rack_t* rack, unsigned bin) {
  int64_t more = (int64_t)(rack->taken - rack->filled);
  theap->counts.allocated[bin] += more;
  theap->counts.freed[bin] += more;
  rack->taken = rack->filled = 0;
  rack->seen = 0;
}

static void empty_stack(theap_t* theap, rack_t* rack) {
  size_t count = stack_count(rack);
  rack->top = rack->bottom;
  give_back(theap, rack, rack->bottom, count);
}

// Does a block stand there? In this turn's half up to `end`, in the other one everywhere, but in the first turn.
static bool is_waiting(const racks_t* racks, const waiting_t* at) {
  bool is_this_turn = at < racks->limit && at >= racks->limit - RACK_WAITING;
  return is_this_turn ? at < racks->end : at->rack != NULL;
}

static void first_turn(racks_t* racks) {
  mem_zero(racks->waiting, sizeof(racks->waiting));
  racks->end = racks->waiting[0];
  racks->limit = racks->end + RACK_WAITING;
}

void racks_flush(theap_t* theap) {
  racks_t* racks = &theap->racks;
  if (!racks->is_attached) return;
  for (waiting_t* at = racks->waiting[0]; at < racks->waiting[1] + RACK_WAITING; at++) {
    if (!is_waiting(racks, at)) continue;
    give_back_run(theap, at->rack, &at->block, 1);
    at->rack = NULL;
  }
  first_turn(racks);
  for (unsigned bin = 2; bin < RACK_BINS; bin++) {
    rack_t* rack = racks->by_bin[bin];
    if (rack->taken == 0 && rack->filled == 0 && rack->top == rack->bottom) continue;
    empty_stack(theap, rack);
    settle(theap, rack, bin);
  }
}

void racks_tick(theap_t* theap) {
  racks_t* racks = &theap->racks;
  if (!racks->is_attached) return;
  unsigned bin = racks->ticked < 2 || racks->ticked >= RACK_BINS - 1 ? 2 : racks->ticked + 1u;
  racks->ticked = (uint8_t)bin;
  rack_t* rack = racks->by_bin[bin];
  if (rack->seen == (uint32_t)rack->taken) empty_stack(theap, rack);
  rack->seen = (uint32_t)rack->taken;
}

void racks_forget(theap_t* theap) {
  racks_t* racks = &theap->racks;
  if (!racks->is_attached) return;
  first_turn(racks);
  for (unsigned bin = 2; bin < RACK_BINS; bin++) {
    rack_t* rack = racks->by_bin[bin];
    if (rack->taken == 0 && rack->filled == 0 && rack->top == rack->bottom) continue;
    rack->top = rack->bottom;
    settle(theap, rack, bin);
  }
}

void racks_count(const theap_t* theap, int64_t* allocated, int64_t* freed) {
  const racks_t* racks = &theap->racks;
  if (!racks->is_attached) return;
  for (unsigned bin = 2; bin < RACK_BINS; bin++) {
    const rack_t* rack = racks->by_bin[bin];
    int64_t more = (int64_t)(rack->taken - rack->filled);
    allocated[bin] += more;
    freed[bin] += more + (int64_t)stack_count(rack);
  }
  for (const waiting_t* at = racks->waiting[0]; at < racks->waiting[1] + RACK_WAITING; at++) {
    const rack_t* rack = is_waiting(racks, at) ? atomic_get_relaxed(&at->rack) : NULL; // gone by now, perhaps
    if (rack != NULL) freed[size_class_bin(rack->tail + 8)]++;
  }
}

// ---- of a theap -------------------------------------------------------------------------------------------

void racks_show(theap_t* theap, bool shown) {
  racks_t* racks = &theap->racks;
  for (unsigned words = 0; words <= SMALL_WORDS; words++) {
    unsigned bin = size_class_bin(words <= 1 ? 16 : words * 8);
    racks->by_words[words] = shown ? racks->by_bin[bin] : RACK_NONE;
  }
  racks->is_shown = shown;
}

void racks_detach(theap_t* theap) {
  racks_t* racks = &theap->racks;
  racks->is_attached = false;
  racks->end = racks->limit = racks->waiting[0];
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) racks->by_bin[bin] = RACK_NONE;
  racks_show(theap, false);
}

_Static_assert(RACK_BYTES_ALL >= PAGE_SMALL_BLOCK_MAX, "racks_t.memory is read as a block");

// Makes a rack for blocks of `size` in memory that is zero, but where it was one before; returns its end.
static uint8_t* rack_make(uint8_t* at, size_t size, void* no_block) {
  rack_t* rack = (rack_t*)at;
  size_t room = STACK_BYTES / size;
  room = (room > STACK_BLOCKS ? STACK_BLOCKS : room < STACK_LEAST ? STACK_LEAST : room);
  rack->below[0] = rack->below[1] = (block_t*)no_block;
  rack->top = rack->bottom = rack->below + 2;
  rack->tail = size - 8;
  rack->zeros = rack_zeros(rack->tail);
  rack->limit = rack->bottom + room;
  return (uint8_t*)(((uintptr_t)rack->limit + MI_CACHE_LINE - 1) & ~(uintptr_t)(MI_CACHE_LINE - 1));
}

void racks_set_reach(theap_t* theap) {
  for (unsigned bin = 2; bin < RACK_BINS; bin++) {
    rack_t* rack = theap->racks.by_bin[bin];
    size_t size = rack->tail + 8;
    bool is_short = !block_zeroes_all || size <= BLOCK_ZEROED_BEGIN + BLOCK_ZEROED_END;
    rack->reach = is_short ? (uint32_t)(SLICE_SIZE - size) + 1 : 0;
  }
}

void racks_attach(theap_t* theap) {
  racks_t* racks = &theap->racks;
  bool shown = theap->guard_rate == 0;
  if (racks->is_attached) { // the record was a theap before: its racks are empty
    if (racks->is_shown != shown) racks_show(theap, shown);
    return;
  }
  block_init(); // its keys
  uint8_t* at = racks->memory;
  for (unsigned bin = 0; bin < BIN_COUNT; bin++) {
    racks->by_bin[bin] = RACK_NONE;
    if (bin < 2 || bin >= RACK_BINS) continue;
    racks->by_bin[bin] = (rack_t*)at;
    at = rack_make(at, size_class_size(bin), racks->memory);
  }
  if (at > racks->memory + sizeof(racks->memory)) os_abort(); // who changes sizes changes RACK_BYTES_ALL
  racks_set_reach(theap);
  first_turn(racks);
  racks->random = seed_of(racks);
  racks->step = seed_of(&racks->step) | 1;
  racks->is_attached = true;
  racks_show(theap, shown);
}

#endif
