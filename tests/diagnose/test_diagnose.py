#!/usr/bin/env python3
"""Runs programs with planted faults under `mi-run --leaks`, `--check` and `--profile`, in fresh folders that hold nothing
but the program and our three files, and demands that the report names the planted function and line.

usage: test_diagnose.py --mi-run FILE --mi-report FILE --dll FILE --minject FILE --programs FOLDER
                        --redirect FOLDER --runtimes NAME,... [CASE]...
"""
import collections
import itertools
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from common import SECONDS, Folder, check, line_of, main, parse, run_windows

options = None


def fresh(program):
    """The person's folder: a faulty program and our three files."""
    return Folder([options.mi_run, options.mi_report, options.dll, f"{options.programs}/{program}"])


def has_frame(text, function, source, mark):
    """A line of a stack that names the function and the marked line."""
    number = line_of(source, mark)
    return re.search(rf"^ +{re.escape(function)}.* .*{re.escape(source)}:{number}  \[", text, re.M) is not None


def need_frames(text, source, *frames):
    for function, mark in frames:
        check(has_frame(text, function, source, mark), f"no frame {function} at '{mark}' of {source} in\n{text}")


def blocks(text):
    """The parts of a report between empty lines."""
    return text.replace("\r", "").split("\n\n")


# ---- leaks ------------------------------------------------------------------------------------------------


def leaks_are_found(program):
    with fresh(program) as folder:
        out, text = folder.run("mi-run.exe", "--leaks", program, "leak")
        check(out.split() == ["done"], f"the program's own output is changed: {out!r}")
        check("Leaks: 7.8 KiB in 5 blocks from 3 places" in text, f"not the leaks that were planted:\n{text}")
        first, second, third = [part for part in blocks(text) if "allocated here:" in part]
        check(first.startswith("4.9 KiB in 1 block,"), f"what was resized comes first:\n{text}")
        need_frames(first, "faulty.c", ("grow", "resized"), ("leak_some", "grown"))
        check(second.startswith("2.9 KiB in 3 blocks,"), f"then what was allocated three times:\n{text}")
        need_frames(second, "faulty.c", ("make_text", "allocated"), ("leak_some", "leaked"))
        check(third.startswith("7 bytes in 1 block,"), f"then the copy:\n{text}")
        need_frames(third, "faulty.c", ("leak_some", "copied"))
        check("Kept until the end on purpose" in text, f"what runtimes keep is not listed:\n{text}")


def leaks_are_found_in_cxx():
    with fresh("faulty-cxx.exe") as folder:
        _, text = folder.run("mi-run.exe", "--leaks", "faulty-cxx.exe", "leak")
        check("in 22 blocks" in text, f"not the leaks that were planted:\n{text}")
        need_frames(text, "faulty_cxx.cpp", ("make_shape()", "new"), ("main", "leaked"), ("fill_map()", "map"),
                    ("main", "filled"))
        # Which line of fill_map made the strings, only a symbolizer that knows inlined functions could tell.
        check(re.search(r"1010 bytes in 10 blocks, .*\n(?: .*\n)+    fill_map\(\) ", text.replace("\r", "")),
              f"no strings of fill_map in\n{text}")


def nothing_is_reported(program):
    with fresh(program) as folder:
        _, text = folder.run("mi-run.exe", "--leaks", program, "nothing")
        check("No leaks: all " in text and "allocated here" not in text, f"leaks where there are none:\n{text}")


def heaps_end_with_their_blocks():
    with fresh("heaps.exe") as folder:
        out, text = folder.run("mi-run.exe", "--leaks", "heaps.exe")
        check(out.split() == ["done"], f"the program's own output is changed: {out!r}")
        check("Leaks: 2.1 KiB in 2 blocks from 2 places" in text, f"not the blocks that are lost:\n{text}")
        need_frames(text, "heaps.c", ("lose", "outlives"), ("lose", "kept"))
        out, text = folder.run("mi-run.exe", "--check", "heaps.exe")
        check(out.split() == ["done"] and "No faults found." in text, f"--check finds what isn't there: {out!r}\n{text}")


