#!/usr/bin/env python3
"""What wine-ci/run-wine says to a 32-bit program where Wine has no 32-bit half, and that it takes nothing else for one."""
import glob
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
X86, X64 = 0x14C, 0x8664


def head(machine, at=0x80):
    """As much of a PE file as tells what it is for."""
    return b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", at).ljust(at - 0x3C, b"\0") + b"PE\0\0" + struct.pack("<H", machine).ljust(20, b"\0")


def main():
    failed = 0
    halves = [os.path.join(ROOT, ".cache/wine/drive_c/windows/syswow64")]
    halves += [folder for place in ("/usr/lib*", "/usr/lib/*-linux-gnu", "/usr/local/lib", "/opt/wine*/lib")
               for folder in glob.glob(place + "/wine/i386-windows")]
    if any(os.path.exists(os.path.join(folder, "ntdll.dll")) for folder in halves):
        print("skipped: this Wine runs 32-bit programs")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="run-wine-") as folder:
        for name, content, is_refused in (("x86", head(X86), True), ("x86-far", head(X86, 0x1008), True), ("x64", head(X64), False),
                                          ("short", b"MZ", False), ("cut", head(X86)[:0x82], False), ("empty", b"", False),
                                          ("text", b"echo nothing of Windows " * 10, False)):
            program = os.path.join(folder, name + ".exe")
            with open(program, "wb") as file:
                file.write(content)
            done = subprocess.run([os.path.join(ROOT, "wine-ci", "run-wine"), program], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode == 126 and "run wine-ci/setup" in done.stderr:
                print(f"skipped: {done.stderr}")
                sys.exit(77)
            said = done.returncode == 126 and "run-wine32" in done.stderr
            print(f"{'ok    ' if said == is_refused else 'FAILED'} {name}{'' if said == is_refused else ': ' + done.stderr}")
            failed += said != is_refused
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
