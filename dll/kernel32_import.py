#!/usr/bin/env python3
"""Makes an import library of KERNEL32.dll from kernel32-allowed.txt, for targets that no MinGW-w64 package has one for."""
import argparse
import subprocess

MACHINES = {"aarch64": "arm64", "x86_64": "i386:x86-64", "x86": "i386"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dlltool", required=True, help="llvm-dlltool")
    parser.add_argument("--arch", required=True, choices=MACHINES)
    parser.add_argument("names")
    parser.add_argument("definition", help=".def file to write")
    parser.add_argument("library", help="import library to write")
    options = parser.parse_args()
    with open(options.names, encoding="utf-8") as file:
        names = [words[0] for words in (line.split("#")[0].split() for line in file) if words]
    with open(options.definition, "w", encoding="utf-8") as file:
        file.write("LIBRARY KERNEL32.dll\nEXPORTS\n" + "".join(f"  {name}\n" for name in names))
    subprocess.run([options.dlltool, "-m", MACHINES[options.arch], "-d", options.definition, "-l", options.library], check=True)


if __name__ == "__main__":
    main()
