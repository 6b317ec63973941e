#include "writer.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define LINE_MAX 2048

void writer_start(writer_t* writer, void* file) {
  writer->file = file;
  writer->used = 0;
  writer->has_failed = false;
}

bool writer_flush(writer_t* writer) {
  size_t at = 0;
  while (at < writer->used && writer->file != NULL && !writer->has_failed) {
    DWORD written = 0;
    if (!WriteFile(writer->file, writer->buffer + at, (DWORD)(writer->used - at), &written, NULL) ||
        written == 0)
      writer->has_failed = true;
    at += written;
  }
  writer->used = 0;
  return !writer->has_failed;
}

void writer_print(writer_t* writer, const char* format, ...) {
  if (writer->file == NULL) return;
  if (writer->used + LINE_MAX > WRITER_BUFFER) writer_flush(writer);
  va_list args;
  va_start(args, format);
  writer->used += format_vprint(writer->buffer + writer->used, LINE_MAX, format, args);
  va_end(args);
}

void writer_json_text(writer_t* writer, const char* text) {
  writer_print(writer, "\"");
  for (; *text != 0; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') {
      writer_print(writer, "\\%c", c);
    } else if (c < 0x20) {
      writer_print(writer, "\\u%04x", c);
    } else {
      writer_print(writer, "%c", c);
    }
  }
  writer_print(writer, "\"");
}
