// Damages PE files at random, though repeatably, and lets minject do everything it can do with each. Made for
// AddressSanitizer: every file is an allocation of exactly its size.
#include "edit.h"
#include "exercise.h"
#include "seeds.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

static const char help_text[] =
    "usage: mutate [options]\n"
    "\n"
    "  --count N        files to try (default: 12000)\n"
    "  --seconds N      instead of a count: go on for N seconds\n"
    "  --seed N         another sequence of files (default: 1)\n"
    "  --only N         only file number N of the sequence, as a failure names it\n"
    "  --save FILE      with --only: write that file\n"
    "  -h, --help       this text\n";

enum { BASES_MAX = 128, LARGE = 64 * 1024 };

typedef struct base_s {
  char name[80];
  seed_t file;
  uint32_t header, section_table, section_count, directories, imports, import_size, image_end, debug, delay;
} base_t;

static base_t bases[BASES_MAX];
static size_t base_count;

// ---- random numbers ---------------------------------------------------------------------------------------

static uint64_t random_state;

static uint64_t random_u64(void) { // splitmix64's idea: a counter, well mixed
  uint64_t z = random_state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

static uint32_t below(uint64_t limit) { return limit == 0 ? 0 : (uint32_t)(random_u64() % limit); }

// ---- files to start from ----------------------------------------------------------------------------------

static void add_base(const char* architecture, const char* name, const char* variant, const uint8_t* data,
                     size_t size) {
  assert_true(base_count < BASES_MAX);
  base_t* base = &bases[base_count++];
  snprintf(base->name, sizeof(base->name), "%s/%s%s", architecture, name, variant);
  base->file = seed_copy(data, size);
  pe_t pe = seed_parse(&base->file);
  uint32_t offset;
  base->header = pe.header;
  base->section_table = pe.section_table;
  base->section_count = pe.section_count;
  base->directories = pe.directories;
  base->image_end = pe.image_end;
  if (pe_backed(&pe, pe.directory[PE_IMPORT].address, 1, &offset)) base->imports = offset;
  base->import_size = base->imports + 1024 < size ? 1024 : (uint32_t)(size - base->imports);
  if (pe_backed(&pe, pe.directory[PE_DEBUG].address, 28, &offset)) base->debug = offset;
  if (pe_backed(&pe, pe.directory[PE_DELAY_IMPORT].address, 64, &offset)) base->delay = offset;
  pe_free(&pe);
}

// Each seed as it is; edited (with minject's record in front of the imports); bound; signed.
static void add_bases(const char* architecture, const char* name) {
  seed_t seed = seed_load(architecture, name);
  add_base(architecture, name, "", seed.data, seed.size);
  edit_result_t result;
  const edit_request_t request = {.action = EDIT_ADD_FIRST, .dll = "one.dll", .function = "mi_version"};
  if (edit_imports(seed.data, seed.size, &request, &result) != EDIT_DONE) fail_msg("%s", result.reason.text);
  add_base(architecture, name, " edited", result.data, result.size);
  edit_result_free(&result);
  if (strcmp(name, "stripped.exe") == 0) {
    seed_t changed = seed_copy(seed.data, seed.size);
    seed_bind(&changed);
    add_base(architecture, name, " bound", changed.data, changed.size);
    seed_sign(&changed, 600);
    add_base(architecture, name, " bound and signed", changed.data, changed.size);
    seed_free(&changed);
  }
  seed_free(&seed);
}

// ---- damage -----------------------------------------------------------------------------------------------

static uint32_t interesting(const base_t* base, uint32_t old) {
  static const uint32_t edges[] = {
      0,      1,       2,          7,          8,          16,         20,         28,         40,
      96,     97,      0x1FF,      0x200,      0x201,      0xFFF,      0x1000,     0x1001,     0xFFFF,
      0x8000, 0x10000, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFF0, 0xFFFFFFFE, 0xFFFFFFFF};
  const uint32_t near = below(65) - 32;
  switch (below(9)) {
  case 0:
  case 1:
    return edges[below(sizeof(edges) / sizeof(edges[0]))];
  case 2:
    return old + near;
  case 3:
    return old ^ 1u << below(32);
  case 4:
    return (uint32_t)base->file.size + near;
  case 5:
    return base->image_end + near;
  case 6: // some address that the file knows
    return seed_u32(&base->file, base->directories + 8 * below(PE_DIRECTORIES)) + near;
  case 7:
    return seed_u32(&base->file, base->section_table + PE_SECTION_HEADER_SIZE * below(base->section_count) +
                                     PE_SECTION_AT_VIRTUAL_SIZE + 4 * below(4)) +
           near;
  default:
    return (uint32_t)random_u64() >> below(32);
  }
}

static void put(const base_t* base, seed_t* file, uint64_t offset) {
  if (file->size < 4 || offset > file->size - 4) return;
  uint8_t* p = file->data + offset;
  const uint32_t value = interesting(base, get_u32(p));
  if (below(4) == 0)
    set_u16(p, (uint16_t)value);
  else
    set_u32(p, value);
}

static void resize(seed_t* file, size_t size) {
  if (size > 1024 * 1024) return;
  seed_resize(file, size);
}

static void damage_once(const base_t* base, seed_t* file) {
  const size_t size = file->size;
  switch (below(14)) {
  case 0:
  case 1: // headers
    put(base, file, base->header + 2 * (uint64_t)below((base->directories - base->header) / 2));
    break;
  case 2: // directories
    put(base, file, base->directories + 4 * (uint64_t)below(2 * PE_DIRECTORIES));
    break;
  case 3:
  case 4: // section headers, and the place of the next one
    put(base, file, base->section_table + 4 * (uint64_t)below(10 * (base->section_count + 1)));
    break;
  case 5: // the last section's
    put(base, file,
        base->section_table + PE_SECTION_HEADER_SIZE * (base->section_count - 1) + 4 * (uint64_t)below(10));
    break;
  case 6:
  case 7: // descriptors
    put(base, file, base->imports + 4 * (uint64_t)below(25));
    break;
  case 8: // import tables and names
    put(base, file, base->imports + (uint64_t)below(base->import_size));
    break;
  case 9: // minject's record, where there is one
    put(base, file, base->imports - 112 + 4 * (uint64_t)below(28));
    break;
  case 10: // debug and delay directories
    put(base, file, (below(2) == 0 ? base->debug : base->delay) + 4 * (uint64_t)below(16));
    break;
  case 11: // any byte
    if (size > 0) file->data[below(size)] = (uint8_t)random_u64();
    break;
  case 12: // cut off, or longer
    resize(file, below(3) == 0   ? size + below(5000)
                 : below(2) == 0 ? below(size + 1)
                                 : size - below(size < 600 ? size : 600));
    break;
  default: // a piece copied over another place
    if (size > 256) {
      const uint32_t length = 1 + below(128);
      memmove(file->data + below(size - length), file->data + below(size - length), length);
    }
    break;
  }
}

static seed_t make_file(uint64_t seed, uint64_t number, const char** name) {
  random_state = seed * 0xD1342543DE82EF95u + number;
  random_u64();
  const base_t* base;
  do { // large ones take long and have nothing that small ones have not
    base = &bases[below(base_count)];
  } while (base->file.size > LARGE && below(50) != 0);
  *name = base->name;
  seed_t file = seed_copy(base->file.data, base->file.size);
  uint32_t times = 1;
  while (times < 12 && below(3) != 0) times++;
  while (times-- > 0) damage_once(base, &file);
  seed_t exact = seed_copy(file.data, file.size);
  seed_free(&file);
  return exact;
}

// ---- running ----------------------------------------------------------------------------------------------

static struct { uint64_t seed, number; } current;

static void say_where(void) {
  fprintf(stderr,
          "mutate: it was file %llu of seed %llu; to see it again: --seed %llu --only %llu --save FILE\n",
          (unsigned long long)current.number, (unsigned long long)current.seed,
          (unsigned long long)current.seed, (unsigned long long)current.number);
}

static void on_abort(int signal) {
  (void)signal;
  say_where();
  _Exit(99);
}

// AddressSanitizer's, where it is linked in.
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static bool option_number(const char* name, char** arguments, int* at, uint64_t* value) {
  if (strcmp(arguments[*at], name) != 0) return false;
  char* end;
  errno = 0;
  const char* text = arguments[*at + 1] == NULL ? "" : arguments[++*at];
  *value = strtoull(text, &end, 10);
  if (*text == 0 || *end != 0 || errno != 0) {
    fprintf(stderr, "mutate: %s needs a number, not \"%s\"\n", name, text);
    exit(2);
  }
  return true;
}

static void save(const char* path, const seed_t* file) {
  FILE* out = fopen(path, "wb");
  if (out == NULL || fwrite(file->data, 1, file->size, out) != file->size || fclose(out) != 0) {
    fprintf(stderr, "mutate: can't write %s\n", path);
    exit(1);
  }
}

static struct {
  uint64_t count, seconds, seed, only;
  const char* save;
} options = {.count = 12000, .seed = 1, .only = UINT64_MAX};

static void test_mutations(void** state) {
  (void)state;
  for (size_t a = 0; seed_architectures[a] != NULL; a++) {
    for (size_t n = 0; seed_names[n] != NULL; n++) add_bases(seed_architectures[a], seed_names[n]);
  }
  exercise_counts_t counts = {0};
  const time_t start = time(NULL);
  time_t said = start;
  current.seed = options.seed;
  current.number = options.only == UINT64_MAX ? 0 : options.only;
  for (;; current.number++) {
    const time_t now = time(NULL);
    if (options.only == UINT64_MAX && options.seconds > 0 ? now - start >= (time_t)options.seconds
                                                          : current.number == options.count)
      break;
    if (now - said >= 30) {
      said = now;
      printf("%llu files in %ld s\n", counts.files, (long)(now - start));
      fflush(stdout);
    }
    const char* name;
    seed_t file = make_file(current.seed, current.number, &name);
    if (options.only != UINT64_MAX) {
      printf("from %s\n", name);
      if (options.save != NULL) save(options.save, &file);
    }
    exercise(file.data, file.size, &counts);
    seed_free(&file);
    if (options.only != UINT64_MAX) break;
  }
  printf("%llu files in %ld s: %llu good enough to be loaded, %llu imports added, %llu of them taken out "
         "again without a trace\n",
         counts.files, (long)(time(NULL) - start), counts.accepted, counts.added, counts.restored);
  for (size_t i = 0; i < base_count; i++) seed_free(&bases[i].file);
  if (options.only == UINT64_MAX && counts.files >= 1000) { // else most of minject was never reached
    assert_true(counts.accepted > counts.files / 10 && counts.accepted < counts.files);
    assert_true(counts.added > counts.files / 20);
    assert_true(counts.restored > counts.added / 4);
  }
}

int main(int count, char** arguments) {
  for (int i = 1; i < count; i++) {
    if (option_number("--count", arguments, &i, &options.count) ||
        option_number("--seconds", arguments, &i, &options.seconds) ||
        option_number("--seed", arguments, &i, &options.seed) ||
        option_number("--only", arguments, &i, &options.only)) {
      continue;
    }
    if (strcmp(arguments[i], "--save") == 0 && arguments[i + 1] != NULL) {
      options.save = arguments[++i];
      continue;
    }
    const bool is_help = strcmp(arguments[i], "-h") == 0 || strcmp(arguments[i], "--help") == 0;
    fputs(help_text, is_help ? stdout : stderr);
    return is_help ? 0 : 2;
  }
  signal(SIGABRT, on_abort);
  if (__sanitizer_set_death_callback != NULL) __sanitizer_set_death_callback(say_where);
  const struct CMUnitTest cases[] = {cmocka_unit_test(test_mutations)};
  return check_run(cases);
}
