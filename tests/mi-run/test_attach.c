// mi-run --attach: a process that runs already. And what mi-run and its program owe each other while both
// live: Ctrl-C, sudden ends.
#include <stdlib.h>

#include "run.h"

#include "support/check.h"

enum { CANNOT = 126, MISSING = 127 };

static wchar_t child[MAX_PATH];

static HANDLE event_named(const wchar_t* name) {
  HANDLE event = CreateEventW(NULL, TRUE, FALSE, name);
  assert_non_null(event);
  return event;
}

// Must come within a minute, and comes at once when all is well.
static void await(HANDLE handle) {
  assert_int_equal(WaitForSingleObject(handle, RUN_LIMIT_MS), WAIT_OBJECT_0);
}

// A program that runs, says so, and waits until it may go on.
typedef struct waiting_s {
  HANDLE process, here, go;
  DWORD pid;
} waiting_t;

// `words`: what it does before it says so and after it may go on.
static waiting_t start_waiting(const wchar_t* program, const wchar_t* before, const wchar_t* after) {
  const wchar_t *here = run_unique(L"here"), *go = run_unique(L"go");
  wchar_t todo[512], line[MAX_PATH + 2];
  waiting_t waiting = {.here = event_named(here), .go = event_named(go)};
  swprintf(todo, 512, L"%ls set=%ls wait=%ls %ls", before, here, go, after);
  run_todo(todo);
  swprintf(line, MAX_PATH + 2, L"\"%ls\"", program);
  STARTUPINFOW startup = {.cb = sizeof(startup)};
  PROCESS_INFORMATION process;
  assert_true(CreateProcessW(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process));
  CloseHandle(process.hThread);
  waiting.process = process.hProcess;
  waiting.pid = process.dwProcessId;
  await(waiting.here);
  return waiting;
}

static DWORD let_go(waiting_t waiting) {
  DWORD code;
  SetEvent(waiting.go);
  await(waiting.process);
  GetExitCodeProcess(waiting.process, &code);
  CloseHandle(waiting.process);
  CloseHandle(waiting.here);
  CloseHandle(waiting.go);
  return code;
}

static void attach(DWORD pid, const wchar_t* dll, const wchar_t* options) {
  run_mi(L"--dll \"%ls\" %ls --attach %lu", dll, options, pid);
}

// --- attaching ---------------------------------------------------------------------------------------------

// A program like any other, but with its output in our hands.
static void loads_into_running_process(void** state) {
  (void)state;
  const wchar_t *here = run_unique(L"here"), *go = run_unique(L"go");
  HANDLE is_here = event_named(here), may_go = event_named(go);
  wchar_t todo[512], line[MAX_PATH + 2], launch[1024];
  swprintf(todo, 512, L"modules set=%ls wait=%ls modules exit=5", here, go);
  run_todo(todo);
  swprintf(line, MAX_PATH + 2, L"\"%ls\"", child);
  run_process_t* run = run_start(line, NULL, NULL, 0);
  await(is_here);
  swprintf(launch, 1024, L"\"%ls\" --dll \"%ls\" --attach %lu", run_mi_run, run_dll, run_pid(run));
  STARTUPINFOW startup = {.cb = sizeof(startup)};
  PROCESS_INFORMATION launcher;
  DWORD code;
  assert_true(CreateProcessW(NULL, launch, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &launcher));
  await(launcher.hProcess); // it does not wait for the process
  GetExitCodeProcess(launcher.hProcess, &code);
  assert_int_equal(code, 0);
  SetEvent(may_go);
  run_end(run);
  assert_code(5);
  const char* before = strstr(ran.output, "mimalloc version -1 at tls 0 path -\n");
  assert_non_null(before);
  char expected[64];
  snprintf(expected, sizeof(expected), "mimalloc version %d at tls 0", MI_RUN_EXPECTED_VERSION);
  assert_non_null(strstr(before, expected));
  CloseHandle(launcher.hThread);
  CloseHandle(launcher.hProcess);
  CloseHandle(is_here);
  CloseHandle(may_go);
}

static void twice_and_another(void** state) {
  (void)state;
  waiting_t waiting = start_waiting(child, L"", L"exit=4");
  attach(waiting.pid, run_dll, L"--verbose");
  assert_code(0);
  assert_error("is in process ");
  attach(waiting.pid, run_dll, L"");
  assert_code(0);
  assert_error("already: nothing to do");
  attach(waiting.pid, file_copy(run_dll, L"another\\mimalloc.dll"), L"");
  assert_code(CANNOT);
  assert_error("has another mimalloc.dll: '");
  assert_int_equal(let_go(waiting), 4);
}

static void no_such_process(void** state) {
  (void)state;
  waiting_t waiting = start_waiting(child, L"", L"");
  HANDLE kept; // so that its number is not given to another process
  assert_true(DuplicateHandle(GetCurrentProcess(), waiting.process, GetCurrentProcess(), &kept, 0, FALSE,
                              DUPLICATE_SAME_ACCESS));
  let_go(waiting);
  attach(waiting.pid, run_dll, L"");
  assert_code(MISSING);
  assert_error("there is no process ");
  assert_error("mi-run: remedy: ");
  CloseHandle(kept);
  attach(4294967294u, run_dll, L"");
  assert_code(MISSING);
  assert_error("there is no process 4294967294");
}

