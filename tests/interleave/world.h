// What the scenarios share: threads with theaps, blocks that are watched, and what must be true in the end.
#ifndef TESTS_INTERLEAVE_WORLD_H
#define TESTS_INTERLEAVE_WORLD_H

#include "interleave/model.h"
#include "interleave/schedule.h"
#include "core/heaps/abandoned.h"
#include "core/heaps/thread.h"
#include "core/report/options.h"
#include "core/stats/stats.h"

#include <string.h>

enum { A = 1, B, C };

// Options for small scenarios, an arena of 16 MiB; free memory isn't purged. Then threads A to `last` get
// their records.
void world_begin(unsigned last);

// The running thread's record, if it has one.
thread_t* world_self(void);
void world_start_thread(void); // the running thread gets a record
void world_end_thread(void);   // and gives it back

// Blocks by number. Taking checks that nobody has any of it, that there is memory behind it, and zeros if
// they were promised. Freeing checks the contents.
int world_take(size_t size);
int world_take_in(heap_t* heap, size_t size);
void world_free(int block);
void world_free_by_nobody(int block); // as a thread without a record does it
void* world_address(int block);
page_t* world_page(int block);
void world_check(int block);
// The block's bytes are somebody else's business from here on (its heap was destroyed, it was freed twice).
void world_forget(int block);

// Takes blocks until the running thread's page of the class has room for `room` more. Returns the first one's
// number; the others follow.
int world_fill_page(size_t size, unsigned room);

// world_begin(C), and memory goes back after a second; then `owner` fills a page but for one block, and `freer` frees the last
// five of its blocks, so that two are in use. Returns the first one's number.
int world_begin_with_free(size_t size, unsigned owner, unsigned freer);

typedef struct world_loss_s {
  unsigned blocks, pages, slices, records;
} world_loss_t;

// All threads end but those killed; contents are as they were; all blocks are freed; nothing is left but at
// most `loss`. Statistics are exact if nothing was lost.
void world_end(world_loss_t loss);
void world_end_without_loss(void);

size_t world_arenas(void);
size_t world_free_slices(void);

#define world_assert(condition)                                                                              \
  do {                                                                                                       \
    if (!(condition)) schedule_fail("%s:%d: %s", strrchr("/" __FILE__, '/') + 1, __LINE__, #condition);      \
  } while (0)

#endif
