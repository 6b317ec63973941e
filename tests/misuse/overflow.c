// Writes behind the end of a block and before its start, forwards and backwards as a loop would. What is
// written is an address that the attacker likes, so that a link that is overwritten sends malloc there.
#include "misuse.h"

enum { PLAIN, ALIGNED, ALIGNED_AT, SLACK, FREE_NEIGHBOUR };

static void* make(const case_t* c) {
  if (c->how == ALIGNED) return mi_malloc_aligned(c->size, 4096);
  if (c->how == ALIGNED_AT) return mi_malloc_aligned_at(c->size, 4096, 64);
  return mi_malloc(c->size);
}

static char* blocks[200];

// The block in the middle, by address, of some: with neighbours on both sides wherever the allocator puts
// them.
static char* make_victim(const case_t* c, size_t* count) {
  *count = c->size <= 8192 ? 60 : c->size > 524288 ? 5 : 9;
  for (size_t i = 0; i < *count; i++) {
    char* p = keep_this(make(c), c->size);
    size_t at = i;
    for (; at > 0 && blocks[at - 1] > p; at--) blocks[at] = blocks[at - 1];
    blocks[at] = p;
  }
  return blocks[*count / 2];
}

// One byte alone may be what the attacker would write already: in one canary of 256.
static void change_one(char* at) {
  char was = *(volatile char*)hide(at);
  fill_with_attacker(at, 1);
  if (*(volatile char*)hide(at) == was) *(volatile char*)hide(at) = (char)~was;
}

static void overflow(const case_t* c) {
  size_t count;
  char* p = make_victim(c, &count);
  if (c->how == FREE_NEIGHBOUR) {
    // The next one last: its link then leads to another one nearby.
    for (size_t i = count - 1 - count % 2; i > count / 2; i -= 2) release(blocks[i]);
  }
  if (c->amount == 1 || c->amount == -1) {
    change_one(c->amount < 0 ? p - 1 : p + c->size);
  } else if (c->amount < 0) {
    for (size_t n = 1; n <= (size_t)-c->amount; n++) fill_with_attacker(p - n, 1);
  } else {
    fill_with_attacker(p + c->size, (size_t)c->amount);
  }
  check_contents();
  release(p);
}

enum { MIB = 1024 * 1024 };

#define FIVE(name, size, sign, how)                                                                          \
  {name "_1", overflow, size, sign 1, how}, {name "_8", overflow, size, sign 8, how},                        \
      {name "_16", overflow, size, sign 16, how}, {name "_4096", overflow, size, sign 4096, how}, {          \
    name "_1m", overflow, size, sign MIB, how                                                                \
  }

static const case_t cases_over[] = {
    FIVE("over_small", SMALL, +, PLAIN),
    FIVE("over_large", LARGE, +, PLAIN),
    FIVE("over_huge", HUGE, +, PLAIN),
    FIVE("over_aligned", 4096, +, ALIGNED),
    {"over_slack_1", overflow, 50, 1, SLACK}, // the class has 64
    {"over_slack_8", overflow, 50, 8, SLACK},
    {"over_slack_medium", overflow, 20000, 8, SLACK},
    {"over_slack_huge", overflow, HUGE - 100, 8, SLACK},
    {"over_aligned_at", overflow, 1000, 16, ALIGNED_AT},
    {"over_free_small", overflow, SMALL, 8, FREE_NEIGHBOUR},
    {"over_free_small_1", overflow, SMALL, 1, FREE_NEIGHBOUR},
    {"over_free_kilo", overflow, KILO, 16, FREE_NEIGHBOUR},
    {"over_free_large", overflow, LARGE, 8, FREE_NEIGHBOUR},
};
const group_t group_overflow = GROUP("overflow", cases_over);

static const case_t cases_under[] = {
    FIVE("under_small", SMALL, -, PLAIN),
    FIVE("under_large", LARGE, -, PLAIN),
    FIVE("under_huge", HUGE, -, PLAIN),
    FIVE("under_aligned", 4096, -, ALIGNED),
    {"under_free_small", overflow, SMALL, -64, FREE_NEIGHBOUR},
    {"under_free_large", overflow, LARGE, -16, FREE_NEIGHBOUR},
};
const group_t group_underflow = GROUP("underflow", cases_under);
