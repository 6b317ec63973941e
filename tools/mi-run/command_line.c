#include "command_line.h"

enum { QUOTE = '"', BACKSLASH = '\\' };

static bool is_blank(utf16_t c) { return c == ' ' || c == '\t'; }

size_t utf16_length(const utf16_t* text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

const utf16_t* command_line_skip_blanks(const utf16_t* at) {
  while (is_blank(*at)) at++;
  return at;
}

const utf16_t* command_line_arguments(const utf16_t* line) {
  if (*line == QUOTE) {
    do line++;
    while (*line != 0 && *line != QUOTE);
    if (*line == QUOTE) line++;
  } else {
    while (*line != 0 && !is_blank(*line)) line++;
  }
  return command_line_skip_blanks(line);
}

const utf16_t* command_line_argument(const utf16_t* at, utf16_t* text) {
  bool quoted = false;
  while (*at != 0 && (quoted || !is_blank(*at))) {
    size_t backslashes = 0;
    while (*at == BACKSLASH) {
      backslashes++;
      at++;
    }
    bool escapes = *at == QUOTE;
    for (size_t i = 0; i < (escapes ? backslashes / 2 : backslashes); i++) *text++ = BACKSLASH;
    if (!escapes) {
      if (backslashes == 0) *text++ = *at++;
      continue;
    }
    if (backslashes % 2 != 0) {
      *text++ = QUOTE;
      at++;
    }
    // Of a run of quotes, with the one that is open, each third is literal and closes; a single one left over
    // is open. The documentation is silent here; this is what the function does.
    size_t run = quoted ? 1 : 0;
    while (*at == QUOTE) {
      run++;
      at++;
    }
    for (size_t i = 0; i < run / 3; i++) *text++ = QUOTE;
    quoted = run % 3 == 1;
  }
  *text = 0;
  return at;
}

void command_line_compose(utf16_t* line, const utf16_t* program, bool quoted, const utf16_t* tail) {
  if (*program == 0) quoted = true;
  for (const utf16_t* c = program; *c != 0; c++) quoted = quoted || is_blank(*c);
  if (quoted) *line++ = QUOTE;
  while (*program != 0) *line++ = *program++;
  if (quoted) *line++ = QUOTE;
  while (*tail != 0) *line++ = *tail++;
  *line = 0;
}
