// Which file FILE.bak is: the original of the file that is edited, or somebody else's only copy.
#ifndef MINJECT_BACKUP_H
#define MINJECT_BACKUP_H

#include "pe.h"

// True when both are the same file but for what minject puts in and takes out: its imports, a signature, a
// checksum. A backup of that kind need not be made again. False, too, when memory runs out: the user decides
// then.
bool backup_is_of(const uint8_t* backup, size_t backup_size, const uint8_t* data, size_t size);

#endif
