#!/usr/bin/env python3
"""Runs what docs/diagnose.md shows: compiles its program, runs its commands in a fresh folder, applies its corrections, and
compares. Not compared: what differs from machine to machine (addresses, threads, folders, times, what C runtimes keep, how often
they allocate, frames outside of the program).

usage: test_tutorial.py DOCUMENT --bits 64|32 --mi-run FILE --mi-report FILE --dll FILE --cc COMPILER

The document shows a 64-bit program.
"""
import re
import shlex
import subprocess
import sys

from common import Folder, check, main, parse

options = None

# The document shows what comes on a console, where the program's own lines are printed at once. The UCRT keeps those for a pipe
# back, and a crash takes them along.
CONSOLE = """#include <stdio.h>
static __attribute__((constructor)) void as_on_a_console(void) { setvbuf(stdout, NULL, _IONBF, 0); }
"""


def comparable(text):
    text = text.replace("\r", "")
    text = re.sub(r"^Kept until the end.*\n(?: .*\n)*", "", text, flags=re.M)
    # The crash, as Wine tells it, and what its debugger hasn't got: that comes in spite of WINEDEBUG=-all.
    text = re.sub(r"^(?:wine: |[0-9a-f]{4}:(?:fixme|err):).*\n", "", text, flags=re.M)
    lines = []
    for line in text.splitlines():
        line = re.sub(r"thread \d+|freed \d+ ms|all \d+ alloc|of \d+ alloc", lambda m: re.sub(r"\d+", "N", m[0]), line)
        if line.startswith("    "):
            if "shop.c:" not in line:
                continue
            line = re.sub(r" +\S*(shop\.c:\d+) .*", r" \1", line)
        if line.strip():
            lines.append(line.rstrip())
    return lines


def apply(source, difference):
    """Replaces each run of lines with '-' by the run of '+' behind it."""
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", difference, re.M):
        before, after = (re.sub(r"^.", "", part, flags=re.M) for part in (old, new))
        check(source.count(before) == 1, f"the program has not exactly once:\n{before}")
        source = source.replace(before, after)
    return source


def tutorial():
    with open(options.document, encoding="utf-8") as file:
        parts = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", file.read(), re.M | re.S)
    source, commands = "", 0
    with Folder([options.mi_run, options.mi_report, options.dll]) as folder:
        def build():
            (folder.path / "shop.c").write_text(source, encoding="utf-8")
            (folder.path / "console.c").write_text(CONSOLE, encoding="utf-8")
            subprocess.run([*shlex.split(options.cc), "-g", "shop.c", "console.c", "-o", "shop.exe"], cwd=folder.path, check=True)

        for language, _, text in parts:
            if language in ("c", "diff"):
                source = text if language == "c" else apply(source, text)
                build()
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M) if language == "console" else ():
                words = command.split()
                if options.bits == "32":  # a pointer and an int
                    shown = shown.replace("at offset 8 of a block of 16 bytes", "at offset 4 of a block of 8 bytes")
                check(words[0] == "mi-run", f"what is {words[0]}?")
                fatal = "Invalid write" in shown or "Invalid read" in shown
                out, error = folder.run("mi-run.exe", *words[1:], expect=None if fatal else 0)
                check(comparable(out + error) == comparable(shown), f"$ {command}\n{out}{error}\ninstead of\n{shown}")
                commands += 1
    check(commands == 5, f"{commands} commands")


if __name__ == "__main__":
    options = parse(__doc__, ("cc",), ("document", {}), ("--bits", {"choices": ["64", "32"], "required": True}), only=False)
    sys.exit(main([("tutorial", tutorial)]))
