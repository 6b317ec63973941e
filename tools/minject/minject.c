// minject: makes a program load mimalloc.dll first, by its import table. The command line; the work is in
// edit.c.
#include "backup.h"
#include "edit.h"
#include "files.h"
#include "list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum exit_code_e {
  EXIT_GOOD = 0,
  EXIT_FILE = 1,    // a file can't be read or written
  EXIT_USAGE = 2,   // the command line is wrong
  EXIT_DAMAGED = 3, // the file is not a PE file, or damaged
  EXIT_REFUSED = 4, // the file is well, but this can't be done to it
} exit_code_t;

// Lines as they are printed.
// clang-format off
static const char help_text[] =
    "usage: minject [options] FILE\n"
    "\n"
    "Edits the import table of a Windows program or DLL (32 or 64 bits), so that it loads mimalloc.dll\n"
    "before every other DLL. FILE is changed in place and the original kept as FILE.bak.\n"
    "\n"
    "what to do:\n"
    "  (nothing)              add mimalloc.dll as the first import\n"
    "  -l, --list             show the imports in their order, and what else matters; changes nothing\n"
    "  --remove               take the import that minject added out again\n"
    "  --reorder              make an import of mimalloc.dll that FILE has already the first\n"
    "\n"
    "options:\n"
    "  --dll NAME             another DLL than mimalloc.dll. With a path (./x.dll), that file is looked\n"
    "                         into: is it for the same machine, does it export the function?\n"
    "  --postfix TEXT         the DLL mimalloc-TEXT.dll\n"
    "  --function NAME        what to import of it (default: mi_version); a DLL of which nothing is\n"
    "                         imported would not be loaded\n"
    "  --functions            with --list: show the imported functions, too\n"
    "  -i, --inplace          edit FILE itself, which is what happens without this as well\n"
    "  -o, --output FILE2     write to FILE2 and leave FILE as it is\n"
    "  --no-backup            in place without FILE.bak\n"
    "  --dry-run              say what would be done, write nothing\n"
    "  --keep-overlay-offset  leave data behind the last section (an installer's archive, say) at its\n"
    "                         place in the file, instead of at the file's end\n"
    "  -f, --force            overwrite FILE.bak or FILE2; add a DLL that doesn't fit; remove an import\n"
    "                         that minject did not add\n"
    "  -v, --verbose          show the imports as --list does, before and after the edit\n"
    "  -h, --help, /?         this text\n"
    "  --version              version of minject\n"
    "\n"
    "A signature becomes invalid by any edit and is removed; bound imports are dropped; the checksum is\n"
    "computed anew. Everything else stays. If an edit is refused or fails, FILE is as it was.\n"
    "A FILE.bak from an earlier edit of the same file is the original and is kept; any other stops the\n"
    "edit.\n"
    "\n"
    "exit codes:\n"
    "  0  done, or FILE was as wanted already\n"
    "  1  a file can't be read or written, or FILE2 or another file's FILE.bak exists already\n"
    "  2  the command line is wrong\n"
    "  3  FILE is not a PE file, or damaged\n"
    "  4  FILE is well, but this can't be done to it, or the DLL doesn't fit it\n";
// clang-format on

enum { PATH_CAPACITY = 4096, POSTFIX_MAX = 200 };

typedef struct options_s {
  const char* file;
  const char* output;
  const char* dll; // as given: a name or a path
  const char* function;
  const char* postfix;
  char postfix_dll[POSTFIX_MAX + 20]; // the name that the postfix makes
  bool list, remove, reorder, functions, in_place, no_backup, dry_run, keep_overlay_offset, force, verbose,
      help, version;
} options_t;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static exit_code_t
error(exit_code_t code, const char* format, ...) {
  va_list arguments;
  fflush(stdout);
  fputs("minject: error: ", stderr);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  return code;
}

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
static void
warning(const char* format, ...) {
  va_list arguments;
  fflush(stdout);
  fputs("minject: warning: ", stderr);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
}

// ---- command line -----------------------------------------------------------------------------------------

