#!/usr/bin/env python3
"""Checks the tree against its own rules, from the text of the sources.

usage: check_layers.py ROOT          check the tree at ROOT; a line per violation, exit code 1 if there are any
       check_layers.py --self-test   plant each kind of violation in a copy of a small tree and demand that it is found

1. Dependencies run one way: base <- os <- core <- lifecycle <- api <- dll. A file may include headers of its own layer
   and of layers to its left. Within core: report <- memory <- pages <- arenas <- heaps <- stats, and every file of core
   is in one of these rooms. dll/redirect gets what it needs as data: of ours it includes base and os alone.
2. include/ depends on nothing but itself and standard headers; only api, dll (not dll/redirect) and tests include it.
3. src/base, core, lifecycle and api include no system header but those of a freestanding compiler. Headers of Windows
   are for src/os/windows, dll, tools and tests; headers of POSIX for src/os/posix, tools and tests.
4. src/os/windows and src/os/posix don't include each other, and nobody names either folder: Meson picks one.
5. No conditional on a platform (_WIN32, __linux__, ...) in src/base, core, lifecycle and api.
6. No #include of a .c file, anywhere.
7. A file of more than 500 lines says in its first 25 lines why: "long because ...".
"""
import os
import re
import sys
import tempfile

LAYERS = ["base", "os", "core", "lifecycle", "api", "dll"]
ROOMS = ["report", "memory", "pages", "arenas", "heaps", "stats"]  # of src/core, in the order of their dependencies
PURE = {"base", "core", "lifecycle", "api"}
FREESTANDING = {"float.h", "iso646.h", "limits.h", "stdalign.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h",
                "stdint.h", "stdnoreturn.h"}
STANDARD = FREESTANDING | {"assert.h", "complex.h", "ctype.h", "errno.h", "inttypes.h", "locale.h", "math.h", "setjmp.h",
                           "signal.h", "stdio.h", "stdlib.h", "string.h", "time.h", "uchar.h", "wchar.h", "wctype.h",
                           "new", "cstddef", "cstdint", "cstdlib", "cstring", "cwchar", "memory", "type_traits", "utility"}
PUBLIC = STANDARD | {"malloc.h"}  # where Windows' C runtimes declare names that mimalloc-override.h takes over
WINDOWS = re.compile(r"^(win\w*|psapi|tlhelp32|process|io|direct|malloc|crtdbg|intrin|_mingw\w*|sdk\w*|basetsd|"
                     r"minwindef|excpt|delayimp|ntdef|shell\w*|dbghelp|tchar|fibersapi|bcrypt)\.h$")
POSIX = re.compile(r"^(sys/.*|linux/.*|asm/.*|unistd|pthread|sched|fcntl|poll|dlfcn|semaphore|dirent|spawn|execinfo|"
                   r"ucontext|features|link|elf|syscall|ftw|termios|grp|pwd)(\.h)?$")
GENERATED = {"config.h"}
PLATFORM_MACROS = re.compile(r"\b(_WIN32|_WIN64|WIN32|WIN64|_WINDOWS|__WIN32__|__MINGW\w*|__CYGWIN__|_MSC_VER|linux|"
                             r"__linux|__linux__|__gnu_linux__|unix|__unix|__unix__|__APPLE__|__FreeBSD__|__GLIBC__|"
                             r"__ELF__|_POSIX_VERSION)\b")
INCLUDE = re.compile(r'^\s*#\s*include(?:_next)?\s*([<"])([^>"]+)[>"]')
ANY_INCLUDE = re.compile(r"^\s*#\s*include")
CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b")
SOURCES = (".c", ".h", ".cc", ".cpp", ".hpp", ".inc", ".S", ".rc")
LENGTH_LIMIT = 500
LENGTH_REASON = re.compile(r"\blong\b.{0,40}\bbecause\b")
TOPS = ["include", "src", "dll", "tests", "tools", "bench", "examples", "wine-ci"]


