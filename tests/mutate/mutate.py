#!/usr/bin/env python3
"""Changes the sources in small ways, one at a time, and shows that a test fails for each.

usage: mutate.py [options] [NAME...]

  --list FILE    the mutations (default: mutations.toml beside this script)
  --folder DIR   where the copy of the tree and its build lie (default: build-mutate at the top)
  --show         print the mutations and whether each still fits the sources, and end; the exit code is 1 if one doesn't
  -t, --trust    don't try the tests without a mutation first
  -k, --keep-going
                 run all tests of a mutation, not only up to the first that fails
  -v, --verbose  print the end of what the failing test said
  -h, --help     this text
  NAME...        these mutations only

The tree as it lies there, uncommitted changes included, is copied and built natively; your own build folders
stay as they are. A mutation is caught when one of its tests fails, or does not come to an end. Its tests must pass
without it, which is tried first. What is built is what the next test needs, on one processor, as others may be at
work. The exit code is 0 when all were caught, but for those that are said to survive, which must.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
LIMIT = 300  # seconds for one test; what the mutation lets wait for ever is caught
BUILDS = {"plain": [],
          "threads": ["-Db_sanitize=thread", "-Db_lundef=false", "--buildtype=debugoptimized"]}


def die(text):
    sys.exit(f"mutate.py: error: {text}")


def run(command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", **more)


def load(path):
    with open(path, "rb") as file:
        mutations = tomllib.load(file)["mutation"]
    names = set()
    for mutation in mutations:
        missing = {"name", "file", "text", "with", "tests"} - set(mutation)
        if missing or mutation["name"] in names:
            die(f"{path}: {mutation.get('name', 'a mutation')} has no {', '.join(missing) or 'name of its own'}")
        unknown = set(mutation) - {"name", "file", "text", "with", "tests", "build", "survives"}
        if unknown or mutation.get("build", "plain") not in BUILDS:
            die(f"{path}: {mutation['name']}: {', '.join(unknown) or 'there is no such build'}")
        names.add(mutation["name"])
    return mutations


def misfit(mutation):
    """Why it can't be applied, or None: its text must be there exactly once."""
    path = os.path.join(ROOT, mutation["file"])
    if not os.path.exists(path):
        return f"there is no {mutation['file']}"
    with open(path, encoding="utf-8") as file:
        count = file.read().count(mutation["text"])
    return None if count == 1 else f"its text is {count} times in {mutation['file']}"


def copy_tree(tree):
    files = run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True).stdout
    for name in filter(None, files.split("\0")):
        source, target = os.path.join(ROOT, name), os.path.join(tree, name)
        if not os.path.isfile(source):
            continue
        with open(source, "rb") as file:
            data = file.read()
        if os.path.exists(target):
            with open(target, "rb") as file:
                if file.read() == data:
                    continue  # keeps its time, so that ninja leaves it alone
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
        shutil.copymode(source, target)


class Build:
    def __init__(self, tree, folder, options):
        self.folder = folder
        self.env = {**os.environ, "TSAN_OPTIONS": f"suppressions={tree}/tests/tsan-suppressions.txt exitcode=66"}
        if not os.path.exists(os.path.join(folder, "build.ninja")):
            configured = run(["meson", "setup", folder, tree, *options])
            if configured.returncode != 0:
                die("meson setup failed:\n" + configured.stdout)
        elif run(["ninja", "-C", folder, "build.ninja"]).returncode != 0:  # there may be other tests than last time
            die(f"{folder} can't be configured anew: remove it")
        tests = json.loads(run(["meson", "introspect", "--tests", folder], check=True).stdout)
        self.tests = {test["name"]: test for test in tests}

    def programs(self, names):
        for name in names:
            if name not in self.tests:
                die(f"there is no test '{name}' in a native build")
        # A test's program, and those that are handed to a script as NAME=PATH.
        parts = [part.rpartition("=")[2] for name in names for part in self.tests[name]["cmd"]]
        paths = [os.path.normpath(part) for part in parts if part.startswith("/")]
        return sorted({os.path.relpath(path, self.folder) for path in paths if path.startswith(self.folder + "/")})

    def failing(self, names, all_of_them=False):
        """The tests that fail, the first one alone unless all are asked for, and what each said."""
        failing = []
        for name in names:
            compiled = run(["nice", "-n", "15", "ninja", "-j1", "-C", self.folder, *self.programs([name])])
            if compiled.returncode != 0:
                raise DoesNotCompile(compiled.stdout)
            test = self.tests[name]
            try:
                done = run(test["cmd"], cwd=self.folder, env={**self.env, **test["env"]}, timeout=LIMIT)
                said = done.stdout if done.returncode != 0 else None
            except subprocess.TimeoutExpired:
                said = f"no end after {LIMIT} s"
            if said is not None:
                failing.append((name, said))
                if not all_of_them:
                    break
        return failing


