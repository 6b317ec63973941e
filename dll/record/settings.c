#include "settings.h"

#include "base/format.h"
#include "base/text.h"
#include "core/report/message.h"
#include "os/os.h"

bool setting_is_on(const char* name) {
  char value[16];
  static const char* const no[] = {"0", "false", "no", "off"};
  if (!os_environment(name, value, sizeof(value))) return false;
  for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
    if (text_equal_ignoring_case(value, no[i])) return false;
  }
  return true;
}

uint64_t setting_number(const char* name, uint64_t minimum, uint64_t maximum, uint64_t otherwise) {
  char value[32];
  int64_t found;
  bool has_unit;
  if (!os_environment(name, value, sizeof(value)) || value[0] == 0) return otherwise;
  if (format_parse_size(value, &found, &has_unit) && found >= 0 && (uint64_t)found >= minimum &&
      (uint64_t)found <= maximum)
    return (uint64_t)found;
  message_warning("%s=%s is not a number from %llu to %llu: it is %llu now\n", name, value,
                  (unsigned long long)minimum, (unsigned long long)maximum, (unsigned long long)otherwise);
  return otherwise;
}
