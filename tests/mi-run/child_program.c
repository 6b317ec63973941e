// The program that mi-run starts in the tests. It knows nothing of mimalloc. What it does, it is told by
// words in the environment variable MI_RUN_CHILD, worked off in order:
//
//   state         print everything that a launcher should pass through
//   modules       print the DLLs in the order of their initialisation, and how mimalloc.dll is doing
//   handles       print how many handles are open
//   headers       print what its own header in memory says of imports
//   echo          copy standard input to standard output, a line to standard error
//   write=HANDLE  write to an inherited handle
//   fd=NUMBER     write to an inherited file descriptor of the C runtime
//   set=EVENT     set a named event           wait=EVENT   wait for one (60 s)
//   deny          let nobody open this process any more
//   lock          take the loader's lock      unlock       give it back
//   ctrl-c        send Ctrl-C to the console and wait for its arrival, 50 times
//   spawn=NAME    start this program once more, to set NAME-here, wait for NAME-go, set NAME-gone; don't wait
//   start=HOW     start this program once more, to do what MI_RUN_GRANDCHILD says, and wait for its end: w, a (by
//                 CreateProcessW, ...A), suspended, bare (with an environment of its own), system (by the C runtime),
//                 absent (there is no such program), or the path of another program
//   exit=NUMBER   end with this exit code
//   tls-exit=NUMBER  the same, but already in the TLS callback, before the entry point (stands alone)
#include <fcntl.h>
#include <io.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <aclapi.h>

#include "loader_list.h"

static HMODULE mimalloc_at_tls;

static void NTAPI tls_callback(PVOID module, DWORD reason, PVOID reserved) {
  (void)module;
  (void)reserved;
  if (reason != DLL_PROCESS_ATTACH) return;
  mimalloc_at_tls = GetModuleHandleW(L"mimalloc.dll");
  wchar_t todo[64];
  if (GetEnvironmentVariableW(L"MI_RUN_CHILD", todo, 64) > 0 && wcsncmp(todo, L"tls-exit=", 9) == 0) {
    ExitProcess((UINT)_wtoi64(todo + 9));
  }
}
__attribute__((section(".CRT$XLB"), used)) static PIMAGE_TLS_CALLBACK tls_callback_pointer = tls_callback;

static void print(const wchar_t* format, ...) {
  static wchar_t text[65536];
  static char utf8[4 * 65536];
  va_list arguments;
  va_start(arguments, format);
  int length = _vsnwprintf(text, 65536, format, arguments);
  va_end(arguments);
  if (length < 0) length = 65536;
  int bytes = WideCharToMultiByte(CP_UTF8, 0, text, length, utf8, sizeof(utf8), NULL, NULL);
  fwrite(utf8, 1, (size_t)bytes, stdout);
}

static void print_state(int argc, wchar_t** argv) {
  print(L"line %ls\n", GetCommandLineW());
  for (int i = 0; i < argc; i++) print(L"arg %d [%ls]\n", i, argv[i]);
  wchar_t folder[1024];
  GetCurrentDirectoryW(1024, folder);
  print(L"folder %ls\n", folder);
  wchar_t* environment = GetEnvironmentStringsW();
  for (wchar_t* variable = environment; *variable != 0; variable += wcslen(variable) + 1)
    print(L"env %ls\n", variable);
  FreeEnvironmentStringsW(environment);
  STARTUPINFOW startup;
  GetStartupInfoW(&startup);
  print(L"startup flags %lx show %u x %lu y %lu desktop %ls\n", startup.dwFlags, startup.wShowWindow,
        startup.dwX, startup.dwY, startup.lpDesktop == NULL ? L"-" : startup.lpDesktop);
  static const DWORD streams[] = {STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE};
  for (int i = 0; i < 3; i++) print(L"stream %d type %lx\n", i, GetFileType(GetStdHandle(streams[i])));
  print(L"error mode %x priority %lx\n", GetErrorMode(), GetPriorityClass(GetCurrentProcess()));
}

static void print_handles(void) {
  DWORD ignored;
  int handles = 0;
  for (uintptr_t handle = 4; handle < 0x1000; handle += 4) {
    handles += GetHandleInformation((HANDLE)handle, &ignored) != 0;
  }
  print(L"handles %d\n", handles);
}

static void print_modules(void) {
  const wchar_t* names[64];
  int count = loader_list_initialised(names, 64);
  for (int i = 0; i < count; i++) print(L"module %d %ls\n", i, names[i]);
  HMODULE mimalloc = GetModuleHandleW(L"mimalloc.dll");
  union {
    FARPROC found;
    int (*call)(void);
  } version = {.found = mimalloc == NULL ? NULL : GetProcAddress(mimalloc, "mi_version")};
  wchar_t path[1024] = L"-";
  if (mimalloc != NULL) GetModuleFileNameW(mimalloc, path, 1024);
  print(L"mimalloc version %d at tls %d path %ls\n", version.found == NULL ? -1 : version.call(),
        mimalloc_at_tls != NULL, path);
}

