// mi-follow.dll: in a program that mi-run --follow has started, it sees to it that the processes which that
// one starts get the same two DLLs. docs/decisions/0012 says why it is made so.
//
//   CreateProcessW, ...A, ...AsUserW, ...AsUserA of kernelbase.dll --- jump here
//     |- the function as it was, but the new process stays suspended
//     |- mi-run --adopt PID, waited for: rewrites the import directory of the new process, or says why it can't
//     '- the new process is set going, unless the program itself wanted it suspended
//
// Like mimalloc.dll, it imports KERNEL32 alone and has no C runtime, so that it changes nothing else in the
// program.
#include "follow.h"

#include "redirect/apply.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

enum { LINE_MAX = 32767 }; // of a command line

static const wchar_t* command;            // mi-run's, up to the number of the process
static DWORD inside = TLS_OUT_OF_INDEXES; // set in a thread that is in one of these functions
static plan_runtime_t plan;

// ---- saying what goes wrong -------------------------------------------------------------------------------

static size_t append(char* text, size_t length, size_t capacity, const char* more) {
  while (*more != 0 && length + 1 < capacity) text[length++] = *more++;
  text[length] = 0;
  return length;
}

static size_t digits_of(DWORD number, char digits[16]) {
  char reversed[16];
  size_t count = 0;
  do reversed[count++] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  for (size_t i = 0; i < count; i++) digits[i] = reversed[count - 1 - i];
  digits[count] = 0;
  return count;
}

static void warn(const char* what, DWORD pid, const char* why) {
  char text[512], digits[16];
  DWORD written;
  digits_of(pid, digits);
  size_t length = append(text, 0, sizeof(text), "mi-run: warning: ");
  length = append(text, length, sizeof(text), what);
  length = append(text, length, sizeof(text), digits);
  length = append(text, length, sizeof(text), ": ");
  length = append(text, length, sizeof(text), why);
  length = append(text, length, sizeof(text), "\n");
  WriteFile(GetStdHandle(STD_ERROR_HANDLE), text, (DWORD)length, &written, NULL);
}

// ---- a new process ----------------------------------------------------------------------------------------

typedef BOOL WINAPI create_w_t(LPCWSTR, LPWSTR, LPSECURITY_ATTRIBUTES, LPSECURITY_ATTRIBUTES, BOOL, DWORD,
                               LPVOID, LPCWSTR, LPSTARTUPINFOW, LPPROCESS_INFORMATION);
typedef BOOL WINAPI create_a_t(LPCSTR, LPSTR, LPSECURITY_ATTRIBUTES, LPSECURITY_ATTRIBUTES, BOOL, DWORD,
                               LPVOID, LPCSTR, LPSTARTUPINFOA, LPPROCESS_INFORMATION);
typedef BOOL WINAPI create_as_w_t(HANDLE, LPCWSTR, LPWSTR, LPSECURITY_ATTRIBUTES, LPSECURITY_ATTRIBUTES, BOOL,
                                  DWORD, LPVOID, LPCWSTR, LPSTARTUPINFOW, LPPROCESS_INFORMATION);
typedef BOOL WINAPI create_as_a_t(HANDLE, LPCSTR, LPSTR, LPSECURITY_ATTRIBUTES, LPSECURITY_ATTRIBUTES, BOOL,
                                  DWORD, LPVOID, LPCSTR, LPSTARTUPINFOA, LPPROCESS_INFORMATION);

// The functions as they were: trampolines.
static create_w_t* create_w;
static create_a_t* create_a;
static create_as_w_t* create_as_w;
static create_as_a_t* create_as_a;

