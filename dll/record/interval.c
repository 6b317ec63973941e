#include "interval.h"

#include "base/atomics.h"
#include "base/format.h"
#include "core/report/message.h"
#include "mimalloc-stats.h"
#include "os/os.h"
#include "settings.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#define LINE_BYTES (64 * 1024)

static struct {
  uint32_t stats_ms, snapshot_ms; // 0: never
  void (*snapshot)(void);
  HANDLE stats; // file
  uint32_t started_ms;
  uint32_t lines;
  char line[LINE_BYTES];
} interval;

// {"time_ms": ..., "stats": what mi_stats_get_json tells}, on one line and by one write.
static void write_line(void) {
  char* line = interval.line;
  size_t at =
      format_print(line, LINE_BYTES, "{\"time_ms\": %u, \"stats\": ", os_clock_ms() - interval.started_ms);
  if (mi_stats_get_json(LINE_BYTES - at - 4, line + at) == NULL) return;
  size_t to = at;
  bool after_blank = false;
  for (; line[at] != 0; at++) {
    bool is_blank = line[at] == ' ' || line[at] == '\n';
    if (!is_blank || !after_blank) line[to++] = is_blank ? ' ' : line[at];
    after_blank = is_blank;
  }
  line[to++] = '}';
  line[to++] = '\n';
  DWORD written;
  if (WriteFile(interval.stats, line, (DWORD)to, &written, NULL)) atomic_add_relaxed(&interval.lines, 1);
}

MI_NORETURN static DWORD WINAPI run(void* unused) {
  MI_UNUSED(unused);
  uint32_t stats_ms = interval.stats_ms, snapshot_ms = interval.snapshot_ms;
  uint32_t next_snapshot = os_clock_ms() + snapshot_ms;
  if (stats_ms != 0) write_line();
  uint32_t next_stats = os_clock_ms() + stats_ms;
  for (;;) {
    uint32_t now = os_clock_ms();
    uint32_t wait = UINT32_MAX;
    if (stats_ms != 0) wait = (int32_t)(next_stats - now) > 0 ? next_stats - now : 0;
    if (snapshot_ms != 0) {
      uint32_t until = (int32_t)(next_snapshot - now) > 0 ? next_snapshot - now : 0;
      if (until < wait) wait = until;
    }
    if (wait > 0) Sleep(wait);
    now = os_clock_ms();
    // From now on, not from when it should have been: a busy machine gets fewer, not many at once.
    if (stats_ms != 0 && (int32_t)(now - next_stats) >= 0) write_line(), next_stats = now + stats_ms;
    if (snapshot_ms != 0 && (int32_t)(now - next_snapshot) >= 0)
      interval.snapshot(), next_snapshot = now + snapshot_ms;
  }
}

static HANDLE open_stats(void) {
  static wchar_t path[4096];
  if (!os_environment_wide(L"MIMALLOC_STATS_FILE", path, sizeof(path) / sizeof(path[0])) || path[0] == 0) {
    char name[64];
    size_t i = 0;
    format_print(name, sizeof(name), "mimalloc-stats-%u.jsonl", (unsigned)GetCurrentProcessId());
    do path[i] = (wchar_t)name[i];
    while (name[i++] != 0);
  }
  HANDLE file = CreateFileW(path, FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                            NULL, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
  if (file == INVALID_HANDLE_VALUE)
    message_error_always(MESSAGE_EINVAL, "MIMALLOC_STATS_FILE: the file can't be written (error %u)",
                         (unsigned)GetLastError());
  return file;
}

void interval_start(uint32_t snapshot_ms, void (*snapshot)(void)) {
  interval.snapshot_ms = snapshot_ms;
  interval.snapshot = snapshot;
  interval.stats_ms = (uint32_t)setting_number("MIMALLOC_STATS_INTERVAL", 1, INT32_MAX, 0);
  interval.started_ms = os_clock_ms();
  if (interval.stats_ms != 0 && (interval.stats = open_stats()) == INVALID_HANDLE_VALUE)
    interval.stats_ms = 0;
  if (interval.stats_ms == 0 && snapshot_ms == 0) return;
  // It begins when the loader is done with us, and is killed by the process's end as any other.
  HANDLE thread = CreateThread(NULL, 0, run, NULL, 0, NULL);
  if (thread != NULL)
    CloseHandle(thread);
  else
    message_error_always(MESSAGE_EINVAL, "no thread for statistics (error %u)", (unsigned)GetLastError());
}

void interval_end(void) {
  if (atomic_get_relaxed(&interval.lines) > 0) write_line(); // what it asks of the system is known then
}
