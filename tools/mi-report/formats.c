// The forms that other viewers read: collapsed stacks (flamegraph.pl, speedscope) and pprof's protobuf.
#include <stdlib.h>
#include <string.h>

#include "output.h"

static const char* name_of(const report_t* report, const code_t* code) {
  return code->location_count == 0 ? report_place(report, code) : code->locations[0].function;
}

// ---- collapsed stacks -----------------------------------------------------------------------------------

static void put_name(const char* name, FILE* out) {
  for (; *name != 0; name++) fputc(*name == ';' ? ':' : *name == '\n' ? ' ' : *name, out);
}

void output_collapsed(const report_t* report, const output_options_t* options, FILE* out) {
  for (size_t i = 0; i < report->stack_count; i++) {
    const stack_t* stack = &report->stacks[i];
    double value = stack->values[options->metric];
    if (value < 0.5) continue;
    for (size_t k = output_frames(stack->frames, stack->count, options); k-- > 0;) {
      const code_t* code = stack->frames[k];
      if (code->location_count == 0) put_name(name_of(report, code), out);
      for (size_t n = code->location_count; n-- > 0;) {
        put_name(code->locations[n].function, out);
        if (n > 0) fputc(';', out);
      }
      if (k > 0) fputc(';', out);
    }
    fprintf(out, " %.0f\n", value);
  }
}

// ---- protobuf -------------------------------------------------------------------------------------------

static void put_varint(bytes_t* to, uint64_t value) {
  char byte;
  for (; value >= 0x80; value >>= 7) byte = (char)(value | 0x80), bytes_add(to, &byte, 1);
  byte = (char)value;
  bytes_add(to, &byte, 1);
}

static void put_number(bytes_t* to, unsigned field, uint64_t value) {
  put_varint(to, field << 3);
  put_varint(to, value);
}

static void put_bytes(bytes_t* to, unsigned field, const void* data, size_t size) {
  put_varint(to, field << 3 | 2);
  put_varint(to, size);
  bytes_add(to, data, size);
}

static void put_message(bytes_t* to, unsigned field, bytes_t* message) {
  put_bytes(to, field, message->data, message->size);
  message->size = 0;
}

typedef struct texts_s { // each once; a hash table of their numbers
  const char** list;
  size_t count, size;
  uint32_t* slots;
} texts_t;

static uint32_t text_number(texts_t* texts, const char* text) {
  uint32_t hash = 2166136261u;
  for (const char* at = text; *at != 0; at++) hash = (hash ^ (unsigned char)*at) * 16777619u;
  size_t slot = hash % texts->size;
  while (texts->slots[slot] != 0) {
    if (strcmp(texts->list[texts->slots[slot] - 1], text) == 0) return texts->slots[slot] - 1;
    slot = (slot + 1) % texts->size;
  }
  texts->list[texts->count++] = text;
  texts->slots[slot] = (uint32_t)texts->count;
  return (uint32_t)texts->count - 1;
}

enum {
  P_SAMPLE_TYPE = 1,
  P_SAMPLE,
  P_MAPPING,
  P_LOCATION,
  P_FUNCTION,
  P_TEXT,
  P_DURATION = 10,
  P_PERIOD_TYPE = 11,
  P_PERIOD = 12,
  P_DEFAULT_TYPE = 14
};

static void put_type(bytes_t* to, unsigned field, texts_t* texts, const char* type, const char* unit) {
  bytes_t message = {0};
  put_number(&message, 1, text_number(texts, type));
  put_number(&message, 2, text_number(texts, unit));
  put_message(to, field, &message);
}

static size_t code_number(const report_t* report, const code_t* code) {
  size_t low = 0, high = report->code_count; // sorted below
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (report->codes[middle] <= code)
      low = middle + 1;
    else
      high = middle;
  }
  return low; // from 1
}

static void put_samples(bytes_t* to, const report_t* report) {
  static const metric_t order[] = {ALLOCATIONS, BYTES, LIVE_BLOCKS, LIVE_BYTES};
  for (size_t i = 0; i < report->stack_count; i++) {
    const stack_t* stack = &report->stacks[i];
    bytes_t message = {0}, packed = {0};
    bytes_add(&packed, "", 0);
    for (size_t k = 0; k < stack->count; k++) put_varint(&packed, code_number(report, stack->frames[k]));
    put_message(&message, 1, &packed);
    for (int k = 0; k < METRIC_COUNT; k++) put_varint(&packed, (uint64_t)(stack->values[order[k]] + 0.5));
    put_message(&message, 2, &packed);
    put_message(to, P_SAMPLE, &message);
  }
}

