// The bell of the static library, linked into an exe or a DLL that isn't ours. Two mechanisms; the Meson
// option static_thread_exit says which (MI_THREAD_EXIT_TLS, MI_THREAD_EXIT_FLS; both: decided at run time).
//
// TLS callback: the loader calls it like a DllMain for the module we are linked into. Exact for threads
// whatever their fibers do. Not delivered to a DLL that a Windows before Vista loads by LoadLibrary.
//
// FLS: the system calls back for each fiber's value when the fiber ends, and for the current fiber's value
// when the thread ends. The value that we set is a record of the fiber it was set on, one of its own for each
// fiber, so the callback can tell the two apart: only when the record is that of the running fiber does the
// thread end (DeleteFiber of oneself ends the thread, too). Fibers wander between threads, and any thread may
// delete any of them; the record goes with the fiber. A thread that ends on a fiber which never came by our
// slow path isn't told of; its theap is found by reaping. FlsAlloc came with Server 2003 and Vista, so it is
// looked up.
//
// The end of the process: the C runtime's atexit, for a DLL also the runtime's part of its DllMain. An exe
// that ends by ExitProcess or abort is told by its TLS callback, but not under Wine 8. That calls FLS
// callbacks for the exiting thread, so an exe whose report is wanted has an FLS index in any case.
#include "os/os.h"
#include "base/atomics.h"
#include "teb.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <stdlib.h>

bool os_bell_is_per_fiber = false;

static os_bell_hooks_t bell;
static const char* bell_name = "none";

static bool is_in_exe(void) {
  MEMORY_BASIC_INFORMATION info;
  return VirtualQuery(&bell, &info, sizeof(info)) != 0 && info.AllocationBase == GetModuleHandleA(NULL);
}

static void arm_this_thread(void);

// ---- TLS callback ------------------------------------------------------------------------------------

#if MI_THREAD_EXIT_TLS
static uint32_t tls_is_delivered;

static void NTAPI on_tls_event(PVOID module, DWORD reason, PVOID reserved) {
  MI_UNUSED(module);
  MI_UNUSED(reserved); // always NULL here: only DllMain can tell exit from unload
  atomic_set_relaxed(&tls_is_delivered, 1u);
  if (bell.thread_exit == NULL) return; // nobody ever allocated
  if (reason == DLL_THREAD_DETACH && !os_bell_is_per_fiber) bell.thread_exit();
  if (reason == DLL_THREAD_ATTACH && bell.wants_exit) arm_this_thread();
  if (reason == DLL_PROCESS_DETACH && is_in_exe()) bell.process_exit();
}

// The linker sorts .CRT$XL* between the start and end marks of the runtime's callback table. `used` and the
// reference from os_bell_init (which pulls this object out of the archive) keep it through -flto and
// --gc-sections.
__attribute__((section(".CRT$XLB"), used)) static const PIMAGE_TLS_CALLBACK tls_callback = &on_tls_event;

#if defined(_MSC_VER) // whose linker makes a TLS directory only when it is asked to
#if MI_64BIT
#pragma comment(linker, "/include:_tls_used")
#else
#pragma comment(linker, "/include:__tls_used")
#endif
#endif

static bool tls_start(void) {
  // The process attach, or for a late DLL its own, comes before any code of the module can allocate.
  return atomic_get_relaxed(&tls_is_delivered) != 0;
}
#else
static bool tls_start(void) { return false; }
#endif

// ---- FLS ---------------------------------------------------------------------------------------------

typedef DWORD(WINAPI* fls_alloc_t)(PFLS_CALLBACK_FUNCTION);
typedef BOOL(WINAPI* fls_free_t)(DWORD);
typedef PVOID(WINAPI* fls_get_t)(DWORD);
typedef BOOL(WINAPI* fls_set_t)(DWORD, PVOID);

static DWORD fls_index = FLS_OUT_OF_INDEXES;
static fls_free_t fls_free;
static fls_get_t fls_get;
static fls_set_t fls_set;
static uint32_t fls_is_closing;
// Its address is the value of threads whose end TLS callbacks tell of: only the end of the process is wanted
// then.
static char exit_mark;

// From the process heap: the callback may come at any time, also when all of our own memory is gone.
typedef struct fiber_record_s {
  void* fiber;
  DWORD thread; // the one it was on when the record was made
} fiber_record_t;

// As GetCurrentFiber, of which GCC believes that it reads beyond an array.
static void* current_fiber(void) { return teb_read(TEB_FIBER_DATA); }

// Threads that aren't fibers have one of two small values in the fiber's place.
#define FIBER_MIN ((uintptr_t)0x10000)

static bool is_running_fiber(const fiber_record_t* record) {
  void* running = fls_get(fls_index);
  if (running != NULL) return running == record;
  // No system documents whether it clears the value before or after it calls back. Here it was cleared, or
  // the running fiber has no record: then where the record was made is the evidence.
  if (record->fiber != current_fiber()) return false;
  return (uintptr_t)record->fiber >= FIBER_MIN || record->thread == GetCurrentThreadId();
}

