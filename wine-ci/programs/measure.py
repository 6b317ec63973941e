#!/usr/bin/python3
"""Runs the demo's programs under Wine, plainly and on mimalloc.dll by turns; compares outputs, time, memory.

usage: measure.py --out FOLDER (--wine WORD)... --build FOLDER --downloads FOLDER [--rounds N] [--only NAME]...

OUT/crt and OUT/mimalloc hold the programs, OUT/timed the runner (programs/build.py makes both). The
environment must already be that of the project's Wine prefix, with its wineserver up. Prints a table after the
first round and, if there are more, another one after the last; the last one's figures go to OUT/results.json.

What is compared, byte for byte: standard output, standard error, the exit code, and the files that the
program wrote. speedtest1 prints how long each of its steps took: there the numbers before "s" at the end
of a line are blanked first, and what remains holds the hash over all query results that --verify prints.

Time is the median over the rounds, of wall clock from start to exit, Wine's own start included. Peak RSS
is the median of what wait4 reports for the process (timed.c). 7za.exe is run as it was downloaded, plainly and under
mi-run.exe, whose start-up and processor time count for mimalloc. The counters come from one more, untimed
run with MIMALLOC_SHOW_STATS=1.
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_SECONDS = 3600  # a hang must end some time; a machine that is a thousand times too slow is not met
VARIANTS = ("crt", "mimalloc")
MEASURES = ("seconds", "cpu_seconds", "rss_kib")
SUMMARY = re.compile(r"^mimalloc: summary: (.*)$", re.M)

# What no program that is linked with libmimalloc-crt.a may import from another DLL than ours: every way to
# get, resize, measure or give back a block of a CRT, with the decorated names of operator new and delete
# (x64 and x86).
ALLOCATION = re.compile(
    r"^_?(malloc|calloc|realloc|free|_?recalloc|_?msize|_?expand|_?reallocarray|cfree"
    r"|_?aligned_\w+|_?(str|wcs|mbs)n?dup|w?_?get_heap_handle)(_dbg|_base)?$"
    r"|^\?\?(2|3|_U|_V)@YA"
)

# name: command lines as lists; "{in}" and "{here}" are the folders of input and of this run's own files.
# downloaded: None, or the program's place among the downloads; it is then not relinked but run by mi-run.
Program = collections.namedtuple("Program", "name commands stdin files mask downloaded", defaults=(None,))

PROGRAMS = [
    Program("sqlite3", [["sqlite3", "-batch", ":memory:"]], HERE / "workload.sql", (), None),
    Program(
        "speedtest1", [["speedtest1", "--memdb", "--verify", "--size", "60"]], None, (),
        re.compile(rb" *\d+\.\d+s(?=\r?$)", re.M),  # with its padding, which is less for 10 s and more
    ),
    Program("lua", [["lua", "{in}/workload.lua", "7"]], None, (), None),
    Program(
        "zstd",
        [
            ["zstd", "-q", "-f", "-9", "-T4", "-B2097152", "{in}/zstd-input", "-o", "{here}/packed.zst"],
            ["zstd", "-q", "-f", "-d", "{here}/packed.zst", "-o", "{here}/unpacked"],
        ],
        None, ("packed.zst", "unpacked"), None,
    ),
    Program(
        "7za, mi-run",
        [
            ["7za", "a", "-bso0", "-bsp0", "-mx1", "-mmt2", "{here}/packed.7z", "{in}/zstd-input"],
            ["7za", "x", "-bso0", "-bsp0", "{here}/packed.7z"],
        ],
        None, ("packed.7z", "zstd-input"), None, "7zip-bin/x64/7za.exe",
    ),
]


class Failure(Exception):
    """A message that names the cause; the caller adds the program."""


def make_input(folder):
    """zstd's input: 32 MiB of log lines, the same on every machine. Lua's script is copied to lie beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "workload.lua", folder)
    target = folder / "zstd-input"
    size = 32 << 20
    if target.is_file() and target.stat().st_size == size:
        return
    words = [hashlib.sha256(b"%d" % i).hexdigest()[: 2 + i % 9] for i in range(4096)]
    lines, total, block = [], 0, 0
    while total < size:
        noise = hashlib.shake_128(b"block %d" % block).digest(1 << 16)
        block += 1
        numbers = memoryview(noise).cast("H")
        for at in range(0, len(numbers) - 8, 8):
            n = numbers[at : at + 8]
            # Squaring makes some words frequent, as they are in text.
            text = " ".join(words[i * i >> 20] for i in n[:7])
            lines.append(f"{block:06d} {n[7] % 24:02d}:{at % 60:02d} {text}\n")
            total += len(lines[-1])
    part = target.with_suffix(".part")
    part.write_bytes("".join(lines).encode()[:size])
    part.rename(target)


