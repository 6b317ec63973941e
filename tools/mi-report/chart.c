#include "chart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "report.h"

enum { LIVE, COMMITTED, RSS, SERIES_COUNT };
enum { WIDTH = 900, HEIGHT = 360, LEFT = 80, RIGHT = 20, TOP = 40, BOTTOM = 40 };

static const char* const series_names[SERIES_COUNT] = {"live", "committed", "resident (RSS)"};
static const char* const colors[SERIES_COUNT] = {"#b4500c", "#1b6ca8", "#3a7d34"};

typedef struct point_s {
  double time_ms, values[SERIES_COUNT];
} point_t;

typedef struct points_s {
  point_t* list;
  size_t count, capacity;
} points_t;

static double current(const json_t* stats, const char* name) {
  return json_number(json_get(stats, name), "current", 0);
}

static bool add(points_t* points, const json_t* json) {
  const json_t* stats = json_get(json, "stats");
  if (stats == NULL || json_get(json, "time_ms") == NULL) return false;
  if (points->count == points->capacity) {
    points->capacity = points->capacity == 0 ? 256 : 2 * points->capacity;
    point_t* larger = allocate(points->capacity * sizeof(point_t));
    if (points->count > 0) memcpy(larger, points->list, points->count * sizeof(point_t));
    free(points->list);
    points->list = larger;
  }
  points->list[points->count++] =
      (point_t){json_number(json, "time_ms", 0),
                {current(stats, "malloc_normal") + current(stats, "malloc_huge"), current(stats, "committed"),
                 json_number(json_get(stats, "process"), "rss_current", 0)}};
  return true;
}

static points_t read_points(const char* path) {
  size_t size;
  points_t points = {0};
  char* text = file_read(path, &size);
  if (text == NULL) give_up("check the path", "'%s' can't be read: %s", path, strerror(errno));
  unsigned line = 1;
  for (char *at = text, *end; *at != 0; at = end + 1, line++) {
    const char* problem;
    size_t where;
    end = strchr(at, '\n');
    if (end == NULL) break; // the last line was not written whole
    *end = 0;
    if (*at == 0) continue;
    const json_t* json = json_parse(at, &problem, &where);
    if (json == NULL || !add(&points, json))
      give_up("give it the file that MIMALLOC_STATS_FILE names", "line %u of '%s' is no line of statistics",
              line, path);
  }
  if (points.count == 0)
    give_up("set MIMALLOC_STATS_INTERVAL (milliseconds) to less", "there are no statistics in '%s'", path);
  return points;
}

// The next of 1, 2, 5, 10, ... times a power of 2^10 that is not below.
static double round_up(double value) {
  double unit = 1024;
  static const double steps[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
  for (;; unit *= 1024) {
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
      if (steps[i] * unit >= value) return steps[i] * unit;
    }
  }
}

void chart_write(const char* path, FILE* out) {
  points_t points = read_points(path);
  double first = points.list[0].time_ms, last = points.list[points.count - 1].time_ms, most = 1;
  for (size_t i = 0; i < points.count; i++) {
    for (int k = 0; k < SERIES_COUNT; k++)
      most = points.list[i].values[k] > most ? points.list[i].values[k] : most;
  }
  double span = last > first ? last - first : 1;
  most = round_up(most);
  fprintf(out,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
          "font-size=\"12\">\n",
          WIDTH, HEIGHT);
  fprintf(out, "<title>Memory over time</title>\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", WIDTH,
          HEIGHT);
  for (int i = 0; i <= 4; i++) {
    double y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4.0,
           x = LEFT + (WIDTH - LEFT - RIGHT) * i / 4.0;
    fprintf(out, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/>", LEFT, y, WIDTH - RIGHT);
    fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", LEFT - 6, y + 4,
            amount(most * i / 4));
    fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.1f s</text>\n", x, HEIGHT - BOTTOM + 18,
            (first + span * i / 4) / 1000);
  }
  for (int k = 0; k < SERIES_COUNT; k++) {
    fprintf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" d=\"", colors[k]);
    for (size_t i = 0; i < points.count; i++) {
      fprintf(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L',
              LEFT + (WIDTH - LEFT - RIGHT) * (points.list[i].time_ms - first) / span,
              HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * points.list[i].values[k] / most);
    }
    fprintf(out,
            "\"/>\n<rect x=\"%d\" y=\"12\" width=\"14\" height=\"14\" fill=\"%s\"/><text x=\"%d\" "
            "y=\"24\">%s</text>\n",
            LEFT + 160 * k, colors[k], LEFT + 160 * k + 20, series_names[k]);
  }
  fprintf(out, "</svg>\n");
}
