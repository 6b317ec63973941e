// The operating system contract: everything the allocator asks of the system goes through here.
// src/os/windows and src/os/posix hold one implementation each; Meson picks the folder. The posix one behaves
// as Windows does: 64 KiB granularity, only whole reservations are released, reserved memory must be
// committed.
//
// Rules for every function unless it says otherwise: any thread may call it at any time, also under the
// loader lock, before our own process attach and while the process exits; it allocates nothing from us, calls
// no CRT allocation function and no user code; failure is a return value, never a message.
#ifndef OS_OS_H
#define OS_OS_H

#include "base/attributes.h"

// ---- start-up -------------------------------------------------------------------------------------------

// Reads what never changes (page size, run-time looked up functions). Idempotent; call before any other
// function.
void os_init(void);

size_t os_page_size(void); // bytes, a power of two, at most OS_GRANULARITY
size_t os_processor_count(void);

// How many ranges of memory with different protection the process may have, about. Windows has no limit. Linux has one,
// 65,530 unless set otherwise, and so has Wine there.
size_t os_mapping_limit(void);

// ---- memory ---------------------------------------------------------------------------------------------

#define OS_GRANULARITY (64 * MI_KIB) // reservations start at multiples of this

// Reserves `size` bytes of address space (a multiple of the page size) without memory behind it.
// Returns an OS_GRANULARITY-aligned address or NULL.
void* os_reserve(size_t size);

// The same at exactly `address` (OS_GRANULARITY-aligned); NULL when the range is not free.
void* os_reserve_at(void* address, size_t size);

// Reserves and commits in one call; the memory reads as zero. NULL on failure.
void* os_reserve_and_commit(size_t size);

// Makes pages of a reservation usable. Pages that were not committed read as zero afterwards, others keep
// their contents. The range may span committed and uncommitted pages, not two reservations.
bool os_commit(void* start, size_t size);

// After a failed os_commit or os_reserve_and_commit: may the same call succeed soon, because the system was
// short of memory that other processes give back? Then waits for about `ms` milliseconds. False, without
// waiting: where commits don't fail for that, while the calling thread holds the loader lock, and while the
// process exits.
bool os_wait_for_memory(uint32_t ms);

// Gives the memory behind the pages back; they must be committed again before use (and then read as zero).
bool os_decommit(void* start, size_t size);

// The contents of the pages don't matter any more; the system may take the memory, the pages stay usable.
bool os_reset(void* start, size_t size);

// Makes committed pages inaccessible, or accessible again with what they held.
bool os_protect(void* start, size_t size, bool accessible);

// Reserves and commits large pages (2 MiB or more; `size` a multiple of ARENA's alignment), on the NUMA node
// if that isn't -1. Locked in memory: can't be decommitted. NULL when the system grants none, which is the
// usual case. Not under the loader lock.
void* os_reserve_large(size_t size, int numa_node);

// Releases a whole reservation: `base` and `size` as returned by and given to os_reserve*.
bool os_release(void* base, size_t size);

// ---- C++ ------------------------------------------------------------------------------------------------
// For operators new whose code is ours, which is C: what only a C++ runtime can do. `caller`: a return
// address in the program, whose runtime is meant if the process has several. With none of our locks held: a
// handler may do anything, throw included.

// Calls the program's new-handler. False when there is none, or no runtime that has one.
bool os_cxx_call_new_handler(const void* caller, size_t size);

// Throws std::bad_alloc. Returns when there is no runtime that could, or when it couldn't find its way
// through our functions to the program's.
void os_cxx_throw_bad_alloc(const void* caller);

// ---- time and environment -------------------------------------------------------------------------------

// Milliseconds from an arbitrary start, monotonic, wraps at 2^32: compare by subtraction. Resolution 1-16 ms.
// Cheap.
uint32_t os_clock_ms(void);

// Copies the value of an environment variable (NUL-terminated). False when it isn't set or doesn't fit.
bool os_environment(const char* name, char* value, size_t capacity);

// The same in wide characters; `capacity` counts characters.
bool os_environment_wide(const wchar_t* name, wchar_t* value, size_t capacity);

// Random numbers that others can't guess, from the best source that can be had without loading a library.
void os_random(uint64_t random[2]);

// The same for where memory is to lie: without the system's generator, as asking whether its library is loaded takes a tenth
// of a millisecond where it isn't (Wine).
uint64_t os_random_place(void);

// Calls `visit` with the name of each environment variable that begins with `prefix`, in whatever case, as
// long as it is ASCII and shorter than 64 characters.
void os_environment_names(const char* prefix, void (*visit)(void* context, const char* name), void* context);

// Writes to the process's standard error; drops the text when there is none.
void os_write_error(const char* text, size_t length);

typedef enum os_log_e {
  OS_LOG_NONE,    // the environment names none: `text` is to go to standard error
  OS_LOG_WRITTEN, // it has the text
  OS_LOG_FAILED,  // it can't be opened or written
} os_log_t;

// Appends to the file that the environment variable `variable` names; "%p" in the name is this process's
// number. The variable is read once, and a relative name refers to the current folder of then. The file is
// opened and closed each time: no handle is kept, and several processes may share a file. On Windows the
// value "debugger" means that text which has no standard error to go to goes to the debugger
// (OutputDebugString). `text` is NUL-terminated.
os_log_t os_log_write(const char* variable, const char* text, size_t length);

