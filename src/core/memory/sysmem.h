// Memory from the system, counted. Everything in core that wants memory asks here, so that the statistics
// know of every operating system call and every reserved and committed byte.
#ifndef CORE_MEMORY_SYSMEM_H
#define CORE_MEMORY_SYSMEM_H

#include "os/os.h"

void* sysmem_reserve(size_t size);
void* sysmem_reserve_at(void* address, size_t size);
void* sysmem_reserve_and_commit(size_t size);
void* sysmem_reserve_large(size_t size, int numa_node);
// `fresh_size`: how many bytes of the range were not committed before (for the counters only).
bool sysmem_commit(void* start, size_t size, size_t fresh_size);
bool sysmem_reset(void* start, size_t size);
// `committed_size`: how many bytes of the range are committed now (for the counters only).
bool sysmem_decommit(void* start, size_t size, size_t committed_size);
void sysmem_release(void* base, size_t size, size_t committed_size);

// Reserves `size` bytes so that an `alignment`-aligned range of that size lies in the reservation.
// *base and *reserved_size are what must be released later. NULL when there is no room.
void* sysmem_reserve_aligned(size_t size, size_t alignment, void** base, size_t* reserved_size);

// Zeroed memory for the allocator's own records. Never given back while the process lives, so a record's
// address stays valid for whoever still holds it ("type-stable"). Aligned to a cache line. NULL when out of
// memory.
void* sysmem_metadata(size_t size);

// Unload: releases all metadata.
void sysmem_release_metadata(void);

#endif