def stacks_are_those_of_windows():
    """Of every shape, by many threads, while some are killed; the first frame is left out: two calls in one function."""
    with fresh("walks.exe") as folder:
        out, _ = folder.run("mi-run.exe", "--leaks", "--report", "report.json", "walks.exe")
        report = folder.json("report.json")
        if report["pointer_bits"] == 32:
            return "x86 has no tables that both would go by"
        names = [re.split(r"[\\/]", module["path"])[-1].lower() for module in report["modules"]]

        def within(frames):  # Windows may find frames beyond the thread's start
            return tuple(itertools.takewhile(lambda frame: re.match(r"walks|msvcrt", frame), frames))

        recorded, walked = collections.Counter(), collections.Counter()
        for stack in report["stacks"]:
            frames = within(f"{names[module] if module >= 0 else '?'}+{offset}" for module, offset in stack["frames"])
            recorded[frames[1:]] += stack["live_blocks"] + 1j * stack["live_bytes"]
        for blocks_, bytes_, *frames in map(str.split, out.lower().splitlines()):
            walked[within(frames)] += int(blocks_) + 1j * int(bytes_)
        check(len(walked) > 500, f"only {len(walked)} different stacks")
        wrong = [frames for frames in walked if walked[frames] != recorded[frames]]
        check(not wrong, f"{len(wrong)} of {len(walked)} stacks are recorded otherwise, as {wrong[:3]}")
        return None


def by_environment(way):
    """The DLL is beside the program, which imports it (minject) or loads it late; nothing else tells of the mode."""
    with Folder([options.dll, options.minject, f"{options.programs}/faulty-msvcrt.exe"]) as folder:
        arguments = ["late"] if way == "late" else []
        if way == "minject":
            folder.run("minject.exe", "faulty-msvcrt.exe")
        _, text = folder.run("faulty-msvcrt.exe", *arguments, "leak", MIMALLOC_LEAKS="1", MIMALLOC_REPORT="report.json")
        check("mimalloc: leaks: 8007 bytes in 5 blocks from 3 places" in text, f"the DLL's own text:\n{text}")
        check(re.search(r"^mimalloc: leaks:     faulty-msvcrt\.exe\+0x[0-9a-f]+\r?$", text, re.M), f"no place:\n{text}")
        report = folder.json("report.json")
        lost = [stack for stack in report["stacks"] if "kept" not in stack]
        check([stack["live_bytes"] for stack in lost] == [5000, 3000, 7], f"stacks: {lost}")
        check(report["totals"]["not_recorded"] == 0 and report["reason"] == "exit", f"totals: {report['totals']}")
        _, text = folder.run("faulty-msvcrt.exe", *arguments, "leak", MIMALLOC_LEAKS="1", MIMALLOC_REPORT_TEXT="0")
        check(text == "", f"text that was not wanted: {text!r}")
        _, text = folder.run("faulty-msvcrt.exe", *arguments, "leak", MIMALLOC_LEAKS="0")
        check(text == "", f"MIMALLOC_LEAKS=0 is off: {text!r}")


def ends(how):
    with fresh("crash.exe") as folder:
        code = {"crash": "0xc000001d", "overflow": "0xc00000fd", "breakpoint": "0x80000003"}.get(how)
        expect = 7 if how == "terminate" else None if code else 0
        _, text = folder.run("mi-run.exe", "--leaks", "crash.exe", how, expect=expect)
        if how == "terminate":
            check("the program left no report" in text and "exit code is 0x7" in text, f"mi-run doesn't tell why there is nothing:\n{text}")
            return
        check("The process met exception" in text and code in text if code else "exception" not in text, f"how it ended:\n{text}")
        need_frames(text, "crash.c", ("lose", "lost"))


# ---- several processes ------------------------------------------------------------------------------------


def family():
    folder = fresh("family.exe")
    for follow in pathlib.Path(options.mi_run).parent.glob("mi-follow*.dll"):
        shutil.copy(follow, folder.path)
    return folder


def children_are_followed(how):
    """Each process has its report, also those that get an environment of their own, to which nothing else is added."""
    with family() as folder:
        out, text = folder.run("mi-run.exe", "--follow", "--leaks", "--report", "r.json", "family.exe", "2", how)
        own = "-" if how == "inherited" else "2"
        check(out.split("\n")[1:3] == [f"1 zeta {own}", f"0 zeta {own}"], f"the children's own environment: {out!r}")
        titles = re.findall(r"^family\.exe, process (\d+):", text, re.M)
        check(len(titles) == 3 and text.count("process") == 3, f"not three processes:\n{text}")
        parts = text.split("family.exe, process ")[1:]
        lost = [re.search(r"^Leaks: (\d+) bytes in 1 block ", part, re.M) for part in parts]
        check(sorted(found[1] for found in lost if found) == ["1000", "1001", "1002"], f"the leaks of the three:\n{text}")
        check(lost[0][1] == "1002", f"the first one is that of the program itself:\n{text}")
        for part in parts:
            need_frames(part, "family.c", ("lose", "lost"))
        names = sorted(path.name for path in folder.path.glob("*.json"))
        check(names == sorted(f"r.{title}.json" for title in titles), f"reports: {names}")
        # Once more: what is left of the last time is not shown.
        _, text = folder.run("mi-run.exe", "--follow", "--check", "--report", "r.json", "family.exe", "1", how)
        check(text.count("No faults found.") == 2 and text.count("process") == 2, f"not two processes:\n{text}")


