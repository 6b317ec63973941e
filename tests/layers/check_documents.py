#!/usr/bin/python3
"""The documents as their readers find them.

README.md fits on two screens (100 lines of 110 columns) and speaks to each kind of reader; links between documents lead to
files and headings that exist, and every document in docs/ is reached from README.md; scripts that they name are there.
"""
import argparse
import os
import re
import sys

README_LINES, COLUMNS = 100, 110
# Who looks for a heading of his own, by words of it.
READERS = ["I ship an app", "I can't rebuild it", "I link statically", "CMake", "Meson", "MSVC", "pkg-config", "I package it",
           "I change it"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SCRIPT = re.compile(r"(?<![\w/.-])((?:wine-ci|bench)/[\w.-]+)")


def documents(root):
    yield from (name for name in sorted(os.listdir(root)) if name.endswith(".md"))
    for folder, _, names in os.walk(os.path.join(root, "docs")):
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in sorted(names) if name.endswith(".md"))


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", without_code(text), re.M)}


def problems(root):
    texts = {}
    for name in documents(root):
        with open(os.path.join(root, name), encoding="utf-8") as file:
            texts[name] = file.read()
    lines = texts["README.md"].splitlines()
    if len(lines) > README_LINES:
        yield f"README.md has {len(lines)} lines, {README_LINES} are two screens: move details to docs/"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"README.md:{number}: {len(line)} columns, {COLUMNS} are a screen"
    headings = "\n".join(line for line in lines if line.startswith("## "))
    for reader in READERS:
        if reader not in headings:
            yield f"README.md: no heading for who says '{reader}'"
    reached, ahead = set(), ["README.md"]
    while ahead:
        name = ahead.pop()
        if name in reached:
            continue
        reached.add(name)
        for target in LINK.findall(without_code(texts.get(name, ""))):
            path, _, anchor = target.partition("#")
            if re.match(r"\w+:", target):
                continue
            to = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not os.path.exists(os.path.join(root, to)):
                yield f"{name}: a link to {target}, which is not there"
            elif anchor and to in texts and anchor not in anchors(texts[to]):
                yield f"{name}: a link to {target}, a heading that is not there"
            elif to in texts:
                ahead.append(to)
            elif os.path.isdir(os.path.join(root, to)):  # shown as a list of its files
                ahead += [other for other in texts if os.path.dirname(other) == to]
    for name in sorted(set(texts) - reached):
        if name.startswith("docs/"):
            yield f"{name}: nothing that README.md leads to has a link to it"
    for name, text in texts.items():
        for script in sorted({match.rstrip(".-") for match in SCRIPT.findall(text)}):
            if not os.path.exists(os.path.join(root, script)):
                yield f"{name}: names {script}, which is not there"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the repository")
    found = list(problems(parser.parse_args().root))
    for problem in found:
        print(problem)
    print(f"{len(found)} problems in documents")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
