// What --list prints.
#ifndef MINJECT_LIST_H
#define MINJECT_LIST_H

#include "pe.h"

#include <stdio.h>

// False when a table that is only shown (delay imports) is damaged; the text says so.
bool list_print(FILE* to, const char* path, const pe_t* pe, bool show_functions);

#endif
