#!/usr/bin/env python3
"""Runs a Windows program that Meson did not link itself, but that was made from one of its programs.

usage: run_wrapped.py ORIGINAL.exe PROGRAM.exe [ARGUMENT...]

ORIGINAL isn't run: Meson tells of its wrapper (MESON_EXE_WRAPPER) only if one of its own programs is among
the arguments.
"""
import os
import shlex
import sys

if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
    print(__doc__.strip())
    sys.exit(0 if len(sys.argv) > 1 else 99)
wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
if not wrapper:
    sys.exit("run_wrapped.py: no MESON_EXE_WRAPPER in the environment to run Windows programs with; start it "
             "through `meson test` in a folder that wine-ci/test configured")
os.execvp(wrapper[0], wrapper + [os.path.abspath(sys.argv[2])] + sys.argv[3:])
