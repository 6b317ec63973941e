#include "modules.h"

#include "base/atomics.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winternl.h>

// ---- what winternl.h leaves out -------------------------------------------------------------------------

typedef struct ldr_notification_s { // the same for both reasons
  ULONG flags;
  const UNICODE_STRING* path;
  const UNICODE_STRING* name;
  void* base;
  ULONG size;
} ldr_notification_t;

enum { LDR_LOADED = 1, LDR_UNLOADED = 2 };

typedef void CALLBACK ldr_callback_t(ULONG reason, const ldr_notification_t* notification, void* context);
typedef NTSTATUS NTAPI ldr_register_t(ULONG flags, ldr_callback_t* callback, void* context, void** cookie);
typedef NTSTATUS NTAPI ldr_lock_t(ULONG flags, ULONG* disposition, uintptr_t* cookie);
typedef NTSTATUS NTAPI ldr_unlock_t(ULONG flags, uintptr_t cookie);

void* modules_ntdll(const char* function) {
  union {
    FARPROC function;
    void* address;
  } found = {NULL};
  HMODULE ntdll = GetModuleHandleA("ntdll.dll");
  if (ntdll != NULL) found.function = GetProcAddress(ntdll, function);
  return found.address;
}

// The loader's own list of modules, copied by the loader under its own locks. (Walking its lists from outside needs
// a lock that isn't to be had: since Windows 8 its threads insert under another one than the loader lock.)
typedef struct ldr_module_s {
  void *section, *mapped_base, *base;
  ULONG size, flags;
  USHORT load_order, init_order, load_count, name_offset;
  char path[256]; // may be cut
} ldr_module_t;

typedef struct ldr_modules_s {
  ULONG count;
  ldr_module_t modules[1];
} ldr_modules_t;

typedef NTSTATUS NTAPI ldr_query_t(ldr_modules_t* modules, ULONG size, ULONG* needed);

// ---- names ----------------------------------------------------------------------------------------------

static size_t file_name_start(const wchar_t* path, size_t length) {
  while (length > 0 && path[length - 1] != L'\\' && path[length - 1] != L'/') length--;
  return length;
}

static wchar_t lower(wchar_t c) { return c >= L'A' && c <= L'Z' ? (wchar_t)(c - L'A' + L'a') : c; }

static wchar_t system_folder[MAX_PATH]; // of ntdll.dll, with the last backslash
static size_t system_folder_length;

static void find_system_folder(void) {
  if (system_folder_length != 0) return;
  DWORD length = GetModuleFileNameW(GetModuleHandleA("ntdll.dll"), system_folder, MAX_PATH);
  system_folder_length = length < MAX_PATH ? file_name_start(system_folder, length) : 0;
}

static bool is_in_system_folder(const wchar_t* path, size_t length) {
  if (system_folder_length == 0 || length < system_folder_length) return false;
  for (size_t i = 0; i < system_folder_length; i++) {
    if (lower(path[i]) != lower(system_folder[i])) return false;
  }
  return true;
}

static void describe(const wchar_t* path, size_t length, const void* base, module_t* module) {
  size_t start = file_name_start(path, length), count = length - start;
  if (count > MODULE_NAME_MAX - 1) count = MODULE_NAME_MAX - 1;
  for (size_t i = 0; i < count; i++) module->name[i] = path[start + i] < 128 ? (char)path[start + i] : '?';
  module->name[count] = 0;
  module->base = base;
  module->path = path;
  module->path_length = length;
  module->is_system = is_in_system_folder(path, length);
}

// ---- the loader's list ----------------------------------------------------------------------------------

#define SNAPSHOT_MIN ((ULONG)64 * MI_KIB) // 220 modules
#define SNAPSHOT_MAX ((ULONG)64 * MI_MIB)
#define PATH_MAX_    ((DWORD)32768) // characters; Windows allows no more

// NULL: no memory. To be released by VirtualFree.
static ldr_modules_t* take_snapshot(void) {
  ldr_query_t* query = (ldr_query_t*)modules_ntdll("LdrQueryProcessModuleInformation");
  for (ULONG size = SNAPSHOT_MIN; query != NULL && size <= SNAPSHOT_MAX; size *= 4) {
    ldr_modules_t* snapshot = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (snapshot == NULL) return NULL;
    if (query(snapshot, size, NULL) >= 0) return snapshot;
    VirtualFree(snapshot, 0, MEM_RELEASE); // too small
  }
  return NULL;
}

