#!/usr/bin/env python3
"""Makes the release archive for one architecture in two places, demands the same bytes and all that wine-ci/release --help
promises, unpacks it in an empty folder and lets the other users' scripts loose on it. For x64: about 3 minutes of processor time.

What was linked with the archive for x86 is run where there is a 32-bit Wine (wine-ci/setup --arch i686), and only inspected
elsewhere; for arm64 it is always only inspected.
"""
import argparse
import glob
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "dll"))
from pe import PE  # noqa: E402

MACHINES = {"x64": 0x8664, "x86": 0x14C, "arm64": 0xAA64}
TOOLS = ["bin/mi-run.exe", "bin/mi-report.exe", "bin/minject.exe"]
FOLLOW = {"x64": ["bin/mi-follow64.dll"], "x86": ["bin/mi-follow32.dll"], "arm64": []}  # for mi-run --follow
DLLS = ["bin/mimalloc.dll", "debug/mimalloc.dll", "secure/mimalloc.dll"]
NAMES = ["mimalloc", "mimalloc-crt", "mimalloc-static", "mimalloc-override"]
FILES = (DLLS + ["lib/libmimalloc.dll.a", "lib/libmimalloc-crt.a", "lib/libmimalloc-static.a", "lib/libmimalloc-override.a",
                 "lib/libmimalloc-secure-static.a", "lib/mimalloc.def", "include/mimalloc.h", "include/mimalloc-stats.h", "include/mimalloc-override.h",
                 "include/mimalloc-new-delete.h", "lib/cmake/mimalloc/mimalloc-config.cmake", "doc/README.html", "doc/CHANGELOG.html",
                 "doc/docs/install.html", "doc/examples/app.c", "LICENSE", "SHA256SUMS"] +
         [f"lib/{name}.lib" for name in NAMES] + [f"lib/pkgconfig/{name}.pc" for name in NAMES])

failures = []


def expect(is_so, what):
    print(f"{'ok    ' if is_so else 'FAILED'} {what}", flush=True)
    if not is_so:
        failures.append(what)


def release(arch, out):
    done = subprocess.run([os.path.join(ROOT, "wine-ci", "release"), "--arch", arch, "--out", out], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: wine-ci/release: {done.stdout[-3000:]} {done.stderr[-3000:]}")
    archives = glob.glob(os.path.join(out, f"*-{arch}.zip"))
    if len(archives) != 1:
        sys.exit(f"FAILED: archives: {archives}")
    return archives[0]


def tools(arch):
    return TOOLS + FOLLOW[arch] if arch != "arm64" else []


def check_files(tree, arch):
    missing = [name for name in FILES + tools(arch) if not os.path.isfile(os.path.join(tree, name))]
    expect(not missing, f"all files are there {missing or ''}")
    follow = [os.path.relpath(path, tree) for path in glob.glob(os.path.join(tree, "bin", "mi-follow*.dll"))]
    expect(follow == FOLLOW[arch], f"and no other of mi-run's: {follow}")
    for name in DLLS + tools(arch):
        image = PE(os.path.join(tree, name))
        machine, = struct.unpack_from("<H", image.data, struct.unpack_from("<I", image.data, 0x3C)[0] + 4)
        strings = image.version_strings()
        expect(machine == MACHINES[arch] and strings.get("CompanyName") and strings.get("OriginalFilename") == os.path.basename(name),
               f"{name} is for {arch} and says whose it is")
    sizes = {name: os.path.getsize(os.path.join(tree, name)) for name in DLLS}
    sums = {hashlib.sha256(open(os.path.join(tree, name), "rb").read()).hexdigest() for name in DLLS}
    expect(len(sums) == len(DLLS), f"three kinds of the DLL: {sizes}")
    for name in NAMES:
        with open(os.path.join(tree, "lib", "pkgconfig", name + ".pc"), encoding="utf-8") as file:
            expect("prefix=${pcfiledir}/../.." in file.read(), f"{name}.pc can be moved")


def check_sums(tree):
    with open(os.path.join(tree, "SHA256SUMS"), encoding="utf-8") as file:
        sums = dict(reversed(line.rstrip("\n").split("  ")) for line in file)
    there = {os.path.relpath(os.path.join(folder, name), tree) for folder, _, names in os.walk(tree) for name in names}
    expect(there - {"SHA256SUMS"} == set(sums), "SHA256SUMS lists all files and no others")
    wrong = [name for name, digest in sums.items()
             if hashlib.sha256(open(os.path.join(tree, name), "rb").read()).hexdigest() != digest]
    expect(not wrong, f"and their sums {wrong or ''}")


def check_symbols(tree, arch):
    objdump = "llvm-objdump" if arch == "arm64" else "x86_64-w64-mingw32-objdump"
    for name in DLLS + tools(arch):
        folder, base = os.path.split(name)
        debug = os.path.join("symbols", "" if folder == "bin" else folder, base + ".debug")
        with open(os.path.join(tree, debug), "rb") as file:
            crc = struct.pack("<I", zlib.crc32(file.read()))
        data = PE(os.path.join(tree, name)).data
        at = data.find(os.path.basename(debug).encode() + b"\0")
        expect(at >= 0 and crc in data[at:at + 64], f"{name} names its debug information, with its sum")
        listing = subprocess.run([objdump, "-h", os.path.join(tree, debug)], capture_output=True, text=True).stdout
        expect(".debug_info" in listing, f"{debug} has some")
        if arch == "arm64":
            done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "dll", "check_pdb.py"), "--dll", os.path.join(tree, name),
                                   "--pdb", os.path.join(tree, debug.replace(".dll.debug", ".pdb"))], capture_output=True, text=True)
            expect(done.returncode == 0, f"{name} has a .pdb: {done.stdout}{done.stderr}")


