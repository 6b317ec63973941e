// mi-report: shows what mimalloc.dll recorded. docs/diagnose.md is the tutorial.
#include <errno.h>
#include <string.h>

#include "chart.h"
#include "output.h"
#include "platform.h"
#include "symbols.h"

// clang-format off
static const char help_text[] =
    "usage: mi-report [options] REPORT.json             the report as text, with functions and lines\n"
    "       mi-report [options] BEFORE.json AFTER.json  what has changed between two\n"
    "       mi-report --html PAGE.html REPORT.json...   the last one as a page; all of them on its timeline\n"
    "       mi-report --chart PICTURE.svg STATISTICS    lines that MIMALLOC_STATS_INTERVAL wrote, as a chart\n"
    "\n"
    "Shows reports of mimalloc.dll: those of `mi-run --leaks --report REPORT.json PROGRAM` and the like. Symbols come from\n"
    "the program's files, which must be the ones that ran.\n"
    "\n"
    "options:\n"
    "  --html FILE         write one self-contained page: flame graph, stacks, timeline\n"
    "  --pprof FILE        write a profile for pprof (gzip)\n"
    "  --collapsed FILE    write collapsed stacks, for flame graph tools and speedscope\n"
    "                      FILE may be - for standard output; several forms may be asked for at once\n"
    "  --metric METRIC     what to sort by and to count in --collapsed: live_bytes (default), live_blocks, bytes,\n"
    "                      allocations (these two: all that ever were; a leak report has them for leaking places only)\n"
    "  --top N             show N stacks (default 20; 0: all)\n"
    "  --all-frames        also what called main\n"
    "  --title             say first which process the report is about\n"
    "  --path FOLDER       look for programs and DLLs there first; may be given more than once\n"
    "  --symbolizer PROGRAM   llvm-symbolizer or addr2line; none: only what mi-report can read itself (lines of DWARF,\n"
    "                      names, and PDB files on Windows). Default: the first of them that runs; on Windows: none\n"
    "  -h, --help, /?      this text\n"
    "  --version\n";
// clang-format on

enum { REPORTS_MAX = 1000, FOLDERS_MAX = 64 };

typedef struct arguments_s {
  const char *html, *pprof, *collapsed, *chart;
  output_options_t output;
  symbol_options_t symbols;
  const char* folders[FOLDERS_MAX + 1];
  const char* files[REPORTS_MAX];
  size_t folder_count, file_count;
} arguments_t;

static const char* value_of(char** argv, int* i, const char* name) {
  size_t length = strlen(name);
  if (strncmp(argv[*i], name, length) != 0) return NULL;
  if (argv[*i][length] == '=') return argv[*i] + length + 1;
  if (argv[*i][length] != 0) return NULL;
  if (argv[*i + 1] == NULL) give_up("see mi-report --help", "a value is missing after %s", name);
  return argv[++*i];
}

static metric_t metric_of(const char* name) {
  for (int i = 0; i < METRIC_COUNT; i++) {
    if (strcmp(name, metric_names[i]) == 0) return (metric_t)i;
  }
  give_up("it is one of live_bytes, live_blocks, bytes, allocations", "unknown metric '%s'", name);
}

static size_t number_of(const char* text) {
  size_t number = 0;
  if (*text == 0 || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text))
    give_up("a whole number, such as 20", "--top takes a number, not '%s'", text);
  for (; *text != 0; text++) number = 10 * number + (size_t)(*text - '0');
  return number;
}

static void parse(arguments_t* arguments, char** argv) {
  const char* value;
  bool is_over = false;
  for (int i = 1; argv[i] != NULL; i++) {
    if (is_over || argv[i][0] != '-' || argv[i][1] == 0) {
      if (arguments->file_count == REPORTS_MAX) give_up("take fewer", "more than %d reports", REPORTS_MAX);
      arguments->files[arguments->file_count++] = argv[i];
    } else if (strcmp(argv[i], "--") == 0) {
      is_over = true;
    } else if ((value = value_of(argv, &i, "--html")) != NULL) {
      arguments->html = value;
    } else if ((value = value_of(argv, &i, "--pprof")) != NULL) {
      arguments->pprof = value;
    } else if ((value = value_of(argv, &i, "--collapsed")) != NULL) {
      arguments->collapsed = value;
    } else if ((value = value_of(argv, &i, "--chart")) != NULL) {
      arguments->chart = value;
    } else if ((value = value_of(argv, &i, "--metric")) != NULL) {
      arguments->output.metric = metric_of(value);
    } else if ((value = value_of(argv, &i, "--top")) != NULL) {
      arguments->output.top = number_of(value);
    } else if ((value = value_of(argv, &i, "--path")) != NULL) {
      if (arguments->folder_count == FOLDERS_MAX) give_up("take fewer", "more than %d folders", FOLDERS_MAX);
      arguments->folders[arguments->folder_count++] = value;
    } else if ((value = value_of(argv, &i, "--symbolizer")) != NULL) {
      arguments->symbols.symbolizer = value;
    } else if (strcmp(argv[i], "--all-frames") == 0) {
      arguments->output.all_frames = true;
    } else if (strcmp(argv[i], "--title") == 0) {
      arguments->output.title = true;
    } else {
      give_up("see mi-report --help", "unknown option '%s'", argv[i]);
    }
  }
}

