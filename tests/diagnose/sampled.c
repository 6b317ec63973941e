// Allocates an exact amount from two places, and lets one half of the second live: for the profile to estimate.
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#define APART __attribute__((noinline, noclone))

APART static void* take_small(void) {
  void* block = malloc(100);
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

APART static void* take_large(void) {
  void* block = malloc(20000);
  __asm__ volatile("" : : "r"(block) : "memory");
  return block;
}

int main(void) {
  for (int i = 0; i < 400000; i++) free(take_small()); // 40 MB
  for (int i = 0; i < 4000; i++) {                     // 80 MB, 40 MB of which live
    void* block = take_large();
    if (i % 2) free(block);
  }
  typedef _Bool dump_t(void);
  dump_t* dump = (dump_t*)(void*)GetProcAddress(GetModuleHandleA("mimalloc.dll"), "mi_profile_dump");
  printf("%s\n", dump != NULL && dump() ? "dumped" : "not dumped");
  return 0;
}
