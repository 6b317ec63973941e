#!/usr/bin/env python3
"""Runs programs that nobody here compiled, and some that were built for either C runtime, with mimalloc.dll brought
into them in every way, and demands for each pair of program and way

  - job: exit code, standard output and files are those of the run without mimalloc.dll, byte for byte;
  - share: of the blocks that the process's C runtimes give from the moment mimalloc.dll is in, 100% come from it.

Ways: mi-run --method import, thread and apc; minject on a copy of the program; mi-run --attach in the middle of the
program's work; LoadLibrary in the middle by the program itself. "off" is import with MIMALLOC_DISABLE_REDIRECT=1 and
must show a share of 0%: it proves that the measure sees what goes past us.

What is counted: "ours" are the allocations in mimalloc.dll's summary line; "missed" those that Wine saw the
runtimes' own heaps give afterwards (heap_trace.py), or the host of libvips did; share = ours / (ours + missed).
"before" are blocks that the runtimes gave before mimalloc.dll came, which it then has to free and resize; "alone" those
of the run without it. A C runtime that is linked into a program has no share: its log must say so instead.

usage: matrix.py --tools FOLDER --downloads FOLDER --built FOLDER --helpers FOLDER --work FOLDER
                 [--arch x86_64|i686] [--only PROGRAM]... [--way WAY]... [--jobs N] [--keep] [--required]

This file is long because programs, ways and judgement are one table.

Windows programs are started by the command in MESON_EXE_WRAPPER (wine-ci/run-wine). Exit code 77, and the reason,
when downloads are missing, unless --required or MI_PROGRAMS_REQUIRED=1 in the environment makes that an error.
"""
import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time

import heap_trace

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from limited_run import run as limited_run  # noqa: E402
from windows_path import windows_path  # noqa: E402

RUN_SECONDS = 400  # to end what hangs; 7za-bench takes more than a minute, traced, on a busy machine
SUMMARY = re.compile(rb"^mimalloc: summary: allocations=(\d+) ", re.M)
HEAP_OF_THREAD = re.compile(rb"^mimalloc: life cycle: thread \d+ has heap ", re.M)
ATTEMPTS = 3  # at a cell whose process Wine ended too early
HOST_COUNTS = re.compile(rb"^vips-host: witness: before=(\d+) missed=(\d+)", re.M)

EARLY, ENTRY, MIDDLE = "before the CRT", "at entry", "middle"
# way: when mimalloc.dll comes
WAYS = {
    "import": EARLY, "minject": EARLY, "minject-dll": EARLY, "thread": ENTRY, "apc": ENTRY, "attach": MIDDLE,
    "loadlib": MIDDLE, "before": MIDDLE, "between": MIDDLE, "off": EARLY,
}

TRACE, HOST = "trace", "host"

# What one program does.
#   exe       its file; beside: DLLs and files that must lie in its folder
#   steps     command lines, run one after the other in one folder
#   only      which ways, if not the usual ones
#   static    the file whose C runtime is linked in: its own blocks can't be redirected, and the log must say so
#   witness   who counts what goes past us: Wine's log (TRACE), the program itself (HOST), or nobody (None)
#   expect    what the output of the run without mimalloc.dll must hold: that the program works at all
Program = collections.namedtuple(
    "Program", "name crt exe steps beside ways static witness expect deterministic env",
    defaults=((), (), None, TRACE, None, True, {}))
# One command line.
#   args      "{dll}" is the path of mimalloc.dll; extra: more arguments for a way, by its name
#   send      input until the middle; then: input after it; see: bytes of output that the middle is at
#   files     what it must write, which is compared
Step = collections.namedtuple("Step", "args send then see files extra middle",
                              defaults=(b"", b"", 0, (), {}, True))

USUAL = ("import", "thread", "apc", "minject", "attach")


class Failure(Exception):
    pass


class CutShort(Failure):
    """Wine counts a thread twice that is just ending by itself while ExitProcess ends it. When the count is down to none, the
    process is gone, with exit code 0 and in the middle of what its DLLs do at the end: docs/platforms.md. So our summary
    may be missing where the program has threads; not time after time."""


class Missing(Exception):
    """A program is not there: first what, then how to get it."""


