// PE files on disk, for pe_image's functions.
#ifndef MI_RUN_IMAGE_FILE_H
#define MI_RUN_IMAGE_FILE_H

#include <wchar.h>

#include "pe_image.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// A pe_read_fn; `source` is a file's HANDLE.
bool image_file_read(void* source, uint64_t offset, void* to, size_t size);

// Opens the file and reads its header. NULL: it can't be read, or is no PE file. To be closed with
// CloseHandle.
HANDLE image_file_open(const wchar_t* path, pe_image_t* image);

// The header alone.
bool image_file_header(const wchar_t* path, pe_image_t* image);

#endif
