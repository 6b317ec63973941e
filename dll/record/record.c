#include "record.h"

#include "api/alloc_fast.h"
#include "base/atomics.h"
#include "base/format.h"
#include "base/text.h"
#include "blocks.h"
#include "core/report/message.h"
#include "report.h"
#include "sample.h"
#include "stack.h"
#include "stacks.h"
#include "twins.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define DEPTH_DEFAULT    32
#define MEMORY_MIB       (MI_64BIT ? 1024 : 192) // of address space; it is used as it is needed
#define RATE_DEFAULT     (512 * MI_KIB)
#define CRASH_REPORTS    4 // exceptions that may be caught in the end are reported so often

static struct {
  const char* mode; // NULL: off
  void *json, *text;
  uint32_t depth;
  uint64_t rate; // 0: every allocation
  uint32_t started_ms;
  report_totals_t totals;
  uint32_t sequence;
  uint32_t crashes;
  uint32_t is_over;
  os_lock_t writing;
} record;

// ---- events ---------------------------------------------------------------------------------------------

static MI_NOINLINE void note_new(uintptr_t address, size_t size) {
  if (address == 0 || (record.rate != 0 && !sample_takes(size))) return;
  frame_t frames[STACK_FRAMES_MAX];
  size_t count = stack_capture(frames, record.depth);
  uint32_t sequence = atomic_add_relaxed(&record.sequence, 1);
  block_record_t block = {.address = address,
                          .size = size,
                          .stack = stacks_add(frames, count),
                          .thread = os_thread_id(),
                          .sequence = sequence};
  if (block.stack != 0) {
    stack_t* stack = stacks_at(block.stack);
    atomic_add_relaxed(&stack->allocations, 1);
    atomic_add_relaxed(&stack->bytes, size);
  }
  atomic_add_relaxed(&record.totals.bytes, size);
  if (block.stack == 0 || !blocks_add(&block)) atomic_add_relaxed(&record.totals.not_recorded, 1);
}

// Before the block is given back: afterwards another thread may have it.
static void note_free(uintptr_t address, block_record_t* before) {
  before->address = 0;
  if (address != 0 && blocks_remove(address, before)) atomic_add_relaxed(&record.totals.frees, 1);
}

static uintptr_t note_resize(const twin_t* twin, const uintptr_t* arguments) {
  block_record_t before;
  size_t size = twin_size(twin, arguments);
  note_free(arguments[0], &before);
  uintptr_t result = twin_pass(twin, arguments);
  if (result != 0) {
    note_new(result, size);
  } else if (before.address != 0 && !(twin->more == 1 && size == 0) && twin->more != 2) {
    blocks_add(&before); // it is still there
    atomic_sub_relaxed(&record.totals.frees, 1);
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
    atomic_sub_relaxed(&record.totals.frees, 1);
  }
  return result;
}

static uintptr_t on_call(const twin_t* twin, const uintptr_t* arguments) {
  block_record_t before;
  uintptr_t result;
  switch (twin->kind) {
  case TWIN_FREE:
    note_free(arguments[0], &before);
    return twin_pass(twin, arguments);
  case TWIN_NEW:
    result = twin_pass(twin, arguments);
    note_new(result, twin_size(twin, arguments));
    return result;
  case TWIN_RESIZE: return note_resize(twin, arguments);
  case TWIN_OUT_RESIZE: return note_out_resize(twin, arguments);
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
  default: return twin_pass(twin, arguments);
  }
}

// ---- reports --------------------------------------------------------------------------------------------

static void write_report(const char* reason, uint32_t exception, bool with_text) {
  report_t report = {.mode = record.mode,
                     .reason = reason,
                     .exception = exception,
                     .sample_bytes = record.rate,
                     .depth = record.depth,
                     .elapsed_ms = os_clock_ms() - record.started_ms,
                     .totals = record.totals,
                     .json = record.json,
                     .text = with_text ? record.text : NULL};
  report.totals.allocations = record.sequence;
  if (!report_write(&report))
    message_error_always(MESSAGE_EINVAL, "the report could not be written (error %u)", (unsigned)GetLastError());
}

void record_process_exit(void) {
  if (record.mode == NULL || atomic_swap_acq_rel(&record.is_over, 1u) != 0) return;
  images_look_again();
  write_report("exit", 0, true);
}

