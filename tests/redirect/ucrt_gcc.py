#!/usr/bin/env python3
"""Runs MinGW's compiler for a program or DLL that uses the UCRT, where the compiler is made for msvcrt: with its own specs, in
which the library is exchanged.

usage: ucrt_gcc.py 'COMPILER...' ARGUMENT...
"""
import shlex
import subprocess
import sys
import tempfile

if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
    print(__doc__)
    sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
compiler = shlex.split(sys.argv[1])
specs = subprocess.run([*compiler, "-dumpspecs"], capture_output=True, text=True, check=True).stdout
if "-lmsvcrt" not in specs:
    sys.exit(f"ucrt_gcc.py: the specs of {compiler[0]} name no -lmsvcrt to exchange; is it a compiler for the UCRT already?")
with tempfile.NamedTemporaryFile("w", suffix=".specs") as file:
    file.write(specs.replace("-lmsvcrt", "-lucrt"))
    file.flush()
    sys.exit(subprocess.run([*compiler, f"-specs={file.name}", "-D_UCRT", *sys.argv[2:]]).returncode)
