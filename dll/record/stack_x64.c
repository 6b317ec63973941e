#include "stack.h"

#include "base/atomics.h"
#include "cell.h"
#include "store.h"

#if defined(__x86_64__)

#define RECIPES_MAX 65536u
#define SLOTS       (4 * RECIPES_MAX)
#define PROBES      8u

enum { RBX = 3, RSP = 4, RBP = 5, NO_REGISTER = 0xFF };

// How to find the caller's frame from a frame whose code stands at `pc`.
typedef struct recipe_s {
  uintptr_t pc;
  frame_t frame;
  uint32_t generation;  // of images; 0: nobody's
  uint32_t size;        // bytes from the frame's base to its return address
  uint16_t saved[16];   // where each register's value lies, in words from the base, plus 1; 0: not saved
  uint16_t is_saved;    // a bit per register
  uint16_t base_offset; // what the base register is ahead of the base, bytes
  uint8_t base;         // register, RSP or the frame register
  uint8_t is_end;       // nobody knows how to go on
  uint8_t is_own;       // code of this DLL
} recipe_t;

// Recipes are written once and then found by their number, so a reader never sees half of one.
static store_t recipes;
static uint32_t* slots;

#define FRAMES_MAX (STACK_FRAMES_MAX + 16) // some are our own

typedef struct walked_s {
  const recipe_t* recipe;
  uintptr_t base, stack_pointer;
} walked_t;

// The last walk over a thread's stack: what the next one finds at the same places needs no look-up. Who finds it taken
// (two threads that share it, or one that was killed in here) does without.
typedef struct MI_ALIGNED(MI_CACHE_LINE) trail_s {
  uint32_t is_taken;
  uint32_t generation; // of images
  uint32_t last;       // which of the two
  uintptr_t highest;   // of the stack
  size_t counts[2];
  walked_t frames[2][FRAMES_MAX];
} trail_t;

static trail_t* trails;

bool stack_start(void) {
  slots = os_reserve_and_commit(SLOTS * sizeof(uint32_t));
  trails = os_reserve_and_commit(CELLS * sizeof(trail_t));
  return slots != NULL && trails != NULL && store_open(&recipes, RECIPES_MAX * sizeof(recipe_t));
}

// ---- tables for unwinding -------------------------------------------------------------------------------

typedef struct function_s {
  uint32_t begin, end, info;
} function_t;

typedef struct info_s {
  uint8_t version_and_flags, prolog_size, code_count, frame_register_and_offset;
  uint16_t codes[]; // low byte: where in the prolog; high byte: operation and its operand
} info_t;

enum {
  OP_PUSH,
  OP_ALLOC_LARGE,
  OP_ALLOC_SMALL,
  OP_SET_FRAME,
  OP_SAVE,
  OP_SAVE_FAR,
  OP_EPILOG,
  OP_SPARE,
  OP_SAVE_XMM,
  OP_SAVE_XMM_FAR,
  OP_MACHINE_FRAME
};
enum { FLAG_CHAINED = 4 };

static const function_t* function_at(const image_t* image, uint32_t rva) {
  const function_t* table = (const function_t*)(image->base + image->functions);
  size_t low = 0, high = image->function_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (table[middle].begin <= rva)
      low = middle + 1;
    else
      high = middle;
  }
  return low > 0 && rva < table[low - 1].end ? &table[low - 1] : NULL;
}

static void save(recipe_t* recipe, unsigned number, uint32_t offset) {
  recipe->saved[number] = (uint16_t)(offset / 8 + 1);
  recipe->is_saved |= (uint16_t)(1u << number);
}

// Undoes what the prolog has done up to `done` bytes into it. False: it can't be.
static bool apply_codes(recipe_t* recipe, const info_t* info, uint32_t done, uint32_t* offset) {
  unsigned i = 0;
  while (i < info->code_count) {
    unsigned at = info->codes[i] & 0xFF, op = info->codes[i] >> 8 & 0xF, operand = info->codes[i] >> 12;
    unsigned extra = op == OP_ALLOC_LARGE                                           ? 1 + operand
                     : op == OP_SAVE || op == OP_SAVE_XMM || op == OP_EPILOG        ? 1
                     : op == OP_SAVE_FAR || op == OP_SAVE_XMM_FAR || op == OP_SPARE ? 2
                                                                                    : 0;
    if (op == OP_EPILOG && (info->version_and_flags & 7) == 1) extra = 0;
    if (i + extra >= info->code_count) return false;
    uint32_t word = extra > 0 ? info->codes[i + 1] : 0;
    uint32_t far = extra > 1 ? word | (uint32_t)info->codes[i + 2] << 16 : 0;
    if (at <= done) {
      switch (op) {
      case OP_PUSH:
        save(recipe, operand, *offset);
        *offset += 8;
        break;
      case OP_ALLOC_LARGE:
        *offset += operand == 0 ? word * 8 : far;
        break;
      case OP_ALLOC_SMALL:
        *offset += operand * 8 + 8;
        break;
      case OP_SET_FRAME:
        recipe->base = info->frame_register_and_offset & 0xF;
        recipe->base_offset = (uint16_t)((info->frame_register_and_offset >> 4) * 16);
        *offset = 0;
        break;
      case OP_SAVE:
        save(recipe, operand, word * 8);
        break;
      case OP_SAVE_FAR:
        save(recipe, operand, far);
        break;
      case OP_MACHINE_FRAME:
        return false; // of an interrupt: nobody called
      default:
        break;
      }
      if (*offset >= 8 * 0xFFFFu) return false;
    }
    i += 1 + extra;
  }
  return true;
}

