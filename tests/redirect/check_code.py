#!/usr/bin/env python3
"""Compares the decoder and the planner of dll/redirect with objdump.

  lengths   every instruction of the code sections of real DLLs (Wine's C runtimes and system DLLs, those of the MinGW
            compilers, x86-64 and i386), and constructed ones: every opcode of every table with prefixes, ModRM bytes
            and random rests. Lengths must agree. What the decoder refuses and objdump does not must be one of the
            refusals that decode.h names; of a real DLL's instructions it may refuse none.
  plans     a trampoline for every function that these DLLs export: disassembled at its address, it must hold the moved
            instructions with the same absolute targets, then a jump to the first one that was not moved.

Prints a line per file and "N passed, N failed" at the end.
"""
import argparse
import glob
import random
import re
import struct
import subprocess
import sys
import tempfile

RECORD = 32
SYSTEM_DLLS = ["msvcrt", "ucrtbase", "msvcr120", "ntdll"]
DLL_GLOBS = {
    "Wine (package libwine)": [f"/usr/lib/x86_64-linux-gnu/wine/x86_64-windows/{name}.dll" for name in SYSTEM_DLLS],
    "MinGW for x86-64 (package gcc-mingw-w64-x86-64-posix)": ["/usr/lib/gcc/x86_64-w64-mingw32/*-posix/libstdc++-6.dll",
                                                             "/usr/lib/gcc/x86_64-w64-mingw32/*-posix/libgcc*.dll"],
    "MinGW for i686 (package gcc-mingw-w64-i686-posix)": ["/usr/lib/gcc/i686-w64-mingw32/*-posix/libstdc++-6.dll",
                                                         "/usr/lib/gcc/i686-w64-mingw32/*-posix/libgcc*.dll"],
}