static void print_headers(void) {
  const BYTE* base = (const BYTE*)GetModuleHandleW(NULL);
  const IMAGE_NT_HEADERS* headers =
      (const IMAGE_NT_HEADERS*)(base + ((const IMAGE_DOS_HEADER*)base)->e_lfanew);
  static const int indices[] = {IMAGE_DIRECTORY_ENTRY_IMPORT, IMAGE_DIRECTORY_ENTRY_BOUND_IMPORT,
                                IMAGE_DIRECTORY_ENTRY_IAT};
  static const wchar_t* const names[] = {L"import", L"bound", L"iat"};
  for (int i = 0; i < 3; i++) {
    const IMAGE_DATA_DIRECTORY* directory = &headers->OptionalHeader.DataDirectory[indices[i]];
    print(L"directory %ls %lx %lx\n", names[i], directory->VirtualAddress, directory->Size);
  }
  print(L"image base %I64x size %lx\n", (unsigned long long)(uintptr_t)base,
        headers->OptionalHeader.SizeOfImage);
  const IMAGE_IMPORT_DESCRIPTOR* imports =
      (const IMAGE_IMPORT_DESCRIPTOR*)(base +
                                       headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT]
                                           .VirtualAddress);
  for (; imports->Name != 0; imports++)
    print(L"imports %hs stamp %lx\n", base + imports->Name, imports->TimeDateStamp);
  MEMORY_BASIC_INFORMATION header_memory, import_memory;
  VirtualQuery(base, &header_memory, sizeof(header_memory));
  VirtualQuery(imports, &import_memory, sizeof(import_memory));
  print(L"protection header %lx imports %lx\n", header_memory.Protect, import_memory.Protect);
}

static void echo(void) {
  static char line[65536];
  _setmode(0, _O_BINARY);
  size_t length;
  while ((length = fread(line, 1, sizeof(line), stdin)) > 0) fwrite(line, 1, length, stdout);
  fprintf(stderr, "child: end of input\n");
}

static void set_event(const wchar_t* name) {
  HANDLE event = CreateEventW(NULL, TRUE, FALSE, name);
  SetEvent(event); // stays open, and so set, as long as this process lives
}

static void wait_event(const wchar_t* name) {
  HANDLE event = CreateEventW(NULL, TRUE, FALSE, name);
  if (WaitForSingleObject(event, 60000) != WAIT_OBJECT_0) ExitProcess(98);
  CloseHandle(event);
}

static void deny(void) {
  ACL nobody;
  InitializeAcl(&nobody, sizeof(nobody), ACL_REVISION);
  DWORD error = SetSecurityInfo(GetCurrentProcess(), SE_KERNEL_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL,
                                &nobody, NULL);
  if (error != ERROR_SUCCESS) ExitProcess(97);
}

static ULONG_PTR lock_cookie;

static void loader_lock(bool take) {
  HMODULE ntdll = GetModuleHandleW(L"ntdll");
  union {
    FARPROC found;
    LONG(NTAPI* lock)(ULONG, ULONG*, ULONG_PTR*);
    LONG(NTAPI* unlock)(ULONG, ULONG_PTR);
  } function = {.found = GetProcAddress(ntdll, take ? "LdrLockLoaderLock" : "LdrUnlockLoaderLock")};
  LONG status = take ? function.lock(0, NULL, &lock_cookie) : function.unlock(0, lock_cookie);
  if (status != 0) ExitProcess(96);
}

static HANDLE ctrl_c_arrived;

static BOOL WINAPI on_console_event(DWORD event) {
  if (event == CTRL_C_EVENT) SetEvent(ctrl_c_arrived);
  return TRUE;
}

// Often, so that a launcher that the first one ends has had the time to.
static void ctrl_c(void) {
  ctrl_c_arrived = CreateEventW(NULL, FALSE, FALSE, NULL);
  SetConsoleCtrlHandler(on_console_event, TRUE);
  for (int i = 0; i < 50; i++) {
    if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) {
      print(L"no Ctrl-C: error %lu\n", GetLastError());
      ExitProcess(95);
    }
    if (WaitForSingleObject(ctrl_c_arrived, 20000) != WAIT_OBJECT_0) ExitProcess(94);
  }
  print(L"Ctrl-C arrived\n");
}

static void spawn(const wchar_t* name) {
  wchar_t path[1024], todo[512];
  GetModuleFileNameW(NULL, path, 1024);
  swprintf(todo, 512, L"set=%ls-here wait=%ls-go set=%ls-gone", name, name, name);
  SetEnvironmentVariableW(L"MI_RUN_CHILD", todo);
  STARTUPINFOW startup = {.cb = sizeof(startup)};
  PROCESS_INFORMATION process;
  if (!CreateProcessW(path, NULL, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process)) ExitProcess(93);
  print(L"spawned %lu\n", process.dwProcessId);
}

// MI_RUN_GRANDCHILD, up to a '|', for the next program as MI_RUN_CHILD; what follows is for those that it
// starts.
static void hand_down(void) {
  wchar_t todo[1024] = L"";
  GetEnvironmentVariableW(L"MI_RUN_GRANDCHILD", todo, 1024);
  wchar_t* rest = wcschr(todo, L'|');
  if (rest != NULL) *rest++ = 0;
  SetEnvironmentVariableW(L"MI_RUN_CHILD", todo);
  SetEnvironmentVariableW(L"MI_RUN_GRANDCHILD", rest);
}

