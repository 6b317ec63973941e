#!/usr/bin/python3
"""Cross-compiles the demo's programs: each is compiled once and linked twice, plainly and on mimalloc.dll.

usage: build.py --source FOLDER --build FOLDER --out FOLDER [--arch x86_64] [--only NAME]... [--ucrt]

FOLDER given with --source holds the unpacked Debian sources (wine-ci/setup --programs), --build is the
Meson build folder with dll/mimalloc.dll and dll/libmimalloc-crt.a. Writes OUT/build.ninja and runs
ninja, so a second run does only what changed. Results: OUT/crt/*.exe, OUT/mimalloc/*.exe and beside them
a copy of mimalloc.dll; OUT/timed, the runner that measure.py uses. With --ucrt also OUT/ucrt/*.exe, which are
built for the universal C runtime instead of msvcrt.dll. --only says which programs, as OUT/crt/NAME.exe is called ("none": only the runner).
"""
import argparse
import os
import pathlib
import shlex
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Files of zstd's own build: library without the formats of old versions, plus the command line program.
ZSTD_FOLDERS = ("lib/common", "lib/compress", "lib/decompress", "lib/dictBuilder", "programs")
ZSTD_INCLUDES = ("lib", "lib/common", "programs")

# SQLITE_USE_MSIZE: SQLite then asks _msize for block sizes, which a program on Windows may and this project
# serves.
SQLITE_FLAGS = "-DSQLITE_THREADSAFE=1 -DSQLITE_DEFAULT_MEMSTATUS=0 -DSQLITE_USE_MALLOC_H -DSQLITE_USE_MSIZE"
UCRT_SPECS = "ucrt.specs"
ZSTD_FLAGS = "-DZSTD_MULTITHREAD -DZSTD_LEGACY_SUPPORT=0 -DXXH_NAMESPACE=ZSTD_ -DZSTD_DISABLE_ASM"


def programs(source, generated):
    """name -> (sources, flags for the compiler)"""
    lua = source / "lua/src"
    zstd = source / "zstd"
    sqlite_flags = f"{SQLITE_FLAGS} -I{shlex.quote(str(generated))}"
    return {
        "sqlite3": ([generated / "shell.c", generated / "sqlite3.c"], sqlite_flags),
        "speedtest1": ([source / "sqlite3/test/speedtest1.c", generated / "sqlite3.c"], sqlite_flags),
        "lua": ([c for c in sorted(lua.glob("*.c")) if c.name != "luac.c"], "-DLUA_COMPAT_5_3"),
        "zstd": (
            [c for folder in ZSTD_FOLDERS for c in sorted((zstd / folder).glob("*.c"))],
            " ".join([ZSTD_FLAGS, *(f"-I{shlex.quote(str(zstd / f))}" for f in ZSTD_INCLUDES)]),
        ),
    }


