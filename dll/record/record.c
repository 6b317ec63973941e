#include "record.h"

#include "api/alloc_fast.h"
#include "base/atomics.h"
#include "base/format.h"
#include "base/memory.h"
#include "blocks.h"
#include "check.h"
#include "core/report/message.h"
#include "interval.h"
#include "mimalloc.h"
#include "report.h"
#include "sample.h"
#include "settings.h"
#include "stack.h"
#include "stacks.h"
#include "twins.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define DEPTH_DEFAULT 32
#define MEMORY_MIB    (MI_64BIT ? 1024 : 192) // of address space; it is used as it is needed
#define RATE_DEFAULT  (512 * MI_KIB)
#define CRASH_STACK   (64 * MI_KIB)
#define CRASH_REPORTS 4 // exceptions that may be caught in the end are reported so often

static struct {
  const char* mode; // NULL: off
  void *json, *text;
  const uint8_t* stack; // for the report of a crash
  uint32_t depth;
  uint64_t rate; // 0: every allocation
  bool is_check;
  uint32_t started_ms;
  report_totals_t totals;
  uint32_t sequence;
  uint32_t crashes;
  uint32_t is_over;
  os_lock_t writing;
} record;

// ---- events ---------------------------------------------------------------------------------------------

static MI_NOINLINE void note_taken(uintptr_t address, size_t size) {
  frame_t frames[STACK_FRAMES_MAX];
  blocks_expect(address);
  size_t count = stack_capture(frames, record.depth);
  block_record_t block; // set member by member: `next` is set when it is stored
  block.address = address;
  block.size = size;
  block.heap = (uintptr_t)mi_heap_of((const void*)address);
  block.sequence = atomic_add_relaxed(&record.sequence, 1);
  block.stack = stacks_add(frames, count);
  block.thread = os_thread_id();
  if (block.stack != 0) {
    stack_t* stack = stacks_at(block.stack);
    atomic_add_relaxed(&stack->allocations, 1);
    atomic_add_relaxed(&stack->bytes, size);
  }
  if (block.stack == 0 || !blocks_add(&block)) atomic_add_relaxed(&record.totals.not_recorded, 1);
}

// Where the size was not known before.
static MI_NOINLINE void note_new(uintptr_t address, size_t size) {
  if (address != 0 && (record.rate == 0 || sample_takes(size))) note_taken(address, size);
}

// Before the block is given back: afterwards another thread may have it. `before` may be NULL.
static void note_free(uintptr_t address, block_record_t* before) {
  if (before != NULL) before->address = 0;
  if (address != 0) blocks_remove(address, before);
}

static uintptr_t note_resize(const twin_t* twin, const uintptr_t* arguments, bool is_taken) {
  block_record_t before;
  size_t size = twin_size(twin, arguments);
  note_free(arguments[0], &before);
  uintptr_t result = twin_pass(twin, arguments);
  if (result != 0) {
    if (is_taken) note_taken(result, size);
  } else if (before.address != 0 && !(twin->more == 1 && size == 0) && twin->more != 2) {
    blocks_add(&before); // it is still there
  }
  return result;
}

static uintptr_t note_out_resize(const twin_t* twin, const uintptr_t* arguments) {
  block_record_t before;
  uintptr_t* block = (uintptr_t*)arguments[0];
  if (block == NULL) return twin_pass(twin, arguments);
  note_free(*block, &before);
  uintptr_t result = twin_pass(twin, arguments);
  if ((int)result == 0) {
    note_new(*block, twin_size(twin, arguments));
  } else if (before.address != 0) {
    blocks_add(&before);
  }
  return result;
}

// Before it is done: afterwards another heap may have the address. What isn't allowed isn't done, and is told by a
// message: destroying the main heap, or a sub-process with threads in it.
static void note_heap_end(uintptr_t heap, bool is_destroyed) {
  if (heap != 0 && (const mi_heap_t*)heap != mi_heap_main()) blocks_end_heap(heap, is_destroyed);
}

static bool mi_cdecl note_heap_of_subproc(mi_heap_t* heap, void* context) {
  MI_UNUSED(context);
  blocks_end_heap((uintptr_t)heap, true);
  return true;
}

static void note_subproc_end(mi_subproc_id_t subproc) {
  if (subproc._mi_subproc_id != mi_subproc_main()._mi_subproc_id)
    mi_subproc_visit_heaps(subproc, note_heap_of_subproc, NULL);
}