def child_that_stays():
    """What is still running at the program's end is named, with the file in which its report will be."""
    def is_written():
        try:
            return folder.json(found[2])
        except (FileNotFoundError, ValueError):  # not yet, or not all of it
            return None

    def look():
        nonlocal found, report
        text = (folder.path / "err").read_text(encoding="utf-8")
        found = re.search(r"process (\d+), which was followed, still runs: at its end, its report will be in '.*\\(r\.\1\.json)'", text)
        check("Leaks: 1001 bytes" in text and found, text)
        (folder.path / "go").touch()
        for _ in range(SECONDS * 10):
            report = is_written()
            if report is not None:
                return
            time.sleep(0.1)
        check(False, "no report of it")

    found = report = None
    with family() as folder, open(folder.path / "err", "w", encoding="utf-8") as err:  # a pipe would be held open by that child
        done = run_windows([str(folder.path / "mi-run.exe"), "--follow", "--leaks", "--report", "r.json", "family.exe", "1", "leave"],
                           folder.path, os.environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, then=look)
        check(done.returncode == 0, f"exit code {done.returncode}")
        check(report["reason"] == "exit" and any(stack["live_bytes"] == 1000 for stack in report["stacks"]), f"its report: {report}")


# ---- check ------------------------------------------------------------------------------------------------

# fault: (what the title says, stacks in the order of the report, does the program end by it?, options)
PLANTED = {
    "over": ("Invalid write, 1 byte behind the end of a block of 32 bytes",
             [[("write_at", "written"), ("run", "over")], [("make_text", "allocated"), ("run", "over")]], True, "--check"),
    "over-odd": ("Invalid write, 1 byte behind the end of a block of 21 bytes",
                 [[("write_at", "written"), ("run", "over-odd")], [("make_text", "allocated")]], True, "--check=exact"),
    "read-over": ("Invalid read, 5 bytes behind the end of a block of 4.0 KiB",
                  [[("read_at", "read"), ("run", "read-over")], [("make_text", "allocated")]], True, "--check"),
    "over-late": ("Something wrote 1 byte behind the end of a block of 21 bytes",
                  [[("give_back", "freed"), ("run", "over-late")], [("make_text", "allocated")]], False, "--check"),
    "under": ("Something wrote 1 byte in front of a block of 40 bytes",
              [[("give_back", "freed"), ("run", "under")], [("make_text", "allocated")]], False, "--check"),
    "read-freed": ("Invalid read, at offset 7 of a block of 100 bytes, which has been freed",
                   [[("read_at", "read"), ("run", "read-freed")], [("make_text", "allocated")],
                    [("give_back", "freed"), ("run", "freed-first")]], True, "--check"),
    "write-freed": ("Invalid write, at offset 99 of a block of 100 bytes, which has been freed",
                    [[("write_at", "written"), ("run", "write-freed")], [("make_text", "allocated")],
                     [("give_back", "freed")]], True, "--check"),
    "twice": ("Double free of a block of 100 bytes",
              [[("give_back", "freed"), ("run", "twice")], [("make_text", "allocated")], [("give_back", "freed")]],
              False, "--check"),
    "inside": ("Invalid free: not of a block's start, but at offset 8 of a block of 100 bytes",
               [[("give_back", "freed"), ("run", "inside")], [("make_text", "allocated")]], False, "--check"),
    "wild": ("Invalid free of 0x", [[("give_back", "freed"), ("run", "wild")]], False, "--check"),
    "resize-freed": ("Double free of a block of 100 bytes",
                     [[("grow", "resized"), ("run", "resize-freed")], [("make_text", "allocated")], [("give_back", "freed")]],
                     False, "--check"),
}


