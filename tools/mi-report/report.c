#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

const char* const metric_names[METRIC_COUNT] = {"live_bytes", "live_blocks", "bytes", "allocations"};

static const char* const another =
    "give it a file that mimalloc.dll wrote (mi-run --report FILE, or MIMALLOC_REPORT=FILE)";

// ---- places ---------------------------------------------------------------------------------------------

typedef struct table_s { // of codes, by place
  code_t** slots;
  size_t size, used;
} table_t;

static size_t slot_of(const table_t* table, int module, uint64_t offset) {
  uint64_t hash = (offset ^ (uint64_t)(module + 1) << 40) * 0x9E3779B97F4A7C15u;
  size_t slot = (size_t)(hash >> 20) % table->size;
  while (table->slots[slot] != NULL &&
         (table->slots[slot]->module != module || table->slots[slot]->offset != offset))
    slot = (slot + 1) % table->size;
  return slot;
}

static code_t* code_at(table_t* table, int module, uint64_t offset) {
  if (2 * (table->used + 1) > table->size) {
    table_t larger = {.size = table->size == 0 ? 1024 : 2 * table->size, .used = table->used};
    larger.slots = allocate(larger.size * sizeof(code_t*));
    for (size_t i = 0; i < table->size; i++) {
      code_t* code = table->slots[i];
      if (code != NULL) larger.slots[slot_of(&larger, code->module, code->offset)] = code;
    }
    free(table->slots);
    *table = larger;
  }
  size_t slot = slot_of(table, module, offset);
  if (table->slots[slot] == NULL) {
    code_t* code = table->slots[slot] = allocate(sizeof(code_t));
    code->module = module;
    code->offset = offset;
    table->used++;
  }
  return table->slots[slot];
}

// ---- reading --------------------------------------------------------------------------------------------

static void read_modules(report_t* report, const json_t* modules) {
  report->modules = allocate(modules->count * sizeof(module_t));
  for (const json_t* item = modules->first; item != NULL; item = item->next) {
    module_t* module = &report->modules[report->module_count++];
    module->path = json_text(item, "path", "?");
    module->kind = json_text(item, "kind", "program");
    module->base = strtoull(json_text(item, "base", "0"), NULL, 16);
    module->size = (uint32_t)json_number(item, "size", 0);
    module->timestamp = (uint32_t)json_number(item, "timestamp", 0);
    module->is_unloaded = json_true(item, "unloaded");
  }
}

// What a sample stands for: an allocation of s bytes was taken with probability 1 - exp(-s / distance). The sizes of one
// stack's allocations are mostly alike, so their mean serves.
static void unsample(stack_t* stack, double distance) {
  for (int i = 0; i < 2; i++) {
    double *bytes = &stack->values[i == 0 ? LIVE_BYTES : BYTES],
           *count = &stack->values[i == 0 ? LIVE_BLOCKS : ALLOCATIONS];
    if (distance <= 0 || *count <= 0) continue;
    double scale = 1 / -expm1(-(*bytes / *count < 1 ? 1 : *bytes / *count) / distance);
    *bytes *= scale;
    *count *= scale;
  }
}

static code_t** read_frames(const report_t* report, table_t* table, const json_t* frames, size_t* count) {
  code_t** codes = allocate((frames == NULL ? 0 : frames->count) * sizeof(code_t*));
  *count = 0;
  for (const json_t* frame = frames == NULL ? NULL : frames->first; frame != NULL; frame = frame->next) {
    if (frame->kind != JSON_ARRAY || frame->count != 2) continue;
    int module = (int)frame->first->number;
    if (module < 0 || (size_t)module >= report->module_count) module = -1;
    codes[(*count)++] = code_at(table, module, (uint64_t)frame->first->next->number);
  }
  return codes;
}

static void read_faults(report_t* report, table_t* table, const json_t* faults) {
  if (faults == NULL) return;
  report->faults = allocate(faults->count * sizeof(fault_t));
  for (const json_t* item = faults->first; item != NULL; item = item->next) {
    fault_t* fault = &report->faults[report->fault_count++];
    fault->kind = json_text(item, "kind", "?");
    fault->address = json_text(item, "address", "?");
    fault->thread = (unsigned)json_number(item, "thread", 0);
    fault->has_block = json_get(item, "size") != NULL;
    fault->size = json_number(item, "size", 0);
    fault->offset = json_number(item, "offset", 0);
    fault->is_freed = json_true(item, "freed");
    fault->freed_ms = json_number(item, "freed_ms", 0);
    fault->allocated_by = (unsigned)json_number(item, "allocated_by", 0);
    fault->freed_by = (unsigned)json_number(item, "freed_by", 0);
    fault->at.frames = read_frames(report, table, json_get(item, "at"), &fault->at.count);
    fault->allocated.frames =
        read_frames(report, table, json_get(item, "allocated"), &fault->allocated.count);
    fault->freed.frames = read_frames(report, table, json_get(item, "freed_at"), &fault->freed.count);
  }
}

