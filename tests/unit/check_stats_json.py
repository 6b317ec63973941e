#!/usr/bin/env python3
"""Parses the JSON that unit-stats prints and checks its names and numbers.

usage: check_stats_json.py PROGRAM
  PROGRAM  path of unit-stats; run as `PROGRAM --json`
"""
import errno
import json
import os
import shlex
import subprocess
import sys

COUNTS = """pages reserved committed page_committed pages_abandoned threads malloc_normal malloc_huge malloc_requested
segments segments_abandoned segments_cache _segments_reserved heaps theaps""".split()
COUNTERS = """reset purged mmap_calls commit_calls reset_calls purge_calls arena_count malloc_normal_count
malloc_huge_count malloc_guarded_count arena_rollback_count arena_purges pages_extended pages_retire page_searches
page_searches_count pages_reclaim_on_alloc pages_reclaim_on_free pages_reabandon_full pages_unabandon_busy_wait
heaps_delete_wait""".split()
PROCESS = """elapsed_msecs user_msecs system_msecs page_faults rss_current rss_peak commit_current commit_peak""".split()


def check(condition, message):
    if not condition:
        sys.exit(f"check_stats_json: {message}")


def is_count(value, *more):
    return (isinstance(value, dict) and set(value) == {"total", "peak", "current", *more}
            and all(isinstance(value[key], int) for key in ("total", "peak", "current")))


def run(command):
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout
    except OSError as error:
        wrapper = os.environ.get("MESON_EXE_WRAPPER")
        if error.errno != errno.ENOEXEC or wrapper is None:
            raise
        return subprocess.run([*shlex.split(wrapper), *command], check=True, stdout=subprocess.PIPE, timeout=600).stdout


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if len(sys.argv) == 2 else 2)
    text = run([sys.argv[1], "--json"])
    try:
        stats = json.loads(text)
    except json.JSONDecodeError as error:
        sys.exit(f"check_stats_json: not JSON: {error}\n{text.decode(errors='replace')}")

    expected = {"stat_version", "mimalloc_version", "process", "malloc_bins", "page_bins", "chunk_bins", *COUNTS, *COUNTERS}
    check(set(stats) == expected, f"names differ: {sorted(set(stats) ^ expected)}")
    check(stats["stat_version"] == 5 and stats["mimalloc_version"] == 30403, "versions")
    check(set(stats["process"]) == set(PROCESS), "names of process")
    check(all(isinstance(value, int) and value >= 0 for value in stats["process"].values()), "numbers of process")
    for name in COUNTS:
        check(is_count(stats[name]), f"{name} is no count: {stats[name]}")
    for name in COUNTERS:
        check(isinstance(stats[name], int), f"{name} is no number")
    for name, length in (("malloc_bins", 74), ("page_bins", 74), ("chunk_bins", 6)):
        check(len(stats[name]) == length, f"{name} has {len(stats[name])} entries, not {length}")
    for one in stats["malloc_bins"] + stats["page_bins"]:
        check(is_count(one, "block_size", "page_size"), f"bin {one}")
    check([one["bin"] for one in stats["chunk_bins"]] == ["S", "X", "M", "L", "H", " "], "chunk_bins")

    # What the program did: 101 blocks, one of them of 4 MiB, 50 freed.
    bins = stats["malloc_bins"]
    check(sum(one["total"] for one in bins) == 101, "101 blocks were allocated")
    check(sum(one["current"] for one in bins) == 51, "51 blocks are in use")
    check(stats["malloc_normal_count"] == 100 and stats["malloc_huge_count"] == 1, "100 blocks and one huge one")
    # Bins are coarser than the size classes: a block is at most an eighth smaller than its bin's size.
    in_use = sum(one["current"] * one["block_size"] for one in bins[:-1])
    check(in_use * 7 / 8 <= stats["malloc_normal"]["current"] <= in_use, "bytes in use are blocks times their size")
    for one in stats["page_bins"]:
        check(one["current"] == 0 or one["page_size"] % 65536 == 0, f"page size {one}")
    check(stats["committed"]["current"] > stats["malloc_huge"]["current"] >= 4 << 20, "committed memory")


if __name__ == "__main__":
    main()
