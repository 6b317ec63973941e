#!/usr/bin/env python3
"""Writes the assembler sources of libmimalloc-crt.a, or with --static that of libmimalloc-override.a, from crt_names.txt.

libmimalloc-crt.a, which leads to mimalloc.dll:

  table   the import directory of mimalloc.dll (.idata$2 and $4 to $7: descriptor, lookup table, address table, names)
          and per name `__imp_NAME`, a label on its slot of the address table, which dllimport-style calls use
  thunks  per name `NAME`, a label on one jump through that slot

Each refers to the other, so a linker that takes one name from the library has all of them and looks for none in a C
runtime's library afterwards. It needs no import library besides. (In a single object, GNU ld for i386 takes the thunks
for those of one imported function and drops them if that one is not called.)

libmimalloc-override.a, where the functions themselves are in the archive: `NAME`, a label on a jump to the function, and
`__imp_NAME`, its address, which dllimport-style calls read. All in one object, so that a linker takes all names or none.
MSVC's mimalloc-crt.lib is made that way, too: there the functions are imports.
"""
import argparse
import re
import sys

# Defined by the table, spelled the same on every architecture: `-Wl,-u,__imp_mimalloc_crt` makes the linker take the
# library even when it meets it before anything that allocates. GNU ld never exports names that begin with __imp_, nor
# NAME where there is an __imp_NAME, so a DLL that is linked with the library passes nothing of it on.
ANCHOR = "__imp_mimalloc_crt"
STATIC_ANCHOR = "__imp_mimalloc_override"
DLL = "mimalloc.dll"

ARCHITECTURES = {
    # prefix of C names, bytes per address, pointer directive, jump through a slot, jump
    "x86_64": ("", 8, ".quad", "jmp *{slot}(%rip)", "jmp {target}"),
    "x86": ("_", 4, ".long", "jmp *{slot}", "jmp {target}"),
    "aarch64": ("", 8, ".quad", "adrp x16, {slot}\n  ldr x16, [x16, :lo12:{slot}]\n  br x16", "b {target}"),
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


HEAD = "/* Made by crt_library.py from crt_names.txt: do not edit. */"


def table(exports, architecture):
    prefix, word, pointer, _, _ = ARCHITECTURES[architecture]
    first_name = next(iter(exports.values()))[0]
    out = [
        HEAD,
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
    out += ['  .section .idata$7, "dw"', "  .p2align 2", "dll_name:", f'  .asciz "{DLL}"', "  .p2align 2",
            f"  .rva {prefix}{first_name}  /* nobody reads it: it makes the linker take the thunks */"]
    return "\n".join(out) + "\n"


def thunks(exports, architecture):
    prefix, _, _, jump, _ = ARCHITECTURES[architecture]
    out = [HEAD, "  .text"]
    for names in exports.values():
        out += ["  .p2align 3"]
        for name in names:
            symbol = prefix + name
            out += [f"  .def {symbol}; .scl 2; .type 32; .endef", f"  .globl {symbol}", f"{symbol}:"]
        out += [f"  {jump.format(slot='__imp_' + prefix + names[0])}"]
    return "\n".join(out) + "\n"


# MSVC's linkers take objects for x86 only if they say that they have no exception handlers that nobody knows of (/SAFESEH).
SAFE_SEH = ["  .def @feat.00; .scl 3; .type 0; .endef", "  .globl @feat.00", "  .set @feat.00, 1"]


def overrides(exports, architecture, anchor, is_msvc):
    prefix, word, pointer, _, jump = ARCHITECTURES[architecture]
    out = [HEAD, *(SAFE_SEH if is_msvc and architecture == "x86" else []), '  .section .rdata, "dr"', f"  .p2align {3 if word == 8 else 2}", f"  .globl {anchor}", f"{anchor}:"]
    for export, names in exports.items():
        for name in names:
            out += [f"  .globl __imp_{prefix}{name}", f"__imp_{prefix}{name}:"]
        out += [f"  {pointer} {prefix}{export}"]
    out += ["  .text"]
    for export, names in exports.items():
        out += ["  .p2align 3"]
        for name in names:
            symbol = prefix + name
            out += [f"  .def {symbol}; .scl 2; .type 32; .endef", f"  .globl {symbol}", f"{symbol}:"]
        out += ["  " + jump.format(target=prefix + export)]
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True, choices=sorted(ARCHITECTURES), help="cpu_family of Meson")
    parser.add_argument("--def", dest="def_file", required=True, help="mimalloc.def, to check that each export exists")
    parser.add_argument("names", help="crt_names.txt")
    parser.add_argument("--static", action="store_true", help="for libmimalloc-override.a: one source")
    parser.add_argument("--anchor", default=STATIC_ANCHOR, help="symbol by which a linker is made to take it (default: %(default)s)")
    parser.add_argument("--msvc", action="store_true", help="with --static: for clang, and for MSVC's linkers")
    parser.add_argument("outputs", nargs="+", help="assembler sources to write: table and thunks, or the one")
    arguments = parser.parse_args()
    exports = read_names(arguments.names)
    check_exports(exports, arguments.def_file)
    writers = [lambda *of: overrides(*of, arguments.anchor, arguments.msvc)] if arguments.static else [table, thunks]
    if len(arguments.outputs) != len(writers):
        fail(f"{len(writers)} outputs are needed")
    for path, write in zip(arguments.outputs, writers):
        with open(path, "w", encoding="utf-8") as file:
            file.write(write(exports, arguments.arch))


if __name__ == "__main__":
    main()
