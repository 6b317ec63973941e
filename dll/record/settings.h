// What the environment says, for modes that must know before the program runs.
#ifndef DLL_RECORD_SETTINGS_H
#define DLL_RECORD_SETTINGS_H

#include "base/attributes.h"

// Set, and not to 0, false, no or off.
bool setting_is_on(const char* name);

// A number or an amount ("64K"); warns and returns `otherwise` when it is none or out of bounds.
uint64_t setting_number(const char* name, uint64_t minimum, uint64_t maximum, uint64_t otherwise);

#endif
