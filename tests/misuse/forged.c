// The first word of a freed block, where allocators keep a link, is made to point elsewhere. The lists are
// those of the owner's own frees and of other threads' frees.
#include "misuse.h"
#include "support/test_thread.h"

enum {
  STATIC,
  STACK,
  LIVE_BLOCK,
  LIVE_INSIDE,
  ITSELF,
  CYCLE,
  NULL_LINK,
  COPIED,
  OTHER_PAGE,
  ODD,
  HIGH,
  FLIPPED
};

enum { FREED = 6 };

static void forge(const case_t* c, bool is_remote) {
  keep_neighbours(c->size);
  char* live = keep(c->size);
  char* elsewhere = keep(c->size * 2);
  char* freed[FREED];
  for (int i = 0; i < FREED; i++) freed[i] = hide(mi_malloc(c->size));
  keep(c->size);
  char on_stack[1024];
  memset(on_stack, 0, sizeof(on_stack));
  forbid(on_stack, sizeof(on_stack), "on the stack");
  for (int i = 0; i < FREED; i++) {
    if (is_remote)
      free_in_thread(freed[i]);
    else
      mi_free(freed[i]);
  }
  volatile uintptr_t* link = hide(freed[FREED - 1]); // the last one is what lists begin with, mostly
  volatile uintptr_t* before = hide(freed[FREED - 2]);
  switch (c->how) {
  case STATIC:
    *link = (uintptr_t)attacker + 4096;
    break;
  case STACK:
    *link = ((uintptr_t)on_stack + 63) & ~(uintptr_t)15;
    break;
  case LIVE_BLOCK:
    *link = (uintptr_t)live;
    break;
  case LIVE_INSIDE:
    *link = (uintptr_t)live + 16;
    break;
  case ITSELF:
    *link = (uintptr_t)link;
    break;
  case CYCLE:
    *before = (uintptr_t)link;
    *link = (uintptr_t)before;
    break;
  case NULL_LINK:
    *link = 0;
    break;
  case COPIED:
    *link = *(volatile uintptr_t*)hide(freed[1]);
    break;
  case OTHER_PAGE:
    *link = (uintptr_t)elsewhere;
    break;
  case ODD:
    *link = (uintptr_t)freed[0] + 1;
    break;
  case HIGH:
    *link = (uintptr_t)0x4141414141414141u;
    break;
  case FLIPPED: // one bit, as a fault of memory would
    *link ^= 64;
    break;
  default:
    no_case("no such forgery");
  }
  if (is_remote && c->size <= 8192)
    probe(c->size, 2 * plenty(c->size)); // fills the page: other threads' frees are taken over
}

static void local(const case_t* c) { forge(c, false); }
static void remote(const case_t* c) { forge(c, true); }

static const case_t cases[] = {
    {"forged_static", local, SMALL, 0, STATIC},
    {"forged_static_tiny", local, TINY, 0, STATIC},
    {"forged_static_kilo", local, KILO, 0, STATIC},
    {"forged_static_medium", local, MEDIUM, 0, STATIC},
    {"forged_static_large", local, LARGE, 0, STATIC},
    {"forged_stack", local, SMALL, 0, STACK},
    {"forged_live", local, SMALL, 0, LIVE_BLOCK},
    {"forged_live_large", local, LARGE, 0, LIVE_BLOCK},
    {"forged_inside", local, SMALL, 0, LIVE_INSIDE},
    {"forged_itself", local, SMALL, 0, ITSELF},
    {"forged_cycle", local, SMALL, 0, CYCLE},
    {"forged_null", local, SMALL, 0, NULL_LINK},
    {"forged_copied", local, SMALL, 0, COPIED},
    {"forged_other_page", local, SMALL, 0, OTHER_PAGE},
    {"forged_odd", local, SMALL, 0, ODD},
    {"forged_high", local, SMALL, 0, HIGH},
    {"forged_flipped", local, SMALL, 0, FLIPPED},
    {"forged_remote_static", remote, SMALL, 0, STATIC},
    {"forged_remote_static_large", remote, LARGE, 0, STATIC},
    {"forged_remote_stack", remote, SMALL, 0, STACK},
    {"forged_remote_live", remote, SMALL, 0, LIVE_BLOCK},
    {"forged_remote_itself", remote, SMALL, 0, ITSELF},
    {"forged_remote_cycle", remote, SMALL, 0, CYCLE},
    {"forged_remote_null", remote, SMALL, 0, NULL_LINK},
    {"forged_remote_copied", remote, SMALL, 0, COPIED},
    {"forged_remote_other_page", remote, SMALL, 0, OTHER_PAGE},
    {"forged_remote_high", remote, SMALL, 0, HIGH},
};
const group_t group_forged = GROUP("forged link", cases);
