#!/usr/bin/env python3
"""Real programs do under each mode what they do without: exit code and output, byte for byte. Those that aren't there are
skipped by name (wine-ci/setup --downloads fetches 7-Zip and ffmpeg, wine-ci/demo builds sqlite3 and Lua).

usage: test_programs.py --arch x86_64|i686 --mi-run FILE --mi-report FILE --dll FILE --downloads FOLDER --built FOLDER
                        [CASE]...
"""
import os
import sys

from common import HERE, Folder, check, main, parse, run_windows

options = None
SECONDS = 250
WORK = HERE.parent / "programs"


def programs():
    """name: (file, command lines, what is sent, files beside)"""
    text = "\n".join(f"line {i * 7919 % 1000} of a text that packs well" for i in range(20000)).encode()
    sql = (WORK / "work-1.sql").read_bytes() + (WORK / "work-2.sql").read_bytes()
    yield "7za", options.downloads / f"7zip-bin/{'x64' if options.arch == 'x86_64' else 'ia32'}/7za.exe", [
        (["a", "-sitext", "-mx1", "-mmt2", "-bd", "-bb0", "packed.7z"], text), (["x", "-so", "packed.7z"], b"")], ()
    if options.arch == "x86_64":  # fetched for 64 bits only
        yield "ffmpeg", options.downloads / "ffmpeg/ffmpeg.exe", [(
            ["-hide_banner", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=5:duration=1",
             "-c:v", "mpeg4", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-f", "nut", "pipe:1"], b"")], ()
    yield "sqlite3", options.built / "crt/sqlite3.exe", [(["-batch", ":memory:"], sql)], ()
    yield "lua", options.built / "crt/lua.exe", [(["work.lua"], b"go on\n")], (WORK / "work.lua",)


def run(folder, command, sent):
    done = run_windows(command, folder.path, os.environ, seconds=SECONDS, input=sent)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def same_under(mode, name, exe, steps, beside):
    results = []
    for head in ([], ["mi-run.exe", mode]):
        with Folder([options.mi_run, options.mi_report, options.dll, *beside]) as folder:
            for arguments, sent in steps:
                (folder.path / exe.name).unlink(missing_ok=True)
                (folder.path / exe.name).symlink_to(exe)
                head_paths = [str(folder.path / head[0]), *head[1:]] if head else []
                results.append(run(folder, [*head_paths, str(folder.path / exe.name), *arguments], sent))
    plain, under = results[: len(steps)], results[len(steps) :]
    for before, after in zip(plain, under):
        check(before[0] == 0, f"{name} doesn't work by itself: exit code {before[0]}: {before[2]}")
        check(after[0] == before[0], f"exit code {after[0]} instead of {before[0]}:\n{after[2]}")
        if name != "7za" or b"7-Zip" not in before[1]:  # which tells how much memory there is
            check(after[1] == before[1], f"another output: {len(after[1])} bytes instead of {len(before[1])}")
        said = {"--leaks": "eaks: ", "--check": "No faults found.", "--profile": "Heap profile after"}[mode]
        check(said in after[2], f"no report:\n{after[2]}")


def cases():
    for name, exe, steps, beside in programs():
        for mode in ("--leaks", "--check", "--profile"):
            if exe.is_file():
                yield f"{name}{mode}", same_under, mode, name, exe, steps, beside
            else:
                yield f"{name}{mode}", lambda missing: f"{missing} is not there", exe


if __name__ == "__main__":
    options = parse(__doc__, (), ("--arch", {"choices": ["x86_64", "i686"], "required": True}), paths=("downloads", "built"))
    sys.exit(main(list(cases()), options.only))