// Matches "--name value" and "--name=value".
static bool option_value(const char* name, int count, char** arguments, int* at, const char** value,
                         exit_code_t* code) {
  const char* argument = arguments[*at];
  const size_t length = strlen(name);
  if (strncmp(argument, name, length) != 0) return false;
  if (argument[length] == '=' && length > 2) {
    *value = argument + length + 1;
  } else if (argument[length] != 0) {
    return false;
  } else if (*at + 1 < count) {
    *value = arguments[++*at];
  } else {
    *code = error(EXIT_USAGE, "%s needs a value; see minject --help", name);
    return true;
  }
  if (**value == 0) *code = error(EXIT_USAGE, "the value of %s is empty", name);
  return true;
}

static bool option_flag(const char* argument, options_t* options) {
  const struct {
    const char* name;
    bool* flag;
  } flags[] = {
      {"--list", &options->list},
      {"-l", &options->list},
      {"--remove", &options->remove},
      {"--reorder", &options->reorder},
      {"--functions", &options->functions},
      {"--no-backup", &options->no_backup},
      {"--dry-run", &options->dry_run},
      {"--keep-overlay-offset", &options->keep_overlay_offset},
      {"--force", &options->force},
      {"-f", &options->force},
      {"--inplace", &options->in_place},
      {"-i", &options->in_place},
      {"--verbose", &options->verbose},
      {"-v", &options->verbose},
      {"-h", &options->help},
      {"--help", &options->help},
      {"/?", &options->help},
      {"--version", &options->version},
  };
  for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
    if (strcmp(argument, flags[i].name) == 0) return *flags[i].flag = true;
  }
  return false;
}

static const char default_dll[] = "mimalloc.dll";

static exit_code_t check_options(const options_t* options) {
  const bool edits = !options->list;
  pe_error_t why;
  if (options->file == NULL) return error(EXIT_USAGE, "no file is given; see minject --help");
  if (options->list + options->remove + options->reorder > 1) {
    return error(EXIT_USAGE, "only one of --list, --remove and --reorder can be given");
  }
  if (!edits && (options->output != NULL || options->no_backup || options->dry_run ||
                 options->keep_overlay_offset || options->in_place)) {
    return error(EXIT_USAGE, "--list writes no file: --output, --inplace, --no-backup, --dry-run and "
                             "--keep-overlay-offset don't go with it");
  }
  if (options->in_place && options->output != NULL)
    return error(EXIT_USAGE, "--inplace edits the file itself, --output another one: give one of them");
  if (edits && options->functions)
    return error(EXIT_USAGE, "--functions goes with --list (--function NAME names the import)");
  if (options->output != NULL && options->no_backup) {
    return error(EXIT_USAGE,
                 "--no-backup is for editing in place; with --output, the file stays as it is anyway");
  }
  if (options->output != NULL && strcmp(options->output, options->file) == 0) {
    return error(EXIT_USAGE, "--output is the file itself; leave it away to edit in place");
  }
  if (!edit_check_dll_name(file_name(options->dll), &why)) return error(EXIT_USAGE, "--dll: %s", why.text);
  if (!edit_check_function_name(options->function, &why))
    return error(EXIT_USAGE, "--function: %s", why.text);
  return EXIT_GOOD;
}

// --postfix TEXT stands for --dll mimalloc-TEXT.dll.
static exit_code_t apply_postfix(options_t* options) {
  if (options->postfix == NULL) return EXIT_GOOD;
  if (options->dll != default_dll)
    return error(EXIT_USAGE, "--postfix and --dll both name the DLL: give one of them");
  if (strlen(options->postfix) > POSTFIX_MAX) return error(EXIT_USAGE, "the value of --postfix is too long");
  if (strpbrk(options->postfix, "/\\") != NULL)
    return error(EXIT_USAGE, "--postfix takes a part of the DLL's name, not a path; --dll takes one");
  snprintf(options->postfix_dll, sizeof(options->postfix_dll), "mimalloc-%s.dll", options->postfix);
  options->dll = options->postfix_dll;
  return EXIT_GOOD;
}

