#!/usr/bin/env python3
"""Writes the one assembler source of libmimalloc-crt.a from crt_names.txt.

The library is a single object file, so a linker that takes one name from it has all of them and looks for none in a
C runtime's library afterwards. The object holds
  - the import directory of mimalloc.dll (.idata$2 and $4 to $7: descriptor, lookup table, address table, names),
  - per name `__imp_NAME`, a label on its slot of the address table, which dllimport-style calls use directly,
  - per name `NAME`, a label on a thunk: one jump through that slot.
It needs no import library besides.
"""
import argparse
import re
import sys

# Undefined in no program, defined by the object, the same on every architecture: `-Wl,-u,__imp_mimalloc_crt` makes
# the linker take the object even when it meets the library before anything that allocates. GNU ld never exports
# names that begin with __imp_, so a DLL that is linked with it does not pass it on.
ANCHOR = "__imp_mimalloc_crt"
DLL = "mimalloc.dll"

ARCHITECTURES = {
    # prefix of C names, bytes per address, pointer directive, jump through a slot
    "x86_64": ("", 8, ".quad", "jmp *{slot}(%rip)"),
    "x86": ("_", 4, ".long", "jmp *{slot}"),
}


def fail(message):
    sys.exit(f"crt_library.py: {message}")


def read_names(path):
    """{export: [C names]} in file order."""
    exports = {}
    seen = set()
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            if len(words) != 2 or not all(re.fullmatch(r"[A-Za-z_]\w*", word) for word in words):
                fail(f"{path}:{number}: expected 'C-name export', got '{line.strip()}'")
            name, export = words
            if name in seen:
                fail(f"{path}:{number}: '{name}' is named twice; remove one of the lines")
            seen.add(name)
            exports.setdefault(export, []).append(name)
    if not exports:
        fail(f"{path}: no names in it")
    return exports


def check_exports(exports, def_path):
    with open(def_path, encoding="utf-8") as file:
        defined = {words[0] for words in (line.split(";")[0].split() for line in file) if len(words) == 1}
    missing = sorted(set(exports) - defined)
    if missing:
        fail(f"{def_path} does not export {', '.join(missing)}; add them there or correct the names file")


def assembler(exports, architecture):
    prefix, word, pointer, jump = ARCHITECTURES[architecture]
    out = [
        "# Made by crt_library.py from crt_names.txt: do not edit.",
        '  .section .idata$2, "dw"',
        "  .p2align 2",
        f"  .globl {ANCHOR}",
        f"{ANCHOR}:",
        "  .rva lookup_table",
        "  .long 0, 0",
        "  .rva dll_name",
        "  .rva address_table",
    ]
    for section, label in (("$4", "lookup_table"), ("$5", "address_table")):
        out += [f'  .section .idata{section}, "dw"', f"  .p2align {3 if word == 8 else 2}", f"{label}:"]
        for export, names in exports.items():
            if section == "$5":
                for name in names:
                    out += [f"  .globl __imp_{prefix}{name}", f"__imp_{prefix}{name}:"]
            out += [f"  .rva hint_{export}"] + (["  .long 0"] if word == 8 else [])
        out += [f"  {pointer} 0"]
    out += ['  .section .idata$6, "dw"']
    for export in exports:
        out += ["  .p2align 1", f"hint_{export}:", "  .short 0", f'  .asciz "{export}"']
    out += ['  .section .idata$7, "dw"', "  .p2align 1", "dll_name:", f'  .asciz "{DLL}"', "  .text"]
    for export, names in exports.items():
        out += ["  .p2align 3"]
        for name in names:
            symbol = prefix + name
            out += [f"  .def {symbol}; .scl 2; .type 32; .endef", f"  .globl {symbol}", f"{symbol}:"]
        out += [f"  {jump.format(slot='__imp_' + prefix + names[0])}"]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=sorted(ARCHITECTURES), help="cpu_family of Meson")
    parser.add_argument("--def", dest="def_file", required=True, help="mimalloc.def, to check that each export exists")
    parser.add_argument("names", help="crt_names.txt")
    parser.add_argument("output", help="assembler source to write")
    arguments = parser.parse_args()
    exports = read_names(arguments.names)
    check_exports(exports, arguments.def_file)
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(assembler(exports, arguments.arch))


if __name__ == "__main__":
    main()