def crt_link_flags(build):
    """What a program adds to its link to run on mimalloc.dll: whatever the project's pkg-config file says."""
    folder = build / "meson-uninstalled"
    if not (folder / "mimalloc-crt-uninstalled.pc").is_file():
        sys.exit(f"error: {folder}/mimalloc-crt-uninstalled.pc is missing\nremedy: compile {build} first")
    env = dict(os.environ, PKG_CONFIG_LIBDIR=str(folder))
    return subprocess.run(
        ["pkg-config", "--libs", "mimalloc-crt"], env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def escape(path):
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def ucrt_program(args, name, sources, flags, generated):
    """Compiled afresh: MinGW's headers differ between the runtimes. The specs choose the import library."""
    specs = args.out / UCRT_SPECS
    to_ucrt = f"-specs={shlex.quote(str(specs))} -D_UCRT"
    objects = []
    for source in sources:
        o = escape(args.out / "obj-ucrt" / name / (source.stem + ".o"))
        objects.append(o)
        needs = f"{escape(specs)} {escape(generated / 'sqlite3.h') if 'sqlite' in str(source) else ''}"
        yield f"build {o}: cc {escape(source)} | {needs}\n  flags = {to_ucrt} {flags}\n"
    exe = escape(args.out / "ucrt" / name)
    yield f"build {exe}.exe: link {' '.join(objects)} | {escape(specs)}\n  libs = {to_ucrt}\n"


def ninja_file(args, crt_flags):
    generated = args.out / "sqlite-generated"
    triplet = f"{args.arch}-w64-mingw32"
    sqlite = shlex.quote(str(args.source / "sqlite3"))
    yield f"""ninja_required_version = 1.8
cc = {triplet}-gcc-posix
crt_flags = {crt_flags}

rule amalgamate
  command = mkdir -p {shlex.quote(str(generated))} && cd {shlex.quote(str(generated))} && $
    {{ [ -f Makefile ] || {sqlite}/configure --disable-tcl --disable-readline; }} >configure.log 2>&1 && $
    make sqlite3.c shell.c >make.log 2>&1 || {{ tail -n 20 *.log; exit 1; }}
  restat = 1
  description = sqlite3: make sqlite3.c shell.c

rule cc
  command = $cc -std=gnu11 -O{args.optimize} -w -MD -MF $out.d $flags -c $in -o $out
  depfile = $out.d
  deps = gcc
  description = cc $out

rule link
  command = $cc $in -o $out $libs
  description = link $out

rule specs
  command = $cc -dumpspecs | sed s/-lmsvcrt/-lucrt/ >$out
  description = $out

rule native
  command = gcc -std=gnu11 -O2 -Wall -Wextra -Werror $in -o $out
  description = cc $out

rule copy
  command = cp $in $out
  description = copy $out

build {" ".join(escape(generated / f) for f in ("sqlite3.c", "shell.c", "sqlite3.h"))}: amalgamate
"""
    yield f"build {escape(args.out / 'timed')}: native {escape(HERE / 'timed.c')}\n"
    if args.ucrt:
        yield f"build {escape(args.out / UCRT_SPECS)}: specs\n"
    made = set()
    for name, (sources, flags) in programs(args.source, generated).items():
        if args.only and name not in args.only:
            continue
        objects = []
        for source in sources:
            # speedtest1 and the shell share SQLite itself.
            group = "sqlite3" if source.parent == generated else name
            o = args.out / "obj" / group / (source.stem + ".o")
            objects.append(escape(o))
            if o not in made:
                made.add(o)
                needs = escape(generated / "sqlite3.h") if "sqlite" in str(source) else ""
                yield f"build {escape(o)}: cc {escape(source)} | {needs}\n  flags = {flags}\n"
        inputs = " ".join(objects)
        library = escape(args.build / "dll/libmimalloc-crt.a")
        yield f"build {escape(args.out / 'crt' / name)}.exe: link {inputs}\n"
        relinked = escape(args.out / "mimalloc" / name)
        yield f"build {relinked}.exe: link {inputs} | {library}\n  libs = $crt_flags\n"
        if args.ucrt:
            yield from ucrt_program(args, name, sources, flags, generated)
    dll = "mimalloc.dll"
    yield f"build {escape(args.out / 'mimalloc' / dll)}: copy {escape(args.build / 'dll' / dll)}\n"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--arch", choices=["x86_64", "i686"], default="x86_64")
    parser.add_argument("--only", action="append")
    parser.add_argument("--optimize", type=int, choices=[0, 1, 2, 3], default=2, help="the compiler's level (2)")
    parser.add_argument("--ucrt", action="store_true")
    args = parser.parse_args()
    args.source, args.build, args.out = (p.resolve() for p in (args.source, args.build, args.out))
    known = programs(args.source, args.out)
    for name in args.only or ():
        if name not in known and name != "none":
            parser.error(f"there is no program '{name}'; there are {', '.join(known)}")
    for name, (sources, _) in known.items():
        if not sources and (not args.only or name in args.only):
            sys.exit(f"error: no source of {name} in {args.source}\nremedy: wine-ci/setup --programs")
    args.out.mkdir(parents=True, exist_ok=True)
    text = "\n".join(ninja_file(args, crt_link_flags(args.build)))
    ninja = args.out / "build.ninja"
    if not ninja.is_file() or ninja.read_text() != text:
        ninja.write_text(text)
    return subprocess.run(["ninja", "-C", str(args.out), "-j", str(os.cpu_count() or 1)]).returncode


if __name__ == "__main__":
    sys.exit(main())
