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

// Where rack_mark zeros the second 64 bytes of a block, 32 bytes each; not before its end, so in a block of less than 128
// bytes they overlap what is zeroed anyway. It costs nothing to have these at hand, but to ask for the size does: where
// sizes are many, a processor guesses the answer wrongly, and one wrong guess takes longer than all of the zeroing.
typedef struct rack_zeros_s {
  uint16_t third, fourth; // of the pieces of 32 bytes
} rack_zeros_t;

MI_INLINE rack_zeros_t rack_zeros(size_t tail) {
  size_t last = tail - 24; // wraps for the smallest size, which has no such pieces
  return (rack_zeros_t){(uint16_t)(last < 64 ? last : 64), (uint16_t)(last < 96 ? last : 96)};
}

// The blocks of one size.
typedef struct MI_ALIGNED(64) rack_s {
  block_t **top, **bottom, **limit; // of the stack
  size_t tail;                      // the offset of a block's last word
  uint64_t taken, filled;           // blocks that the program got, and that came from pages
  // Offsets in a page below this one may be blocks' starts; 0: rack_put takes nothing (see racks_set_reach).
  uint32_t reach;
  uint32_t seen; // `taken` when the thread's tick last looked
  rack_zeros_t zeros;
  block_t* below[2]; // no blocks, but readable as such; the stack begins behind them
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
  block_t **top = rack->top, *block = top[-1]; // below the stack: what is never whole
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

MI_INLINE void rack_zero_at(void* p, size_t offset) {
  rack_pair_t *at = (rack_pair_t*)((uint8_t*)p + offset), zero = {0, 0};
  at[0] = at[1] = zero;
}

// What stands in a block that is free: `pad`, then zeros (see BLOCK_ZEROED_BEGIN). `tail`: the offset of its last
// word; the size is a multiple of 16.
MI_INLINE void rack_mark(void* p, size_t tail, uint64_t pad, const rack_zeros_t* zeros) {
  rack_pair_t *first = (rack_pair_t*)p, *last = (rack_pair_t*)((uint8_t*)p + tail - 8), zero = {0, 0};
  *last = zero;
  *first = (rack_pair_t){pad, 0};
  if (tail < 32) return; // up to 32 bytes
  first[1] = last[-1] = zero;
  if (tail < 64) return; // up to 64 bytes
  first[2] = first[3] = last[-2] = last[-3] = zero;
  rack_zero_at(p, zeros->third);
  rack_zero_at(p, zeros->fourth);
}

// Takes what the program frees, a block of the rack's size. False, and nothing done: it isn't in use.
MI_INLINE bool rack_accept(struct theap_s* theap, racks_t* racks, rack_t* rack, void* p) {
  uint64_t pad = block_pad((block_t*)p);
  size_t tail = rack->tail;
  if (MI_UNLIKELY(*rack_word((block_t*)p, tail) != pad)) return false;
  rack_mark(p, tail, pad, &rack->zeros);
  waiting_t* end = racks->end;
  atomic_set_relaxed(&end->block, (block_t*)p);
  atomic_set_relaxed(&end->rack, rack);
  racks->end = ++end;
  if (MI_UNLIKELY(end == racks->limit)) racks_turn(theap);
  return true;
}

// The same for what was freed in a page of that bin. False also when it has no rack, or more is to be done.
MI_INLINE bool rack_put(struct theap_s* theap, racks_t* racks, unsigned bin, void* p) {
  rack_t* rack = racks->by_bin[bin];
  return MI_LIKELY((uint16_t)(uintptr_t)p < rack->reach) && rack_accept(theap, racks, rack, p);
}

// ---- slow paths -------------------------------------------------------------------------------------------

// A theap without racks. Then: the racks are there, and empty. Then: malloc asks them, or doesn't.
void racks_detach(struct theap_s* theap);
void racks_attach(struct theap_s* theap);
void racks_show(struct theap_s* theap, bool shown);

// Blocks that are zeroed wholly when they are freed (block_zeroes_all) don't go the short way: one test less there.
void racks_set_reach(struct theap_s* theap);

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
