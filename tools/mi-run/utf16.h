// Windows' strings in code that also builds elsewhere: there, wchar_t is this very type.
#ifndef MI_RUN_UTF16_H
#define MI_RUN_UTF16_H

#include <stdint.h>

typedef uint16_t utf16_t;

#endif
