// Text into a file, without the C runtime and without a lock: reports are written while the process ends.
#ifndef DLL_RECORD_WRITER_H
#define DLL_RECORD_WRITER_H

#include "base/format.h"

// One at a time in the process: the buffer is too large for a stack.
#define WRITER_BUFFER (32 * 1024)

typedef struct writer_s {
  void* file; // NULL: nothing is written
  size_t used;
  bool has_failed;
  char buffer[WRITER_BUFFER];
} writer_t;

void writer_start(writer_t* writer, void* file);
void writer_print(writer_t* writer, const char* format, ...) MI_PRINTF(2, 3);
// A JSON string with its quotes.
void writer_json_text(writer_t* writer, const char* text);
bool writer_flush(writer_t* writer); // false: something was not written

#endif
