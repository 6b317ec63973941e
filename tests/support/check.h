// cmocka with the headers it wants in front of it, and a way to run the cases of a program.
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// Runs an array of cases, what main returns. The environment may choose: MI_TEST_ONLY and MI_TEST_SKIP hold names of
// cases, separated by commas; a name that isn't one of the cases is an error.
#define check_run(cases) check_run_cases(#cases, cases, sizeof(cases) / sizeof((cases)[0]))
int check_run_cases(const char* group, const struct CMUnitTest* cases, size_t count);

#endif
