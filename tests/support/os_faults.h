// A fake layer over the native operating system layer: fails the calls that a test names, and counts them.
// The program is linked with --wrap for each function; see tests/support/meson.build. What the core holds is
// read from os_posix_balance() (os_posix.h).
#ifndef TESTS_OS_FAULTS_H
#define TESTS_OS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum os_call_e {
  OS_CALL_RESERVE,
  OS_CALL_RESERVE_AT,
  OS_CALL_RESERVE_AND_COMMIT,
  OS_CALL_COMMIT,
  OS_CALL_DECOMMIT,
  OS_CALL_RESET,
  OS_CALL_RELEASE,
  OS_CALL_KINDS,
  OS_CALL_ANY = OS_CALL_KINDS, // whichever kind
} os_call_t;

const char* os_faults_name(os_call_t kind);

// Each of these starts counting anew. n is 1 for the next call.
void os_faults_none(void);
void os_faults_fail_nth(os_call_t kind, size_t n);  // that one alone
void os_faults_fail_from(os_call_t kind, size_t n); // that one and all later ones
// About one in `one_in`; which ones follows from `seed`, and from how threads interleave.
void os_faults_fail_at_random(os_call_t kind, size_t one_in, uint64_t seed);

size_t os_faults_calls(os_call_t kind); // since the counting began, failed ones included
size_t os_faults_injected(void);        // calls failed on purpose since the counting began

// Bytes whose release was refused on purpose since the program began: nobody can give them back any more.
size_t os_faults_refused_release(void);

#endif
