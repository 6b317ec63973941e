// mi-run's options: what each form means, and what is refused with which words.
#include "support/check.h"

#include "options.h"

enum { ROOM = 512 };

static utf16_t storage[ROOM];
static options_t options;

static bool parse(const utf16_t* line) {
  assert_true(options_storage(line) <= ROOM);
  memset(storage, 0xEE, sizeof(storage));
  bool good = options_parse(line, storage, &options);
  for (size_t i = options_storage(line); i < ROOM; i++) assert_int_equal(storage[i], 0xEEEE);
  return good;
}

static bool is(const utf16_t* text, const char* expected) {
  if (text == NULL) return false;
  for (; *expected != 0; text++, expected++) {
    if (*text != (utf16_t)(unsigned char)*expected) return false;
  }
  return *text == 0;
}

static void plain(void** state) {
  (void)state;
  assert_true(parse(u"mi-run app.exe"));
  assert_int_equal(options.action, ACTION_RUN);
  assert_int_equal(options.method, METHOD_IMPORT);
  assert_null(options.dll);
  assert_false(options.verbose);
  assert_false(options.stats);
  assert_int_equal(options.timeout_s, 30);
  assert_true(is(options.app, "app.exe"));
  assert_false(options.app_quoted);
  assert_true(is(options.tail, ""));
}

static void tail_is_untouched(void** state) {
  (void)state;
  assert_true(
      parse(u"\"C:\\x y\\mi-run.exe\"  --verbose \"C:\\a b\\app.exe\"  --verbose  \"b \\\" c\" -- \\\\\" "));
  assert_true(options.verbose);
  assert_true(is(options.app, "C:\\a b\\app.exe"));
  assert_true(options.app_quoted);
  assert_true(is(options.tail, "  --verbose  \"b \\\" c\" -- \\\\\" "));
}

static void every_option(void** state) {
  (void)state;
  assert_true(
      parse(u"mi-run --method thread --dll \"C:\\my dlls\\m.dll\" --stats --verbose --timeout 5 app 1"));
  assert_int_equal(options.method, METHOD_THREAD);
  assert_true(is(options.dll, "C:\\my dlls\\m.dll"));
  assert_true(options.stats);
  assert_true(options.verbose);
  assert_int_equal(options.timeout_s, 5);
  assert_true(is(options.app, "app"));
  assert_true(is(options.tail, " 1"));

  assert_true(parse(u"mi-run --method=apc \"--dll=C:\\my dlls\\m.dll\" --timeout=0 -- --app --stats"));
  assert_int_equal(options.method, METHOD_APC);
  assert_true(is(options.dll, "C:\\my dlls\\m.dll"));
  assert_int_equal(options.timeout_s, 0);
  assert_false(options.stats);
  assert_true(is(options.app, "--app"));
  assert_true(is(options.tail, " --stats"));

  assert_true(parse(u"mi-run --method thread --method import x")); // the last one counts
  assert_int_equal(options.method, METHOD_IMPORT);
  assert_true(parse(u"mi-run -")); // a name like any other
  assert_true(is(options.app, "-"));

  assert_true(parse(u"mi-run --attach 4294967295 --method=thread --verbose"));
  assert_int_equal(options.action, ACTION_ATTACH);
  assert_int_equal(options.pid, 4294967295u);
  assert_int_equal(options.method, METHOD_THREAD);
  assert_true(parse(u"mi-run --attach 7"));
  assert_int_equal(options.method, METHOD_THREAD);

  assert_null(options.pid_name);
  assert_true(parse(u"mi-run --attach \"some app.exe\" -v"));
  assert_int_equal(options.action, ACTION_ATTACH);
  assert_true(is(options.pid_name, "some app.exe"));
  assert_true(options.verbose);
  assert_true(parse(u"mi-run --attach=12x"));
  assert_true(is(options.pid_name, "12x"));

  assert_true(parse(u"mi-run --follow app"));
  assert_true(options.follow);
  assert_false(options.delegated);
  assert_true(parse(u"mi-run --delegated --follow --adopt 12"));
  assert_int_equal(options.action, ACTION_ADOPT);
  assert_int_equal(options.pid, 12);
  assert_true(options.delegated);

  assert_true(parse(u"mi-run /?"));
  assert_int_equal(options.action, ACTION_HELP);
  assert_true(parse(u"mi-run app /?"));
  assert_int_equal(options.action, ACTION_RUN);
  assert_true(parse(u"mi-run --help"));
  assert_int_equal(options.action, ACTION_HELP);
  assert_true(parse(u"mi-run --verbose -h app"));
  assert_int_equal(options.action, ACTION_HELP);
  assert_true(parse(u"mi-run --version --unknown"));
  assert_int_equal(options.action, ACTION_VERSION);
  assert_true(parse(u"mi-run app --help"));
  assert_int_equal(options.action, ACTION_RUN);
}