// "MI_RUN_CHILD=...", and what Windows needs to start anything.
static wchar_t* bare_environment(void) {
  static wchar_t block[4096];
  static const wchar_t* const names[] = {L"MI_RUN_CHILD", L"SystemRoot"};
  size_t length = 0;
  for (size_t i = 0; i < 2; i++) {
    wchar_t value[1024] = L"";
    GetEnvironmentVariableW(names[i], value, 1024);
    length += (size_t)swprintf(block + length, 4096 - length, L"%ls=%ls", names[i], value) + 1;
  }
  block[length] = 0;
  return block;
}

static void start_again(const wchar_t* how) {
  wchar_t path[1024], line[1024];
  char narrow[1024], narrow_line[1024];
  GetModuleFileNameW(NULL, path, 1024);
  GetModuleFileNameA(NULL, narrow, 1024);
  hand_down();
  STARTUPINFOW startup = {.cb = sizeof(startup)};
  STARTUPINFOA startup_a = {.cb = sizeof(startup_a)};
  PROCESS_INFORMATION process = {0};
  DWORD code = 0;
  BOOL made = FALSE, is_suspended = wcscmp(how, L"suspended") == 0, is_bare = wcscmp(how, L"bare") == 0;
  fflush(stdout);
  if (wcscmp(how, L"system") == 0) {
    swprintf(line, 1024, L"\"%ls\"", path);
    print(L"started by system, exit code %d\n", _wsystem(line));
    return;
  }
  if (wcscmp(how, L"a") == 0) {
    snprintf(narrow_line, 1024, "\"%s\"", narrow);
    made = CreateProcessA(NULL, narrow_line, NULL, NULL, TRUE, 0, NULL, NULL, &startup_a, &process);
  } else {
    const wchar_t* what = how[0] == L'\\' || wcschr(how, L':') != NULL ? how : path;
    if (wcscmp(how, L"absent") == 0) what = L"Z:\\no such folder\\nothing.exe";
    DWORD flags = (is_suspended ? CREATE_SUSPENDED : 0) | (is_bare ? CREATE_UNICODE_ENVIRONMENT : 0);
    made = CreateProcessW(what, NULL, NULL, NULL, TRUE, flags, is_bare ? bare_environment() : NULL, NULL,
                          &startup, &process);
  }
  if (!made) {
    print(L"not started, error %lu\n", GetLastError());
    return;
  }
  print(L"last error %lu\n", GetLastError());
  if (is_suspended) print(L"suspended %lu times\n", ResumeThread(process.hThread));
  WaitForSingleObject(process.hProcess, INFINITE);
  GetExitCodeProcess(process.hProcess, &code);
  print(L"started, exit code %lu\n", code);
}

static void work_off(const wchar_t* word, int argc, wchar_t** argv) {
  const wchar_t* value = wcschr(word, L'=');
  size_t length = value == NULL ? wcslen(word) : (size_t)(value++ - word);
#define IS(text) (length == sizeof(text) / sizeof(wchar_t) - 1 && wcsncmp(word, text, length) == 0)
  if (IS(L"state"))
    print_state(argc, argv);
  else if (IS(L"modules"))
    print_modules();
  else if (IS(L"handles"))
    print_handles();
  else if (IS(L"headers"))
    print_headers();
  else if (IS(L"echo"))
    echo();
  else if (IS(L"set"))
    set_event(value);
  else if (IS(L"wait"))
    wait_event(value);
  else if (IS(L"deny"))
    deny();
  else if (IS(L"lock"))
    loader_lock(true);
  else if (IS(L"unlock"))
    loader_lock(false);
  else if (IS(L"ctrl-c"))
    ctrl_c();
  else if (IS(L"spawn"))
    spawn(value);
  else if (IS(L"start"))
    start_again(value);
  else if (IS(L"write")) {
    DWORD written;
    if (!WriteFile((HANDLE)(uintptr_t)_wtoi64(value), "through the handle\n", 19, &written, NULL))
      ExitProcess(92);
  } else if (IS(L"fd")) {
    if (_write(_wtoi(value), "through the descriptor\n", 23) != 23) ExitProcess(91);
  } else if (IS(L"exit")) {
    fflush(stdout);
    ExitProcess((UINT)_wtoi64(value));
  } else {
    print(L"unknown word %ls\n", word);
    ExitProcess(90);
  }
  fflush(stdout);
}

int wmain(int argc, wchar_t** argv);
int wmain(int argc, wchar_t** argv) {
  _setmode(1, _O_BINARY);
  _setmode(2, _O_BINARY);
  wchar_t todo[1024] = L"";
  GetEnvironmentVariableW(L"MI_RUN_CHILD", todo, 1024);
  for (wchar_t *next, *word = todo; *word != 0; word = next) {
    next = word + wcscspn(word, L" ");
    if (*next != 0) *next++ = 0;
    if (*word == 0) continue;
    work_off(word, argc, argv);
  }
  return 0;
}