// The process may be about to end without telling us. Passed on as it came.
static LONG CALLBACK on_exception(EXCEPTION_POINTERS* pointers) {
  DWORD code = pointers->ExceptionRecord->ExceptionCode;
  bool is_fatal = (code & 0xF0000000u) == 0xC0000000u && code != EXCEPTION_STACK_OVERFLOW;
  if (!is_fatal || record.json == NULL || atomic_get_relaxed(&record.is_over) != 0) return EXCEPTION_CONTINUE_SEARCH;
  if (atomic_add_relaxed(&record.crashes, 1) < CRASH_REPORTS && os_lock_try(&record.writing)) {
    write_report("exception", code, false);
    os_lock_release(&record.writing);
  }
  return EXCEPTION_CONTINUE_SEARCH;
}

// ---- start ----------------------------------------------------------------------------------------------

static bool is_on(const char* name) {
  char value[16];
  static const char* const no[] = {"0", "false", "no", "off"};
  if (!os_environment(name, value, sizeof(value))) return false;
  for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
    if (text_equal_ignoring_case(value, no[i])) return false;
  }
  return true;
}

static uint64_t number(const char* name, uint64_t minimum, uint64_t maximum, uint64_t otherwise) {
  char value[32];
  int64_t found;
  bool has_unit;
  if (!os_environment(name, value, sizeof(value))) return otherwise;
  if (format_parse_size(value, &found, &has_unit) && found >= 0 && (uint64_t)found >= minimum && (uint64_t)found <= maximum)
    return (uint64_t)found;
  message_warning("%s=%s is not a number from %llu to %llu: it is %llu now\n", name, value, (unsigned long long)minimum,
                  (unsigned long long)maximum, (unsigned long long)otherwise);
  return otherwise;
}

// Now, because nothing may be opened while the process ends.
static void open_files(void) {
  static wchar_t path[4096];
  if (os_environment_wide(L"MIMALLOC_REPORT", path, sizeof(path) / sizeof(path[0])) && path[0] != 0) {
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, CREATE_ALWAYS,
                              FILE_ATTRIBUTE_NORMAL, NULL);
    record.json = file == INVALID_HANDLE_VALUE ? NULL : file;
    if (record.json == NULL)
      message_error_always(MESSAGE_EINVAL, "MIMALLOC_REPORT: the file can't be written (error %u); there will be no report "
                           "in it", (unsigned)GetLastError());
  }
  char text[4];
  bool is_unwanted = os_environment("MIMALLOC_REPORT_TEXT", text, sizeof(text)) && text[0] == '0';
  HANDLE error = GetStdHandle(STD_ERROR_HANDLE);
  if (!is_unwanted && error != INVALID_HANDLE_VALUE) record.text = error;
}

static const char* start(const void* module) {
  size_t memory = (size_t)number("MIMALLOC_RECORD_MEMORY", 8, MI_64BIT ? 65536 : 1024, MEMORY_MIB) * MI_MIB;
  record.depth = (uint32_t)number("MIMALLOC_RECORD_DEPTH", 1, STACK_FRAMES_MAX, DEPTH_DEFAULT);
  record.started_ms = os_clock_ms();
  if (record.rate != 0) sample_start(record.rate, ((uint64_t)GetCurrentProcessId() << 32) + record.started_ms);
  bool done = images_start(module) && stack_start() && stacks_start(memory / 4) &&
              blocks_start(memory - memory / 4, record.rate != 0 ? 16 * 1024 : 1024 * 1024);
  return done ? NULL : "there is no memory for it";
}

const plan_replacement_t* record_attach(const void* module, const plan_replacement_t* replacements) {
  bool is_profile = is_on("MIMALLOC_PROFILE");
  if (!is_profile && !is_on("MIMALLOC_LEAKS")) return replacements;
  if (is_profile) record.rate = number("MIMALLOC_PROFILE_RATE", 1, (uint64_t)1 << 40, RATE_DEFAULT);
  HMODULE kept;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, (LPCSTR)module, &kept);
  const char* problem = start(module);
  if (problem == NULL) problem = twins_install(module, on_call, &replacements);
  if (problem != NULL) {
    message_error_always(MESSAGE_EINVAL, "nothing is recorded: %s", problem);
    return replacements;
  }
  open_files();
  record.mode = is_profile ? "profile" : "leaks";
  AddVectoredExceptionHandler(0, on_exception);
  return replacements;
}
