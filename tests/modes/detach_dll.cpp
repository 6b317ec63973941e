#include "late.h"

#include <windows.h>

#include <cstring>

static late_functions_t functions;
static late_place_t thread_detach = {"DLL_THREAD_DETACH", nullptr, 0};
static late_place_t destructor = {"thread_local in a DLL", nullptr, 0};
static late_place_t process_detach = {"DLL_PROCESS_DETACH", nullptr, 0};

// Uses nothing of itself: MinGW's runtime frees a thread_local object's memory before its destructor runs.
struct in_dll_t {
  long touched = 0;
  ~in_dll_t() {
    if (functions.malloc != nullptr) late_work(&destructor, &functions);
  }
};
static thread_local in_dll_t in_dll;

void detach_dll_start(const late_functions_t* given) { functions = *given; }
long detach_dll_thread_detaches(void) { return thread_detach.count; }
long detach_dll_destructors(void) { return destructor.count; }
void detach_dll_touch(void) { in_dll.touched++; }
void detach_dll_stop(void) {
  functions.free(InterlockedExchangePointer(&thread_detach.block, nullptr));
  functions.free(InterlockedExchangePointer(&destructor.block, nullptr));
  functions.malloc = nullptr;
}

extern "C" BOOL WINAPI DllMain(HINSTANCE, DWORD reason, LPVOID) {
  if (functions.malloc == nullptr) return TRUE;
  if (reason == DLL_THREAD_DETACH) late_work(&thread_detach, &functions);
  if (reason == DLL_PROCESS_DETACH) {
    for (int i = 0; i < 20; i++) late_work(&process_detach, &functions);
    static const char text[] = "other DLL detached\n";
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)std::strlen(text), &written, nullptr);
  }
  return TRUE;
}
