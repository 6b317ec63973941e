#!/usr/bin/python3
"""Names of environment variables: those that src and dll read, those that options.c knows, those that docs name.

A variable that is read but unknown is called a mistake of the user's (MIMALLOC_VERBOSE=1); one that is known or
documented but read nowhere has no effect.
"""
import os
import re
import sys

PREFIX = "MIMALLOC_"
NOT_VARIABLES = re.compile(r"MIMALLOC_(\w+_)?H$|MIMALLOC_$")  # include guards; the prefix itself
FLAG_CALL = re.compile(r'environment_flag\(\s*"(\w+)"')
LITERAL = re.compile(r'"MIMALLOC_([A-Z_]+)"')
SOURCES, DOCUMENTS = ("src", "dll"), ("docs", "include", "README.md", "examples")


def texts(root, places, endings):
    for place in places:
        path = os.path.join(root, place)
        files = [path] if os.path.isfile(path) else (
            os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
        for file in sorted(files):
            if file.endswith(endings):
                with open(file, encoding="utf-8") as stream:
                    yield os.path.relpath(file, root), stream.read()


def options(root):
    """Names, older names, and the deprecated ones, which no code reads."""
    text = next(texts(root, ["src/core/report/options_table.h"], ".h"))[1]
    names, inert = set(), set()
    for kind, name, older in re.findall(r'^(OPTION|DEPRECATED|IGNORED)\((\w+),.*, \w+, ("\w+"|NULL)\)', text, re.M):
        names |= {name, older.strip('"')} - {"NULL"}
        inert |= {name} if kind != "OPTION" else set()
    return names, inert


def others(root):
    text = next(texts(root, ["src/core/report/options.c"], ".c"))[1]
    table = re.search(r"other_names\[\] = \{(.*?)\};", text, re.S).group(1)
    return set(re.findall(r'"(\w+)"', table))


def problems(root):
    named, inert = options(root)
    known = others(root)
    read = {}
    for file, text in texts(root, SOURCES, (".c", ".h")):
        for name in FLAG_CALL.findall(text) + [name.lower() for name in LITERAL.findall(text)]:
            read.setdefault(name, file)
        if "options_table" not in file:
            for name in re.findall(r"\boption_(\w+)", text):
                if name in named:
                    read.setdefault(name, file)
    for name in sorted(set(read) - known - named):
        yield f"{read[name]}: {PREFIX}{name.upper()} is read, but other_names in options.c doesn't have it"
    for name in sorted(known - set(read)):
        yield f"src/core/report/options.c: other_names has {name}, which nothing reads"
    for file, text in texts(root, DOCUMENTS, (".md", ".h", ".c", ".txt")):
        for variable in sorted(set(re.findall(r"\bMIMALLOC_[A-Z_]*", text))):
            if NOT_VARIABLES.match(variable):
                continue
            name = variable[len(PREFIX):].lower()
            if name not in known | named:
                yield f"{file}: {variable} is no variable of ours"
            elif name in named and name not in read and name not in inert:
                yield f"{file}: {variable} has no effect: nothing reads the option"


def main():
    found = list(problems(sys.argv[1]))
    for problem in found:
        print(problem)
    print(f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
