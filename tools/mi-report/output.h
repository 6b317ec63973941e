// The forms in which a report is shown. All write to `out`.
#ifndef MI_REPORT_OUTPUT_H
#define MI_REPORT_OUTPUT_H

#include "report.h"

typedef struct output_options_s {
  metric_t metric;
  size_t top;      // stacks shown; 0: all
  bool all_frames; // also those below main
  bool title;
} output_options_t;

void output_text(const report_t* report, const output_options_t* options, FILE* out);
void output_difference(const report_t* before, const report_t* after, const output_options_t* options,
                       FILE* out);
void output_collapsed(const report_t* report, const output_options_t* options, FILE* out);
void output_pprof(const report_t* report, FILE* out); // gzip
// Shows the last report; the others only give points of its timeline.
void output_html(report_t* const* reports, size_t count, FILE* out);

// JSON with its quotes, safe inside of a script element.
void output_json_text(const char* text, FILE* out);

// Frames worth showing: without what calls main.
size_t output_frames(code_t* const* frames, size_t count, const output_options_t* options);

#endif
