#!/usr/bin/python3
"""Adds up the test results of several Meson build folders.

usage: results.py [--seconds S] [NAME=testlog.json | !FAILED-STEP]...

Prints a line per suite, the end of what each failed program printed, every failure, every skip with its
reason, and as the last line "N passed, N failed, N skipped". Exit code 1 when anything failed or nothing
was run.

What is counted are test cases where a test program lists them (cmocka's output, or TAP), else test
programs. Meson has the last word: a program that Meson calls failed counts at least one failure,
whatever it printed. A test that is marked as a known gap (should_fail, or TODO in TAP) counts as passed
while it fails, and as failed once it passes.
"""
import collections
import json
import re
import sys

TAP_CASE = re.compile(r"^(not )?ok\b *\d* *-? *([^#]*?) *(?:# *(SKIP|TODO)\w*\b *(.*))?$", re.I)
TAP_PLAN = re.compile(r"^1\.\.(\d+)")
CMOCKA_PLAN = re.compile(r"^\[=+\] Running (\d+) test")
CMOCKA_FAILED = re.compile(r"^\[  FAILED  \] (?!\d+ test)(.+)$")
CMOCKA_CASE = re.compile(r"^\[ +(OK|SKIPPED) +\] (?!\d+ test)(.+)$")
SHOWN_LINES = 30


class Result:
    def __init__(self):
        self.passed = 0
        self.failed = []  # (name, what)
        self.skipped = []  # (name, why)
        self.output = []  # (name, last lines) of the programs that failed


def last_line(*texts):
    lines = [line.strip() for text in texts for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def skip_reason(lines, at):
    """What the case printed before it skipped; cmocka's own lines are no reason."""
    if at > 0 and lines[at - 1].strip() and not lines[at - 1].startswith("["):
        return lines[at - 1].strip()
    return "no reason given"


def cases_of_cmocka(name, lines, errors):
    planned = sum(int(m.group(1)) for m in map(CMOCKA_PLAN.match, lines) if m)
    if not planned:
        return None
    found = Result()
    for at, line in enumerate(lines):
        case = CMOCKA_CASE.match(line)
        if case and case.group(1) == "OK":
            found.passed += 1
        elif case:
            found.skipped.append((f"{name}: {case.group(2)}", skip_reason(lines, at)))
    # What is neither passed nor skipped failed, or was never reached because the program died.
    missing = max(planned - found.passed - len(found.skipped), 0)
    failed = sorted({m.group(1) for m in map(CMOCKA_FAILED.match, lines + errors) if m})[:missing]
    found.failed += [(f"{name}: {case}", "failed") for case in failed]
    found.failed += [(name, "a case failed or was not reached")] * (missing - len(failed))
    return found


def cases_of_tap(name, lines):
    plans = [int(m.group(1)) for m in map(TAP_PLAN.match, lines) if m]
    if not plans:
        return None
    found = Result()
    seen = 0
    for case in filter(None, map(TAP_CASE.match, lines)):
        failed, title, directive, why = case.groups()
        directive = (directive or "").upper()
        seen += 1
        if directive == "SKIP" and not failed:
            found.skipped.append((f"{name}: {title}", why or "no reason given"))
        elif directive == "TODO" and not failed:
            found.failed.append((f"{name}: {title}", "passes although it is marked as a known gap"))
        elif failed and directive != "TODO":
            found.failed.append((f"{name}: {title}", "failed"))
        else:
            found.passed += 1
    found.failed += [(name, "a case was not reached")] * max(sum(plans) - seen, 0)
    return found


def lines_of(test, stream):
    return (test.get(stream) or "").replace("\r", "").splitlines()


def result_of(test):
    name, verdict = test["name"].split(" / ")[-1], test["result"]
    lines, errors = lines_of(test, "stdout"), lines_of(test, "stderr")
    whole = Result()
    if verdict == "SKIP":
        whole.skipped.append((name, last_line(test.get("stderr"), test.get("stdout"))))
    elif verdict == "EXPECTEDFAIL":
        whole.passed = 1
    elif verdict == "UNEXPECTEDPASS":
        whole.failed.append((name, "passes although it is marked as a known gap"))
    else:
        cases = cases_of_tap(name, lines) or cases_of_cmocka(name, lines, errors)
        if verdict == "OK":
            if not cases:
                whole.passed = 1
            return cases or whole
        if cases and cases.failed and verdict == "FAIL":
            return cases
        whole = cases or whole
        whole.failed.append((name, verdict.lower()))
    return whole


def failure_text(test):
    how = f"({test['result'].lower()}, exit code {test.get('returncode')})"
    command = " ".join(test.get("command", []))
    printed = (lines_of(test, "stdout") + lines_of(test, "stderr"))[-SHOWN_LINES:]
    return "\n".join(f"    {line}" for line in [f"$ {command}  {how}", *printed])


def counts(result):
    return f"{result.passed} passed, {len(result.failed)} failed, {len(result.skipped)} skipped"


def main(arguments):
    seconds = None
    if arguments[:1] == ["--seconds"]:
        seconds, arguments = arguments[1], arguments[2:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    total = Result()
    for argument in arguments:
        if argument.startswith("!"):
            total.failed.append((argument[1:], "this step failed; see its log in .cache/logs"))
            continue
        suite, path = argument.split("=", 1)
        here = Result()
        with open(path, encoding="utf-8") as log:
            for line in log:
                test = json.loads(line)
                one = result_of(test)
                here.passed += one.passed
                here.failed += one.failed
                here.skipped += one.skipped
                if one.failed:
                    total.output.append((f"{suite}: {test['name']}", failure_text(test)))
        print(f"{suite + ':':12} {counts(here)}")
        total.passed += here.passed
        total.failed += [(f"{suite}: {name}", what) for name, what in here.failed]
        total.skipped += [(f"{suite}: {name}", why) for name, why in here.skipped]
    for name, text in total.output:
        print(f"--- {name}\n{text}")
    for name, why in total.skipped:
        print(f"skipped  {name}  ({why})")
    for (name, what), times in collections.Counter(total.failed).items():
        print(f"FAILED   {name}  ({what})" + (f", {times} times" if times > 1 else ""))
    if seconds:
        print(f"{seconds} s in all")
    print(counts(total))
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
