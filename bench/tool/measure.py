"""Runs workloads and reads their results."""
import json
import statistics
import subprocess
import time

from tool.errors import BenchError

EXIT_CODES = {3: "the contents of a block changed", 4: "the allocator had no memory"}
FIELDS = ["workload", "allocator", "params", "ops", "wall_ns", "cpu_ns", "checks", "rss_begun_kib", "rss_peak_kib",
          "rss_end_kib", "commit_begun_kib", "commit_peak_kib", "commit_end_kib", "figures", "samples"]


def parse_result(text):
    """The result in a workload's output: its last line, a JSON object."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("it printed nothing")
    try:
        result = json.loads(lines[-1])
    except json.JSONDecodeError:
        raise ValueError(f"its last line is no JSON: {lines[-1][:100]}") from None
    if not isinstance(result, dict):
        raise ValueError("its last line is no JSON object")
    if "skipped" in result:
        return result
    absent = [field for field in FIELDS if field not in result]
    if absent:
        raise ValueError(f"its result has no {', '.join(absent)}")
    if result["ops"] <= 0 or result["checks"] < 0:
        raise ValueError("its result counts no operations")
    return result


def run_one(command, env=None, limit=600):
    """One run of a workload: its result, or {"failed": why}."""
    begun = time.monotonic()
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished after {limit} s"}
    except OSError as error:
        raise BenchError(f"{command[0]} can't be started: {error}") from None
    if done.returncode != 0:
        why = EXIT_CODES.get(done.returncode, f"exit code {done.returncode}")
        detail = done.stderr.strip().splitlines()
        return {"failed": why + (f": {detail[-1]}" if detail else "")}
    try:
        result = parse_result(done.stdout)
    except ValueError as error:
        return {"failed": str(error)}
    result["seconds"] = time.monotonic() - begun
    return result


def value_of(result, name):
    """A figure of a result by name: derived ones first, then a field, then an entry of `figures`."""
    if name == "cpu_ns_per_op":
        return result["cpu_ns"] / result["ops"]
    if name == "wall_ns_per_op":
        return result["wall_ns"] / result["ops"]
    if name.endswith("_mib") and name[:-4] + "_kib" in result:
        return result[name[:-4] + "_kib"] / 1024
    if name in result:
        return result[name]
    return result["figures"].get(name)


def median_and_spread(values):
    """Median, and half the distance between the quartiles in percent of it (None with fewer than 3 values)."""
    middle = statistics.median(values)
    if len(values) < 3 or middle == 0:
        return middle, None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, 100 * (high - low) / 2 / abs(middle)


def geometric_mean(values):
    values = list(values)
    return statistics.geometric_mean(values) if values else None
