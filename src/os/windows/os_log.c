// The log file that an environment variable names (os.h).
#include "os/os.h"
#include "base/atomics.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define PATH_CAPACITY 1024

enum { STATE_UNREAD, STATE_READING, STATE_NONE, STATE_FILE, STATE_DEBUGGER, STATE_TOO_LONG };

static uint32_t state;
static wchar_t path[PATH_CAPACITY]; // absolute; whole once the state is STATE_FILE

static size_t append_number(wchar_t* text, size_t length, DWORD number) {
  wchar_t digits[12];
  size_t count = 0;
  do digits[count++] = (wchar_t)(L'0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) text[length++] = digits[--count];
  return length;
}

// `name` with each %p replaced. False: it doesn't fit.
static bool expand(const wchar_t* name, wchar_t* expanded) {
  size_t length = 0;
  for (; *name != 0; name++) {
    if (length + 12 >= PATH_CAPACITY) return false;
    if (name[0] == L'%' && name[1] == L'p') {
      length = append_number(expanded, length, GetCurrentProcessId());
      name++;
    } else {
      expanded[length++] = *name;
    }
  }
  expanded[length] = 0;
  return true;
}

static bool equals(const wchar_t* a, const wchar_t* b) {
  while (*a != 0 && *a == *b) a++, b++;
  return *a == *b;
}

static uint32_t read_variable(const char* variable) {
  static wchar_t value[PATH_CAPACITY], expanded[PATH_CAPACITY]; // whoever reads is alone
  wchar_t name[64];
  size_t length = 0;
  for (; variable[length] != 0 && length < 63; length++) name[length] = (wchar_t)variable[length];
  name[length] = 0;
  if (!os_environment_wide(name, value, PATH_CAPACITY)) {
    wchar_t any[1]; // is it there, only too long?
    return GetEnvironmentVariableW(name, any, 1) > 1 ? STATE_TOO_LONG : STATE_NONE;
  }
  if (value[0] == 0) return STATE_NONE;
  if (equals(value, L"debugger")) return STATE_DEBUGGER;
  if (!expand(value, expanded)) return STATE_TOO_LONG;
  length = GetFullPathNameW(expanded, PATH_CAPACITY, path, NULL);
  return length > 0 && length < PATH_CAPACITY ? STATE_FILE : STATE_TOO_LONG;
}

// Windows appends in one step. Wine (seen in 8.0) asks for the file's length and then writes there, so that of two
// threads or processes that append at once one overwrites the other's line: there, they take turns. A mutex of the
// system's is left to the next by a holder that dies, and after a tenth of a second a line is written all the same.
static HANDLE turn_take(void) {
  HMODULE ntdll = GetModuleHandleW(L"ntdll.dll");
  if (ntdll == NULL || GetProcAddress(ntdll, "wine_get_version") == NULL) return NULL;
  HANDLE turn = CreateMutexW(NULL, FALSE, L"mimalloc-log");
  if (turn == NULL) return NULL;
  DWORD waited = WaitForSingleObject(turn, 100);
  if (waited == WAIT_OBJECT_0 || waited == WAIT_ABANDONED) return turn;
  CloseHandle(turn);
  return NULL;
}

static void turn_end(HANDLE turn) {
  if (turn == NULL) return;
  ReleaseMutex(turn);
  CloseHandle(turn);
}

static bool append(const char* text, size_t length) {
  DWORD written;
  HANDLE turn = turn_take();
  HANDLE file = CreateFileW(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                            NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  bool done = file != INVALID_HANDLE_VALUE && WriteFile(file, text, (DWORD)length, &written, NULL) &&
              written == length;
  if (file != INVALID_HANDLE_VALUE) CloseHandle(file);
  turn_end(turn);
  return done;
}

static bool has_standard_error(void) {
  HANDLE handle = GetStdHandle(STD_ERROR_HANDLE);
  return handle != NULL && handle != INVALID_HANDLE_VALUE;
}

os_log_t os_log_write(const char* variable, const char* text, size_t length) {
  DWORD error = GetLastError();
  uint32_t unread = STATE_UNREAD;
  os_log_t result = OS_LOG_NONE;
  if (atomic_get_acquire(&state) == STATE_UNREAD &&
      atomic_cas_acq_rel(&state, &unread, (uint32_t)STATE_READING))
    atomic_set_release(&state, read_variable(variable));
  switch (
      atomic_get_acquire(&state)) { // STATE_READING: another thread is about to know; this text doesn't wait
  case STATE_FILE:
    result = append(text, length) ? OS_LOG_WRITTEN : OS_LOG_FAILED;
    break;
  case STATE_TOO_LONG:
    result = OS_LOG_FAILED;
    break;
  case STATE_DEBUGGER:
    if (!has_standard_error()) {
      OutputDebugStringA(text);
      result = OS_LOG_WRITTEN;
    }
    break;
  default:
    break;
  }
  SetLastError(error);
  return result;
}
