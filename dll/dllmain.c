// The loader's events, translated into those of the life cycle. Nothing else happens here: what may be done in which
// event is the business of src/lifecycle.
#include "lifecycle/runtime.h"
#include "record/record.h"
#include "redirect_attach.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// The DLL's entry point; there is no C runtime whose start-up code would call a DllMain.
BOOL WINAPI mimalloc_entry(HINSTANCE module, DWORD reason, LPVOID reserved);

BOOL WINAPI mimalloc_entry(HINSTANCE module, DWORD reason, LPVOID reserved) {
  switch (reason) {
  case DLL_PROCESS_ATTACH:
    runtime_process_attach();
    record_attach(module);
    redirect_attach(module, reserved != NULL); // not NULL: loaded with the program
    break;
  case DLL_THREAD_ATTACH:
    runtime_thread_attach();
    break;
  case DLL_THREAD_DETACH:
    runtime_thread_detach();
    break;
  case DLL_PROCESS_DETACH:
    if (reserved != NULL) { // the process ends; all other threads are dead
      record_process_exit();
      runtime_process_exit();
    } else {
      runtime_process_unload(); // FreeLibrary
    }
    break;
  default:
    break;
  }
  return TRUE;
}
