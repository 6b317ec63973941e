"""What the tests of the diagnostics share: fresh folders, Windows programs, lines of sources."""
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


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


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
        wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MIMALLOC_")}
        done = limited_run([*wrapper, str(self.path / program), *arguments], cwd=self.path, timeout=SECONDS,
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                           env={**clean, **environment})
        good = done.returncode != 0 if expect is None else done.returncode == expect
        if not good:
            raise Failure(f"{program} {' '.join(arguments)}: exit code {done.returncode} instead of {expect}\n"
                          f"{done.stdout}{done.stderr}")
        return done.stdout, done.stderr

    def json(self, name):
        return json.loads((self.path / name).read_text(encoding="utf-8"))


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