typedef struct os_process_usage_s {
  uint64_t elapsed_ms, user_ms, system_ms; // elapsed: since os_init
  size_t current_rss, peak_rss;            // bytes
  size_t current_commit, peak_commit;      // bytes; 0 when the system doesn't tell
  size_t page_faults;
} os_process_usage_t;

// May call functions looked up at run time: not under the loader lock.
void os_process_usage(os_process_usage_t* usage);

// Absolute path of `name` into `path` (NUL-terminated). Returns its length without the NUL, or 0 on failure.
size_t os_full_path(const char* name, char* path, size_t capacity);

// Room that programs provide for a path, terminator included: MAX_PATH, PATH_MAX.
size_t os_path_max(void);

// Ends the process at once, as abort() would: exit code 3 on Windows, SIGABRT elsewhere.
MI_NORETURN void os_abort(void);

// Sets errno of every C runtime in the process for the calling thread (on Windows there may be several or
// none).
void os_set_errno(int code);

// ---- threads --------------------------------------------------------------------------------------------

// Identifies a living thread, never 0. Ids of dead threads are reused: not evidence of identity.
uint32_t os_thread_id(void);

// True only with evidence that no living thread has this id: it ended, was terminated, or never was. False
// also when the id was given to a new thread meanwhile, or when it can't be known.
bool os_thread_is_dead(uint32_t id);

// What makes the end of the calling thread certain to others, though ids are given again: 0 when there is none. Windows: a
// handle, as long as which is open no other thread gets the id. Elsewhere: when the thread began. To be given up by
// os_thread_unwatch, on any thread.
uint64_t os_thread_watch(void);
void os_thread_unwatch(uint64_t watch);

// True: the living thread with this id isn't the one that made `watch`. It may have been given up meanwhile.
bool os_thread_is_another(uint32_t id, uint64_t watch);

// True once the process is being ended and all other threads are already dead (perhaps inside our code,
// holding locks).
bool os_is_exiting(void);

// The highest address of the running stack, which may be a fiber's; the highest of all where it can't be
// known cheaply.
void* os_stack_base(void);

// Lets another thread run.
void os_yield(void);

// ---- a timer ----------------------------------------------------------------------------------------------

// Lets the system call `tick` about every `period_ms` milliseconds, on a thread of its own, until that
// returns false; then a further start is needed. Does nothing while it is running. Never keeps the process
// alive. May be called under the loader lock.
void os_timer_start(uint32_t period_ms, bool (*tick)(void));

// No call comes any more, and none is going on when this returns. Under the loader lock (unload).
void os_timer_free(void);

// ---- locks ------------------------------------------------------------------------------------------------

// A lock for rare, short critical sections that never call the system's blocking primitives (see
// docs/lifecycle.md). A lock that a dead thread left taken is taken over: then what it guards may be half
// changed. Zero-initialised is open.
typedef struct os_lock_s {
  uint32_t owner; // thread id of the holder, 0 when open
} os_lock_t;

bool os_lock_acquire(os_lock_t* lock); // true: taken over from a dead thread
bool os_lock_try(os_lock_t* lock);
void os_lock_release(os_lock_t* lock);

// ---- the per-thread slot (os_slot.h in the platform folder)
// ------------------------------------------------ One pointer per thread, NULL in a new thread; survives
// fiber switches. The platform's os_slot.h defines
//
//   bool  os_slot_init(void)        once, before use; false when the system has no slot left
//   void  os_slot_free(void)        gives the index back (DLL unload)
//   void* os_slot_get_fast(void)    inline, the hot path: the value, or NULL when it can't be read the fast way
//   bool  os_slot_is_fast(void)     inline: os_slot_get_fast can read it, so NULL is the value
//   void* os_slot_get(void)         the value, by whatever way works
//   bool  os_slot_set(void* value)  false when the system could not make room for it
//
// and, for the sake of slow paths:
//
//   void  os_stack_probe(void)      inline: touches as much of the stack below as our deepest calls need. If there is no
//                                   room, the program's stack overflow happens here, where no lock is held and nothing
//                                   is half changed
#include "os_slot.h"

// The slot's value of a thread that gave its heap back for good, or is about to: what it allocates is served
// by the late theap, and no callback of the program is called on it (it may hold the loader lock).
#define OS_SLOT_DETACHED ((void*)1)

// ---- the bell: "call me when this thread ends" ------------------------------------------------------------
// For static linking only; the DLL is rung by DllMain instead. The library that is linked holds exactly one
// implementation (thread_exit*.c), which calls these functions of the life cycle.

typedef struct os_bell_hooks_s {
  void (*thread_exit)(
      void); // on the ending thread; may be rung more than once, or for a thread that never allocated
  void (*process_done)(void); // before process_exit where that isn't under the loader lock; NULL: not wanted
  void (*process_exit)(void); // on the exiting thread; may be rung more than once
  void (*process_unload)(void); // the module that we are linked into is unloaded, the process goes on
  bool wants_exit; // process_exit matters, however the process ends: worth an index of fiber-local storage
} os_bell_hooks_t;

// Arms the bell; called once at process initialisation.
void os_bell_init(const os_bell_hooks_t* hooks);

// Called when a thread gets a theap, and if `os_bell_is_per_fiber` also on its slow paths, since the thread
// may have switched to another fiber. `value` is not NULL.
void os_bell_arm_thread(void* value);
extern bool os_bell_is_per_fiber;

// Unload: no more rings.
void os_bell_free(void);

// The mechanism in force: "DllMain", "tls-callback", "fls", "pthread-key", or "none" (dead threads are found
// by reaping).
const char* os_bell_name(void);

#endif
