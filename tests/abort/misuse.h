// For the tiny programs of this folder: each misuses memory once, which must end it. First it tells which pointer it is
// about to misuse, so that the runner (test_abort.c) can demand the exact message. An exit code of 7 says that it went on.
#ifndef TESTS_ABORT_MISUSE_H
#define TESTS_ABORT_MISUSE_H

#include <stdint.h>
#include <stdio.h>

#include <mimalloc.h>

enum { MISUSE_SURVIVED = 7, MISUSE_SETUP_FAILED = 8 };

// Hides from the compiler what it would warn of; announces the pointer.
static inline void* misuse(const volatile void* p) {
  __asm__ volatile("" : "+r"(p));
  printf("%llx\n", (unsigned long long)(uintptr_t)p);
  fflush(stdout);
  return (void*)(uintptr_t)p;
}

// The same without announcing it.
static inline void* hidden(const volatile void* p) {
  __asm__ volatile("" : "+r"(p));
  return (void*)(uintptr_t)p;
}

#endif
