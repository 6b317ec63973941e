#!/usr/bin/env python3
"""Runs the cases of misuse, each in a process of its own, and holds what came of them against a table.

usage: run.py --table wanted.txt --program BUILD=PATH [--program BUILD=PATH]... [options] [CASE...]

  --program BUILD=PATH  the program, built on that build of the allocator; BUILD is a column of the table
  --wrapper COMMAND     put in front of each program (Wine); may be given several times, for its arguments
  --table FILE          what is wanted of each case, by build
  --update              write what was measured into the table's columns instead of failing
  --repeat N            run each case N times: every outcome counts (for what depends on chance)
  --jobs N              processes at a time (default: the processors of this machine)
  --verbose             print what came of each case, too
  CASE...               these cases only

What can come of a case:

  abort    the allocator noticed it and ended the process
  refused  the allocator reported it, or returned an error; no harm came of it
  fault    the machine ended the process: a guard, or luck
  silent   nothing was said, and no harm was found
  harm     proven: memory handed out twice or not the allocator's, contents lost or leaked, a loop without end

A case that ends in another way than its cell of the table says fails, also when it ends better: so the table
stays true. A cell may name several outcomes, as abort|fault, where chance decides; "-" leaves the case out
for that build, "?" waits for --update to say. The output is TAP, after a table by category.
"""
import argparse
import collections
import concurrent.futures
import os
import resource
import signal
import subprocess
import sys
import tempfile

OUTCOMES = ["harm", "silent", "fault", "refused", "abort"]  # from worse to better
VERDICTS = {40: "refused", 41: "silent", 42: "harm"}
NO_CASE = 43
CPU_SECONDS = 2  # of processor time (misuse.c has the same): a busy machine makes no case fail
WALL_SECONDS = 120  # for a process that waits for ever without using the processor
ABORTS = {3}  # exit codes of abort() and of faults on Windows, modulo 256
FAULTS = {0x05: "access violation", 0x1D: "illegal instruction", 0x96: "privileged instruction",
          0xFD: "stack overflow"}
CPU_EXIT = 128 + signal.SIGXCPU  # what a shell between us and the program makes of it


def die(text):
    sys.exit(f"run.py: error: {text}")


class Table:
    """Lines of cells; comments and empty lines stay where they are."""

    def __init__(self, path):
        self.path = path
        self.rows = {}
        self.columns = []
        with open(path, encoding="utf-8") as file:
            self.lines = file.read().splitlines()
        for number, line in enumerate(self.lines, 1):
            cells = line.split("#")[0].split()
            if not cells:
                continue
            if not self.columns:
                self.columns = cells[1:]
                continue
            if len(cells) != len(self.columns) + 1 or cells[0] in self.rows:
                die(f"{path}:{number}: a case once, with a cell for each of {', '.join(self.columns)}")
            for cell in cells[1:]:
                if cell not in ("-", "?") and not set(cell.split("|")) <= set(OUTCOMES):
                    die(f"{path}:{number}: '{cell}' is no outcome")
            self.rows[cells[0]] = dict(zip(self.columns, cells[1:]))

    def wanted(self, case, build):
        cell = self.rows[case][build]
        return [] if cell == "-" else cell.split("|")

    def write(self, cases):
        def line_of(case, cells):
            return f"{case:32}" + "".join(f"{cells[column]:14}" for column in self.columns).rstrip()
        known = set()
        lines = []
        for line in self.lines:
            name = line.split("#")[0].split()[:1]
            if name and name[0] in self.rows:
                known.add(name[0])
                if name[0] not in cases:
                    continue  # there is no such case any more
                comment = line[line.index("#"):] if "#" in line else ""
                line = line_of(name[0], self.rows[name[0]]) + ("  " + comment if comment else "")
            lines.append(line)
        lines += [line_of(case, self.rows[case]) for case in cases if case not in known and case in self.rows]
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def limit_processor():
    """For what runs under a wrapper. A native program limits itself: quicker than to fork this one."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))


def environment():
    """No option of the caller's. Redirected, the C runtime's blocks would be the allocator's own."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("MIMALLOC_")}
    return {**kept, "MIMALLOC_DISABLE_REDIRECT": "1"}


