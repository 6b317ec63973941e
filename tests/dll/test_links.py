#!/usr/bin/env python3
"""Links programs and DLLs with libmimalloc-crt.a and libmimalloc-override.a in the ways that build files do, with the flags
that mimalloc-crt.pc and mimalloc-override.pc carry, and demands each time that

  - the linker accepts it,
  - no allocation function comes from a C runtime: crt_names.txt against the import table,
  - the program, run under Wine, finds its blocks in mimalloc.dll (override: in itself, and there is no such DLL) and gives
    a C runtime's blocks back to it.

Prints a line per case and "N passed, N failed" at the end.
"""
import argparse
import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile

from pe import PE

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from limited_run import run as limited_run  # noqa: E402
from windows_path import windows_path  # noqa: E402

ASK_WHERE = ("linked.c", "linked.cpp", "linked_dll_user.c")  # with is_ours.h
RUN_SECONDS = 60
LINK_SECONDS = 300


class Failure(Exception):
    pass


class Objects:
    """The programs' object files, compiled once: which library they are linked with is nothing to them."""
    def __init__(self, folder):
        self.folder = folder
        self.made = {}


class Links:
    def __init__(self, options, package, api_library, objects, folder):
        self.options = options
        self.package = package
        self.api_library = api_library
        self.objects = objects
        self.folder = folder
        self.here = os.path.dirname(os.path.abspath(__file__))
        self.cc, self.cxx = shlex.split(options.cc), shlex.split(options.cxx)
        with open(options.crt_names, encoding="utf-8") as file:
            self.crt_names = {line.split("#")[0].split()[0] for line in file if line.split("#")[0].split()}
        self.is_static = package == "mimalloc-override"
        self.flags = self.pkg_config()
        self.wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
        self.passed = self.failed = 0
        if not self.wrapper and not options.no_run:
            sys.exit("test_links.py: no MESON_EXE_WRAPPER in the environment to run Windows programs with; start it through "
                     "`meson test` in a folder that wine-ci/test configured, or give --no-run")

    def pkg_config(self):
        environment = dict(os.environ, PKG_CONFIG_LIBDIR=self.options.pc_folder, PKG_CONFIG_PATH="")
        done = subprocess.run(["pkg-config", "--libs", self.package], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"test_links.py: pkg-config finds no {self.package} in {self.options.pc_folder}: {done.stderr}")
        return shlex.split(done.stdout)

    def path(self, name):
        return os.path.join(self.folder, name)

    def source(self, name):
        return os.path.join(self.here, name)

    def run(self, command, seconds, **more):
        try:
            return limited_run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, **more)
        except subprocess.TimeoutExpired:
            raise Failure(f"took more than {seconds} s: {shlex.join(command)}") from None

    def compile(self, compiler, source, arguments):
        """Object file of a source that lies beside this script, from the arguments that concern the compiler."""
        command = [*compiler, *(a for a in arguments if a.startswith(("-O", "-g", "-f", "-D", "-std=", "-specs=")))]
        command += ["-DSTATIC_OVERRIDE"] if self.is_static and source == "is_ours.c" else []
        key = (source, *command)
        if key not in self.objects.made:
            path = os.path.join(self.objects.folder, f"{len(self.objects.made)}.o")
            done = self.run([*command, "-c", self.source(source), "-o", path], LINK_SECONDS)
            if done.returncode != 0 or done.stderr.strip():
                raise Failure(f"{shlex.join(command)} -c {source}\n{(done.stdout + done.stderr)[:3000]}")
            self.objects.made[key] = path
        return self.objects.made[key]

    def is_ucrt(self):
        """Does the compiler make programs for the UCRT without being told to?"""
        done = self.run([*self.cc, "-dM", "-E", "-include", "crtdefs.h", "-x", "c", os.devnull], LINK_SECONDS)
        if "#define __MSVCRT__ " not in done.stdout:
            raise Failure(f"the compiler's headers do not say which C runtime they are for: {done.stderr}")
        return re.search(r"^#define _UCRT\b", done.stdout, re.M) is not None

    def link(self, output, compiler, *arguments):
        """Compiles the sources among the arguments and links, all in the order given. Returns the file's path."""
        command = list(compiler)
        for argument in arguments:
            is_source = argument.endswith((".c", ".cpp"))
            command.append(self.compile(compiler, argument, arguments) if is_source else argument)
            if argument in ASK_WHERE:
                command.append(self.compile(self.cc, "is_ours.c", ["-O2"]))
        command += ["-o", self.path(output)]
        done = self.run(command, LINK_SECONDS)
        if done.returncode != 0 or done.stderr.strip():
            raise Failure(f"{shlex.join(command)}\n{(done.stdout + done.stderr)[:3000]}")
        return self.path(output)

    def crt_imports(self, path):
        """Allocation functions that the file takes from elsewhere than mimalloc.dll."""
        imports = PE(path).imports()
        return [f"{name} of {dll}" for dll, names in imports.items() if dll.lower() != "mimalloc.dll"
                for name in names if name in self.crt_names]

    def check_imports(self, path):
        foreign = self.crt_imports(path)
        if foreign:
            raise Failure(f"imports {', '.join(foreign)}")
        ours = [name for dll, names in PE(path).imports().items() if dll.lower() == "mimalloc.dll" for name in names]
        if self.is_static:
            if ours:
                raise Failure(f"imports of mimalloc.dll: {ours}")
            return
        if not {"mi_malloc", "mi_crt_free"} <= set(ours):
            raise Failure(f"imports of mimalloc.dll only: {ours}")

    def check_run(self, path, *arguments, redirected=False):
        if self.options.no_run:
            return
        folders = [os.path.dirname(os.path.abspath(self.options.dll)), self.folder, *self.compiler_folders]
        environment = dict(os.environ, WINEPATH=";".join(map(windows_path, folders)))
        environment.pop("MIMALLOC_DISABLE_REDIRECT", None) # most programs' runtimes are to keep their own blocks
        if not redirected:
            environment["MIMALLOC_DISABLE_REDIRECT"] = "1"
        done = self.run(self.wrapper + [path, *arguments], RUN_SECONDS, env=environment)
        # A debug build tells of the impossible sizes that the programs ask for; it must know all their pointers.
        if done.returncode != 0 or done.stdout.strip() != "ok" or "invalid pointer" in done.stderr:
            raise Failure(f"exit code {done.returncode}\n{(done.stdout + done.stderr)[:3000]}")

    @functools.cached_property
    def compiler_folders(self):
        """Where the DLLs lie that programs need which take the compiler's libraries from there."""
        folders = []
        for dll in ("libstdc++-6.dll", "libwinpthread-1.dll"):
            path = self.run([*self.cxx, "-print-file-name=" + dll], LINK_SECONDS).stdout.strip()
            if not os.path.isabs(path):
                raise Failure(f"the compiler does not know where its {dll} lies")
            folders.append(os.path.dirname(os.path.realpath(path)))
        return folders

    def program(self, output, compiler, *arguments, run=()):
        path = self.link(output, compiler, *arguments)
        self.check_imports(path)
        self.check_run(path, *run)

    # ---- cases ------------------------------------------------------------------------------------------------------

    def case_control_without_the_flags(self):
        path = self.link("plain.exe", self.cc, "-O2", "linked_dll.c", "linked_dll_user.c")
        runtime = "api-ms-win-crt-heap-l1-1-0.dll" if self.is_ucrt() else "msvcrt.dll"
        if not {f"malloc of {runtime}", f"free of {runtime}"} <= set(self.crt_imports(path)):
            raise Failure("a program that was not linked with the library passes the check of its imports")

    def case_c_flags_last(self):
        self.program("last.exe", self.cc, "-O2", "linked.c", *self.flags)

    def case_c_flags_first(self):
        self.program("first.exe", self.cc, *self.flags, "-O2", "linked.c")

    def case_c_bare_library_last(self):
        # As in the README. Enough for a program, whose start-up code calls malloc.
        self.program("bare.exe", self.cc, "-O2", "linked.c", *[flag for flag in self.flags if flag.startswith(("-L", "-l"))])

    def case_c_unoptimised(self):
        self.program("o0.exe", self.cc, "-O0", "-g", "linked.c", *self.flags)

    def case_c_static(self):
        self.program("static.exe", self.cc, "-static", "-O2", "linked.c", *self.flags)

    def case_c_lto(self):
        self.program("lto.exe", self.cc, "-O2", "-flto", "linked.c", *self.flags)

    def case_c_lto_flags_first(self):
        self.program("ltofirst.exe", self.cc, "-O2", "-flto", *self.flags, "linked.c")

    def case_c_gc_sections(self):
        self.program("gc.exe", self.cc, "-O2", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "linked.c", *self.flags)

    def case_c_gc_sections_lto_static_stripped(self):
        self.program("gcall.exe", self.cc, "-O2", "-ffunction-sections", "-Wl,--gc-sections", "-flto", "-static", "-s",
                     *self.flags, "linked.c")

    def case_c_flags_twice(self):
        self.program("twice.exe", self.cc, *self.flags, "-O2", "linked.c", *self.flags)

    def case_c_explicit_runtime_behind(self):
        self.program("behind.exe", self.cc, "-O2", "linked.c", *self.flags, "-lmingwex", "-lmsvcrt")

    def case_c_explicit_runtime_in_front(self):
        # The runtime has given its malloc before the linker meets our flags: there must be an error, not half a program.
        try:
            self.link("front.exe", self.cc, "-O2", "linked.c", "-lmsvcrt", *self.flags)
        except Failure as failure:
            if "multiple definition of" not in str(failure):
                raise
            return
        raise Failure("no error from the linker")

    def case_c_beside_the_api_library(self):
        self.program("api.exe", self.cc, "-O2", "linked.c", *self.flags, self.api_library)

    def not_exported(self):
        """These DLLs declare no exports, so GNU ld exports all that is in them. Of archives, unless it is told not to."""
        return ["-Wl,--exclude-libs,libmimalloc-override.a"] if self.is_static else []

    def case_dll_that_allocates_nothing(self):
        path = self.link("nothing.dll", self.cc, "-shared", *self.flags, *self.not_exported(), "nothing.c")
        self.check_imports(path) # the flags pull the library in by themselves
        if PE(path).exports() != ["nothing"]:
            raise Failure(f"exports {PE(path).exports()}")

    def case_dll(self):
        path = self.link("linked_dll.dll", self.cc, "-shared", "-O2", *self.flags, *self.not_exported(), "linked_dll.c",
                         "-Wl,--out-implib," + self.path("liblinked_dll.dll.a"))
        self.check_imports(path)
        if PE(path).exports() != ["linked_dll_copy"]:  # it exports all its own symbols: ours must not be among them
            raise Failure(f"exports {PE(path).exports()}")
        if self.is_static:
            return  # the DLL and a program of the same kind would be strangers to each other
        self.program("dlluser.exe", self.cc, "-O2", "linked_dll_user.c", self.path("liblinked_dll.dll.a"), *self.flags)

    def case_blocks_freed_by_a_dll_without_the_flags(self):
        if self.is_static:
            return  # a block must be freed where it was allocated (README): there is no DLL that would serve both
        library = self.path("liblinked_other.dll.a")
        self.link("linked_other.dll", self.cc, "-shared", "-O2", "linked_other.c", "-Wl,--out-implib," + library)
        path = self.link("otheruser.exe", self.cc, "-O2", "-fno-builtin", "linked_other_user.c", library, *self.flags)
        self.check_imports(path)
        self.check_run(path, redirected=True)
        self.check_run(path)

    def case_cxx_flags_last(self):
        self.program("cxx.exe", self.cxx, "-std=c++17", "-O2", "linked.cpp", *self.flags)

    def case_cxx_flags_first_lto_gc_sections(self):
        self.program("cxxfirst.exe", self.cxx, "-std=c++17", "-O2", "-flto", "-Wl,--gc-sections", *self.flags, "linked.cpp")

    def case_cxx_static(self):
        self.program("cxxstatic.exe", self.cxx, "-std=c++17", "-O2", "-static", "linked.cpp", *self.flags)

    def case_cxx_own_operators(self):
        self.program("cxxown.exe", self.cxx, "-std=c++17", "-O2", "-DOWN_OPERATORS", "linked.cpp", *self.flags)

    def case_cxx_shared_libstdcxx(self):
        flags = [flag for flag in self.flags if not flag.startswith("-static-")]
        self.program("cxxshared.exe", self.cxx, "-std=c++17", "-O2", "linked.cpp", *flags, run=["shared"])

    def ucrt(self):
        """Compiler arguments for the UCRT: MinGW's specs with the other import library."""
        done = self.run([*self.cc, "-dumpspecs"], LINK_SECONDS)
        specs = os.path.join(self.objects.folder, "ucrt.specs")  # one name for both packages, or it would be another compilation
        with open(specs, "w", encoding="utf-8") as file:
            file.write(done.stdout.replace("-lmsvcrt", "-lucrt"))
        return ["-specs=" + specs, "-D_UCRT"]

    def ucrt_program(self, output, compiler, *arguments):
        self.program(output, [*compiler, *self.ucrt()], *arguments)
        others = [dll for dll in PE(self.path(output)).imports()
                  if not dll.lower().startswith(("api-ms-win-crt-", "kernel32", "mimalloc", "libwinpthread"))]
        if others:
            raise Failure(f"is no UCRT program: imports {others}")

    def case_ucrt_c_flags_last(self):
        self.ucrt_program("ucrt.exe", self.cc, "-O2", "linked.c", *self.flags)

    def case_ucrt_c_flags_first(self):
        self.ucrt_program("ucrtfirst.exe", self.cc, *self.flags, "-O2", "linked.c")

    def case_ucrt_cxx(self):
        setjmp = []
        if PE(self.options.dll).is_64:  # Debian's libraries were built for msvcrt, where it has another name
            setjmp = ["-Wl,--defsym,_setjmp=__intrinsic_setjmp", "-Wl,-u,__intrinsic_setjmp"]
        self.ucrt_program("ucrtcxx.exe", self.cxx, "-std=c++17", "-O2", "linked.cpp", *self.flags, *setjmp)

    def all(self):
        cases = [name for name in dir(self) if name.startswith("case_")]
        cases.sort(key=lambda name: getattr(type(self), name).__code__.co_firstlineno)
        if self.is_static:  # a program that asks the static library for its blocks can't be linked without it
            cases.remove("case_control_without_the_flags")
        if self.options.case:
            cases = [name for name in cases if name == "case_" + self.options.case]
            if not cases:
                sys.exit(f"test_links.py: there is no case '{self.options.case}'")
        print(f"{self.package}: {shlex.join(self.flags)}", flush=True)
        for number, name in enumerate(cases, 1):
            title = name.removeprefix("case_")
            try:
                getattr(self, name)()
                self.passed += 1
                print(f"{number}/{len(cases)} ok     {title}", flush=True)
            except Failure as failure:
                self.failed += 1
                print(f"{number}/{len(cases)} FAILED {title}: {failure}", flush=True)
        print(f"{self.passed} passed, {self.failed} failed")
        return self.failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", required=True, help="C compiler, a command line")
    parser.add_argument("--cxx", required=True, help="C++ compiler")
    parser.add_argument("--pc-folder", required=True, help="folder of PACKAGE.pc or its -uninstalled form")
    parser.add_argument("--package", nargs=2, action="append", required=True, metavar=("NAME", "LIBRARY"),
                        help="mimalloc-crt or mimalloc-override, and a library with the mi_ functions, to be linked beside; may be repeated")
    parser.add_argument("--dll", required=True, help="mimalloc.dll")
    parser.add_argument("--crt-names", required=True, help="crt_names.txt")
    parser.add_argument("--no-run", action="store_true", help="link and inspect only")
    parser.add_argument("--case", help="only this one")
    options = parser.parse_args()
    is_well = True
    with tempfile.TemporaryDirectory() as folder:
        objects = Objects(os.path.join(folder, "objects"))
        os.mkdir(objects.folder)
        for package, library in options.package:
            os.mkdir(os.path.join(folder, package))
            is_well = Links(options, package, library, objects, os.path.join(folder, package)).all() and is_well
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
