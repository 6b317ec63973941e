#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

static bool is_one_of(const char* name, const char* const* list) {
  for (; *list != NULL; list++) {
    if (strcmp(name, *list) == 0) return true;
  }
  return false;
}

size_t output_frames(code_t* const* frames, size_t count, const output_options_t* options) {
  static const char* const mains[] = {"main", "wmain", "WinMain", "wWinMain", "_main", NULL};
  static const char* const starts[] = {"BaseThreadInitThunk", "RtlUserThreadStart", NULL};
  for (size_t i = 0; i < count && !options->all_frames; i++) {
    for (size_t k = 0; k < frames[i]->location_count; k++) {
      if (is_one_of(frames[i]->locations[k].function, mains)) return i + 1;
      if (i > 0 && is_one_of(frames[i]->locations[k].function, starts)) return i;
    }
  }
  return count;
}

// Names of C++ that fill lines: what stands in angle brackets goes, then what stands in parentheses.
static const char* without(const char* name, char open, char close) {
  bytes_t to = {0};
  int depth = 0;
  bytes_add(&to, "", 0);
  for (const char* at = name; *at != 0; at++) {
    bool is_operator = depth == 0 && at - name >= 8 && strncmp(at - 8, "operator", 8) == 0;
    if (*at == close && depth > 0 && --depth == 0) bytes_add(&to, "...", 3);
    if (depth == 0) bytes_add(&to, at, 1);
    if (*at == open && !is_operator) depth++;
  }
  return depth == 0 ? to.data : name;
}

static const char* readable(const char* name) {
  if (strlen(name) > 80) name = without(name, '<', '>');
  return strlen(name) > 80 ? without(name, '(', ')') : name;
}

static void print_frames(const report_t* report, code_t* const* frames, size_t all,
                         const output_options_t* options, FILE* out) {
  size_t count = output_frames(frames, all, options);
  for (size_t i = 0; i < count; i++) {
    const code_t* code = frames[i];
    const char* place = report_place(report, code);
    if (code->location_count == 0) fprintf(out, "    %s\n", place);
    for (size_t k = 0; k < code->location_count; k++) {
      const location_t* location = &code->locations[k];
      const char *note = k + 1 < code->location_count ? "inlined" : place,
                 *name = readable(location->function);
      if (location->file != NULL)
        fprintf(out, "    %-30s %s:%u  [%s]\n", name, location->file, location->line, note);
      else
        fprintf(out, "    %-30s [%s]\n", name, note);
    }
  }
}

static const char* plural(double count) { return count == 1 ? "" : "s"; }

static const char* blocks(double count) { return text_format("%.0f block%s", count, plural(count)); }

static metric_t sort_metric;

static int biggest_first(const void* a, const void* b) {
  double left = fabs(((const stack_t*)a)->values[sort_metric]),
         right = fabs(((const stack_t*)b)->values[sort_metric]);
  return left > right ? -1 : left < right;
}

static stack_t* sorted(const stack_t* stacks, size_t count, metric_t metric) {
  stack_t* copy = allocate(count * sizeof(stack_t));
  memcpy(copy, stacks, count * sizeof(stack_t));
  sort_metric = metric;
  qsort(copy, count, sizeof(stack_t), biggest_first);
  return copy;
}

static void print_exception(const report_t* report, FILE* out) {
  if (strcmp(report->reason, "exception") == 0)
    fprintf(out, "The process met exception %s; this is what was allocated then.\n\n",
            report->exception == NULL ? "?" : report->exception);
}

static void print_kept(const report_t* report, FILE* out) {
  double all = 0, count = 0;
  for (size_t i = 0; i < report->stack_count; i++) {
    if (report->stacks[i].kept == NULL) continue;
    all += report->stacks[i].values[LIVE_BYTES];
    count += report->stacks[i].values[LIVE_BLOCKS];
  }
  if (count == 0) return;
  fprintf(out, "Kept until the end on purpose: %s in %s\n", amount(all), blocks(count));
  static const char* const ways[][2] = {
      {"runtime", ""}, {"start-up", "start-up code of "}, {"linked", "runtime code in "}};
  for (size_t k = 0; k < report->module_count; k++) {
    for (size_t way = 0; way < 3; way++) {
      double bytes = 0, number = 0;
      for (size_t i = 0; i < report->stack_count; i++) {
        const stack_t* stack = &report->stacks[i];
        if (stack->kept == NULL || stack->keeper != (int)k || strcmp(stack->kept, ways[way][0]) != 0)
          continue;
        bytes += stack->values[LIVE_BYTES];
        number += stack->values[LIVE_BLOCKS];
      }
      if (number > 0)
        fprintf(out, "    %s%s: %s in %s\n", ways[way][1], file_name(report->modules[k].path), amount(bytes),
                blocks(number));
    }
  }
}

