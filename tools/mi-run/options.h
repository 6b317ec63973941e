// mi-run's own arguments. Pure: no Windows call.
#ifndef MI_RUN_OPTIONS_H
#define MI_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "utf16.h"

// ACTION_ADOPT and `delegated` are for mi-run itself: --adopt brings the DLL into a process that is suspended
// before its first instruction, as mi-follow.dll leaves it.
typedef enum action_e { ACTION_RUN, ACTION_ATTACH, ACTION_ADOPT, ACTION_HELP, ACTION_VERSION } action_t;
typedef enum method_e { METHOD_IMPORT, METHOD_THREAD, METHOD_APC } method_t;

typedef enum record_e { RECORD_NOTHING, RECORD_LEAKS, RECORD_PROFILE, RECORD_CHECK } record_t;

enum { OPTIONS_TIMEOUT_DEFAULT_S = 30, OPTIONS_TIMEOUT_MAX_S = 4000000 }; // milliseconds must fit 32 bits

typedef struct options_s {
  action_t action;
  method_t method;
  const utf16_t* dll; // NULL: the one beside mi-run
  bool verbose;
  bool stats;
  record_t record;
  bool exact;            // RECORD_CHECK
  const utf16_t* report; // NULL: none wanted as a file
  bool follow;
  bool delegated;          // by the mi-run of the other bitness: this one is the last to try
  uint32_t pid;            // ACTION_ATTACH, unless by name; ACTION_ADOPT
  const utf16_t* pid_name; // ACTION_ATTACH: the name of the process's program, or NULL
  uint32_t timeout_s;      // 0: none
  const utf16_t* app;      // ACTION_RUN: the program, decoded
  bool app_quoted;         // it stands in quotes in mi-run's command line, and so it shall in the program's
  const utf16_t*
      tail; // its arguments, exactly as they stand in mi-run's command line, with the blanks before them

  const char* problem;         // what is wrong when options_parse returned false: "unknown option"
  const utf16_t* problem_word; // about which word, or NULL
} options_t;

// Reads mi-run's whole command line. `storage` has room for options_storage(line) characters; the strings in
// *options point into it and into `line`. False: something is wrong, see `problem`.
bool options_parse(const utf16_t* line, utf16_t* storage, options_t* options);
size_t options_storage(const utf16_t* line);

const char* options_method_name(method_t method);

#endif
