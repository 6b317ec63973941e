// Racks (secure builds): where a thread's small blocks go when it frees them, and come from when it allocates.
//
//   free ----> the thread's waiting blocks, of all sizes
//   malloc --> the top of the stack of that size
//
//   RACK_WAITING are waiting: those that did before them go onto their stacks, in random order (racks_turn)
//   a stack is empty: rack_take_from fills it from a page. It is full: half of it goes back to its pages
//
// So a freed block is reused after some dozens of other frees, nobody knows after how many. Both calls touch
// neither a page's list nor its counts, nor what the other one writes, which would make malloc wait until the
// last free has found its page: all that is done for many blocks at a time. Whosever page it is: a thread
// allocates what it freed.
//
// A block in a rack is zero at both its ends, or wholly (BLOCK_ZEROED_BEGIN in pages/block.h), but for its first word,
// which holds its pad (pages/block.h); a block in use ends
// with its pad. So one comparison tells free whether `p` is a block in use: what was freed before, or written
// to beyond its end, has no pad there. Nothing in a freed block leads anywhere: whoever writes to it can't make
// malloc hand out an address of his, and is found out when it is that block's turn.
//
// A rack's blocks count as allocated in their pages, so that those don't go. `taken` and `filled` tell the
// statistics what really was. A thread that is killed loses what is in its racks.
#ifndef CORE_HEAPS_RACK_H
#define CORE_HEAPS_RACK_H

#include "core/pages/block.h"

// Blocks in pages of one slice have racks: bins 2 to RACK_BINS - 1.
#define RACK_BINS    (BIN_SMALL_LAST + 8 * 3 + 1)
#define RACK_WAITING 32 // blocks of a turn, a power of two

// The sizes of what a theap has for them: next to nothing in builds without racks.
#define RACK_BYTES_ALL (MI_SECURE ? 44 * MI_KIB : sizeof(uint64_t))
#define RACK_SIZES     (MI_SECURE ? SMALL_WORDS + 1 : 1)
#define RACK_ANY_BIN   (MI_SECURE ? BIN_COUNT : 1)
#define RACK_PLACES    (MI_SECURE ? RACK_WAITING : 1)

// The blocks of one size.
typedef struct MI_ALIGNED(64) rack_s {
  block_t **top, **bottom, **limit; // of the stack
  size_t tail;                      // the offset of a block's last word
  uint64_t taken, filled;           // blocks that the program got, and that came from pages
  uint32_t reach;    // offsets in a page below this one may be blocks' starts; 0: this is no rack
  uint32_t seen;     // `taken` when the thread's tick last looked
  block_t* below[2]; // NULL; the stack begins behind them
} rack_t;

typedef struct waiting_s {
  block_t* block;
  rack_t* rack;
} waiting_t;

// A theap's racks.
typedef struct MI_ALIGNED(64) racks_s {
  waiting_t *end, *limit;            // of the blocks of this turn, and of the room for them
  uint64_t random, step;             // for the order in which blocks come out of a turn
  bool is_attached;                  // false: it is a late theap, or of a heap that may be destroyed
  bool is_shown;                     // to malloc: not while each block is counted, for guarded sampling
  uint8_t ticked;                    // the bin that the last tick looked at
  rack_t* by_words[RACK_SIZES];      // for malloc, by size in 8-byte words
  rack_t* by_bin[RACK_ANY_BIN];      // that of RACK_NONE for larger blocks
  waiting_t waiting[2][RACK_PLACES]; // those of this turn, and of the one before
  MI_ALIGNED(64) uint8_t memory[RACK_BYTES_ALL];
} racks_t;

// Gives nothing and takes nothing.
extern rack_t rack_none_instance;
#define RACK_NONE (MI_SECURE ? &rack_none_instance : NULL)

struct theap_s;

// Makes room for more waiting blocks.
void racks_turn(struct theap_s* theap);

MI_INLINE uint64_t* rack_word(const block_t* block, size_t offset) {
  return (uint64_t*)((uintptr_t)block + offset);
}

