"""Counts the allocations that reach the C runtimes' own heaps, as Wine sees them (WINEDEBUG=+pid,+heap,+module).

This is the outside witness of tests/programs: Wine's ntdll logs each block that any heap gives, whoever asks for
it and whatever was hooked above. A runtime's heap is the one that is created while its DllMain runs; what is
allocated from it is malloc and its family, as Wine's msvcrt.dll and ucrtbase.dll have no other use for it.

A block counts as missed when a runtime's heap gives it although mimalloc.dll is there: after mimalloc.dll's
DllMain has returned and, for a runtime that is loaded later, from the beginning of that runtime's DllMain.

With this log on, Wine checks a whole heap at each of its calls: programs with many blocks in a heap become slow,
and a heap that somebody damaged is told of.
"""
import collections
import re

WINEDEBUG = "+pid,+heap,+module"

LINE = re.compile(
    rb"([0-9a-f]{4,}):([0-9a-f]{4,}):trace:(?:"
    rb"heap:(?P<heap>RtlAllocateHeap) handle (?P<handle>[0-9A-Fa-f]+), .*return (?P<block>[0-9A-Fa-f]+)"
    rb"|heap:(?P<create>RtlCreateHeap) "
    rb"|module:MODULE_InitDLL \((?P<base>[0-9A-Fa-f]+)(?: L\"(?P<name>[^\"]*)\")?,PROCESS_ATTACH,"
    rb".*- (?P<what>CALL|RETURN))"
)
RUNTIME = re.compile(rb"(msvcrt|ucrtbased?|msvcr\d+d?)\.dll$", re.I)
OURS = b"mimalloc.dll"

# Of one process. alone: blocks of runtimes' heaps before mimalloc.dll was ready, or all if it never came.
# missed: after. by_runtime: missed blocks for each runtime.
Counts = collections.namedtuple("Counts", "has_mimalloc alone missed by_runtime runtimes")


class Unreadable(Exception):
    """Wine logs otherwise than this module was written for."""


class Process:
    def __init__(self):
        self.is_ready = self.has_mimalloc = False
        self.running = {}  # thread -> stack of (base, name) whose DllMain runs
        self.handles = {}  # heap -> runtime's name, or None for a heap of somebody else
        self.created = {}  # thread -> owner of a heap whose handle the next line tells
        self.before = 0
        self.missed = collections.Counter()
        self.runtimes = []

    def init(self, thread, match):
        base, name = match["base"], match["name"]
        stack = self.running.setdefault(thread, [])
        if match["what"] == b"CALL":
            stack.append((base, name))
            if name and RUNTIME.match(name):
                self.runtimes.append(name.decode().lower())
            if name and name.lower() == OURS:
                self.has_mimalloc = True
            return
        while stack and stack.pop()[0] != base:
            pass
        if self.has_mimalloc and not self.is_ready:
            self.is_ready = not any(n and n.lower() == OURS for _, n in stack)

    def heap_created(self, thread):
        stack = self.running.get(thread)
        name = stack[-1][1] if stack else None
        self.created[thread] = name.decode().lower() if name and RUNTIME.match(name) else None

    def allocated(self, thread, handle):
        if handle not in self.handles:
            # A new heap's first block is its own table, which RtlCreateHeap makes: nobody's block.
            if thread not in self.created:
                raise Unreadable(f"heap {handle.decode()} is used, but Wine told of no RtlCreateHeap; see "
                                 "tests/programs/heap_trace.py")
            self.handles[handle] = self.created.pop(thread)
            return
        owner = self.handles[handle]
        if owner is None:
            return
        if self.is_ready:
            self.missed[owner] += 1
        else:
            self.before += 1

    def event(self, thread, match):
        if match["heap"]:
            self.allocated(thread, match["handle"])
        elif match["create"]:
            self.heap_created(thread)
        else:
            self.init(thread, match)


def read(path):
    """process number -> Counts, of all processes that the trace file tells of."""
    processes = collections.defaultdict(Process)
    with open(path, "rb") as file:
        for line in file:
            match = LINE.search(line)
            if match and int(match["block"] or b"1", 16) != 0:  # a block of 0: the heap had none to give
                processes[match[1]].event(match[2], match)
    return {
        pid: Counts(p.has_mimalloc, p.before, sum(p.missed.values()), dict(p.missed), p.runtimes)
        for pid, p in processes.items()
    }
