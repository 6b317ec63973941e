#!/usr/bin/env python3
"""Makes the PE files that minject is tested on, with MinGW's compiler, linker, windres and dlltool.

usage: make_seeds.py [--stamp FILE] PREFIX FOLDER

PREFIX is the tools' prefix, x86_64-w64-mingw32- or i686-w64-mingw32-. FILE is touched when all are made.

What the tools can't make (bound imports, signatures, damage) the tests themselves make of these.
"""
import os
import shlex
import struct
import subprocess
import sys

NAMES = [
    "plain.exe",       # as the linker leaves a C program: CRT, TLS, symbol table behind the last section
    "stripped.exe",    # the same without symbols
    "resources.exe",   # with version, strings and raw data
    "delay.exe",       # with delay imports
    "small.exe",       # no CRT; imports two functions of second.dll, by name, and of third.dll, one by number
    "overlay.exe",     # small.exe and 5001 bytes behind it
    "linked.exe",      # imports mimalloc.dll, and not first
    "aligned.exe",     # sections at multiples of 64 KiB in memory, of 4 KiB in the file
    "flat.exe",        # section alignment below a page
    "debug.exe",       # with a debug directory
    "full.exe",        # no room for another section header
    "noimports.exe",   # imports nothing
    "library.dll",     # exports two functions
]

DEFINITIONS = {
    "asecond": "LIBRARY second.dll\nEXPORTS\n  second_function\n",
    "bthird": "LIBRARY third.dll\nEXPORTS\n  third_function\n  third_by_number @7 NONAME\n",
    "cmimalloc": "LIBRARY mimalloc.dll\nEXPORTS\n  mi_version\n",  # GNU ld orders imports by the library's name
    "delayed": "LIBRARY delayed.dll\nEXPORTS\n  delayed_one\n  delayed_two\n",
}


def fill_headers(data):
    """The file with a DOS stub so long that the section headers end where the headers do: no room for another."""
    data = bytearray(data)
    pe = struct.unpack_from("<I", data, 60)[0]
    sections, optional = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    end, headers = pe + 24 + optional + 40 * sections, struct.unpack_from("<I", data, pe + 84)[0]
    longer = (headers - end) & ~7
    struct.pack_into("<I", data, 60, pe + longer)
    struct.pack_into("<I", data, pe + 88, 0)  # the checksum is not right any more
    return data[:pe] + bytes(longer) + data[pe:end] + data[end + longer:]


class Maker:
    def __init__(self, prefix, folder):
        self.here = os.path.dirname(os.path.abspath(__file__))
        self.prefix, self.folder = prefix, folder
        self.gcc = prefix + "gcc-posix"
        self.is_64 = prefix.startswith("x86_64")

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        if done.returncode != 0:
            sys.exit(f"make_seeds.py: {shlex.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout

    def compile(self, output, *arguments):
        self.run(self.gcc, "-O2", os.path.join(self.here, "seed.c"), "-o", output, *arguments)

    def library(self, name, delayed=False):
        with open(self.path(name + ".def"), "w", encoding="ascii") as file:
            file.write(DEFINITIONS[name])
        self.run(self.prefix + "dlltool", "-d", name + ".def", "-y" if delayed else "-l", f"lib{name}.a")

    def small(self, output, *arguments, kind="SEED_SMALL"):
        entry = "entry" if self.is_64 else "_entry"
        self.compile(output, "-D" + kind, "-nostdlib", "-nostartfiles", "-Wl,-e," + entry, *arguments,
                     "-L.", *(["-lasecond", "-lbthird"] if kind == "SEED_SMALL" else []))

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return bytearray(file.read())

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def delay(self, output):
        """Puts the descriptor that dlltool made into .didat and enters that into the data directory."""
        self.library("delayed", delayed=True)
        self.compile("delay-raw.exe", "-DSEED_DELAY", "libdelayed.a")
        symbols = {line.split()[2]: int(line.split()[0], 16)
                   for line in self.run(self.prefix + "nm", "delay-raw.exe").splitlines() if len(line.split()) == 3}
        descriptor = next(value for name, value in symbols.items() if "__DELAY_IMPORT_DESCRIPTOR_" in name)
        data = self.read("delay-raw.exe")
        pe = struct.unpack_from("<I", data, 60)[0]
        sections, optional = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
        base = struct.unpack_from("<Q", data, pe + 48)[0] if self.is_64 else struct.unpack_from("<I", data, pe + 52)[0]

        def offset(rva):
            for i in range(sections):
                header = pe + 24 + optional + 40 * i
                size, address, _, raw = struct.unpack_from("<IIII", data, header + 8)
                if address <= rva < address + size:
                    return rva - address + raw
            sys.exit(f"make_seeds.py: address {rva:#x} of {output} is in no section")

        target = symbols["directory" if self.is_64 else "_directory"] - base
        data[offset(target):offset(target) + 32] = data[offset(descriptor - base):offset(descriptor - base) + 32]
        directories = pe + 24 + (112 if self.is_64 else 96)
        struct.pack_into("<II", data, directories + 8 * 13, target, 64)
        struct.pack_into("<I", data, pe + 88, 0)  # the checksum is not right any more
        self.write(output, data)

    def make(self):
        for name in ("asecond", "bthird", "cmimalloc"):
            self.library(name)
        # Debian 13's CRT comes with so many debug sections that there would be no room for another header.
        self.compile("plain.exe", "-DSEED_CRT", "-Wl,--strip-debug")
        self.compile("stripped.exe", "-DSEED_CRT", "-s")
        self.run(self.prefix + "windres", "-o", "resources.o", os.path.join(self.here, "seed.rc"))
        self.compile("resources.exe", "-DSEED_CRT", "-s", "resources.o")
        self.delay("delay.exe")
        self.small("small.exe", "-s")
        self.write("overlay.exe", self.read("small.exe") + bytes(i * i % 251 for i in range(5001)))
        self.small("linked.exe", "-s", "-DSEED_MIMALLOC", "-L.", "-lcmimalloc")
        self.small("aligned.exe", "-s", "-Wl,--section-alignment,65536,--file-alignment,4096")
        self.small("flat.exe", "-s", "-Wl,--section-alignment,32,--file-alignment,32")
        self.small("debug.exe", "-s", "-Wl,--build-id")
        self.write("full.exe", fill_headers(self.read("small.exe")))
        self.small("noimports.exe", "-s", kind="SEED_NO_IMPORTS")
        self.compile("library.dll", "-DSEED_DLL", "-s", "-shared")
        missing = [name for name in NAMES if not os.path.isfile(self.path(name))]
        if missing:
            sys.exit(f"make_seeds.py: not made: {', '.join(missing)}")


def main(arguments):
    stamp = None
    if len(arguments) > 2 and arguments[0] == "--stamp":
        stamp, arguments = arguments[1], arguments[2:]
    if len(arguments) != 2 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    os.makedirs(arguments[1], exist_ok=True)
    Maker(*arguments).make()
    if stamp:
        with open(stamp, "w", encoding="ascii"):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
