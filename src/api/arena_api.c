// Arenas that the program reserves, or gives memory for. All in the calling thread's sub-process.
#include "api/api_types.h"
#include "base/format.h"
#include "core/report/message.h"
#include "core/report/options.h"

static arena_set_t* current_arenas(void) {
  runtime_process_attach(); // may well be the first call into the library
  return &runtime_subproc()->arenas;
}

int numa_node_from(int node) {
  long nodes = option_get(option_use_numa_nodes);
  return node < 0 ? -1 : nodes > 0 ? (int)(node % nodes) : node;
}

// ---- ids --------------------------------------------------------------------------------------------------
// An id is the arena's address. Programs of the 2.4 line keep the lower half of it.

typedef struct id_search_s {
  uintptr_t id;
  arena_t* found;
} id_search_t;

static void match_id(arena_t* arena, void* arg) {
  id_search_t* search = (id_search_t*)arg;
  if ((uintptr_t)arena == search->id) search->found = arena;
  if (search->found == NULL && (uint32_t)(uintptr_t)arena == search->id) search->found = arena;
}

arena_t* arena_from_id(mi_arena_id_t id) {
  if (id == NULL) return NULL;
  id_search_t search = {(uintptr_t)id, NULL};
  arena_visit(current_arenas(), &match_id, &search);
  return search.found;
}

static int give_id(arena_t* arena, mi_arena_id_t* id) {
  if (id != NULL) *id = arena;
  return arena == NULL ? MESSAGE_ENOMEM : 0;
}

// ---- the system's memory ----------------------------------------------------------------------------------

int mi_reserve_os_memory_ex(size_t size, bool commit, bool allow_large, bool exclusive,
                            mi_arena_id_t* arena_id) {
  if (arena_id != NULL) *arena_id = NULL;
  arena_t* arena =
      size > PTRDIFF_MAX ? NULL : arena_reserve(current_arenas(), size, commit, allow_large, exclusive);
  if (arena == NULL) message_warning("unable to reserve an arena of %zu bytes\n", size);
  return give_id(arena, arena_id);
}

int mi_reserve_os_memory(size_t size, bool commit, bool allow_large) {
  return mi_reserve_os_memory_ex(size, commit, allow_large, false, NULL);
}

int mi_reserve_huge_os_pages_at_ex(size_t pages, int numa_node, size_t timeout_msecs, bool exclusive,
                                   mi_arena_id_t* arena_id) {
  if (arena_id != NULL) *arena_id = NULL;
  if (pages == 0) return 0;
  arena_set_t* arenas = current_arenas();
  uint32_t begin = os_clock_ms();
  int node = numa_node_from(numa_node);
  arena_t* first =
      pages > PTRDIFF_MAX / MI_GIB ? NULL : arena_reserve_huge(arenas, pages * MI_GIB, node, exclusive);
  if (first != NULL || pages == 1) return give_id(first, arena_id);
  for (size_t i = 0; i < pages; i++) { // as many as there are
    if (timeout_msecs != 0 && os_clock_ms() - begin >= timeout_msecs) break;
    arena_t* arena = arena_reserve_huge(arenas, MI_GIB, node, exclusive);
    if (arena == NULL) break;
    if (first == NULL) first = arena;
  }
  return give_id(first, arena_id);
}

int mi_reserve_huge_os_pages_at(size_t pages, int numa_node, size_t timeout_msecs) {
  return mi_reserve_huge_os_pages_at_ex(pages, numa_node, timeout_msecs, false, NULL);
}

int mi_reserve_huge_os_pages_interleave(size_t pages, size_t numa_nodes, size_t timeout_msecs) {
  if (numa_nodes == 0) return mi_reserve_huge_os_pages_at(pages, -1, timeout_msecs);
  size_t each = pages / numa_nodes, left = pages % numa_nodes;
  size_t share = timeout_msecs == 0 ? 0 : timeout_msecs / numa_nodes + 1;
  for (size_t node = 0; node < numa_nodes && node < pages; node++) {
    int error = mi_reserve_huge_os_pages_at(each + (node < left), (int)node, share);
    if (error != 0) return error;
  }
  return 0;
}