// `visit` for each of the loader's modules.
static bool visit_snapshot(modules_visit_t* visit, void* context) {
  bool goes_on = true;
  find_system_folder();
  ldr_modules_t* snapshot = take_snapshot();
  wchar_t* path = VirtualAlloc(NULL, PATH_MAX_ * sizeof(wchar_t), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  for (ULONG i = 0; snapshot != NULL && path != NULL && i < snapshot->count && goes_on; i++) {
    module_t module;
    DWORD length = GetModuleFileNameW(snapshot->modules[i].base, path, PATH_MAX_);
    if (length == 0 || length >= PATH_MAX_) continue; // it is gone
    describe(path, length, snapshot->modules[i].base, &module);
    goes_on = visit(context, &module);
  }
  if (path != NULL) VirtualFree(path, 0, MEM_RELEASE);
  if (snapshot != NULL) VirtualFree(snapshot, 0, MEM_RELEASE);
  return goes_on;
}

// ---- our list -------------------------------------------------------------------------------------------

// Where the loader tells of what comes and goes, a list of our own is kept by what it tells. It tells of one module
// at a time, so there is one writer; a reader on another thread sees all of an entry or nothing.
typedef struct entry_s {
  uint32_t changes; // odd: one is under way
  module_t module;  // base NULL: free
} entry_t;

#define CHUNK_SIZE    ((size_t)64 * MI_KIB)
#define CHUNK_ENTRIES ((CHUNK_SIZE - 2 * sizeof(void*)) / sizeof(entry_t))

typedef struct chunk_s {
  struct chunk_s* next;
  size_t used; // entries from here on were never written
  entry_t entries[CHUNK_ENTRIES];
} chunk_t;
_Static_assert(sizeof(chunk_t) <= CHUNK_SIZE, "one reservation");

static chunk_t* chunks; // they stay

static void change(entry_t* entry, const module_t* module) {
  atomic_set_release(&entry->changes, entry->changes + 1);
  atomic_fence_release();
  entry->module = *module;
  atomic_set_release(&entry->changes, entry->changes + 1);
}

static bool read_entry(const entry_t* entry, module_t* module) {
  for (unsigned i = 0; i < 1000; i++) { // a writer that was killed doesn't hold us up
    uint32_t before = atomic_get_acquire(&entry->changes);
    *module = *(const volatile module_t*)&entry->module;
    atomic_fence_acquire();
    if ((before & 1) == 0 && atomic_get_relaxed(&entry->changes) == before) return module->base != NULL;
    SwitchToThread();
  }
  return false;
}

// By the writer.
static entry_t* find(const void* base) {
  for (chunk_t* chunk = chunks; chunk != NULL; chunk = chunk->next) {
    for (size_t i = 0; i < chunk->used; i++) {
      if (chunk->entries[i].module.base == base) return &chunk->entries[i];
    }
  }
  return NULL;
}

static entry_t* find_free(void) {
  entry_t* entry = find(NULL);
  if (entry != NULL) return entry;
  if (chunks == NULL || chunks->used == CHUNK_ENTRIES) {
    chunk_t* chunk = VirtualAlloc(NULL, CHUNK_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (chunk == NULL) return NULL;
    chunk->next = chunks;
    atomic_set_release(&chunks, chunk);
  }
  entry = &chunks->entries[chunks->used];
  atomic_set_release(&chunks->used, chunks->used + 1);
  return entry;
}

static bool remember(void* context, const module_t* module) {
  MI_UNUSED(context);
  if (find(module->base) != NULL) return true;
  entry_t* entry = find_free();
  if (entry == NULL) return true; // its imports can't be redirected, then
  module_t kept = *module;
  kept.path = NULL; // the loader's, or on somebody's stack
  kept.path_length = 0;
  change(entry, &kept);
  return true;
}

static void forget(const void* base) {
  static const module_t nobody = {0};
  entry_t* entry = find(base);
  if (entry != NULL) change(entry, &nobody);
}

// ---- news -----------------------------------------------------------------------------------------------

#define WATCHERS_MAX 2 // who redirects, who records

static const modules_events_t* watchers[WATCHERS_MAX];
static size_t watcher_count;

static void CALLBACK on_notification(ULONG reason, const ldr_notification_t* notification, void* context) {
  MI_UNUSED(context);
  if (reason == LDR_LOADED) {
    module_t module;
    describe(notification->path->Buffer, notification->path->Length / sizeof(wchar_t), notification->base,
             &module);
    remember(NULL, &module);
    for (size_t i = 0; i < atomic_get_acquire(&watcher_count); i++) watchers[i]->loaded(&module);
  } else if (reason == LDR_UNLOADED) {
    forget(notification->base);
    for (size_t i = 0; i < atomic_get_acquire(&watcher_count); i++) watchers[i]->unloaded(notification->base);
  }
}

bool modules_watch(const modules_events_t* events) {
  ldr_register_t* ldr_register = (ldr_register_t*)modules_ntdll("LdrRegisterDllNotification");
  if (ldr_register == NULL) return false;
  if (watcher_count == WATCHERS_MAX) return false;
  watchers[watcher_count] = events;
  atomic_set_release(&watcher_count, watcher_count + 1);
  if (watcher_count > 1) return true; // the loader tells us already
  find_system_folder();
  void* cookie;
  if (ldr_register(0, on_notification, NULL, &cookie) < 0) {
    watcher_count = 0;
    return false;
  }
  visit_snapshot(remember, NULL);
  return true;
}

bool modules_visit(modules_visit_t* visit, void* context) {
  if (watcher_count == 0) return visit_snapshot(visit, context);
  for (const chunk_t* chunk = atomic_get_acquire(&chunks); chunk != NULL; chunk = chunk->next) {
    size_t used = atomic_get_acquire(&chunk->used);
    for (size_t i = 0; i < used; i++) {
      module_t module;
      if (read_entry(&chunk->entries[i], &module) && !visit(context, &module)) return false;
    }
  }
  return true;
}

// ---- the loader lock ------------------------------------------------------------------------------------

static ldr_lock_t* ldr_lock;
static ldr_unlock_t* ldr_unlock;

bool modules_lock(uintptr_t* cookie) {
  if (ldr_lock == NULL || ldr_unlock == NULL) {
    ldr_lock = (ldr_lock_t*)modules_ntdll("LdrLockLoaderLock");
    ldr_unlock = (ldr_unlock_t*)modules_ntdll("LdrUnlockLoaderLock");
  }
  return ldr_lock != NULL && ldr_unlock != NULL && ldr_lock(0, NULL, cookie) >= 0;
}

void modules_unlock(uintptr_t cookie) { ldr_unlock(0, cookie); }
