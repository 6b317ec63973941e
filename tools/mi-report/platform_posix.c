#include "platform.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool is_windows(void) { return false; }

char** platform_arguments(int argc, char** argv) {
  (void)argc;
  return argv;
}

FILE* file_open(const char* path, const char* mode) { return fopen(path, mode); }
void file_remove(const char* path) { remove(path); }

FILE* pipe_open(const char* command) { return popen(command, "r"); }
int pipe_close(FILE* pipe) { return pclose(pipe); }

char* temporary_file(void) {
  const char* folder = getenv("TMPDIR");
  char* name = text_format("%s/mi-report-XXXXXX", folder != NULL ? folder : "/tmp");
  int file = mkstemp(name);
  if (file < 0) return NULL;
  close(file);
  return name;
}

bool file_is_there(const char* path) { return access(path, R_OK) == 0; }

// Other drives of Wine lie in its prefix, whose letters are links.
const char* path_here(const char* windows_path) {
  if (windows_path[0] == 0 || windows_path[1] != ':') return windows_path;
  char drive = (char)(windows_path[0] | 0x20);
  const char* prefix = getenv("WINEPREFIX");
  char* path = drive == 'z' ? text_format("%s", windows_path + 2)
               : prefix != NULL
                   ? text_format("%s/dosdevices/%c:%s", prefix, drive, windows_path + 2)
                   : text_format("%s/.wine/dosdevices/%c:%s", getenv("HOME") != NULL ? getenv("HOME") : "",
                                 drive, windows_path + 2);
  for (char* at = path; *at != 0; at++) {
    if (*at == '\\') *at = '/';
  }
  return path;
}

void output_is_binary(void) {}

bool system_symbols(const char* path, code_t** codes, size_t count) {
  (void)path;
  (void)codes;
  (void)count;
  return false;
}
