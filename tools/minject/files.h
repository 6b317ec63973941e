// Whole files in and out, by the C library alone.
#ifndef MINJECT_FILES_H
#define MINJECT_FILES_H

#include "pe.h"

// *data is to be freed. False with the reason.
bool file_read(const char* path, uint8_t** data, size_t* size, pe_error_t* error);

bool file_exists(const char* path);

// False with the reason when the file can't be opened for writing. Changes nothing.
bool file_is_writable(const char* path, pe_error_t* error);

// Writes the whole file, over one that is there. False with the reason; what had been written of a new file
// is removed.
bool file_write(const char* path, const uint8_t* data, size_t size, pe_error_t* error);

// Where the name begins behind the last folder; "dir\\x" is a path on Linux, too: minject edits files for
// Windows.
const char* file_name(const char* path);

#endif
