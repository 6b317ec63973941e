#!/usr/bin/env python3
"""Makes, from the list of names that programs may import:

  def    a .def file with the names of one line of mimalloc (3.4 or 2.4), from which dlltool makes the import library that
         a program of that line was linked with
  table  a C file that declares all names and puts where the import table has their addresses into an array
"""
import argparse


def names_of(path, line):
    """Names of a line: both have what is not marked, the older one also what is marked so."""
    result = []
    with open(path, encoding="utf-8") as file:
        for words in (text.split("#")[0].split() for text in file):
            mark = words[1] if len(words) > 1 else ""
            if words and (mark == "" or (line == "all" and mark != "") or mark == line):
                result.append(words[0])
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["def", "table"])
    parser.add_argument("list")
    parser.add_argument("output")
    parser.add_argument("--line", default="all", choices=["3.4", "2.4", "all"])
    options = parser.parse_args()
    names = names_of(options.list, options.line)
    if options.what == "def":
        lines = ["LIBRARY mimalloc.dll", "EXPORTS", *("  " + name for name in names)]
    else:
        lines = ['#include "imports.h"',
                 *(f"extern import_function_t* IMPORTED({name});" for name in names),
                 "const import_t imports[] = {",
                 *(f'  {{"{name}", &IMPORTED({name})}},' for name in names),
                 "};", f"const size_t import_count = {len(names)};"]
    with open(options.output, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
