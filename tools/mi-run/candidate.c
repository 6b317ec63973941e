#include "candidate.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "exit_codes.h"
#include "image_file.h"
#include "paths.h"
#include "pe_image.h"
#include "report.h"

uint16_t candidate_own_machine(void) {
#if defined(__x86_64__)
  return PE_MACHINE_X64;
#elif defined(__i386__)
  return PE_MACHINE_X86;
#else
#error "mi-run is for x86-64 and x86; name your machine here"
#endif
}

const wchar_t* candidate_machine_name(uint16_t machine) {
  static wchar_t text[2][32]; // two names fit one message
  static int turn;
  const char* name = pe_machine_name(machine);
  turn ^= 1;
  if (name != NULL) {
    swprintf(text[turn], 32, L"%hs", name);
  } else {
    swprintf(text[turn], 32, L"machine type 0x%04x", machine);
  }
  return text[turn];
}

// What opening a file says: is it not there at all?
static bool means_missing(DWORD error) {
  return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND || error == ERROR_INVALID_NAME ||
         error == ERROR_BAD_NETPATH || error == ERROR_BAD_NET_NAME || error == ERROR_INVALID_DRIVE ||
         error == ERROR_NOT_READY || error == ERROR_BAD_PATHNAME;
}

static int out_of_memory(void) {
  report_error(L"out of memory");
  report_remedy(L"close other programs");
  return EXIT_OWN_ERROR;
}

int candidate_find_app(const wchar_t* name, wchar_t** path) {
  bool is_folder;
  *path = path_of_program(name, &is_folder);
  if (*path != NULL) return EXIT_DONE;
  if (is_folder) {
    report_error(L"'%ls' is a folder, not a program", name);
    report_remedy(L"name the .exe file in it");
    return EXIT_CANNOT;
  }
  report_error(L"program '%ls' not found", name);
  if (path_file_name(name) != name) {
    report_remedy(L"check the path; relative ones start from the current folder");
  } else {
    report_remedy(L"give its path: it is neither in the current folder nor in one that PATH lists");
  }
  return EXIT_NOT_FOUND;
}

// --- headers -----------------------------------------------------------------------------------------------

bool candidate_is_other_bits(const wchar_t* path) {
  pe_image_t image;
  if (!image_file_header(path, &image) || image.is_dll) return false;
  if (candidate_own_machine() == PE_MACHINE_X64) return image.machine == PE_MACHINE_X86 && !image.is_managed;
  return image.machine == PE_MACHINE_X64;
}

// Builds for both numbers of bits may lie in one folder.
static wchar_t* find_own_dll(void) {
  static const wchar_t* const names[] = {L"mimalloc.dll",
                                         sizeof(void*) == 8 ? L"mimalloc64.dll" : L"mimalloc32.dll",
                                         sizeof(void*) == 8 ? L"x64\\mimalloc.dll" : L"x86\\mimalloc.dll"};
  wchar_t* first = NULL;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    wchar_t* path = path_beside_self(names[i]);
    pe_image_t image;
    if (path == NULL) return NULL;
    bool is_there = GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
    if (is_there && image_file_header(path, &image) && image.machine == candidate_own_machine()) return path;
    if (first == NULL || (is_there && GetFileAttributesW(first) == INVALID_FILE_ATTRIBUTES)) first = path;
  }
  return first;
}