static exit_code_t parse_options(int count, char** arguments, options_t* options) {
  bool no_more_options = false;
  *options = (options_t){.dll = default_dll, .function = "mi_version"};
  for (int i = 1; i < count; i++) {
    const char* argument = arguments[i];
    exit_code_t code = EXIT_GOOD;
    if (!no_more_options && strcmp(argument, "--") == 0) {
      no_more_options = true;
    } else if (no_more_options || ((argument[0] != '-' || argument[1] == 0) && strcmp(argument, "/?") != 0)) {
      if (options->file != NULL)
        return error(EXIT_USAGE, "two files are given, %s and %s; minject takes one", options->file,
                     argument);
      options->file = argument;
    } else if (!option_flag(argument, options) &&
               !option_value("--dll", count, arguments, &i, &options->dll, &code) &&
               !option_value("--postfix", count, arguments, &i, &options->postfix, &code) &&
               !option_value("--function", count, arguments, &i, &options->function, &code) &&
               !option_value("--output", count, arguments, &i, &options->output, &code) &&
               !option_value("-o", count, arguments, &i, &options->output, &code)) {
      return error(EXIT_USAGE, "there is no option %s; see minject --help", argument);
    }
    if (code != EXIT_GOOD) return code;
  }
  if (options->help || options->version) return EXIT_GOOD;
  const exit_code_t code = apply_postfix(options);
  return code != EXIT_GOOD ? code : check_options(options);
}

// ---- the DLL ----------------------------------------------------------------------------------------------

static const char* machine_of(const pe_t* pe) {
  const char* name = pe_machine_name(pe->machine);
  return name == NULL ? "an unknown machine" : name;
}

// What is wrong with the DLL for this program; false in *readable when it can't be opened.
static bool dll_fits(const char* path, const pe_t* program, const char* function, bool* readable,
                     pe_error_t* why) {
  uint8_t* data;
  size_t size;
  pe_t dll;
  pe_error_t detail;
  *readable = file_read(path, &data, &size, why);
  if (!*readable) return false;
  bool good = true;
  bool exports_good = true;
  if (!pe_parse(data, size, &dll, &detail)) {
    good = pe_fail(why, "%.100s: %.250s", path, detail.text);
  } else if ((dll.characteristics & PE_FILE_DLL) == 0) {
    good = pe_fail(why, "%.200s is a program, not a DLL", path);
  } else if (dll.machine != program->machine && pe_clr(program) != PE_CLR_ANY_CPU) {
    good =
        pe_fail(why, "%.200s is for %s, but the program is for %s: it would not start; take the DLL for %s",
                path, machine_of(&dll), machine_of(program), machine_of(program));
  } else if (function != NULL && !pe_exports(&dll, function, &exports_good, &detail)) {
    if (!exports_good)
      good = pe_fail(why, "%.100s: %.250s", path, detail.text);
    else
      good =
          pe_fail(why, "%.150s doesn't export %.100s: the program would not start; --function names another",
                  path, function);
  }
  pe_free(&dll);
  free(data);
  return good;
}

// A DLL that doesn't fit is refused; --force adds it all the same.
static exit_code_t refuse_dll(const options_t* options, const char* prefix, const char* why) {
  if (!options->force) return error(EXIT_REFUSED, "%s%s (--force adds it all the same)", prefix, why);
  warning("%s%s", prefix, why);
  return EXIT_GOOD;
}

// The DLL that the loader will find: a name alone is looked for beside the program first. *missing is set
// when there is none yet.
static exit_code_t check_beside(const options_t* options, const pe_t* program, bool* missing) {
  const char* target = options->output != NULL ? options->output : options->file;
  const char* dll = file_name(options->dll);
  const size_t folder = (size_t)(file_name(target) - target);
  char path[PATH_CAPACITY];
  if (folder + strlen(dll) >= sizeof(path)) return EXIT_GOOD;
  snprintf(path, sizeof(path), "%.*s%s", (int)folder, target, dll);
  pe_error_t why;
  bool readable;
  *missing = !file_exists(path);
  if (*missing || dll_fits(path, program, options->function, &readable, &why)) return EXIT_GOOD;
  return refuse_dll(options, "", why.text);
}

static void print_missing(const options_t* options, const pe_t* program) {
  const char* dll = file_name(options->dll);
  if (pe_clr(program) == PE_CLR_ANY_CPU)
    printf("  note: there is no %s beside it yet\n", dll);
  else
    printf("  note: there is no %s beside it yet; put the one for %s there, or into a folder of PATH\n", dll,
           machine_of(program));
}

