// The reader of mapped modules and the planner on top of it: any bytes as a module. An input is a byte of
// choices and the module.
#include "fuzz.h"
#include "plan.h"

static const uint8_t* module;
static size_t module_size;
static bool has_holes;

// Every other 512 bytes can't be read.
static bool readable(const void* p, uintptr_t* from, uintptr_t* to) {
  uintptr_t start = (uintptr_t)module, at = (uintptr_t)p;
  if (at < start || at >= start + module_size) return false; // lists of imports may lie outside: it asks
  size_t piece = (at - start) / 512;
  if (has_holes && piece % 4 == 3) return false;
  *from = start + piece * 512;
  *to = *from + 512 < start + module_size ? *from + 512 : start + module_size;
  return true;
}

static bool is_inside(const void* p, size_t size) {
  uintptr_t at = (uintptr_t)p, start = (uintptr_t)module;
  return at >= start && at - start <= module_size && size <= module_size - (at - start);
}

static bool on_slot(void* context, const char* dll, const char* function, void** slot) {
  size_t* slots = context;
  volatile uint8_t read = 0;
  size_t pointer = sizeof(void*);
  PROMISE(is_inside(dll, strlen(dll) + 1));
  PROMISE(function == NULL || is_inside(function, strlen(function) + 1));
  if (is_inside(slot, pointer))
    read = *(const volatile uint8_t*)slot;
  else
    PROMISE(is_inside(slot, 4)); // of a module of 32 bits
  (void)read;
  return ++*slots < 10000;
}

static const plan_replacement_t table[] = {
    {.name = "alpha", .function = (const void*)0x7000, .is_exclusive = false},
    {.name = "beta", .function = (const void*)0x8000, .is_exclusive = true},
    {.name = "malloc", .function = (const void*)0x9000, .is_exclusive = false},
    {.name = "free", .function = (const void*)0xA000, .is_exclusive = false},
    {.name = NULL, .function = NULL, .is_exclusive = false}};

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  module_size = size - 1;
  uint8_t* copy = malloc(module_size == 0 ? 1 : module_size); // of exactly this size, for AddressSanitizer
  memcpy(copy, data + 1, module_size);
  module = copy;
  has_holes = (data[0] & 1) != 0;
  static plan_runtime_t plan;
  memset(&plan, 0, sizeof(plan));
  if (parse_image(copy, module_size, (data[0] & 2) != 0 ? readable : NULL, &plan.image) == NULL) {
    parse_image_t* image = &plan.image;
    PROMISE(image->size <= module_size);
    size_t slots = 0;
    parse_imports(image, on_slot, &slots);
    for (uint32_t rva = 0; rva < 0x10000; rva += rva < 0x400 ? 4 : 0x373) {
      PROMISE(parse_code_size(image, rva) <= image->size);
      (void)parse_function_size(image, rva);
      (void)parse_has_function_in(image, rva, rva + 64);
      (void)parse_has_export_in(image, rva, rva + 64);
    }
    (void)parse_has_function_in(image, 0xFFFFFFF0, 0xFFFFFFFF);
    if (plan_resolve(&plan, table, data[0] >> 2 & 1)) {
      PROMISE(plan.count <= PLAN_HOOKS_MAX);
      for (size_t i = 0; i < plan.count; i++) {
        PROMISE(is_inside((const void*)plan.hooks[i].entry, 1));
        PROMISE(plan_find(&plan, plan.hooks[i].entry) == &plan.hooks[i]);
      }
      for (size_t i = 0; i < plan.count; i++) (void)plan_leads_out(&plan, &plan.hooks[i]);
      if (plan_inline(&plan, ((uintptr_t)copy + module_size + 0xFFFF) & ~(uintptr_t)0xFFFF)) {
        for (size_t i = 0; i < plan.count; i++) PROMISE(plan.hooks[i].move.size <= TRAMPOLINE_MAX);
      } else {
        PROMISE(plan.problem != NULL);
      }
    } else {
      PROMISE(plan.problem != NULL);
    }
  }
  free(copy);
  return 0;
}