// Is the block as rack_put left it?
MI_INLINE bool rack_block_is_whole(const block_t* block, size_t tail, uint64_t pad) {
  return ((*rack_word(block, 0) ^ pad) | *rack_word(block, 8) | *rack_word(block, tail)) == 0;
}

// A block for the program. NULL when there is none, or it was written to: rack_take_from knows more.
MI_INLINE block_t* rack_take(rack_t* rack) {
  block_t **top = rack->top, *block = top[-1];
  if (MI_UNLIKELY(block == NULL)) return NULL;
  size_t tail = rack->tail;
  uint64_t pad = block_pad(block);
  if (MI_UNLIKELY(!rack_block_is_whole(block, tail, pad))) return NULL;
  __builtin_prefetch(top[-2]); // it was freed long enough ago to be in no near cache
  rack->top = top - 1;
  rack->taken++;
  *rack_word(block, 0) = 0;
  *rack_word(block, tail) = pad;
  return block;
}

typedef uint64_t rack_pair_t __attribute__((vector_size(16), may_alias));

// All of a larger block between what rack_mark zeroes anyway.
void rack_zero_middle(void* p, size_t tail);

// What stands in a block that is free: `pad`, then zeros (see BLOCK_ZEROED_BEGIN). `tail`: the offset of its last
// word; the size is a multiple of 16.
MI_INLINE void rack_mark(void* p, size_t tail, uint64_t pad) {
  rack_pair_t *first = (rack_pair_t*)p, *last = (rack_pair_t*)((uint8_t*)p + tail - 8), zero = {0, 0};
  *last = zero;
  *first = (rack_pair_t){pad, 0};
  if (tail < 32) return; // up to 32 bytes
  first[1] = last[-1] = zero;
  if (tail <= 64) return;
  first[2] = first[3] = last[-2] = last[-3] = zero; // 128 bytes
  if (tail <= 128) return;
  first[4] = first[5] = first[6] = first[7] = zero;
  if (MI_UNLIKELY(block_zeroes_all)) rack_zero_middle(p, tail);
}

// Takes what the program frees in a page of that bin. False, and nothing done: this is no block in use.
MI_INLINE bool rack_put(struct theap_s* theap, racks_t* racks, unsigned bin, void* p) {
  rack_t* rack = racks->by_bin[bin];
  if (MI_UNLIKELY((uint16_t)(uintptr_t)p >= rack->reach)) return false;
  uint64_t pad = block_pad((block_t*)p);
  size_t tail = rack->tail;
  if (MI_UNLIKELY(*rack_word((block_t*)p, tail) != pad)) return false;
  rack_mark(p, tail, pad);
  waiting_t* end = racks->end;
  atomic_set_relaxed(&end->block, (block_t*)p);
  atomic_set_relaxed(&end->rack, rack);
  racks->end = ++end;
  if (MI_UNLIKELY(end == racks->limit)) racks_turn(theap);
  return true;
}

// ---- slow paths -------------------------------------------------------------------------------------------

// A theap without racks. Then: the racks are there, and empty. Then: malloc asks them, or doesn't.
void racks_detach(struct theap_s* theap);
void racks_attach(struct theap_s* theap);
void racks_show(struct theap_s* theap, bool shown);

// A block for the program from the rack, filled from `page` (NULL: not) as it has free ones or room. NULL when
// there is none.
block_t* rack_take_from(racks_t* racks, rack_t* rack, page_t* page);

// What is in the racks goes back to its pages.
void racks_flush(struct theap_s* theap);

// Heartbeat: gives back what lies in racks that nobody used since the last time.
void racks_tick(struct theap_s* theap);

// The pages are gone, or others' now: nothing is in the racks.
void racks_forget(struct theap_s* theap);

// What went round without the pages' counting it, and what is in the racks now: adds them to those counts.
// Any thread: about.
void racks_count(const struct theap_s* theap, int64_t* allocated, int64_t* freed);

#endif