def check_no_paths(tree, places):
    """Nothing tells where it was built."""
    found = [(name, place) for folder, _, names in os.walk(tree) for name in (os.path.join(folder, name) for name in names)
             for place in places if place.encode() in open(name, "rb").read()]
    expect(not found, f"no file names the folders that it was built in {found or ''}")


def check_pages(tree):
    dead = []
    for folder, _, names in os.walk(os.path.join(tree, "doc")):
        for name in names:
            if name.endswith(".html"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read()
                expect("<h1" in text, f"{name} is a page")
                dead += [f"{name}: {link}" for link in re.findall(r'(?:href|src)="(?!\w+:|#)([^"#]+)', text)
                         if not os.path.exists(os.path.join(folder, link))]
    expect(not dead, f"links in pages lead to files {dead or ''}")
    with open(os.path.join(tree, "doc", "docs", "lifecycle.html"), encoding="utf-8") as file:
        expect("<table>" in file.read(), "tables are tables")


def consumers(arch):
    """(script, arguments, environment) of the users that there are for an architecture."""
    if arch == "x64":
        return [(script, [], {}) for script in ("compiler", "cmake", "msvc", "tools")]
    if arch == "arm64":
        return [("msvc", ["--arch", "arm64", "--no-run"], {})]
    run = os.path.join(ROOT, "wine-ci", "run-wine32")
    can_run = os.path.exists(os.path.join(ROOT, ".cache", "i386", "etc", "mimalloc-root")) and os.geteuid() == 0
    print("what is linked for 32 bits is " + ("run" if can_run else "not run: no root in .cache/i386"), flush=True)
    run_or_not = [] if can_run else ["--no-run"]
    compilers = ["--cc", "i686-w64-mingw32-gcc-posix", "--cxx", "i686-w64-mingw32-g++-posix", *run_or_not]
    return [(script, arguments, {"MESON_EXE_WRAPPER": run}) for script, arguments in
            (("compiler", compilers), ("cmake", compilers), ("tools", compilers), ("msvc", ["--arch", "x86", *run_or_not]))]


def check_arm64_dlls(tree):
    listing = subprocess.run(["llvm-readobj", "--file-headers", os.path.join(tree, "lib", "libmimalloc.dll.a")], capture_output=True, text=True).stdout
    machines = set(re.findall(r"Machine: (\S+)", listing))
    expect(machines == {"IMAGE_FILE_MACHINE_ARM64"}, f"the import library is for arm64: {machines}")
    dll = os.path.join(ROOT, "dll")
    for name in DLLS:
        for check in ("exports", "imports"):
            done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "dll", "check_dll.py"), check, "--dll", os.path.join(tree, name),
                                   "--static", os.path.join(tree, "lib", "libmimalloc-static.a"), "--def", os.path.join(dll, "mimalloc.def"),
                                   "--crt-names", os.path.join(dll, "crt_names.txt"), "--kernel32", os.path.join(dll, "kernel32-allowed.txt"),
                                   "--compatible", os.path.join(ROOT, "tests", "dll", "compatible_exports.txt"), "--version", "",
                                   "--nm", "llvm-nm", "--strip", "llvm-strip"], capture_output=True, text=True)
            expect(done.returncode == 0, f"{name}: {check} {done.stdout if done.returncode else ''}{done.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=MACHINES, default="x64", help="(default %(default)s)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--folder", help="where to build; kept")
    what.add_argument("--archive", help="one that was made already, instead: look into it only")
    options = parser.parse_args()
    missing = [tool for tool in ("clang", "ld.lld", "llvm-dlltool", "llvm-pdbutil", "cmake") if not shutil.which(tool)]
    if subprocess.run(["/usr/bin/python3", "-c", "import markdown"], capture_output=True).returncode != 0:
        missing.append("python3-markdown")
    if missing:
        print(f"skipped: {', '.join(missing)} not found; wine-ci/setup --toolchains installs what is needed")
        sys.exit(1 if os.environ.get("MI_TOOLCHAINS_REQUIRED") else 77)
    first, places = options.archive, [ROOT]
    if options.folder:
        # A folder for each: several tests may run at the same time, and each copies the sources there.
        first = release(options.arch, os.path.join(os.path.abspath(options.folder), "release-" + options.arch))
        places.append(os.path.dirname(first))
        with tempfile.TemporaryDirectory(prefix="elsewhere-") as folder:
            second = release(options.arch, os.path.join(folder, "a", "deeper", "place"))
            expect(open(first, "rb").read() == open(second, "rb").read(), "the same bytes in another place")
    with open(first + ".sha256", encoding="utf-8") as file:
        expect(file.read().split()[0] == hashlib.sha256(open(first, "rb").read()).hexdigest(), "the archive's own sum")
    with tempfile.TemporaryDirectory(prefix="unpacked-") as folder:
        zipfile.ZipFile(first).extractall(folder)
        tree = os.path.join(folder, os.listdir(folder)[0])
        check_files(tree, options.arch)
        check_sums(tree)
        check_symbols(tree, options.arch)
        check_no_paths(tree, places)
        check_pages(tree)
        if options.arch == "arm64":
            check_arm64_dlls(tree)
        for script, arguments, environment in consumers(options.arch):
            done = subprocess.run([sys.executable, os.path.join(HERE, f"test_{script}.py"), "--prefix", tree, *arguments],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ, **environment))
            print("".join("  " + line + "\n" for line in done.stdout.splitlines()), end="")
            expect(done.returncode == 0, f"test_{script}.py with the archive {done.stderr}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
