// Where is mimalloc: in the DLL, or in the program itself and nowhere else? is_ours.c, a file of its own, knows which of the
// two is wanted, so that the programs are compiled once for both.
#ifndef TESTS_DLL_IS_OURS_H
#define TESTS_DLL_IS_OURS_H

#include <stdbool.h>

typedef bool is_ours_t(const void* p);

// NULL when it is in the wrong place.
#ifdef __cplusplus
extern "C"
#endif
    is_ours_t* find_is_ours(void);

#endif
