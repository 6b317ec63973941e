// Small objects in one thread, as two kinds of real programs have them, and the mere pair of malloc and free.
#include "../harness/bench.h"

// ---- symbolic arithmetic: polynomials as linked lists of terms, coefficients as numbers of their own ----

typedef struct number_s {
  uint64_t digit;
  uint64_t more[2]; // large coefficients only
} number_t;

typedef struct term_s {
  struct term_s* next;
  uint64_t exponent;
  number_t* coefficient;
} term_t;

enum { POLYNOMIALS = 256, TERMS_MOST = 48, EXPONENTS = 97 };

static uint64_t allocations;

static void* take(size_t size) {
  void* p = bench_malloc(size);
  if (p == NULL) bench_no_memory(size);
  allocations++;
  return p;
}

// A third of the coefficients are larger than a word, as it goes in such programs.
static number_t* number_new(uint64_t value) {
  number_t* n = take(value % 3 == 0 ? sizeof(number_t) : sizeof(uint64_t));
  n->digit = value;
  if (value % 3 == 0) n->more[0] = n->more[1] = value;
  return n;
}

static void number_free(number_t* n) {
  if (n->digit % 3 == 0 && (n->more[0] != n->digit || n->more[1] != n->digit))
    bench_wrong("a number changed", n, 24);
  bench_free(n);
}

static term_t* term_new(uint64_t exponent, uint64_t coefficient, term_t* next) {
  term_t* t = take(sizeof *t);
  t->next = next;
  t->exponent = exponent;
  t->coefficient = number_new(coefficient);
  return t;
}

static void polynomial_free(term_t* t) {
  while (t != NULL) {
    term_t* next = t->next;
    number_free(t->coefficient);
    bench_free(t);
    t = next;
  }
}

// Its value where every power of x is 1, modulo 2^64: sums and products keep it, so it checks the arithmetic.
static uint64_t polynomial_value(const term_t* t) {
  uint64_t sum = 0;
  for (; t != NULL; t = t->next) sum += t->coefficient->digit;
  return sum;
}

static term_t* polynomial_sum(const term_t* a, const term_t* b) {
  term_t *head = NULL, **end = &head;
  while (a != NULL || b != NULL) {
    uint64_t exponent = b == NULL || (a != NULL && a->exponent < b->exponent) ? a->exponent : b->exponent,
             value = 0;
    if (a != NULL && a->exponent == exponent) {
      value += a->coefficient->digit;
      a = a->next;
    }
    if (b != NULL && b->exponent == exponent) {
      value += b->coefficient->digit;
      b = b->next;
    }
    *end = term_new(exponent, value, NULL);
    end = &(*end)->next;
  }
  return head;
}

static term_t* polynomial_product(const term_t* a, uint64_t exponent, uint64_t factor) {
  // Exponents are taken modulo a prime; rotating the list keeps it in order.
  term_t *low = NULL, **low_end = &low, *high = NULL, **high_end = &high;
  for (; a != NULL; a = a->next) {
    uint64_t e = a->exponent + exponent;
    term_t*** end = e < EXPONENTS ? &high_end : &low_end;
    **end = term_new(e % EXPONENTS, a->coefficient->digit * factor, NULL);
    *end = &(**end)->next;
  }
  *low_end = high;
  return low;
}

static void tiny(const params_t* p) {
  term_t* polynomials[POLYNOMIALS];
  rng_t rng = rng_make(3);
  uint64_t checked = 0;
  allocations = 0;
  for (unsigned i = 0; i < POLYNOMIALS; i++) polynomials[i] = term_new(i % EXPONENTS, rng_next(&rng), NULL);
  bench_start();
  while (allocations < p->ops) {
    uint64_t draw = rng_next(&rng);
    term_t *a = polynomials[draw % POLYNOMIALS], *b = polynomials[(draw >> 8) % POLYNOMIALS], *result;
    term_t** target = &polynomials[(draw >> 16) % POLYNOMIALS];
    uint64_t expected = polynomial_value(a), length = 0;
    if (draw >> 63) {
      uint64_t factor = (draw >> 24) | 1;
      result = polynomial_product(a, (draw >> 32) % EXPONENTS, factor);
      expected *= factor;
    } else {
      result = polynomial_sum(a, b);
      expected += polynomial_value(b);
    }
    if (polynomial_value(result) != expected)
      bench_wrong("a polynomial has the wrong value", result, sizeof *result);
    checked++;
    for (const term_t* t = result; t != NULL; t = t->next) length++;
    polynomial_free(*target);
    if (length > TERMS_MOST) { // begin afresh
      polynomial_free(result);
      result = term_new(draw % EXPONENTS, draw, NULL);
    }
    *target = result;
  }
  bench_stop(allocations);
  for (unsigned i = 0; i < POLYNOMIALS; i++) polynomial_free(polynomials[i]);
  bench_checked(checked);
}

