// mi-run: starts a program with mimalloc.dll in it, or brings the DLL into a running process. docs/mi-run.md
// tells how each method works.
#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "candidate.h"
#include "delegate.h"
#include "entry.h"
#include "exit_codes.h"
#include "options.h"
#include "report.h"

// Lines as they are printed.
// clang-format off
static const wchar_t help_text[] =
    L"usage: mi-run [options] PROGRAM [ARGUMENT...]\n"
    L"       mi-run [options] --attach PID|NAME\n"
    L"\n"
    L"Starts a program with mimalloc.dll in it; the program need not know. Its arguments, console, environment, folder,\n"
    L"inherited handles, Ctrl-C and exit code pass through. mi-run waits for its end; if mi-run is killed, so is the\n"
    L"program (but not what the program has started).\n"
    L"\n"
    L"options:\n"
    L"  --method METHOD   how the DLL gets in:\n"
    L"                      import  it is put in front of the program's imports, in memory, and so initialised before\n"
    L"                              every other DLL but Windows' lowest (default)\n"
    L"                      thread  a thread in the suspended program loads it, after the program's own DLLs and before\n"
    L"                              its entry point\n"
    L"                      apc     the program's first thread loads it, at the same moment\n"
    L"  --dll PATH        the DLL; default: mimalloc.dll beside mi-run.exe (or mimalloc64.dll, x64\\mimalloc.dll;\n"
    L"                    mimalloc32.dll, x86\\mimalloc.dll)\n"
    L"  --stats           print statistics when the program ends (sets MIMALLOC_SHOW_STATS=1 for it)\n"
    L"  --leaks           record every allocation and report, at the end, what was not freed and where it was allocated\n"
    L"  --check           let every wrong access to a block end in an exception, and report what it was; finds double and\n"
    L"                    wrong frees, too. --check=exact leaves no gap behind blocks: programs that need alignment may fail\n"
    L"  --profile         record a sample of the allocations and report where memory comes from\n"
    L"  --report FILE     keep the report of these as JSON for mi-report, too; it is printed on standard error anyway\n"
    L"  --follow          the processes that the program starts, and those that they start, get the DLL, too; says which\n"
    L"                    don't, and why (needs mi-follow32.dll or mi-follow64.dll beside mi-run.exe). With --leaks and the\n"
    L"                    like, each has a report of its own, with its number in the name: r.json becomes r.4711.json\n"
    L"  --attach PID      load the DLL into this running process, by a thread, and return; instead of the number, the\n"
    L"                    name of its program, if only one process has it\n"
    L"  --timeout SECONDS how long a thread may take to load the DLL (default 30; 0: for ever)\n"
    L"  -v, --verbose     say each step; what the DLL does is said by MIMALLOC_VERBOSE=1 in the environment\n"
    L"  --                what follows is the program, even if it begins with a dash\n"
    L"  -h, --help, /?    this text\n"
    L"  --version\n"
    L"\n"
    L"exit code: that of the program, else\n"
    L"  0    --attach: the DLL is in the process\n"
    L"  125  mi-run was called wrongly, or failed itself\n"
    L"  126  program, process or DLL can't be used; the program was not run, or ended before its start\n"
    L"  127  program, process or DLL not found\n"
    L"\n"
    L"mi-run, the DLL and the program must have the same number of bits: this mi-run is for %ls.\n"
    L"A mi-run for the other number of bits that lies beside it as mi-run32.exe or mi-run64.exe is called when needed.\n";
// clang-format on

int main(void) {
  // The C runtime's own argv would lose Unicode and expand wildcards.
  const wchar_t* line = GetCommandLineW();
  wchar_t* storage = malloc(options_storage(line) * sizeof(wchar_t));
  if (storage == NULL) {
    report_error(L"out of memory");
    report_remedy(L"close other programs");
    return EXIT_OWN_ERROR;
  }
  options_t options;
  if (!options_parse(line, storage, &options)) {
    if (options.problem_word != NULL) {
      report_error(L"%hs '%ls'", options.problem, options.problem_word);
    } else {
      report_error(L"%hs", options.problem);
    }
    report_remedy(L"mi-run [options] PROGRAM [ARGUMENT...]; see mi-run --help");
    return EXIT_OWN_ERROR;
  }
  report_verbose = options.verbose;
  if (options.action == ACTION_HELP) {
    report_print(help_text, candidate_machine_name(candidate_own_machine()));
    return EXIT_DONE;
  }
  if (options.action == ACTION_VERSION) {
    report_print(L"mi-run " MI_RUN_VERSION L", %ls\n", candidate_machine_name(candidate_own_machine()));
    return EXIT_DONE;
  }

  wchar_t *app = NULL, *dll;
  int failed = 0;
  if (options.action == ACTION_RUN) {
    failed = candidate_find_app(options.app, &app);
    const wchar_t* other =
        failed || options.delegated || !candidate_is_other_bits(app) ? NULL : delegate_path();
    if (other != NULL) return delegate_run(other, delegate_own_arguments());
    if (!failed) failed = candidate_check_app(app, options.method);
    if (failed) return failed;
    report_note(L"program '%ls', method %hs", app, options_method_name(options.method));
  }
  if (options.action == ACTION_ADOPT) entry_adopt_begin(&options);
  failed = candidate_find_dll(options.dll, &dll);
  if (!failed) failed = candidate_check_dll(dll);
  if (failed) return failed;
  report_note(L"DLL '%ls'", dll);
  switch (options.action) {
  case ACTION_ATTACH:
    return entry_attach(&options, dll);
  case ACTION_ADOPT:
    return entry_adopt(&options, dll);
  default:
    return entry_run(&options, app, dll);
  }
}
