// family N HOW: loses 1000 + N bytes, and starts itself as `family N-1 HOW` as long as N isn't 0. HOW: the child's environment is
// the parent's (inherited), or one of its own (wide, narrow); or the child is left running (leave).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

__attribute__((noinline, noclone)) static void lose(int number) {
  void* lost = malloc((size_t)(1000 + number)); // LINE lost
  __asm__ volatile("" : : "r"(lost) : "memory");
}

static int start(const char* program, int number, const char* how) {
  static char narrow[1000];
  static wchar_t wide[1000];
  char line[1000], root[300];
  STARTUPINFOA startup = {.cb = sizeof(startup)};
  PROCESS_INFORMATION made;
  GetEnvironmentVariableA("SystemRoot", root, sizeof(root));
  int length = snprintf(narrow, 900, "ALPHA=1%cSystemRoot=%s%czeta=2%c", 0, root, 0, 0) + 1;
  for (int i = 0; i < length; i++) wide[i] = (unsigned char)narrow[i];
  int is_wide = strcmp(how, "wide") == 0;
  void* environment = is_wide ? (void*)wide : strcmp(how, "narrow") == 0 ? (void*)narrow : NULL;
  snprintf(line, sizeof(line), "\"%s\" %d %s", program, number, how);
  DWORD flags = is_wide ? CREATE_UNICODE_ENVIRONMENT : 0;
  if (!CreateProcessA(NULL, line, NULL, NULL, FALSE, flags, environment, NULL, &startup, &made)) return 2;
  if (strcmp(how, "leave") == 0) return 0;
  DWORD code = 3;
  WaitForSingleObject(made.hProcess, INFINITE);
  GetExitCodeProcess(made.hProcess, &code);
  return (int)code;
}

int main(int argc, char** argv) {
  if (argc < 3) return 4;
  int number = atoi(argv[1]);
  const char* zeta = getenv("ZETA");
  printf("%d zeta %s\n", number, zeta == NULL ? "-" : zeta);
  fflush(stdout);
  lose(number);
  if (number > 0) return start(argv[0], number - 1, argv[2]);
  if (strcmp(argv[2], "leave") != 0) return 0;
  // Until the test has seen that this one is left over; the file is its sign.
  for (int i = 0; i < 600 && GetFileAttributesA("go") == INVALID_FILE_ATTRIBUTES; i++) Sleep(100);
  return 0;
}
