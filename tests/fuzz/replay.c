// Gives a fuzz target the files of a corpus, without libFuzzer: so every test run goes over what fuzzing has
// found.
//   replay FILE-OR-FOLDER...
#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>

static size_t files;

static void replay_file(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) {
    fprintf(stderr, "replay: can't open %s\n", path);
    exit(2);
  }
  static uint8_t data[1 << 20];
  size_t size = fread(data, 1, sizeof(data), file);
  fclose(file);
  uint8_t* exact = malloc(size == 0 ? 1 : size); // of this size, for AddressSanitizer
  memcpy(exact, data, size);
  printf("# %s, %zu bytes\n", path, size);
  fflush(stdout); // tells which one ends the process
  LLVMFuzzerTestOneInput(exact, size);
  free(exact);
  files++;
}

static void replay(const char* path) {
  struct stat status;
  if (stat(path, &status) != 0) {
    fprintf(stderr, "replay: there is no %s\n", path);
    exit(2);
  }
  if (!S_ISDIR(status.st_mode)) {
    replay_file(path);
    return;
  }
  struct dirent** entries;
  int count = scandir(path, &entries, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    char name[4096];
    if (entries[i]->d_name[0] != '.') {
      snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
      replay_file(name);
    }
    free(entries[i]);
  }
  if (count >= 0) free(entries);
}

int main(int count, char** arguments) {
  for (int i = 1; i < count; i++) replay(arguments[i]);
  printf("%zu inputs\n", files);
  if (files == 0) fprintf(stderr, "usage: replay FILE-OR-FOLDER..., with a file at least\n");
  return files == 0 ? 2 : 0;
}
