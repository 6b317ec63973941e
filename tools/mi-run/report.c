#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

bool report_verbose;

static void write_text(HANDLE to, const wchar_t* text, int length) {
  DWORD mode, written;
  if (length == 0) return;
  if (GetConsoleMode(to, &mode)) {
    WriteConsoleW(to, text, (DWORD)length, &written, NULL);
    return;
  }
  int bytes = WideCharToMultiByte(CP_UTF8, 0, text, length, NULL, 0, NULL, NULL);
  char* utf8 = malloc((size_t)bytes);
  if (utf8 == NULL) return;
  WideCharToMultiByte(CP_UTF8, 0, text, length, utf8, bytes, NULL, NULL);
  // In one piece, so that it doesn't mix with what the program writes.
  WriteFile(to, utf8, (DWORD)bytes, &written, NULL);
  free(utf8);
}

static void print(DWORD stream, const wchar_t* prefix, const wchar_t* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int prefix_length = (int)wcslen(prefix);
  int length = _vscwprintf(format, arguments);
  wchar_t* text = malloc(((size_t)prefix_length + (size_t)length + 2) * sizeof(wchar_t));
  if (text != NULL && length >= 0) {
    wcscpy(text, prefix);
    _vsnwprintf(text + prefix_length, (size_t)length + 1, format, again);
    length += prefix_length;
    if (prefix_length > 0) text[length++] = L'\n';
    write_text(GetStdHandle(stream), text, length);
  }
  free(text);
  va_end(again);
}

#define PRINT(stream, prefix)                                                                                \
  va_list arguments;                                                                                         \
  va_start(arguments, format);                                                                               \
  print(stream, prefix, format, arguments);                                                                  \
  va_end(arguments)

static wchar_t error_prefix[MAX_PATH + 128] = L"mi-run: error: ";

void report_not_followed(const wchar_t* subject) {
  swprintf(error_prefix, MAX_PATH + 128, L"mi-run: warning: not followed: %ls: ", subject);
}

void report_error(const wchar_t* format, ...) { PRINT(STD_ERROR_HANDLE, error_prefix); }
void report_remedy(const wchar_t* format, ...) { PRINT(STD_ERROR_HANDLE, L"mi-run: remedy: "); }
void report_warning(const wchar_t* format, ...) { PRINT(STD_ERROR_HANDLE, L"mi-run: warning: "); }
void report_print(const wchar_t* format, ...) { PRINT(STD_OUTPUT_HANDLE, L""); }

void report_note(const wchar_t* format, ...) {
  if (!report_verbose) return;
  PRINT(STD_ERROR_HANDLE, L"mi-run: ");
}

const wchar_t* report_reason(unsigned long error) {
  static wchar_t text[512];
  DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS |
                                    FORMAT_MESSAGE_MAX_WIDTH_MASK,
                                NULL, error, 0, text, 480, NULL);
  while (length > 0 && (text[length - 1] == L' ' || text[length - 1] == L'.')) length--;
  swprintf(text + length, 512 - length, length > 0 ? L" (error %lu)" : L"error %lu", error);
  return text;
}