static void read_stacks(report_t* report, const json_t* stacks, const json_t* faults) {
  table_t table = {0};
  read_faults(report, &table, faults);
  report->stacks = allocate(stacks->count * sizeof(stack_t));
  for (const json_t* item = stacks->first; item != NULL; item = item->next) {
    stack_t* stack = &report->stacks[report->stack_count++];
    for (int i = 0; i < METRIC_COUNT; i++) stack->values[i] = json_number(item, metric_names[i], 0);
    unsample(stack, report->sample_bytes);
    stack->first = json_number(item, "first", -1);
    stack->kept = json_text(item, "kept", NULL);
    stack->keeper = (int)json_number(item, "keeper", -1);
    if (stack->keeper < 0 || (size_t)stack->keeper >= report->module_count) stack->keeper = -1;
    stack->frames = read_frames(report, &table, json_get(item, "frames"), &stack->count);
  }
  report->codes = allocate((table.used + 1) * sizeof(code_t*));
  for (size_t i = 0; i < table.size; i++) {
    if (table.slots[i] != NULL) report->codes[report->code_count++] = table.slots[i];
  }
}

report_t* report_read(const char* path) {
  const char* problem;
  size_t size, at;
  char* text = file_read(path, &size);
  if (text == NULL) give_up("check the path", "'%s' can't be read: %s", path, strerror(errno));
  if (size == 0)
    give_up("the program may still be running, or it was ended from outside (TerminateProcess); let it end "
            "by itself",
            "'%s' is empty", path);
  const json_t* json = json_parse(text, &problem, &at);
  if (json == NULL) give_up(another, "'%s' is no report: %s at byte %zu", path, problem, at);
  double version = json_number(json, "mimalloc_report", 0);
  if (version == 0) give_up(another, "'%s' is no report: it has no member \"mimalloc_report\"", path);
  if (version != 1)
    give_up("take the mi-report of that mimalloc.dll",
            "'%s' is of version %g of the format; this mi-report knows 1", path, version);
  const json_t *modules = json_get(json, "modules"), *stacks = json_get(json, "stacks"),
               *totals = json_get(json, "totals");
  if (modules == NULL || stacks == NULL)
    give_up(another, "'%s' is no report: modules or stacks are missing", path);
  report_t* report = allocate(sizeof(*report));
  report->file = path;
  report->mode = json_text(json, "mode", "leaks");
  report->reason = json_text(json, "reason", "exit");
  report->exception = json_text(json, "exception", NULL);
  report->pointer_bits = (unsigned)json_number(json, "pointer_bits", 64);
  report->process = (unsigned)json_number(json, "process", 0);
  report->elapsed_ms = json_number(json, "elapsed_ms", 0);
  report->sample_bytes = json_number(json, "sample_bytes", 0);
  report->allocations = json_number(totals, "allocations", 0);
  report->bytes = json_number(totals, "bytes", 0);
  report->not_recorded = json_number(totals, "not_recorded", 0);
  read_modules(report, modules);
  report->all_faults = json_number(json, "fault_count", 0);
  read_stacks(report, stacks, json_get(json, "faults"));
  return report;
}

const char* report_program(const report_t* report) {
  return report->module_count == 0 ? "?" : file_name(report->modules[0].path);
}

const char* report_place(const report_t* report, const code_t* code) {
  if (code->module < 0) return text_format("0x%llx", (unsigned long long)code->offset);
  return text_format("%s+0x%llx", file_name(report->modules[code->module].path),
                     (unsigned long long)code->offset);
}

const char* amount(double bytes) {
  static const char* const units[] = {"KiB", "MiB", "GiB", "TiB"};
  double size = fabs(bytes);
  if (size < 1024) return text_format("%.0f byte%s", bytes, bytes == 1 ? "" : "s");
  unsigned unit = 0;
  for (bytes /= 1024; fabs(bytes) >= 1024 && unit < 3; unit++) bytes /= 1024;
  return text_format("%.1f %s", bytes, units[unit]);
}