def text_to_pack():
    """1.5 MiB that compress to about a third, the same on every machine."""
    words = [hashlib.sha256(b"%d" % i).hexdigest()[: 2 + i % 9] for i in range(1024)]
    noise = hashlib.shake_128(b"tests/programs").digest(200_000)
    lines = (
        " ".join(words[(a * 256 + b) ** 2 >> 22] for a, b in zip(noise[i : i + 20 : 2], noise[i + 1 : i + 20 : 2]))
        for i in range(0, len(noise), 8)
    )
    return ("\n".join(lines)).encode()[: 1536 << 10]


def programs(args):
    downloads, built, helpers = args.downloads, args.built, args.helpers
    bits = "x64" if args.arch == "x86_64" else "ia32"
    packed = text_to_pack()
    half = len(packed) // 2
    sql = [(HERE / f"work-{i}.sql").read_bytes() for i in (1, 2)]
    # Fills the pipe and the shell's buffer, so that the shell has done the first half when this was taken.
    padding = b"-- nothing to do here, but to fill the buffers\n" * 1000
    seven_zip = downloads / "7zip-bin" / bits / "7za.exe"
    yield Program("7za", "msvcrt", seven_zip, [
        Step(["a", "-si", "-mx1", "-mmt2", "-bd", "-bb0", "packed.7z"], packed[:half], packed[half:]),
        Step(["t", "packed.7z"], middle=False),
        Step(["x", "-so", "packed.7z"], see=100_000),
    ], expect=packed)
    yield Program("7za-bench", "msvcrt", seven_zip, [Step(["b", "1", "-mmt2", "-md18"])], ways=("import",),
                  expect=b"Tot:", deterministic=False)
    if args.arch == "x86_64":
        yield Program("ffmpeg", "msvcrt", downloads / "ffmpeg/ffmpeg.exe", [
            # One input, not two: for each of several it starts a thread, and writes into a block that it has freed now and
            # then (2 of 160 runs without mimalloc.dll; 0 of 200 with one input). Wine's heap ends the process for that.
            Step(["-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i",
                  "testsrc=size=160x120:rate=10:duration=2[out0];sine=frequency=440:duration=2[out1]",
                  "-c:v", "mpeg4", "-b:v", "800k", "-c:a", "aac", "-fflags", "+bitexact", "-flags:v", "+bitexact",
                  "-flags:a", "+bitexact", "-flush_packets", "1", "-f", "nut", "pipe:1"], see=10_000),
        ])
        yield Program("libvips", "ucrt", helpers / "vips-host.exe", [
            Step(["libvips-42.dll"], extra={"before": ["before", "{dll}"], "between": ["between", "{dll}"]}),
        ], beside=(downloads / "libvips/libvips-42.dll", helpers / "bcryptprimitives.dll"),
            ways=("import", "thread", "apc", "minject", "minject-dll", "before", "between"), witness=HOST,
            expect=b"webp")
        yield Program("node", "static", downloads / "node/node.exe", [
            Step(["-e", "const work = n => { const m = new Map(); for (let i = 0; i < n; i++) m.set('k' + i * 7 % n, "
                        "Buffer.alloc(i % 500, 'x')); return [...m.values()].reduce((a, b) => a + b.length, 0) }; "
                        "console.log(work(3000)); process.stdin.on('data', d => { console.log(d.toString().trim(), "
                        "work(5000)); }); process.stdin.on('end', () => console.log('end'))"], then=b"go on\n", see=3),
        ], static="node.exe", witness=None, expect=b"end", env={"NODE_SKIP_PLATFORM_CHECK": "1"})
    for crt, folder in (("msvcrt", "crt"), ("ucrt", "ucrt")):
        yield Program("sqlite3", crt, built / folder / "sqlite3.exe",
                      [Step(["-batch", ":memory:"], sql[0] + padding, sql[1])], expect=b"ok")
        yield Program("lua", crt, built / folder / "lua.exe",
                      [Step(["work.lua"], then=b"go on\n", see=10, extra={"loadlib": ["{dll}"]})],
                      beside=(HERE / "work.lua",), ways=(*USUAL, "loadlib"), expect=b"round 2")
    yield Program("shared-c++", "msvcrt", helpers / "shared-cxx.exe", [Step([], then=b"go on\n", see=10)],
                  beside=tuple(args.work / "dlls" / f.name for f in args.runtime_dll), expect=b"refused too much")


Cell = collections.namedtuple("Cell", "program way")
# problems: empty if all is well. before, ours, missed, alone: blocks (None: not known).
Result = collections.namedtuple("Result", "problems before ours missed outputs seconds")