def without_comments(text):
    """The same lines, with comments blanked and continued lines joined onto their first."""
    text = re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/',
                  lambda m: m.group(0) if m.group(0)[0] == '"' else "\n" * m.group(0).count("\n"), text, flags=re.S)
    lines = text.split("\n")
    for i in range(len(lines) - 2, -1, -1):
        if lines[i].endswith("\\"):
            lines[i] = lines[i][:-1] + " " + lines[i + 1]
            lines[i + 1] = ""
    return lines


def place_of(path):
    """(layer, platform) of a file; the layer is None outside of src and dll."""
    parts = path.split("/")
    if parts[0] == "dll":
        return "dll", None
    if parts[0] == "src" and len(parts) > 2:
        platform = parts[2] if parts[1] == "os" and len(parts) > 3 else None
        return parts[1], platform
    return None, None


def room_of(path):
    """The room of a file of src/core; "" when it is in none, None outside of core."""
    parts = path.split("/")
    if parts[:2] != ["src", "core"]:
        return None
    return parts[2] if len(parts) > 3 and parts[2] in ROOMS else ""


class Tree:
    def __init__(self, root):
        self.root = root
        self.files = []
        for top in TOPS:
            for folder, folders, names in os.walk(os.path.join(root, top)):
                folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
                for name in sorted(names):
                    self.files.append(os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/"))
        self.known = set(self.files)
        self.includes = 0
        self.violations = []

    def say(self, path, number, text):
        self.violations.append(f"{path}:{number}: {text}")

    def resolve(self, path, name):
        """The files that an #include of `name` in `path` may mean."""
        here = os.path.normpath(os.path.join(os.path.dirname(path), name)).replace(os.sep, "/")
        if here in self.known:
            return [here]
        spots = [f"src/{name}", f"include/{name}", f"src/os/windows/{name}", f"src/os/posix/{name}"]
        if path.startswith("dll/"):
            spots.append(f"dll/{name}")
        return [spot for spot in spots if spot in self.known]

    def check_own(self, path, number, layer, platform, name):
        if name in GENERATED:
            return
        if re.search(r"(^|/)(windows|posix)/", name):
            self.say(path, number, f'"{name}" names a platform folder; include the header by its bare name')
        targets = self.resolve(path, name)
        if not targets:
            self.say(path, number, f'"{name}" is neither beside this file nor under src/ or include/')
        for target in targets:
            if target.startswith("include/"):
                if path.startswith("include/"):
                    continue
                if layer not in ("api", "dll"):
                    self.say(path, number, f'"{name}" is a public header; {layer} must not know the API')
                elif path.startswith("dll/redirect/"):
                    self.say(path, number, f'"{name}": dll/redirect includes of ours only base and os')
                continue
            if path.startswith("include/"):
                self.say(path, number, f'"{name}": public headers depend on nothing of src/ or dll/')
                continue
            other, other_platform = place_of(target)
            if other not in LAYERS:
                self.say(path, number, f'"{name}" is in no layer ({", ".join(LAYERS)})')
            elif LAYERS.index(other) > LAYERS.index(layer):
                self.say(path, number, f'"{name}": {layer} must not depend on {other}')
            elif room_of(path) and room_of(target) and ROOMS.index(room_of(target)) > ROOMS.index(room_of(path)):
                self.say(path, number, f'"{name}": core/{room_of(path)} must not depend on core/{room_of(target)}')
            elif path.startswith("dll/redirect/") and not target.startswith(("dll/redirect/", "src/base/", "src/os/")):
                self.say(path, number, f'"{name}": dll/redirect includes of ours only base and os')
            elif platform and other_platform and platform != other_platform:
                self.say(path, number, f'"{name}": src/os/{platform} must not include src/os/{other_platform}')

    def check_system(self, path, number, layer, platform, name):
        if layer in PURE and name not in FREESTANDING:
            if f"include/{name}" in self.known:
                self.check_own(path, number, layer, platform, name)
            else:
                self.say(path, number, f"<{name}>: {layer} includes no system header; it belongs behind src/os/os.h")
        elif path.startswith("include/") and name not in PUBLIC and f"include/{name}" not in self.known:
            self.say(path, number, f"<{name}>: public headers include standard headers alone")
        elif WINDOWS.match(name) and layer == "os" and platform != "windows":
            self.say(path, number, f"<{name}>: a header of Windows outside src/os/windows, dll, tools and tests")
        elif POSIX.match(name) and layer is not None and platform != "posix":
            self.say(path, number, f"<{name}>: a header of POSIX outside src/os/posix, tools and tests")

    def check_source(self, path, text):
        layer, platform = place_of(path)
        ruled = layer is not None or path.startswith("include/")
        if path.startswith("src/") and layer not in LAYERS:
            self.say(path, 1, f"is in no layer ({', '.join(LAYERS)})")
            return
        if room_of(path) == "":
            self.say(path, 1, f"is in no room of core ({', '.join(ROOMS)})")
            return
        for number, line in enumerate(without_comments(text), 1):
            match = INCLUDE.match(line)
            if match:
                kind, name = match.groups()
                self.includes += 1
                if name.endswith((".c", ".cc", ".cpp")):
                    self.say(path, number, f'#include of "{name}": only headers are included')
                elif ruled and kind == '"':
                    self.check_own(path, number, layer, platform, name)
                elif ruled:
                    self.check_system(path, number, layer, platform, name)
            elif ANY_INCLUDE.match(line) and ruled:
                self.say(path, number, "#include of a macro: name the header, so that this check can read it")
            elif layer in PURE and CONDITIONAL.match(line) and PLATFORM_MACROS.search(line):
                self.say(path, number, f"conditional on a platform in {layer}; it belongs behind src/os/os.h")

    def check(self):
        for path in self.files:
            try:
                with open(os.path.join(self.root, path), encoding="utf-8") as file:
                    text = file.read()
            except UnicodeDecodeError:
                continue  # not a text
            is_source = path.endswith(SOURCES)
            if is_source:
                self.check_source(path, text)
            lines = text.split("\n")
            is_program = is_source or path.endswith((".py", ".sh", "meson.build")) or text.startswith("#!")
            top = re.sub(r"[\s/*#]+", " ", "\n".join(lines[:25]))
            if is_program and len(lines) - 1 > LENGTH_LIMIT and not LENGTH_REASON.search(top):
                self.say(path, 1, f'{len(lines) - 1} lines: split it, or say at its top why it is "long because ..."')
        return self.violations


SMALL_TREE = {
    "include/mimalloc.h": "#include <stddef.h>\n",
    "src/base/bits.h": "#include <stddef.h>\n",
    "src/os/os.h": '#include "base/bits.h"\n#include "os_slot.h"\n',
    "src/os/windows/os_slot.h": "#include <windows.h>\n",
    "src/os/windows/os.c": '#include "os/os.h"\n',
    "src/os/posix/os_slot.h": "#include <pthread.h>\n",
    "src/core/pages/page.h": '#include "os/os.h"\n',
    "src/core/heaps/theap.h": '#include "core/pages/page.h"\n',
    "src/core/pages/page.c": '#include "core/pages/page.h"\n/* #include <windows.h>\n#ifdef _WIN32 */\nchar s[] = "/*";\n#if MI_DEBUG\n',
    "src/lifecycle/runtime.h": '#include "core/pages/page.h"\n#include "config.h"\n',
    "src/api/alloc.c": '#include "mimalloc.h"\n#include "lifecycle/runtime.h"\n',
    "dll/dllmain.c": '#include <windows.h>\n#include "lifecycle/runtime.h"\n#include "mimalloc.h"\n',
    "dll/redirect/plan.c": '#include "plan.h"\n#include "base/bits.h"\n',
    "dll/redirect/plan.h": "#include <stdint.h>\n",
    "tests/unit/test.c": '#include "core/pages/page.h"\n#include <windows.h>\n#ifdef _WIN32\n',
}

# (what is planted, file, text added at its end, part of the message that must appear)
PLANTED = [
    ("base includes os", "src/base/bits.h", '#include "os/os.h"', "base must not depend on os"),
    ("os includes core", "src/os/windows/os.c", '#include "core/pages/page.h"', "os must not depend on core"),
    ("core includes lifecycle", "src/core/pages/page.c", '# include "lifecycle/runtime.h"', "core must not depend on lifecycle"),
    ("core includes the API", "src/core/pages/page.c", '#include "mimalloc.h"', "must not know the API"),
    ("core includes the API in brackets", "src/core/pages/page.c", "#include <mimalloc.h>", "must not know the API"),
    ("api includes dll", "src/api/alloc.c", '#include "../../dll/dllmain.h"', "neither beside"),
    ("dll header from api", "src/api/alloc.c", '#include "../../dll/redirect/plan.h"', "api must not depend on dll"),
    ("redirect includes core", "dll/redirect/plan.c", '#include "core/pages/page.h"', "only base and os"),
    ("redirect includes the API", "dll/redirect/plan.c", '#include "mimalloc.h"', "only base and os"),
    ("public header includes src", "include/mimalloc.h", '#include "base/bits.h"', "depend on nothing"),
    ("public header includes Windows", "include/mimalloc.h", "#include <windows.h>", "standard headers alone"),
    ("core includes Windows", "src/core/pages/page.h", "#include <windows.h>", "no system header"),
    ("core includes the C library", "src/core/pages/page.h", "#include <string.h>", "no system header"),
    ("os.h includes Windows", "src/os/os.h", "#include <windows.h>", "outside src/os/windows"),
    ("posix includes Windows", "src/os/posix/os_slot.h", "#include <winnt.h>", "outside src/os/windows"),
    ("windows includes POSIX", "src/os/windows/os.c", "#include <sys/mman.h>", "outside src/os/posix"),
    ("dll includes POSIX", "dll/dllmain.c", "#include <unistd.h>", "outside src/os/posix"),
    ("a platform folder is named", "src/core/pages/page.c", '#include "os/windows/os_slot.h"', "names a platform folder"),
    ("conditional", "src/core/pages/page.c", "#ifdef _WIN32", "conditional on a platform"),
    ("continued conditional", "src/lifecycle/runtime.h", "#if MI_DEBUG && \\\n  defined(__linux__)", "conditional on a platform"),
    ("elif", "src/api/alloc.c", "# elif defined(_WIN64)", "conditional on a platform"),
    ("source included", "tests/unit/test.c", '#include "core/pages/page.c"', "only headers"),
    ("macro included", "src/core/pages/page.c", "#include HEADER", "name the header"),
    ("a lower room of core includes a higher one", "src/core/pages/page.c", '#include "core/heaps/theap.h"',
     "core/pages must not depend on core/heaps"),
    ("no room", "src/core/new.h", "", "is in no room of core"),
    ("no layer", "src/misc/new.h", "", "is in no layer"),
    ("no such header", "src/core/pages/page.c", '#include "core/pages/nothing.h"', "neither beside"),
    ("long file", "tests/unit/long.c", "\n" * 501, "long because"),
    ("long script", "wine-ci/long", "#!/bin/sh\n" + "\n" * 501, "long because"),
]


def violations_of(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return Tree(root).check()


def self_test():
    failed = 0
    clean = violations_of({**SMALL_TREE, "src/core/stats/long.c": "// long because it is a test\n" + "\n" * 600})
    if clean:
        print("not ok: the small tree breaks no rule, yet:", *clean, sep="\n  ")
        failed += 1
    for what, path, added, expected in PLANTED:
        found = violations_of({**SMALL_TREE, path: SMALL_TREE.get(path, "") + added + "\n"})
        good = len(found) >= 1 and any(expected in line and line.startswith(path) for line in found)
        print(f"{'ok' if good else 'not ok'}: {what}" + ("" if good else f"; found {found}"))
        failed += not good
    print(f"{len(PLANTED) + 1 - failed} right, {failed} wrong")
    return 1 if failed else 0


def main(arguments):
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    if arguments[0] == "--self-test":
        return self_test()
    tree = Tree(arguments[0])
    for line in tree.check():
        print(line)
    sources = sum(path.endswith(SOURCES) and path.startswith(("src/", "dll/")) for path in tree.files)
    if sources < 10:
        print(f"{arguments[0]}: only {sources} sources in src/ and dll/; give the root of the repository")
        return 2
    print(f"{len(tree.files)} files, {tree.includes} includes, {len(tree.violations)} violations")
    return 1 if tree.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