static void text_leaks(const report_t* report, const output_options_t* options, FILE* out) {
  double bytes = 0, count = 0;
  size_t places = 0, shown = 0;
  for (size_t i = 0; i < report->stack_count; i++) {
    if (report->stacks[i].kept != NULL) continue;
    bytes += report->stacks[i].values[LIVE_BYTES];
    count += report->stacks[i].values[LIVE_BLOCKS];
    places++;
  }
  if (places == 0)
    fprintf(out, "No leaks: all %.0f allocations were freed or are kept on purpose.\n", report->allocations);
  else
    fprintf(out, "Leaks: %s in %s from %zu place%s (of %.0f allocations).\n", amount(bytes), blocks(count),
            places, plural((double)places), report->allocations);
  stack_t* stacks = sorted(report->stacks, report->stack_count, options->metric);
  for (size_t i = 0; i < report->stack_count; i++) {
    if (stacks[i].kept != NULL || (options->top != 0 && shown == options->top)) continue;
    fprintf(out, "\n%s in %s, allocated here:\n", amount(stacks[i].values[LIVE_BYTES]),
            blocks(stacks[i].values[LIVE_BLOCKS]));
    print_frames(report, stacks[i].frames, stacks[i].count, options, out);
    shown++;
  }
  if (shown < places) fprintf(out, "\n(%zu more places: --top 0 shows all)\n", places - shown);
  fprintf(out, "\n");
  print_kept(report, out);
}

static void text_profile(const report_t* report, const output_options_t* options, FILE* out) {
  double totals[METRIC_COUNT] = {0};
  for (size_t i = 0; i < report->stack_count; i++) {
    for (int k = 0; k < METRIC_COUNT; k++) totals[k] += report->stacks[i].values[k];
  }
  fprintf(out, "Heap profile after %.1f s: %s live in about %s; %s allocated in all (one sample for %s).\n",
          report->elapsed_ms / 1000, amount(totals[LIVE_BYTES]), blocks(totals[LIVE_BLOCKS]),
          amount(totals[BYTES]), amount(report->sample_bytes));
  // A program that has freed all is still worth a look.
  metric_t metric = totals[options->metric] > 0 ? options->metric : BYTES;
  stack_t* stacks = sorted(report->stacks, report->stack_count, metric);
  size_t shown = 0;
  for (size_t i = 0; i < report->stack_count && (options->top == 0 || shown < options->top); i++) {
    double value = stacks[i].values[metric];
    if (value <= 0) break;
    fprintf(out, "\n%.1f %% of %s: %s live, %s allocated\n", 100 * value / totals[metric],
            metric_names[metric], amount(stacks[i].values[LIVE_BYTES]), amount(stacks[i].values[BYTES]));
    print_frames(report, stacks[i].frames, stacks[i].count, options, out);
    shown++;
  }
}

// ---- faults ---------------------------------------------------------------------------------------------

// "1 byte behind the end of a block of 21 bytes"
static const char* where(const fault_t* fault) {
  double behind = fault->offset - fault->size + 1; // the first byte behind it is one behind
  if (fault->offset < 0)
    return text_format("%.0f byte%s in front of a block of %s", -fault->offset, plural(-fault->offset),
                       amount(fault->size));
  if (behind > 0)
    return text_format("%.0f byte%s behind the end of a block of %s", behind, plural(behind),
                       amount(fault->size));
  return text_format("at offset %.0f of a block of %s", fault->offset, amount(fault->size));
}

static const char* title(const fault_t* fault) {
  const char* kind = fault->kind;
  if (strcmp(kind, "wild-free") == 0)
    return text_format("Invalid free of %s, which is nobody's block", fault->address);
  if (strcmp(kind, "inside-free") == 0)
    return text_format("Invalid free: not of a block's start, but %s", where(fault));
  if (strcmp(kind, "double-free") == 0)
    return text_format("Double free of a block of %s", amount(fault->size));
  if (strcmp(kind, "overwritten") == 0)
    return text_format("Something wrote %s (mi-run --check=exact tells what)", where(fault));
  return text_format("Invalid %s, %s%s", kind, where(fault), fault->is_freed ? ", which has been freed" : "");
}

static void print_trace(const report_t* report, const char* text, const trace_t* trace,
                        const output_options_t* options, FILE* out) {
  fprintf(out, "  %s:\n", text);
  print_frames(report, trace->frames, trace->count, options, out);
}

static void text_check(const report_t* report, const output_options_t* options, FILE* out) {
  if (report->not_recorded > 0)
    fprintf(out,
            "Warning: %.0f blocks went unguarded, as there was no room for more at a time. "
            "MIMALLOC_CHECK_EVERY=10 or\n"
            "MIMALLOC_CHECK_MIN and _MAX spread the guards over the run.\n",
            report->not_recorded);
  if (report->all_faults == 0)
    fprintf(out, "No faults found.\n");
  else
    fprintf(out, "%.0f fault%s found.\n", report->all_faults, plural(report->all_faults));
  for (size_t i = 0; i < report->fault_count && (options->top == 0 || i < options->top); i++) {
    const fault_t* fault = &report->faults[i];
    bool is_late = strcmp(fault->kind, "overwritten") == 0;
    fprintf(out, "\n%s\n", title(fault));
    if (fault->at.count > 0)
      print_trace(
          report,
          text_format("%s by thread %u", is_late ? "noticed when it was freed" : "here,", fault->thread),
          &fault->at, options, out);
    if (fault->has_block)
      print_trace(report, text_format("allocated by thread %u", fault->allocated_by), &fault->allocated,
                  options, out);
    if (fault->is_freed)
      print_trace(report, text_format("freed %.0f ms before, by thread %u", fault->freed_ms, fault->freed_by),
                  &fault->freed, options, out);
  }
}

