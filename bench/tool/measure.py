"""Runs workloads and reads their results."""
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
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
    """One run of a workload: its result, or {"failed": why}. The output goes to a file: a service of Wine that inherits a
    pipe would keep it open."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begun = time.monotonic()
        try:
            process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        except OSError as error:
            raise BenchError(f"{command[0]} can't be started: {error}") from None
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text, errors = out.read(), err.read().strip().splitlines()
    if process.returncode == -signal.SIGKILL and seconds >= limit:
        return {"failed": f"not finished after {limit} s"}
    if process.returncode != 0:
        why = EXIT_CODES.get(process.returncode, f"exit code {process.returncode}")
        return {"failed": why + (f": {errors[-1]}" if errors else "")}
    try:
        result = parse_result(text)
    except ValueError as error:
        return {"failed": str(error)}
    result["seconds"] = seconds
    result["process_cpu_ns"] = round((usage.ru_utime + usage.ru_stime) * 1e9)
    return result


def value_of(result, name):
    """A figure of a result by name: derived ones first, then a field, then an entry of `figures`."""
    if name == "cpu_ns_per_op":
        return result["cpu_ns"] / result["ops"]
    if name == "wall_ns_per_op":
        return result["wall_ns"] / result["ops"]
    if name in ("rss_net_mib", "commit_net_mib"):
        kind = name.split("_")[0]
        base = result.get(f"{kind}_idle_kib", result[f"{kind}_begun_kib"])
        return max(0, result[f"{kind}_peak_kib"] - base) / 1024
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
