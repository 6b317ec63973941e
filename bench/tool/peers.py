"""Which functions an allocator offers under which names, and how one is named on the command line."""
import os
import re
import subprocess

from tool.errors import BenchError

# What a workload calls, and the macro of peers/traits.c for how it is called.
# Those of bench_heaps_t (harness/alloc.h) are of use only together, so they have one macro.
HEAPS = {"heap_new": "mi_heap_new", "heap_malloc": "mi_heap_malloc", "heap_delete": "mi_heap_delete",
         "heap_destroy": "mi_heap_destroy", "heap_collect": "mi_heap_collect", "heap_stats": "mi_heap_stats_get",
         "stats": "mi_stats_get", "subproc_new": "mi_subproc_new", "subproc_join": "mi_subproc_add_current_thread",
         "subproc_destroy": "mi_subproc_destroy", "reserve": "mi_reserve_os_memory"}
ROLES = ["malloc", "calloc", "realloc", "free", "aligned", "aligned_free", "collect", *HEAPS]
NEEDED = ["malloc", "calloc", "realloc", "free"]
ORDERS = {"align-first": "BENCH_ALIGN_FIRST", "size-first": "BENCH_SIZE_FIRST"}

# Families of names. The first whose malloc and free a library has is taken, unless the command line names functions.
FAMILIES = [
    ("mi_", {"malloc": "mi_malloc", "calloc": "mi_calloc", "realloc": "mi_realloc", "free": "mi_free",
             "aligned": "mi_malloc_aligned", "order": "size-first", "collect": "mi_collect", **HEAPS}),
    ("je_", {"malloc": "je_malloc", "calloc": "je_calloc", "realloc": "je_realloc", "free": "je_free",
             "aligned": "je_aligned_alloc", "order": "align-first"}),
    ("rp", {"malloc": "rpmalloc", "calloc": "rpcalloc", "realloc": "rprealloc", "free": "rpfree",
            "aligned": "rpaligned_alloc", "order": "align-first"}),
    ("tc_", {"malloc": "tc_malloc", "calloc": "tc_calloc", "realloc": "tc_realloc", "free": "tc_free",
             "aligned": "tc_memalign", "order": "align-first"}),
    ("sn_", {"malloc": "sn_malloc", "calloc": "sn_calloc", "realloc": "sn_realloc", "free": "sn_free",
             "aligned": "sn_aligned_alloc", "order": "align-first"}),
    ("bench_", {"malloc": "bench_malloc", "calloc": "bench_calloc", "realloc": "bench_realloc", "free": "bench_free",
                "aligned": "bench_aligned", "aligned_free": "bench_aligned_free", "order": "align-first",
                "collect": "bench_collect"}),
    ("CRT", {"malloc": "malloc", "calloc": "calloc", "realloc": "realloc", "free": "free",
             "aligned": "_aligned_malloc", "aligned_free": "_aligned_free", "order": "size-first"}),
    ("C", {"malloc": "malloc", "calloc": "calloc", "realloc": "realloc", "free": "free", "aligned": "aligned_alloc",
           "order": "align-first"}),
]
FORM = "NAME=PATH[:malloc=F,free=F,calloc=F,realloc=F,aligned=F,order=align-first|size-first,aligned_free=F,collect=F]"


class Peer:
    """An allocator: its name in tables, its library (None: what the C library has), its functions by role."""

    def __init__(self, name, path, functions, note=""):
        self.name = name
        self.path = path
        self.functions = dict(functions)
        self.order = self.functions.pop("order", "align-first")
        self.note = note

    def macros(self):
        """Definitions for peers/traits.c."""
        macros = [f'BENCH_NAME="{self.name}"']
        if "aligned" in self.functions:
            macros.append(ORDERS[self.order])
        if "aligned_free" in self.functions:
            macros.append("BENCH_ALIGNED_FREE")
        if "collect" in self.functions:
            macros.append("BENCH_COLLECT")
        if all(role in self.functions for role in HEAPS):
            macros.append("BENCH_HEAPS")
        return macros


def exported(path):
    """The names that a DLL exports, or that a static or shared ELF library defines."""
    if path.lower().endswith(".dll"):
        command = ["x86_64-w64-mingw32-objdump", "-p", path]
        pattern = re.compile(r"^\s*\[\s*\d+\]\s+(?:\+base\[\s*\d+\]\s+)?(?:[0-9a-f]+\s+)?(\S+)$")
    else:
        command = ["nm", "--defined-only", "--extern-only", *(["-D"] if ".so" in path else []), path]
        pattern = re.compile(r"^[0-9a-f]+ [TWVi] (\S+?)(?:@.*)?$")
    try:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise BenchError(f"{path} can't be read as a library: {detail[-1] if detail else error}",
                         "give a .dll for Windows, a .a or .so natively") from None
    if command[-2] == "-p":
        text = text[text.find("[Ordinal/Name Pointer] Table"):]
    return {match.group(1) for match in map(pattern.match, text.splitlines()) if match}


def parse(text):
    """A peer from --peer's value."""
    name, separator, rest = text.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z0-9._+-]+", name) or not rest:
        raise BenchError(f"--peer {text}: not of the form {FORM}", "for example: --peer rp=rpmalloc.dll:malloc=rpmalloc,"
                         "free=rpfree,calloc=rpcalloc,realloc=rprealloc")
    path, _, pairs = rest.partition(":")
    given = {}
    for pair in filter(None, pairs.split(",")):
        role, separator, function = pair.partition("=")
        role = role.replace("-", "_") if role != "order" else role
        if not separator or not function or role not in ROLES + ["order"]:
            raise BenchError(f"--peer {name}: '{pair}' is not of the form ROLE=FUNCTION",
                             f"roles: {', '.join(ROLES)}; order takes {' or '.join(ORDERS)}")
        given[role] = function
    if given.get("order", "align-first") not in ORDERS:
        raise BenchError(f"--peer {name}: order={given['order']}", f"it takes {' or '.join(ORDERS)}")
    if not os.path.isfile(path):
        raise BenchError(f"--peer {name}: there is no file {path}", "give the path of the library")
    return with_functions(name, os.path.abspath(path), given)


def with_functions(name, path, given, note=""):
    """Completes the functions from the family of names that the library has, and demands that all are there."""
    names = exported(path)
    functions = {}
    for _, family in FAMILIES:
        if all(given.get(role, family[role]) in names for role in ("malloc", "free")) and (
                "malloc" not in given or given["malloc"] == family["malloc"]):
            functions = {role: f for role, f in family.items() if role == "order" or f in names}
            break
    functions.update(given)
    if "aligned" not in functions:
        functions.pop("order", None)
        functions.pop("aligned_free", None)
    absent = [role for role in NEEDED if role not in functions]
    if absent:
        raise BenchError(f"{name}: no function known for {', '.join(absent)} in {path}",
                         f"name them: --peer {FORM}")
    for role, function in functions.items():
        if role != "order" and function not in names:
            raise BenchError(f"{name}: {path} has no function {function} (for {role})",
                             "look at its exports with objdump -p or nm, and correct the name")
    return Peer(name, path, functions, note)


def glibc():
    """The native C library's own allocator."""
    return Peer("glibc", None, {"malloc": "malloc", "calloc": "calloc", "realloc": "realloc", "free": "free",
                                "aligned": "aligned_alloc", "order": "align-first", "collect": "malloc_trim"})
