// The memory that a run may change, brought back before the next one: static memory and the model's address
// space.
#ifndef TESTS_INTERLEAVE_IMAGE_H
#define TESTS_INTERLEAVE_IMAGE_H

typedef enum image_e {
  IMAGE_BEGIN,
  IMAGE_PREPARED
} image_t; // as the program began; as a scenario was prepared

// Once. What must not be brought back lies elsewhere: in memory of the system's, or on the stack.
void image_init(void);

void image_take(image_t image);
void image_restore(image_t image);

#endif