def fault_is_found(program, fault):
    title, stacks, is_fatal, mode = PLANTED[fault]
    with fresh(program) as folder:
        out, text = folder.run("mi-run.exe", mode, program, fault, expect=None if is_fatal else 0)
        check((out.split() == ["done"]) != is_fatal, f"the program's output: {out!r}")
        check("1 fault found." in text and title in text, f"no '{title}' in\n{text}")
        parts = re.split(r"^  \S.*:\r?$", text[text.index(title):], flags=re.M)[1:]
        check(len(parts) == len(stacks), f"{len(parts)} stacks instead of {len(stacks)} in\n{text}")
        for part, frames in zip(parts, stacks):
            need_frames(part, "faulty.c", *frames)


def cxx_fault_is_found(fault, title, *frames):
    with fresh("faulty-cxx.exe") as folder:
        _, text = folder.run("mi-run.exe", "--check", "faulty-cxx.exe", fault, expect=None if fault == "over" else 0)
        check("1 fault found." in text and title in text, f"no '{title}' in\n{text}")
        need_frames(text, "faulty_cxx.cpp", *frames)


def no_fault_is_found(program):
    with fresh(program) as folder:
        for mode in ("--check", "--check=exact"):
            _, text = folder.run("mi-run.exe", mode, program, "nothing")
            check("No faults found." in text, f"a fault where there is none:\n{text}")


def only_some_are_guarded():
    """MIMALLOC_CHECK_MIN, _MAX and _EVERY leave blocks out."""
    with fresh("faulty-msvcrt.exe") as folder:
        for setting in ({"MIMALLOC_CHECK_MIN": "101"}, {"MIMALLOC_CHECK_MAX": "99"}, {"MIMALLOC_CHECK_EVERY": "1000000"}):
            _, text = folder.run("mi-run.exe", "--check", "faulty-msvcrt.exe", "inside", **setting)
            check("at offset 8 of" not in text, f"{setting} has no effect:\n{text}")
        _, text = folder.run("mi-run.exe", "--check", "faulty-msvcrt.exe", "inside", MIMALLOC_CHECK_MIN="100",
                             MIMALLOC_CHECK_MAX="100")
        check("at offset 8 of" in text and "unguarded" not in text, f"blocks of 100 bytes are left out:\n{text}")
        _, text = folder.run("mi-run.exe", "--check", "faulty-msvcrt.exe", "nothing", MIMALLOC_CHECK_BLOCKS="10")
        check("No faults found." in text and " blocks went unguarded" in text, f"not said what went unguarded:\n{text}")


# ---- profile ----------------------------------------------------------------------------------------------


def profile_estimates():
    """About 40 MB by small blocks, 80 MB by large ones, half of which live: five standard deviations."""
    with fresh("sampled.exe") as folder:
        rate = 65536
        out, text = folder.run("mi-run.exe", "--profile", "--report", "profile.json", "sampled.exe",
                               MIMALLOC_PROFILE_RATE=str(rate))
        check(out.split() == ["dumped"], f"mi_profile_dump: {out!r}")
        for name, reason in (("profile.json", "exit"), ("profile.1.json", "dump")):
            report = folder.json(name)
            check(report["reason"] == reason and report["sample_bytes"] == rate, f"{name}: {report['reason']}")
            for function, size, total, live in (("take_small", 100, 40e6, 0), ("take_large", 20000, 80e6, 40e6)):
                def estimate(stack, bytes_name):
                    return stack[bytes_name] / -math.expm1(-size / rate)

                stacks = [stack for stack in report["stacks"] if stack["allocations"] and
                          round(stack["bytes"] / stack["allocations"]) == size]
                check(len(stacks) == 1, f"{len(stacks)} stacks of {function} in {name}")
                tolerance = 5 * (total * (rate + size)) ** 0.5
                check(abs(estimate(stacks[0], "bytes") - total) < tolerance, f"{function}: {estimate(stacks[0], 'bytes')} bytes")
                check(abs(estimate(stacks[0], "live_bytes") - live) < tolerance, f"{function}: live: {stacks[0]}")
        check(text.index("take_large") < text.index("take_small") if "take_small" in text else "take_large" in text,
              f"what lives comes first:\n{text}")


def statistics_over_time():
    with fresh("faulty-msvcrt.exe") as folder:
        folder.run("mi-run.exe", "faulty-msvcrt.exe", "leak", MIMALLOC_STATS_INTERVAL="1", MIMALLOC_STATS_FILE="lines.jsonl")
        lines = (folder.path / "lines.jsonl").read_text(encoding="utf-8").splitlines()
        for line in lines:
            stats = json.loads(line)
            check(stats["time_ms"] >= 0 and stats["stats"]["committed"]["current"] > 0, f"a line without figures: {line[:200]}")
        if lines:  # the program may be through before the thread starts
            folder.run("mi-report.exe", "--chart", "chart.svg", "lines.jsonl")
            svg = (folder.path / "chart.svg").read_text(encoding="utf-8")
            check(svg.startswith("<svg ") and svg.count("<path fill=\"none\"") == 3, f"no chart: {svg[:200]}")