// "mi-run ... --adopt 123" in memory of its own; NULL: there is none.
static wchar_t* line_for(DWORD pid) {
  char digits[16];
  size_t length = 0, count = digits_of(pid, digits);
  while (command[length] != 0) length++;
  if (length + count >= LINE_MAX) return NULL;
  wchar_t* line =
      VirtualAlloc(NULL, (length + count + 1) * sizeof(wchar_t), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (line == NULL) return NULL;
  for (size_t i = 0; i < length; i++) line[i] = command[i];
  for (size_t i = 0; i <= count; i++) line[length + i] = (wchar_t)digits[i];
  return line;
}

static void adopt(DWORD pid) {
  PROCESS_INFORMATION helper;
  // Its messages go where the program's go. Handles are inherited for as long as it takes, which is waited
  // for here.
  STARTUPINFOW startup = {.cb = sizeof(startup), .dwFlags = STARTF_USESTDHANDLES};
  startup.hStdError = GetStdHandle(STD_ERROR_HANDLE);
  startup.hStdOutput = startup.hStdError;
  DWORD flags = GetConsoleWindow() == NULL ? CREATE_NO_WINDOW : 0; // else a window would appear
  wchar_t* line = line_for(pid);
  if (line == NULL || !create_w(NULL, line, NULL, NULL, TRUE, flags, NULL, NULL, &startup, &helper)) {
    warn("not followed: process ", pid, "mi-run can't be started");
  } else {
    WaitForSingleObject(helper.hProcess, INFINITE);
    CloseHandle(helper.hThread);
    CloseHandle(helper.hProcess);
  }
  if (line != NULL) VirtualFree(line, 0, MEM_RELEASE);
}

// ---- its environment ------------------------------------------------------------------------------------

// What mi-run has set for a report goes into the new process, too, when the program gives it an environment of its own.
#define OURS      L"MIMALLOC_"
#define OURS_MARK L"MIMALLOC_REPORT="

// 0: the variable begins so. Else below or above 0, as it comes before or behind such ones.
static int order(const wchar_t* variable, const wchar_t* start) {
  for (; *start != 0; variable++, start++) {
    wchar_t c = *variable >= L'a' && *variable <= L'z' ? (wchar_t)(*variable - L'a' + L'A') : *variable;
    if (c != *start) return c < *start ? -1 : 1;
  }
  return 0;
}

static const wchar_t* after_variable(const wchar_t* variable) {
  while (*variable != 0) variable++;
  return variable + 1;
}

static bool has(const wchar_t* block, const wchar_t* start) {
  for (; *block != 0; block = after_variable(block)) {
    if (order(block, start) == 0) return true;
  }
  return false;
}

static size_t length_of(const wchar_t* block) {
  const wchar_t* at = block;
  while (*at != 0) at = after_variable(at);
  return (size_t)(at - block);
}

static wchar_t* copy(wchar_t* to, const wchar_t* from, size_t length) {
  for (size_t i = 0; i < length; i++) to[i] = from[i];
  return to + length;
}

// Ours are put in before the first variable that comes behind them. NULL: there is no memory.
static wchar_t* join(const wchar_t* given, const wchar_t* own) {
  size_t given_length = length_of(given), own_length = length_of(own);
  wchar_t* joined = VirtualAlloc(NULL, (given_length + own_length + 1) * sizeof(wchar_t),
                                 MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (joined == NULL) return NULL;
  const wchar_t* rest = given;
  while (*rest != 0 && order(rest, OURS) < 0) rest = after_variable(rest);
  wchar_t* at = copy(joined, given, (size_t)(rest - given));
  for (const wchar_t* variable = own; *variable != 0; variable = after_variable(variable)) {
    if (order(variable, OURS) == 0) at = copy(at, variable, (size_t)(after_variable(variable) - variable));
  }
  copy(at, rest, given_length - (size_t)(rest - given));
  return joined; // it ends in zeros
}

// The environment with ours, to be given back by release(); what was given if there is nothing to add.
static void* with_ours(void* given, DWORD* flags) {
  wchar_t *own = given == NULL ? NULL : GetEnvironmentStringsW(), *wide = given, *joined = NULL;
  bool is_wide = (*flags & CREATE_UNICODE_ENVIRONMENT) != 0;
  if (own == NULL) return given;
  if (has(own, OURS_MARK) && !is_wide) {
    const char* end = given;
    while (*end != 0) {
      while (*end != 0) end++;
      end++;
    }
    int size = (int)(end - (const char*)given) + 1;
    wide = VirtualAlloc(NULL, ((size_t)size + 1) * sizeof(wchar_t), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (wide != NULL) MultiByteToWideChar(CP_ACP, 0, given, size, wide, size);
  }
  if (wide != NULL && has(own, OURS_MARK) && !has(wide, OURS)) joined = join(wide, own);
  if (wide != NULL && wide != given) VirtualFree(wide, 0, MEM_RELEASE);
  FreeEnvironmentStringsW(own);
  if (joined == NULL) return given;
  *flags |= CREATE_UNICODE_ENVIRONMENT;
  return joined;
}

// ---- the functions ----------------------------------------------------------------------------------------

// One of these functions may call another one.
static bool enter(void) {
  if (inside == TLS_OUT_OF_INDEXES || TlsGetValue(inside) != NULL) return false;
  return TlsSetValue(inside, &inside);
}

static BOOL leave(BOOL is_made, DWORD flags, const PROCESS_INFORMATION* made, void* environment) {
  DWORD error = GetLastError();
  if (environment != NULL) VirtualFree(environment, 0, MEM_RELEASE);
  if (is_made) {
    adopt(made->dwProcessId);
    if ((flags & CREATE_SUSPENDED) == 0) ResumeThread(made->hThread);
  }
  TlsSetValue(inside, NULL);
  SetLastError(error);
  return is_made;
}

static BOOL WINAPI follow_w(LPCWSTR app, LPWSTR line, LPSECURITY_ATTRIBUTES process,
                            LPSECURITY_ATTRIBUTES thread, BOOL inherits, DWORD flags, LPVOID environment,
                            LPCWSTR folder, LPSTARTUPINFOW startup, LPPROCESS_INFORMATION made) {
  if (!enter())
    return create_w(app, line, process, thread, inherits, flags, environment, folder, startup, made);
  DWORD all_flags = flags | CREATE_SUSPENDED;
  void* all = with_ours(environment, &all_flags);
  BOOL is_made = create_w(app, line, process, thread, inherits, all_flags, all, folder, startup, made);
  return leave(is_made, flags, made, all == environment ? NULL : all);
}

static BOOL WINAPI follow_a(LPCSTR app, LPSTR line, LPSECURITY_ATTRIBUTES process,
                            LPSECURITY_ATTRIBUTES thread, BOOL inherits, DWORD flags, LPVOID environment,
                            LPCSTR folder, LPSTARTUPINFOA startup, LPPROCESS_INFORMATION made) {
  if (!enter())
    return create_a(app, line, process, thread, inherits, flags, environment, folder, startup, made);
  DWORD all_flags = flags | CREATE_SUSPENDED;
  void* all = with_ours(environment, &all_flags);
  BOOL is_made = create_a(app, line, process, thread, inherits, all_flags, all, folder, startup, made);
  return leave(is_made, flags, made, all == environment ? NULL : all);
}

static BOOL WINAPI follow_as_w(HANDLE user, LPCWSTR app, LPWSTR line, LPSECURITY_ATTRIBUTES process,
                               LPSECURITY_ATTRIBUTES thread, BOOL inherits, DWORD flags, LPVOID environment,
                               LPCWSTR folder, LPSTARTUPINFOW startup, LPPROCESS_INFORMATION made) {
  if (!enter())
    return create_as_w(user, app, line, process, thread, inherits, flags, environment, folder, startup, made);
  DWORD all_flags = flags | CREATE_SUSPENDED;
  void* all = with_ours(environment, &all_flags);
  BOOL is_made =
      create_as_w(user, app, line, process, thread, inherits, all_flags, all, folder, startup, made);
  return leave(is_made, flags, made, all == environment ? NULL : all);
}

static BOOL WINAPI follow_as_a(HANDLE user, LPCSTR app, LPSTR line, LPSECURITY_ATTRIBUTES process,
                               LPSECURITY_ATTRIBUTES thread, BOOL inherits, DWORD flags, LPVOID environment,
                               LPCSTR folder, LPSTARTUPINFOA startup, LPPROCESS_INFORMATION made) {
  if (!enter())
    return create_as_a(user, app, line, process, thread, inherits, flags, environment, folder, startup, made);
  DWORD all_flags = flags | CREATE_SUSPENDED;
  void* all = with_ours(environment, &all_flags);
  BOOL is_made =
      create_as_a(user, app, line, process, thread, inherits, all_flags, all, folder, startup, made);
  return leave(is_made, flags, made, all == environment ? NULL : all);
}

// ---- start ------------------------------------------------------------------------------------------------

enum { REQUIRED = 2 }; // the first two are in every Windows

static const plan_replacement_t table[] = {
    {.name = "CreateProcessW", .function = (const void*)follow_w},
    {.name = "CreateProcessA", .function = (const void*)follow_a},
    {.name = "CreateProcessAsUserW", .function = (const void*)follow_as_w},
    {.name = "CreateProcessAsUserA", .function = (const void*)follow_as_a},
    {.name = NULL},
};

static void know_originals(void) {
  for (size_t i = 0; i < plan.count; i++) {
    const void* function = plan.hooks[i].replacement->function;
    void* original = (void*)plan_trampoline(&plan, i);
    if (function == (const void*)follow_w) create_w = (create_w_t*)original;
    if (function == (const void*)follow_a) create_a = (create_a_t*)original;
    if (function == (const void*)follow_as_w) create_as_w = (create_as_w_t*)original;
    if (function == (const void*)follow_as_a) create_as_a = (create_as_a_t*)original;
  }
}

// NULL, or why the program's processes can't be followed.
static const char* install(void) {
  HMODULE module = GetModuleHandleA("kernelbase.dll"); // kernel32's functions lead there
  if (module == NULL) module = GetModuleHandleA("kernel32.dll");
  const char* problem = parse_image(module, SIZE_MAX, NULL, &plan.image);
  if (problem != NULL) return problem;
  if (!plan_resolve(&plan, table, REQUIRED)) return plan.problem;
  void* memory = apply_memory(plan.image.base, plan.image.size);
  if (memory == NULL) return "there is no memory near kernelbase.dll";
  problem = plan_inline(&plan, (uintptr_t)memory) ? apply_trampolines(&plan) : plan.problem;
  if (problem == NULL) {
    know_originals();
    inside = TlsAlloc();
    problem = apply_jumps(&plan, NULL); // the loader works, so nobody starts a process now
  }
  return problem;
}

// Behind this DLL's name in the import directory that mi-run made stands what mi-run has to tell.
static const wchar_t* find_note(const void* self) {
  const uint8_t* base = (const uint8_t*)GetModuleHandleW(NULL);
  const IMAGE_NT_HEADERS* headers =
      (const IMAGE_NT_HEADERS*)(base + ((const IMAGE_DOS_HEADER*)base)->e_lfanew);
  uint32_t rva = headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress;
  if (rva == 0) return NULL;
  for (const IMAGE_IMPORT_DESCRIPTOR* import = (const IMAGE_IMPORT_DESCRIPTOR*)(base + rva);
       import->Name != 0; import++) {
    const char* name = (const char*)base + import->Name;
    if ((const void*)GetModuleHandleA(name) != self) continue;
    while (*name != 0) name++;
    return (const wchar_t*)(((uintptr_t)name + 2) & ~(uintptr_t)1); // import_block.c
  }
  return NULL;
}

__declspec(dllexport) int mi_follow(void); // to be imported by its name
int mi_follow(void) { return inside != TLS_OUT_OF_INDEXES; }

BOOL WINAPI mi_follow_entry(HINSTANCE self, DWORD reason, LPVOID reserved);
BOOL WINAPI mi_follow_entry(HINSTANCE self, DWORD reason, LPVOID reserved) {
  (void)reserved;
  if (reason != DLL_PROCESS_ATTACH) return TRUE;
  DisableThreadLibraryCalls(self);
  command = find_note(self);
  if (command == NULL) return TRUE; // not by mi-run: nothing is asked for
  const char* problem = install();
  if (problem != NULL) warn("not followed: what is started by process ", GetCurrentProcessId(), problem);
  return TRUE;
}