def run_case(command, case):
    """(outcome, what it said)"""
    # A file instead of a pipe: a background service of Wine's that inherited a pipe would keep it open.
    with tempfile.TemporaryFile("w+b") as said:
        process = subprocess.Popen(command + [case], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                   env=environment(), start_new_session=True,
                                   preexec_fn=limit_processor if len(command) > 1 else None)
        try:
            code = process.wait(WALL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "harm", f"waited for {WALL_SECONDS} s, and nothing came"
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").replace("\r", "").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "")
    if code in VERDICTS:
        return VERDICTS[code], last
    if code == NO_CASE:
        return "no case", last
    if code in (-signal.SIGXCPU, -signal.SIGKILL, CPU_EXIT):
        return "harm", f"a loop without end ({CPU_SECONDS} s of processor time)"
    if code == -signal.SIGABRT or code in ABORTS:
        return "abort", last
    if code < 0:
        return "fault", signal.Signals(-code).name
    if code in FAULTS:
        return "fault", FAULTS[code]
    return f"exit code {code}", last


def judge(build, case, outcomes, table, update):
    """What is wrong with it, or None."""
    seen = {outcome for outcome, _ in outcomes}
    strange = seen - set(OUTCOMES)
    if strange:
        return f"{build}: {'; '.join(sorted(strange))}: {outcomes[0][1]}"
    if update:
        table.rows.setdefault(case, {column: "-" for column in table.columns})
        table.rows[case][build] = "|".join(sorted(seen, key=OUTCOMES.index))
        return None
    wanted = table.wanted(case, build)
    if wanted == ["?"]:
        return f"{build}: {outcomes[0][0]}; the table doesn't know yet: run --update"
    for outcome, said in outcomes:
        if outcome not in wanted:
            worst = min(map(OUTCOMES.index, wanted))
            if OUTCOMES.index(outcome) < worst:
                how = "worse: what guards against it is broken"
            else:
                how = "better: put it into the table, or run --update"
            return f"{build}: {outcome} ({said}); the table says {'|'.join(wanted)}, so this is {how}"
    return None


def rank(outcome):
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else -1


def print_summary(builds, titles, results):
    """How many cases of each category ended how; one that was run several times counts as its worst."""
    width = max(map(len, titles.values()))

    def print_line(title, cells):
        print(f"# {title:{width + 2}}" + "".join(f"{cell:>9}" for cell in cells))

    for build in builds:
        by_title = collections.defaultdict(collections.Counter)
        for (of_build, case), outcomes in results.items():
            if of_build == build:
                by_title[titles[case]][min((outcome for outcome, _ in outcomes), key=rank)] += 1
        print_line(build, reversed(OUTCOMES))
        total = sum(by_title.values(), collections.Counter())
        for title, counts in [*by_title.items(), ("all", total)]:
            print_line("  " + title, [counts[outcome] or "." for outcome in reversed(OUTCOMES)])
        print("#")


def main():
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", action="append", required=True, metavar="BUILD=PATH")
    parser.add_argument("--wrapper", action="append", default=[])
    parser.add_argument("--table", required=True)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    table = Table(options.table)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    commands = {}
    for program in options.program:
        build, _, path = program.partition("=")
        if build not in table.columns:
            die(f"--program: the table has no column '{build}', but {', '.join(table.columns)}")
        commands[build] = options.wrapper + [path]

    listed = subprocess.run(next(iter(commands.values())) + ["--list"], stdout=subprocess.PIPE, check=True,
                            stdin=subprocess.DEVNULL, text=True).stdout.replace("\r", "")
    titles = {case: title for title, case in (line.split("\t") for line in listed.splitlines())}
    for case in options.cases:
        if case not in titles:
            die(f"there is no case '{case}'; the program's --list tells all")
    failures = []
    if not options.update:
        failures += [(case, f"{options.table} has no line for it; --update makes one")
                     for case in titles if case not in table.rows]
        failures += [(case, f"{options.table} has a line for it, but there is no such case")
                     for case in table.rows if case not in titles]
    todo = [(build, case) for case in (options.cases or titles) for build in commands
            if options.update and case not in table.rows or case in table.rows and table.wanted(case, build)]
    results = {}
    with concurrent.futures.ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        started = {(build, case): [pool.submit(run_case, commands[build], case) for _ in range(options.repeat)]
                   for build, case in todo}
        for key, runs in started.items():
            results[key] = [run.result() for run in runs]

    print_summary(commands, titles, results)
    wrong = {key: judge(*key, outcomes, table, options.update) for key, outcomes in results.items()}
    print(f"1..{len(results) + len(failures)}")
    for key, outcomes in results.items():
        print(f"{'not ok' if wrong[key] else 'ok'} - {key[1]} {key[0]}")
        if options.verbose:
            print(f"#   {outcomes[0][0]}: {outcomes[0][1]}")
        if wrong[key]:
            print(f"#   {wrong[key]}")
    for case, text in failures:
        print(f"not ok - {case}\n#   {text}")
    bad = [key for key in wrong if wrong[key]]
    for build, case in bad:
        print(f"{case}: {wrong[build, case]}", file=sys.stderr)
    for case, text in failures:
        print(f"{case}: {text}", file=sys.stderr)
    if options.update and not bad:
        table.write(titles)
    return 1 if bad or failures else 0


if __name__ == "__main__":
    sys.exit(main())