class Runner:
    def __init__(self, args):
        self.args = args
        self.wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
        self.dll = args.tools / "dll/mimalloc.dll"
        self.mi_run = args.tools / "tools/mi-run/mi-run.exe"
        self.minject = args.tools / "tools/minject/minject.exe"
        self.witnesses = {}  # program's name and runtime -> which of heap_trace's, if not HEAP
        self.sites = None  # for RELAY, see heap_trace.learn
        self.learning = threading.Lock()
        self.cut_short = []  # attempts

    def start(self, command, here, stdin, stdout, stderr, env):
        whole = {k: v for k, v in os.environ.items() if not k.upper().startswith("MIMALLOC_")}
        whole.update(env, MI_RUN_LIMIT=str(RUN_SECONDS))
        with open(stdin or os.devnull, "rb") as source, open(stdout, "ab") as out, open(stderr, "ab") as err:
            try:
                done = limited_run([*self.wrapper, *map(str, command)], cwd=here, env=whole, stdin=source,
                                   stdout=out, stderr=err, timeout=RUN_SECONDS + 20)
                return done.returncode
            except subprocess.TimeoutExpired:
                return 124

    def prepare(self, program, way, here):
        """Puts what the program needs into the folder; returns the program's file."""
        for file in program.beside:
            (here / file.name).symlink_to(file)
        (here / "dll").symlink_to(self.dll.parent)
        if way == "minject":
            return self.inject(program.exe, here, here / program.exe.name)
        if way == "minject-dll":
            self.inject(program.beside[0], here, here / program.beside[0].name)
        exe = here / program.exe.name
        exe.symlink_to(program.exe)
        return exe

    def inject(self, source, here, target):
        target.unlink(missing_ok=True)
        shutil.copyfile(self.dll, here / "mimalloc.dll")
        code = self.start([self.minject, "-o", windows_path(target), windows_path(source)], here, None, here / "minject.out",
                          here / "minject.out", {})
        if code != 0:
            raise Failure(f"minject ended with exit code {code}: {last_line(here / 'minject.out')}")
        return target

    def run(self, program, way, here, traced):
        """All steps in a fresh folder. Returns exit codes and outputs, as bytes by name."""
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir(parents=True)
        exe = self.prepare(program, way, here)
        env = dict(program.env)
        if way is not None:
            env.update(MIMALLOC_SHOW_STATS="1", MIMALLOC_VERBOSE="1")
        if way == "off":
            env["MIMALLOC_DISABLE_REDIRECT"] = "1"
        if traced:
            env["MI_WINEDEBUG"] = self.witnesses.get((program.name, program.crt), heap_trace.HEAP)
        outputs = {}
        for number, step in enumerate(program.steps):
            out, err = here / f"stdout-{number}", here / f"stderr-{number}"
            (here / f"send-{number}").write_bytes(step.send)
            (here / f"then-{number}").write_bytes(step.then)
            (here / f"input-{number}").write_bytes(step.send + step.then)
            dll = windows_path(here / "mimalloc.dll" if way == "minject-dll" else self.dll)
            command = [exe, *step.args, *(a.format(dll=dll) for a in step.extra.get(way, ()))]
            if way in ("import", "thread", "apc", "off") or (way == "attach" and not step.middle):
                method = way if way in ("thread", "apc") else "import"
                command = [self.mi_run, "--method", method, "--dll", dll, windows_path(exe), *command[1:]]
            elif way == "attach":
                command = [self.args.helpers / "midway.exe", "--send", f"send-{number}", "--then", f"then-{number}",
                           "--see", step.see, "--", windows_path(self.mi_run), "--dll", dll, "--attach", "--", windows_path(exe),
                           *command[1:]]
            code = self.start(command, here, here / f"input-{number}", out, err, env)
            outputs[f"exit code {number}"] = b"%d" % code
            outputs[f"output {number}"] = out.read_bytes()
            for name in step.files:
                path = here / name
                outputs[name] = path.read_bytes() if path.is_file() else b"(not written)"
            if code != 0:
                break
        return outputs

    def counts_of(self, program, trace):
        is_relay = self.witnesses.get((program.name, program.crt)) == heap_trace.RELAY
        return heap_trace.read(trace, self.sites if is_relay else None)

    def witnessed(self, program, trace, text):
        """What the witness of one step saw: blocks before mimalloc.dll came, and missed blocks by runtime."""
        if program.witness == HOST:
            counts = HOST_COUNTS.findall(text)
            if len(counts) != 1:
                raise Failure(f"the host told {len(counts)} times what it saw")
            return int(counts[0][0]), {"the runtimes": int(counts[0][1])}
        found = [c for c in self.counts_of(program, trace).values() if c.has_mimalloc]
        if len(found) != 1:
            raise Failure(f"mimalloc.dll was in {len(found)} processes")
        if not found[0].runtimes:
            raise Failure("no C runtime was seen in the process")
        return found[0].alone, found[0].by_runtime

    def count(self, program, way, here, problems):
        """Adds up before, ours and missed over the steps."""
        before = ours = missed = 0
        for number, _ in enumerate(program.steps):
            trace = here / f"stderr-{number}"
            text = trace.read_bytes()
            summaries = SUMMARY.findall(text)
            if not summaries and len(HEAP_OF_THREAD.findall(text)) > 1:
                raise CutShort(f"step {number}: the process was gone before mimalloc.dll's summary on standard error")
            if len(summaries) != 1:
                raise Failure(f"step {number}: {len(summaries)} summaries of mimalloc.dll on standard error")
            ours += int(summaries[0])
            if program.static and way != "off" and not says_static(text, program.static):
                problems.append(f"the log does not say that the C runtime of {program.static} is linked in")
            if program.witness is None:
                continue
            earlier, by_runtime = self.witnessed(program, trace, text)
            before += earlier
            missed += sum(by_runtime.values())
            if sum(by_runtime.values()) and way != "off":
                problems.append("missed " + ", ".join(f"{n} of {name}" for name, n in by_runtime.items()))
        return (None, ours, None) if program.witness is None else (before, ours, missed)

    def baseline(self, program):
        try:
            return self.try_baseline(program)
        except heap_trace.Unreadable as unreadable:
            return Result([str(unreadable)], None, None, None, {}, 0.0)

    def try_baseline(self, program):
        """The run without us, and a second one: what differs between them can't be compared."""
        here = self.args.work / program.name / program.crt / "alone"
        start = time.monotonic()
        problems = []
        outputs = self.run(program, None, here, traced=program.witness == TRACE)
        if program.witness == TRACE and self.is_blind(here):
            self.learn_sites()
            self.witnesses[program.name, program.crt] = heap_trace.RELAY
            outputs = self.run(program, None, here, traced=True)
        alone = 0
        for trace in sorted(here.glob("stderr-*")):
            if program.witness == TRACE:
                alone += sum(c.alone for c in self.counts_of(program, trace).values())
            elif program.witness == HOST:
                alone += sum(int(n) for counts in HOST_COUNTS.findall(trace.read_bytes()) for n in counts)
        problems += self.check_works(program, outputs)
        if not problems and program.deterministic:
            again = self.run(program, None, here, traced=False)
            problems += [f"two runs without mimalloc.dll differ in {what}: {shown(outputs, what)} and {shown(again, what)}"
                         for what in difference(outputs, again)]
        return Result(problems, alone if program.witness else None, None, None, outputs, time.monotonic() - start)

    @staticmethod
    def is_blind(here):
        """Is there a runtime that makes no heap of its own?"""
        return any(counts.blind for trace in here.glob("stderr-*") for counts in heap_trace.read(trace).values())

    def learn_sites(self):
        with self.learning:
            if self.sites is not None:
                return
            here = self.args.work / "heap-callers"
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir(parents=True)
            command = [self.args.helpers / "heap-callers.exe", heap_trace.CALLS, *heap_trace.RUNTIMES]
            code = self.start(command, here, None, here / "stdout", here / "stderr", {"MI_WINEDEBUG": heap_trace.RELAY})
            sites = heap_trace.learn(here / "stderr")
            there = [line.decode().strip() for line in (here / "stdout").read_bytes().splitlines()]
            if code != 0 or not there or any(not sites.get(name) for name in there):
                raise heap_trace.Unreadable(f"heap-callers.exe ended with exit code {code}, runtimes {there}, learnt {sites}")
            self.sites = sites

    def set_up_relay(self):
        """What RELAY needs in Wine's registry; without that debug channel, nobody reads it."""
        folder = self.args.work / "registry"
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in heap_trace.REGISTRY.items():
            command = ["reg", "add", heap_trace.REGISTRY_KEY, "/v", name, "/d", value, "/f"]
            code = self.start(command, folder, None, folder / "out", folder / "out", {})
            if code != 0:
                sys.exit(f"matrix.py: Wine's registry can't be set: reg add ended with exit code {code}: "
                         f"{last_line(folder / 'out')}")

    @staticmethod
    def check_works(program, outputs):
        problems = [f"{k} is {v.decode()}" for k, v in outputs.items() if k.startswith("exit") and v != b"0"]
        if len([k for k in outputs if k.startswith("exit")]) != len(program.steps) and not problems:
            problems.append("not all steps were run")
        last = outputs.get(f"output {len(program.steps) - 1}", b"")
        if not problems and not last:
            problems.append("printed nothing")
        if not problems and program.expect and program.expect not in last:
            problems.append("the output lacks what it should hold")
        return problems

    def cell(self, program, way, alone):
        for _ in range(ATTEMPTS):
            result, is_cut_short = self.attempt(program, way, alone)
            if not is_cut_short:
                break
            self.cut_short.append(f"{program.name} ({program.crt}) {way}: {result.problems[0]}")
        return result

    def attempt(self, program, way, alone):
        here = self.args.work / program.name / program.crt / way
        start = time.monotonic()
        problems, before, ours, missed, is_cut_short = [], None, None, None, False
        try:
            # As users run it, and once more under Wine's eyes, which costs time: each must do the job.
            is_traced = program.witness == TRACE
            for traced in (False, True) if is_traced and program.deterministic else (is_traced,):
                outputs = self.run(program, way, here, traced)
                wrong = self.check_works(program, outputs)
                if program.deterministic:
                    wrong += [f"{what} differs from the run without mimalloc.dll"
                              for what in difference(alone.outputs, outputs) if not what.startswith("exit")]
                if wrong:
                    wrong.append("standard error ends: " + said(here, len(outputs)))
                    problems += wrong
                    break
            else:
                before, ours, missed = self.count(program, way, here, problems)
                self.check_share(program, way, alone, before, ours, problems)
        except (Failure, heap_trace.Unreadable) as failure:
            problems.append(str(failure))
            is_cut_short = isinstance(failure, CutShort) and len(problems) == 1
        if not problems and not self.args.keep:
            shutil.rmtree(here)
        return Result(problems, before, ours, missed, None, time.monotonic() - start), is_cut_short

    @staticmethod
    def check_share(program, way, alone, before, ours, problems):
        if way == "off":
            if ours:
                problems.append(f"{ours} allocations reached us although redirection is off")
            return
        if program.witness is None:
            return
        # What we count must be what the runtimes gave when they were alone, less what they gave before we came; more
        # where a block that is resized moves, which is an allocation here.
        expected = alone.before - before
        if program.deterministic and not 0.9 * expected - 50 <= ours <= 1.5 * expected + 50:
            problems.append(f"{ours} allocations reached us, about {expected} were expected from the run without us")
        if ours == 0:
            problems.append("no allocation reached us")