static exit_code_t check_given_dll(const options_t* options, const pe_t* program) {
  pe_error_t why;
  bool readable;
  if (file_name(options->dll) == options->dll) return EXIT_GOOD; // a name
  if (dll_fits(options->dll, program, options->function, &readable, &why)) return EXIT_GOOD;
  if (!readable) return error(EXIT_FILE, "--dll: %s", why.text);
  return refuse_dll(options, "--dll: ", why.text);
}

// ---- writing ----------------------------------------------------------------------------------------------

static exit_code_t write_output(const options_t* options, const uint8_t* data, size_t size) {
  pe_error_t why;
  if (file_exists(options->output) && !options->force) {
    return error(EXIT_FILE, "%s exists already; give another name, or --force to overwrite it",
                 options->output);
  }
  if (!file_write(options->output, data, size, &why)) return error(EXIT_FILE, "%s", why.text);
  return EXIT_GOOD;
}

typedef struct backup_s {
  char name[PATH_CAPACITY];
  bool is_kept; // one from an earlier edit
} backup_t;

// Is the backup that is there as good as a new one, or better?
static bool backup_is_good(const char* backup, const uint8_t* data, size_t size) {
  uint8_t* kept;
  size_t kept_size;
  pe_error_t ignored;
  if (!file_read(backup, &kept, &kept_size, &ignored)) return false;
  const bool is_good =
      (kept_size == size && memcmp(kept, data, size) == 0) || backup_is_of(kept, kept_size, data, size);
  free(kept);
  return is_good;
}

static exit_code_t write_in_place(const options_t* options, const uint8_t* old_data, size_t old_size,
                                  const uint8_t* data, size_t size, backup_t* backup) {
  char* name = backup->name;
  pe_error_t why, more;
  if (!file_is_writable(options->file, &why)) return error(EXIT_FILE, "%s; nothing was changed", why.text);
  const bool had_backup = !options->no_backup && file_exists(name);
  backup->is_kept = had_backup && backup_is_good(name, old_data, old_size);
  const bool makes_backup = !options->no_backup && !backup->is_kept;
  if (makes_backup && had_backup && !options->force) {
    return error(EXIT_FILE,
                 "%s exists already and may be the only copy of the original; move it away, or give "
                 "--no-backup to edit without a new backup, or --force to overwrite it",
                 name);
  }
  if (makes_backup && !file_write(name, old_data, old_size, &why)) {
    return error(EXIT_FILE, "%s; nothing was changed", why.text);
  }
  if (file_write(options->file, data, size, &why)) return EXIT_GOOD;
  if (file_write(options->file, old_data, old_size, &more)) {
    if (makes_backup && !had_backup) remove(name); // not needed, and in the way of the next try
    return error(EXIT_FILE, "%s; the file was put back as it was", why.text);
  }
  return error(EXIT_FILE, "%s; putting the original back failed, too: the file is incomplete%s%s", why.text,
               options->no_backup ? "" : ", its original is ", options->no_backup ? "" : name);
}

// ---- what to do -------------------------------------------------------------------------------------------

static void print_where(const options_t* options, bool is_changed, const backup_t* backup) {
  if (options->dry_run) {
    printf("  nothing is written\n");
  } else if (options->output != NULL) {
    printf("  written: %s\n", options->output);
  } else if (is_changed && options->no_backup) {
    printf("  written: %s\n", options->file);
  } else if (is_changed) {
    printf("  written: %s; the original is %s%s\n", options->file, backup->name,
           backup->is_kept ? ", from an earlier edit" : "");
  }
}

static void print_report(const options_t* options, const edit_result_t* result, bool is_changed,
                         const backup_t* backup) {
  printf("%s: %s%s\n", options->file, options->dry_run && is_changed ? "(dry run) " : "",
         result->reason.text);
  for (uint32_t i = 0; i < result->note_count; i++) {
    if (!result->notes[i].is_warning) printf("  %s\n", result->notes[i].text);
  }
  print_where(options, is_changed, backup);
  for (uint32_t i = 0; i < result->note_count; i++) {
    if (result->notes[i].is_warning) warning("%s", result->notes[i].text);
  }
}

