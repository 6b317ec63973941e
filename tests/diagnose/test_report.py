#!/usr/bin/env python3
"""What mi-report makes of reports: lines as a symbolizer has them, differences, the forms for other viewers, and the page,
which Chromium opens if it is there.

usage: test_report.py --mi-run FILE --mi-report FILE --dll FILE --programs FOLDER --addr2line PROGRAM
                      --objdump PROGRAM [CASE]...
"""
import gzip
import json
import re
import shutil
import subprocess
import sys

from common import SECONDS, Failure, Folder, check, main, parse

options = None
FRAME = re.compile(r"^    (\S.*?) +(\S+):(\d+)  \[([^\]+]+)\+0x([0-9a-f]+)\]\r?$", re.M)


def recorded(program, *arguments):
    """A folder with report.json of a run with --leaks."""
    folder = Folder([options.mi_run, options.mi_report, options.dll, f"{options.programs}/{program}"])
    folder.run("mi-run.exe", "--leaks", "--report", "report.json", program, *arguments)
    return folder


def lines_are_those_of_addr2line(program):
    """Of every place in the program, also those of its runtime."""
    with recorded(program, "leak") as folder:
        report = folder.json("report.json")
        for stack in report["stacks"]:
            stack.pop("kept", None)  # shown as well
        # All calls in the program's code are places that could be on a stack.
        module = next(i for i, module in enumerate(report["modules"]) if module["path"].endswith(program))
        listing = subprocess.run([options.objdump, "-d", "--no-show-raw-insn", str(folder.path / program)], check=True,
                                 capture_output=True, text=True).stdout
        base = int(re.search(r"ImageBase\s+([0-9a-f]+)", subprocess.run(
            [options.objdump, "-p", str(folder.path / program)], check=True, capture_output=True, text=True).stdout)[1], 16)
        calls = [int(address, 16) - base for address in re.findall(r"^ *([0-9a-f]+):\s+call ", listing, re.M)]
        check(len(calls) > 100, f"only {len(calls)} calls in {program}")
        report["stacks"] = [{"live_blocks": 1, "live_bytes": 1, "allocations": 1, "bytes": 1, "first": 0,
                             "frames": [[module, call]]} for call in calls]
        (folder.path / "calls.json").write_text(json.dumps(report), encoding="utf-8")
        out, _ = folder.run("mi-report.exe", "--top", "0", "--all-frames", "calls.json")
        found = {int(offset, 16): (file, int(line)) for _, file, line, _, offset in FRAME.findall(out)}
        theirs = subprocess.run([options.addr2line, "-e", str(folder.path / program)], check=True, capture_output=True,
                                text=True, input="".join(f"0x{base + call:x}\n" for call in calls)).stdout.splitlines()
        differing, known, unknown = [], 0, 0
        for call, place in zip(calls, theirs):
            file, _, line = place.split(" ")[0].rpartition(":")
            if file == "??" or line in ("?", "0"):
                continue
            known += 1
            ours = found.get(call)
            if ours is None:
                unknown += 1  # addr2line answers with the nearest line for functions that have none
            elif ours[1] != int(line) or ours[0].split("/")[-1] != file.split("/")[-1]:
                differing.append(f"0x{call:x}: {place}, but {ours}")
        check(known > 50, f"addr2line knows only {known} places")
        check(unknown * 50 <= known, f"{unknown} of {known} places have no line")
        check(len(differing) == 0, f"{len(differing)} of {known} lines differ:\n" + "\n".join(differing[:20]))


def difference():
    with recorded("faulty-msvcrt.exe", "leak") as folder:
        (folder.path / "report.json").rename(folder.path / "once.json")
        folder.run("mi-run.exe", "--leaks", "--report", "twice.json", "faulty-msvcrt.exe", "leak", "leak")
        out, _ = folder.run("mi-report.exe", "once.json", "twice.json")
        check("From once.json to twice.json: +7.8 KiB in +5 blocks" in out, out)
        check("\n+2.9 KiB, +3 blocks\n    make_text " in out.replace("\r", ""), out)
        out, _ = folder.run("mi-report.exe", "once.json", "once.json")
        check("Nothing has changed." in out, out)
        out, _ = folder.run("mi-report.exe", "twice.json", "once.json")
        check("-7.8 KiB in -5 blocks" in out, out)


def collapsed():
    with recorded("faulty-msvcrt.exe", "leak") as folder:
        out, _ = folder.run("mi-report.exe", "--collapsed", "-", "report.json")
        lines = out.splitlines()
        check("main;run;leak_some;make_text 3000" in lines and "main;run;leak_some;grow 5000" in lines, out)
        out, _ = folder.run("mi-report.exe", "--collapsed", "-", "--metric", "live_blocks", "report.json")
        check("main;run;leak_some;make_text 3" in out.splitlines(), out)


