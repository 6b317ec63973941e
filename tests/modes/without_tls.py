#!/usr/bin/env python3
"""Copies a PE file without its TLS directory entry, so that no loader delivers TLS callbacks to it.

Stands for the systems and loaders that don't (a DLL that a Windows before Vista loads by LoadLibrary, mappers
of their own kind)."""
import argparse
import struct
import sys

TLS = 9  # index of the data directory


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", help="an .exe or .dll")
    parser.add_argument("output", help="the copy to write")
    options = parser.parse_args()
    with open(options.input, "rb") as file:
        data = bytearray(file.read())
    pe = struct.unpack_from("<I", data, 0x3C)[0] if data[:2] == b"MZ" else 0
    if data[pe:pe + 4] != b"PE\0\0":
        sys.exit(f"{options.input}: not a PE file; give an .exe or .dll")
    optional = pe + 24
    directories = optional + (112 if struct.unpack_from("<H", data, optional)[0] == 0x20B else 96)
    entry = directories + 8 * TLS
    if struct.unpack_from("<I", data, entry)[0] == 0:
        sys.exit(f"{options.input}: has no TLS directory to begin with; was it linked with the right "
                 "library?")
    struct.pack_into("<II", data, entry, 0, 0)
    struct.pack_into("<I", data, optional + 64, 0)  # the checksum covers the header
    with open(options.output, "wb") as file:
        file.write(data)
    print(f"{options.output}: TLS directory taken away")


if __name__ == "__main__":
    main()
