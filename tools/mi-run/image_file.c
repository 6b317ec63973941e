#include "image_file.h"

bool image_file_read(void* source, uint64_t offset, void* to, size_t size) {
  HANDLE file = source;
  LARGE_INTEGER at = {.QuadPart = (LONGLONG)offset};
  DWORD length;
  return SetFilePointerEx(file, at, NULL, FILE_BEGIN) && ReadFile(file, to, (DWORD)size, &length, NULL) &&
         length == size;
}

HANDLE image_file_open(const wchar_t* path, pe_image_t* image) {
  HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                            OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE) return NULL;
  if (pe_read(image_file_read, file, image) == PE_OK) return file;
  CloseHandle(file);
  return NULL;
}

bool image_file_header(const wchar_t* path, pe_image_t* image) {
  HANDLE file = image_file_open(path, image);
  if (file != NULL) CloseHandle(file);
  return file != NULL;
}