static void refused(void** state) {
  (void)state;
  static const struct {
    const utf16_t* line;
    const char *problem, *word;
  } wrong[] = {
      {u"mi-run", "no program given", NULL},
      {u"", "no program given", NULL},
      {u"mi-run --verbose", "no program given", NULL},
      {u"mi-run --", "no program given", NULL},
      {u"mi-run \"\" x", "the program's name is empty", NULL},
      {u"mi-run -- \"\"", "the program's name is empty", NULL},
      {u"mi-run --foo app", "unknown option", "--foo"},
      {u"mi-run -x app", "unknown option", "-x"},
      {u"mi-run --verbose=1 app", "unknown option", "--verbose=1"},
      {u"mi-run --dllx y app", "unknown option", "--dllx"},
      {u"mi-run --dll", "a value is missing after", "--dll"},
      {u"mi-run --dll= app", "a value is missing after", "--dll="},
      {u"mi-run --dll \"\" app", "a value is missing after", "--dll"},
      {u"mi-run --method", "a value is missing after", "--method"},
      {u"mi-run --method magic app", "--method is import, thread or apc, not", "magic"},
      {u"mi-run --method importx app", "--method is import, thread or apc, not", "importx"},
      {u"mi-run --attach", "a value is missing after", "--attach"},
      {u"mi-run --attach 0", "--attach takes the number of a process or the name of its program, not", "0"},
      {u"mi-run --attach -1", "--attach takes the number of a process or the name of its program, not", "-1"},
      {u"mi-run --attach 4294967296",
       "--attach takes the number of a process or the name of its program, not", "4294967296"},
      {u"mi-run --attach 99999999999999999999999",
       "--attach takes the number of a process or the name of its program, not", "99999999999999999999999"},
      {u"mi-run --attach 5 app", "--attach takes no program to start, but there is", "app"},
      {u"mi-run --attach 5 --stats",
       "--stats works through the environment of a new process, not with --attach", NULL},
      {u"mi-run --attach 5 --method apc", "--attach always works by remote thread: leave --method away",
       NULL},
      {u"mi-run --attach 5 --method=import", "--attach always works by remote thread: leave --method away",
       NULL},
      {u"mi-run --attach 5 --follow", "--follow follows a program from its start, not with --attach", NULL},
      {u"mi-run --follow --method apc app", "--follow works by imports: leave --method away", NULL},
      {u"mi-run --method thread --follow app", "--follow works by imports: leave --method away", NULL},
      {u"mi-run --adopt 0", "--adopt takes the number of a process, not", "0"},
      {u"mi-run --adopt", "a value is missing after", "--adopt"},
      {u"mi-run --timeout", "a value is missing after", "--timeout"},
      {u"mi-run --timeout 1.5 app", "--timeout takes whole seconds up to 4000000, not", "1.5"},
      {u"mi-run --timeout 4000001 app", "--timeout takes whole seconds up to 4000000, not", "4000001"},
  };
  for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
    if (parse(wrong[i].line)) {
      printf("case %zu was taken\n", i);
      fail();
    }
    assert_string_equal(options.problem, wrong[i].problem);
    if (wrong[i].word == NULL) {
      assert_null(options.problem_word);
    } else {
      assert_true(is(options.problem_word, wrong[i].word));
    }
  }
}

static void diagnostics(void** state) {
  (void)state;
  assert_true(parse(u"mi-run --leaks app.exe --check"));
  assert_int_equal(options.record, RECORD_LEAKS);
  assert_null(options.report);
  assert_true(is(options.tail, " --check")); // the program's
  assert_true(parse(u"mi-run --check --report=\"a b.json\" app.exe"));
  assert_int_equal(options.record, RECORD_CHECK);
  assert_false(options.exact);
  assert_true(is(options.report, "a b.json"));
  assert_true(parse(u"mi-run --check=exact app.exe"));
  assert_int_equal(options.record, RECORD_CHECK);
  assert_true(options.exact);
  assert_true(parse(u"mi-run --profile app.exe"));
  assert_int_equal(options.record, RECORD_PROFILE);
  assert_true(parse(u"mi-run app.exe"));
  assert_int_equal(options.record, RECORD_NOTHING);
  assert_false(parse(u"mi-run --leaks --profile app.exe"));
  assert_true(is(options.problem_word, "--profile"));
  assert_false(parse(u"mi-run --check=loose app.exe"));
  assert_string_equal(options.problem, "--check takes no value but exact, not");
  assert_true(is(options.problem_word, "loose"));
  assert_false(parse(u"mi-run --report r.json app.exe"));
  assert_string_equal(options.problem, "--report needs --leaks, --check or --profile");
  assert_false(parse(u"mi-run --leaks --attach 4711"));
  assert_true(parse(u"mi-run --follow --leaks app.exe"));
  assert_true(options.follow && options.record == RECORD_LEAKS);
}

int main(void) {
  const struct CMUnitTest cases[] = {
      cmocka_unit_test(plain),        cmocka_unit_test(diagnostics), cmocka_unit_test(tail_is_untouched),
      cmocka_unit_test(every_option), cmocka_unit_test(refused),
  };
  return check_run(cases);
}
