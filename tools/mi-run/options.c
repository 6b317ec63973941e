#include "options.h"

#include "command_line.h"

typedef struct parser_s {
  const utf16_t* at;         // the rest of the line, no blank
  const utf16_t* word_start; // where the last word stands in the line
  const utf16_t* word_end;
  utf16_t* storage;
  options_t* options;
} parser_t;

static const char* const method_names[] = {
    [METHOD_IMPORT] = "import", [METHOD_THREAD] = "thread", [METHOD_APC] = "apc"};

const char* options_method_name(method_t method) { return method_names[method]; }

// No word is longer than it stands in the line; its NUL takes the place of the blank.
size_t options_storage(const utf16_t* line) { return utf16_length(line) + 1; }

// After `text` in `word`, or NULL when it doesn't start with it.
static const utf16_t* after(const utf16_t* word, const char* text) {
  for (; *text != 0; text++, word++) {
    if (*word != (utf16_t)*text) return NULL;
  }
  return word;
}

static bool is(const utf16_t* word, const char* text) {
  const utf16_t* rest = after(word, text);
  return rest != NULL && *rest == 0;
}

static bool fail(parser_t* parser, const char* problem, const utf16_t* word) {
  parser->options->problem = problem;
  parser->options->problem_word = word;
  return false;
}

// The next word of the line; NULL at its end.
static const utf16_t* next(parser_t* parser) {
  if (*parser->at == 0) return NULL;
  utf16_t* word = parser->storage;
  parser->word_start = parser->at;
  parser->word_end = command_line_argument(parser->at, word);
  parser->storage += utf16_length(word) + 1;
  parser->at = command_line_skip_blanks(parser->word_end);
  return word;
}

// The value of "--name VALUE" or "--name=VALUE"; NULL, with the problem noted, when there is none. *matched
// tells whether `word` is that option at all.
static const utf16_t* value_of(parser_t* parser, const utf16_t* word, const char* name, bool* matched) {
  const utf16_t* rest = after(word, name);
  *matched = rest != NULL && (*rest == 0 || *rest == '=');
  if (!*matched) return NULL;
  const utf16_t* value = *rest == '=' ? rest + 1 : next(parser);
  if (value == NULL || *value == 0) {
    fail(parser, "a value is missing after", word);
    return NULL;
  }
  return value;
}

static bool number(const utf16_t* text, uint32_t* result) {
  uint64_t sum = 0;
  if (*text == 0) return false;
  for (; *text != 0; text++) {
    if (*text < '0' || *text > '9') return false;
    sum = 10 * sum + (uint64_t)(*text - '0');
    if (sum > UINT32_MAX) return false;
  }
  *result = (uint32_t)sum;
  return true;
}

static bool parse_method(parser_t* parser, const utf16_t* value, bool* thread_only) {
  for (size_t i = 0; i < sizeof(method_names) / sizeof(method_names[0]); i++) {
    if (is(value, method_names[i])) {
      parser->options->method = (method_t)i;
      *thread_only = i == METHOD_THREAD;
      return true;
    }
  }
  return fail(parser, "--method is import, thread or apc, not", value);
}

static record_t record_of(const utf16_t* word) {
  if (is(word, "--check") || is(word, "--check=exact")) return RECORD_CHECK;
  return is(word, "--leaks") ? RECORD_LEAKS : is(word, "--profile") ? RECORD_PROFILE : RECORD_NOTHING;
}

// False, after a message, when another one is asked for already.
static bool parse_record(parser_t* parser, record_t record, const utf16_t* word) {
  options_t* options = parser->options;
  if (options->record != RECORD_NOTHING && options->record != record)
    return fail(parser, "one of --leaks, --check and --profile is enough, not also", word);
  options->record = record;
  if (is(word, "--check=exact")) options->exact = true;
  return true;
}

// A process, by its number or by the name of its program.
static bool parse_process(parser_t* parser, const utf16_t* value) {
  options_t* options = parser->options;
  bool is_number = true;
  for (const utf16_t* c = value; *c != 0; c++) is_number = is_number && *c >= '0' && *c <= '9';
  options->action = ACTION_ATTACH;
  options->pid_name = is_number ? NULL : value;
  if (is_number ? !number(value, &options->pid) || options->pid == 0 : *value == '-')
    return fail(parser, "--attach takes the number of a process or the name of its program, not", value);
  return true;
}

typedef struct flag_s {
  const char* name;
  bool* set;
} flag_t;

