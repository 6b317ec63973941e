#include "backup.h"

#include "edit.h"

#include <stdlib.h>
#include <string.h>

// Imported by nobody. Adding it makes minject strip what any edit strips; then it is taken out with the
// others.
static const char probe[] = "minject-probe.dll";

// One edit of *data, which is replaced by the result. False when the edit was not done.
static bool step(uint8_t** data, size_t* size, edit_action_t action, const char* dll) {
  const edit_request_t request = {.action = action, .dll = dll, .function = "f"};
  edit_result_t result;
  const bool is_done = edit_imports(*data, *size, &request, &result) == EDIT_DONE;
  if (is_done) {
    free(*data);
    *data = result.data;
    *size = result.size;
  } else {
    edit_result_free(&result);
  }
  return is_done;
}

// The name of a DLL whose import minject added; false when there is none.
static bool find_own(const uint8_t* data, size_t size, char dll[PE_DLL_NAME_MAX]) {
  pe_t pe;
  pe_error_t ignored;
  bool is_found = false;
  if (pe_parse(data, size, &pe, &ignored)) {
    for (uint32_t i = 0; i < pe.import_count && !is_found; i++) {
      is_found = edit_is_own(&pe, &pe.imports[i]);
      if (is_found) memcpy(dll, pe.imports[i].dll, PE_DLL_NAME_MAX);
    }
  }
  pe_free(&pe);
  return is_found;
}

// A copy of the file as it is without minject; NULL when it can't be brought there.
static uint8_t* bare_copy(const uint8_t* data, size_t* size) {
  char dll[PE_DLL_NAME_MAX];
  uint8_t* copy = malloc(*size + 1);
  if (copy == NULL) return NULL;
  memcpy(copy, data, *size);
  bool good = step(&copy, size, EDIT_ADD_FIRST, probe);
  while (good && find_own(copy, *size, dll)) good = step(&copy, size, EDIT_REMOVE, dll);
  pe_t pe;
  pe_error_t ignored;
  good = good && pe_parse(copy, *size, &pe, &ignored);
  if (!good) {
    free(copy);
    return NULL;
  }
  memset(copy + pe.header + PE_AT_CHECKSUM, 0, 4); // right or not, as it was found
  pe_free(&pe);
  return copy;
}

bool backup_is_of(const uint8_t* backup, size_t backup_size, const uint8_t* data, size_t size) {
  uint8_t* one = bare_copy(backup, &backup_size);
  uint8_t* other = one == NULL ? NULL : bare_copy(data, &size);
  const bool same = other != NULL && backup_size == size && memcmp(one, other, size) == 0;
  free(other);
  free(one);
  return same;
}
