#!/usr/bin/env python3
"""Programs whose import table minject.exe edited, started under Wine: mimalloc.dll must be initialised before the C runtime,
and the program must do what it did before. Prints a line per case and "N passed, N failed" at the end.
"""
import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from limited_run import run as limited_run  # noqa: E402
from windows_path import windows_path  # noqa: E402
from make_seeds import fill_headers  # noqa: E402

SECONDS = 60
REFUSED = 4  # minject's exit code
EXIT_CODE = 7  # program.c's


class Failure(Exception):
    pass


def demand(condition, text):
    if not condition:
        raise Failure(text)


class Start:
    def __init__(self, options):
        self.options = options
        self.here = os.path.dirname(os.path.abspath(__file__))
        self.cc = shlex.split(options.cc)
        self.wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
        if not self.wrapper:
            sys.exit("test_start.py: no MESON_EXE_WRAPPER in the environment to run Windows programs with; start it through "
                     "`meson test` in a folder that wine-ci/test configured")
        self.folder = None

    # ---- helpers ----------------------------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def tool(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, timeout=300)
        demand(done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}")

    def compile(self, source, output, *arguments):
        self.tool(*self.cc, "-O2", os.path.join(self.here, source), "-o", output, *arguments)

    def tiny_dll(self, arch=None):
        """For this program's architecture, or another."""
        cc = [f"{arch}-w64-mingw32-gcc-posix"] if arch else self.cc
        if shutil.which(cc[0]) is None:
            raise Failure(f"{cc[0]} is missing; run wine-ci/setup")
        entry = "_tiny_entry@12" if (arch or self.options.arch) == "i686" else "tiny_entry"
        self.tool(*cc, "-O2", os.path.join(self.here, "tiny.c"), "-o", "mimalloc.dll", "-shared", "-nostdlib", "-nostartfiles",
                  "-Wl,-e," + entry, "-lkernel32")

    def minject(self, *arguments):
        done = limited_run([*self.wrapper, os.path.abspath(self.options.minject), *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, cwd=self.folder, timeout=SECONDS)
        demand(done.returncode == 0, f"minject {shlex.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, name, *arguments, code=EXIT_CODE, env=None):
        """Returns what the program prints."""
        done = limited_run([*self.wrapper, self.path(name), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           cwd=self.folder, timeout=SECONDS, env=dict(os.environ, PATH=os.defpath, **(env or {})))
        demand(code is None or done.returncode == code, f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        self.code = done.returncode
        self.errors = done.stderr
        return done.stdout

    def order(self, text):
        return [line.split(": ")[1].lower() for line in text.splitlines() if line.startswith("initialised: ")]

    def rest(self, text):
        return [line for line in text.splitlines() if not line.startswith(("initialised: ", "tiny: "))]

    def check_first(self, text, plain):
        """mimalloc.dll right behind the system's own three; all other modules as in the plain run."""
        order, before = self.order(text), self.order(plain)
        demand("mimalloc.dll" in order and "msvcrt.dll" in order, f"order: {order}")
        expected = list(before)
        expected.insert(expected.index("kernel32.dll") + 1, "mimalloc.dll")
        demand(order == expected, f"order: {order}, expected {expected}")
        demand(order.index("mimalloc.dll") < order.index("msvcrt.dll"), f"order: {order}")
        demand(self.rest(text) == self.rest(plain), f"prints {self.rest(text)}, without the edit {self.rest(plain)}")

    def plain_program(self, *arguments):
        self.compile("program.c", "app.exe", *arguments)
        text = self.start("app.exe", "a b", "c")
        demand("mimalloc.dll" not in self.order(text) and "msvcrt.dll" in self.order(text), f"the plain program: {text}")
        demand("argument: a b" in text, f"the plain program: {text}")
        return text

    # ---- cases ------------------------------------------------------------------------------------------------------

    def case_tiny_dll_first(self):
        plain = self.plain_program()
        self.tiny_dll()
        self.minject("app.exe")
        text = self.start("app.exe", "a b", "c")
        self.check_first(text, plain)
        self.minject("--remove", "--no-backup", "app.exe")
        demand(self.start("app.exe", "a b", "c") == plain, "after removal: not as before")

    def case_real_dll_first(self):
        plain = self.plain_program()
        shutil.copy(self.options.dll, self.path("mimalloc.dll"))
        self.minject("app.exe")
        text = self.start("app.exe", "a b", "c", env={"MIMALLOC_VERBOSE": "1"})
        self.check_first(text, plain)
        demand("mimalloc: version" in self.errors, f"mimalloc.dll says nothing: {self.errors}")

    def case_missing_dll(self):
        """The import is a real one: without the DLL, the program does not start."""
        self.plain_program()
        self.minject("app.exe")
        text = self.start("app.exe", code=None)
        demand(self.code not in (0, EXIT_CODE) and self.order(text) == [], f"it started: exit code {self.code}, {text}")

    def case_resources_and_overlay(self):
        self.tool(*shlex.split(self.options.windres), "-o", "resources.o", os.path.join(self.here, "seed.rc"))
        self.compile("program.c", "app.exe", "-s", "resources.o")
        with open(self.path("app.exe"), "ab") as file:
            file.write(b"x" * 777 + b"overlay 12345678")
        plain = self.start("app.exe")
        demand("resource: 42 bytes, 0123456789abcdef0123456789abcdef" in plain and "overlay: overlay 12345678" in plain, plain)
        self.tiny_dll()
        self.minject("app.exe")
        self.check_first(self.start("app.exe"), plain)

    def case_no_header_room(self):
        """The last section is made longer instead."""
        plain = self.plain_program("-s")
        with open(self.path("app.exe"), "rb") as file:
            data = file.read()
        with open(self.path("app.exe"), "wb") as file:
            file.write(fill_headers(data))
        self.tiny_dll()
        demand("no room for another section header" in self.minject("app.exe"), "there was room")
        self.check_first(self.start("app.exe", "a b", "c"), plain)

    def case_other_layouts(self):
        self.tiny_dll()
        for layout in ("--section-alignment,65536,--file-alignment,4096", "--disable-dynamicbase,--image-base,0x20000000"):
            plain = self.plain_program("-Wl," + layout)
            self.minject("--force", "app.exe")
            self.check_first(self.start("app.exe", "a b", "c"), plain)

    def case_reorder(self):
        """A program that was linked with the DLL, but does not import it first."""
        self.tiny_dll()
        definition = "LIBRARY mimalloc.dll\nEXPORTS\n  mi_version\n"
        with open(self.path("z.def"), "w", encoding="ascii") as file:
            file.write(definition)
        os.makedirs(self.path("zz"))
        # GNU ld sorts imports by the library's path.
        self.tool(*shlex.split(self.options.dlltool), "-d", "z.def", "-l", "zz/libz.a")
        self.compile("program.c", "app.exe", "-DPROGRAM_CALLS_MIMALLOC", "zz/libz.a")
        before = self.start("app.exe")
        demand(self.order(before).index("mimalloc.dll") > self.order(before).index("msvcrt.dll"), f"it is early already: {before}")
        demand("version: 1" in before and "tiny: the C runtime was there before" in before, before)
        self.minject("--reorder", "app.exe")
        after = self.start("app.exe")
        demand(self.order(after).index("mimalloc.dll") < self.order(after).index("msvcrt.dll"), f"it is late still: {after}")
        demand("version: " in after, after)

    def case_dll_edited(self):
        """minject on a DLL: its import is initialised before the C runtime that it shares with nobody yet."""
        self.compile("program_library.c", "library.dll", "-shared", "-Wl,--out-implib,liblibrary.a")
        self.compile("program.c", "app.exe", "-DPROGRAM_CALLS_LIBRARY", "liblibrary.a")
        plain = self.start("app.exe")
        demand("library: 42" in plain, plain)
        self.tiny_dll()
        self.minject("library.dll")
        text = self.start("app.exe")
        order = self.order(text)
        demand(order.index("mimalloc.dll") < order.index("library.dll"), f"order: {order}")
        demand(self.rest(text) == self.rest(plain), f"prints {self.rest(text)}, without the edit {self.rest(plain)}")

    def case_wrong_bitness(self):
        """What minject refuses, and does when forced, would happen: the program does not start."""
        self.plain_program()
        ours, other = ("x86", "x86-64") if self.options.arch == "i686" else ("x86-64", "x86")
        self.tiny_dll("x86_64" if self.options.arch == "i686" else "i686")
        for force, code, word in ([], REFUSED, "error"), (["--force"], 0, "warning"):
            done = limited_run([*self.wrapper, os.path.abspath(self.options.minject), *force, "app.exe"], capture_output=True,
                               text=True, cwd=self.folder, timeout=SECONDS)
            said = f"{word}: mimalloc.dll is for {other}, but the program is for {ours}: it would not start" in done.stderr
            demand(done.returncode == code and said, str(done))
        text = self.start("app.exe", code=None)
        demand(self.code not in (0, EXIT_CODE) and self.order(text) == [], f"it started: exit code {self.code}, {text}")

    def case_running_program(self):
        """Nothing can be written over a program while it runs; it says so, and leaves no backup behind."""
        self.compile("program.c", "app.exe")
        with open(self.path("app.exe"), "rb") as file:
            original = file.read()
        text = self.start("app.exe", "--run", windows_path(os.path.abspath(self.options.minject)), "app.exe")
        demand("exit code: 1" in text and "can't write app.exe: Permission denied" in self.errors, f"{text}{self.errors}")
        with open(self.path("app.exe"), "rb") as file:
            demand(file.read() == original, "the program was changed")
        demand(not os.path.exists(self.path("app.exe.bak")), "a backup was left")

    # ---- running ----------------------------------------------------------------------------------------------------

    def all(self):
        cases = [name for name in dir(self) if name.startswith("case_")]
        cases.sort(key=lambda name: getattr(type(self), name).__code__.co_firstlineno)
        if self.options.case:
            cases = [name for name in cases if name == "case_" + self.options.case]
            if not cases:
                sys.exit(f"test_start.py: there is no case '{self.options.case}'")
        failed = 0
        for number, name in enumerate(cases, 1):
            title = name.removeprefix("case_")
            with tempfile.TemporaryDirectory() as self.folder:
                try:
                    getattr(self, name)()
                    print(f"{number}/{len(cases)} ok     {title}", flush=True)
                except (Failure, ValueError, subprocess.TimeoutExpired) as failure:
                    failed += 1
                    print(f"{number}/{len(cases)} FAILED {title}: {failure}", flush=True)
        print(f"{len(cases) - failed} passed, {failed} failed")
        return failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minject", required=True, help="minject.exe")
    parser.add_argument("--dll", required=True, help="mimalloc.dll")
    parser.add_argument("--arch", required=True, choices=["x86_64", "i686"], help="of the programs")
    parser.add_argument("--cc", required=True, help="C compiler for it, a command line")
    parser.add_argument("--windres", required=True)
    parser.add_argument("--dlltool", required=True)
    parser.add_argument("--case", help="only this one")
    sys.exit(0 if Start(parser.parse_args()).all() else 1)


if __name__ == "__main__":
    main()
