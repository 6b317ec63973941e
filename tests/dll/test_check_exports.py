#!/usr/bin/env python3
"""Plants broken exports in copies of mimalloc.dll and demands that dll/check_exports.py finds each, and only those."""
import argparse
import os
import struct
import subprocess
import sys
import tempfile

from pe import EXPORT, PE

VICTIM = "mi_zalloc"


def address_slot(pe, name):
    """Where in the file the RVA of an export stands."""
    at = pe.offset(pe.directories[EXPORT][0])
    index = pe.exports().index(name)
    ordinal = pe.u16(pe.offset(pe.u32(at + 36)) + 2 * index)
    return pe.offset(pe.u32(at + 28)) + 4 * ordinal


def planted(pe, rva):
    data = bytearray(pe.data)
    struct.pack_into("<I", data, address_slot(pe, VICTIM), rva)
    return bytes(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", required=True, help="dll/check_exports.py")
    parser.add_argument("--dll", required=True)
    parser.add_argument("--def", dest="def_file", required=True)
    options = parser.parse_args()
    pe = PE(options.dll)
    starts = {name: address for name, address, _, _ in pe.sections}
    end = max(address + size for _, address, size, _ in pe.sections)
    with open(options.def_file, encoding="utf-8") as file:
        definition = file.read()
    as_data = definition.replace(f"  {VICTIM}\n", f"  {VICTIM} DATA\n")
    without = definition.replace(f"  {VICTIM}\n", "")
    # name: (DLL, .def file, what must be said; None: it passes)
    cases = {
        "as it is": (pe.data, definition, None),
        "address 0": (planted(pe, 0), definition, "outside the image"),
        "beyond the end": (planted(pe, (end + 0xFFFF) & ~0xFFFF), definition, "outside the image"),
        "what GNU ld writes with -flto": (planted(pe, 0xB20A0000), definition, "outside the image"),
        "variables": (planted(pe, starts[".data"]), definition, "no code"),
        "constants": (planted(pe, starts[".rdata"]), definition, "no code"),
        "a forwarder": (planted(pe, pe.directories[EXPORT][0] + 40), definition, "forwarded"),
        "code that should be data": (pe.data, as_data, "which is code"),
        "data as announced": (planted(pe, starts[".data"]), as_data, None),
        "a name too many": (pe.data, without, "not in the .def file"),
        "a name too few": (pe.data, definition + "  mi_no_such_function\n", "mi_no_such_function is in the .def file"),
        "no PE file": (b"MZ" + bytes(200), definition, "no PE file"),
    }
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, (dll, text, wanted) in cases.items():
            paths = [os.path.join(folder, file) for file in ("x.dll", "x.def", "copy.dll")]
            with open(paths[0], "wb") as file:
                file.write(dll)
            with open(paths[1], "w", encoding="utf-8") as file:
                file.write(text)
            done = subprocess.run([sys.executable, options.check, "--def", paths[1], paths[0], paths[2]], capture_output=True, text=True)
            copied = os.path.exists(paths[2])
            if copied:
                os.unlink(paths[2])
            is_right = (done.returncode == 0) == (wanted is None) == copied
            if wanted is not None:
                is_right = is_right and wanted in done.stderr and "remedy" in done.stderr
            print(f"{'ok    ' if is_right else 'FAILED'} {name}")
            if not is_right:
                failed += 1
                print(f"exit code {done.returncode}, {done.stderr[:500]}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
