#!/usr/bin/env python3
"""Writes a C header with a file's text: embed.py FILE NAME HEADER."""
import sys

path, name, header = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    lines = file.read().splitlines(keepends=True)
with open(header, "w", encoding="utf-8") as file:
    file.write(f"static const char {name}[] =\n")
    for line in lines:
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?").replace("\n", "\\n")
        file.write(f'    "{escaped}"\n')
    file.write("    ;\n")
