#!/usr/bin/env python3
"""Checks that a .pdb belongs to a DLL and knows its functions: the DLL names it, without a folder and with its number; the
functions that the DLL exports have symbols where the exports lead to, and lines of the sources.
"""
import argparse
import os
import re
import struct
import subprocess
import sys
import uuid

from pe import PE

DEBUG = 6  # index of the data directory
CODE_VIEW = 2
# One of each kind: the fast path, built for size, of a source of the DLL alone. (A function that is all another one, inlined, has no
# lines of its own.)
FUNCTIONS = {"mi_calloc": "alloc.c", "mi_heap_new": "heap.c", "mi_crt_free": "crt_api.c"}


class Image(PE):
    def named_pdb(self):
        """(GUID, age, name) as the debug directory says; None without such an entry."""
        if not self.has(DEBUG):
            return None
        address, size = self.directories[DEBUG]
        for entry in range(self.offset(address), self.offset(address) + size, 28):
            kind, data_size, at = self.u32(entry + 12), self.u32(entry + 16), self.offset(self.u32(entry + 20))
            if kind == CODE_VIEW and self.data[at:at + 4] == b"RSDS":
                name = self.data[at + 24:at + data_size].split(b"\0")[0].decode()
                return uuid.UUID(bytes_le=self.data[at + 4:at + 20]), self.u32(at + 20), name
        return None

    def export_addresses(self):
        at = self.offset(self.directories[0][0])
        functions, ordinals = self.offset(self.u32(at + 28)), self.offset(self.u32(at + 36))
        return {name: self.u32(functions + 4 * self.u16(ordinals + 2 * i)) for i, name in enumerate(self.exports())}

    def place(self, address):
        """(number of the section, offset in it), as symbols are given in a .pdb."""
        for number, (_, start, size, _) in enumerate(self.sections, 1):
            if start <= address < start + size:
                return number, address - start
        return None


def procedures(text):
    """{name: (section, offset)} of functions in `llvm-pdbutil dump -symbols`."""
    found = {}
    for name, section, offset in re.findall(r"S_[GL]PROC32 .*`(\w+)`\n.*addr = (\w+):(\d+)", text):
        found.setdefault(name, (int(section), int(offset)))
    return found


def lines(text):
    """{(section, offset): source} where a source's first line in a function lies, from `llvm-pdbutil dump -l`. Offsets are
    hexadecimal here."""
    found, source = {}, None
    for line in text.splitlines():
        named = re.match(r"^(\S.*) \((?:MD5|SHA|no checksum)", line)
        block = re.match(r"^ +(\w{4}):(\w{8})-\w{8}, line/addr", line)
        if named:
            source = re.split(r"[\\/]", named.group(1))[-1]
        elif block:
            found[int(block.group(1), 16), int(block.group(2), 16)] = source
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pdbutil", default="llvm-pdbutil")
    parser.add_argument("--dll", required=True)
    parser.add_argument("--pdb", required=True)
    options = parser.parse_args()

    def dump(*what):
        return subprocess.run([options.pdbutil, "dump", *what, options.pdb], check=True, capture_output=True, text=True).stdout

    problems = []
    image = Image(options.dll)
    named, summary = image.named_pdb(), dump("-summary")
    guid, age = re.search(r"GUID: (\{.*\})", summary).group(1), re.search(r"Age: (\d+)", summary).group(1)
    has = (str(uuid.UUID(guid)), int(age))
    if named is None:
        problems.append(f"{options.dll} names no .pdb")
    elif (named[2], str(named[0]), named[1]) != (os.path.basename(options.pdb), *has):
        problems.append(f"{options.dll} names {named}, the .pdb at hand is {os.path.basename(options.pdb)} {has}")
    addresses, known, sources = image.export_addresses(), procedures(dump("-symbols")), lines(dump("-l"))
    for name, source in FUNCTIONS.items():
        place = image.place(addresses[name])
        if known.get(name) != place:
            problems.append(f"{name} is at {place}, the .pdb says {known.get(name)}")
        elif sources.get(place) != source:
            problems.append(f"{name} is in {source}, the .pdb says {sources.get(place)}")
    for problem in problems:
        print(f"FAILED: {problem}")
    print(f"{len(known)} functions, {len(set(sources.values()))} sources with lines; {len(problems)} problems")
    sys.exit(1 if problems or len(known) < 500 else 0)


if __name__ == "__main__":
    main()