def runtimes_behave(program, *arguments):
    """The programs of tests/redirect, which check what runtimes promise: new handlers, errno, alignment, threads."""
    for mode in ("MIMALLOC_LEAKS", "MIMALLOC_PROFILE"):
        done = run_windows([f"{options.redirect}/{program}.exe", *arguments], options.redirect,
                           {**os.environ, mode: "1", "MIMALLOC_REPORT_TEXT": "0"},
                           stdin=subprocess.DEVNULL, text=True, errors="replace")
        check(done.returncode == 0 and "ok " in done.stdout and "not ok" not in done.stdout,
              f"{mode}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def modes_exclude_each_other():
    with fresh("faulty-msvcrt.exe") as folder:
        _, text = folder.run("mi-run.exe", "--leaks", "--check", "faulty-msvcrt.exe", expect=125)
        check("mi-run: error: one of --leaks, --check and --profile is enough" in text, text)
        _, text = folder.run("mi-run.exe", "--leaks", "--report", "no\\such\\folder\\r.json", "faulty-msvcrt.exe", expect=125)
        check("can't be written" in text and "mi-run: remedy: name another file" in text, text)
        _, text = folder.run("mi-run.exe", "--leaks", "--report", "NUL", "faulty-msvcrt.exe", expect=125)
        check("'NUL' is a device" in text and "mi-run: remedy: name a file with --report" in text, text)


def cases():
    yield "leaks-nothing-msvcrt", nothing_is_reported, "faulty-msvcrt.exe"
    yield "leaks-nothing-ucrt", nothing_is_reported, "faulty-ucrt.exe"
    yield "leaks-nothing-cxx", nothing_is_reported, "faulty-cxx.exe"
    yield "leaks-msvcrt", leaks_are_found, "faulty-msvcrt.exe"
    yield "leaks-ucrt", leaks_are_found, "faulty-ucrt.exe"
    yield "leaks-cxx", leaks_are_found_in_cxx
    yield "heaps", heaps_end_with_their_blocks
    yield "stacks", stacks_are_those_of_windows
    for way in ("minject", "late"):
        yield f"leaks-{way}", by_environment, way
    for how in ("crash", "overflow", "breakpoint", "terminate", "caught"):
        yield f"leaks-{how}", ends, how
    for how in ("inherited", "wide", "narrow"):
        yield f"follow-{how}", children_are_followed, how
    yield "follow-leave", child_that_stays
    for fault in PLANTED:
        yield f"check-{fault}", fault_is_found, "faulty-msvcrt.exe", fault
    for fault in ("over", "read-freed", "twice"):
        yield f"check-{fault}-ucrt", fault_is_found, "faulty-ucrt.exe", fault
    yield ("check-over-cxx", cxx_fault_is_found, "over", "Invalid write, 1 byte behind the end of a block of 64 bytes",
           ("write_at", "written"), ("main", "over"))
    yield "check-twice-cxx", cxx_fault_is_found, "twice", "Double free of a block of 40 bytes", ("main", "twice"), ("main", "raw")
    for program in ("faulty-msvcrt.exe", "faulty-ucrt.exe", "faulty-cxx.exe"):
        yield f"check-nothing-{program[7:-4]}", no_fault_is_found, program
    yield "check-some", only_some_are_guarded
    yield "profile", profile_estimates
    yield "statistics", statistics_over_time
    for runtime in options.runtimes.split(","):  # those that tests/redirect has programs for
        yield f"runtimes-early-{runtime}", runtimes_behave, f"redirect-early-{runtime}", "early"
        yield f"runtimes-late-{runtime}", runtimes_behave, f"redirect-program-{runtime}", "late", "mimalloc.dll"
        yield f"runtimes-fakes-{runtime}", runtimes_behave, f"redirect-program-{runtime}", "fakes", "mimalloc.dll"
    yield "runtimes-cxx", runtimes_behave, "redirect-cxx", "mimalloc.dll"
    yield "usage", modes_exclude_each_other


if __name__ == "__main__":
    options = parse(__doc__, ("minject", "programs", "redirect", "runtimes"))
    sys.exit(main(list(cases()), options.only))
