#!/usr/bin/env python3
"""Builds the project with another toolchain than the release's, in a folder that is kept, and runs a part of its tests:

  clang-ld, clang-lld  the DLL as a file (imports, exports, contents, size), API, stress, the C runtime's functions, under Wine
  clang-lld            besides, mimalloc.pdb: read by LLVM's tools, and by dbghelp.dll under Wine
  arm64-windows        the DLL as a file, and its mimalloc.pdb; nothing of it can be run here
  arm64-linux          the native core for arm64, its unit, API, stress and misuse tests, under qemu-user
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GCC = "x86_64-w64-mingw32-gcc-posix"
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
from windows_path import windows_path  # noqa: E402

# Tests whose names begin so, by their Meson names.
DLL_FILE = ["dll-exports", "dll-imports", "dll-contents", "dll-undefined", "dll-size", "dll-check-exports"]
RUN = ["dll-nocrt", "dll-crt", "dll-crt-override", "stress-dll", "stress-static", "api-basic-dll", "api-basic-static",
       "api-realloc-dll", "api-threads-dll", "headers-cxx-static"]
# No C++ with lld: it leads weak functions that nobody defines astray (lld 14), and GCC's libstdc++ calls such ones.
LEFT_OUT = {"clang-lld": {"headers-cxx-static"}}


def run(command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)
    if done.returncode != 0:
        print(" ".join(command))
        print(done.stdout[-6000:], done.stderr[-3000:])
        sys.exit(f"FAILED: exit code {done.returncode} from {command[0]} {command[1]}")
    return done.stdout


def clang_layer(linker):
    """Debian's clang doesn't know where its GCC for threads of POSIX keeps libraries and C++ headers."""
    gcc = os.path.dirname(run([GCC, "-print-libgcc-file-name"]).strip())
    headers = os.path.join(gcc, "include", "c++")
    cxx = ["-stdlib++-isystem", headers, "-stdlib++-isystem", os.path.join(headers, "x86_64-w64-mingw32")]
    binaries = "".join(f"{language}_ld = 'lld'\n" for language in ("c", "cpp")) if linker == "lld" else ""
    # cmocka's header was written for GCC's kinds of printf.
    quiet = ["-Wno-ignored-attributes"]
    return (f"[binaries]\nexe_wrapper = {os.path.join(ROOT, 'wine-ci', 'run-wine')!r}\n{binaries}"
            f"[built-in options]\nc_args = {quiet!r}\ncpp_args = {cxx + quiet!r}\n"
            f"c_link_args = {['-L' + gcc]!r}\ncpp_link_args = {['-L' + gcc, '-pthread']!r}\n"
            f"[properties]\npkg_config_libdir = {os.path.join(ROOT, '.cache', 'x86_64-w64-mingw32', 'lib', 'pkgconfig')!r}\n")


def arm64_linux_layer():
    return ("[binaries]\nc = 'aarch64-linux-gnu-gcc'\ncpp = 'aarch64-linux-gnu-g++'\nar = 'aarch64-linux-gnu-ar'\n"
            "strip = 'aarch64-linux-gnu-strip'\npkgconfig = 'pkg-config'\n"
            "exe_wrapper = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu']\n"
            "[host_machine]\nsystem = 'linux'\ncpu_family = 'aarch64'\ncpu = 'aarch64'\nendian = 'little'\n")


def cmocka_for_arm64(folder):
    """From the sources that wine-ci/setup has fetched; one file. Returns the folder of its .pc file."""
    sources = os.path.join(ROOT, ".cache", "src", "cmocka")
    if not os.path.isdir(sources):
        sys.exit("FAILED: no sources of cmocka in .cache/src; run wine-ci/setup")
    prefix = folder + "-cmocka"
    if not os.path.exists(os.path.join(prefix, "cmocka.pc")):
        os.makedirs(prefix, exist_ok=True)
        have = [f"-DHAVE_{name}=1" for name in ("INTTYPES_H", "MALLOC_H", "SIGNAL_H", "STRINGS_H", "UNISTD_H", "SNPRINTF", "VSNPRINTF",
                                                "SIGLONGJMP", "STRSIGNAL", "STRUCT_TIMESPEC", "CLOCK_GETTIME_REALTIME")]
        run(["aarch64-linux-gnu-gcc", "-std=gnu99", "-O2", *have, "-I" + os.path.join(sources, "include"), "-c",
             os.path.join(sources, "src", "cmocka.c"), "-o", os.path.join(prefix, "cmocka.o")])
        run(["aarch64-linux-gnu-ar", "rcs", os.path.join(prefix, "libcmocka.a"), os.path.join(prefix, "cmocka.o")])
        with open(os.path.join(prefix, "cmocka.pc"), "w", encoding="utf-8") as file:
            file.write(f"Name: cmocka\nDescription: for arm64\nVersion: 1.1\nLibs: -L{prefix} -lcmocka\n"
                       f"Cflags: -I{os.path.join(sources, 'include')}\n")
    return prefix


TOOLCHAINS = {
    # name: (tools, cross file, layer over it)
    "clang-ld": (["clang", "llvm-ar", GCC], "x86_64-clang-mingw32.ini", lambda: clang_layer("ld")),
    "clang-lld": (["clang", "llvm-ar", "ld.lld", "llvm-pdbutil", GCC], "x86_64-clang-mingw32.ini", lambda: clang_layer("lld")),
    "arm64-windows": (["clang", "llvm-ar", "ld.lld", "llvm-dlltool", "llvm-pdbutil"], "aarch64-w64-mingw32.ini", lambda: "[binaries]\n"),
    "arm64-linux": (["aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "qemu-aarch64"], None, arm64_linux_layer),
}


def check_pdbs(folder):
    """The DLL's and the secure one's, as they are installed."""
    for kind in ("", "secure"):
        place = os.path.join(folder, "dll", "package", kind)
        print(run([sys.executable, os.path.join(ROOT, "tests", "dll", "check_pdb.py"), "--dll", os.path.join(place, "mimalloc.dll"),
                   "--pdb", os.path.join(place, "mimalloc.pdb")]), end="")


class ReaderFaulted(Exception):
    pass


def read_pdb_by_dbghelp(folder):
    """Under Wine, beside a DLL that has no other symbols. Raises ReaderFaulted where Wine's reader faults in itself: that of
    Wine 8 does for some files (it breaks its own heap), which that of Wine 10 reads."""
    with tempfile.TemporaryDirectory(prefix="pdb-") as place:
        program, dll = os.path.join(place, "pdb_program.exe"), os.path.join(place, "mimalloc.dll")
        run([GCC, "-Wall", "-Werror", os.path.join(HERE, "pdb_program.c"), "-o", program, "-ldbghelp"])
        built = os.path.join(folder, "dll", "package", "mimalloc.dll")
        run(["llvm-strip", "--strip-all", built, "-o", dll])
        shutil.copy(built.replace(".dll", ".pdb"), place)
        for function, source in (("mi_malloc", "alloc.c"), ("mi_heap_new", "heap.c"), ("mi_crt_free", "crt_api.c")):
            command = [os.path.join(ROOT, "wine-ci", "run-wine"), program, windows_path(dll), function, source]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  env=os.environ | {"MI_WINEDEBUG": "-all,err+dbghelp_msc"})
            print(done.stdout, end="")
            if "page fault while loading symbols" in done.stderr:
                raise ReaderFaulted(done.stderr.strip().splitlines()[-1])
            if done.returncode != 0:
                sys.exit(f"FAILED: exit code {done.returncode} from {' '.join(command)}: {done.stderr}")
        os.remove(os.path.join(place, "mimalloc.pdb"))
        done = subprocess.run([os.path.join(ROOT, "wine-ci", "run-wine"), program, windows_path(dll), "mi_malloc", "alloc.c"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 1 or "not from a .pdb" not in done.stdout:
            sys.exit(f"FAILED: without the .pdb the program says: {done.stdout} {done.stderr}")


def check_arm64_dll(folder):
    run(["ninja", "-C", folder])
    tests = os.path.join(ROOT, "tests", "dll")
    dll = os.path.join(ROOT, "dll")
    for check in ("exports", "imports", "contents", "size"):
        print(run([sys.executable, os.path.join(tests, "check_dll.py"), check, "--dll", os.path.join(folder, "dll", "mimalloc.dll"),
                   "--static", os.path.join(folder, "src", "libmimalloc-static.a"),
                   "--def", os.path.join(dll, "mimalloc.def"), "--crt-names", os.path.join(dll, "crt_names.txt"),
                   "--kernel32", os.path.join(dll, "kernel32-allowed.txt"),
                   "--compatible", os.path.join(tests, "compatible_exports.txt"),
                   "--version", json.loads(run(["meson", "introspect", "--projectinfo", folder]))["version"],
                   "--nm", "llvm-nm", "--strip", "llvm-strip"]), end="")


def run_native(folder, suites):
    run(["ninja", "-C", folder])
    tests = json.loads(run(["meson", "introspect", "--tests", folder]))
    # Not unit-faults: more than 12 minutes under an emulator, for it forks at each call of the system.
    names = [test["name"] for test in tests if test["name"] != "unit-faults" and
             any(suite.split(":")[-1] in suites for suite in test["suite"])]
    print(run(["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--num-processes", "2", "--timeout-multiplier", "20",
               *names])[-3000:])


def write_if_new(path, text):
    if not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="where to build")
    parser.add_argument("toolchain", choices=TOOLCHAINS)
    options = parser.parse_args()
    tools, cross_file, layer = TOOLCHAINS[options.toolchain]
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        print(f"skipped: {', '.join(missing)} not found; wine-ci/setup --toolchains installs what is needed")
        sys.exit(1 if os.environ.get("MI_TOOLCHAINS_REQUIRED") else 77)
    folder = os.path.abspath(os.path.join(options.folder, options.toolchain))
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    cross_files, recipe = [], layer()
    if cross_file:
        cross_files = ["--cross-file", os.path.join(ROOT, "wine-ci", cross_file)]
        with open(cross_files[1], encoding="utf-8") as file:
            recipe += file.read()
    is_new = write_if_new(folder + ".made-for", recipe)
    write_if_new(folder + ".ini", layer())
    options_more = ["-Dtests=enabled"]
    if options.toolchain == "arm64-windows":
        options_more = ["-Dtests=disabled", "-Dtools=disabled", "-Dmsvc=enabled", "-Dpdb=enabled"]
    elif options.toolchain == "clang-lld":
        options_more += ["-Dpdb=enabled"]
    elif options.toolchain == "arm64-linux":
        options_more += ["-Dpkg_config_path=" + cmocka_for_arm64(folder)]
    is_new = write_if_new(folder + ".options", " ".join(options_more)) or is_new
    if is_new or not os.path.exists(os.path.join(folder, "build.ninja")):
        shutil.rmtree(folder, ignore_errors=True)
        run(["meson", "setup", folder, ROOT, *cross_files, "--cross-file", folder + ".ini", "-Dwerror=true", *options_more])
    if options.toolchain == "arm64-windows":
        check_arm64_dll(folder)
        check_pdbs(folder)
        return
    if options.toolchain == "arm64-linux":
        os.environ["MESON_EXE_WRAPPER"] = "qemu-aarch64 -L /usr/aarch64-linux-gnu"  # for tests that start programs
        run_native(folder, ["unit", "api", "stress", "abort"])
        return
    tests = [test for test in DLL_FILE + RUN if test not in LEFT_OUT.get(options.toolchain, ())]
    # Programs of tests are called as the tests; the rest is what they depend on.
    targets = run(["ninja", "-C", folder, "-t", "targets", "all"])
    programs = [line.split(":")[0] for line in targets.splitlines()
                if line.startswith("tests/") and os.path.basename(line.split(":")[0]).removesuffix(".exe") in tests
                and line.split(":")[0].endswith(".exe")]
    run(["ninja", "-C", folder, *programs, "dll/package/mimalloc.dll", "dll/package/secure/mimalloc.dll", "src/libmimalloc-static.a"])
    os.environ["MESON_EXE_WRAPPER"] = os.path.join(ROOT, "wine-ci", "run-wine")
    fault = None
    if options.toolchain == "clang-lld":
        check_pdbs(folder)
        try:
            read_pdb_by_dbghelp(folder)
        except ReaderFaulted as error:
            fault = error
    print(run(["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--num-processes", "2",
               "--timeout-multiplier", "4", *tests])[-3000:])
    if fault:
        print(f"skipped: Wine's dbghelp.dll faulted in itself while it read mimalloc.pdb ({fault}); LLVM's tools have read it, and all "
              "else passed")
        sys.exit(77)


if __name__ == "__main__":
    main()
