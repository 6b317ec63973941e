// Statistics over time (MIMALLOC_STATS_INTERVAL) as a picture.
#ifndef MI_REPORT_CHART_H
#define MI_REPORT_CHART_H

#include <stdio.h>

// SVG. Ends the program when the file holds no such statistics.
void chart_write(const char* path, FILE* out);

#endif