static void by_name(void** state) {
  (void)state;
  wchar_t name[64];
  swprintf(name, 64, L"by name-%lu.exe", GetCurrentProcessId());
  const wchar_t* program = file_copy(child, name);
  run_mi(L"--dll \"%ls\" --attach \"%ls\"", run_dll, name);
  assert_code(MISSING);
  assert_error("there is no process of a program 'by name-");
  waiting_t first = start_waiting(program, L"", L"modules exit=4"), second;
  name[wcslen(name) - 4] = 0; // ".exe" need not be said
  second = start_waiting(program, L"", L"exit=5");
  run_mi(L"--dll \"%ls\" --attach \"%ls\"", run_dll, name);
  assert_code(CANNOT);
  char both[64];
  snprintf(both, sizeof(both), "2 processes have a program 'by name-%lu': ", GetCurrentProcessId());
  assert_error(both);
  snprintf(both, sizeof(both), "%lu", first.pid);
  assert_error(both);
  assert_int_equal(let_go(second), 5);
  run_mi(L"--verbose --dll \"%ls\" --attach \"%ls\"", run_dll, name);
  assert_code(0);
  assert_error("is process ");
  assert_int_equal(let_go(first), 4);
}

static void wrong_dlls(void** state) {
  (void)state;
  waiting_t waiting = start_waiting(child, L"", L"exit=3");
  attach(waiting.pid, run_built(L"dll-refuses.dll"), L"");
  assert_code(CANNOT);
  assert_error("dll-refuses.dll' does not load: ");
  assert_error("(error 1114)");
  attach(waiting.pid, run_built(L"dll-nameless.dll"), L"");
  assert_code(CANNOT);
  assert_error("is not mimalloc");
  attach(waiting.pid, file_path(L"nothing.dll"), L"");
  assert_code(MISSING);
  assert_int_equal(let_go(waiting), 3); // none of this has harmed it
}

static void process_that_lets_nobody_in(void** state) {
  (void)state;
  waiting_t waiting = start_waiting(child, L"deny", L"exit=2");
  attach(waiting.pid, run_dll, L"");
  assert_code(CANNOT);
  assert_error("does not let mi-run in: ");
  assert_error("(error 5)");
  assert_error("as administrator");
  assert_int_equal(let_go(waiting), 2);
}

static void process_that_hangs_in_its_loader(void** state) {
  (void)state;
  waiting_t waiting = start_waiting(child, L"lock", L"unlock exit=1");
  attach(waiting.pid, run_dll, L"--timeout 1");
  assert_code(CANNOT);
  assert_error("within 1 s");
  assert_int_equal(let_go(waiting), 1);
}

// --- living together ---------------------------------------------------------------------------------------

static void ctrl_c_is_the_programs(void** state) {
  (void)state;
  wchar_t line[1024];
  run_todo(L"ctrl-c exit=77");
  swprintf(line, 1024, L"\"%ls\" --dll \"%ls\" \"%ls\"", run_mi_run, run_dll, child);
  // A console of their own: Ctrl-C goes to all processes of a console.
  run_end(run_start(line, NULL, NULL, CREATE_NO_WINDOW));
  assert_output("Ctrl-C arrived");
  assert_code(77);
}

static void killed_launcher_takes_the_program_along(void** state) {
  (void)state;
  const wchar_t* here = run_unique(L"here");
  HANDLE is_here = event_named(here);
  wchar_t todo[512], line[1024], name[64];
  swprintf(name, 64, L"along-%lu.exe", GetCurrentProcessId());
  const wchar_t* program = file_copy(child, name);
  swprintf(todo, 512, L"set=%ls wait=%ls", here, run_unique(L"never"));
  run_todo(todo);
  swprintf(line, 1024, L"\"%ls\" --dll \"%ls\" \"%ls\"", run_mi_run, run_dll, program);
  run_process_t* run = run_start(line, NULL, NULL, 0);
  await(is_here);
  assert_int_equal(run_count(name), 1);
  TerminateProcess(run_handle(run), 5);
  run_end(run); // its streams end with the program, long before the program's own minute
  assert_code(5);
  assert_int_equal(run_count(name), 0);
}

static void programs_of_the_program_live_on(void** state) {
  (void)state;
  const wchar_t* name = run_unique(L"grandchild");
  wchar_t here[128], go[128], gone[128], todo[256], line[1024];
  swprintf(here, 128, L"%ls-here", name);
  swprintf(go, 128, L"%ls-go", name);
  swprintf(gone, 128, L"%ls-gone", name);
  HANDLE is_here = event_named(here), may_go = event_named(go), is_gone = event_named(gone);
  swprintf(todo, 256, L"spawn=%ls wait=%ls exit=6", name, here);
  run_todo(todo);
  swprintf(line, 1024, L"\"%ls\" --dll \"%ls\" \"%ls\"", run_mi_run, run_dll, child);
  STARTUPINFOW startup = {.cb = sizeof(startup)};
  PROCESS_INFORMATION launcher;
  DWORD code;
  assert_true(CreateProcessW(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &launcher));
  await(is_here);
  await(launcher.hProcess);
  GetExitCodeProcess(launcher.hProcess, &code);
  assert_int_equal(code, 6);
  SetEvent(may_go); // mi-run and its program are gone
  await(is_gone);
  CloseHandle(launcher.hThread);
  CloseHandle(launcher.hProcess);
  CloseHandle(is_here);
  CloseHandle(may_go);
  CloseHandle(is_gone);
}

int wmain(void);
int wmain(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(loads_into_running_process),
      cmocka_unit_test(twice_and_another),
      cmocka_unit_test(no_such_process),
      cmocka_unit_test(by_name),
      cmocka_unit_test(wrong_dlls),
      cmocka_unit_test(process_that_lets_nobody_in),
      cmocka_unit_test(process_that_hangs_in_its_loader),
      cmocka_unit_test(ctrl_c_is_the_programs),
      cmocka_unit_test(killed_launcher_takes_the_program_along),
      cmocka_unit_test(programs_of_the_program_live_on),
  };
  run_begin(L"mi-run-attach");
  wcscpy(child, run_built(L"child-program.exe"));
  return check_run(cases);
}
