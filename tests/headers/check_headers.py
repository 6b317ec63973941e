#!/usr/bin/env python3
"""Compiles each public header alone, in every standard of C and C++ that the headers promise, by each compiler given.

A standard that a compiler doesn't know is left out, and said so; a warning is a failure. Compilers are command lines."""

import argparse
import os
import shlex
import subprocess
import sys

HEADERS = ["mimalloc.h", "mimalloc-stats.h", "mimalloc-override.h", "mimalloc-new-delete.h"]
STANDARDS = {"c": ["c89", "c99", "c11", "c17", "c2x"],
             "c++": ["c++98", "c++11", "c++14", "c++17", "c++20", "c++2b"]}
SOURCES = {"c": "header_alone.c", "c++": "header_alone.cpp"}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Wstrict-prototypes", "-Wshadow", "-Werror"]


def knows(compiler, language, standard):
    run = subprocess.run([*compiler, f"-std={standard}", "-fsyntax-only", "-x", language, os.devnull],
                         capture_output=True, text=True)
    return run.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--include", required=True, help="folder of the headers")
    parser.add_argument("--cc", action="append", default=[], help="a C compiler; may be repeated")
    parser.add_argument("--cxx", action="append", default=[], help="a C++ compiler; may be repeated")
    options = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    compiled = failed = 0
    for language, compilers in (("c", options.cc), ("c++", options.cxx)):
        warnings = [w for w in WARNINGS if language == "c" or w != "-Wstrict-prototypes"]
        for compiler in map(shlex.split, compilers):
            standards = [s for s in STANDARDS[language] if knows(compiler, language, s)]
            unknown = sorted(set(STANDARDS[language]) - set(standards))
            print(f"{' '.join(compiler)}: {' '.join(standards)}" + (f"; not known: {' '.join(unknown)}" if unknown else ""))
            for_windows = "_WIN32" in subprocess.run([*compiler, "-dM", "-E", "-x", "c", os.devnull], capture_output=True,
                                                     text=True).stdout
            if len(standards) < 2:
                print(f"FAILED: {compiler[0]} is no compiler of {language} that this test can use")
                failed += 1
            for standard in standards:
                for header in HEADERS:
                    # With the DLL's import attributes, too, where there are such.
                    for defines in ([], ["-DMI_SHARED_LIB"]) if for_windows else ([],):
                        run = subprocess.run([*compiler, f"-std={standard}", *warnings, "-fsyntax-only", "-I", options.include,
                                              f"-DMI_TEST_HEADER=<{header}>", *defines, "-x", language,
                                              os.path.join(here, SOURCES[language])], capture_output=True, text=True)
                        compiled += 1
                        if run.returncode != 0:
                            failed += 1
                            print(f"FAILED: {header} as {standard} {' '.join(defines)}, {compiler[0]}:\n{run.stderr[:2000]}")
    print(f"{compiled} compilations, {failed} failed")
    sys.exit(1 if failed or not compiled else 0)


if __name__ == "__main__":
    main()