def last_line(path):
    lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1] if lines else "(nothing)"


def said(here, steps):
    """The end of what the last step's programs printed on standard error, without Wine's trace."""
    files = sorted(here.glob("stderr-*"))
    lines = files[-1].read_text(errors="replace").splitlines() if files else []
    own = [line for line in lines if not re.match(r"^([0-9a-f]{4,}:){2,}", line) and line.strip()]
    return " | ".join(own[-4:])


def shown(outputs, what):
    text = outputs.get(what, b"nothing")
    return text.decode(errors="replace") if len(text) < 100 else f"{len(text)} bytes"


def difference(one, other):
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def says_static(text, name):
    return any(name.encode() in line and b"linked into" in line for line in text.splitlines()
               if not heap_trace.LINE.match(line) and b":trace:" not in line)


def gather_runtime_dlls(args):
    """Beside the runs: 32-bit Wine lives in a root where /usr is another."""
    (args.work / "dlls").mkdir(parents=True, exist_ok=True)
    for file in args.runtime_dll:
        target = args.work / "dlls" / file.name
        if not target.is_file() or target.stat().st_size != file.stat().st_size:
            shutil.copyfile(file, target)


def check_files(found, args):
    """Raises Missing when a program or a tool is not there."""
    for program in found:
        for file in (program.exe, *program.beside):
            if not file.is_file():
                is_download = args.downloads in file.parents
                remedy = "wine-ci/setup --downloads" if is_download else "wine-ci/test, which builds it"
                raise Missing(f"{file.name} of the program {program.name} is missing", remedy)


