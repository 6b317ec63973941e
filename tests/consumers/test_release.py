#!/usr/bin/env python3
"""Makes the release archive for x64 in two places, demands the same bytes, unpacks it in an empty folder and lets the other
users' scripts loose on it. Whole figures of a run: about 3 minutes of processor time.
"""
import argparse
import glob
import hashlib
import os
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

failures = []


def expect(is_so, what):
    print(f"{'ok    ' if is_so else 'FAILED'} {what}", flush=True)
    if not is_so:
        failures.append(what)


def release(out):
    done = subprocess.run([os.path.join(ROOT, "wine-ci", "release"), "--arch", "x64", "--out", out], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"FAILED: wine-ci/release: {done.stdout[-3000:]} {done.stderr[-3000:]}")
    archives = glob.glob(os.path.join(out, "*.zip"))
    if len(archives) != 1:
        sys.exit(f"FAILED: archives: {archives}")
    return archives[0]


def check_sums(tree):
    with open(os.path.join(tree, "SHA256SUMS"), encoding="utf-8") as file:
        sums = dict(reversed(line.rstrip("\n").split("  ")) for line in file)
    there = {os.path.relpath(os.path.join(folder, name), tree) for folder, _, names in os.walk(tree) for name in names}
    expect(there - {"SHA256SUMS"} == set(sums), "SHA256SUMS lists all files and no others")
    wrong = [name for name, digest in sums.items()
             if hashlib.sha256(open(os.path.join(tree, name), "rb").read()).hexdigest() != digest]
    expect(not wrong, f"and their sums {wrong or ''}")


def check_symbols(tree):
    for name, debug in (("bin/mimalloc.dll", "symbols/mimalloc.dll.debug"), ("debug/mimalloc.dll", "symbols/debug/mimalloc.dll.debug"),
                        ("secure/mimalloc.dll", "symbols/secure/mimalloc.dll.debug"),
                        ("bin/mi-run.exe", "symbols/mi-run.exe.debug")):
        with open(os.path.join(tree, debug), "rb") as file:
            crc = struct.pack("<I", zlib.crc32(file.read()))
        data = PE(os.path.join(tree, name)).data
        at = data.find(os.path.basename(debug).encode() + b"\0")
        expect(at >= 0 and crc in data[at:at + 64], f"{name} names its debug information, with its sum")
        listing = subprocess.run(["x86_64-w64-mingw32-objdump", "-h", os.path.join(tree, debug)], capture_output=True, text=True).stdout
        expect(".debug_info" in listing, f"{debug} has some")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True, help="where to build; kept")
    options = parser.parse_args()
    missing = [tool for tool in ("clang", "ld.lld", "llvm-dlltool", "cmake") if not shutil.which(tool)]
    if subprocess.run(["/usr/bin/python3", "-c", "import markdown"], capture_output=True).returncode != 0:
        missing.append("python3-markdown")
    if missing:
        print(f"skipped: {', '.join(missing)} not found; wine-ci/setup --toolchains installs what is needed")
        sys.exit(1 if os.environ.get("MI_TOOLCHAINS_REQUIRED") else 77)
    first = release(os.path.join(os.path.abspath(options.folder), "release"))
    with tempfile.TemporaryDirectory(prefix="elsewhere-") as folder:
        second = release(os.path.join(folder, "a", "deeper", "place"))
        expect(open(first, "rb").read() == open(second, "rb").read(), "the same bytes in another place")
        with open(first + ".sha256", encoding="utf-8") as file:
            expect(file.read().split()[0] == hashlib.sha256(open(first, "rb").read()).hexdigest(), "the archive's own sum")
    with tempfile.TemporaryDirectory(prefix="unpacked-") as folder:
        zipfile.ZipFile(first).extractall(folder)
        tree = os.path.join(folder, os.listdir(folder)[0])
        check_sums(tree)
        check_symbols(tree)
        for name in ("doc/README.html", "doc/docs/lifecycle.html"):
            with open(os.path.join(tree, name), encoding="utf-8") as file:
                text = file.read()
            expect("<h1" in text and ".md\"" not in text, f"{name} is a page whose links lead to pages")
            expect("lifecycle" not in name or "<table>" in text, f"{name} has its tables")
        for script in ("compiler", "cmake", "msvc"):
            done = subprocess.run([sys.executable, os.path.join(HERE, f"test_{script}.py"), "--prefix", tree], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True)
            print("".join("  " + line + "\n" for line in done.stdout.splitlines()), end="")
            expect(done.returncode == 0, f"test_{script}.py with the archive {done.stderr}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
