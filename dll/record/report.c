#include "report.h"

#include "base/memory.h"
#include "blocks.h"
#include "faults.h"
#include "kept.h"
#include "os/os.h"
#include "stacks.h"
#include "writer.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define TEXT_STACKS_MAX 40 // the JSON has all

// ---- adding up ------------------------------------------------------------------------------------------

typedef struct sum_s {
  uint64_t stacks, blocks, bytes;
  uint64_t all_blocks, all_bytes; // also those that were freed; of all stacks
} sum_t;

static void clear_live(void) {
  for (uint32_t number = stacks_next(0); number != 0; number = stacks_next(number)) {
    stack_t* stack = stacks_at(number);
    stack->live_blocks = 0;
    stack->live_bytes = 0;
    stack->first_sequence = UINT64_MAX;
  }
}

static void add_live(void* context, const block_record_t* record) {
  MI_UNUSED(context);
  stack_t* stack = stacks_at(record->stack);
  stack->live_blocks++;
  stack->live_bytes += record->size;
  if (record->sequence < stack->first_sequence) stack->first_sequence = record->sequence;
}

static bool is_before(uint32_t a, uint32_t b) {
  const stack_t *left = stacks_at(a), *right = stacks_at(b);
  if (left->live_bytes != right->live_bytes) return left->live_bytes > right->live_bytes;
  if (left->live_blocks != right->live_blocks) return left->live_blocks > right->live_blocks;
  return left->bytes > right->bytes;
}

static void sift(uint32_t* numbers, size_t from, size_t count) {
  for (size_t child; (child = 2 * from + 1) < count; from = child) {
    if (child + 1 < count && is_before(numbers[child], numbers[child + 1])) child++;
    if (!is_before(numbers[from], numbers[child])) return;
    uint32_t swapped = numbers[from];
    numbers[from] = numbers[child];
    numbers[child] = swapped;
  }
}

// Biggest first. The memory is given back by the caller (or the end of the process).
static uint32_t* sorted(bool with_dead, size_t* count, size_t* memory) {
  size_t wanted = 0, at = 0;
  for (uint32_t number = stacks_next(0); number != 0; number = stacks_next(number)) wanted++;
  *memory = (wanted * sizeof(uint32_t) + OS_GRANULARITY) & ~(size_t)(OS_GRANULARITY - 1);
  uint32_t* numbers = os_reserve_and_commit(*memory);
  if (numbers == NULL) wanted = 0;
  for (uint32_t number = stacks_next(0); number != 0 && at < wanted; number = stacks_next(number)) {
    if (with_dead || stacks_at(number)->live_blocks > 0) numbers[at++] = number;
  }
  for (size_t i = at / 2; i-- > 0;) sift(numbers, i, at);
  for (size_t i = at; i-- > 1;) {
    uint32_t last = numbers[i];
    numbers[i] = numbers[0];
    numbers[0] = last;
    sift(numbers, 0, i);
  }
  *count = at;
  return numbers;
}

// ---- JSON -----------------------------------------------------------------------------------------------

static writer_t writer;

static const char* const kind_names[] = {
    [IMAGE_PROGRAM] = "program", [IMAGE_RUNTIME] = "runtime", [IMAGE_SYSTEM] = "system"};

static void json_images(void) {
  writer_print(&writer, "  \"modules\": [");
  for (size_t i = 0; i < images_count(); i++) {
    const image_t* image = images_at(i);
    writer_print(&writer, "%s\n    {\"path\": ", i == 0 ? "" : ",");
    writer_json_text(&writer, image->path);
    writer_print(
        &writer,
        ", \"base\": \"0x%zx\", \"size\": %zu, \"timestamp\": %u, \"kind\": \"%s\", \"unloaded\": %s}",
        (size_t)image->base, image->size, image->timestamp, kind_names[image->kind],
        image->is_unloaded ? "true" : "false");
  }
  writer_print(&writer, "\n  ],\n");
}