def command_line(args, program, variant, name, arguments):
    """How many processes timed.c has to wait for besides the first, and the command."""
    if program.downloaded is None:
        return 0, [args.out / variant / f"{name}.exe", *arguments]
    exe = args.downloads / program.downloaded
    if variant == "crt":
        return 0, [exe, *arguments]
    windows = ["Z:" + str(p).replace("/", "\\") for p in (args.build / "dll/mimalloc.dll", exe)]
    return 1, [args.build / "tools/mi-run/mi-run.exe", "--dll", windows[0], windows[1], *arguments]


def run_patiently(command, **more):
    with subprocess.Popen(command, **more) as process:
        minutes = 0
        while True:
            try:
                code = process.wait(60)
                break
            except subprocess.TimeoutExpired:
                minutes += 1
                print(f"        it has been running for {minutes} min; the limit is {LIMIT_SECONDS // 60} min", flush=True)
            except BaseException:
                process.kill()
                raise
    if code != 0:
        raise Failure(f"{command[0]} ended with code {code}")


def run_one(args, others, command, stdin, here, extra_env):
    """Returns (exit code, seconds, processor seconds, peak RSS in KiB)."""
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith("MIMALLOC_")}
    env.update(extra_env)
    note = here / "timed"
    command = [args.out / "timed", str(LIMIT_SECONDS), note, str(others), *args.wine, *command]
    with open(stdin or os.devnull, "rb") as read, open(here / "stdout", "ab") as out:
        with open(here / "stderr", "ab") as err:
            run_patiently(command, stdin=read, stdout=out, stderr=err, cwd=here, env=env)
    code, seconds, cpu, kib, killed = note.read_text().split()
    if killed == "1":
        raise Failure(f"did not end within {LIMIT_SECONDS} s and was killed")
    return int(code), float(seconds), float(cpu), int(kib)


def run_program(args, program, variant, extra_env=None):
    """One run of all the program's commands. Returns (one value per MEASURES, folder with what came out)."""
    here = args.out / "run" / variant / program.name
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    places = {"in": "../../../input", "here": "."}
    seconds, cpu, rss = 0.0, 0.0, 0
    for command in program.commands:
        arguments = [a.format(**places) for a in command[1:]]
        others, whole = command_line(args, program, variant, command[0], arguments)
        code, s, c, kib = run_one(args, others, whole, program.stdin, here, extra_env or {})
        seconds += s
        cpu += c
        rss = max(rss, kib)
        if code != 0:
            tail = " | ".join((here / "stderr").read_text(errors="replace").strip().splitlines()[-5:])
            raise Failure(f"{variant}: '{' '.join(command)}' ended with exit code {code}: {tail}")
    return (seconds, cpu, rss), here


def fingerprint(program, here):
    """name of output -> digest, after blanking what depends on the clock."""
    found = {}
    for name in ("stdout", "stderr", *program.files):
        path = here / name
        if not path.is_file():
            raise Failure(f"the file {name} was not written")
        digest = hashlib.sha256()
        if program.mask and name == "stdout":
            text, blanked = program.mask.subn(b"", path.read_bytes())
            if not blanked:
                raise Failure("no time to blank was found in the output")
            digest.update(text)
            size = len(text)
        else:
            size = path.stat().st_size
            with open(path, "rb") as file:
                for piece in iter(lambda: file.read(1 << 16), b""):
                    digest.update(piece)
        found[name] = (size, digest.hexdigest())
    if found["stdout"][0] == 0 and not program.files:
        raise Failure("printed nothing")
    return found


def outputs_that_differ(one, other):
    return ", ".join(name for name in one if one[name] != other[name])


