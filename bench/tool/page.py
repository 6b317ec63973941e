"""A report: tables for the terminal, JSON, SVG charts (Matplotlib), and one HTML page that holds them all."""
import datetime
import html
import io
import os
import platform
import re

from tool import measure, table
from tool.errors import BenchError

COLORS = ["#1b6ca8", "#8c8c8c", "#b9b9b9", "#c98b3b", "#d9c46a", "#7b9e57", "#8a5a83", "#b0413e", "#4d8f8b", "#555555"]
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1080px;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0 1.5em;font-size:14px}td,th{padding:.2em .7em;text-align:right;
border-bottom:1px solid #ddd;white-space:nowrap}td:first-child,th:first-child{text-align:left}th{font-weight:600}
.wide{overflow-x:auto}svg{max-width:100%;height:auto}.ours{background:#eaf3fa}.note{color:#555}"""


def need_plotting():
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BenchError("Matplotlib is missing", "run wine-ci/setup --bench, which installs python3-matplotlib") from None


class Report:
    def __init__(self, *, options, ours, bound, names, missing, time_rows, cells, scale_rows, scales, memory_rows, memory,
                 load):
        self.options, self.ours, self.bound, self.names, self.missing = options, ours, bound, names, missing
        self.time_rows, self.cells, self.scale_rows, self.scales = time_rows, cells, scale_rows, scales
        self.memory_rows, self.memory, self.load = memory_rows, memory, load
        self.when = datetime.datetime.now().isoformat(timespec="minutes")

    # ---- text ----

    def tables(self):
        """[(title, rows of text)]"""
        found = []
        if self.time_rows:
            found.append((f"Time per operation of {self.ours}; of the others in proportion to it (above 1: slower than ours)",
                          self.ratios(None)))
            counted = [row for row in self.time_rows if row.judged != "seconds_ns"]
            if counted:
                found.append(("CPU time, likewise", table.ratios_table(counted, self.cells, self.names, self.ours,
                                                                       self.bound, "cpu_ns_per_op")))
                found.append(("Peak RSS, MiB", table.memory_table(counted, self.cells, self.names, "rss_net_mib")))
                found.append(("Peak commit where sampled, MiB",
                              table.memory_table(counted, self.cells, self.names, "commit_net_mib")))
        for name, _, points, axis, figures in self.scale_rows:
            for figure in figures:
                found.append((f"{name}: {figure_title(figure)}", self.scale_table(name, points, axis, figure)))
        for name, _, _, figures in self.memory_rows:
            lines = [["MiB", *(heading for heading, _ in figures)]]
            for allocator, result in self.memory[name].items():
                lines.append([allocator, *(self.memory_cell(result, figure) for _, figure in figures)])
            found.append((name, lines))
        return found

    def ratios(self, figure):
        return table.ratios_table(self.time_rows, self.cells, self.names, self.ours, self.bound, figure)

    def scale_table(self, name, points, axis, figure):
        series = self.scales[name]
        names = [n for n in self.names if series.get(n)]
        lines = [[axis, *names]]
        for x, _ in points:
            found = {n: result for n in names for at, result in series[n] if at == x}
            if found:
                lines.append([str(x), *(self.memory_cell(found[n], figure) if n in found else "-" for n in names)])
        return lines

    @staticmethod
    def memory_cell(result, figure):
        for kind in ("failed", "skipped"):
            if kind in result:
                return kind
        return table.digits(measure.value_of(result, figure))

    def troubles(self):
        """[(row, allocator, kind, why)]"""
        found = [(row.name, name, *series.trouble) for row in self.time_rows
                 for name, series in self.cells[row.name].items() if series.trouble]
        lists = [(name, allocator, [result for _, result in series])
                 for name, by in self.scales.items() for allocator, series in by.items()]
        lists += [(name, allocator, [result]) for name, by in self.memory.items() for allocator, result in by.items()]
        for name, allocator, results in lists:
            found += [(name, allocator, kind, result[kind]) for result in results for kind in ("failed", "skipped")
                      if kind in result]
        return found

    def failures(self):
        """Ours alone: what becomes of a peer is told, but no reason to fail."""
        return [trouble for trouble in self.troubles() if trouble[1] == self.ours and trouble[2] == "failed"]

    def notes(self):
        lines = []
        for name, mean, is_bound in table.means(self.time_rows, self.cells, self.names, self.ours, self.bound):
            lines.append(f"geometric mean of the rows, ours / {name}: {mean:.2f}" + (" (the lower bound)" if is_bound else ""))
        lines += [f"{name}: SKIPPED, {why}" for name, why in self.missing]
        lines += [f"{row}, {name}: {kind}: {why}" for row, name, kind, why in self.troubles()]
        begin, end = self.load
        lines.append(f"{self.options['rounds']} rounds, {os.cpu_count()} processors, load {begin[0]:.1f} at the beginning and"
                     f" {end[0]:.1f} at the end")
        if max(begin[0], end[0]) > os.cpu_count():
            lines.append("The machine did other work at the same time: compare CPU times, and measure again for wall times.")
        return [""] + lines

    # ---- data ----

    def as_json(self):
        return {
            "when": self.when, "machine": platform.platform(), "processors": os.cpu_count(),
            "load": self.load, "options": self.options, "allocators": self.names,
            "missing": [{"name": name, "why": why} for name, why in self.missing],
            "rows": [{"name": row.name, "workload": row.workload, "unit": row.unit, "judged": row.judged,
                      "results": {name: series.rounds for name, series in self.cells[row.name].items()},
                      "troubles": {name: series.trouble for name, series in self.cells[row.name].items() if series.trouble}}
                     for row in self.time_rows],
            "scaling": {name: {allocator: [{"x": x, **result} for x, result in series]
                               for allocator, series in by.items()} for name, by in self.scales.items()},
            "memory": self.memory,
        }

    # ---- charts ----

    def charts(self):
        """[(file name, title, SVG)]"""
        import matplotlib
        matplotlib.use("svg")
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9,
                                    "axes.spines.top": False, "axes.spines.right": False})
        found = []
        rows = [row for row in self.time_rows if not self.cells[row.name][self.ours].trouble]
        if rows:
            found.append(("time.svg", "Time in proportion to ours (below 1: faster)", self.bars(rows, None)))
            if any(row.judged != "seconds_ns" for row in rows):
                counted = [row for row in rows if row.judged != "seconds_ns"]
                found.append(("rss.svg", "Peak RSS in proportion to ours", self.bars(counted, "rss_net_mib")))
        for name, _, _, axis, figures in self.scale_rows:
            found.append((f"scale-{slug(name)}.svg", name, self.lines(name, axis, figures[0])))
        for row in self.time_rows:
            if row.workload == "fragmentation":
                found.append(("fragmentation.svg", "RSS over time: a heap grows, is thinned out, is wanted for other sizes",
                              self.course(row)))
        return found

    def color(self, name):
        return COLORS[self.names.index(name) % len(COLORS)]

    def bars(self, rows, figure):
        """A group of bars per row, one per allocator, in proportion to ours; cut off at 4."""
        import matplotlib.pyplot as plt
        limit, height = 4.0, 0.8 / max(1, len(self.names))
        drawing, axes = plt.subplots(figsize=(9, 0.9 + 0.15 * len(rows) * max(3, len(self.names))))
        for k, name in enumerate(self.names):
            values = []
            for row in rows:
                series, mine = self.cells[row.name][name], self.cells[row.name][self.ours]
                values.append(1.0 if name == self.ours else
                              0 if series.trouble else table.ratio(series, mine, figure or row.judged) or 0)
            at = [i + k * height for i in range(len(rows))]
            axes.barh(at, [min(v, limit) for v in values], height * 0.95, label=name, color=self.color(name))
            for y, value in zip(at, values):
                if value > limit:
                    axes.text(limit, y, f" {value:.1f}", va="center", fontsize=7)
        axes.axvline(1, color="#222", linewidth=0.6)
        axes.set_yticks([i + 0.4 for i in range(len(rows))], [row.name for row in rows])
        axes.set_xlim(0, limit * 1.05)
        axes.invert_yaxis()
        axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return svg_of(drawing)

    def lines(self, name, axis, figure):
        import matplotlib.pyplot as plt
        drawing, axes = plt.subplots(figsize=(7, 3.2))
        for allocator, series in self.scales[name].items():
            points = [(x, measure.value_of(r, figure)) for x, r in series if "ops" in r]
            if points:
                axes.plot(*zip(*points), marker="o", markersize=3, label=allocator, color=self.color(allocator))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel(axis)
        axes.set_ylabel(figure_title(figure))
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return svg_of(drawing)

    def course(self, row):
        import matplotlib.pyplot as plt
        drawing, axes = plt.subplots(figsize=(7, 3.2))
        for name, series in self.cells[row.name].items():
            if series.results() and name != self.bound:
                samples = series.results()[-1]["samples"]
                axes.plot(range(len(samples)), [s["rss_kib"] / 1024 for s in samples], label=name, color=self.color(name))
        axes.set_xlabel("phases: grown, thinned, grown, ...")
        axes.set_ylabel("RSS, MiB")
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return svg_of(drawing)

    def write(self, folder):
        """Writes the charts and the page."""
        charts = self.charts()
        for name, _, svg in charts:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(svg)
        parts = [f"<h1>{html.escape(self.ours)} and other allocators</h1>",
                 f"<p class=note>{html.escape(self.when)}, {html.escape(platform.platform())}, under Wine</p>"]
        for _, title, svg in charts:
            parts.append(f"<h2>{html.escape(title)}</h2>{svg[svg.index('<svg'):]}")
        for title, lines in self.tables():
            parts.append(f"<h2>{html.escape(title)}</h2><div class=wide>{html_table(lines, self.ours)}</div>")
        parts += [f"<p class=note>{html.escape(note)}</p>" for note in self.notes() if note]
        text = (f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(self.ours)}: benchmarks</title>"
                f"<style>{STYLE}</style>" + "\n".join(parts) + "</html>\n")
        with open(os.path.join(folder, "bench.html"), "w", encoding="utf-8") as file:
            file.write(text)


def html_table(lines, ours):
    """The first line as the head; a column or row that is ours stands out."""
    mark = lines[0].index(ours) if ours in lines[0] else None
    rows = []
    for number, line in enumerate(lines):
        tag = "th" if number == 0 else "td"
        cells = "".join(f"<{tag}{' class=ours' if i == mark or line[0] == ours else ''}>{html.escape(cell)}</{tag}>"
                        for i, cell in enumerate(line))
        rows.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"


def svg_of(drawing):
    import matplotlib.pyplot as plt
    text = io.StringIO()
    drawing.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(drawing)
    return text.getvalue()


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def figure_title(figure):
    return {"wall_ns_per_op": "ns per operation", "cpu_ns_per_op": "CPU ns per operation",
            "pause_tenth_us": "tenth longest call, us", "rss_net_mib": "peak RSS, MiB",
            "fill_cpu_ns": "CPU ns per block while the heap was built"}.get(figure, figure)
