#!/usr/bin/env python3
"""Checks mimalloc.dll as a file: what it exports, imports and contains.

  exports     exactly the names of mimalloc.def, which are all names that programs built against mimalloc may import, and
              the mi_crt_ family; every name of crt_names.txt leads to one of them; the static library has them, too
  imports     KERNEL32.dll alone, and of it only functions that every Windows since XP x64 has
  contents    no thread-local storage, no constructors, no C++ or C runtime remnants; a version resource
  size        stripped, under the limit
  undefined   the objects of the static library ask for nothing that a freestanding build or KERNEL32 does not have
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

from pe import ARM64, PE, TLS

# Diagnostics included. Instructions of arm64 have 4 bytes each, and the same code takes a fifth more.
SIZE_LIMIT, SIZE_LIMIT_ARM64 = 220 * 1024, 248 * 1024
# What GCC's generated code may call: from libgcc, or given by nocrt.c or the program's C runtime.
COMPILER_SUPPORT = {"___chkstk_ms", "memcpy", "memmove", "memset", "memcmp",
                    # i686: 64-bit arithmetic and stack probes
                    "__udivdi3", "__umoddi3", "__divdi3", "__moddi3", "__udivmoddi4", "__divmoddi4", "__ctzdi2", "__clzdi2",
                    "__popcountdi2", "_alloca", "__chkstk_ms"}
STATIC_SUPPORT = {"atexit",                  # the static library's bell
                  # weak: there if the program has a C++ runtime
                  "_ZSt15get_new_handlerv", "_ZSt17__throw_bad_allocv"}


def words_of(path, comment="#"):
    """The words of each line that has any."""
    with open(path, encoding="utf-8") as file:
        return [words for words in (line.split(comment)[0].split() for line in file) if words]


def def_names(path):
    lines = words_of(path, ";")
    names = [words for words in lines if words[0] not in ("LIBRARY", "EXPORTS")]
    bad = [" ".join(words) for words in names if len(words) != 1]
    if bad:
        sys.exit(f"{path}: exports with ordinals or other names are not allowed: {bad}")
    return [words[0] for words in names]


def symbols_of(options, *arguments):
    """Names in the static library."""
    text = subprocess.run([options.nm, *arguments, options.static], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in text.splitlines() if re.match(r"^\s*[0-9a-f]* +\w \S+$", line)}


def check_exports(options):
    problems = []
    defined = def_names(options.def_file)
    exported = PE(options.dll).exports()
    compatible = {words[0] for words in words_of(options.compatible)}
    problems += [f"{name} is in the .def file twice" for name in sorted({n for n in defined if defined.count(n) > 1})]
    problems += [f"{name} is in the .def file, but not exported" for name in sorted(set(defined) - set(exported))]
    problems += [f"{name} is exported, but not in the .def file" for name in sorted(set(exported) - set(defined))]
    problems += [f"{name} is no name of mimalloc's, nor mi_crt_*" for name in defined
                 if name not in compatible and not name.startswith("mi_crt_")]
    problems += [f"programs may import {name}, which is not exported" for name in sorted(compatible - set(exported))]
    prefix = "_" if not PE(options.dll).is_64 else ""
    static = {name.removeprefix(prefix) for name in symbols_of(options, "--defined-only")}
    dll_only = {words[0] for words in words_of(options.compatible) if "dll-only" in words}
    problems += [f"{name} is not in {os.path.basename(options.static)}" for name in sorted(compatible - static - dll_only)]
    targets = {words[1] for words in words_of(options.crt_names)}
    problems += [f"crt_names.txt leads to {name}, which is not exported" for name in sorted(targets - set(exported))]
    problems += [f"{name} is exported, but crt_names.txt does not use it" for name in exported
                 if name.startswith("mi_crt_") and name not in targets]
    print(f"{len(exported)} exports, {len(targets)} of them for {len(words_of(options.crt_names))} CRT names")
    return problems


def check_imports(options):
    allowed = {words[0] for words in words_of(options.kernel32)}
    imports = PE(options.dll).imports()
    problems = [f"imports {dll}: {', '.join(names)}" for dll, names in imports.items() if dll.lower() != "kernel32.dll"]
    names = [name for dll, names in imports.items() if dll.lower() == "kernel32.dll" for name in names]
    problems += [f"imports {name} of KERNEL32.dll, which kernel32-allowed.txt does not list" for name in names
                 if name not in allowed]
    if not names:
        problems.append("imports nothing: this can't be the DLL")
    print(f"{len(names)} imports from KERNEL32.dll: {' '.join(sorted(names))}")
    return problems


def check_contents(options):
    pe = PE(options.dll)
    problems = []
    if pe.has(TLS):
        problems.append("has a TLS directory")
    if pe.entry == 0:
        problems.append("has no entry point")
    symbols = subprocess.run([options.nm, options.dll], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1] for line in symbols.splitlines() if line.split()}
    pdb = options.dll.removesuffix(".dll") + ".pdb"
    if not names and os.path.exists(pdb):  # lld writes the one or the other
        text = subprocess.run(["llvm-pdbutil", "dump", "-publics", "-symbols", pdb], check=True, capture_output=True, text=True).stdout
        names = set(re.findall(r"\| S_(?:PUB32|[GL]PROC32) .*`([^`]+)`$", text, re.M))
    if len(names) < 50:
        problems.append(f"nm shows only {len(names)} symbols: test an unstripped DLL")
    problems += [f"contains {name}" for name in sorted(names)
                 if re.search(r"emutls|__gthr|_CRT_INIT|_Unwind_|__main$|_pei386_runtime|GLOBAL__sub_I|__cxa_", name)]
    # GNU ld's list of constructors: -1, the constructors, 0. The list of destructors follows it.
    marks = {line.split()[-1].lstrip("_"): int(line.split()[0], 16) for line in symbols.splitlines()
             if line.endswith(("__CTOR_LIST__", "__DTOR_LIST__"))}
    if pe.linker_major == 14:
        print("no look at constructors: lld keeps no list of them (builds with GNU ld do, of the same sources)")
    elif "CTOR_LIST__" not in marks or "DTOR_LIST__" not in marks:
        problems.append("nm shows no list of constructors: has the linker changed? Then adapt this check")
    elif marks["DTOR_LIST__"] - marks["CTOR_LIST__"] != 2 * (8 if pe.is_64 else 4):
        problems.append("contains constructors, which nobody would call")
    strings = pe.version_strings()
    for key, wanted in (("ProductName", "mimalloc"), ("OriginalFilename", "mimalloc.dll"), ("ProductVersion", options.version)):
        if strings.get(key) != wanted:
            problems.append(f"version resource: {key} is {strings.get(key)!r}, not {wanted!r}")
    print(f"version resource: {strings}")
    return problems


def check_size(options):
    with tempfile.TemporaryDirectory() as folder:
        stripped = os.path.join(folder, "mimalloc.dll")
        subprocess.run([options.strip, "-o", stripped, options.dll], check=True)
        size = os.path.getsize(stripped)
    limit = SIZE_LIMIT_ARM64 if PE(options.dll).machine == ARM64 else SIZE_LIMIT
    print(f"{size} bytes stripped, limit {limit}")
    return [f"{size} bytes stripped; the limit is {limit}"] if size >= limit else []


def check_undefined(options):
    prefix = "_" if not PE(options.dll).is_64 else ""

    undefined = symbols_of(options, "--undefined-only") - symbols_of(options, "--defined-only")
    allowed = {words[0] for words in words_of(options.kernel32)}

    def is_fine(symbol):
        name = re.sub(r"@\d+$", "", symbol.removeprefix("__imp_").removeprefix(prefix))
        return name in allowed or symbol.removeprefix(prefix) in COMPILER_SUPPORT | STATIC_SUPPORT or symbol in COMPILER_SUPPORT

    print(f"{len(undefined)} undefined: {' '.join(sorted(undefined))}")
    if not undefined:
        return ["no undefined symbols at all: this can't be the library"]
    return [f"{symbol} is undefined in {os.path.basename(options.static)}" for symbol in sorted(undefined) if not is_fine(symbol)]


CHECKS = {"exports": check_exports, "imports": check_imports, "contents": check_contents, "size": check_size,
          "undefined": check_undefined}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--dll", required=True, help="mimalloc.dll, not stripped")
    parser.add_argument("--static", help="libmimalloc.a")
    parser.add_argument("--def", dest="def_file", help="mimalloc.def")
    parser.add_argument("--crt-names", help="crt_names.txt")
    parser.add_argument("--kernel32", help="kernel32-allowed.txt")
    parser.add_argument("--compatible", help="names that programs may import")
    parser.add_argument("--version", help="the product's version")
    parser.add_argument("--nm", help="nm of the toolchain")
    parser.add_argument("--strip", help="strip of the toolchain")
    options = parser.parse_args()
    problems = CHECKS[options.check](options)
    for problem in problems:
        print(f"FAILED: {options.check}: {problem}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
