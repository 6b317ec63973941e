// Edits of seeds, and comparisons of what comes out.
#ifndef TESTS_EDITS_H
#define TESTS_EDITS_H

#include "seeds.h"

#include "edit.h"

extern const char* const mimalloc; // "mimalloc.dll"

// Edits and returns the new file; fails the test if it can't be done. The result's notes can be read
// afterwards.
seed_t edit(const seed_t* seed, edit_request_t request, edit_result_t* result);
seed_t add(const seed_t* seed, const char* dll);
seed_t take_out(const seed_t* seed, const char* dll);
seed_t move_first(const seed_t* seed, const char* dll);

// Demands this status, and `reason` as a part of the reason.
void expect(const seed_t* seed, edit_request_t request, edit_status_t status, const char* reason);

bool has_note(const edit_result_t* result, bool is_warning, const char* text);
void assert_same(const seed_t* a, const seed_t* b);

// The DLLs that the file imports, in order; ended by NULL.
void assert_imports(const seed_t* seed, const char* const* dlls);
#define IMPORTS(seed, ...) assert_imports(seed, (const char* const[]){__VA_ARGS__, NULL})

// Import `index_a` of one file is import `index_b` of the other: same tables at the same addresses, same
// functions.
void assert_same_import(const pe_t* a, uint32_t index_a, const pe_t* b, uint32_t index_b);

// Everything that an added import must leave alone. `shift`: how far what lay behind the sections moved.
void assert_rest_is_same(const pe_t* old, const pe_t* new, uint32_t shift);

#endif