static bool work_out(recipe_t* recipe, const image_t* image, uint32_t rva) {
  const function_t* function = function_at(image, rva);
  uint32_t offset = 0;
  recipe->base = RSP;
  if (function == NULL) return true; // a leaf: the return address lies on top
  uint32_t done = rva - function->begin;
  for (unsigned depth = 0; depth < 32; depth++) {
    if (function->info & 1 || function->info >= image->size) return false;
    const info_t* info = (const info_t*)(image->base + function->info);
    if (!apply_codes(recipe, info, done, &offset)) return false;
    recipe->size = offset;
    if ((info->version_and_flags >> 3 & FLAG_CHAINED) == 0) return true;
    function = (const function_t*)&info->codes[(info->code_count + 1u) & ~1u];
    done = UINT32_MAX; // the prolog of the part before it is through
  }
  return false;
}

// ---- recipes --------------------------------------------------------------------------------------------

static void make(recipe_t* recipe, uintptr_t pc, uint32_t generation, bool is_interrupted) {
  const image_t* image = images_find(pc);
  *recipe = (recipe_t){.pc = pc, .generation = generation};
  recipe->frame = frame_make(image, is_interrupted ? pc : pc - 1);
  recipe->is_own = images_is_self(pc);
  recipe->is_end = image == NULL || !work_out(recipe, image, (uint32_t)(pc - image->base));
}

// `room` is for one that can't be kept.
static MI_NOINLINE const recipe_t* recipe_of(uintptr_t pc, uint32_t current, recipe_t* room) {
  uint32_t at = (uint32_t)((pc * 0x9E3779B97F4A7C15u) >> 40), free_at = UINT32_MAX;
  for (uint32_t probe = 0; probe < PROBES; probe++) {
    uint32_t slot = (at + probe) % SLOTS, number = atomic_get_acquire(&slots[slot]);
    const recipe_t* recipe = (const recipe_t*)recipes.base + (number - 1);
    if (number != 0 && recipe->pc == pc && recipe->generation == current) return recipe;
    if (free_at == UINT32_MAX && (number == 0 || recipe->generation != current)) free_at = slot;
    if (number == 0) break;
  }
  make(room, pc, current, false);
  recipe_t* kept = free_at == UINT32_MAX ? NULL : store_take(&recipes, sizeof(recipe_t));
  if (kept == NULL) return room;
  *kept = *room;
  atomic_set_release(&slots[free_at], (uint32_t)(kept - (recipe_t*)recipes.base) + 1);
  return kept;
}

// ---- walking --------------------------------------------------------------------------------------------

// What has been walked over. Registers that functions saved are only looked up when a frame's base is one of them, which is
// rare: most are found from the stack pointer.
typedef struct walk_s {
  uintptr_t* registers; // as they were in the innermost frame, or where `count` began
  uintptr_t pc, stack_pointer;
  uintptr_t lowest, highest;        // of the stack
  const walked_t *before, *and_end; // what is left of the walk before this one
  walked_t* frames;
  size_t count;
  walked_t own_frames[FRAMES_MAX]; // without a trail
} walk_t;

static bool saved_value(const walk_t* walk, unsigned number, uintptr_t* value) {
  for (size_t i = walk->count; i-- > 0;) {
    const recipe_t* recipe = walk->frames[i].recipe;
    if ((recipe->is_saved >> number & 1) == 0) continue;
    uintptr_t from = walk->frames[i].base + 8 * ((uintptr_t)recipe->saved[number] - 1);
    if (from > walk->highest - sizeof(uintptr_t)) return false;
    *value = *(const uintptr_t*)from;
    return true;
  }
  *value = walk->registers[number];
  return true;
}

// For a recipe that isn't kept, and so can't be looked at later.
static bool settle(walk_t* walk) {
  uintptr_t values[16];
  bool done = true;
  for (unsigned i = 0; i < 16; i++) done = done && saved_value(walk, i, &values[i]);
  for (unsigned i = 0; done && i < 16; i++) walk->registers[i] = values[i];
  walk->count = 0;
  return done;
}

// Steps to the caller. False: that was the last frame.
static bool step(walk_t* walk, const recipe_t* recipe, bool is_kept) {
  uintptr_t base = walk->stack_pointer;
  if (recipe->is_end || walk->count == FRAMES_MAX) return false;
  walked_t* frame = &walk->frames[walk->count];
  frame->stack_pointer = base;
  if (MI_UNLIKELY(recipe->base != RSP) && !saved_value(walk, recipe->base, &base)) return false;
  base -= recipe->base_offset;
  uintptr_t top = base + recipe->size;
  if (base < walk->lowest || (base & 7) != 0 || top < base || top > walk->highest - sizeof(uintptr_t))
    return false;
  frame->recipe = recipe;
  frame->base = base;
  walk->count++;
  if (MI_UNLIKELY(!is_kept) && !settle(walk)) return false;
  walk->pc = *(const uintptr_t*)top;
  walk->stack_pointer = top + sizeof(uintptr_t);
  return walk->pc != 0;
}