static uintptr_t on_call(const twin_t* twin, const uintptr_t* arguments, bool is_taken) {
  uintptr_t result;
  switch (twin->kind) {
  case TWIN_FREE:
    note_free(arguments[0], NULL);
    return twin_pass(twin, arguments);
  case TWIN_NEW:
    result = twin_pass(twin, arguments);
    if (is_taken && result != 0) note_taken(result, twin_size(twin, arguments));
    return result;
  case TWIN_RESIZE:
    return note_resize(twin, arguments, is_taken);
  case TWIN_OUT_RESIZE:
    return note_out_resize(twin, arguments);
  case TWIN_TEXT:
    result = twin_pass(twin, arguments);
    if (block_is_ours((void*)result)) note_new(result, block_usable_size((void*)result));
    return result;
  case TWIN_OUT:
  case TWIN_OUT_TEXT:
    result = twin_pass(twin, arguments);
    if ((int)result == 0 && arguments[0] != 0) {
      uintptr_t block = *(uintptr_t*)arguments[0];
      note_new(block, twin->kind == TWIN_OUT ? twin_size(twin, arguments) : block_usable_size((void*)block));
    }
    return result;
  case TWIN_EXPAND:
    result = twin_pass(twin, arguments);
    if (result != 0) blocks_resize(result, arguments[1]);
    return result;
  case TWIN_HEAP_DELETE:
  case TWIN_HEAP_DESTROY:
    note_heap_end(arguments[0], twin->kind == TWIN_HEAP_DESTROY);
    return twin_pass(twin, arguments);
  case TWIN_SUBPROC_DESTROY:
    note_subproc_end((mi_subproc_id_t){(void*)arguments[0]});
    return twin_pass(twin, arguments);
  default:
    return twin_pass(twin, arguments);
  }
}

// ---- reports --------------------------------------------------------------------------------------------

static wchar_t report_name[4096]; // MIMALLOC_REPORT; "" when there is none

static bool write_report(const char* reason, uint32_t exception, void* json, void* text) {
  report_t report = {.mode = record.mode,
                     .reason = reason,
                     .exception = exception,
                     .is_check = record.is_check,
                     .sample_bytes = record.rate,
                     .depth = record.depth,
                     .elapsed_ms = os_clock_ms() - record.started_ms,
                     .totals = record.totals,
                     .json = json,
                     .text = text};
  report.totals.allocations = record.sequence;
  if (record.is_check) report.totals.not_recorded = check_unguarded();
  bool done = report_write(&report);
  if (!done)
    message_error_always(MESSAGE_EINVAL, "the report could not be written (error %u)",
                         (unsigned)GetLastError());
  return done;
}

static HANDLE create(const wchar_t* path) {
  HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, CREATE_ALWAYS,
                            FILE_ATTRIBUTE_NORMAL, NULL);
  if (file != INVALID_HANDLE_VALUE) return file;
  message_error_always(MESSAGE_EINVAL, "a report can't be written: the file can't be created (error %u)",
                       (unsigned)GetLastError());
  return NULL;
}

static wchar_t path[sizeof(report_name) / sizeof(wchar_t) + 16];

// path: report_name with `digits` instead of the `skipped` characters at `place`.
static void make_path(size_t place, size_t skipped, const char* digits) {
  size_t at = 0, from = 0;
  while (from < place) path[at++] = report_name[from++];
  while (*digits != 0) path[at++] = (wchar_t)*digits++;
  from += skipped;
  do path[at++] = report_name[from];
  while (report_name[from++] != 0);
}

// "profile.json" becomes "profile.1.json".
static void number_path(uint32_t number) {
  size_t dot = 0, length = 0;
  for (; report_name[length] != 0; length++) {
    if (report_name[length] == L'.') dot = length;
    if (report_name[length] == L'\\' || report_name[length] == L'/') dot = 0;
  }
  char digits[16];
  format_print(digits, sizeof(digits), ".%u", number);
  make_path(dot == 0 ? length : dot, 0, digits);
}

// "%p" is the process's number, so that each process has its own.
static void name_process(void) {
  size_t at = 0;
  while (report_name[at] != 0 && (report_name[at] != L'%' || report_name[at + 1] != L'p')) at++;
  if (report_name[at] == 0) return;
  char digits[16];
  format_print(digits, sizeof(digits), "%u", (unsigned)GetCurrentProcessId());
  make_path(at, 2, digits);
  mem_copy(report_name, path, sizeof(report_name) - sizeof(wchar_t));
}

static bool dump(const char* reason) {
  static uint32_t count;
  if (record.mode == NULL || report_name[0] == 0 || atomic_get_relaxed(&record.is_over) != 0) return false;
  os_lock_acquire(&record.writing);
  number_path(++count);
  HANDLE file = create(path);
  bool done = file != NULL && write_report(reason, 0, file, NULL);
  if (file != NULL) CloseHandle(file);
  os_lock_release(&record.writing);
  return done;
}

static void snapshot(void) { dump("interval"); }

bool mi_profile_dump(void) { return dump("dump"); }

void record_process_exit(void) {
  interval_end();
  if (record.mode == NULL || atomic_swap_acq_rel(&record.is_over, 1u) != 0) return;
  images_look_again();
  if (record.is_check) check_end();
  write_report("exit", 0, record.json, record.text);
}

static void write_crash_report(uintptr_t code) {
  write_report("exception", (uint32_t)code, record.json, NULL);
}

// There may be no room on the thread's.
static void on_own_stack(void (*call)(uintptr_t), uintptr_t argument) {
  const uint8_t* top = record.stack + CRASH_STACK - 64;
#if defined(__x86_64__)
  __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %2, %%rsp\n\tcall *%1\n\tmovq %%rbx, %%rsp"
                   : "+c"(argument)
                   : "r"(call), "r"(top)
                   : "rbx", "rax", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                     "xmm5", "memory", "cc");
