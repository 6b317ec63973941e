"""Runs every workload of bench/ at a tiny size, as TAP-like lines: it ends well, it did what it says, and its result can be
read. usage: test_workloads.py [--sanitized] [WRAPPER...] PROGRAM"""
import os
import runpy
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))
from tool import measure, rows

UNCHECKED = {"pair", "nothing", "churn-empty"}  # that verify no contents of their own
# Those that need what a system may not have: the reason must be this one.
MAY_SKIP = {"out-of-memory": "this system can't limit the memory of a process"}


def trouble_with(result, workload):
    """What is wrong with a result, None if nothing is."""
    if "failed" in result:
        return result["failed"]
    if "skipped" in result:
        return None if MAY_SKIP.get(workload) == result["skipped"] else f"skipped: {result['skipped']}"
    if result["workload"] != workload or result["allocator"] != "mimalloc":
        return f"names {result['workload']} and {result['allocator']}"
    if result["checks"] == 0 and workload not in UNCHECKED:
        return "verified nothing"
    if result["rss_peak_kib"] == 0 or result["commit_peak_kib"] == 0:
        return "knows no memory"
    return None


def scale_rows():
    """The runs of bench/scale: (name, workload, parameters)."""
    scale = runpy.run_path(os.path.join(sys.path[0], "scale"))
    for workload, usual, large, _ in scale["SWEEPS"] + scale["MANY"]:
        for parameters in usual + large:
            yield f"scale: {workload} {parameters}", workload, parameters.split()


def main(command):
    # A sanitizer needs memory itself, and ends the process that has none. It must be told when a thread ends.
    left_out = {"out-of-memory", "collect-killed"} if command[0] == "--sanitized" else set()
    command = command[1:] if left_out else command
    listing = subprocess.run([*command, "--list"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    usual = {line.split("\t")[0]: line.split("\t")[1] for line in listing.stdout.replace("\r", "").splitlines()}
    wrong = 0
    for workload in usual:
        if workload in left_out:
            print(f"ok {workload} # SKIP under a sanitizer")
            continue
        trouble = trouble_with(measure.run_one([*command, workload, "--tiny"], limit=120), workload)
        print(f"{'not ok' if trouble else 'ok'} {workload}" + (f": {trouble}" if trouble else ""), flush=True)
        wrong += trouble is not None
    # Rows name workloads and parameters that exist.
    named = [(row.name, row.workload, row.arguments(usual.get(row.workload, ""), 0.5)) for row in rows.TIME_ROWS]
    named += [(name, workload, words.split()) for name, workload, points, _, _ in rows.SCALES for _, words in points]
    named += [(name, workload, words.split()) for name, workload, words, _ in rows.MEMORY_ROWS]
    named += scale_rows()
    for name, workload, words in named:
        unknown = [word for word in words if word.split("=")[0] not in usual.get(workload, "").replace("=", " ").split()]
        if workload not in usual or unknown:
            print(f"not ok row '{name}': {workload} {unknown}")
            wrong += 1
    # A parameter that a workload doesn't read, or no number, is an error and not ignored.
    for words in (["pair", "mib=1"], ["pair", "ops=many"], ["nonesuch"]):
        code = subprocess.run([*command, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
        if code != 2:
            print(f"not ok {' '.join(words)}: exit code {code}, expected 2")
            wrong += 1
    if len(usual) < 20:
        print(f"not ok: only {len(usual)} workloads")
        wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