int candidate_find_dll(const wchar_t* name, wchar_t** path) {
  *path = name != NULL ? path_absolute(name) : find_own_dll();
  if (*path == NULL) return out_of_memory();
  DWORD attributes = GetFileAttributesW(*path);
  if (attributes == INVALID_FILE_ATTRIBUTES) {
    DWORD error = GetLastError();
    report_error(L"DLL '%ls' %ls", *path, means_missing(error) ? L"not found" : report_reason(error));
    if (name != NULL) {
      report_remedy(L"check the path after --dll; relative ones start from the current folder");
    } else {
      report_remedy(L"put mimalloc.dll beside mi-run.exe, or say where it is with --dll PATH");
    }
    return means_missing(error) ? EXIT_NOT_FOUND : EXIT_CANNOT;
  }
  if ((attributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
    report_error(L"DLL '%ls' is a folder", *path);
    report_remedy(L"name the file in it: --dll %ls\\mimalloc.dll", *path);
    return EXIT_CANNOT;
  }
  return EXIT_DONE;
}

static int open_to_read(const wchar_t* what, const wchar_t* path, HANDLE* file) {
  *file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                      OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
  if (*file != INVALID_HANDLE_VALUE) return EXIT_DONE;
  DWORD error = GetLastError();
  report_error(L"%ls '%ls' can't be read: %ls", what, path, report_reason(error));
  if (error == ERROR_ACCESS_DENIED) {
    report_remedy(L"check the permissions of the file, or run mi-run as a user who may read it");
  } else if (error == ERROR_CANT_ACCESS_FILE) {
    report_remedy(L"this is an alias of an app from the store; give the path of the program itself");
  } else {
    report_remedy(L"see that no other program holds the file open");
  }
  return means_missing(error) ? EXIT_NOT_FOUND : EXIT_CANNOT;
}

static bool ends_with(const wchar_t* path, const wchar_t* ending) {
  size_t length = wcslen(path), ending_length = wcslen(ending);
  return length >= ending_length && _wcsicmp(path + length - ending_length, ending) == 0;
}

static int not_a_program(const wchar_t* path, pe_status_t status) {
  switch (status) {
  case PE_NOT_PE:
    report_error(L"'%ls' is not a Windows program", path);
    if (ends_with(path, L".bat") || ends_with(path, L".cmd")) {
      report_remedy(L"run its interpreter: mi-run cmd.exe /c \"%ls\"", path);
    } else {
      report_remedy(L"name an .exe file; for a script, name its interpreter and give it the script");
    }
    break;
  case PE_16_BITS:
    report_error(L"'%ls' is a 16-bit program", path);
    report_remedy(L"only 32-bit and 64-bit programs can use the DLL; run it without mi-run");
    break;
  default:
    report_error(L"'%ls' is damaged: its header is cut off or contradicts itself", path);
    report_remedy(L"get or build the program again");
    break;
  }
  return EXIT_CANNOT;
}

static int check_app_image(const wchar_t* path, const pe_image_t* image, method_t method) {
  if (image->is_dll) {
    report_error(L"'%ls' is a DLL, not a program", path);
    report_remedy(L"name the program that uses it");
    return EXIT_CANNOT;
  }
  // A .NET program for any machine is marked as one for x86: the process shows what it becomes.
  bool any_machine = image->is_managed && image->machine == PE_MACHINE_X86;
  if (image->machine != candidate_own_machine() && !any_machine) {
    report_error(L"'%ls' is for %ls, but this mi-run is for %ls", path,
                 candidate_machine_name(image->machine), candidate_machine_name(candidate_own_machine()));
    report_remedy(
        L"use mi-run.exe and mimalloc.dll of a build for the program's machine; as %ls beside this one, it "
        L"would be used by itself",
        sizeof(void*) == 8 ? L"mi-run32.exe" : L"mi-run64.exe");
    return EXIT_CANNOT;
  }
  if (image->subsystem != PE_SUBSYSTEM_CONSOLE && image->subsystem != PE_SUBSYSTEM_GUI) {
    report_error(L"'%ls' is neither a console nor a window program (subsystem %d)", path, image->subsystem);
    report_remedy(L"a driver, native or boot program can't be run this way");
    return EXIT_CANNOT;
  }
  if (method == METHOD_IMPORT && image->is_managed) {
    report_error(L"'%ls' is a .NET program, whose import directory the loader does not use", path);
    report_remedy(L"add --method thread");
    return EXIT_CANNOT;
  }
  return EXIT_DONE;
}

int candidate_check_app(const wchar_t* path, method_t method) {
  HANDLE file;
  int failed = open_to_read(L"program", path, &file);
  if (failed) return failed;
  pe_image_t image;
  pe_status_t status = pe_read(image_file_read, file, &image);
  CloseHandle(file);
  return status == PE_OK ? check_app_image(path, &image, method) : not_a_program(path, status);
}

int candidate_check_dll(const wchar_t* path) {
  HANDLE file;
  int failed = open_to_read(L"DLL", path, &file);
  if (failed) return failed;
  pe_image_t image;
  pe_status_t status = pe_read(image_file_read, file, &image);
  if (status != PE_OK || !image.is_dll) {
    report_error(L"'%ls' is not a DLL%ls", path, status == PE_DAMAGED ? L": its header is damaged" : L"");
    report_remedy(L"say where mimalloc.dll is with --dll PATH");
    failed = EXIT_CANNOT;
  } else if (image.machine != candidate_own_machine()) {
    report_error(L"DLL '%ls' is for %ls, but this mi-run is for %ls", path,
                 candidate_machine_name(image.machine), candidate_machine_name(candidate_own_machine()));
    report_remedy(L"use mi-run.exe and mimalloc.dll of the same build");
    failed = EXIT_CANNOT;
  } else if (!pe_file_exports(image_file_read, file, &image, CANDIDATE_SYMBOL)) {
    report_error(L"DLL '%ls' is not mimalloc: it exports no %hs", path, CANDIDATE_SYMBOL);
    report_remedy(L"say where mimalloc.dll is with --dll PATH");
    failed = EXIT_CANNOT;
  }
  CloseHandle(file);
  return failed;
}
