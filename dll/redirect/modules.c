#include "modules.h"

#include "base/text.h"
#include "teb.h"

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

// ---- names ----------------------------------------------------------------------------------------------

static const wchar_t* file_name(const UNICODE_STRING* path, size_t* length) {
  size_t count = path->Length / sizeof(wchar_t), start = count;
  while (start > 0 && path->Buffer[start - 1] != L'\\' && path->Buffer[start - 1] != L'/') start--;
  *length = count - start;
  return path->Buffer + start;
}

static wchar_t lower(wchar_t c) { return c >= L'A' && c <= L'Z' ? (wchar_t)(c - L'A' + L'a') : c; }

static UNICODE_STRING system_folder; // of ntdll.dll, with the last backslash; its text belongs to the loader

static bool is_in_system_folder(const UNICODE_STRING* path) {
  if (system_folder.Length == 0 || path->Length < system_folder.Length) return false;
  for (size_t i = 0; i < system_folder.Length / sizeof(wchar_t); i++) {
    if (lower(path->Buffer[i]) != lower(system_folder.Buffer[i])) return false;
  }
  return true;
}

static void describe(const UNICODE_STRING* path, const void* base, module_t* module) {
  size_t length;
  const wchar_t* name = file_name(path, &length);
  if (length > MODULE_NAME_MAX - 1) length = MODULE_NAME_MAX - 1;
  for (size_t i = 0; i < length; i++) module->name[i] = name[i] < 128 ? (char)name[i] : '?';
  module->name[length] = 0;
  module->base = base;
  module->path = path->Buffer;
  module->path_length = path->Length / sizeof(wchar_t);
  if (text_equal_ignoring_case(module->name, "ntdll.dll") && system_folder.Length == 0) {
    system_folder = *path;
    system_folder.Length = (USHORT)((uintptr_t)name - (uintptr_t)path->Buffer);
  }
  module->is_system = is_in_system_folder(path);
}

// ---- the list -------------------------------------------------------------------------------------------

static PEB* process_block(void) { return teb_read(TEB_PEB); }

#define MODULES_MAX 8192 // against a list that is damaged

bool modules_visit(modules_visit_t* visit, void* context) {
  LIST_ENTRY* head = &process_block()->Ldr->InMemoryOrderModuleList;
  module_t module;
  // ntdll.dll comes second, behind the program: know its folder before anybody is asked to judge by it.
  size_t count = 0;
  for (LIST_ENTRY* entry = head->Flink; entry != head && system_folder.Length == 0 && count < MODULES_MAX;
       count++) {
    const LDR_DATA_TABLE_ENTRY* data = CONTAINING_RECORD(entry, LDR_DATA_TABLE_ENTRY, InMemoryOrderLinks);
    describe(&data->FullDllName, data->DllBase, &module);
    entry = entry->Flink;
  }
  count = 0;
  for (LIST_ENTRY* entry = head->Flink; entry != head && count < MODULES_MAX; count++) {
    const LDR_DATA_TABLE_ENTRY* data = CONTAINING_RECORD(entry, LDR_DATA_TABLE_ENTRY, InMemoryOrderLinks);
    entry = entry->Flink;
    if (data->DllBase == NULL) continue;
    describe(&data->FullDllName, data->DllBase, &module);
    if (!visit(context, &module)) return false;
  }
  return true;
}

// ---- news -----------------------------------------------------------------------------------------------

static void CALLBACK on_notification(ULONG reason, const ldr_notification_t* notification, void* context) {
  const modules_events_t* watching = context;
  module_t module;
  if (reason == LDR_LOADED) {
    describe(notification->path, notification->base, &module);
    watching->loaded(&module);
  } else if (reason == LDR_UNLOADED) {
    watching->unloaded(notification->base);
  }
}

bool modules_watch(const modules_events_t* events) {
  ldr_register_t* ldr_register = (ldr_register_t*)modules_ntdll("LdrRegisterDllNotification");
  if (ldr_register == NULL) return false;
  void* cookie;
  return ldr_register(0, on_notification, (void*)(uintptr_t)events, &cookie) >= 0;
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
