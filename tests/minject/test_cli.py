#!/usr/bin/env python3
"""minject as a user meets it: what it prints, its exit codes, what it leaves on the disk, and every mistake that one can make.
Runs the native program, or with --wine minject.exe through MESON_EXE_WRAPPER. Each case has a folder of its own; where an
error is expected, nothing in it may have changed. It is long because every option, message and exit code has its case here.

Prints a line per case and "N passed, N failed" at the end.
"""
import argparse
import os
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", folder) for folder in ("dll", "support")]
from limited_run import run as limited_run  # noqa: E402
from pe import PE  # noqa: E402  a reader of its own, not minject's

SECONDS = 60
GOOD, FILE, USAGE, DAMAGED, REFUSED = range(5)


class Failure(Exception):
    pass


def demand(condition, text):
    if not condition:
        raise Failure(text)


class Cli:
    def __init__(self, options):
        self.options = options
        self.command = [os.path.abspath(options.minject)]
        if options.wine:
            wrapper = shlex.split(os.environ.get("MESON_EXE_WRAPPER", ""))
            if not wrapper:
                sys.exit("test_cli.py: no MESON_EXE_WRAPPER in the environment to run minject.exe with; start it through "
                         "`meson test` in a folder that wine-ci/test configured")
            self.command = wrapper + self.command
        self.folder = None
        self.last = None

    # ---- helpers ----------------------------------------------------------------------------------------------------

    def path(self, name):
        return os.path.join(self.folder, name)

    def seed(self, name, to=None, arch="x86_64"):
        to = to or name
        shutil.copy(os.path.join(f"{self.options.seeds}-{arch}", name), self.path(to))
        return to

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return name

    def snapshot(self):
        return {name: self.read(name) for name in os.listdir(self.folder) if os.path.isfile(self.path(name))}

    def run(self, code, *arguments, out=(), error=(), **more):
        """Runs minject. `out` and `error` are parts of what it must print; nothing may be on stderr unless asked for."""
        before = self.snapshot()
        try:
            done = limited_run([*self.command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
                               cwd=self.folder, **more)
        except subprocess.TimeoutExpired:
            raise Failure(f"minject {shlex.join(arguments)} took more than {SECONDS} s") from None
        stdout, stderr = (text.decode("utf-8", "replace").replace("\r", "") for text in (done.stdout, done.stderr))
        said = f"minject {shlex.join(arguments)}: exit code {done.returncode}\n{stdout}{stderr}"
        demand(done.returncode == code, f"{said}expected exit code {code}")
        for part in [out] if isinstance(out, str) else out:
            demand(part in stdout, f"{said}expected on stdout: {part}")
        for part in [error] if isinstance(error, str) else error:
            demand(part in stderr, f"{said}expected on stderr: {part}")
        demand(bool(stderr) == bool(error), f"{said}stderr is {'empty' if error else 'not empty'}")
        if code != GOOD:
            demand(code == DAMAGED or not stdout, f"{said}an error, yet a report on stdout")
            demand(stderr.startswith("minject: error: ") or "minject: error: " in stderr, f"{said}no error message")
            demand(self.snapshot() == before, f"{said}an error, yet files changed")
        self.last = stdout
        return stdout

    def imports(self, name):
        return list(PE(self.path(name)).imports())

    # ---- cases: the command line ------------------------------------------------------------------------------------

    def case_help(self):
        text = self.run(GOOD, "--help")
        demand(text == self.run(GOOD, "-h"), "-h and --help differ")
        for part in ("usage: minject [options] FILE", "--list", "--remove", "--reorder", "--dll", "--function", "--output",
                     "--no-backup", "--dry-run", "--keep-overlay-offset", "--force", "--version", "exit codes:", "-i, --inplace",
                     "-f, --force", "-l, --list", "-v, --verbose", "--postfix", "/?"):
            demand(part in text, f"--help doesn't tell of {part}")
        demand(text == self.run(GOOD, "/?"), "/? and --help differ")
        self.seed("small.exe")
        demand(text == self.run(GOOD, "small.exe", "/?"), "/? behind a file is no help")
        demand(max(map(len, text.split("\n"))) <= 110, "--help has a line that is too long")

    def case_version(self):
        demand(self.run(GOOD, "--version") == f"minject {self.options.version}\n", f"--version says {self.last}")

    def case_usage_errors(self):
        self.seed("small.exe")
        self.run(USAGE, error="no file is given; see minject --help")
        self.run(USAGE, "--list", error="no file is given")
        self.run(USAGE, "--lisst", "small.exe", error="there is no option --lisst; see minject --help")
        self.run(USAGE, "small.exe", "other.exe", error="two files are given, small.exe and other.exe; minject takes one")
        self.run(USAGE, "small.exe", "--dll", error="--dll needs a value")
        self.run(USAGE, "small.exe", "--dll=", error="the value of --dll is empty")
        self.run(USAGE, "small.exe", "--dll", "a*b.dll", error="--dll: the DLL's name has a character that can't be in it")
        self.run(USAGE, "small.exe", "--dll", "folder/", error="--dll: the DLL's name is empty")
        self.run(USAGE, "small.exe", "--function", "a b", error="--function: the function's name has a character")
        self.run(USAGE, "--list", "--remove", "small.exe", error="only one of --list, --remove and --reorder can be given")
        self.run(USAGE, "--remove", "--reorder", "small.exe", error="only one of")
        self.run(USAGE, "--list", "-o", "x.exe", "small.exe", error="--list writes no file")
        self.run(USAGE, "--functions", "small.exe", error="--functions goes with --list")
        self.run(USAGE, "--no-backup", "-o", "x.exe", "small.exe", error="--no-backup is for editing in place")
        self.run(USAGE, "--list", "-i", "small.exe", error="--list writes no file")
        self.run(USAGE, "small.exe", "-i", "-o", "x.exe", error="--inplace edits the file itself, --output another one")
        self.run(USAGE, "small.exe", "--postfix", error="--postfix needs a value")
        self.run(USAGE, "small.exe", "--postfix=a", "--dll=b.dll", error="--postfix and --dll both name the DLL")
        self.run(USAGE, "small.exe", "--postfix=../a", error="--postfix takes a part of the DLL's name, not a path")
        self.run(USAGE, "small.exe", "--postfix=" + 201 * "a", error="the value of --postfix is too long")
        self.run(USAGE, "small.exe", "--postfix=a*", error="--dll: the DLL's name has a character that can't be in it")
        self.run(USAGE, "small.exe", "-o", "small.exe", error="--output is the file itself; leave it away to edit in place")

    def case_options_in_any_place(self):
        self.seed("small.exe")
        self.run(GOOD, "small.exe", "--dll=other.dll", "--output=out.exe", "--function=other_function")
        self.run(GOOD, "--list", "out.exe", "--functions", out=["other.dll (1)  added by minject\n         other_function\n"])
        self.seed("small.exe", "-odd name.exe")
        self.run(USAGE, "-odd name.exe", error="there is no option -odd name.exe")
        self.run(GOOD, "--no-backup", "--", "-odd name.exe")
        demand(self.imports("-odd name.exe") == ["mimalloc.dll", "second.dll", "third.dll"], "not edited")

    def case_short_options(self):
        """-l -i -f -v, and --postfix, as mimalloc's own minject spells them."""
        original = self.read(self.seed("small.exe"))
        demand(self.run(GOOD, "-l", "small.exe") == self.run(GOOD, "--list", "small.exe"), "-l and --list differ")
        self.run(GOOD, "-i", "--postfix=override", "small.exe", out="mimalloc-override.dll (mi_version) is now import 1 of 3")
        demand(self.imports("small.exe") == ["mimalloc-override.dll", "second.dll", "third.dll"], "not edited in place")
        self.write("small.exe", original)
        self.write("small.exe.bak", b"older")
        self.run(FILE, "-i", "small.exe", error="small.exe.bak exists already")
        self.run(GOOD, "--inplace", "-f", "small.exe")
        demand(self.read("small.exe.bak") == original, "-f is not --force")

    def case_verbose(self):
        before = self.run(GOOD, "--list", self.seed("small.exe"))
        demand("second.dll" not in self.run(GOOD, "--dry-run", "small.exe"), "imports are listed without --verbose")
        said = self.run(GOOD, "-v", "small.exe")
        demand(said == f"before: {before}" + said[len(before) + 8:], f"not the imports from before: {said}")
        after = self.run(GOOD, "--list", "small.exe")
        demand(said.endswith(f"after: {after}" + said[said.index(after) + len(after):]), f"not the imports from afterwards: {said}")
        said = self.run(GOOD, "--verbose", "small.exe")
        demand(said.startswith(f"before: {after}") and "after: " not in said, f"an edit that wasn't: {said}")

    def case_any_name(self):
        name = "größe Ж 中.exe"
        self.seed("small.exe", name)
        self.run(GOOD, name, out=f"{name}.bak")
        demand(self.imports(name)[0] == "mimalloc.dll", "not edited")
        demand(os.path.isfile(self.path(name + ".bak")), "no backup")

    # ---- cases: --list ----------------------------------------------------------------------------------------------

    def list_of(self, name, arch):
        lines = self.run(GOOD, "--list", self.seed(name, arch=arch)).split("\n")
        return [line.split()[1:3] for line in lines[lines.index("imports, in the order of their initialisation (functions):") + 1:]
                if line[:1] == " "] if "imports nothing" not in lines else []

    def case_list_agrees(self):
        """With another reader, on every file."""
        for arch, bits in (("x86_64", "PE32+ (64 bits), x86-64, "), ("i686", "PE32 (32 bits), x86, ")):
            names = sorted(name for name in os.listdir(f"{self.options.seeds}-{arch}") if name.endswith((".exe", ".dll")))
            demand(len(names) >= 13, f"only {len(names)} files to list")
            for name in names if not self.options.wine else ["small.exe", "resources.exe", "library.dll"]:
                found = self.list_of(name, arch)
                expected = [[dll, f"({len(functions)})"] for dll, functions in PE(self.path(name)).imports().items()]
                if name == "delay.exe":
                    expected.append(["delayed.dll", "(2)"])
                demand(found == expected, f"{arch}/{name}: {found}, expected {expected}")
                demand(bits in self.last, f"{arch}/{name}: {self.last}")

    def case_list_facts(self):
        self.run(GOOD, "--list", self.seed("stripped.exe"), out=["console program, ", "signature      none", "bound imports  none",
                 "overlay        none", ", right", "header room    for another section, yes"])
        self.run(GOOD, "--list", self.seed("plain.exe"), out=", with a symbol table")
        self.run(GOOD, "--list", self.seed("library.dll"), out=", DLL, ")
        self.run(GOOD, "--list", self.seed("noimports.exe"), out="imports nothing\n")
        self.run(GOOD, "--list", self.seed("full.exe"), out=["checksum       not set",
                 "header room    none for another section: the section headers end at 0x400"])
        self.run(GOOD, "--list", self.seed("overlay.exe"), out=["overlay        5001 bytes", " would be right"])
        self.run(GOOD, "--list", "--functions", self.seed("small.exe"), out=["third_function\n", "         #7\n"])
        self.run(GOOD, "--list", "--functions", self.seed("delay.exe"), out="delayed.dll (2)\n         delayed_one\n")
        signed = self.signed(self.read(self.seed("stripped.exe")))
        self.run(GOOD, "--list", self.write("signed.exe", signed), out="signature      800 bytes at file offset 0x")

    def case_list_hostile_names(self):
        """A name must not reach the terminal as it is."""
        data = bytearray(self.read(self.seed("small.exe")))
        at = data.index(b"second.dll\0")
        data[at:at + 10] = b"\x1b[31m\xff\r\n.."
        text = self.run(GOOD, "--list", self.write("hostile.exe", data), out="\\x1B[31m\\xFF\\x0D\\x0A..")
        demand("\x1b" not in text, "an escape sequence came through")

    # ---- cases: editing ---------------------------------------------------------------------------------------------

    def case_in_place(self):
        for arch in ("x86_64", "i686"):
            self.seed("resources.exe", "app.exe", arch)
            original = self.read("app.exe")
            before, versions = self.imports("app.exe"), PE(self.path("app.exe")).version_strings()
            demand(versions.get("ProductName") == "seed", f"the file has no resources: {versions}")
            self.run(GOOD, "app.exe", out=["app.exe: mimalloc.dll (mi_version) is now import 1 of 3\n",
                     "written: app.exe; the original is app.exe.bak"])
            demand(self.read("app.exe.bak") == original, "the backup differs")
            demand(self.imports("app.exe") == ["mimalloc.dll"] + before, f"imports {self.imports('app.exe')}")
            demand(PE(self.path("app.exe")).version_strings() == versions, "other resources")
            self.run(GOOD, "--list", "app.exe", out=["1  mimalloc.dll (1)  added by minject", ", right"])
            self.run(GOOD, "app.exe", out="it imports mimalloc.dll already, as import 1 of 3\n")  # no second backup wanted
            self.run(GOOD, "--remove", "app.exe", out=["mimalloc.dll is not imported any more; imports left: 2\n",
                     "written: app.exe; the original is app.exe.bak, from an earlier edit"])
            demand(self.read("app.exe") == original == self.read("app.exe.bak"), "not the original again")
            self.run(GOOD, "--remove", "--no-backup", "app.exe", out="it doesn't import mimalloc.dll\n")
            os.remove(self.path("app.exe.bak"))

    def case_backup_of_an_earlier_edit(self):
        """The original's backup is kept through any number of edits, and is never overwritten by an edited file."""
        original = self.read(self.seed("stripped.exe", "app.exe"))
        for step in ([], ["--dll", "one.dll"], ["--remove"], ["--dll", "two.dll"], ["--force", "--remove", "--dll", "one.dll"],
                     ["--remove", "--dll", "two.dll"], []):
            self.run(GOOD, *step, "app.exe", out="the original is app.exe.bak")
            demand(self.read("app.exe.bak") == original, f"another backup after {step}")
        # A signature makes no difference: the edit took it away.
        self.write("app.exe", self.signed(original))
        signed = self.read("app.exe")
        os.remove(self.path("app.exe.bak"))
        self.run(GOOD, "app.exe", error="warning: the Authenticode signature")
        self.run(GOOD, "--remove", "app.exe")
        demand(self.read("app.exe.bak") == signed, "the signed original is lost")
        # Another version of the program: its backup is somebody's only copy.
        newer = bytearray(original)
        newer[newer.index(b"This program")] ^= 0x20
        self.write("app.exe", bytes(newer))
        self.run(FILE, "app.exe", error="app.exe.bak exists already and may be the only copy of the original")
        self.write("app.exe.bak", b"MZ, but not a program")
        self.run(FILE, "app.exe", error="app.exe.bak exists already")

    def case_force_overwrites_backup(self):
        self.seed("small.exe")
        original = self.read("small.exe")
        self.write("small.exe.bak", b"older")
        self.run(FILE, "small.exe", error="small.exe.bak exists already")
        self.run(GOOD, "--force", "small.exe")
        demand(self.read("small.exe.bak") == original, "the backup is not the original")

    def case_output(self):
        self.seed("small.exe")
        original = self.read("small.exe")
        self.run(GOOD, "small.exe", "-o", "out.exe", out="written: out.exe\n")
        demand(self.read("small.exe") == original and sorted(os.listdir(self.folder)) == ["out.exe", "small.exe"], "other files changed")
        demand(self.imports("out.exe")[0] == "mimalloc.dll", "not edited")
        self.run(FILE, "small.exe", "-o", "out.exe", error="out.exe exists already; give another name, or --force to overwrite it")
        self.run(FILE, "small.exe", "-o", "./small.exe", error="exists already")  # the file itself under another name
        self.run(GOOD, "--remove", "out.exe", "-o", "back.exe")
        demand(self.read("back.exe") == original, "not the original again")
        self.run(GOOD, "--force", "out.exe", "-o", "back.exe", out="it imports mimalloc.dll already")
        demand(self.read("back.exe") == self.read("out.exe"), "nothing to do: the output should be a copy")

    def case_dry_run(self):
        before = (self.seed("small.exe"), self.snapshot())[1]
        self.run(GOOD, "--dry-run", "small.exe", out=["(dry run) mimalloc.dll (mi_version) is now import 1 of 3", "nothing is written"])
        self.run(GOOD, "--dry-run", "small.exe", "-o", "x.exe", out="nothing is written")
        demand(self.snapshot() == before, "a dry run wrote something")

    def case_reorder(self):
        self.seed("linked.exe")
        self.run(REFUSED, "linked.exe", error="it imports mimalloc.dll already, as import 3 of 3; --reorder makes it the first")
        size = len(self.read("linked.exe"))
        self.run(GOOD, "--reorder", "linked.exe", out="mimalloc.dll, import 3 before, is now import 1 of 3")
        demand(self.imports("linked.exe") == ["mimalloc.dll", "second.dll", "third.dll"], f"imports {self.imports('linked.exe')}")
        demand(len(self.read("linked.exe")) == size, "the file grew")
        self.run(GOOD, "--reorder", "linked.exe", out="mimalloc.dll is import 1 of 3 already")
        self.run(REFUSED, "--reorder", "--dll", "absent.dll", "linked.exe", error="it doesn't import absent.dll")
        self.run(REFUSED, "--remove", "linked.exe", error=["minject didn't put its import of mimalloc.dll there", "--force"])
        self.run(GOOD, "--remove", "--force", "--no-backup", "linked.exe")
        demand(self.imports("linked.exe") == ["second.dll", "third.dll"], "still imported")

    def signed(self, data):
        data = bytearray(data) + bytes(-len(data) % 8)
        pe = struct.unpack_from("<I", data, 60)[0]
        directories = pe + 24 + (112 if struct.unpack_from("<H", data, pe + 24)[0] == 0x20B else 96)
        struct.pack_into("<II", data, directories + 8 * 4, len(data), 800)
        return data + struct.pack("<II", 800, 0x00020200) + bytes(792)

    def case_signature(self):
        original = self.read(self.seed("stripped.exe"))
        self.write("signed.exe", self.signed(original))
        self.run(GOOD, "signed.exe", error="warning: the Authenticode signature (800 bytes) is removed: it would not be valid any more")
        self.run(GOOD, "--list", "signed.exe", out=["signature      none", "overlay        none"])

    def case_overlay(self):
        original = self.read(self.seed("overlay.exe"))
        self.run(GOOD, "overlay.exe", "-o", "end.exe", out="the overlay (5001 bytes behind the last section) moved")
        self.run(GOOD, "overlay.exe", "-o", "place.exe", "--keep-overlay-offset", out="stays at file offset")
        demand(self.read("end.exe")[-5001:] == original[-5001:], "not the same at the end")
        demand(self.read("place.exe")[len(original) - 5001:len(original)] == original[-5001:], "not the same at its place")

    def case_no_room(self):
        self.seed("full.exe")
        self.run(GOOD, "full.exe", out=["no room for another section header (the section headers end at 0x400",
                 "was made longer instead, and writable"])
        demand(self.imports("full.exe")[0] == "mimalloc.dll", "not edited")
        self.write("both.exe", self.read("full.exe.bak") + b"overlay")
        self.run(REFUSED, "--keep-overlay-offset", "both.exe", error=["no room for another section header", "can't be extended: ",
                 "inject at run time instead"])

    # ---- cases: the DLL ---------------------------------------------------------------------------------------------

    def case_dll_by_path(self):
        self.seed("small.exe")
        os.mkdir(self.path("lib"))
        self.seed("library.dll", "lib/library.dll")
        self.seed("library.dll", "lib/other.dll", "i686")
        self.seed("small.exe", "lib/program.dll")
        self.write("lib/text.dll", b"just text")
        self.run(REFUSED, "--dll", "lib/library.dll", "small.exe",
                 error=["lib/library.dll doesn't export mi_version: the program would not start; --function names another"])
        self.run(REFUSED, "--dll", "lib/other.dll", "--function", "exported_one", "small.exe",
                 error="lib/other.dll is for x86, but the program is for x86-64: it would not start; take the DLL for x86-64 (--force")
        self.run(REFUSED, "--dll", "lib/program.dll", "small.exe", error="lib/program.dll is a program, not a DLL")
        self.run(REFUSED, "--dll", "lib/text.dll", "small.exe", error="lib/text.dll: not a PE file")
        self.run(FILE, "--dll", "lib/absent.dll", "small.exe", error="--dll: can't open lib/absent.dll: No such file or directory")
        self.run(GOOD, "--dll", "lib/library.dll", "--function", "exported_one", "small.exe", "-o", "good.exe")
        demand(self.imports("good.exe")[0] == "library.dll", f"imports {self.imports('good.exe')}")
        self.run(GOOD, "--force", "--dll", "lib/other.dll", "--function", "exported_one", "small.exe", "-o", "bad.exe",
                 error="warning: --dll: lib/other.dll is for x86, but the program is for x86-64")
        if self.options.wine:
            self.run(GOOD, "--dll", "lib\\library.dll", "--function", "exported_one", "--dry-run", "small.exe")

    def case_dll_beside(self):
        self.seed("small.exe")
        self.run(GOOD, "--dry-run", "small.exe", out="note: there is no mimalloc.dll beside it yet; put the one for x86-64 there")
        self.seed("library.dll", "mimalloc.dll", "i686")
        for more in ([], ["--dry-run"], ["-o", "other.exe"]):
            self.run(REFUSED, *more, "small.exe", error=["error: mimalloc.dll is for x86, but the program is for x86-64: it would "
                     "not start; take the DLL for x86-64 (--force adds it all the same)"])
        self.run(GOOD, "--force", "--dry-run", "small.exe",
                 error="warning: mimalloc.dll is for x86, but the program is for x86-64: it would not start")
        self.seed("library.dll", "mimalloc.dll")
        self.run(REFUSED, "--dry-run", "small.exe", error="error: mimalloc.dll doesn't export mi_version")
        self.run(GOOD, "--dry-run", "--function", "exported_one", "small.exe")
        demand("note: " not in self.last, "a note about a DLL that is there")

    def dotnet(self, name, flags, arch):
        """small.exe with the header that makes it a .NET program."""
        data = bytearray(self.read(self.seed("small.exe", name, arch)))
        pe = struct.unpack_from("<I", data, 60)[0]
        directories = pe + 24 + (112 if struct.unpack_from("<H", data, pe + 24)[0] == 0x20B else 96)
        address, raw = struct.unpack_from("<I4xI", data, pe + 24 + struct.unpack_from("<H", data, pe + 20)[0] + 12)
        struct.pack_into("<I", data, raw + 16, flags)  # over its code: nobody runs it
        struct.pack_into("<II", data, directories + 8 * 14, address, 72)
        self.write(name, data)

    def case_dotnet(self):
        self.seed("library.dll", "mimalloc.dll")  # 64 bits
        said = "warning: it is a .NET program without machine code: Windows never reads the import table of such a file"
        any_cpu = ", and with 64 bits on 64-bit Windows (AnyCPU) although its header says x86; mi-run --method thread"
        function = ["--function", "exported_one", "--dry-run"]
        self.dotnet("any.exe", 1, "i686")
        self.run(GOOD, *function, "any.exe", error=[said, any_cpu])  # and the DLL for 64 bits is right
        self.run(GOOD, "--list", "any.exe", out="  .NET           yes, AnyCPU: 64 bits on 64-bit Windows")
        for flags in (1 | 2, 1 | 2 | 0x20000):
            self.dotnet("x86.exe", flags, "i686")
            self.run(REFUSED, *function, "x86.exe", error="mimalloc.dll is for x86-64, but the program is for x86:")
            self.run(GOOD, "--list", "x86.exe", out="  .NET           yes; Windows does not read its imports")
        self.dotnet("x64.exe", 1, "x86_64")
        self.run(GOOD, *function, "x64.exe", error=said + ", so it will start without the DLL; mi-run")
        self.dotnet("mixed.exe", 0, "x86_64")
        self.run(GOOD, *function, "mixed.exe")
        self.run(GOOD, "--list", "mixed.exe", out="  .NET           yes, with machine code")

    # ---- cases: bad files -------------------------------------------------------------------------------------------

    def case_missing_file(self):
        self.run(FILE, "absent.exe", error="can't open absent.exe: No such file or directory")
        self.run(FILE, "--list", "absent.exe", error="can't open absent.exe: No such file or directory")

    def case_folder(self):
        os.mkdir(self.path("folder.exe"))
        self.run(FILE, "folder.exe", error="folder.exe: ")

    def case_not_pe(self):
        for name, data, reason in (("empty.exe", b"", "the file is empty"),
                                   ("text.exe", b"just some text\n", "not a PE file: it doesn't begin with \"MZ\""),
                                   ("elf", b"\x7fELF" + bytes(100), "not a PE file: it is an ELF file (Linux)"),
                                   ("dos.exe", b"MZ" + bytes(1000), "not a PE file: it is a DOS program")):
            self.write(name, data)
            for action in ([], ["--list"], ["--remove"], ["--reorder"]):
                self.run(DAMAGED, *action, name, error=f"{name}: {reason}")

    def case_truncated(self):
        data = self.read(self.seed("stripped.exe"))
        for size, reason in ((100, "truncated: its PE header should lie at 0x80, but the file has 0x64 bytes"),
                             (200, "truncated: the file ends inside its optional header"), (500, "truncated: its table of "),
                             (len(data) // 2, "truncated: section "), (len(data) - 1, "truncated: section ")):
            self.write("cut.exe", data[:size])
            self.run(DAMAGED, "cut.exe", error=f"cut.exe: {reason}")
            self.run(DAMAGED, "--list", "cut.exe", error=f"cut.exe: {reason}")

    def case_damaged_delay_imports(self):
        """Not the loader's business, so not a reason to refuse an edit; but --list tells."""
        data = bytearray(self.read(self.seed("delay.exe")))
        pe = struct.unpack_from("<I", data, 60)[0]
        struct.pack_into("<I", data, pe + 24 + 112 + 8 * 13, 0x7FFFFF00)
        self.write("delay.exe", data)
        done = limited_run([*self.command, "--list", "delay.exe"], capture_output=True, cwd=self.folder, timeout=SECONDS)
        demand(done.returncode == DAMAGED and b"delay imports are damaged: its delay import directory at 0x7fffff00" in done.stdout,
               f"exit code {done.returncode}: {done.stdout}{done.stderr}")
        self.run(GOOD, "delay.exe")

    def case_missing_output_folder(self):
        self.seed("small.exe")
        self.run(FILE, "small.exe", "-o", "absent/x.exe", error="can't write absent/x.exe: No such file or directory")

    # ---- cases: what only a POSIX system can set up -----------------------------------------------------------------

    def native_case_read_only(self):
        """As another user when this one is root, to whom nothing is read-only."""
        os.chmod(self.path(self.seed("small.exe")), 0o444)
        shutil.copy(self.command[0], self.path("minject"))
        os.chmod(self.path("minject"), 0o755)
        os.chmod(self.folder, 0o777)
        command, self.command = self.command, [self.path("minject")]
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        try:
            self.run(FILE, "small.exe", error=["can't write small.exe: Permission denied (is it read-only, or a program that runs?)",
                     "nothing was changed"], **user)
            self.run(GOOD, "--list", "small.exe", **user)
            os.chmod(self.path("small.exe"), 0o666)
            os.chmod(self.folder, 0o555)  # the backup can't be made
            self.run(FILE, "small.exe", error=["can't write small.exe.bak: Permission denied", "nothing was changed"], **user)
            os.chmod(self.folder, 0o777)
            os.chmod(self.path("small.exe"), 0o000)
            done = subprocess.run([*self.command, "--list", "small.exe"], capture_output=True, text=True, cwd=self.folder, **user)
            demand(done.returncode == FILE and "can't open small.exe: Permission denied" in done.stderr, str(done))
        finally:
            self.command = command

    def native_case_disk_full(self):
        def limit(size):
            def in_child():
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            return in_child
        size = len(self.read(self.seed("small.exe")))
        self.run(FILE, "small.exe", error=["can't write small.exe.bak: File too large", "nothing was changed"], preexec_fn=limit(100))
        self.run(FILE, "small.exe", "-o", "out.exe", error="can't write out.exe: File too large", preexec_fn=limit(size))
        demand(not os.path.exists(self.path("out.exe")), "half an output was left")
        # The backup fits, the longer file doesn't: the original is put back, and the backup goes.
        self.run(FILE, "small.exe", error=["can't write small.exe: File too large", "the file was put back as it was"],
                 preexec_fn=limit(size))
        self.write("small.exe.bak", b"older")
        self.run(FILE, "--no-backup", "small.exe", error="the file was put back as it was", preexec_fn=limit(size))

    def native_case_closed_stdout(self):
        self.seed("small.exe")
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([*self.command, "--list", "small.exe"], stdout=full, stderr=subprocess.PIPE, cwd=self.folder)
        demand(done.returncode == FILE and b"standard output can't be written" in done.stderr, str(done))

    # ---- running ----------------------------------------------------------------------------------------------------

    def all(self):
        prefixes = ("case_",) if self.options.wine else ("case_", "native_case_")
        cases = [name for name in dir(self) if name.startswith(prefixes)]
        cases.sort(key=lambda name: getattr(type(self), name).__code__.co_firstlineno)
        if self.options.case:
            cases = [name for name in cases if name.endswith("case_" + self.options.case)]
            if not cases:
                sys.exit(f"test_cli.py: there is no case '{self.options.case}'")
        failed = 0
        for number, name in enumerate(cases, 1):
            title = name.split("case_", 1)[1]
            with tempfile.TemporaryDirectory() as self.folder:
                try:
                    getattr(self, name)()
                    print(f"{number}/{len(cases)} ok     {title}", flush=True)
                except (Failure, ValueError, OSError) as failure:
                    failed += 1
                    print(f"{number}/{len(cases)} FAILED {title}: {failure}", flush=True)
        print(f"{len(cases) - failed} passed, {failed} failed")
        return failed == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minject", required=True, help="the program")
    parser.add_argument("--seeds", required=True, help="folder of the files that make_seeds.py made, without -x86_64")
    parser.add_argument("--version", required=True, help="what --version must say")
    parser.add_argument("--wine", action="store_true", help="it is a Windows program")
    parser.add_argument("--case", help="only this one")
    sys.exit(0 if Cli(parser.parse_args()).all() else 1)


if __name__ == "__main__":
    main()
