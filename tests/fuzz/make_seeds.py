#!/usr/bin/env python3
"""Makes the modules that fuzzing of the redirection starts from: small, with one of everything that is read.

usage: make_seeds.py FOLDER

Writes module64 and module32, inputs for the target `redirect`: a byte of choices, then a module as it lies in
memory. They are in tests/fuzz/corpus/redirect; run this again when the target's format changes.
"""
import os
import struct
import sys

SIZE, HEADER, SECTIONS, CODE, TABLES, SLOTS = 0x900, 0x40, 0x180, 0x200, 0x300, 0x800


def module(is_64):
    image = bytearray(SIZE)
    pointer = 8 if is_64 else 4

    def put(at, form, *values):
        struct.pack_into("<" + form, image, at, *values)

    def text(at, value):
        image[at:at + len(value) + 1] = value.encode() + b"\0"

    optional = HEADER + 24
    directories = optional + (112 if is_64 else 96)
    put(0, "H", 0x5A4D)
    put(0x3C, "I", HEADER)
    put(HEADER, "I", 0x4550)
    put(HEADER + 6, "H", 3)
    put(HEADER + 20, "HH", SECTIONS - optional, 0x2000)
    put(optional, "H", 0x20B if is_64 else 0x10B)
    put(optional + 56, "I", SIZE)
    put(directories - 4, "I", 16)
    for index, (address, size, flags) in enumerate([(CODE, 0x100, 0x60000020), (TABLES, 0x500, 0x40000040),
                                                    (SLOTS, 0x100, 0xC0000040)]):
        put(SECTIONS + 40 * index + 8, "II", size, address)
        put(SECTIONS + 40 * index + 36, "I", flags)

    names = ["alpha", "beta", "free", "gamma", "malloc"]
    functions = [CODE, CODE + 0x20, CODE + 0x40, TABLES + 0xC0, CODE + 0x60]  # gamma is a forwarder
    put(directories, "II", TABLES, 0x140)
    put(TABLES + 20, "IIIII", 5, 5, TABLES + 0x30, TABLES + 0x50, TABLES + 0x70)
    for index, name in enumerate(names):
        put(TABLES + 0x30 + 4 * index, "I", functions[index])
        put(TABLES + 0x50 + 4 * index, "I", TABLES + 0x80 + 12 * index)
        put(TABLES + 0x70 + 2 * index, "H", index)
        text(TABLES + 0x80 + 12 * index, name)
    text(TABLES + 0xC0, "other.gamma")

    imports, lookup = TABLES + 0x180, TABLES + 0x200
    put(directories + 8, "II", imports, 40)
    put(imports, "IIIII", lookup, 0, 0, TABLES + 0x240, SLOTS)
    text(TABLES + 0x240, "one.dll")
    text(TABLES + 0x252, "first")
    put(lookup, "QQ" if is_64 else "II", TABLES + 0x250, 7 | 1 << (8 * pointer - 1))  # a name and a number
    for slot in range(2):
        put(SLOTS + slot * pointer, "I", 0x11110000 + slot)

    delayed = TABLES + 0x280
    put(directories + 8 * 13, "II", delayed, 64)
    put(delayed, "IIIII", 1, TABLES + 0x240, 0, SLOTS + 0x40, TABLES + 0x2E0)
    put(TABLES + 0x2E0, "I", TABLES + 0x250)

    if is_64:
        put(directories + 8 * 3, "II", TABLES + 0x300, 36)
        for index, (begin, end) in enumerate([(0, 0x1F), (0x20, 0x3F), (0x40, 0x5F)]):
            put(TABLES + 0x300 + 12 * index, "II", CODE + begin, CODE + end)
    code = bytes.fromhex("534883ec204889cb e810000000 4883c420 5b c3" if is_64
                         else "8bff558bec83ec10 e810000000 c9 c3")
    for start in range(0, 0x80, 0x20):
        image[CODE + start:CODE + start + len(code)] = code
    return bytes(image)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    os.makedirs(sys.argv[1], exist_ok=True)
    for name, is_64 in (("module64", True), ("module32", False)):
        for choice in (0, 7):
            with open(os.path.join(sys.argv[1], f"{name}-{choice}"), "wb") as file:
                file.write(bytes([choice]) + module(is_64))
    return 0


if __name__ == "__main__":
    sys.exit(main())
