// Allocates on stacks of every shape, from several threads, while others are killed; prints which stacks those were as Windows
// itself walks them. One line per different stack: blocks, bytes, and from the caller of take() on module+offset.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <malloc.h>
#include <windows.h>

#define APART     __attribute__((noinline, noclone))
#define FRAMES    31 // the recorder keeps one more, in take() itself
#define STACKS    16384
#define THREADS   70
#define ROUNDS    60
#define DEPTH_MAX 12

typedef struct seen_s {
  ULONG count, blocks, bytes;
  void* frames[FRAMES];
} seen_t;

static seen_t seen[STACKS];
static CRITICAL_SECTION lock;

static void note(void** frames, ULONG count, size_t size) {
  ULONG hash = count;
  for (ULONG i = 0; i < count; i++) hash = hash * 31 + (ULONG)(UINT_PTR)frames[i];
  EnterCriticalSection(&lock);
  for (;; hash++) {
    seen_t* at = &seen[hash % STACKS];
    if (at->blocks != 0 && (at->count != count || memcmp(at->frames, frames, count * sizeof(void*)) != 0))
      continue;
    at->count = count;
    at->blocks++;
    at->bytes += (ULONG)size;
    memcpy(at->frames, frames, count * sizeof(void*));
    break;
  }
  LeaveCriticalSection(&lock);
}

typedef struct way_s {
  ULONG state;
  int left, is_counted;
} way_t;

static ULONG draw(way_t* way) { return (way->state = way->state * 1664525 + 1013904223) >> 16; }

APART static void take(way_t* way) {
  void* frames[FRAMES];
  size_t size = 1 + draw(way) % 100;
  void* block = malloc(size);
  if (way->is_counted)
    note(frames, CaptureStackBackTrace(1, FRAMES, frames, NULL), size);
  else
    free(block);
  __asm__ volatile("" : : "r"(block) : "memory");
}

static void go_on(way_t* way);

APART static void plain(way_t* way) {
  go_on(way);
  __asm__ volatile("" : : : "memory");
}

APART static void by_frame_pointer(way_t* way) {
  char* room = alloca(1 + draw(way) % 3000);
  room[0] = 1;
  go_on(way);
  __asm__ volatile("" : : "r"(room) : "memory");
}

APART static void with_much(way_t* way) {
  volatile char room[9000];
  room[0] = room[8999] = 1;
  go_on(way);
  room[1] = room[0];
}

APART static void from_three_places(way_t* way) {
  switch (draw(way) % 3) {
  case 0:
    go_on(way);
    break;
  case 1:
    go_on(way);
    __asm__ volatile("nop");
    break;
  default:
    go_on(way);
    __asm__ volatile("nop\n\tnop");
    break;
  }
  __asm__ volatile("" : : : "memory");
}

static DWORD sorting; // slot: the way that a comparison goes on

static int __cdecl compare(const void* a, const void* b) {
  way_t* way = TlsGetValue(sorting);
  TlsSetValue(sorting, NULL);
  if (way != NULL) go_on(way);
  return *(const int*)a - *(const int*)b;
}

APART static void through_runtime(way_t* way) {
  int numbers[] = {3, 1, 2};
  TlsSetValue(sorting, way);
  qsort(numbers, 3, sizeof(int), compare);
}

static void go_on(way_t* way) {
  static void (*const ways[])(way_t*) = {plain, by_frame_pointer, with_much, from_three_places,
                                         through_runtime};
  if (way->left-- <= 0 || draw(way) % 8 == 0)
    take(way);
  else
    ways[draw(way) % 5](way);
  __asm__ volatile("" : : : "memory");
}

static DWORD WINAPI walk(void* seed) {
  way_t way = {.state = (ULONG)(UINT_PTR)seed, .is_counted = 1};
  for (int i = 0; i < ROUNDS; i++) {
    way.left = DEPTH_MAX;
    go_on(&way);
    go_on(&way); // mostly the same outer frames
  }
  return 0;
}

__attribute__((noreturn)) static DWORD WINAPI walk_until_killed(void* seed) {
  way_t way = {.state = (ULONG)(UINT_PTR)seed};
  for (;; way.left = DEPTH_MAX) go_on(&way);
}

static void print(const seen_t* stack) {
  printf("%lu %lu", stack->blocks, stack->bytes);
  for (ULONG i = 0; i < stack->count; i++) {
    char path[MAX_PATH] = "?";
    HMODULE module = NULL;
    GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                       (const char*)stack->frames[i], &module);
    GetModuleFileNameA(module, path, MAX_PATH);
    const char* name = strrchr(path, '\\');
    printf(" %s+%lu", name == NULL ? path : name + 1, (ULONG)((char*)stack->frames[i] - (char*)module) - 1);
  }
  printf("\n");
}

int main(void) {
  InitializeCriticalSection(&lock);
  sorting = TlsAlloc();
  HANDLE doomed[4], threads[THREADS];
  for (UINT_PTR i = 0; i < 4; i++)
    doomed[i] = CreateThread(NULL, 0, walk_until_killed, (void*)(i + 1000), 0, NULL);
  for (UINT_PTR i = 0; i < THREADS; i++) {
    threads[i] = CreateThread(NULL, 0, walk, (void*)(i + 1), 0, NULL);
    if (i % 10 == 9) WaitForSingleObject(threads[i], INFINITE);
    if (i >= 40 && i < 44) TerminateThread(doomed[i - 40], 1);
  }
  for (int i = 0; i < THREADS; i++) WaitForSingleObject(threads[i], INFINITE);
  for (int i = 0; i < STACKS; i++) {
    if (seen[i].blocks != 0) print(&seen[i]);
  }
  return 0;
}
