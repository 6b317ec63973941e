"""What the tests of the diagnostics share: fresh folders, Windows programs, lines of sources."""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from limited_run import run as limited_run  # noqa: E402
from windows_path import windows_path  # noqa: E402

SECONDS = 300  # to end what hangs: far from what anything here takes


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def line_of(source, mark):
    """The number of the line that says `LINE mark`."""
    lines = (HERE / source).read_text(encoding="utf-8").splitlines()
    found = [number for number, line in enumerate(lines, 1) if re.search(rf"// LINE {re.escape(mark)}$", line)]
    if len(found) != 1:
        raise Failure(f"{source} has {len(found)} lines marked '{mark}'")
    return found[0]


def run_windows(command, folder, environment, seconds=SECONDS, **more):
    """subprocess.run of a Windows program. When its time is up, run-wine ends the program, and soon after that whatever is
    left of it is ended from here."""
    wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return limited_run([*wrapper, *command], cwd=folder, env={**environment, "MI_RUN_LIMIT": str(seconds)},
                       timeout=seconds + 20, **{**streams, **more})


class Folder:
    """A fresh folder with copies of files; runs Windows programs in it."""

    def __init__(self, files):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="diagnose-", dir=os.environ.get("MI_TEST_TMP")))
        for file in files:
            shutil.copy(file, self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def run(self, program, *arguments, expect=0, **environment):
        """(standard output, standard error). `expect`: exit code; None: any but 0."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MIMALLOC_")}
        done = run_windows([str(self.path / program), *arguments], self.path, {**clean, **environment},
                           stdin=subprocess.DEVNULL, text=True, errors="replace")
        good = done.returncode != 0 if expect is None else done.returncode == expect
        if not good:
            raise Failure(f"{program} {' '.join(arguments)}: exit code {done.returncode} instead of {expect}\n"
                          f"{done.stdout}{done.stderr}")
        return done.stdout, done.stderr

    def json(self, name):
        return json.loads((self.path / name).read_text(encoding="utf-8"))


def parse(description, names, *own, paths=(), only=True):
    """The command line: our three files and what else is asked for by name, all needed, as text; those in `paths` as paths.
    `own` are calls of add_argument of the test's own, as (name, {parameter: value})."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, parameters in own:
        parser.add_argument(name, **parameters)
    for name in ("mi-run", "mi-report", "dll", *names):
        parser.add_argument("--" + name, required=True)
    for name in paths:
        parser.add_argument("--" + name, required=True, type=pathlib.Path)
    if only:
        parser.add_argument("only", nargs="*", metavar="CASE")
    return parser.parse_args()


def main(cases, only=()):
    """Runs functions that raise Failure; prints TAP; returns the exit code."""
    failed = 0
    chosen = [case for case in cases if not only or case[0] in only]
    print(f"1..{len(chosen)}")
    for number, (name, function, *arguments) in enumerate(chosen, 1):
        try:
            skipped = function(*arguments)
            print(f"ok {number} {name}" + (f" # SKIP {skipped}" if skipped else ""), flush=True)
        except (Failure, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as problem:
            failed += 1
            print(f"not ok {number} {name}")
            for line in f"{type(problem).__name__}: {problem}".splitlines():
                print("# " + line, flush=True)
    return 1 if failed or not chosen else 0
