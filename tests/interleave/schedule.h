// Runs the threads of a scenario in every order, up to a number of preemptions.
//
// Vocabulary
//   thread      a coroutine with a slot and a thread id of its own: A, B or C. 0 is the test itself, which
//               prepares the scenario and judges what came of it
//   point       an atomic operation, a lock, a fence or a call of the system that is about to happen
//   preemption  a switch at a point of a thread that could go on. Switches where a thread ends, waits for a
//               lock or yields cost nothing; all of them are tried
//   late        a switch after which the others don't see what the thread stored last, until it goes on: a
//               store may wait in the processor while the thread reads on. All stores since its last atomic
//               change, but for sequentially consistent ones
//   kill        the thread never goes on: it is dead then, and the system says so
//   schedule    A12.B.A: A passes 12 points, then B runs until it ends or waits, then A. A12x: killed there;
//               A12l: late
//
// Depth first over all choices with at most so many preemptions (and kills, of which each counts one as
// well); a run begins with the memory as the preparation left it. A point is worth a preemption if another
// thread uses the same address in the same run and one of them writes: these are found out as runs go by, and
// when there are new ones the search begins again.
#ifndef TESTS_INTERLEAVE_SCHEDULE_H
#define TESTS_INTERLEAVE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCHEDULE_THREADS = 3 };

typedef struct scenario_s {
  const char* name;
  const char* what;
  void (*prepare)(void);
  void (*threads[SCHEDULE_THREADS])(void); // NULL: none
  void (*judge)(void);                     // when all have ended
  unsigned killable;                       // which threads may be killed, 1 << 0 for A; at most one is
  int bound;                               // preemptions, unless asked for; 0: the usual ones
} scenario_t;

typedef struct schedule_result_s {
  uint64_t runs, points;
  bool failed;
} schedule_result_t;

// `text`: this schedule alone; NULL: all of them, `bound` < 0: as the scenario says.
schedule_result_t schedule_scenario(const scenario_t* scenario, int bound, const char* text);

// Once, before all else: what is in static memory from here on comes back for each scenario.
void schedule_begin(void);

// For the preparation and the judge: what follows is done as thread `number` (1: A), without points. 0: as
// the test.
void schedule_as(unsigned number);
unsigned schedule_self(void);

// How many atomic changes (reads and writes in one) there were since the program's start, points or not.
uint64_t schedule_changes(void);

uint32_t schedule_id(unsigned number);
bool schedule_is_killed(unsigned number);

// The run has failed: it ends here.
__attribute__((noreturn, format(printf, 1, 2))) void schedule_fail(const char* format, ...);

// ---- for the model of the system --------------------------------------------------------------------------

// Nothing to do for the thread until another one did something.
void schedule_yield(void);
// Waits until *owner is 0, or a dead thread's.
void schedule_wait(const uint32_t* owner);
bool schedule_is_dead(uint32_t id);

#endif
