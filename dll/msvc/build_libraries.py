#!/usr/bin/env python3
"""Makes the libraries for MSVC's linker (link.exe, lld-link), with clang and the LLVM tools:

  mimalloc.lib           import library of mimalloc.dll, short imports
  mimalloc-crt.lib       the same, and an object that takes over the C runtime's allocation functions
  mimalloc-static.lib    the allocator itself, compiled in MSVC's mode
  mimalloc-override.lib  the allocator itself, and the same object

clang compiles freestanding and with MinGW-w64's Windows headers, none of Microsoft's. What the objects then ask for is KERNEL32
and what Microsoft's runtime has, however it is linked: memcpy, memset, atexit, __chkstk, _tls_used.
"""
import argparse
import os
import subprocess
import sys

TARGETS = {"x86_64": ("x86_64-pc-windows-msvc", "i386:x86-64", "x86_64-w64-mingw32"),
           "x86": ("i686-pc-windows-msvc", "i386", "i686-w64-mingw32"),
           "aarch64": ("aarch64-pc-windows-msvc", "arm64", None)}
# -fgnuc-version: the sources, and MinGW-w64's headers, use GCC's extensions. -idirafter: clang's own stdarg.h comes first.
FLAGS = ["-std=c11", "-O2", "-DNDEBUG", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-ffreestanding", "-fno-stack-protector",
         "-nostdlibinc", "-fgnuc-version=4.2.1"]
TIMELESS = ["-mno-incremental-linker-compatible"]  # no time stamp


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or done.stderr.strip():
        print(" ".join(command), done.stdout, done.stderr, sep="\n", file=sys.stderr)
        sys.exit(f"build_libraries.py: {os.path.basename(command[0])} failed")


def read_depfile(path):
    """The files after the colon of a depfile, as it spells them."""
    with open(path, encoding="utf-8") as file:
        return file.read().split(":", 1)[1].replace("\\\n", " ")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=TARGETS)
    parser.add_argument("--clang", required=True)
    parser.add_argument("--dlltool", required=True, help="llvm-dlltool")
    parser.add_argument("--lib", required=True, help="llvm-lib")
    parser.add_argument("--headers", help="folder of windows.h (default: Debian's for the architecture)")
    parser.add_argument("--include", action="append", default=[], help="further folders of headers")
    parser.add_argument("--def", dest="def_file", required=True)
    parser.add_argument("--objects", required=True, help="folder for objects")
    parser.add_argument("--depfile", required=True)
    parser.add_argument("--core", nargs="+", required=True, help="sources of the allocator")
    parser.add_argument("--crt", nargs="+", required=True, help="sources of the functions that stand in for the runtime's")
    parser.add_argument("--thunks", nargs=2, required=True, help="assembler sources, for the DLL and without one")
    parser.add_argument("--outputs", nargs=4, required=True, help="the four libraries")
    options = parser.parse_args()
    target, machine, triplet = TARGETS[options.arch]
    headers = options.headers or f"/usr/{triplet}/include"
    if not os.path.exists(os.path.join(headers, "windows.h")):
        sys.exit(f"build_libraries.py: no windows.h in {headers}; remedy: install MinGW-w64's headers, or say where they are")
    os.makedirs(options.objects, exist_ok=True)
    clang = [options.clang, "--target=" + target]
    includes = [part for folder in options.include for part in ("-I", folder)] + ["-idirafter", headers]
    dependencies, objects_made = [], set()

    def compile_one(source, flags):
        """The object is called after file and folder alone: archives keep the name, and are to be the same wherever they are made."""
        name = os.path.join(options.objects, "_".join(source.split("/")[-2:]))
        if name in objects_made:
            sys.exit(f"build_libraries.py: two sources are called {source}")
        objects_made.add(name)
        run([*clang, *flags, "-c", source, "-o", name + ".obj"])
        return name

    def compile_all(sources):
        objects = []
        for source in sources:
            depfile = os.path.join(options.objects, "_".join(source.split("/")[-2:]) + ".d")
            objects.append(compile_one(source, [*c_flags, "-MD", "-MF", depfile]) + ".obj")
            dependencies.append(read_depfile(depfile))
        return objects

    # No AVX: the objects run wherever Windows does. _X86_: MinGW-w64's headers ask for it, its compilers define it.
    more = {"x86_64": ["-mno-avx"], "x86": ["-mno-avx", "-D_X86_=1"], "aarch64": []}[options.arch]
    c_flags = FLAGS + TIMELESS + more + includes
    core = compile_all(options.core)
    crt = compile_all(options.crt)
    # Without the preprocessor, which would put the file's place into the object.
    dll_thunks, thunks = (compile_one(source, ["-x", "assembler", *TIMELESS]) + ".obj" for source in options.thunks)
    imports, imports_crt, static, override = options.outputs
    run([options.dlltool, "-m", machine, "-d", options.def_file, "-l", imports])
    for output, members in ((imports_crt, [dll_thunks, imports]), (static, core), (override, [*core, *crt, thunks])):
        if os.path.exists(output):
            os.unlink(output)
        run([options.lib, "/nologo", "/out:" + output, *members])
    with open(options.depfile, "w", encoding="utf-8") as file:
        file.write(f"{' '.join(options.outputs)}: {' '.join(dependencies)}\n")


if __name__ == "__main__":
    main()
