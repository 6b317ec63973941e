#include <string.h>

#include "output.h"
#include "page.h"

void output_json_text(const char* text, FILE* out) {
  fputc('"', out);
  for (; *text != 0; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\')
      fprintf(out, "\\%c", c);
    else if (c < 0x20 || c == '<')
      fprintf(out, "\\u%04x", c); // '<': no "</script>" in here
    else
      fputc(c, out);
  }
  fputc('"', out);
}

// Frames as [function, "file:line" or place], outermost first.
static void put_stack(const report_t* report, const stack_t* stack, FILE* out) {
  const output_options_t options = {.all_frames = false};
  fprintf(out, "{\"v\":[%.0f,%.0f,%.0f,%.0f],\"k\":", stack->values[LIVE_BYTES], stack->values[LIVE_BLOCKS],
          stack->values[BYTES], stack->values[ALLOCATIONS]);
  output_json_text(stack->kept == NULL ? ""
                   : stack->keeper < 0 ? "?"
                                       : file_name(report->modules[stack->keeper].path),
                   out);
  fprintf(out, ",\"f\":[");
  bool is_first = true;
  for (size_t k = output_frames(stack->frames, stack->count, &options); k-- > 0;) {
    const code_t* code = stack->frames[k];
    const char* place = report_place(report, code);
    size_t count = code->location_count == 0 ? 1 : code->location_count;
    for (size_t n = count; n-- > 0;) {
      const location_t* location = code->location_count == 0 ? NULL : &code->locations[n];
      fprintf(out, "%s[", is_first ? "" : ",");
      output_json_text(location == NULL ? place : location->function, out);
      fputc(',', out);
      output_json_text(location == NULL || location->file == NULL
                           ? place
                           : text_format("%s:%u", location->file, location->line),
                       out);
      fputc(']', out);
      is_first = false;
    }
  }
  fprintf(out, "]}");
}

void output_html(report_t* const* reports, size_t count, FILE* out) {
  const report_t* report = reports[count - 1];
  const char* mark = strstr(page_text, "/*DATA*/");
  fwrite(page_text, 1, (size_t)(mark - page_text), out);
  fprintf(out, "{\"mode\":");
  output_json_text(report->mode, out);
  fprintf(out, ",\"file\":");
  output_json_text(file_name(report->file), out);
  fprintf(out, ",\"program\":");
  output_json_text(report->module_count == 0 ? "?" : file_name(report->modules[0].path), out);
  fprintf(out, ",\"elapsed\":%.0f,\"sample\":%.0f,\"allocations\":%.0f,\"time\":[", report->elapsed_ms,
          report->sample_bytes, report->allocations);
  for (size_t i = 0; i < count; i++) {
    double live = 0;
    for (size_t k = 0; k < reports[i]->stack_count; k++) live += reports[i]->stacks[k].values[LIVE_BYTES];
    fprintf(out, "%s[%.0f,%.0f]", i == 0 ? "" : ",", reports[i]->elapsed_ms, live);
  }
  fprintf(out, "],\"stacks\":[\n");
  for (size_t i = 0; i < report->stack_count; i++) {
    if (i > 0) fprintf(out, ",\n");
    put_stack(report, &report->stacks[i], out);
  }
  fprintf(out, "]}");
  fputs(mark + strlen("/*DATA*/"), out);
}