def objdump_lines(options, *arguments, stride=1):
    """(address, bytes, text) of each disassembled instruction whose address is a multiple of stride."""
    command = [options.objdump, "--insn-width=16", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            parts = line.split("\t", 2)  # "  10001000:", the bytes, the text
            if len(parts) < 2 or not parts[0].endswith(":"):
                continue
            address = int(parts[0][:-1], 16)
            if address % stride != 0:
                continue
            yield address, bytes.fromhex(parts[1]), parts[2].strip() if len(parts) == 3 else ""
    if process.returncode != 0:
        sys.exit(f"check_code.py: failed: {' '.join(command)}")


def machine(bits):
    return ["-m", "i386:x86-64" if bits == 64 else "i386"]


def our_lengths(options, bits, records):
    done = subprocess.run([options.tool, "lengths", str(bits)], input=b"".join(records), capture_output=True)
    if done.returncode != 0:
        sys.exit(f"check_code.py: {options.tool} ended with {done.returncode}: {done.stderr.decode()}")
    lengths = [int(word) for word in done.stdout.split()]
    if len(lengths) != len(records):
        sys.exit(f"check_code.py: {options.tool} answered {len(lengths)} of {len(records)} questions")
    return lengths


class Pe:
    """As much of a PE file as is needed to find its code."""
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        pe = struct.unpack_from("<I", self.data, 0x3C)[0]
        count, optional_size = struct.unpack_from("<H", self.data, pe + 6)[0], struct.unpack_from("<H", self.data, pe + 20)[0]
        optional = pe + 24
        self.bits = 64 if struct.unpack_from("<H", self.data, optional)[0] == 0x20B else 32
        self.base = struct.unpack_from("<Q" if self.bits == 64 else "<I", self.data, optional + (24 if self.bits == 64 else 28))[0]
        self.sections = []  # (address, size in the file, offset in the file, is code)
        for i in range(count):
            at = optional + optional_size + 40 * i
            _, address, raw_size, raw = struct.unpack_from("<IIII", self.data, at + 8)
            flags = struct.unpack_from("<I", self.data, at + 36)[0]
            self.sections.append((address, raw_size, raw, bool(flags & 0x20000000)))

    def bytes_at(self, rva, count):
        for address, size, raw, _ in self.sections:
            if address <= rva < address + size:
                return self.data[raw + rva - address:raw + min(rva - address + count, size)]
        return b""


# ---- lengths --------------------------------------------------------------------------------------------------------

# What the decoder refuses by intention (decode.h), as objdump writes it.
PREFIXES = {0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65}
LONE_PREFIXES = {"cs", "ds", "es", "ss", "fs", "gs", "lock", "repz", "repnz", "data16", "addr16", "addr32"}


def has_apx_bits(code):
    """Registers r16 to r31, which objdump knows since 2.43: by a prefix of their own (REX2), or by bits of EVEX that had to have
    one value before, map 4 among them."""
    while code and code[0] in PREFIXES:
        code = code[1:]
    return code[:1] == b"\xd5" or (code[:1] == b"\x62" and len(code) > 2 and bool(code[1] & 8 or code[1] & 7 == 4 or not code[2] & 4))


EXPECTED_REFUSALS = [
    ("of APX", re.compile(r"\{rex2"), lambda b: True),
    ("of APX", re.compile(r"^(?!.*\b(?:bound|aad)\b)"), has_apx_bits),
    ("branch with an operand-size prefix", re.compile(r"^(?:\S+ )*?(?:data16 |addr(?:16|32) )*"
                                                      r"(?:(?:j|call|loop|xbegin)\w*)(?:,p[nt])?\s"), lambda b: 0x66 in b[:4]),
    ("xbegin", re.compile(r"\bxbegin"), lambda b: b"\xc7\xf8" in b),
    ("relative to eip", re.compile(r"\(%[er]ip\)"), lambda b: 0x67 in b[:5]),
    ("test register", re.compile(r"%tr\d"), lambda b: b"\x0f\x24" in b or b"\x0f\x26" in b),
    ("prefix before a vector prefix", re.compile(r"^(?:\S+ )+[vk]"), lambda b: b[0] in PREFIXES),
    ("prefix without effect", re.compile(r"^(?:\S+ )*rex(?:\.\w+)?(?: |$)|^(?:\S+ )*rex\S*$"), lambda b: True),
]


def refusal(code, text):
    for name, pattern, applies in EXPECTED_REFUSALS:
        if pattern.search(text) and applies(code):
            return name
    return None


def has_fwait(code):
    # objdump shows fwait and the floating point instruction behind it as one; with REX it cuts between the two.
    while code and (code[0] in PREFIXES or 0x40 <= code[0] < 0x50):
        code = code[1:]
    return code[:1] == b"\x9b"


def is_bad(text):
    # Not an instruction, or, to objdump since 2.42, one with a field that must not have that value.
    return "(bad)" in text or "{bad}" in text


def is_alone(text):
    # A prefix that objdump shows by itself: with what follows it is no instruction to it.
    return all(word in LONE_PREFIXES for word in text.split())


def is_data(text):
    # Data between and behind functions: bytes that begin no instruction, or whose instruction would go beyond the section.
    return is_bad(text) or text.startswith(".byte") or is_alone(text)


def check_real_lengths(options, pe, lines):
    whole = [line for line in lines if not is_data(line[2]) and not has_fwait(line[1])]
    records = [(pe.bytes_at(address - pe.base, RECORD) + b"\x90" * RECORD)[:RECORD] for address, _, _ in whole]
    wrong, refused = [], []
    for (address, code, text), ours in zip(whole, our_lengths(options, pe.bits, records)):
        if ours == len(code):
            continue
        if ours == 0 and refusal(code, text):
            refused.append(text)
        else:
            wrong.append(f"{address:x}: {code.hex()} '{text}' is {len(code)} bytes long, not {ours}")
    # Data between the functions disassembles to anything; a share that matters would not.
    good = not wrong and len(refused) * 2000 <= len(whole) and len(whole) > 300
    note = f"{len(whole)} instructions" + (f", {len(refused)} refused as expected" if refused else "")
    return good, note, wrong


def constructed(bits, seed):
    generator = random.Random(seed)

    rest = generator.randbytes

    prefixes = [b"", b"\x66", b"\xf2", b"\xf3", b"\x67", b"\x2e", b"\xf0", b"\x66\x67"]
    if bits == 64:
        prefixes += [b"\x48", b"\x41", b"\x66\x48", b"\xf3\x48", b"\x4f", b"\xf2\x4c", b"\x67\x48"]
    telling = [0x05, 0x04, 0x25, 0xC0, 0x44, 0x80, 0xF8]
    for escape in (b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a"):
        for opcode in range(256):
            if (escape == b"" and opcode == 0x0F) or (escape == b"\x0f" and opcode in (0x38, 0x3A)):
                continue
            for prefix in prefixes:
                for modrm in generator.sample(range(256), 4) + telling:
                    yield prefix + escape + bytes([opcode, modrm]) + rest(12)
            for modrm in range(256):
                yield escape + bytes([opcode, modrm]) + rest(12)
    for _ in range(15000):
        yield b"\xc5" + rest(14)
        yield b"\xc4" + bytes([generator.choice([0xE1, 0xE2, 0xE3, 0x61, 0xC2, generator.randrange(256)])]) + rest(13)
        yield b"\x62" + rest(14)
        yield b"\x62" + bytes([generator.choice([0xF1, 0xF2, 0xF3, 0x71, 0x61]), generator.randrange(256) | 4]) + rest(12)
        yield b"\x8f" + rest(14)
        yield rest(15)


# Behind the 15 bytes that an instruction has at most: wherever in the first 14 the one before ends, this is one instruction, and
# the next record begins with one. (objdump and this script take time by the instruction.)
RESYNC = b"\x66" * 14 + b"\x90"


def check_constructed_lengths(options, bits, folder):
    records = [code[:15].ljust(15, b"\x90") + RESYNC for code in constructed(bits, options.seed)]
    stride = len(RESYNC) + 15
    blob = f"{folder}/constructed-{bits}"
    with open(blob, "wb") as file:
        file.write(b"".join(records))
    theirs = {}
    for address, code, text in objdump_lines(options, "-D", "-b", "binary", *machine(bits), blob, stride=stride):
        theirs[address // stride] = (code, text)
    counts = {"same": 0, "bad for objdump": 0}
    wrong = []
    for index, ours in enumerate(our_lengths(options, bits, [record.ljust(RECORD, b"\x90") for record in records])):
        if index not in theirs:
            wrong.append(f"objdump shows no instruction at record {index}: {records[index].hex()}")
            continue
        code, text = theirs[index]
        if is_bad(text) or is_alone(text):
            counts["bad for objdump"] += 1  # where nothing is defined there is nothing to compare
        elif ours == len(code) or has_fwait(records[index]):
            counts["same"] += 1
        else:
            kind = refusal(code, text) if ours == 0 else None
            if kind is None:
                wrong.append(f"{records[index][:15].hex()} '{text}' is {len(code)} bytes long, not {ours}")
            else:
                counts["refused: " + kind] = counts.get("refused: " + kind, 0) + 1
    good = not wrong and counts["same"] > 100000
    return good, ", ".join(f"{count} {kind}" for kind, count in counts.items()), wrong


# ---- plans ----------------------------------------------------------------------------------------------------------

SHORT = re.compile(r"^(bnd |repz |)(j\w+?|call)[lq]?(,p[nt])?\s+(?:0x)?([0-9a-f]+)\b.*$")
RELATIVE = re.compile(r"-?0x[0-9a-f]+\(%rip\)(.*?)\s*# (?:0x)?([0-9a-f]+).*$")
ENDING = re.compile(r"(?:\S+ )*?(?:ret|jmp)")


def meaning(text):
    """An instruction's text without what moving may change: how a displacement is written."""
    text = re.sub(r"\s+", " ", text)
    text = RELATIVE.sub(lambda m: f"[{m[2].lstrip('0')}]{m[1]}", text)
    match = SHORT.match(text)
    if match:
        return f"{match[1]}{match[2]} {match[4].lstrip('0')}"
    return re.sub(r" <[^>]*>", "", text)


def check_plans(options, pe, lines, path, folder):
    done = subprocess.run([options.tool, "plan", path], capture_output=True, text=True)
    if done.returncode != 0:
        return False, "", [f"code_tool ended with {done.returncode}: {done.stderr}"]
    first, *answers = done.stdout.splitlines()
    if [int(word, 16 if i == 0 else 10) for i, word in enumerate(first.split())] != [pe.base, pe.bits]:
        return False, "", [f"code_tool read another base or kind: {first}"]
    plans, refused = [], {}
    for line in answers:
        words = line.split(" ", 2)
        if words[1] == "-":
            refused[words[2]] = refused.get(words[2], 0) + 1
            continue
        rva, address, moved, _, body, code = line.split()
        plans.append((int(rva, 16), int(address, 16), int(moved, 16), int(body, 16), bytes.fromhex(code)))
    # All trampolines in one file, padded with breakpoints; all originals likewise, each at its own address.
    start = plans[0][1]
    blob = f"{folder}/trampolines"
    with open(blob, "wb") as file:
        for _, address, _, _, code in plans:
            assert file.tell() == address - start
            file.write(code + b"\xcc" * (64 - len(code)))
    moved_code = {}
    for address, code, text in objdump_lines(options, "-D", "-b", "binary", *machine(pe.bits), f"--adjust-vma={start:#x}", blob):
        moved_code.setdefault((address - start) // 64, []).append((code, text))
    original = {address: (code, text) for address, code, text in lines}
    wrong = []
    for index, (rva, address, moved, body, code) in enumerate(plans):
        problem = check_plan(pe, original, rva, moved, body, code, moved_code[index])
        if problem:
            wrong.append(f"export at {pe.base + rva:x}, trampoline {code.hex()}: {problem}")
    note = f"{len(plans)} trampolines" + "".join(f", {count} refused: {reason}" for reason, count in refused.items())
    enough = len(plans) >= 10 * sum(refused.values())
    return not wrong and enough, note, wrong if enough else wrong + ["more than a tenth refused"]


def check_plan(pe, original, rva, moved, body, code, moved_lines):
    at, expected = 0, []
    while at < moved:
        line = original.get(pe.base + rva + at)
        if line is None:
            return "objdump has no instruction there"
        expected.append(line)
        at += len(line[0])
    if at != moved or (at - len(expected[-1][0]) >= 5):
        return f"{moved} bytes moved"
    if body < 1:
        return "no size"
    size, got = 0, []
    for line in moved_lines:
        if size < len(code):
            got.append(line)
        size += len(line[0])
    ends = ENDING.match(expected[-1][1]) is not None
    wanted = [meaning(text) for _, text in expected] + ([] if ends else [f"jmp {pe.base + rva + moved:x}"])
    found = [meaning(text) for _, text in got]
    return None if wanted == found else f"{found} instead of {wanted}"


# ---- all ------------------------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="the program made from code_tool.c")
    parser.add_argument("--objdump", default="objdump")
    parser.add_argument("--seed", type=int, default=1, help="for the constructed instructions (default: %(default)s)")
    options = parser.parse_args()
    paths = []
    for what, patterns in DLL_GLOBS.items():
        found = sorted(path for pattern in patterns for path in glob.glob(pattern))
        if not found:
            sys.exit(f"check_code.py: no DLLs of {what} on this machine; run wine-ci/setup --arch x86_64 --arch i686")
        paths += found
    passed = failed = 0

    def report(what, result):
        nonlocal passed, failed
        good, note, wrong = result
        print(f"{'ok' if good else 'not ok'}: {what}: {note}", flush=True)
        for line in wrong[:20]:
            print(f"    {line}")
        passed, failed = passed + good, failed + (not good)

    with tempfile.TemporaryDirectory() as folder:
        for bits in (64, 32):
            report(f"lengths of constructed instructions, {bits} bits", check_constructed_lengths(options, bits, folder))
        for path in paths:
            pe, lines = Pe(path), list(objdump_lines(options, "-d", path))
            report(f"lengths in {path}", check_real_lengths(options, pe, lines))
            report(f"plans for {path}", check_plans(options, pe, lines, path, folder))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
