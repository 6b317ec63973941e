#include "faults.h"

#include "base/atomics.h"
#include "os/os.h"
#include "stacks.h"

#define FAULTS_MAX 64

static fault_t faults[FAULTS_MAX];
static uint32_t fault_count;
static os_lock_t lock;
static writer_t writer; // under the lock

static const char* const kind_names[] = {[FAULT_READ] = "read",
                                         [FAULT_WRITE] = "write",
                                         [FAULT_OVERWRITTEN] = "overwritten",
                                         [FAULT_DOUBLE_FREE] = "double-free",
                                         [FAULT_INSIDE_FREE] = "inside-free",
                                         [FAULT_WILD_FREE] = "wild-free"};

void faults_start(void* text_file) { writer_start(&writer, text_file); }
size_t faults_count(void) { return atomic_get_relaxed(&fault_count); }

#define LINE "mimalloc: check: "

static void say_stack(const char* title, uint32_t number, uint32_t thread) {
  writer_print(&writer, LINE "  %s by thread %u:\n", title, thread);
  if (number == 0) return;
  const stack_t* stack = stacks_at(number);
  for (uint32_t i = 0; i < stack->count; i++) {
    uint64_t offset;
    const image_t* image = frame_image(stack->frames[i], &offset);
    writer_print(&writer, LINE "    %s+0x%llx\n", images_name(image), (unsigned long long)offset);
  }
}

static void say_where(const fault_t* fault) {
  intptr_t size = (intptr_t)fault->block.size;
  if (fault->offset < 0) {
    writer_print(&writer, "%zu byte%s in front of a block of %zu bytes", (size_t)-fault->offset,
                 fault->offset == -1 ? "" : "s", fault->block.size);
  } else if (fault->offset >= size) {
    size_t behind = (size_t)(fault->offset - size) + 1; // the first byte behind it is one behind
    writer_print(&writer, "%zu byte%s behind the end of a block of %zu bytes", behind, behind == 1 ? "" : "s",
                 fault->block.size);
  } else {
    writer_print(&writer, "at offset %zu of a block of %zu bytes", (size_t)fault->offset, fault->block.size);
  }
  if (fault->block.state == GUARD_FREED) writer_print(&writer, " that was freed %u ms ago", fault->freed_ms);
}

static void say(const fault_t* fault) {
  static const char* const titles[] = {"reading ",      "writing ", "something wrote ",
                                       "freed twice: ", "freed: ",  "freed: "};
  writer_print(&writer, LINE "%s", titles[fault->kind]);
  if (fault->has_block)
    say_where(fault);
  else
    writer_print(&writer, "%p, which is nobody's block", (void*)fault->address);
  writer_print(&writer, "\n");
  say_stack(fault->kind == FAULT_OVERWRITTEN ? "noticed" : "here,", fault->stack, fault->thread);
  if (fault->has_block) say_stack("block allocated", fault->block.allocated_at, fault->block.allocated_by);
  if (fault->has_block && fault->block.freed_at != 0)
    say_stack("block freed", fault->block.freed_at, fault->block.freed_by);
  writer_flush(&writer);
}

void faults_add(fault_kind_t kind, uintptr_t address, uint32_t stack, const guard_run_t* run,
                intptr_t offset) {
  os_lock_acquire(&lock);
  uint32_t index = fault_count < FAULTS_MAX ? fault_count : FAULTS_MAX - 1;
  fault_t* fault = &faults[index];
  *fault =
      (fault_t){.kind = kind, .address = address, .thread = os_thread_id(), .stack = stack, .offset = offset};
  if (run != NULL) {
    fault->has_block = true;
    fault->block = *run;
    fault->freed_ms = run->state == GUARD_FREED ? os_clock_ms() - run->freed_ms : 0;
  }
  say(fault);
  fault_count++;
  os_lock_release(&lock);
}

void faults_say_end(uint64_t unguarded) {
  if (fault_count == 0)
    writer_print(&writer, LINE "no fault was found\n");
  else
    writer_print(&writer, LINE "%u fault%s found\n", fault_count, fault_count == 1 ? " was" : "s were");
  if (unguarded > 0)
    writer_print(&writer,
                 LINE
                 "%llu blocks went unguarded for want of room: see MIMALLOC_CHECK_EVERY and _MIN, _MAX\n",
                 (unsigned long long)unguarded);
  writer_flush(&writer);
}

// ---- JSON -----------------------------------------------------------------------------------------------

static void json_stack(writer_t* to, const char* name, uint32_t number) {
  writer_print(to, ", \"%s\": [", name);
  const stack_t* stack = number == 0 ? NULL : stacks_at(number);
  for (uint32_t i = 0; stack != NULL && i < stack->count; i++) {
    uint64_t offset;
    const image_t* image = frame_image(stack->frames[i], &offset);
    writer_print(to, "%s[%d, %llu]", i == 0 ? "" : ", ", image == NULL ? -1 : (int)(image - images_at(0)),
                 (unsigned long long)offset);
  }
  writer_print(to, "]");
}

void faults_json(writer_t* to) {
  size_t count = faults_count() < FAULTS_MAX ? faults_count() : FAULTS_MAX;
  writer_print(to, "  \"fault_count\": %zu,\n  \"faults\": [", faults_count());
  for (size_t i = 0; i < count; i++) {
    const fault_t* fault = &faults[i];
    writer_print(to, "%s\n    {\"kind\": \"%s\", \"address\": \"0x%zx\", \"thread\": %u", i == 0 ? "" : ",",
                 kind_names[fault->kind], (size_t)fault->address, fault->thread);
    if (fault->has_block) {
      writer_print(to, ", \"size\": %zu, \"offset\": %lld, \"freed\": %s, \"allocated_by\": %u",
                   fault->block.size, (long long)fault->offset,
                   fault->block.state == GUARD_FREED ? "true" : "false", fault->block.allocated_by);
      if (fault->block.state == GUARD_FREED)
        writer_print(to, ", \"freed_ms\": %u, \"freed_by\": %u", fault->freed_ms, fault->block.freed_by);
    }
    json_stack(to, "at", fault->stack);
    json_stack(to, "allocated", fault->has_block ? fault->block.allocated_at : 0);
    json_stack(to, "freed_at", fault->has_block ? fault->block.freed_at : 0);
    writer_print(to, "}");
  }
  writer_print(to, "\n  ],\n");
}
