"""What the scripts of this folder share. Each is one kind of user: it starts in an empty folder with an installed tree that
was moved after its installation (or a release archive that was unpacked), does what README.md says, and demands what it
promises. A case is a method case_*; each prints a line.
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "dll"))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from limited_run import run as limited_run  # noqa: E402
from windows_path import windows_path  # noqa: E402
from pe import PE  # noqa: E402

SECONDS = 600
EXAMPLES = os.path.join(ROOT, "examples")
CRT_FAMILY = {"malloc", "calloc", "realloc", "free", "_msize", "strdup", "_strdup", "_aligned_malloc", "_aligned_free",
              "_wcsdup", "_recalloc", "??2@YAPEAX_K@Z", "??3@YAXPEAX@Z"}


class Failure(Exception):
    pass


class Skip(Exception):
    pass


class Consumer:
    def __init__(self, description, add_arguments=None):
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--build", help="Meson's build folder, compiled: its tree is installed")
        where.add_argument("--prefix", help="an installed tree or an unpacked archive, instead")
        parser.add_argument("--cc", default="x86_64-w64-mingw32-gcc-posix", help="C compiler (default %(default)s)")
        parser.add_argument("--cxx", default="x86_64-w64-mingw32-g++-posix", help="C++ compiler (default %(default)s)")
        parser.add_argument("--no-run", action="store_true", help="build and inspect only")
        parser.add_argument("--case", help="only this one")
        if add_arguments:
            add_arguments(parser)
        self.options = parser.parse_args()
        self.cc, self.cxx = shlex.split(self.options.cc), shlex.split(self.options.cxx)
        self.wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", os.path.join(ROOT, "wine-ci", "run-wine")))

    # ---- the installed tree -----------------------------------------------------------------------------------------

    def install(self):
        """Installs into one place and moves the tree to another: nothing may remember the first."""
        if self.options.prefix:
            return os.path.abspath(self.options.prefix)
        staging = os.path.join(self.folder, "staging")
        self.run(["meson", "install", "-C", os.path.abspath(self.options.build), "--no-rebuild", "--quiet", "--destdir", staging])
        prefix = self.build_option("prefix")
        moved = os.path.join(self.folder, "moved here")  # a space in the path is no obstacle
        shutil.move(os.path.join(staging, prefix.lstrip("/")), moved)
        return moved

    def build_option(self, name):
        import json
        done = self.run(["meson", "introspect", "--buildoptions", os.path.abspath(self.options.build)])
        return next(option["value"] for option in json.loads(done.stdout) if option["name"] == name)

    def find(self, name):
        """The one file of that name in the tree; checking and secure builds are not looked at."""
        found = [os.path.join(folder, name) for folder, _, files in os.walk(self.prefix)
                 if name in files and os.path.basename(folder) not in ("debug", "secure")]
        if len(found) != 1:
            raise Failure(f"{len(found)} files are called {name} in the installed tree: {found}")
        return found[0]

    def clang(self, name):
        """clang for the target of the GCC at hand, with that one's libraries: it does not know of Debian's -posix folders."""
        if not shutil.which(name):
            raise Skip(f"no {name} here")
        gcc = os.path.dirname(self.run([*self.cc, "-print-libgcc-file-name"]).stdout.strip())
        target = self.run([*self.cc, "-dumpmachine"]).stdout.strip()
        headers = os.path.join(gcc, "include", "c++")
        cxx = ["-stdlib++-isystem", headers, "-stdlib++-isystem", os.path.join(headers, target)] if name.endswith("++") else []
        return [name, "--target=" + target, "-B" + gcc, "-L" + gcc, *cxx]  # -B: GCC's crtbegin.o, which tells of exception tables

    # ---- running ----------------------------------------------------------------------------------------------------

    def run(self, command, rc=0, env=None, cwd=None):
        try:
            done = limited_run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
                               env=dict(os.environ, **(env or {})), cwd=cwd or self.folder)
        except subprocess.TimeoutExpired:
            raise Failure(f"took more than {SECONDS} s: {shlex.join(command)}") from None
        if rc is not None and done.returncode != rc:
            raise Failure(f"exit code {done.returncode} from: {shlex.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")
        return done

    def build(self, command, **more):
        """A compiler's run: it must not warn."""
        done = self.run(command, **more)
        # GNU ld says that of clang's objects beside GCC's libstdc++, whoever else is linked.
        lines = [line for line in done.stderr.splitlines() if not re.search(r"duplicate section .* has different size", line)]
        if "".join(lines).strip():
            raise Failure(f"warnings from: {shlex.join(command)}\n{done.stderr[-3000:]}")
        return done

    def pkg_config(self, *arguments):
        # PKG_CONFIG_ALLOW_SYSTEM_*: a tree in /usr is a case of its own. define-prefix is the default only on Windows.
        folder = os.path.dirname(self.find("mimalloc-static.pc"))
        done = self.run(["pkg-config", *arguments], env={"PKG_CONFIG_LIBDIR": folder, "PKG_CONFIG_PATH": ""})
        return shlex.split(done.stdout)

    def compile(self, output, compiler, *arguments):
        self.build([*compiler, "-Wall", "-Werror", *arguments, "-o", self.path(output)])
        return self.path(output)

    def run_program(self, path, expected, with_dll, env=None):
        """Runs a copy of the program in an empty folder, with mimalloc.dll beside it or not."""
        if self.options.no_run:
            return
        alone = tempfile.mkdtemp(dir=self.folder)
        shutil.copy(path, alone)
        if with_dll:
            shutil.copy(self.find("mimalloc.dll"), alone)
        command = [*self.wrapper, os.path.join(alone, os.path.basename(path))]
        done = self.run(command, rc=None, env=env)
        if done.returncode == 1 and not done.stdout + done.stderr:
            print("Wine did not start a program; once more", flush=True)
            done = self.run(command, rc=None, env=env)
        if done.returncode != 0:
            raise Failure(f"exit code {done.returncode} from {os.path.basename(path)}: {done.stdout} {done.stderr}")
        if expected not in done.stdout:
            raise Failure(f"'{expected}' expected from {os.path.basename(path)}, got: {done.stdout} {done.stderr}")
        return done

    # What examples/ promise.
    def is_api(self, path, with_dll):
        imports = self.imports(path)
        ours = [name for dll, names in imports.items() if dll == "mimalloc.dll" for name in names]
        if with_dll != ("mi_strdup" in ours) or (not with_dll and ours):
            raise Failure(f"takes {ours or 'nothing'} from mimalloc.dll")
        self.run_program(path, "grown; ", with_dll)
        self.run_program(path, "the grid is aligned", with_dll)

    def is_app(self, path, expected, with_dll=True):
        imports = self.imports(path)
        foreign = [f"{name} of {dll}" for dll, names in imports.items() if dll != "mimalloc.dll"
                   for name in names if name in CRT_FAMILY]
        if foreign:
            raise Failure(f"takes {foreign} from a C runtime")
        if with_dll and "mimalloc.dll" not in imports:
            raise Failure("does not import mimalloc.dll")
        done = self.run_program(path, expected, with_dll, env={"MIMALLOC_SHOW_STATS": "1"})
        if done is not None and "blocks" not in done.stderr and "malloc" not in done.stderr:
            raise Failure(f"no statistics from mimalloc: {done.stderr[:1000]}")

    APP = "8890 bytes in 1000 lines"
    APP_CXX = "40000 counted; bad_alloc thrown"

    def imports(self, path):
        return {dll.lower(): names for dll, names in PE(path).imports().items()}

    def path(self, name):
        return os.path.join(self.folder, name)

    def example(self, name):
        return os.path.join(EXAMPLES, name)

    # ---- cases ------------------------------------------------------------------------------------------------------

    def prepare(self):
        self.prefix = self.install()

    def main(self):
        cases = [name for name in dir(self) if name.startswith("case_")]
        cases.sort(key=lambda name: getattr(type(self), name).__code__.co_firstlineno)
        if self.options.case:
            cases = [name for name in cases if name == "case_" + self.options.case]
            if not cases:
                sys.exit(f"there is no case '{self.options.case}'")
        passed = failed = skipped = 0
        with tempfile.TemporaryDirectory(prefix="consumer-") as folder:
            self.folder = folder
            try:
                self.prepare()
            except Failure as failure:
                sys.exit(f"FAILED preparation: {failure}")
            for number, name in enumerate(cases, 1):
                title = f"{number}/{len(cases)} {{}} {name.removeprefix('case_')}"
                try:
                    getattr(self, name)()
                    passed += 1
                    print(title.format("ok     "), flush=True)
                except Failure as failure:
                    failed += 1
                    print(title.format("FAILED ") + f": {failure}", flush=True)
                except Skip as reason:
                    if os.environ.get("MI_TOOLCHAINS_REQUIRED"):
                        failed += 1
                    skipped += 1
                    print(title.format("skipped") + f": {reason}", flush=True)
        print(f"{passed} passed, {failed} failed, {skipped} skipped")
        # 77 tells Meson that nothing was tested.
        sys.exit(1 if failed else 77 if skipped == len(cases) else 0)