def fields(data):
    """(field, value) of a protobuf message: numbers, or bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        elif key & 7 == 2:
            size = varint()
            yield key >> 3, data[at : at + size]
            at += size
        else:
            raise Failure(f"wire type {key & 7}")


def packed(data):
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def pprof():
    with recorded("faulty-msvcrt.exe", "leak") as folder:
        folder.run("mi-report.exe", "--pprof", "profile.pb.gz", "report.json")
        profile = list(fields(gzip.decompress((folder.path / "profile.pb.gz").read_bytes())))
        texts = [value.decode() for field, value in profile if field == 6]
        check(texts[0] == "", "the first text must be empty")
        types = [texts[dict(fields(value))[1]] for field, value in profile if field == 1]
        check(types == ["alloc_objects", "alloc_space", "inuse_objects", "inuse_space"], types)
        functions = {dict(fields(value))[1]: texts[dict(fields(value))[2]] for field, value in profile if field == 5}
        locations = {}
        for field, value in profile:
            if field == 4:
                parts = list(fields(value))
                lines = [dict(fields(part)) for number, part in parts if number == 4]
                locations[dict(parts)[1]] = [functions[line[1]] for line in lines]
        samples, live = {}, 0
        for field, value in profile:
            if field == 2:
                parts = dict(fields(value))
                names = [name for location in packed(parts[1]) for name in locations[location]]
                samples[" ".join(names[:3])] = list(packed(parts[2]))
                live += samples[" ".join(names[:3])][3]
        check(samples.get("make_text leak_some run") == [3, 3000, 3, 3000], samples)
        check(live == folder.json("report.json")["totals"]["live_bytes"], samples)


def page():
    with recorded("faulty-msvcrt.exe", "leak") as folder:
        (folder.path / "report.json").rename(folder.path / "a.json")
        folder.run("mi-run.exe", "--leaks", "--report", "b.json", "faulty-msvcrt.exe", "leak", "leak")
        folder.run("mi-report.exe", "--html", "page.html", "a.json", "b.json")
        text = (folder.path / "page.html").read_text(encoding="utf-8")
        check(re.search(r"(src|href)=", text) is None and "http" not in text, "the page is not self-contained")
        browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if browser is None:
            return "no Chromium here to open the page with: apt-get install chromium"
        shown = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
                                f"--user-data-dir={folder.path}/browser", "--dump-dom", f"file://{folder.path}/page.html"],
                               capture_output=True, text=True, timeout=SECONDS).stdout
        ready = re.search(r'data-ready="(\d+) in (\d+) boxes"', shown)
        check(ready is not None, f"the page's script has not run to its end:\n{shown[-2000:]}")
        check(int(ready[1]) == 16014 and int(ready[2]) >= 6, f"not the leaks that were planted: {ready[0]}")
        check(">leak_some</button>" in shown and ">make_text</button>" in shown, "no boxes in the flame graph")
        timeline = shown[shown.find('<div id="time">'):].partition("</svg>")[0]
        check(len(re.findall(r"<circle\b", timeline)) == 2, f"no timeline of two reports: {timeline[:600]}")
        check(re.search(r"<summary>grow [^<]*faulty\.c:\d+", shown) is not None, "no table of stacks")
        return None


def errors():
    with recorded("faulty-msvcrt.exe", "leak") as folder:
        def fails(arguments, cause, remedy):
            out, text = folder.run("mi-report.exe", *arguments, expect=1)
            check(f"mi-report: error: {cause}" in text and f"mi-report: remedy: {remedy}" in text and out == "",
                  f"{arguments}: {text!r}")

        fails(["nothing.json"], "'nothing.json' can't be read", "check the path")
        for name, content in {"empty.json": "", "text.json": "text", "cut.json": '{"mimalloc_report": 1, "modules": [',
                              "other.json": "{}", "later.json": '{"mimalloc_report": 2}',
                              "parts.json": '{"mimalloc_report": 1}', "deep.json": "[" * 100000}.items():
            (folder.path / name).write_text(content, encoding="utf-8")
            _, text = folder.run("mi-report.exe", name, expect=1)
            check(f"mi-report: error: '{name}' " in text and "mi-report: remedy: " in text, f"{name}: {text!r}")
        fails([], "no report given", "mi-report [options]")
        fails(["--no-such", "report.json"], "unknown option '--no-such'", "see mi-report --help")
        fails(["--metric", "size", "report.json"], "unknown metric 'size'", "it is one of")
        fails(["--symbolizer", "nothing.exe", "report.json"], "'nothing.exe' doesn't run", "check --symbolizer")
        # A program that was built anew since has other lines.
        report = folder.json("report.json")
        report["modules"][0]["timestamp"] += 1
        (folder.path / "report.json").write_text(json.dumps(report), encoding="utf-8")
        out, text = folder.run("mi-report.exe", "report.json")
        check("is not the file that was recorded" in text and "make_text" not in out, f"{text}{out}")


def names_beyond_the_code_page():
    """Program, folder and report have names that no code page of Windows has all characters of."""
    with recorded("faulty-msvcrt.exe", "leak") as folder:
        place = folder.path / "s p ü ☃ 漢"
        place.mkdir()
        shutil.copy(folder.path / "faulty-msvcrt.exe", place / "prög ☃.exe")
        inside = "s p ü ☃ 漢/"
        _, text = folder.run("mi-run.exe", "--leaks", "--report", inside + "r ☃.json", inside + "prög ☃.exe", "leak")
        check("make_text " in text and "prög ☃.exe+0x" in text and "warning" not in text, text)
        folder.run("mi-report.exe", "--html", inside + "p ☃.html", inside + "r ☃.json")
        check((place / "p ☃.html").stat().st_size > 10000, "no page")
        _, text = folder.run("mi-report.exe", inside + "☃ none.json", expect=1)
        check(f"mi-report: error: '{inside}☃ none.json' can't be read" in text, text)


def cases():
    yield "lines-c", lines_are_those_of_addr2line, "faulty-msvcrt.exe"
    yield "lines-cxx", lines_are_those_of_addr2line, "faulty-cxx.exe"
    yield "difference", difference
    yield "collapsed", collapsed
    yield "pprof", pprof
    yield "page", page
    yield "errors", errors
    yield "names", names_beyond_the_code_page


if __name__ == "__main__":
    options = parse(__doc__, ("programs", "addr2line", "objdump"))
    sys.exit(main(list(cases()), options.only))
