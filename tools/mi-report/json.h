// Reads JSON: as much of it as our reports need (no \u beyond the Basic Multilingual Plane, numbers as doubles).
#ifndef MI_REPORT_JSON_H
#define MI_REPORT_JSON_H

#include <stdbool.h>
#include <stddef.h>

typedef enum json_kind_e {
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_NUMBER,
  JSON_TEXT,
  JSON_ARRAY,
  JSON_OBJECT
} json_kind_t;

typedef struct json_s {
  json_kind_t kind;
  double number;
  const char* text;     // JSON_TEXT
  const char* key;      // of a member of an object
  struct json_s* first; // child
  struct json_s* next;  // sibling
  size_t count;         // of children
} json_t;

// Changes `text`, which the result points into; it lives until the program ends. NULL: it is no JSON; *problem then says
// why and *at where.
json_t* json_parse(char* text, const char** problem, size_t* at);

const json_t* json_get(const json_t* object,
                       const char* key); // NULL: there is none, or `object` is no object
double json_number(const json_t* object, const char* key, double otherwise);
const char* json_text(const json_t* object, const char* key, const char* otherwise);
bool json_true(const json_t* object, const char* key);

#endif
