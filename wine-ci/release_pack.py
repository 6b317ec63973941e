#!/usr/bin/python3
"""Makes a release archive of two installed trees (see wine-ci/release): separates debug information, turns documents into HTML,
writes checksums, packs. The same input gives the same bytes.
"""
import argparse
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import zipfile

import markdown

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
pre {{ background: #f4f4f4; padding: 0.7em; overflow-x: auto; }}
table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #bbb; padding: 0.2em 0.5em; text-align: left; }}
</style></head><body>
{body}
</body></html>
"""


def separate_debug(tools, path, symbols):
    """Moves the debug information of a program or DLL into a file of its own, which a debugger finds beside it or in symbols/."""
    debug = os.path.join(symbols, os.path.basename(path) + ".debug")
    subprocess.run([tools + "objcopy", "--only-keep-debug", path, debug], check=True)
    subprocess.run([tools + "strip", "--strip-all", path], check=True)
    subprocess.run([tools + "objcopy", "--add-gnu-debuglink=" + debug, path], check=True)


def to_html(source, target):
    with open(source, encoding="utf-8") as file:
        text = file.read()
    title = re.search(r"^# (.*)$", text, re.M)
    body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc", "sane_lists"])
    body = re.sub(r'href="(?!https?:)([^"#]*)\.md(#[^"]*)?"', r'href="\1.html\2"', body)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8", newline="\n") as file:
        file.write(PAGE.format(title=title.group(1) if title else os.path.basename(source), body=body))


def documents(root, folder):
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        to_html(os.path.join(root, name), os.path.join(folder, name.removesuffix(".md") + ".html"))
    shutil.copytree(os.path.join(root, "examples"), os.path.join(folder, "examples"),
                    ignore=shutil.ignore_patterns("build*", "subprojects"))
    for at, _, names in os.walk(os.path.join(root, "docs")):
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(at, name), root)
            if name.endswith(".md"):
                to_html(os.path.join(at, name), os.path.join(folder, relative.removesuffix(".md") + ".html"))
            elif name.endswith(".svg"):
                os.makedirs(os.path.dirname(os.path.join(folder, relative)), exist_ok=True)
                shutil.copy(os.path.join(at, name), os.path.join(folder, relative))


def files_of(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="the repository")
    parser.add_argument("--tools", required=True, help="prefix of objcopy and strip, without the last hyphen")
    parser.add_argument("--name", required=True, help="of the archive, without .zip")
    parser.add_argument("--out", required=True)
    parser.add_argument("--release", required=True, help="installed tree")
    parser.add_argument("--debug", required=True, help="installed tree of the checking build")
    options = parser.parse_args()
    tools = options.tools + "-"
    date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with tempfile.TemporaryDirectory() as scratch:
        tree = os.path.join(scratch, options.name)
        shutil.copytree(options.release, tree)
        shutil.rmtree(os.path.join(tree, "share"))
        for folder in ("debug", "symbols"):
            os.makedirs(os.path.join(tree, folder))
        for name in os.listdir(os.path.join(options.debug, "bin")):
            if name in ("mimalloc.dll", "mimalloc.pdb"):
                shutil.copy(os.path.join(options.debug, "bin", name), os.path.join(tree, "debug"))
        shutil.move(os.path.join(tree, "bin", "secure"), tree)
        for folder, symbols in (("bin", "symbols"), ("debug", "symbols/debug"), ("secure", "symbols/secure")):
            os.makedirs(os.path.join(tree, symbols), exist_ok=True)
            for name in os.listdir(os.path.join(tree, folder)):
                if name.endswith(".pdb"):
                    shutil.move(os.path.join(tree, folder, name), os.path.join(tree, symbols))
                else:
                    separate_debug(tools, os.path.join(tree, folder, name), os.path.join(tree, symbols))
        for name in os.listdir(os.path.join(tree, "lib")):
            if name.endswith(".a") and not name.endswith(".dll.a"):
                subprocess.run([tools + "strip", "--strip-debug", "--enable-deterministic-archives", os.path.join(tree, "lib", name)], check=True)
        documents(options.root, os.path.join(tree, "doc"))
        shutil.copy(os.path.join(options.root, "LICENSE"), tree)
        sums = "".join(f"{sha256(os.path.join(tree, name))}  {name}\n" for name in files_of(tree))
        with open(os.path.join(tree, "SHA256SUMS"), "w", encoding="utf-8", newline="\n") as file:
            file.write(sums)
        archive = os.path.join(options.out, options.name + ".zip")
        with zipfile.ZipFile(archive + ".part", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for name in files_of(tree):
                entry = zipfile.ZipInfo(options.name + "/" + name, date)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                with open(os.path.join(tree, name), "rb") as content:
                    file.writestr(entry, content.read(), compresslevel=9)
        os.replace(archive + ".part", archive)
    with open(archive + ".sha256", "w", encoding="utf-8") as file:
        file.write(f"{sha256(archive)}  {os.path.basename(archive)}\n")


if __name__ == "__main__":
    main()
