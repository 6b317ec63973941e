#!/usr/bin/env python3
"""Builds the project with another toolchain than the release's, in a folder that is kept, and runs a part of its tests: the
DLL as a file (imports, exports, contents, size), API, stress, the C runtime's functions.
"""
import argparse
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GCC = "x86_64-w64-mingw32-gcc-posix"

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


TOOLCHAINS = {
    # name: (tools, cross file, layer over it)
    "clang-ld": (["clang", "llvm-ar", GCC], "x86_64-clang-mingw32.ini", lambda: clang_layer("ld")),
    "clang-lld": (["clang", "llvm-ar", "ld.lld", GCC], "x86_64-clang-mingw32.ini", lambda: clang_layer("lld")),
}


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
    cross_file = os.path.join(ROOT, "wine-ci", cross_file)
    with open(cross_file, encoding="utf-8") as file:
        is_new = write_if_new(folder + ".made-for", file.read() + layer())
    write_if_new(folder + ".ini", layer())
    if is_new or not os.path.exists(os.path.join(folder, "build.ninja")):
        shutil.rmtree(folder, ignore_errors=True)
        run(["meson", "setup", folder, ROOT, "--cross-file", cross_file, "--cross-file", folder + ".ini", "-Dwerror=true", "-Dtests=enabled"])
    tests = [test for test in DLL_FILE + RUN if test not in LEFT_OUT.get(options.toolchain, ())]
    # Programs of tests are called as the tests; the rest is what they depend on.
    targets = run(["ninja", "-C", folder, "-t", "targets", "all"])
    programs = [line.split(":")[0] for line in targets.splitlines()
                if line.startswith("tests/") and os.path.basename(line.split(":")[0]).removesuffix(".exe") in tests
                and line.split(":")[0].endswith(".exe")]
    run(["ninja", "-C", folder, *programs, "dll/package/mimalloc.dll", "src/libmimalloc-static.a"])
    os.environ["MESON_EXE_WRAPPER"] = os.path.join(ROOT, "wine-ci", "run-wine")
    print(run(["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--num-processes", "2",
               "--timeout-multiplier", "4", *tests])[-3000:])


if __name__ == "__main__":
    main()
