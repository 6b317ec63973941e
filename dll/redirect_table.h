// What takes the place of a C runtime's functions in a running process: dll/redirect knows how, this table
// knows what.
#ifndef DLL_REDIRECT_TABLE_H
#define DLL_REDIRECT_TABLE_H

#include "redirect/plan.h"

// Ends with a NULL name. The first REDIRECT_REQUIRED names make a C runtime of a module: without them nothing
// is replaced.
extern const plan_replacement_t redirect_table[];
#define REDIRECT_REQUIRED 2

// The same for runtimes that have _recalloc.
const plan_replacement_t* redirect_table_for_recalloc(void);

// Those of them that take a block, and none that gives new ones: what allocates stays the runtime's. Only free
// makes a runtime of a module.
const plan_replacement_t* redirect_table_of_frees(void);
#define REDIRECT_FREES_REQUIRED 1

#endif
