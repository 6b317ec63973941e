// Secure builds: for tests of what lies below racks and ring. Blocks of a theap that goes without them come from its
// pages' lists and return there at once, as they do in all other builds.
#ifndef TESTS_SUPPORT_LEVEL_BELOW_RACKS_H
#define TESTS_SUPPORT_LEVEL_BELOW_RACKS_H

#include "core/heaps/ring.h"

// Owner only. Until the theap's thread ends.
static inline void theap_go_without_racks(theap_t* theap) {
#if MI_SECURE
  ring_flush(theap);
  racks_flush(theap);
  racks_detach(theap);
  theap->has_ring = false;
#else
  (void)theap;
#endif
}

#endif