static void json_stack(const stack_t* stack, bool is_first) {
  const image_t* keeper;
  kept_t kept = kept_by(stack, &keeper);
  writer_print(&writer,
               "%s\n    {\"live_blocks\": %u, \"live_bytes\": %llu, \"allocations\": %llu, \"bytes\": %llu, "
               "\"first\": %lld, ",
               is_first ? "" : ",", stack->live_blocks, (unsigned long long)stack->live_bytes,
               (unsigned long long)stack->allocations, (unsigned long long)stack->bytes,
               stack->live_blocks == 0 ? -1ll : (long long)stack->first_sequence);
  if (kept != KEPT_NOT) {
    writer_print(&writer, "\"kept\": \"%s\", \"keeper\": %zu, ", kept == KEPT_START ? "start-up" : "runtime",
                 (size_t)(keeper - images_at(0)));
  }
  writer_print(&writer, "\"frames\": [");
  for (uint32_t i = 0; i < stack->count; i++) {
    uint64_t offset;
    const image_t* image = frame_image(stack->frames[i], &offset);
    writer_print(&writer, "%s[%d, %llu]", i == 0 ? "" : ", ",
                 image == NULL ? -1 : (int)(image - images_at(0)), (unsigned long long)offset);
  }
  writer_print(&writer, "]}");
}

static bool write_json(const report_t* report, const uint32_t* numbers, size_t count, const sum_t* live) {
  SetFilePointer(report->json, 0, NULL, FILE_BEGIN);
  SetEndOfFile(report->json); // a later report takes the place of an earlier one
  writer_start(&writer, report->json);
  writer_print(&writer, "{\n  \"mimalloc_report\": 1,\n  \"mode\": \"%s\",\n  \"reason\": \"%s\",\n",
               report->mode, report->reason);
  if (report->exception != 0) writer_print(&writer, "  \"exception\": \"0x%08x\",\n", report->exception);
  writer_print(&writer, "  \"pointer_bits\": %u,\n  \"process\": %u,\n  \"elapsed_ms\": %llu,\n",
               (unsigned)sizeof(void*) * 8, (unsigned)GetCurrentProcessId(),
               (unsigned long long)report->elapsed_ms);
  writer_print(&writer, "  \"sample_bytes\": %llu,\n  \"stack_depth\": %u,\n",
               (unsigned long long)report->sample_bytes, report->depth);
  writer_print(
      &writer,
      "  \"totals\": {\"allocations\": %llu, \"bytes\": %llu, \"frees\": %llu, \"live_blocks\": %llu, "
      "\"live_bytes\": %llu, \"not_recorded\": %llu},\n",
      (unsigned long long)report->totals.allocations, (unsigned long long)live->all_bytes,
      (unsigned long long)(live->all_blocks - live->blocks), (unsigned long long)live->blocks,
      (unsigned long long)live->bytes, (unsigned long long)report->totals.not_recorded);
  if (report->is_check) faults_json(&writer);
  json_images();
  writer_print(&writer, "  \"stacks\": [");
  for (size_t i = 0; i < count; i++) json_stack(stacks_at(numbers[i]), i == 0);
  writer_print(&writer, "\n  ]\n}\n");
  return writer_flush(&writer);
}

// ---- text -----------------------------------------------------------------------------------------------

#define LINE "mimalloc: leaks: "

static const char* plural(uint64_t count) { return count == 1 ? "" : "s"; }

static void text_stack(const stack_t* stack) {
  writer_print(&writer, LINE "%llu bytes in %u block%s:\n", (unsigned long long)stack->live_bytes,
               stack->live_blocks, plural(stack->live_blocks));
  for (uint32_t i = 0; i < stack->count; i++) {
    uint64_t offset;
    const image_t* image = frame_image(stack->frames[i], &offset);
    writer_print(&writer, LINE "    %s+0x%llx\n", images_name(image), (unsigned long long)offset);
  }
}

