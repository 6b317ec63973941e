// Command lines as Windows knows them: one string, which each program cuts into arguments itself. This
// follows CommandLineToArgvW: blanks separate, quotes hold together, 2n backslashes before a quote are n
// backslashes, 2n+1 are n backslashes and a literal quote; other backslashes are themselves.
//
// Pure: no Windows call.
#ifndef MI_RUN_COMMAND_LINE_H
#define MI_RUN_COMMAND_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "utf16.h"

size_t utf16_length(const utf16_t* text);

// Skips the program's own name, whose rule is another one (no backslash escapes), and the blanks after it.
const utf16_t* command_line_arguments(const utf16_t* line);

// Decodes the argument at `at` (no blank) into `text`, which has room for the rest of the line and a NUL.
// Returns where the argument ends in the line: at a blank or at the end.
const utf16_t* command_line_argument(const utf16_t* at, utf16_t* text);

const utf16_t* command_line_skip_blanks(const utf16_t* at);

// The command line that starts `program` with arguments that are left as they were written: the name, in
// quotes if it has blanks or `quoted` says so, then `tail` (empty, or a blank and more). `line` has room for
// both, two quotes and a NUL.
void command_line_compose(utf16_t* line, const utf16_t* program, bool quoted, const utf16_t* tail);

#endif
