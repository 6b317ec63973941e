#include "paths.h"

#include <stdlib.h>
#include <string.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

wchar_t* path_absolute(const wchar_t* path) {
  DWORD room = GetFullPathNameW(path, 0, NULL, NULL);
  wchar_t* absolute = room == 0 ? NULL : malloc(room * sizeof(wchar_t));
  if (absolute == NULL) return NULL;
  DWORD length = GetFullPathNameW(path, room, absolute, NULL);
  return length == 0 || length >= room ? NULL : absolute;
}

const wchar_t* path_file_name(const wchar_t* path) {
  const wchar_t* name = path;
  for (; *path != 0; path++) {
    if (*path == L'\\' || *path == L'/' || *path == L':') name = path + 1;
  }
  return name;
}

// With room for `more` characters behind it.
static wchar_t* own_path(size_t more) {
  for (DWORD room = 512; room <= 65536; room *= 2) {
    wchar_t* path = malloc((room + more) * sizeof(wchar_t));
    if (path == NULL) return NULL;
    DWORD length = GetModuleFileNameW(NULL, path, room);
    if (length == 0) return NULL;
    if (length < room) return path;
    free(path); // it was cut
  }
  return NULL;
}

wchar_t* path_self(void) { return own_path(0); }

wchar_t* path_beside_self(const wchar_t* name) {
  wchar_t* path = own_path(wcslen(name));
  if (path != NULL) wcscpy(path + (path_file_name(path) - path), name);
  return path;
}

// `folder`\`name``ending`, if that is a file.
static wchar_t* file_in(const wchar_t* folder, size_t folder_length, const wchar_t* name,
                        const wchar_t* ending, bool* is_folder) {
  wchar_t* path = malloc((folder_length + wcslen(name) + wcslen(ending) + 2) * sizeof(wchar_t));
  if (path == NULL) return NULL;
  wmemcpy(path, folder, folder_length);
  if (folder_length > 0 && wcschr(L"\\/:", folder[folder_length - 1]) == NULL) path[folder_length++] = L'\\';
  wcscpy(path + folder_length, name);
  wcscat(path, ending);
  DWORD attributes = GetFileAttributesW(path);
  if (attributes != INVALID_FILE_ATTRIBUTES) {
    if ((attributes & FILE_ATTRIBUTE_DIRECTORY) == 0) {
      wchar_t* absolute = path_absolute(path);
      free(path);
      return absolute;
    }
    *is_folder = true;
  }
  free(path);
  return NULL;
}

static wchar_t* program_in(const wchar_t* folder, size_t folder_length, const wchar_t* name,
                           bool* is_folder) {
  bool has_ending = wcschr(path_file_name(name), L'.') != NULL;
  wchar_t* found = file_in(folder, folder_length, name, has_ending ? L"" : L".exe", is_folder);
  return found != NULL ? found : file_in(folder, folder_length, name, has_ending ? L".exe" : L"", is_folder);
}

static bool current_folder_counts(const wchar_t* name) {
  union {
    FARPROC found;
    BOOL(WINAPI* call)(LPCWSTR);
  } need = {.found = GetProcAddress(GetModuleHandleW(L"kernel32"), "NeedCurrentDirectoryForExePathW")};
  return need.found == NULL || need.call(name); // Windows before Vista: always
}

wchar_t* path_of_program(const wchar_t* name, bool* is_folder) {
  *is_folder = false;
  if (path_file_name(name) != name) return program_in(L"", 0, name, is_folder);

  if (current_folder_counts(name)) {
    wchar_t* found = program_in(L".", 1, name, is_folder);
    if (found != NULL) return found;
  }
  DWORD room = GetEnvironmentVariableW(L"PATH", NULL, 0);
  wchar_t* list = malloc((room + 1) * sizeof(wchar_t));
  if (list == NULL || GetEnvironmentVariableW(L"PATH", list, room + 1) == 0) return NULL;
  wchar_t* found = NULL;
  for (wchar_t* folder = list; found == NULL && *folder != 0;) {
    bool quoted = *folder == L'"'; // such a folder may have a semicolon in its name
    wchar_t* start = quoted ? folder + 1 : folder;
    wchar_t* end = start + wcscspn(start, quoted ? L"\"" : L";");
    bool ignored; // a folder named like the program is not worth a word here
    if (end > start) found = program_in(start, (size_t)(end - start), name, &ignored);
    folder = end + wcscspn(end, L";");
    if (*folder == L';') folder++;
  }
  free(list);
  return found;
}

static bool is_ascii(const wchar_t* text) {
  for (; *text != 0; text++) {
    if (*text > 126) return false;
  }
  return true;
}

static wchar_t* short_form(const wchar_t* path) {
  DWORD room = GetShortPathNameW(path, NULL, 0);
  wchar_t* shorter = room == 0 ? NULL : malloc(room * sizeof(wchar_t));
  if (shorter == NULL) return NULL;
  DWORD length = GetShortPathNameW(path, shorter, room);
  return length == 0 || length >= room ? NULL : shorter;
}

char* path_ascii(const wchar_t* path) {
  wchar_t* chosen = _wcsdup(path);
  if (chosen == NULL) return NULL;
  if (!is_ascii(path) || wcslen(path) >= MAX_PATH) {
    // Only the folder first: the name of the DLL should stay the one that others know it by.
    const wchar_t* name = path_file_name(path);
    wchar_t* folder = _wcsdup(path);
    if (folder == NULL) return NULL;
    folder[name - path] = 0;
    wchar_t* shorter = is_ascii(name) ? short_form(folder) : NULL;
    if (shorter != NULL) {
      size_t length = wcslen(shorter);
      bool separated = length > 0 && shorter[length - 1] == L'\\';
      chosen = malloc((length + wcslen(name) + 2) * sizeof(wchar_t));
      if (chosen == NULL) return NULL;
      wcscpy(chosen, shorter);
      if (!separated) wcscat(chosen, L"\\");
      wcscat(chosen, name);
    } else {
      chosen = short_form(path);
    }
    if (chosen == NULL || !is_ascii(chosen) || wcslen(chosen) >= MAX_PATH) return NULL;
  }
  size_t length = wcslen(chosen);
  char* ascii = malloc(length + 1);
  if (ascii == NULL) return NULL;
  for (size_t i = 0; i <= length; i++) ascii[i] = (char)chosen[i];
  return ascii;
}

static bool identity(const wchar_t* path, BY_HANDLE_FILE_INFORMATION* information) {
  HANDLE file = CreateFileW(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                            OPEN_EXISTING, 0, NULL);
  if (file == INVALID_HANDLE_VALUE) return false;
  bool known = GetFileInformationByHandle(file, information);
  CloseHandle(file);
  return known;
}

bool path_same_file(const wchar_t* a, const wchar_t* b) {
  BY_HANDLE_FILE_INFORMATION of_a, of_b;
  return identity(a, &of_a) && identity(b, &of_b) && of_a.dwVolumeSerialNumber == of_b.dwVolumeSerialNumber &&
         of_a.nFileIndexHigh == of_b.nFileIndexHigh && of_a.nFileIndexLow == of_b.nFileIndexLow;
}