// ---- a logic minimiser: covers of cubes, split variable by variable ----

typedef struct cover_s {
  uint64_t** cubes;
  size_t count, words;
} cover_t;

static uint64_t* cube_copy(const uint64_t* cube, size_t words) {
  uint64_t* copy = take(words * sizeof *copy);
  memcpy(copy, cube, words * sizeof *copy);
  return copy;
}

static void cover_free(cover_t* c) {
  for (size_t i = 0; i < c->count; i++) bench_free(c->cubes[i]);
  bench_free(c->cubes);
}

// The cubes of `c` whose `variable` is `value`; the array grows as it fills.
static cover_t cofactor(const cover_t* c, size_t variable, uint64_t value) {
  cover_t part = {.words = c->words};
  size_t room = 4;
  part.cubes = take(room * sizeof *part.cubes);
  for (size_t i = 0; i < c->count; i++) {
    if (((c->cubes[i][variable / 64 % c->words] >> variable % 64) & 1) != value) continue;
    if (part.count == room) {
      room *= 2;
      part.cubes = bench_realloc(part.cubes, room * sizeof *part.cubes);
      if (part.cubes == NULL) bench_no_memory(room * sizeof *part.cubes);
      allocations++;
    }
    part.cubes[part.count++] = cube_copy(c->cubes[i], c->words);
  }
  return part;
}

// Number of cubes and sum of their bits at the leaves: splitting loses none.
static void cover_split(const cover_t* c, size_t variable, size_t depth, size_t* cubes, uint64_t* sum) {
  if (depth == 0 || c->count <= 2) {
    *cubes += c->count;
    for (size_t i = 0; i < c->count; i++) *sum += c->cubes[i][0] ^ c->cubes[i][c->words - 1];
    return;
  }
  for (uint64_t value = 0; value < 2; value++) {
    cover_t part = cofactor(c, variable, value);
    cover_split(&part, variable + 1, depth - 1, cubes, sum);
    cover_free(&part);
  }
}

static void mixed(const params_t* p) {
  rng_t rng = rng_make(5);
  uint64_t checked = 0;
  allocations = 0;
  bench_start();
  while (allocations < p->ops) {
    cover_t c = {.count = 30 + rng_below(&rng, 200), .words = 1 + rng_below(&rng, 24)};
    size_t cubes = 0;
    uint64_t sum = 0, expected = 0;
    c.cubes = take(c.count * sizeof *c.cubes);
    for (size_t i = 0; i < c.count; i++) {
      c.cubes[i] = take(c.words * sizeof(uint64_t));
      for (size_t k = 0; k < c.words; k++) c.cubes[i][k] = rng_next(&rng);
      expected += c.cubes[i][0] ^ c.cubes[i][c.words - 1];
    }
    cover_split(&c, (size_t)rng_below(&rng, 40), 8, &cubes, &sum);
    if (cubes != c.count || sum != expected) bench_wrong("cubes were lost", c.cubes, c.count);
    cover_free(&c);
    checked++;
  }
  bench_stop(allocations);
  bench_checked(checked);
}

// ---- the pair ----

static void pair(const params_t* p) {
  bench_start();
  for (uint64_t i = 0; i < p->ops; i++) {
    uint64_t* b = bench_malloc(p->size);
    *(volatile uint64_t*)b = i;
    bench_free(b);
  }
  bench_stop(p->ops);
  bench_checked(0);
}

static void nothing(const params_t* p) {
  bench_start();
  bench_stop(p->ops);
}

const workload_t bench_small[] = {
    {"tiny", tiny, "ops=24000000", "ops=20000",
     "symbolic arithmetic: terms and numbers of 8 to 24 bytes, one thread"},
    {"mixed", mixed, "ops=18000000", "ops=20000",
     "logic minimiser: bit sets and growing arrays, 8 bytes to 2 KiB, one thread"},
    {"pair", pair, "ops=100000000 size=32", "ops=1000", "malloc and free of one size"},
    {"nothing", nothing, "ops=1", "ops=1",
     "a program that allocates nothing, for the time it takes to start"},
    {0}};
