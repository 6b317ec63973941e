// What we know of a thread that allocates: its theaps, one per heap that it used, and what it has in its
// hands.
//
// The slot (os_slot) holds the thread's default theap; that one's `thread` is this record, and in it is the table
// by which the theaps of other heaps are found (theap_cached).
//
// Records are type-stable. A thread that ends leaves its record with the theap of the main heap to the next
// thread. A thread that is killed leaves it as it is; `holder` tells who may have it.
#ifndef CORE_HEAPS_THREAD_H
#define CORE_HEAPS_THREAD_H

#include "core/heaps/theap.h"

// thread_t.holder, one word so that a reaper can take exactly the ownership that it found dead:
//   bits 0..2   who has the record; bits 3..34 the thread's id; bits 35..63 number of the acquisition
// TAKEN: the thread with that id is giving back what a dead one left.
enum { THREAD_SPARE, THREAD_OWNED, THREAD_LATE, THREAD_TAKEN };
#define THREAD_HOLDER(kind, id, number) ((uint64_t)(number) << 35 | (uint64_t)(id) << 3 | (uint64_t)(kind))

typedef struct MI_ALIGNED(64) thread_s {
  theap_t* main;   // of the sub-process's main heap
  theap_t* chosen; // the default one, which has the table of the others
  theap_t* theaps; // all of them, linked by thread_next
  subproc_t* subproc;
  uint64_t watch; // of the owner (os_thread_watch); 0: not made yet
  arena_hands_t hands;
  bool was_owned; // by a thread that was found dead, and is still counted
  uint32_t
      is_untidy; // others deleted or destroyed heaps of some of its theaps: those are to end (theaps_tidy)
  uint32_t is_superseded;    // another record was acquired by a thread with the same id: its thread is dead
  struct thread_s* all_next; // list of all records, push only
  MI_ALIGNED(64) uint64_t holder;
  struct thread_s* list_next; // link in the stack of spares, and of those that are reaped together
} thread_t;

MI_INLINE unsigned thread_holder_kind(uint64_t holder) { return (unsigned)(holder & 7); }
MI_INLINE uint32_t thread_holder_id(uint64_t holder) { return (uint32_t)(holder >> 3); }
MI_INLINE uint32_t thread_holder_number(uint64_t holder) { return (uint32_t)(holder >> 35); }

// ---- life -----------------------------------------------------------------------------------------------

// A record for the calling thread, with a theap of the main heap of `subproc`. NULL when out of memory.
thread_t* thread_acquire(subproc_t* subproc);

// Gives back all that the thread has: its pages are abandoned or go back to their arenas.
void thread_give_back(thread_t* thread);

// The calling thread's theap of any living heap of its sub-process, made if need be; NULL when out of memory.
// `thread` may be the late one (its lock held).
theap_t* thread_theap(thread_t* thread, heap_t* heap);

// The same; NULL when the thread has none yet.
theap_t* thread_find_theap(const thread_t* thread, heap_t* heap);

// Makes `theap`, one of the calling thread's, its default one. False when the slot can't be written.
bool thread_choose(thread_t* thread, theap_t* theap);

// The shared record for threads that have none (any more): its theaps serve what they still allocate. The
// first takes its lock, the second opens it.
thread_t* thread_late_enter(subproc_t* subproc);
void thread_late_leave(void);
// The late theaps in a sub-process that ends are forgotten.
void thread_late_forget(subproc_t* subproc);
MI_INLINE bool thread_is_late(const thread_t* thread) {
  return thread_holder_kind(thread->holder) == THREAD_LATE;
}

// Looks whether threads that have records are dead without having given them back (TerminateThread, or nobody
// told us of the thread's end), until `checks` living ones were seen, and gives back what the dead left. Returns how many
// were reaped. `thread`: the calling thread's, or NULL.
size_t thread_reap(thread_t* thread, size_t checks);

// Is the thread that has the record dead for sure?
bool thread_is_dead(const thread_t* thread);

// The same for a few, if there is reason to suspect that some are dead. When a thread got its record.
void thread_reap_some(thread_t* thread);

// A full collection: what `thread` has, the late theaps, dead threads, abandoned pages of all heaps; then
// purges. `force` false: only what the thread's own theaps can give back at once.
void thread_collect(thread_t* thread, bool force);

// Memory under free blocks in pages that stay goes back, as far as these are the calling thread's or others freed them
// (core/heaps/idle.h). `thread`: its record, or the late one.
void thread_trim(thread_t* thread);

// All records ever made, linked by all_next.
thread_t* thread_first(void);

// Unload: forgets all.
void thread_reset_all(void);

#endif
