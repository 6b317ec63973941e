#include "loader_hook.h"

#include "apply.h"
#include "modules.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winternl.h>

typedef NTSTATUS NTAPI ldr_load_dll_t(WCHAR* path, ULONG* flags, UNICODE_STRING* name, HANDLE* module);

static plan_runtime_t plan;
static ldr_load_dll_t* original;
static void (*call_after_load)(void);

static NTSTATUS NTAPI hooked_ldr_load_dll(WCHAR* path, ULONG* flags, UNICODE_STRING* name, HANDLE* module) {
  NTSTATUS status = original(path, flags, name, module);
  if (status >= 0) {
    DWORD error = GetLastError();
    call_after_load();
    SetLastError(error);
  }
  return status;
}

const char* loader_hook_install(void (*after_load)(void), parse_readable_t* readable, freeze_t* freeze) {
  static const plan_replacement_t table[] = {
      {"LdrLoadDll", (const void*)(uintptr_t)hooked_ldr_load_dll, false},
      {NULL, NULL, false},
  };
  const char* problem = parse_image(GetModuleHandleA("ntdll.dll"), SIZE_MAX, readable, &plan.image);
  if (problem != NULL) return problem;
  if (!plan_resolve(&plan, table, 1)) return plan.problem;
  void* memory = apply_memory(plan.image.base, plan.image.size);
  if (memory == NULL) return "there is no memory near ntdll.dll";
  if (!plan_inline(&plan, (uintptr_t)memory)) {
    apply_memory_release(memory);
    return plan.problem;
  }
  call_after_load = after_load;
  original = (ldr_load_dll_t*)plan_trampoline(&plan, 0);
  problem = apply_trampolines(&plan);
  return problem != NULL ? problem : apply_jumps(&plan, freeze);
}
