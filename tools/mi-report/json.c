#include "json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define DEPTH_MAX 64

typedef struct parser_s {
  char *start, *at;
  const char* problem;
  unsigned depth;
} parser_t;

static json_t* fail(parser_t* parser, const char* problem) {
  if (parser->problem == NULL) parser->problem = problem;
  return NULL;
}

static void skip_blanks(parser_t* parser) {
  while (*parser->at == ' ' || *parser->at == '\t' || *parser->at == '\n' || *parser->at == '\r')
    parser->at++;
}

static json_t* make(json_kind_t kind) {
  json_t* json = allocate(sizeof(*json));
  json->kind = kind;
  return json;
}

static int hex(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

static char* put_utf8(char* to, unsigned code) {
  if (code < 0x80) {
    *to++ = (char)code;
  } else if (code < 0x800) {
    *to++ = (char)(0xC0 | code >> 6);
    *to++ = (char)(0x80 | (code & 0x3F));
  } else {
    *to++ = (char)(0xE0 | code >> 12);
    *to++ = (char)(0x80 | (code >> 6 & 0x3F));
    *to++ = (char)(0x80 | (code & 0x3F));
  }
  return to;
}

// In place: what is decoded is never longer.
static const char* text_of(parser_t* parser) {
  char *text = ++parser->at, *to = text;
  while (*parser->at != '"') {
    char c = *parser->at++;
    if (c == 0) return (fail(parser, "a string does not end"), NULL);
    if (c == '\\') {
      unsigned code = 0;
      switch (c = *parser->at++) {
      case 'n':
        c = '\n';
        break;
      case 't':
        c = '\t';
        break;
      case 'r':
        c = '\r';
        break;
      case 'b':
        c = '\b';
        break;
      case 'f':
        c = '\f';
        break;
      case '"':
      case '\\':
      case '/':
        break;
      case 'u':
        for (int i = 0; i < 4; i++) {
          int digit = hex(*parser->at);
          if (digit < 0) return (fail(parser, "\\u without four digits"), NULL);
          code = code * 16 + (unsigned)digit;
          parser->at++;
        }
        if (code == 0) code = '?'; // would end the string
        to = put_utf8(to, code);
        continue;
      default:
        return (fail(parser, "unknown escape"), NULL);
      }
    }
    *to++ = c;
  }
  parser->at++;
  *to = 0;
  return text;
}

static json_t* value(parser_t* parser);

static json_t* items(parser_t* parser, json_kind_t kind, char end) {
  json_t* json = make(kind);
  json_t** link = &json->first;
  if (++parser->depth > DEPTH_MAX) return fail(parser, "nested too deeply");
  parser->at++;
  skip_blanks(parser);
  if (*parser->at == end) {
    parser->at++;
    parser->depth--;
    return json;
  }
  for (;;) {
    const char* key = NULL;
    skip_blanks(parser);
    if (kind == JSON_OBJECT) {
      if (*parser->at != '"') return fail(parser, "a member's name is missing");
      if ((key = text_of(parser)) == NULL) return NULL;
      skip_blanks(parser);
      if (*parser->at++ != ':') return (parser->at--, fail(parser, "':' is missing"));
    }
    json_t* item = value(parser);
    if (item == NULL) return NULL;
    item->key = key;
    *link = item;
    link = &item->next;
    json->count++;
    skip_blanks(parser);
    char c = *parser->at;
    if (c != ',' && c != end) return fail(parser, "',' or the end is missing");
    parser->at++;
    if (c == end) {
      parser->depth--;
      return json;
    }
  }
}

static json_t* word(parser_t* parser, const char* text, json_kind_t kind) {
  size_t length = strlen(text);
  if (strncmp(parser->at, text, length) != 0) return fail(parser, "unknown word");
  parser->at += length;
  return make(kind);
}

static json_t* value(parser_t* parser) {
  json_t* json;
  char* end;
  skip_blanks(parser);
  switch (*parser->at) {
  case '{':
    return items(parser, JSON_OBJECT, '}');
  case '[':
    return items(parser, JSON_ARRAY, ']');
  case 't':
    return word(parser, "true", JSON_TRUE);
  case 'f':
    return word(parser, "false", JSON_FALSE);
  case 'n':
    return word(parser, "null", JSON_NULL);
  case '"':
    json = make(JSON_TEXT);
    json->text = text_of(parser);
    return json->text == NULL ? NULL : json;
  default:
    json = make(JSON_NUMBER);
    json->number = strtod(parser->at, &end);
    if (end == parser->at) return fail(parser, "a value is missing");
    parser->at = end;
    return json;
  }
}

json_t* json_parse(char* text, const char** problem, size_t* at) {
  parser_t parser = {text, text, NULL, 0};
  json_t* json = value(&parser);
  if (json != NULL) {
    skip_blanks(&parser);
    if (*parser.at != 0) json = fail(&parser, "something follows after the end");
  }
  *problem = parser.problem;
  *at = (size_t)(parser.at - text);
  return json;
}

const json_t* json_get(const json_t* object, const char* key) {
  if (object == NULL || object->kind != JSON_OBJECT) return NULL;
  for (const json_t* item = object->first; item != NULL; item = item->next) {
    if (strcmp(item->key, key) == 0) return item;
  }
  return NULL;
}

double json_number(const json_t* object, const char* key, double otherwise) {
  const json_t* found = json_get(object, key);
  return found != NULL && found->kind == JSON_NUMBER ? found->number : otherwise;
}

const char* json_text(const json_t* object, const char* key, const char* otherwise) {
  const json_t* found = json_get(object, key);
  return found != NULL && found->kind == JSON_TEXT ? found->text : otherwise;
}

bool json_true(const json_t* object, const char* key) {
  const json_t* found = json_get(object, key);
  return found != NULL && found->kind == JSON_TRUE;
}