void output_text(const report_t* report, const output_options_t* options, FILE* out) {
  bool is_check = strcmp(report->mode, "check") == 0;
  if (is_check)
    text_check(report, options, out);
  else
    print_exception(report, out);
  if (is_check) return;
  if (report->sample_bytes > 0)
    text_profile(report, options, out);
  else
    text_leaks(report, options, out);
  if (report->not_recorded > 0)
    fprintf(out, "\nWarning: %.0f blocks could not be recorded; set MIMALLOC_RECORD_MEMORY (MiB) to more.\n",
            report->not_recorded);
}

// ---- differences ----------------------------------------------------------------------------------------

// One stack in two runs: the same modules by name, and the same places in them.
static bool is_same(const report_t* a, const stack_t* left, const report_t* b, const stack_t* right) {
  if (left->count != right->count) return false;
  for (size_t i = 0; i < left->count; i++) {
    const code_t *x = left->frames[i], *y = right->frames[i];
    if (x->offset != y->offset || (x->module < 0) != (y->module < 0)) return false;
    if (x->module >= 0 &&
        strcmp(file_name(a->modules[x->module].path), file_name(b->modules[y->module].path)) != 0)
      return false;
  }
  return true;
}

static uint64_t hash_of(const report_t* report, const stack_t* stack) {
  uint64_t hash = stack->count;
  for (size_t i = 0; i < stack->count; i++) {
    hash = (hash ^ stack->frames[i]->offset) * 0x9E3779B97F4A7C15u;
    const char* name =
        stack->frames[i]->module < 0 ? "" : file_name(report->modules[stack->frames[i]->module].path);
    for (; *name != 0; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001B3u;
  }
  return hash;
}

void output_difference(const report_t* before, const report_t* after, const output_options_t* options,
                       FILE* out) {
  size_t size = 2 * before->stack_count + 1, count = 0;
  const stack_t** table = allocate(size * sizeof(*table));
  for (size_t i = 0; i < before->stack_count; i++) {
    size_t slot = (size_t)(hash_of(before, &before->stacks[i]) % size);
    while (table[slot] != NULL) slot = (slot + 1) % size;
    table[slot] = &before->stacks[i];
  }
  bool* is_met = allocate(before->stack_count + 1);
  stack_t* changed = allocate((before->stack_count + after->stack_count) * sizeof(stack_t));
  const report_t** owners = allocate((before->stack_count + after->stack_count) * sizeof(*owners));
  for (size_t i = 0; i < after->stack_count; i++) {
    const stack_t* stack = &after->stacks[i];
    if (stack->kept != NULL) continue;
    size_t slot = (size_t)(hash_of(after, stack) % size);
    while (table[slot] != NULL && !is_same(before, table[slot], after, stack)) slot = (slot + 1) % size;
    changed[count] = *stack;
    if (table[slot] != NULL) {
      is_met[table[slot] - before->stacks] = true;
      for (int k = 0; k < METRIC_COUNT; k++) changed[count].values[k] -= table[slot]->values[k];
    }
    owners[count++] = after;
  }
  for (size_t i = 0; i < before->stack_count; i++) {
    if (is_met[i] || before->stacks[i].kept != NULL) continue;
    changed[count] = before->stacks[i];
    for (int k = 0; k < METRIC_COUNT; k++) changed[count].values[k] = -changed[count].values[k];
    owners[count++] = before;
  }
  // `first` has no meaning here: it remembers whose frames these are.
  double total_bytes = 0, total_blocks = 0;
  for (size_t i = 0; i < count; i++) {
    changed[i].first = owners[i] == after;
    total_bytes += changed[i].values[LIVE_BYTES];
    total_blocks += changed[i].values[LIVE_BLOCKS];
  }
  fprintf(out, "From %s to %s: %s%s in %s%.0f blocks\n", before->file, after->file,
          total_bytes >= 0 ? "+" : "", amount(total_bytes), total_blocks >= 0 ? "+" : "", total_blocks);
  stack_t* stacks = sorted(changed, count, options->metric);
  size_t shown = 0;
  for (size_t i = 0; i < count && (options->top == 0 || shown < options->top); i++) {
    const double* values = stacks[i].values;
    if (values[options->metric] == 0) break;
    fprintf(out, "\n%s%s, %s%.0f blocks\n", values[LIVE_BYTES] >= 0 ? "+" : "", amount(values[LIVE_BYTES]),
            values[LIVE_BLOCKS] >= 0 ? "+" : "", values[LIVE_BLOCKS]);
    print_frames(stacks[i].first != 0 ? after : before, stacks[i].frames, stacks[i].count, options, out);
    shown++;
  }
  if (shown == 0) fprintf(out, "\nNothing has changed.\n");
}
