#include "core/heaps/idle.h"

#include "core/heaps/abandoned.h"
#include "core/heaps/heap.h"
#include "core/pages/bundle.h"
#include "core/report/options.h"

#define IDLE_STEP_PAGES 2048                  // per call: some thousand calls of the system, 10 ms
#define PAUSE_MS        200                   // others are waited for; they need less than one
#define PENDING_LEAST   ((size_t)32 * MI_KIB) // bytes of a page that others freed: less is hardly worth a look

// ---- one at a time, and not while somebody counts -----------------------------------------------------------

static uint32_t pauses;
static uint32_t busy; // the thread that has a remote list in its hands

void idle_pause(void) {
  if (MI_SECURE) return;
  atomic_add_seq_cst(&pauses, 1u);
  // Who waits too long goes on, and counts some blocks wrongly: the other one may be this thread (a hook on VirtualAlloc), or
  // stopped by a debugger.
  uint32_t begin = os_clock_ms(), id;
  while ((id = atomic_get_seq_cst(&busy)) != 0 && !os_thread_is_dead(id) && os_clock_ms() - begin < PAUSE_MS)
    os_yield();
}

void idle_resume(void) {
  if (!MI_SECURE) atomic_sub_acq_rel(&pauses, 1u);
}

static bool enter(void) {
  uint32_t id = 0;
  while (!atomic_cas_weak_seq_cst(&busy, &id, os_thread_id()))
    if (id != 0 && !os_thread_is_dead(id)) return false;
  if (atomic_get_seq_cst(&pauses) == 0) return true;
  atomic_set_release(&busy, 0u);
  return false;
}

static void leave(void) { atomic_set_release(&busy, 0u); }

// ---- who sleeps -----------------------------------------------------------------------------------------------
// A guess is enough: who is woken up by our having a list in our hands doesn't find what others freed, for this once.

static GLANCE_INLINE uint64_t idle_progress(const theap_t* theap) {
  return (theap->heartbeat * THEAP_TICK_CALLS + theap->slow_calls) | (uint64_t)1 << 63;
}

static GLANCE_INLINE bool idle_is_worth_it(const page_t* page, uint32_t pending) {
  return pending * page->block_size >= PENDING_LEAST;
}

void idle_note(void) {
  for (theap_t* theap = theap_first(); theap != NULL; theap = theap->all_next)
    atomic_set_relaxed(&theap->noted, idle_progress(theap));
}

uint32_t idle_is_to_stop;
static page_t* cursor; // where a pass that was too long for one call goes on

typedef struct give_s {
  const heap_t* heap;
  theap_t* by;
  bool all;
  unsigned left;
} give_t;

static bool is_to_be_looked_at(const page_t* page, const give_t* give) {
  uintptr_t owner = atomic_get_acquire(&page->owner);
  const theap_t* theap = page_owner_theap(owner);
  return theap != NULL && (owner & PAGE_OWNER_FLAGS) == 0 && atomic_get_acquire(&page->heap) == give->heap &&
         (give->all || atomic_get_relaxed(&theap->noted) == idle_progress(theap)) &&
         idle_is_worth_it(page, page_remote_count(page));
}

static bool give_page(page_t* page, void* arg) {
  give_t* give = (give_t*)arg;
  if (atomic_get_relaxed(&idle_is_to_stop)) return false;
  if (!give->all && cursor != NULL) {
    if (page == cursor) cursor = NULL;
    return true;
  }
  if (!is_to_be_looked_at(page, give)) return true;
  if (!enter()) return true;
  bundle_remote(page, give->heap);
  leave();
  // It may have become nobody's meanwhile, and all of it free.
  if (page_is_abandoned(atomic_get_seq_cst(&page->owner))) page_look_at_abandoned(give->by, page);
  if (give->all || --give->left > 0) return true;
  cursor = page;
  return false;
}

bool idle_give_back(theap_t* theap, bool all) {
  if (MI_SECURE || option_get(option_purge_delay) < 0) return true;
  give_t give = {heap_main(), theap, all, IDLE_STEP_PAGES};
  arena_visit_pages(&subproc_main()->arenas, &give_page, &give);
  bool goes_on = give.left == 0;
  if (!all && !goes_on) cursor = NULL; // its page is gone, perhaps
  return !goes_on;
}
