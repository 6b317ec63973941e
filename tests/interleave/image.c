#include "interleave/image.h"
#include "interleave/model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, RANGES = 2 };

typedef struct range_s {
  uint8_t* start;
  size_t pages;
  unsigned char* resident; // by page: may it hold anything?
  uint8_t** images[2];     // by page; NULL: it was zero
} range_t;

static range_t* ranges;
static const uint8_t zero_page[PAGE];
extern char __data_start, _end; // of the program

static void range_set(range_t* range, void* start, void* end) {
  range->start = (uint8_t*)((uintptr_t)start & ~(uintptr_t)(PAGE - 1));
  range->pages = (size_t)((uint8_t*)end - range->start + PAGE - 1) / PAGE;
  range->resident = calloc(range->pages, 1);
  for (int i = 0; i < 2; i++) range->images[i] = calloc(range->pages, sizeof(uint8_t*));
}

void image_init(void) {
  ranges = calloc(RANGES, sizeof(range_t));
  range_set(&ranges[0], &__data_start, &_end);
  range_set(&ranges[1], model_memory(), model_memory() + MODEL_SIZE);
}

static void ask_what_is_there(range_t* range) {
  if (mincore(range->start, range->pages * PAGE, range->resident) != 0) abort();
}

void image_take(image_t image) {
  for (int r = 0; r < RANGES; r++) {
    range_t* range = &ranges[r];
    ask_what_is_there(range);
    for (size_t i = 0; i < range->pages; i++) {
      const uint8_t* page = range->start + i * PAGE;
      bool is_zero = (range->resident[i] & 1) == 0 || memcmp(page, zero_page, PAGE) == 0;
      free(range->images[image][i]);
      range->images[image][i] = NULL;
      if (is_zero) continue;
      range->images[image][i] = malloc(PAGE);
      memcpy(range->images[image][i], page, PAGE);
    }
  }
}

// Most pages are never touched, or as they were: comparing is quicker than copying, and both than a fork.
void image_restore(image_t image) {
  // Zero then, and not there to be looked at after each run.
  if (image == IMAGE_BEGIN) madvise(model_memory(), MODEL_SIZE, MADV_DONTNEED);
  for (int r = 0; r < RANGES; r++) {
    range_t* range = &ranges[r];
    ask_what_is_there(range);
    for (size_t i = 0; i < range->pages; i++) {
      const uint8_t* was = range->images[image][i];
      if (was == NULL && (range->resident[i] & 1) == 0) continue;
      if (was == NULL) was = zero_page;
      uint8_t* page = range->start + i * PAGE;
      if (memcmp(page, was, PAGE) != 0) memcpy(page, was, PAGE);
    }
  }
}