static void text_kept(const uint32_t* numbers, size_t count, const sum_t* kept) {
  writer_print(&writer, LINE "kept on purpose until the end, by runtimes: %llu byte%s in %llu block%s\n",
               (unsigned long long)kept->bytes, plural(kept->bytes), (unsigned long long)kept->blocks,
               plural(kept->blocks));
  for (size_t k = 0; k < images_count(); k++) {
    for (kept_t how = KEPT_RUNTIME; how <= KEPT_START; how++) {
      sum_t sum = {0};
      for (size_t i = 0; i < count; i++) {
        const stack_t* stack = stacks_at(numbers[i]);
        const image_t* keeper;
        if (kept_by(stack, &keeper) != how || keeper != images_at(k)) continue;
        sum.blocks += stack->live_blocks;
        sum.bytes += stack->live_bytes;
      }
      if (sum.blocks == 0) continue;
      writer_print(&writer, LINE "    %s%s: %llu byte%s in %llu block%s\n",
                   how == KEPT_START ? "start-up code of " : "", images_name(images_at(k)),
                   (unsigned long long)sum.bytes, plural(sum.bytes), (unsigned long long)sum.blocks,
                   plural(sum.blocks));
    }
  }
}

static bool write_text(const report_t* report, const uint32_t* numbers, size_t count, const sum_t* lost,
                       const sum_t* kept) {
  size_t shown = 0;
  writer_start(&writer, report->text);
  if (lost->blocks == 0) {
    writer_print(&writer,
                 LINE "none: all %llu blocks that the program allocated were freed or are kept by runtimes\n",
                 (unsigned long long)report->totals.allocations);
  } else {
    writer_print(&writer, LINE "%llu byte%s in %llu block%s from %llu place%s still allocated\n",
                 (unsigned long long)lost->bytes, plural(lost->bytes), (unsigned long long)lost->blocks,
                 plural(lost->blocks), (unsigned long long)lost->stacks, plural(lost->stacks));
  }
  for (size_t i = 0; i < count && shown < TEXT_STACKS_MAX; i++) {
    const image_t* keeper;
    if (kept_by(stacks_at(numbers[i]), &keeper) != KEPT_NOT) continue;
    text_stack(stacks_at(numbers[i]));
    shown++;
  }
  if (shown < lost->stacks)
    writer_print(&writer, LINE "(%llu smaller places are not shown here)\n",
                 (unsigned long long)(lost->stacks - shown));
  if (kept->blocks > 0) text_kept(numbers, count, kept);
  if (report->totals.not_recorded > 0) {
    writer_print(&writer,
                 LINE "%llu blocks could not be recorded: MIMALLOC_RECORD_MEMORY (MiB) is too small\n",
                 (unsigned long long)report->totals.not_recorded);
  }
  return writer_flush(&writer);
}

bool report_write(const report_t* report) {
  size_t count, memory;
  bool is_profile = report->sample_bytes != 0, done = true;
  clear_live();
  blocks_visit(add_live, NULL);
  uint32_t* numbers = sorted(is_profile, &count, &memory);
  sum_t lost = {0}, kept = {0}, live = {0};
  for (size_t i = 0; i < count; i++) {
    const stack_t* stack = stacks_at(numbers[i]);
    const image_t* keeper;
    sum_t* sum = kept_by(stack, &keeper) == KEPT_NOT ? &lost : &kept;
    sum->stacks++;
    sum->blocks += stack->live_blocks;
    sum->bytes += stack->live_bytes;
  }
  for (uint32_t number = stacks_next(0); number != 0; number = stacks_next(number)) {
    live.all_blocks += stacks_at(number)->allocations;
    live.all_bytes += stacks_at(number)->bytes;
  }
  live.blocks = lost.blocks + kept.blocks;
  live.bytes = lost.bytes + kept.bytes;
  if (report->json != NULL) done = write_json(report, numbers, count, &live);
  if (report->text != NULL && !is_profile && !report->is_check)
    done = write_text(report, numbers, count, &lost, &kept) && done;
  if (numbers != NULL) os_release(numbers, memory);
  return done;
}
