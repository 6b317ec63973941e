#!/usr/bin/env python3
"""Checks that a program with the static library in it imports only what every Windows since XP x64 has.

What it imports beyond the same program without the library must be of KERNEL32.dll and on the list, or of
the program's own C runtime and harmless."""
import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dll"))
from pe import PE, TLS  # noqa: E402

# Functions of the C runtime that the library may bring in besides; all of them as old as msvcrt.dll.
CRT_ALLOWED = {"atexit", "_onexit", "__dllonexit", "_lock", "_unlock",
               "memcpy", "memmove", "memset", "memcmp"}


def names_of(path):
    """{(DLL in lower case, name)}"""
    return {(dll.lower(), name) for dll, names in PE(path).imports().items() for name in names}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", required=True, help="the program without the library")
    parser.add_argument("--allowed", required=True, help="kernel32-allowed.txt")
    parser.add_argument("programs", nargs="+", help="programs with the library, MODE=PATH")
    options = parser.parse_args()
    with open(options.allowed, encoding="utf-8") as file:
        allowed = {line.split("#")[0].split()[0] for line in file if line.split("#")[0].split()}
    before = names_of(options.without)
    if not any(dll == "kernel32.dll" for dll, _ in before):
        sys.exit(f"{options.without}: imports nothing from KERNEL32.dll: this can't be the program")
    runtime = {dll for dll, _ in before if dll == "msvcrt.dll" or dll.startswith("api-ms-win-crt-")}
    if not runtime:
        sys.exit(f"{options.without}: imports no C runtime: this can't be the program")
    failed = 0
    for argument in options.programs:
        mode, path = argument.split("=", 1)
        more = names_of(path) - before
        bad = [f"{dll}!{name}" for dll, name in sorted(more)
               if not (dll == "kernel32.dll" and name in allowed
                       or dll in runtime and name in CRT_ALLOWED)]
        print(f"{mode}: {len(more)} imports more: {' '.join(sorted(name for _, name in more))}")
        if not more:
            bad.append("imports nothing more: this can't be a program with the library")
        if mode in ("tls", "auto") and not PE(path).has(TLS):
            bad.append("has no TLS directory, so nobody would call the TLS callback")
        for problem in bad:
            print(f"FAILED: {mode}: {problem}")
        failed += len(bad)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
