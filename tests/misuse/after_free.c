// Blocks written and read after they were freed. `amount` is where in the block, or how many bytes.
#include "misuse.h"
#include "support/test_thread.h"

enum { ADDRESS, LOW_BYTES, REMOTE, REUSED, SECOND_ROUND };

static void write_after(const case_t* c) {
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  char* other = mi_malloc(c->size);
  char* live = keep(c->size);
  if (c->how == SECOND_ROUND || c->how == LOW_BYTES) mi_free(other);
  if (c->how == REMOTE)
    free_in_thread(p);
  else
    mi_free(p);
  if (c->how == SECOND_ROUND) mi_collect(false);
  if (c->how == LOW_BYTES) { // a link that leads nearby now leads to a block in use
    while (memcmp(hide(p), &live, (size_t)c->amount) == 0)
      live = keep(c->size); // one byte in 256 is the same by chance
    memcpy(hide(p), &live, (size_t)c->amount);
  } else if (c->how == REUSED) {
    for (size_t i = 0; i < 2 * plenty(c->size) && keep(c->size) != p; i++) {}
    fill_with_attacker(hide(p), 16);
  } else {
    fill_with_attacker(hide(p + c->amount), 8);
  }
}

static const char secret[] = "a secret of who had the block before";

static bool has_secret(const volatile char* p, size_t size) {
  for (size_t i = 0; i + sizeof(secret) <= size; i++) {
    size_t k = 0;
    while (k < sizeof(secret) && p[i + k] == secret[k]) k++;
    if (k == sizeof(secret)) return true;
  }
  return false;
}

static void read_after(const case_t* c) {
  keep_neighbours(c->size);
  char* p = hide(mi_malloc(c->size));
  keep(c->size);
  if (c->how != REUSED) memcpy(p + c->amount, secret, sizeof(secret));
  if (c->how == REMOTE)
    free_in_thread(p);
  else
    mi_free(p);
  if (c->how == REUSED) {
    char* other = NULL;
    for (size_t i = 0; i < 2 * plenty(c->size) && (other = mi_malloc(c->size)) != p; i++) {}
    memcpy(hide(other), secret, sizeof(secret));
  }
  if (has_secret(hide(p), c->size)) harm("what the block held can be read after it was freed");
}

// Whoever gets a block sees what its last holder left in it.
static void read_fresh(const case_t* c) {
  for (size_t i = 0; i < plenty(c->size); i++) {
    char* p = mi_malloc(c->size);
    memcpy(hide(p + c->amount), secret, sizeof(secret));
    mi_free(p);
  }
  for (size_t i = 0; i < 2 * plenty(c->size); i++) {
    char* p = mi_malloc(c->size);
    if (has_secret(hide(p), c->size)) harm("a fresh block holds what another one held");
  }
}

static const case_t cases[] = {
    {"write_after_small", write_after, SMALL, 0, ADDRESS},
    {"write_after_small_second", write_after, SMALL, 8, ADDRESS},
    {"write_after_small_middle", write_after, SMALL, 32, ADDRESS},
    {"write_after_tiny", write_after, TINY, 0, ADDRESS},
    {"write_after_kilo", write_after, KILO, 0, ADDRESS},
    {"write_after_kilo_middle", write_after, KILO, 512, ADDRESS},
    {"write_after_medium", write_after, MEDIUM, 0, ADDRESS},
    {"write_after_large", write_after, LARGE, 0, ADDRESS},
    {"write_after_large_middle", write_after, LARGE, 100000, ADDRESS},
    {"write_after_huge", write_after, HUGE, 0, ADDRESS},
    {"write_after_low_byte", write_after, SMALL, 1, LOW_BYTES},
    {"write_after_two_bytes", write_after, SMALL, 2, LOW_BYTES},
    {"write_after_three_bytes_large", write_after, LARGE, 3, LOW_BYTES},
    {"write_after_remote", write_after, SMALL, 0, REMOTE},
    {"write_after_remote_large", write_after, LARGE, 0, REMOTE},
    {"write_after_reused", write_after, SMALL, 0, REUSED},
    {"write_after_collect", write_after, SMALL, 0, SECOND_ROUND},
    {"read_after_small", read_after, SMALL, 16, 0},
    {"read_after_medium", read_after, 600, 16, 0},
    {"read_after_medium_end", read_after, 600, 560, 0},
    {"read_after_medium_middle", read_after, 600, 300, 0},
    {"read_after_large_begin", read_after, LARGE, 16, 0},
    {"read_after_large", read_after, LARGE, 5000, 0},
    {"read_after_huge", read_after, HUGE, 5000, 0},
    {"read_after_remote", read_after, SMALL, 16, REMOTE},
    {"read_after_reused", read_after, SMALL, 16, REUSED},
    {"read_fresh_small", read_fresh, SMALL, 16, 0},
    {"read_fresh_large", read_fresh, LARGE, 5000, 0},
};
const group_t group_after_free = GROUP("after free", cases);