int mi_reserve_huge_os_pages(size_t pages, double max_secs, size_t* pages_reserved) {
  if (pages_reserved != NULL) *pages_reserved = 0;
  size_t timeout = max_secs <= 0 ? 0 : max_secs >= 1e6 ? 1000000000 : (size_t)(max_secs * 1000);
  int error = mi_reserve_huge_os_pages_interleave(pages, 0, timeout);
  if (error == 0 && pages_reserved != NULL) *pages_reserved = pages;
  return error;
}

// ---- the program's memory ---------------------------------------------------------------------------------

bool mi_manage_memory(void* start, size_t size, bool is_committed, bool is_pinned, bool is_zero,
                      int numa_node, bool exclusive, mi_commit_fun_t* commit_fun, void* commit_fun_arg,
                      mi_arena_id_t* arena_id) {
  if (arena_id != NULL) *arena_id = NULL;
  if (start == NULL || size > PTRDIFF_MAX) {
    message_warning("no memory to manage: %p, %zu bytes\n", start, size);
    return false;
  }
  arena_given_t given = {.start = start,
                         .size = size,
                         .is_committed = is_committed,
                         .is_pinned = is_pinned,
                         .is_zero = is_zero,
                         .is_exclusive = exclusive,
                         .numa_node = numa_node_from(numa_node),
                         .commit = commit_fun,
                         .commit_arg = commit_fun_arg};
  return give_id(arena_manage(current_arenas(), &given), arena_id) == 0;
}

bool mi_manage_os_memory_ex(void* start, size_t size, bool is_committed, bool is_pinned, bool is_zero,
                            int numa_node, bool exclusive, mi_arena_id_t* arena_id) {
  return mi_manage_memory(start, size, is_committed, is_pinned, is_zero, numa_node, exclusive, NULL, NULL,
                          arena_id);
}

bool mi_manage_os_memory(void* start, size_t size, bool is_committed, bool is_pinned, bool is_zero,
                         int numa_node) {
  return mi_manage_os_memory_ex(start, size, is_committed, is_pinned, is_zero, numa_node, false, NULL);
}

// ---- questions --------------------------------------------------------------------------------------------

void* mi_arena_area(mi_arena_id_t arena_id, size_t* size) {
  arena_t* arena = arena_from_id(arena_id);
  if (size != NULL) *size = arena == NULL ? 0 : arena->slice_count * SLICE_SIZE;
  return arena == NULL ? NULL : arena->base;
}

bool mi_arena_contains(mi_arena_id_t arena_id, const void* p) {
  arena_t* arena = arena_from_id(arena_id);
  return arena != NULL && arena_holds(arena, p);
}

size_t mi_arena_min_alignment(void) { return ARENA_ALIGNMENT; }
size_t mi_arena_min_size(void) { return ARENA_MIN_SIZE; }

static void print_arena(arena_t* arena, void* arg) {
  arena_usage_t usage = arena_usage(arena);
  char size[FORMAT_SIZE_CAPACITY], used[FORMAT_SIZE_CAPACITY], committed[FORMAT_SIZE_CAPACITY];
  (*(size_t*)arg)++;
  message_print_to(NULL, NULL, "  arena %u at %p: %s, %s in use, %s committed%s%s%s%s\n",
                   (unsigned)arena->index, (void*)arena->base,
                   format_size(size, (int64_t)(arena->slice_count * SLICE_SIZE)),
                   format_size(used, (int64_t)((arena->slice_count - usage.free) * SLICE_SIZE)),
                   format_size(committed, (int64_t)usage.committed), arena->is_exclusive ? ", exclusive" : "",
                   arena->is_pinned ? ", pinned" : "", arena->is_large ? ", large pages" : "",
                   arena->os_base == NULL ? ", of the program" : "");
}

void mi_arenas_print(void) {
  arena_set_t* arenas = current_arenas();
  size_t count = 0;
  char outside[FORMAT_SIZE_CAPACITY];
  message_print_to(NULL, NULL, "mimalloc: arenas\n");
  arena_visit(arenas, &print_arena, &count);
  message_print_to(NULL, NULL, "  %zu arenas; %s in blocks outside of them\n", count,
                   format_size(outside, (int64_t)arena_outside_bytes(arenas)));
}

void mi_debug_show_arenas(void) { mi_arenas_print(); }