static bool parse_flag(options_t* options, const utf16_t* word) {
  const flag_t flags[] = {{"--verbose", &options->verbose},
                          {"-v", &options->verbose},
                          {"--stats", &options->stats},
                          {"--follow", &options->follow},
                          {"--delegated", &options->delegated}};
  for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
    if (is(word, flags[i].name)) return *flags[i].set = true;
  }
  return false;
}

// What goes with what, when all has been read.
static bool check(parser_t* parser, bool method_fits_attach) {
  options_t* options = parser->options;
  if (options->action == ACTION_ATTACH) {
    if (options->app != NULL)
      return fail(parser, "--attach takes no program to start, but there is", options->app);
    if (options->stats)
      return fail(parser, "--stats works through the environment of a new process, not with --attach", NULL);
    if (options->record != RECORD_NOTHING)
      return fail(
          parser,
          "--leaks, --check and --profile work through the environment of a new process, not with --attach",
          NULL);
    if (!method_fits_attach)
      return fail(parser, "--attach always works by remote thread: leave --method away", NULL);
    if (options->follow)
      return fail(parser, "--follow follows a program from its start, not with --attach", NULL);
    options->method = METHOD_THREAD;
    return true;
  }
  if (options->action == ACTION_RUN && options->app == NULL) return fail(parser, "no program given", NULL);
  if (options->follow && options->method != METHOD_IMPORT)
    return fail(parser, "--follow works by imports: leave --method away", NULL);
  if (options->report != NULL && options->record == RECORD_NOTHING)
    return fail(parser, "--report needs --leaks, --check or --profile", NULL);
  return true;
}

bool options_parse(const utf16_t* line, utf16_t* storage, options_t* options) {
  *options =
      (options_t){.action = ACTION_RUN, .method = METHOD_IMPORT, .timeout_s = OPTIONS_TIMEOUT_DEFAULT_S};
  parser_t parser = {.at = command_line_arguments(line), .storage = storage, .options = options};
  bool method_fits_attach = true;

  for (;;) {
    const utf16_t* word = next(&parser);
    bool ended = word != NULL && is(word, "--");
    if (ended) word = next(&parser);
    if (word == NULL) break;
    bool is_help = is(word, "--help") || is(word, "-h") || is(word, "/?");
    if (ended || ((*word != '-' || word[1] == 0) && !is_help)) {
      if (*word == 0) return fail(&parser, "the program's name is empty", NULL);
      options->app = word;
      options->app_quoted = *parser.word_start == '"';
      options->tail = parser.word_end;
      break;
    }

    bool matched;
    const utf16_t* value;
    if (is_help) {
      options->action = ACTION_HELP;
      return true;
    }
    if (is(word, "--version")) {
      options->action = ACTION_VERSION;
      return true;
    }
    if (parse_flag(options, word)) continue;
    record_t record = record_of(word);
    if (record != RECORD_NOTHING) {
      if (!parse_record(&parser, record, word)) return false;
      continue;
    }
    value = after(word, "--check=");
    if (value != NULL) return fail(&parser, "--check takes no value but exact, not", value);
    value = value_of(&parser, word, "--report", &matched);
    if (matched) {
      if (value == NULL) return false;
      options->report = value;
      continue;
    }
    value = value_of(&parser, word, "--method", &matched);
    if (matched) {
      if (value == NULL || !parse_method(&parser, value, &method_fits_attach)) return false;
      continue;
    }
    value = value_of(&parser, word, "--dll", &matched);
    if (matched) {
      if (value == NULL) return false;
      options->dll = value;
      continue;
    }
    value = value_of(&parser, word, "--attach", &matched);
    if (matched) {
      if (value == NULL || !parse_process(&parser, value)) return false;
      continue;
    }
    value = value_of(&parser, word, "--adopt", &matched);
    if (matched) {
      if (value == NULL) return false;
      if (!number(value, &options->pid) || options->pid == 0)
        return fail(&parser, "--adopt takes the number of a process, not", value);
      options->action = ACTION_ADOPT;
      continue;
    }
    value = value_of(&parser, word, "--timeout", &matched);
    if (matched) {
      if (value == NULL) return false;
      if (!number(value, &options->timeout_s) || options->timeout_s > OPTIONS_TIMEOUT_MAX_S) {
        return fail(&parser, "--timeout takes whole seconds up to 4000000, not", value);
      }
      continue;
    }
    return fail(&parser, "unknown option", word);
  }

  return check(&parser, method_fits_attach);
}
