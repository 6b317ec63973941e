#include "missing.h"

#include <stdlib.h>

#include "candidate.h"
#include "image_file.h"
#include "paths.h"
#include "pe_image.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

enum { FILES_MAX = 4096, SIDE_BY_SIDE_NAMES = 2 }; // ACTIVATION_CONTEXT_SECTION_DLL_REDIRECTION

// The files still to be looked into, and those that were: each once, the program first.
static wchar_t* files[FILES_MAX];
static size_t file_count;

static void visit(const wchar_t* path) {
  for (size_t i = 0; i < file_count; i++) {
    if (_wcsicmp(files[i], path) == 0) return;
  }
  if (file_count < FILES_MAX) files[file_count++] = _wcsdup(path);
}

// The folders that the loader looks through, as SearchPath takes them: the program's, Windows' own, the
// current one, PATH. NULL: no memory.
static wchar_t* search_list(const wchar_t* app) {
  size_t folder = (size_t)(path_file_name(app) - app);
  DWORD path = GetEnvironmentVariableW(L"PATH", NULL, 0);
  wchar_t* list = malloc((folder + path + 2 * MAX_PATH + 16) * sizeof(wchar_t));
  if (list == NULL) return NULL;
  wmemcpy(list, app, folder);
  size_t length = folder;
  list[length++] = L';';
  length += GetSystemDirectoryW(list + length, MAX_PATH);
  list[length++] = L';';
  length += GetWindowsDirectoryW(list + length, MAX_PATH);
  wcscpy(list + length, L";.;");
  if (path > 0) GetEnvironmentVariableW(L"PATH", list + length + 3, path);
  return list;
}

static bool is_system(const wchar_t* path) {
  wchar_t folder[MAX_PATH];
  UINT length = GetSystemDirectoryW(folder, MAX_PATH);
  return length > 0 && _wcsnicmp(path, folder, length) == 0;
}

// Names that stand for no file: API sets, which a table of Windows' own resolves. Loading one here is
// harmless, as what it stands for belongs to Windows.
static bool is_api_set(const wchar_t* name) {
  bool named = _wcsnicmp(name, L"api-", 4) == 0 || _wcsnicmp(name, L"ext-", 4) == 0;
  return named && LoadLibraryW(name) != NULL;
}

// Does the program's manifest say where it lies?
static bool is_side_by_side(const wchar_t* name) {
  ACTCTX_SECTION_KEYED_DATA data = {.cbSize = sizeof(data)};
  return FindActCtxSectionStringW(0, NULL, SIDE_BY_SIDE_NAMES, name, &data);
}

static bool fits(const wchar_t* path) {
  pe_image_t image;
  return image_file_header(path, &image) && image.machine == candidate_own_machine();
}

// False when the DLL is the one looked for.
static bool look_for(const wchar_t* list, const wchar_t* name, const wchar_t* needed_by, missing_t* missing) {
  DWORD length = SearchPathW(list, name, L".dll", 1024, missing->unfit, NULL);
  bool is_found = length > 0 && length < 1024;
  if (is_found && is_system(missing->unfit)) return true;
  if (is_found && fits(missing->unfit)) {
    visit(missing->unfit);
    return true;
  }
  if (!is_found) missing->unfit[0] = 0;
  if (is_side_by_side(name) || is_api_set(name)) return true;
  swprintf(missing->name, 260, L"%ls", name);
  swprintf(missing->needed_by, 1024, L"%ls", needed_by);
  return false;
}

static bool look_into(const wchar_t* list, const wchar_t* path, missing_t* missing) {
  pe_image_t image;
  char ascii[PE_NAME_MAX];
  wchar_t name[PE_NAME_MAX];
  bool all_there = true;
  HANDLE file = image_file_open(path, &image);
  if (file == NULL) return true; // its importer was told
  for (uint32_t i = 0; all_there && pe_file_import(image_file_read, file, &image, i, ascii); i++) {
    if (MultiByteToWideChar(CP_ACP, 0, ascii, -1, name, PE_NAME_MAX) == 0) continue;
    all_there = look_for(list, name, path, missing);
  }
  CloseHandle(file);
  return all_there;
}

bool missing_find(const wchar_t* app, missing_t* missing) {
  ACTCTXW manifest = {.cbSize = sizeof(manifest),
                      .dwFlags = ACTCTX_FLAG_RESOURCE_NAME_VALID,
                      .lpSource = app,
                      .lpResourceName = MAKEINTRESOURCEW(1)};
  HANDLE context = CreateActCtxW(&manifest); // most programs have none: then all goes by folders
  ULONG_PTR cookie = 0;
  bool is_active = context != INVALID_HANDLE_VALUE && ActivateActCtx(context, &cookie);
  wchar_t* list = search_list(app);
  bool all_there = true;
  file_count = 0;
  visit(app);
  for (size_t i = 0; list != NULL && all_there && i < file_count; i++)
    all_there = look_into(list, files[i], missing);
  free(list);
  if (is_active) DeactivateActCtx(0, cookie);
  if (context != INVALID_HANDLE_VALUE) ReleaseActCtx(context);
  return !all_there;
}
