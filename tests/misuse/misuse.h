// Cases of misuse, and what they prove themselves. A case runs in a process of its own: it makes a world of
// blocks with known contents, misuses memory once, and lets judge() look for harm. The exit code is the
// verdict; a process that the allocator or the machine ended has none, and that is a verdict, too (run.py).
//
// Harm is only what is proven:
//   - malloc returns memory that overlaps a block in use, or that was never the allocator's
//   - a block in use loses its contents, and nothing was noticed until the end
//   - what a block held can be read by who must not
//   - a loop without end (the runner's limit)
#ifndef TESTS_MISUSE_H
#define TESTS_MISUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <mimalloc.h>

enum {
  VERDICT_REFUSED = 40, // an error was reported or returned, and no harm was found
  VERDICT_SILENT = 41,  // nothing was said, and no harm was found
  VERDICT_HARM = 42,
  VERDICT_NO_CASE = 43, // the case could not be made: a failure of the suite, not of the allocator
};

typedef struct case_s {
  const char* name;
  void (*run)(const struct case_s* c); // returns to be judged
  size_t size;                         // of the blocks, bytes
  ptrdiff_t amount;                    // an offset, a length, an alignment: as the group says
  int how;                             // which of several ways
} case_t;

typedef struct group_s {
  const char* title;
  const case_t* cases;
  size_t count;
} group_t;

#if defined(__MINGW_PRINTF_FORMAT) // standard C's or Microsoft's, whichever stdio.h has
#define MISUSE_PRINTF(format_index, first) __attribute__((format(__MINGW_PRINTF_FORMAT, format_index, first)))
#else
#define MISUSE_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#endif

#define GROUP(title, cases)                                                                                  \
  { title, cases, sizeof(cases) / sizeof((cases)[0]) }
extern const group_t group_control, group_double_free, group_bad_free, group_overflow, group_underflow,
    group_after_free, group_forged, group_size_mismatch, group_realloc, group_arithmetic, group_open;

// Sizes that the allocator treats in different ways: a class of small blocks, of medium ones, of large ones;
// a block with slices to itself. Each is a whole size class: there is no slack behind the block.
enum { TINY = 8, SMALL = 64, KILO = 1024, MEDIUM = 20480, LARGE = 196608, HUGE = 3 * 1024 * 1024 };

// ---- the world --------------------------------------------------------------------------------------------

void* keep(size_t size);               // mi_malloc, filled with a pattern and watched from now on
void* keep_this(void* p, size_t size); // the same for a block that is there already
void keep_many(size_t size, size_t count);
void keep_neighbours(size_t size); // as many as make a page of that size look used
size_t plenty(size_t size);        // a number of blocks that fills a page of that size, or some huge ones
void forget(void* p);              // not watched any more
void release(void* p);             // forget, and mi_free
void check_contents(void);         // what was lost is harm, if nobody notices until the end

// Memory that is never malloc's to give out.
void forbid(const void* start, size_t size, const char* what);

// Where an attacker would like malloc to point: zeros, page-aligned, forbidden.
extern unsigned char attacker[256 * 1024];
void fill_with_attacker(void* at, size_t size); // its address, again and again, as words lie in memory

void* hide(const volatile void* p);                // the same pointer, and the compiler knows nothing of it
void in_thread(void (*run)(void* arg), void* arg); // starts a thread and waits for its end
void free_in_thread(void* p);

// ---- verdicts ---------------------------------------------------------------------------------------------

void harm(const char* format, ...) MISUSE_PRINTF(1, 2) __attribute__((noreturn));
void harm_unless_noticed(const char* format, ...) MISUSE_PRINTF(1, 2);
void refused(void); // the call told by what it returned that it did nothing
void no_case(const char* why) __attribute__((noreturn));

// Allocates blocks of `size` until harm would show, here and in another thread; frees all; allocates again;
// ends the process with the verdict.
void judge(size_t size) __attribute__((noreturn));

// A loop of malloc: every block is checked and kept.
void probe(size_t size, size_t count);

#endif