class DoesNotCompile(Exception):
    pass


def main():
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", default=os.path.join(os.path.dirname(__file__), "mutations.toml"))
    parser.add_argument("--folder", default=os.path.join(ROOT, "build-mutate"))
    parser.add_argument("--show", action="store_true")
    parser.add_argument("-t", "--trust", action="store_true")
    parser.add_argument("-k", "--keep-going", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    mutations = load(options.list)
    for name in options.names:
        if name not in {mutation["name"] for mutation in mutations}:
            die(f"there is no mutation '{name}'; --show tells all")
    mutations = [m for m in mutations if not options.names or m["name"] in options.names]
    if options.show:
        misfits = [misfit(mutation) for mutation in mutations]
        for mutation, why in zip(mutations, misfits):
            print(f"{mutation['name']:36} {why or 'fits'}; {', '.join(mutation['tests'])}")
        return 1 if any(misfits) else 0

    tree = os.path.join(os.path.realpath(options.folder), "tree")
    copy_tree(tree)
    builds = {}
    for name in BUILDS:
        needed = sorted({test for m in mutations if m.get("build", "plain") == name for test in m["tests"]})
        if not needed:
            continue
        builds[name] = Build(tree, os.path.join(os.path.realpath(options.folder), f"build-{name}"), BUILDS[name])
        if options.trust:
            continue
        print(f"[0/{len(mutations)}] without a mutation, {name} build: {', '.join(needed)}", flush=True)
        try:
            failing = builds[name].failing(needed)
        except DoesNotCompile as error:
            die("the tree does not build:\n" + str(error)[-3000:])
        if failing:
            die(f"{failing[0][0]} fails without any mutation:\n{failing[0][1][-3000:]}")

    missed, explained = [], 0
    for number, mutation in enumerate(mutations, 1):
        head = f"[{number}/{len(mutations)}] {mutation['name']:36}"
        why = misfit(mutation)
        if why is None:
            path = os.path.join(tree, mutation["file"])
            with open(path, encoding="utf-8") as file:
                before = file.read()
            with open(path, "w", encoding="utf-8") as file:
                file.write(before.replace(mutation["text"], mutation["with"]))
            failing = []
            try:
                failing = builds[mutation.get("build", "plain")].failing(mutation["tests"], options.keep_going)
                if not failing and "survives" not in mutation:
                    why = "SURVIVES: " + ", ".join(mutation["tests"]) + " pass"
                elif failing and "survives" in mutation:
                    why = f"is said to survive, and is caught by {failing[0][0]}"
            except DoesNotCompile as error:
                why = "does not compile: " + next((l for l in str(error).splitlines() if "error:" in l), "")
            finally:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(before)
        if why is None and not failing:
            explained += 1
            print(f"{head} survives: {mutation['survives']}", flush=True)
        elif why is None:
            print(f"{head} caught by {', '.join(name for name, _ in failing)}", flush=True)
            if options.verbose:
                print("    " + "\n    ".join(failing[0][1].splitlines()[-8:]))
        else:
            missed.append(mutation["name"])
            print(f"{head} {why}", flush=True)
    print(f"{len(mutations) - len(missed) - explained} caught, {explained} survive as explained, "
          f"{len(missed)} not: {', '.join(missed) or '-'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