typedef void write_t(const arguments_t* arguments, report_t* const* reports, FILE* out);

static void write_html(const arguments_t* arguments, report_t* const* reports, FILE* out) {
  output_html(reports, arguments->file_count, out);
}
static void write_pprof(const arguments_t* arguments, report_t* const* reports, FILE* out) {
  output_pprof(reports[arguments->file_count - 1], out);
}
static void write_collapsed(const arguments_t* arguments, report_t* const* reports, FILE* out) {
  output_collapsed(reports[arguments->file_count - 1], &arguments->output, out);
}

static void write_chart(const arguments_t* arguments, report_t* const* reports, FILE* out) {
  (void)reports;
  chart_write(arguments->files[0], out);
}

static void write_to(const char* path, write_t* write, const arguments_t* arguments,
                     report_t* const* reports) {
  bool is_standard = strcmp(path, "-") == 0;
  FILE* out = is_standard ? stdout : file_open(path, "wb");
  if (out == NULL) give_up("check the path", "'%s' can't be written: %s", path, strerror(errno));
  write(arguments, reports, out);
  if (fflush(out) != 0 || ferror(out))
    give_up("is the disk full?", "'%s' can't be written: %s", path, strerror(errno));
  if (!is_standard) fclose(out);
}

int main(int argc, char** argv) {
  argv = platform_arguments(argc, argv);
  static arguments_t arguments = {.output = {.metric = LIVE_BYTES, .top = 20}};
  for (int i = 1; argv[i] != NULL; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "/?") == 0)
      return fputs(help_text, stdout) < 0;
    if (strcmp(argv[i], "--version") == 0) return puts("mi-report " MI_REPORT_VERSION) < 0;
  }
  parse(&arguments, argv);
  arguments.symbols.folders = arguments.folders;
  bool has_form = arguments.html != NULL || arguments.pprof != NULL || arguments.collapsed != NULL;
  if (arguments.file_count == 0)
    give_up("mi-report [options] REPORT.json; see mi-report --help", "no report given");
  if (arguments.chart != NULL) {
    if (arguments.file_count != 1 || has_form)
      give_up("mi-report --chart PICTURE.svg STATISTICS", "--chart takes one file, and no other form");
    output_is_binary();
    write_to(arguments.chart, write_chart, &arguments, NULL);
    return 0;
  }
  if (arguments.file_count > 2 && arguments.html == NULL)
    give_up("give one, or two to compare", "%zu reports given", arguments.file_count);
  static report_t* reports[REPORTS_MAX];
  for (size_t i = 0; i < arguments.file_count; i++) reports[i] = report_read(arguments.files[i]);
  if (has_form && strcmp(reports[arguments.file_count - 1]->mode, "check") == 0)
    give_up("leave the form away, and it is printed as text",
            "a report of --check has faults, no stacks to count");
  output_is_binary();
  report_t* last = reports[arguments.file_count - 1];
  symbols_resolve(last, &arguments.symbols);
  symbols_mark_kept(last);
  if (arguments.html != NULL) write_to(arguments.html, write_html, &arguments, reports);
  if (arguments.pprof != NULL) write_to(arguments.pprof, write_pprof, &arguments, reports);
  if (arguments.collapsed != NULL) write_to(arguments.collapsed, write_collapsed, &arguments, reports);
  if (!has_form && arguments.file_count == 2) {
    symbols_resolve(reports[0], &arguments.symbols);
    symbols_mark_kept(reports[0]);
    output_difference(reports[0], last, &arguments.output, stdout);
  } else if (!has_form) {
    if (arguments.output.title) printf("\n%s, process %u:\n", report_program(last), last->process);
    output_text(last, &arguments.output, stdout);
  }
  return 0;
}