#elif defined(__i386__)
  __asm__ volatile("movl %%esp, %%ebx\n\tmovl %2, %%esp\n\tmovl %0, (%%esp)\n\tcall *%1\n\tmovl %%ebx, %%esp"
                   : "+a"(argument)
                   : "r"(call), "r"(top)
                   : "ebx", "ecx", "edx", "memory", "cc");
#else
  MI_UNUSED(top);
  call(argument);
#endif
}

// The process may be about to end without telling us. Passed on as it came.
static LONG CALLBACK on_exception(EXCEPTION_POINTERS* pointers) {
  DWORD code = pointers->ExceptionRecord->ExceptionCode;
  if (record.is_check && code == EXCEPTION_ACCESS_VIOLATION) check_exception(pointers);
  bool is_fatal = (code & 0xF0000000u) == 0xC0000000u || code == EXCEPTION_BREAKPOINT;
  if (!is_fatal || record.json == NULL || atomic_get_relaxed(&record.is_over) != 0)
    return EXCEPTION_CONTINUE_SEARCH;
  if (atomic_add_relaxed(&record.crashes, 1) < CRASH_REPORTS && os_lock_try(&record.writing)) {
    on_own_stack(write_crash_report, code);
    os_lock_release(&record.writing);
  }
  return EXCEPTION_CONTINUE_SEARCH;
}

// ---- start ----------------------------------------------------------------------------------------------

// Now, because nothing may be opened while the process ends.
static void open_files(void) {
  if (os_environment_wide(L"MIMALLOC_REPORT", report_name, sizeof(report_name) / sizeof(report_name[0])) &&
      report_name[0] != 0) {
    name_process();
    record.json = create(report_name);
  }
  char text[4];
  bool is_unwanted = os_environment("MIMALLOC_REPORT_TEXT", text, sizeof(text)) && text[0] == '0';
  HANDLE error = GetStdHandle(STD_ERROR_HANDLE);
  if (!is_unwanted && error != INVALID_HANDLE_VALUE) record.text = error;
}

static const char* start(const void* module) {
  size_t memory =
      (size_t)setting_number("MIMALLOC_RECORD_MEMORY", 8, MI_64BIT ? 65536 : 1024, MEMORY_MIB) * MI_MIB;
  record.depth = (uint32_t)setting_number("MIMALLOC_RECORD_DEPTH", 1, STACK_FRAMES_MAX, DEPTH_DEFAULT);
  record.started_ms = os_clock_ms();
  if (record.rate != 0)
    sample_start(record.rate, ((uint64_t)GetCurrentProcessId() << 32) + record.started_ms);
  record.stack = os_reserve_and_commit(CRASH_STACK);
  bool done = record.stack != NULL && images_start(module) && stack_start() && stacks_start(memory / 4);
  if (done && record.is_check) done = check_start(record.depth, record.text);
  size_t buckets = record.rate != 0 ? 16 * 1024 : record.is_check ? 256 : 1024 * 1024;
  done = done && blocks_start(memory - memory / 4, buckets);
  return done ? NULL : "there is no memory for it";
}

const void* record_caller(const void* address) {
  frame_t frame;
  uint64_t offset;
  if (!images_is_self((uintptr_t)address) || stack_capture(&frame, 1) == 0) return address;
  const image_t* image = frame_image(frame, &offset);
  return (const void*)((image == NULL ? 0 : image->base) + (uintptr_t)offset);
}

bool record_owns(const void* p) { return record.is_check && check_owns(p); }

// One mode at a time: the first of these that is on.
static const char* mode_of_environment(void) {
  if (setting_is_on("MIMALLOC_CHECK")) return "check";
  if (setting_is_on("MIMALLOC_LEAKS")) return "leaks";
  return setting_is_on("MIMALLOC_PROFILE") ? "profile" : NULL;
}

void record_attach(const void* module) {
  const char* mode = mode_of_environment();
  if (mode == NULL) {
    interval_start(0, NULL);
    return;
  }
  record.is_check = mode[0] == 'c';
  if (mode[0] == 'p')
    record.rate = setting_number("MIMALLOC_PROFILE_RATE", 1, (uint64_t)1 << 40, RATE_DEFAULT);
  HMODULE kept;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCSTR)module,
                     &kept);
  open_files();
  const char* problem = start(module);
  if (problem == NULL)
    problem = twins_install(module, record.rate != 0, record.is_check ? check_call : on_call);
  if (problem != NULL) {
    message_error_always(MESSAGE_EINVAL, "nothing is recorded: %s", problem);
    record.is_check = false;
    return;
  }
  record.mode = mode;
  AddVectoredExceptionHandler(1, on_exception);
  interval_start(1000 * (uint32_t)setting_number("MIMALLOC_PROFILE_INTERVAL", 1, 1000000, 0), snapshot);
}

const plan_replacement_t* record_replacements(const plan_replacement_t* replacements) {
  return record.mode == NULL ? replacements : twins_of(replacements);
}
