// Theaps of heaps that other threads deleted or destroyed: their thread, which lives, gives them up, and nothing else.
//
// The other thread is played by the test's own, with another record.
#include "heap_blocks.h"
#include "support/level_below_racks.h"

static thread_t *self, *other;

static void clear_superseded(void) {
  for (thread_t* at = thread_first(); at != NULL; at = at->all_next) at->is_superseded = 0;
}

static int begin(void** state) {
  if (set_up(state) != 0) return -1;
  self = runtime_theap()->thread;
  theap_go_without_racks(self->main);
  other = thread_acquire(subproc_main());
  clear_superseded(); // both live
  return other == NULL ? -1 : 0;
}

static int end(void** state) {
  MI_UNUSED(state);
  thread_give_back(other);
  return 0;
}

static void end_by_other(heap_t* heap, bool (*ends)(heap_t* heap)) {
  void* own = os_slot_get();
  os_slot_set(other->main);
  assert_true(ends(heap));
  os_slot_set(own);
}
static void delete_by_other(heap_t* heap) { end_by_other(heap, heap_delete); }
static void destroy_by_other(heap_t* heap) { end_by_other(heap, heap_destroy); }

static bool is_its(const theap_t* theap) {
  for (const theap_t* at = self->theaps; at != NULL; at = at->thread_next)
    if (at == theap) return true;
  return false;
}

// With the next theap that it makes, or the next collection.
static void test_given_up(void** state) {
  MI_UNUSED(state);
  for (int collects = 0; collects < 2; collects++) {
    heap_t *gone = make(), *stays = make();
    char* p = allocate(gone, 100);
    pattern_fill(p, 100, 1);
    page_t* page = page_map_page(p);
    theap_t *moved = thread_find_theap(self, gone),
            *kept = (allocate(stays, 100), thread_find_theap(self, stays));
    delete_by_other(gone);
    assert_ptr_equal(heap_of(p), heap_main());
    assert_true(is_its(moved) && self->is_untidy != 0);
    heap_t* more = make();
    if (collects) {
      mi_collect(false);
    } else {
      assert_non_null(thread_theap(self, more));
    }
    assert_true(collects == 0 || !is_its(moved)); // its record may be another theap's by now
    assert_int_equal(self->is_untidy, 0);
    assert_true(page_is_abandoned(page->owner));
    assert_int_equal(pattern_mismatch(p, 100, 1), SIZE_MAX);
    assert_true(is_its(kept) && kept->state == THEAP_OWNED);
    assert_ptr_equal(thread_find_theap(self, stays), kept);
    assert_true(is_its(self->main) && os_slot_get() == self->main);
    mi_free(p);
    assert_int_equal(page->owner, 0); // with its last block
    assert_true(heap_destroy(stays) && heap_destroy(more));
  }
}

// What malloc allocates from on the thread stays, until another one is chosen and something else is given up.
static void test_default_stays(void** state) {
  MI_UNUSED(state);
  heap_t *gone = make(), *next = make();
  theap_t *own = runtime_theap(), *theap = runtime_heap_enter(gone);
  assert_ptr_equal(runtime_set_default(theap), own);
  delete_by_other(gone);
  assert_non_null(thread_theap(self, next));
  assert_ptr_equal(os_slot_get(), theap);
  assert_true(is_its(theap) && theap->state == THEAP_OWNED && self->chosen == theap);
  void* p = mi_malloc(100);
  assert_ptr_equal(heap_of(p), heap_main());
  assert_ptr_equal(page_owner_theap(page_map_page(p)->owner), theap);
  mi_free(p);
  assert_ptr_equal(runtime_set_default(own), theap);
  delete_by_other(next);
  mi_collect(false);
  assert_false(is_its(theap));
  assert_int_equal(theap->state, THEAP_SPARE);
}

// Of a destroyed heap's theap the record is left, and not for long; the thread's default is its main one again.
static void test_destroyed(void** state) {
  MI_UNUSED(state);
  for (int collects = 0; collects < 2; collects++) {
    heap_t *gone = make(), *gone_too = make(), *more = make();
    theap_t *theap = (allocate(gone, 100), thread_find_theap(self, gone)), *own = runtime_theap(),
            *chosen = runtime_heap_enter(gone_too);
    assert_ptr_equal(runtime_set_default(chosen), own);
    destroy_by_other(gone);
    destroy_by_other(gone_too);
    assert_true(is_its(theap) && theap->state == THEAP_DESTROYED && chosen->state == THEAP_DESTROYED);
    assert_int_equal(self->is_untidy, 1);
    if (collects) {
      mi_collect(false);
      assert_true(theap->state == THEAP_SPARE && chosen->state == THEAP_SPARE);
      assert_true(!is_its(theap) && !is_its(chosen));
    } else {
      assert_non_null(thread_theap(self, more)); // has one of the records
      assert_int_equal((theap->state == THEAP_SPARE) + (chosen->state == THEAP_SPARE), 1);
    }
    assert_int_equal(self->is_untidy, 0);
    assert_ptr_equal(os_slot_get(), own);
    assert_true(heap_destroy(more));
  }
}

// Who allocates from a theap at that moment goes on with it: its turn comes the next time.
static void test_in_use(void** state) {
  MI_UNUSED(state);
  bool (*const ends[])(heap_t*) = {heap_delete, heap_destroy};
  for (size_t i = 0; i < 2; i++) {
    heap_t* gone = make();
    theap_t* theap = (allocate(gone, 100), thread_find_theap(self, gone));
    end_by_other(gone, ends[i]);
    for (int times = 0; times < 3; times++) {
      theaps_tidy(self, theap);
      assert_true(is_its(theap) && theap->thread == self);
    }
    theaps_tidy(self, NULL);
    assert_false(is_its(theap));
    assert_int_equal(theap->state, THEAP_SPARE);
    assert_int_equal(self->is_untidy, 0);
  }
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {CASE(test_given_up), CASE(test_default_stays), CASE(test_destroyed),
                                     CASE(test_in_use)};
  return check_run(tests);
}