static void start(walk_t* walk, uintptr_t* registers, uintptr_t pc) {
  walk->registers = registers;
  walk->pc = pc;
  walk->stack_pointer = walk->lowest = registers[RSP];
  walk->highest = stack_end(registers[RSP]);
  walk->before = walk->and_end = NULL;
  walk->frames = walk->own_frames;
  walk->count = 0;
}

// NULL: somebody has it.
static trail_t* take_trail(walk_t* walk, uint32_t generation) {
  trail_t* trail = &trails[cell_of_thread()];
  if (atomic_swap_acq_rel(&trail->is_taken, 1u) != 0) return NULL;
  if (trail->generation == generation && trail->highest == walk->highest) {
    walk->before = trail->frames[trail->last];
    walk->and_end = walk->before + trail->counts[trail->last];
  }
  trail->generation = generation;
  trail->highest = walk->highest;
  trail->last ^= 1;
  walk->frames = trail->frames[trail->last];
  return trail;
}

static void give_trail(trail_t* trail, const walk_t* walk) {
  trail->counts[trail->last] = walk->count;
  atomic_set_release(&trail->is_taken, 0u);
}

// Our own frames come first and aren't wanted.
static inline size_t add_frame(frame_t* frames, size_t count, const recipe_t* recipe) {
  frames[count] = recipe->frame;
  return count + (count > 0 || !recipe->is_own);
}

// Goes on for as long as it meets what the walk before met: the same code with the stack pointer at the same place, whose
// caller's place follows. Only the return addresses are looked at. Returns the recipe for what comes then; NULL: it must
// be looked up.
static const recipe_t* follow_trail(walk_t* walk, frame_t* frames, size_t* count, size_t capacity) {
  const walked_t *before = walk->before, *end = walk->and_end;
  uintptr_t stack_pointer = walk->stack_pointer, pc = walk->pc;
  while (before < end && before->stack_pointer < stack_pointer) before++;
  walk->before = before;
  if (before == end || before->stack_pointer != stack_pointer || before->recipe->pc != pc) return NULL;
  walked_t* to = walk->frames + walk->count;
  size_t at = *count;
  while (before->recipe->base == RSP && before + 1 < end && at < capacity && to < walk->frames + FRAMES_MAX) {
    *to++ = *before;
    at = add_frame(frames, at, before->recipe);
    before++;
    stack_pointer = before->stack_pointer;
    pc = ((const uintptr_t*)stack_pointer)[-1];
    if (pc != before->recipe->pc) break;
  }
  *count = at;
  walk->count = (size_t)(to - walk->frames);
  walk->before = before;
  walk->stack_pointer = stack_pointer;
  walk->pc = pc;
  return pc == before->recipe->pc ? before->recipe : NULL;
}

MI_NOINLINE size_t stack_capture(frame_t* frames, size_t capacity) {
  uintptr_t registers[16], pc;
  __asm__ volatile(
      "leaq 0(%%rip), %0\n\t"
      "movq %%rbx, 24(%1)\n\tmovq %%rsp, 32(%1)\n\tmovq %%rbp, 40(%1)\n\tmovq %%rsi, 48(%1)\n\t"
      "movq %%rdi, 56(%1)\n\tmovq %%r12, 96(%1)\n\tmovq %%r13, 104(%1)\n\tmovq %%r14, 112(%1)\n\t"
      "movq %%r15, 120(%1)"
      : "=&r"(pc)
      : "r"(registers)
      : "memory");
  walk_t walk;
  recipe_t room;
  size_t count = 0;
  uint32_t generation = images_generation();
  start(&walk, registers, pc);
  trail_t* trail = take_trail(&walk, generation);
  for (;;) {
    const recipe_t* recipe = follow_trail(&walk, frames, &count, capacity);
    if (count == capacity) break;
    if (recipe == NULL) recipe = recipe_of(walk.pc, generation, &room);
    count = add_frame(frames, count, recipe);
    if (!step(&walk, recipe, recipe != &room) || count == capacity) break;
  }
  if (trail != NULL) give_trail(trail, &walk);
  return count;
}

size_t stack_walk(uintptr_t registers[16], uintptr_t pc, frame_t* frames, size_t capacity) {
  walk_t walk;
  recipe_t room;
  size_t count = 0;
  uint32_t generation = images_generation();
  start(&walk, registers, pc);
  make(&room, pc, generation, true);
  const recipe_t* recipe = &room;
  while (count < capacity) {
    frames[count++] = recipe->frame;
    if (!step(&walk, recipe, recipe != &room)) break;
    recipe = recipe_of(walk.pc, generation, &room);
  }
  return count;
}

#endif