HEADINGS = ["program", "CRT", "way", "when", "job", "share", "ours", "missed", "before", "alone", "s"]


def show(rows):
    widths = [max(len(str(row[i])) for row in [HEADINGS, *rows]) for i in range(len(HEADINGS))]
    lines = []
    for row in [HEADINGS, *rows]:
        cells = [str(c).ljust(w) if i < 5 else str(c).rjust(w) for i, (c, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def share(result):
    if result.missed is None or result.ours + result.missed == 0:
        return "-"
    percent = 100 * result.ours / (result.ours + result.missed)
    # Never rounded up to 100.
    return "100%" if result.missed == 0 else f"{min(percent, 99.9):.1f}%"


def row_of(cell, result, alone):
    counts = ["-" if v is None else v for v in (result.ours, result.missed, result.before, alone.before)]
    how = "static" if cell.program.static and not result.problems else share(result)
    return [cell.program.name, cell.program.crt, cell.way, WAYS[cell.way], "FAILED" if result.problems else "ok", how,
            *counts, f"{result.seconds:.1f}"]


def run_all(runner, cells, jobs):
    """Yields (cell, result, baseline) in the order of the cells."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        baselines = {id(p): pool.submit(runner.baseline, p) for p in {id(c.program): c.program for c in cells}.values()}

        def one(cell):
            alone = baselines[id(cell.program)].result()
            if alone.problems:
                problems = ["without mimalloc.dll: " + p for p in alone.problems]
                return Result(problems, None, None, None, None, 0.0), alone
            return runner.cell(cell.program, cell.way, alone), alone

        results = [pool.submit(one, cell) for cell in cells]
        for cell, result in zip(cells, results):
            yield (cell, *result.result())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tools", "downloads", "built", "helpers", "work"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--runtime-dll", type=pathlib.Path, action="append", default=[],
                        help="a DLL that shared-c++ needs beside it")
    parser.add_argument("--arch", choices=["x86_64", "i686"], default="x86_64")
    parser.add_argument("--only", action="append")
    parser.add_argument("--way", action="append", choices=list(WAYS))
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--keep", action="store_true", help="keep the folders of runs that went well, too")
    parser.add_argument("--required", action="store_true", default=os.environ.get("MI_PROGRAMS_REQUIRED") == "1")
    args = parser.parse_args()
    for name in ("tools", "downloads", "built", "helpers", "work"):
        setattr(args, name, getattr(args, name).resolve())
    return parser, args


def main():
    parser, args = parse_arguments()
    found = list(programs(args))
    names = {p.name for p in found}
    for name in args.only or ():
        if name not in names:
            parser.error(f"there is no program '{name}'; there are {', '.join(sorted(names))}")
    found = [p for p in found if not args.only or p.name in args.only]
    if not os.environ.get("MESON_EXE_WRAPPER") and os.name != "nt":
        sys.exit("matrix.py: no MESON_EXE_WRAPPER in the environment to run Windows programs with; start it through "
                 "`meson test` in a folder that wine-ci/test configured")
    gather_runtime_dlls(args)
    try:
        check_files(found, args)
    except Missing as missing:
        what, remedy = missing.args
        print(f"{'error' if args.required else 'skipped'}: {what}; remedy: {remedy}", file=sys.stderr)
        return 1 if args.required else 77
    cells = [Cell(p, way) for p in found for way in (p.ways or USUAL) if not args.way or way in args.way]
    if any(c.program.name == "7za" for c in cells) and (not args.way or "off" in args.way):
        cells.append(Cell(found[0], "off"))

    runner = Runner(args)
    if any(c.program.witness == TRACE for c in cells):
        runner.set_up_relay()
    start = time.monotonic()
    rows, failed, figures = [], 0, []
    print(f"1..{len(cells)}", flush=True)
    for number, (cell, result, alone) in enumerate(run_all(runner, cells, args.jobs), 1):
        name = f"{cell.program.name} ({cell.program.crt}) {cell.way}"
        rows.append(row_of(cell, result, alone))
        figures.append(dict(zip(HEADINGS, rows[-1]), problems=result.problems))
        failed += bool(result.problems)
        print(f"{'not ok' if result.problems else 'ok'} {number} - {name}", flush=True)
        for problem in result.problems:
            print(f"#   {problem}", flush=True)
    table = show(rows)
    end = f"{len(cells) - failed} of {len(cells)} cells are well, {time.monotonic() - start:.0f} s"
    print("\n".join("# " + line for line in [*table.splitlines(), end]), flush=True)
    for attempt in runner.cut_short:
        print(f"# cut short: {attempt}", flush=True)
    (args.work / "matrix.txt").write_text(f"{table}\n{end}\n")
    (args.work / "matrix.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