static void put_codes(bytes_t* to, const report_t* report, texts_t* texts) {
  bytes_t message = {0}, line = {0};
  uint64_t functions = 0;
  for (size_t i = 0; i < report->code_count; i++) {
    const code_t* code = report->codes[i];
    bytes_t location = {0};
    put_number(&location, 1, i + 1);
    if (code->module >= 0) put_number(&location, 2, (uint64_t)code->module + 1);
    put_number(&location, 3, (code->module >= 0 ? report->modules[code->module].base : 0) + code->offset);
    for (size_t k = 0; k < code->location_count; k++) {
      // One function message for each place: viewers join those of one name.
      put_number(&message, 1, ++functions);
      put_number(&message, 2, text_number(texts, code->locations[k].function));
      put_number(&message, 3, text_number(texts, code->locations[k].function));
      if (code->locations[k].file != NULL)
        put_number(&message, 4, text_number(texts, code->locations[k].file));
      put_message(to, P_FUNCTION, &message);
      put_number(&line, 1, functions);
      put_number(&line, 2, code->locations[k].line);
      put_message(&location, 4, &line);
    }
    put_message(to, P_LOCATION, &location);
  }
}

static int by_address(const void* a, const void* b) {
  const code_t *left = *(code_t*const*)a, *right = *(code_t*const*)b;
  return left < right ? -1 : left > right;
}

static bytes_t profile(const report_t* report) {
  bytes_t to = {0}, message = {0};
  size_t locations = 0;
  for (size_t i = 0; i < report->code_count; i++) locations += report->codes[i]->location_count;
  texts_t texts = {.size = 4 * (2 * locations + report->module_count + 64)};
  texts.list = allocate(texts.size * sizeof(char*));
  texts.slots = allocate(texts.size * sizeof(uint32_t));
  text_number(&texts, ""); // must be the first
  qsort(report->codes, report->code_count, sizeof(code_t*), by_address);
  put_type(&to, P_SAMPLE_TYPE, &texts, "alloc_objects", "count");
  put_type(&to, P_SAMPLE_TYPE, &texts, "alloc_space", "bytes");
  put_type(&to, P_SAMPLE_TYPE, &texts, "inuse_objects", "count");
  put_type(&to, P_SAMPLE_TYPE, &texts, "inuse_space", "bytes");
  put_samples(&to, report);
  for (size_t i = 0; i < report->module_count; i++) {
    const module_t* module = &report->modules[i];
    put_number(&message, 1, i + 1);
    put_number(&message, 2, module->base);
    put_number(&message, 3, module->base + module->size);
    put_number(&message, 5, text_number(&texts, module->path));
    put_number(&message, 7, 1); // names are in here already
    put_number(&message, 8, 1);
    put_number(&message, 9, 1);
    put_message(&to, P_MAPPING, &message);
  }
  put_codes(&to, report, &texts);
  put_number(&to, P_DURATION, (uint64_t)(report->elapsed_ms * 1e6));
  put_type(&to, P_PERIOD_TYPE, &texts, "space", "bytes");
  put_number(&to, P_PERIOD, report->sample_bytes > 0 ? (uint64_t)report->sample_bytes : 1);
  put_number(&to, P_DEFAULT_TYPE, text_number(&texts, "inuse_space"));
  for (size_t i = 0; i < texts.count; i++) put_bytes(&to, P_TEXT, texts.list[i], strlen(texts.list[i]));
  return to;
}

// ---- gzip, without compressing --------------------------------------------------------------------------

static uint32_t crc32_of(const char* data, size_t size) {
  uint32_t crc = 0xFFFFFFFF;
  for (size_t i = 0; i < size; i++) {
    crc ^= (unsigned char)data[i];
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

static void put_little(FILE* out, uint32_t value, unsigned size) {
  for (unsigned i = 0; i < size; i++) fputc((int)(value >> (8 * i) & 0xFF), out);
}

void output_pprof(const report_t* report, FILE* out) {
  bytes_t data = profile(report);
  fwrite("\x1F\x8B\x08\0\0\0\0\0\0\xFF", 1, 10, out);
  for (size_t at = 0, size; at < data.size || at == 0; at += size) {
    size = data.size - at > 65535 ? 65535 : data.size - at;
    fputc(at + size == data.size, out); // a stored block; the last one?
    put_little(out, (uint32_t)size, 2);
    put_little(out, ~(uint32_t)size, 2);
    fwrite(data.data + at, 1, size, out);
    if (size == 0) break;
  }
  put_little(out, crc32_of(data.data, data.size), 4);
  put_little(out, (uint32_t)data.size, 4);
}