static void NTAPI on_fls_value_gone(PVOID value) {
  fiber_record_t* record = (fiber_record_t*)value;
  if (os_is_exiting()) { // it is the exiting thread's. Heaps may be locked by dead threads now
    if (is_in_exe()) bell.process_exit();
    return;
  }
  if (value == &exit_mark) return;
  // FlsFree calls it for every thread's value.
  if (!atomic_get_relaxed(&fls_is_closing) && is_running_fiber(record)) bell.thread_exit();
  HeapFree(GetProcessHeap(), 0, record);
}

static FARPROC kernel32(const char* name) { return GetProcAddress(GetModuleHandleA("kernel32.dll"), name); }

// `per_fiber`: for the ends of threads, not for the end of the process alone. Known before the index is:
// other threads may arm themselves at once.
static bool fls_open(bool per_fiber) {
  fls_alloc_t fls_alloc = (fls_alloc_t)(void (*)(void))kernel32("FlsAlloc");
  fls_free = (fls_free_t)(void (*)(void))kernel32("FlsFree");
  fls_get = (fls_get_t)(void (*)(void))kernel32("FlsGetValue");
  fls_set = (fls_set_t)(void (*)(void))kernel32("FlsSetValue");
  if (fls_alloc == NULL || fls_free == NULL || fls_get == NULL || fls_set == NULL) return false;
  os_bell_is_per_fiber = per_fiber;
  fls_index = fls_alloc(&on_fls_value_gone);
  if (fls_index != FLS_OUT_OF_INDEXES) return true;
  os_bell_is_per_fiber = false;
  return false;
}

static void arm_this_thread(void) {
  if (fls_index == FLS_OUT_OF_INDEXES || os_is_exiting())
    return;                     // the process heap may be locked by a dead thread
  DWORD error = GetLastError(); // FlsGetValue clears it
  bool is_armed = fls_get(fls_index) != NULL;
  if (!is_armed && !os_bell_is_per_fiber) {
    fls_set(fls_index, &exit_mark);
  } else if (!is_armed) {
    // Without memory for it the thread's end isn't told here; reaping finds it.
    fiber_record_t* record = (fiber_record_t*)HeapAlloc(GetProcessHeap(), 0, sizeof(fiber_record_t));
    if (record != NULL) {
      *record = (fiber_record_t){current_fiber(), GetCurrentThreadId()};
      if (!fls_set(fls_index, record)) HeapFree(GetProcessHeap(), 0, record);
    }
  }
  SetLastError(error);
}

void os_bell_arm_thread(void* value) {
  MI_UNUSED(value);
  arm_this_thread();
}

void os_bell_free(void) {
  atomic_set_relaxed(&fls_is_closing, 1u);
  if (fls_index != FLS_OUT_OF_INDEXES)
    fls_free(fls_index); // a callback left behind would run in unmapped memory
  fls_index = FLS_OUT_OF_INDEXES;
}

// ---- both --------------------------------------------------------------------------------------------

// Called by the C runtime of our module: at exit of the process, or when our module, a DLL, is unloaded.
static void on_exit(void) {
  if (bell.process_exit == NULL) return; // nobody ever allocated
  if (is_in_exe() || os_is_exiting()) {
    if (!os_is_exiting() && bell.process_done != NULL) bell.process_done();
    bell.process_exit();
  } else {
    bell.process_unload();
  }
}

// What is registered first runs last: after all destructors and atexit functions of the module, which may use
// and free blocks to their last moment. So it is done by an initializer of the C kind, of which the runtimes
// run $XCB before all C++ ones.
static bool on_exit_is_registered;
static void register_on_exit(void) {
  if (!on_exit_is_registered) on_exit_is_registered = atexit(&on_exit) == 0;
}
typedef void initializer_t(void);
__attribute__((section(".CRT$XCB"), used)) static initializer_t* const early_initializer = &register_on_exit;

void os_bell_init(const os_bell_hooks_t* hooks) {
  DWORD error = GetLastError(); // systems without FLS set it
  bell = *hooks;
  if (!tls_start() && MI_THREAD_EXIT_FLS && fls_open(true)) {
    bell_name = "fls";
  } else if (hooks->wants_exit && is_in_exe()) {
    fls_open(false);
  }
  if (hooks->wants_exit) arm_this_thread();
  SetLastError(error);
  register_on_exit(); // not every system delivers the process detach to TLS callbacks
}

const char* os_bell_name(void) {
#if MI_THREAD_EXIT_TLS
  // The first allocation may have come before our TLS callback, from another one.
  if (!os_bell_is_per_fiber && atomic_get_relaxed(&tls_is_delivered)) return "tls-callback";
#endif
  return bell_name;
}