// --verbose: the file as it is at this moment.
static void print_imports(const options_t* options, const char* when, const uint8_t* data, size_t size) {
  pe_t pe;
  pe_error_t ignored;
  if (!options->verbose) return;
  printf("%s: ", when);
  if (pe_parse(data, size, &pe, &ignored)) list_print(stdout, options->file, &pe, false);
  pe_free(&pe);
}

static exit_code_t write_result(const options_t* options, const uint8_t* data, size_t size,
                                const edit_result_t* result, backup_t* backup) {
  const bool is_changed = result->data != NULL;
  if (options->dry_run) return EXIT_GOOD;
  if (options->output != NULL)
    return write_output(options, is_changed ? result->data : data, is_changed ? result->size : size);
  if (!is_changed) return EXIT_GOOD;
  if ((size_t)snprintf(backup->name, sizeof(backup->name), "%s.bak", options->file) >= sizeof(backup->name))
    return error(EXIT_FILE, "the file's name is too long for a backup; use --output");
  return write_in_place(options, data, size, result->data, result->size, backup);
}

static exit_code_t edit_file(const options_t* options, const uint8_t* data, size_t size) {
  const edit_request_t request = {.action = options->remove    ? EDIT_REMOVE
                                            : options->reorder ? EDIT_MOVE_FIRST
                                                               : EDIT_ADD_FIRST,
                                  .dll = file_name(options->dll),
                                  .function = options->function,
                                  .keep_overlay_offset = options->keep_overlay_offset,
                                  .force = options->force};
  edit_result_t result;
  backup_t backup = {.is_kept = false};
  exit_code_t code = EXIT_GOOD;
  const edit_status_t status = edit_imports(data, size, &request, &result);
  const bool is_changed = status == EDIT_DONE;
  if (status == EDIT_REFUSED) code = error(EXIT_REFUSED, "%s: %s", options->file, result.reason.text);
  if (status == EDIT_DAMAGED) code = error(EXIT_DAMAGED, "%s: %s", options->file, result.reason.text);
  if (status == EDIT_NO_MEMORY) code = error(EXIT_FILE, "%s: %s", options->file, result.reason.text);

  pe_t pe = {0};
  pe_error_t ignored;
  const bool adds = request.action == EDIT_ADD_FIRST && is_changed && pe_parse(data, size, &pe, &ignored);
  bool missing = false;
  if (adds) code = check_given_dll(options, &pe);
  if (adds && code == EXIT_GOOD) code = check_beside(options, &pe, &missing);
  if (code == EXIT_GOOD) code = write_result(options, data, size, &result, &backup);
  if (code == EXIT_GOOD) {
    print_imports(options, "before", data, size);
    print_report(options, &result, is_changed, &backup);
    if (is_changed) print_imports(options, "after", result.data, result.size);
    if (missing) print_missing(options, &pe);
  }
  pe_free(&pe);
  edit_result_free(&result);
  return code;
}

static exit_code_t list_file(const options_t* options, const uint8_t* data, size_t size) {
  pe_t pe;
  pe_error_t why;
  exit_code_t code = EXIT_GOOD;
  if (!pe_parse(data, size, &pe, &why))
    code = error(EXIT_DAMAGED, "%s: %s", options->file, why.text);
  else if (!list_print(stdout, options->file, &pe, options->functions))
    code = EXIT_DAMAGED;
  pe_free(&pe);
  return code;
}

int main(int count, char** arguments) {
  options_t options;
  uint8_t* data = NULL;
  size_t size = 0;
  pe_error_t why;
  exit_code_t code = parse_options(count, arguments, &options);
  if (code != EXIT_GOOD) return code;
  if (options.help) {
    fputs(help_text, stdout);
  } else if (options.version) {
    puts("minject " MINJECT_VERSION);
  } else if (!file_read(options.file, &data, &size, &why)) {
    return error(EXIT_FILE, "%s", why.text);
  } else {
    code = options.list ? list_file(&options, data, size) : edit_file(&options, data, size);
  }
  free(data);
  if (fflush(stdout) != 0 && code == EXIT_GOOD) code = error(EXIT_FILE, "standard output can't be written");
  return code;
}
