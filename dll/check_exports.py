#!/usr/bin/env python3
"""Checks where the exports of a DLL lead, and copies it to where it is installed from.

Every export must be named in the .def file and lead into the image: to code, or to data if its line says DATA. A linker can
get that wrong without a word: GNU ld does when it compiles objects at link time (-flto) whose names the .def file alone
exports. Every build runs this, and only a DLL that passed is installed.
"""
import argparse
import shutil
import struct
import subprocess
import sys

EXECUTABLE = 0x20000000  # IMAGE_SCN_MEM_EXECUTE


def fail(path, problems, remedy):
    for problem in problems[:5]:
        print(f"{path}: {problem}", file=sys.stderr)
    if len(problems) > 5:
        print(f"{path}: and {len(problems) - 5} more", file=sys.stderr)
    sys.exit(f"{path}: remedy: {remedy}")


class Image:
    """As much of a PE file as the check reads."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        header, = self.read("<I", 0x3C)
        if self.bytes[:2] != b"MZ" or self.bytes[header:header + 4] != b"PE\0\0":
            raise ValueError("no PE file")
        section_count, = self.read("<H", header + 6)
        optional_size, = self.read("<H", header + 20)
        optional = header + 24
        magic, = self.read("<H", optional)
        self.size, = self.read("<I", optional + 56)
        self.export_rva, self.export_size = self.read("<II", optional + (112 if magic == 0x20B else 96))
        table = optional + optional_size
        self.sections = [self.read("<IIII12xI", table + 40 * i + 8) for i in range(section_count)]

    def read(self, layout, offset):
        return struct.unpack_from(layout, self.bytes, offset)

    def section(self, rva):
        """(virtual size, address, size in the file, offset in the file, flags); None for an address in no section."""
        return next((s for s in self.sections if s[1] <= rva < s[1] + max(s[0], s[2])), None)

    def offset(self, rva):
        section = self.section(rva)
        if section is None:
            raise ValueError(f"the export directory leads to {rva:#x}, which is in no section")
        return rva - section[1] + section[3]

    def exports(self):
        """[(name, RVA)]"""
        if self.export_rva == 0:
            return []
        counts_and_tables = self.read("<IIIII", self.offset(self.export_rva) + 20)
        functions, names, addresses, name_table, ordinal_table = counts_and_tables
        result = []
        for i in range(names):
            name, = self.read("<I", self.offset(name_table + 4 * i))
            ordinal, = self.read("<H", self.offset(ordinal_table + 2 * i))
            if ordinal >= functions:
                raise ValueError(f"export number {i} has ordinal {ordinal} of {functions}")
            rva, = self.read("<I", self.offset(addresses + 4 * ordinal))
            start = self.offset(name)
            result.append((self.bytes[start:self.bytes.index(b"\0", start)].decode(), rva))
        return result


def read_def(path):
    """{name: is it data?}"""
    result = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            words = line.split(";")[0].split()
            if words and words[0] not in ("LIBRARY", "EXPORTS"):
                result[words[0]] = "DATA" in words[1:]
    return result


def problems_of(image, wanted):
    exports = dict(image.exports())
    problems = [f"{name} is in the .def file, but is not exported" for name in wanted if name not in exports]
    for name, rva in exports.items():
        section = image.section(rva)
        is_code = section is not None and section[4] & EXECUTABLE != 0
        if name not in wanted:
            problems.append(f"{name} is exported, but is not in the .def file")
        elif section is None or rva >= image.size:
            problems.append(f"{name} leads to {rva:#x}, outside the image")
        elif image.export_rva <= rva < image.export_rva + image.export_size:
            problems.append(f"{name} is forwarded to another DLL")
        elif is_code == wanted[name]:
            problems.append(f"{name} leads to {rva:#x}, which is {'code' if is_code else 'no code'}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--def", dest="def_file", required=True, help="the .def file it was linked with")
    parser.add_argument("--strip", nargs="+", default=[], help="command that strips the copy, --strip last")
    parser.add_argument("dll")
    parser.add_argument("copy", nargs="?", help="file to write")
    parser.add_argument("pdb_copy", nargs="?", help="file to write: a copy of the .pdb beside the DLL")
    options = parser.parse_args()
    wanted = read_def(options.def_file)
    if not wanted:
        sys.exit(f"{options.def_file}: names no exports")
    try:
        problems = problems_of(Image(options.dll), wanted)
    except (ValueError, struct.error) as error:
        problems = [str(error)]
    if problems:
        fail(options.dll, problems, "the linker made a broken table of exports. Link without link-time optimisation "
             "(-Db_lto=false, no -flto in the flags)")
    if options.copy:
        shutil.copyfile(options.dll, options.copy)
        if options.strip:
            subprocess.run([*options.strip, options.copy], check=True)
    if options.pdb_copy:
        shutil.copyfile(options.dll.removesuffix(".dll") + ".pdb", options.pdb_copy)


if __name__ == "__main__":
    main()
