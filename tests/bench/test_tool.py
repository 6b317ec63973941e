"""The way of the figures in bench/tool: output of a workload -> result -> medians, spread, ratios -> table; --peer."""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
from tool import measure, peers, rows, table
from tool.errors import BenchError

RESULT = {"workload": "tiny", "allocator": "x", "params": {"ops": 100}, "ops": 100, "wall_ns": 2000, "cpu_ns": 1000,
          "checks": 5, "rss_begun_kib": 1024, "rss_peak_kib": 3072, "rss_end_kib": 2048, "commit_begun_kib": 1024,
          "commit_peak_kib": 2048, "commit_end_kib": 1024, "figures": {"live_mib": 1.5}, "samples": []}


def result(wall_ns, **more):
    return {**RESULT, "wall_ns": wall_ns, **more}


def series(*walls):
    made = table.Series()
    for wall in walls:
        made.add(None if wall is None else result(wall))
    return made


class Parsing(unittest.TestCase):
    def test_last_line_counts(self):
        self.assertEqual(measure.parse_result("noise\n" + json.dumps(RESULT) + "\r\n\n"), RESULT)

    def test_what_is_no_result(self):
        for text in ("", "hello", "[1]", json.dumps({**RESULT, "ops": 0}),
                     json.dumps({k: v for k, v in RESULT.items() if k != "checks"})):
            with self.assertRaises(ValueError, msg=text):
                measure.parse_result(text)

    def test_a_skip_is_kept(self):
        self.assertEqual(measure.parse_result('{"workload":"x","skipped":"why"}')["skipped"], "why")

    def test_exit_codes_tell(self):
        failed = measure.run_one([sys.executable, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"])
        self.assertEqual(failed["failed"], "the contents of a block changed: broken")
        good = measure.run_one([sys.executable, "-c", f"print('''{json.dumps(RESULT)}''')"])
        self.assertEqual(good["ops"], 100)
        self.assertGreater(good["process_cpu_ns"], 0)

    def test_figures(self):
        self.assertEqual(measure.value_of(RESULT, "cpu_ns_per_op"), 10)
        self.assertEqual(measure.value_of(RESULT, "wall_ns_per_op"), 20)
        self.assertEqual(measure.value_of(RESULT, "rss_net_mib"), 2)
        self.assertEqual(measure.value_of({**RESULT, "rss_idle_kib": 512}, "rss_net_mib"), 2.5)
        self.assertEqual(measure.value_of(RESULT, "rss_peak_mib"), 3)
        self.assertEqual(measure.value_of(RESULT, "live_mib"), 1.5)
        self.assertIsNone(measure.value_of(RESULT, "unknown"))


class Statistics(unittest.TestCase):
    def test_median_and_spread(self):
        self.assertEqual(measure.median_and_spread([5]), (5, None))
        self.assertEqual(measure.median_and_spread([4, 2]), (3, None))
        # Quartiles of 1..5 are 2 and 4: half their distance is 1, a third of the median.
        middle, spread = measure.median_and_spread([5, 1, 3, 2, 4])
        self.assertEqual(middle, 3)
        self.assertAlmostEqual(spread, 100 / 3)
        self.assertEqual(measure.median_and_spread([7, 7, 7, 7]), (7, 0))

    def test_one_wild_round_moves_little(self):
        self.assertEqual(measure.median_and_spread([10, 10, 1000, 10, 10]), (10, 0))

    def test_geometric_mean(self):
        self.assertAlmostEqual(measure.geometric_mean([0.5, 2]), 1)
        self.assertIsNone(measure.geometric_mean([]))

    def test_ratio_is_taken_round_by_round(self):
        # A machine that got slower by the round: medians of each side and their ratio would tell the same of both.
        a, b = series(10, 200, 3000), series(20, 400, 6000)
        self.assertEqual(table.ratio(a, b, "wall_ns_per_op"), 0.5)
        # Rounds that one of the two lacks don't count.
        self.assertEqual(table.ratio(series(10, None, 99), series(20, 1, None), "wall_ns_per_op"), 0.5)
        self.assertIsNone(table.ratio(series(None), series(1), "wall_ns_per_op"))

    def test_fastest_knows_no_failed_one(self):
        bad = series(1)
        bad.add({"failed": "crash"})
        cells = {"a": series(10), "b": series(8), "bad": bad}
        self.assertEqual(table.fastest(cells, ["a", "b", "bad"], "wall_ns_per_op"), "b")
        self.assertEqual(bad.trouble, ("failed", "crash"))


class Tables(unittest.TestCase):
    def setUp(self):
        self.row = rows.Row("tiny objects", "tiny", "", "pair")
        self.cells = {"tiny objects": {"ours": series(100, 100, 100), "slow": series(200, 200, 200),
                                       "fast": series(50, 50, 50), "bound": series(10, 10, 10)}}
        self.names = ["ours", "slow", "fast", "bound"]

    def test_ratios(self):
        lines = table.ratios_table([self.row], self.cells, self.names, "ours", "bound", None)
        self.assertEqual(lines[1], ["tiny objects", "1.00 ns", "0", "2.00", "0.50", "0.10", "2.00 (fast)"])

    def test_a_failure_shows(self):
        self.cells["tiny objects"]["fast"].add({"failed": "crash"})
        lines = table.ratios_table([self.row], self.cells, self.names, "ours", "bound", None)
        self.assertEqual(lines[1][4], "failed")
        self.assertEqual(lines[1][6], "0.50 (slow)")

    def test_means(self):
        self.assertEqual([(n, round(m, 3), b) for n, m, b in
                          table.means([self.row], self.cells, self.names, "ours", "bound")],
                         [("slow", 0.5, False), ("fast", 2, False), ("bound", 10, True)])

    def test_units(self):
        self.assertEqual([table.duration(ns) for ns in (3.14159, 31.4159, 999.7, 31415, 3.14159e6, 2e9, None)],
                         ["3.14 ns", "31.4 ns", "1.00 us", "31.4 us", "3.14 ms", "2.00 s", "-"])

    def test_columns_line_up(self):
        self.assertEqual(table.as_text([["", "a"], ["row", "100"]]), ["       a", "row  100"])

    def test_a_share_of_the_operations(self):
        row = rows.Row("r", "w", "threads=2", "pair")
        self.assertEqual(row.arguments("ops=1000 threads=1", 0.25), ["threads=2", "ops=250"])
        self.assertEqual(row.arguments("ops=1000 threads=1", 1), ["threads=2"])
        self.assertEqual(rows.Row("r", "w", "", "x").arguments("mib=50 rounds=10", 0.5), ["rounds=5"])


class Page(unittest.TestCase):
    def test_a_report_with_a_failure(self):
        from tool import page
        row = rows.Row("tiny <objects>", "tiny", "", "pair")
        bad = series(5)
        bad.add({"failed": "crash"})
        cells = {row.name: {"ours": series(100, 110), "peer": series(200, 210), "bad": bad}}
        report = page.Report(options={"rounds": 2}, ours="ours", bound="bound", names=["ours", "peer", "bad"],
                             missing=[("gone", "no source")], time_rows=[row], cells=cells, scale_rows=[], scales={},
                             memory_rows=[], memory={}, load=((0, 0, 0), (0, 0, 0)))
        with tempfile.TemporaryDirectory() as folder:
            report.write(folder)
            with open(os.path.join(folder, "bench.html"), encoding="utf-8") as file:
                text = file.read()
        self.assertIn("<svg", text)
        self.assertIn("tiny &lt;objects&gt;", text)
        self.assertIn("gone: SKIPPED, no source", text)
        self.assertNotIn("<script src", text)
        self.assertEqual([trouble[1] for trouble in report.troubles()], ["bad"])
        self.assertEqual(report.failures(), [])
        cells[row.name]["ours"].add({"failed": "crash"})
        self.assertEqual(len(report.failures()), 1)
        json.dumps(report.as_json())


class PeerOption(unittest.TestCase):
    def library(self, *functions):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        source, made, archive = (os.path.join(folder.name, name) for name in ("a.c", "a.o", "a.a"))
        with open(source, "w", encoding="utf-8") as file:
            file.write("".join(f"void {name}(void) {{}}\n" for name in functions))
        subprocess.run(["cc", "-fno-builtin", "-w", "-c", source, "-o", made], check=True)
        subprocess.run(["ar", "rcs", archive, made], check=True)
        return archive

    def test_known_names_are_found(self):
        peer = peers.parse("rp=" + self.library("rpmalloc", "rpfree", "rpcalloc", "rprealloc", "rpaligned_alloc"))
        self.assertEqual(peer.functions["aligned"], "rpaligned_alloc")
        self.assertEqual(peer.macros(), ['BENCH_NAME="rp"', "BENCH_ALIGN_FIRST"])

    def test_names_on_the_command_line(self):
        peer = peers.parse("x=" + self.library("a", "b", "c", "d") + ":malloc=a,free=b,calloc=c,realloc=d")
        self.assertEqual(peer.functions, {"malloc": "a", "free": "b", "calloc": "c", "realloc": "d"})
        self.assertEqual(peer.macros(), ['BENCH_NAME="x"'])

    def test_the_example_of_the_help_needs_only_malloc_and_free(self):
        archive = self.library("rpmalloc", "rpfree", "rpcalloc", "rprealloc")
        self.assertEqual(peers.parse(f"rp={archive}:malloc=rpmalloc,free=rpfree").functions["realloc"], "rprealloc")

    def test_errors_name_cause_and_remedy(self):
        archive = self.library("a", "b")
        for text, part in ((archive, "not of the form"), ("x=/nonesuch.dll", "no file"), (f"x={archive}", "no function known"),
                           (f"x={archive}:malloc=a,free=b,calloc=q,realloc=a", "no function q"),
                           (f"x={archive}:nonsense=a", "'nonsense=a'"), (f"x={archive}:order=up", "order=up")):
            with self.assertRaises(BenchError, msg=text) as caught:
                peers.parse(text)
            self.assertIn(part, str(caught.exception))
            self.assertIn("remedy:", str(caught.exception))


class Programs(unittest.TestCase):
    def test_help(self):
        bench = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench")
        for name in ("run", "scale", "instructions"):
            done = subprocess.run([sys.executable, os.path.join(bench, name), "--help"], capture_output=True, text=True,
                                  check=False)
            self.assertEqual(done.returncode, 0, name)
            self.assertIn("--peer", done.stdout)


if __name__ == "__main__":
    if "Page" in sys.argv and importlib.util.find_spec("matplotlib") is None:
        print("SKIP: Matplotlib is missing; wine-ci/setup --bench installs it")
        sys.exit(77)  # Meson counts that as skipped
    unittest.main()