def summary_of(here, program):
    """What mimalloc.dll printed at exit; of several commands, the sums of counts and the maxima of the rest."""
    text = (here / "stderr").read_text(errors="replace")
    lines = SUMMARY.findall(text)
    if len(lines) != len(program.commands):
        raise Failure(
            f"{len(lines)} 'mimalloc: summary:' lines on standard error, {len(program.commands)} were expected:"
            " the program did not run on mimalloc.dll, or MIMALLOC_SHOW_STATS=1 does not work"
        )
    total = {}
    for line in lines:
        for key, value in (pair.split("=", 1) for pair in line.split()):
            value = int(value)
            add = key in ("allocations", "frees", "os_calls")
            total[key] = total.get(key, 0) + value if add else max(total.get(key, 0), value)
    for key in ("allocations", "frees", "threads", "heaps"):
        if key not in total:
            raise Failure(f"the summary line has no '{key}='")
    if total["allocations"] <= 0:
        raise Failure("mimalloc.dll served no allocation")
    return total


def imports_of(exe, objdump):
    """DLL name in lower case -> set of imported names."""
    tables, dll = {}, None
    with subprocess.Popen([objdump, "-p", str(exe)], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            name = re.match(r"\s*DLL Name: (\S+)", line)
            entry = re.match(r"\s+[0-9a-f]+\s+\d+\s+(\S+)\s*$", line)
            if name:
                dll = name.group(1).lower()
                tables[dll] = set()
            elif entry and dll:
                tables[dll].add(entry.group(1))
    if process.returncode != 0:
        raise Failure(f"{objdump} -p {exe} ended with code {process.returncode}")
    return tables


def check_imports(args, program):
    """Every allocation function comes from mimalloc.dll; in the plain build, to check this check, from the CRT."""
    for exe in sorted({c[0] for c in program.commands}):
        plain = imports_of(args.out / "crt" / f"{exe}.exe", args.objdump)
        ours = imports_of(args.out / "mimalloc" / f"{exe}.exe", args.objdump)
        if "mimalloc.dll" in plain:
            raise Failure(f"crt/{exe}.exe imports mimalloc.dll: there is nothing to compare with")
        if not any(ALLOCATION.match(name) for names in plain.values() for name in names):
            raise Failure(f"crt/{exe}.exe imports no allocation function: this check checks nothing")
        if not ours.get("mimalloc.dll"):
            raise Failure(f"mimalloc/{exe}.exe does not import mimalloc.dll")
        left = sorted(
            f"{dll}:{name}" for dll, names in ours.items() if dll != "mimalloc.dll"
            for name in names if ALLOCATION.match(name)
        )
        if left:
            raise Failure(f"mimalloc/{exe}.exe still imports allocation functions: {', '.join(left)}")


def table(rows, headings):
    widths = [max(len(str(r[i])) for r in [headings, *rows]) for i in range(len(headings))]
    for row in [headings, *rows]:
        cells = [str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        print("  ".join(cells))


def measure(args, programs):
    results = {p.name: {m: {v: [] for v in VARIANTS} for m in MEASURES} for p in programs}
    failures = {}
    prints = collections.defaultdict(dict)
    total = len(programs) * (2 * args.rounds + 1)
    step = 0

    def attempt(program, what, action):
        nonlocal step
        step += 1
        if program.name in failures:
            return
        try:
            line = action()
            print(f"[{step:2}/{total}] {program.name:11} {what:16} {line}", flush=True)
        except Failure as failure:
            failures[program.name] = str(failure)
            print(f"[{step:2}/{total}] {program.name:11} {what:16} FAILED: {failure}", flush=True)

    def timed(program, variant):
        values, here = run_program(args, program, variant)
        for name, value in zip(MEASURES, values):
            results[program.name][name][variant].append(value)
        new = fingerprint(program, here)
        old = prints[program.name].setdefault(variant, new)
        if new != old:
            raise Failure(f"two runs of the {variant} variant differ in {outputs_that_differ(old, new)}")
        return f"{values[0]:6.2f} s  {values[2] / 1024:7.1f} MiB"

    def counted(program):
        if program.downloaded is None:
            check_imports(args, program)
        _, here = run_program(args, program, "mimalloc", {"MIMALLOC_SHOW_STATS": "1"})
        results[program.name]["counters"] = summary_of(here, program)
        return f"{results[program.name]['counters']['allocations']} allocations"

    # Rounds outside, programs inside, variants by turns: a slow spell of the machine hits both variants.
    for program in programs:
        attempt(program, "counters", lambda: counted(program))
    for number in range(args.rounds):
        for program in programs:
            for variant in VARIANTS if number % 2 == 0 else VARIANTS[::-1]:
                attempt(program, f"{variant} {number + 1}", lambda: timed(program, variant))
        compare(args, programs, results, failures, prints)
        if number == 0 and args.rounds > 1:
            report(args, programs, results, failures, 1)
    return results, failures


def compare(args, programs, results, failures, prints):
    for program in programs:
        if program.name in failures:
            continue
        got = prints[program.name]
        different = outputs_that_differ(got["crt"], got["mimalloc"])
        results[program.name]["identical"] = not different
        if different:
            failures[program.name] = (
                f"output differs between the CRT and mimalloc: {different}"
                f" (see {args.out}/run/crt/{program.name} and run/mimalloc/{program.name})"
            )


def report(args, programs, results, failures, rounds):
    rows, slower = [], []
    for program in programs:
        result = results[program.name]
        times, counters = result["seconds"], result.get("counters", {})
        done = all(len(times[v]) == rounds for v in VARIANTS)
        median = result["median"] = {
            m: {v: statistics.median(result[m][v]) if done else None for v in VARIANTS} for m in MEASURES
        }
        ratio, cpu_ratio = (median[m]["mimalloc"] / median[m]["crt"] if done else None for m in MEASURES[:2])
        result["ratio"], result["cpu_ratio"] = ratio, cpu_ratio
        # How far the rounds of one variant lie apart: a ratio that differs from 1 by less says nothing.
        spreads = ((max(t) - min(t)) / statistics.median(t) for t in times.values() if done and rounds > 1)
        result["spread"] = max(spreads, default=None)
        if ratio and ratio > 1:
            slower.append(f"{program.name} ({ratio:.2f})")
        rows.append([
            program.name,
            f"{median['seconds']['crt']:.2f}" if done else "-",
            f"{median['seconds']['mimalloc']:.2f}" if done else "-",
            f"{ratio:.2f}" if done else "-",
            f"{result['spread']:.2f}" if result["spread"] is not None else "-",
            f"{cpu_ratio:.2f}" if done else "-",
            f"{median['rss_kib']['crt'] / 1024:.1f}" if done else "-",
            f"{median['rss_kib']['mimalloc'] / 1024:.1f}" if done else "-",
            counters.get("allocations", "-"),
            counters.get("threads", "-"),
            counters.get("heaps", "-"),
            {True: "yes", False: "NO", None: "-"}[result.get("identical")],
        ])
    print()
    table(rows, ["program", "CRT s", "mimalloc s", "ratio", "spread", "CPU ratio", "CRT MiB", "mimalloc MiB",
                 "allocations", "threads", "heaps at end", "same output"])
    if rounds < args.rounds:
        print(f"The first of {args.rounds} rounds.\n", flush=True)
        return
    print(f"""
Medians of {rounds} round{"s" if rounds > 1 else ""}, CRT and mimalloc by turns. ratio: seconds with mimalloc / seconds with the CRT;
spread: (slowest - fastest) / median of a program's rounds, the larger of both variants; CPU ratio: as ratio, in
processor time, which other work on this machine disturbs less; MiB: peak RSS; allocations, threads, heaps:
mimalloc.dll's own counters, from one more run. Taking an allocation function from a CRT counts as failure.""")
    for name, why in failures.items():
        print(f"FAILED {name}: {why}")
    good = len(programs) - len(failures)
    line = f"{good} of {len(programs)} programs ran on mimalloc.dll with the same output as on the CRT"
    if not failures:
        line += "; slower than the CRT: " + ", ".join(slower) if slower else "; none slower than the CRT"
    print(line + ".", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--wine", action="append", required=True, help="a word of the command that starts Wine")
    parser.add_argument("--build", type=pathlib.Path, required=True, help="with dll/mimalloc.dll and tools/mi-run")
    parser.add_argument("--downloads", type=pathlib.Path, required=True, help="what programs/fetch.py has fetched")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--objdump", default="x86_64-w64-mingw32-objdump")
    parser.add_argument("--only", action="append", choices=[p.name.split(",")[0] for p in PROGRAMS])
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds takes a number of at least 1")
    args.out, args.build, args.downloads = (p.resolve() for p in (args.out, args.build, args.downloads))
    programs = [p for p in PROGRAMS if not args.only or p.name.split(",")[0] in args.only]
    make_input(args.out / "input")
    results, failures = measure(args, programs)
    report(args, programs, results, failures, args.rounds)
    (args.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
