"""Counts the blocks that the C runtimes take from the system's heaps, as Wine sees them.

This is the outside witness of tests/programs: Wine's ntdll logs each block that any heap gives, whatever was hooked above
it. There are two ways to tell which of them are the runtimes':

  HEAP   by the heap (WINEDEBUG=+pid,+heap,+module). A runtime's heap is the one that is created while its DllMain runs;
         what is allocated from it is malloc and its family, as Wine's runtimes have no other use for it. A runtime that
         makes no heap is blind for this: Wine 10's ucrtbase.dll works on the process's heap.
  RELAY  by the caller (WINEDEBUG=+pid,+relay,+loaddll): who called RtlAllocateHeap lies in the runtime, and in malloc or its
         family. Which places these are is learnt from a run of heap_callers.c, which calls them often; what else a
         runtime takes from the process's heap, for itself, is nobody's malloc. Where a function of the runtime ends in a
         jump to RtlAllocateHeap (calloc, say), the caller is who called the runtime. Wine's registry must say that this
         function is to be relayed and no other, and for whom: for the runtimes (REGISTRY).

A block counts as missed when a runtime gives it although mimalloc.dll is there: after mimalloc.dll's DllMain has returned
and, for a runtime that is loaded later, from the beginning of that runtime's DllMain. Another thread may have been in
the runtime's malloc at that moment, and gets its block a little later: so the first block of each thread that was at work
before doesn't count as missed.

With HEAP, Wine checks a whole heap at each of its calls: programs with many blocks in a heap become slow,
and a heap that somebody damaged is told of.
"""
import bisect
import collections
import re

HEAP = "+pid,+heap,+module"
RELAY = "+pid,+relay,+loaddll"
CALLS = 1000  # of each function by heap_callers.c
RUNTIMES = ("msvcrt.dll", "ucrtbase.dll")  # that RELAY can learn about
REGISTRY_KEY = "HKCU\\Software\\Wine\\Debug"
REGISTRY = {"RelayInclude": "ntdll.RtlAllocateHeap", "RelayFromInclude": "msvcrt;ucrtbase"}
# The owner of a block whose caller is a program's own code. Callers in Wine's DLLs don't count: some of them are relayed
# whatever the registry says.
BY_JUMP = "a runtime's jump"

LINE = re.compile(
    rb"([0-9a-f]{4,}):([0-9a-f]{4,}):(?:trace:(?:"
    rb"heap:(?P<heap>RtlAllocateHeap) handle (?P<handle>[0-9A-Fa-f]+), .*return (?P<block>[0-9A-Fa-f]+)"
    rb"|heap:(?P<create>RtlCreateHeap) "
    rb"|module:MODULE_InitDLL \((?P<base>[0-9A-Fa-f]+)(?: L\"(?P<name>[^\"]*)\")?,PROCESS_ATTACH,"
    rb".*- (?P<what>CALL|RETURN)"
    rb"|loaddll:\w+ Loaded L\"(?P<path>[^\"]*)\" at (?P<loaded>[0-9A-Fa-f]+): (?P<kind>\w+))"
    rb"|(?P<relay>Call|Ret ) PE DLL \(proc=\w+,module=(?P<relay_base>[0-9A-Fa-f]+)(?: L\"(?P<relay_name>[^\"]*)\")?,"
    rb"reason=PROCESS_ATTACH,"
    rb"|Ret  ntdll\.RtlAllocateHeap\(\) retval=(?P<given>[0-9A-Fa-f]+) ret=(?P<caller>[0-9A-Fa-f]+))"
)
RUNTIME = re.compile(rb"(msvcrt|ucrtbased?|msvcr\d+d?)\.dll$", re.I)
OURS = b"mimalloc.dll"

# Of one process. alone: blocks of runtimes before mimalloc.dll was ready, or all if it never came.
# missed: after. by_runtime: missed blocks for each runtime. blind: runtimes that made no heap, of which HEAP tells nothing.
Counts = collections.namedtuple("Counts", "has_mimalloc alone missed by_runtime runtimes blind")


class Unreadable(Exception):
    """Wine logs otherwise than this module was written for."""


class Process:
    def __init__(self, sites):
        self.sites = sites  # runtime -> offsets in it that malloc calls the system from; None: learn them
        self.callers = collections.Counter()  # (runtime, offset) -> calls
        self.is_ready = self.has_mimalloc = False
        self.at_work = set()  # threads that may be in the runtime's malloc when mimalloc.dll becomes ready
        self.running = {}  # thread -> stack of (base, name) whose DllMain runs
        self.handles = {}  # heap -> runtime's name, or None for a heap of somebody else
        self.created = {}  # thread -> owner of a heap whose handle the next line tells
        self.before = 0
        self.missed = collections.Counter()
        self.runtimes = []
        self.bases, self.names = [], {}  # of modules, for RELAY
        self.natives = set()  # names of those that are not Wine's

    def init(self, thread, begins, base, name):
        stack = self.running.setdefault(thread, [])
        if begins:
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
            self.at_work.discard(thread)  # it has just done something else

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
        self.count(thread, self.handles[handle])

    def count(self, thread, owner):
        if owner is None:
            return
        if not self.is_ready:
            self.at_work.add(thread)
            self.before += 1
        elif thread in self.at_work:
            self.at_work.remove(thread)
            self.before += 1
        else:
            self.missed[owner] += 1

    def mapped(self, base, name):
        if base not in self.names:
            bisect.insort(self.bases, base)
        self.names[base] = name

    def allocated_by(self, thread, caller):
        """The module that begins next below the caller is the one that it lies in."""
        at = bisect.bisect_right(self.bases, caller)
        name = self.names[self.bases[at - 1]] if at else None
        if not name:
            return
        owner, offset = name.decode("utf-8", "replace").lower(), caller - self.bases[at - 1]
        if not RUNTIME.match(name):
            if owner in self.natives and self.sites is not None:
                self.count(thread, BY_JUMP)
            return
        self.callers[owner, offset] += 1
        if self.sites is not None:
            if owner not in self.sites:
                raise Unreadable(f"nothing is known of {owner}; see RUNTIMES in tests/programs/heap_trace.py")
            if offset in self.sites[owner]:
                self.count(thread, owner)

    def event(self, thread, match):
        if match["heap"]:
            if int(match["block"], 16) != 0:  # else the heap had none to give
                self.allocated(thread, match["handle"])
        elif match["create"]:
            self.heap_created(thread)
        elif match["loaded"]:
            name = re.split(rb"[\\/]", match["path"])[-1]
            self.mapped(int(match["loaded"], 16), name)
            if match["kind"] == b"native":
                self.natives.add(name.decode("utf-8", "replace").lower())
        elif match["relay"]:
            if match["relay_name"]:
                self.mapped(int(match["relay_base"], 16), match["relay_name"])
            self.init(thread, match["relay"] == b"Call", match["relay_base"], match["relay_name"])
        elif match["caller"]:
            if int(match["given"], 16) != 0:
                self.allocated_by(thread, int(match["caller"], 16))
        else:
            self.init(thread, match["what"] == b"CALL", match["base"], match["name"])


def processes_of(path, sites):
    processes = collections.defaultdict(lambda: Process(sites))
    with open(path, "rb") as file:
        for line in file:
            match = LINE.search(line)
            if match:
                processes[match[1]].event(match[2], match)
    return processes


def read(path, sites=None):
    """process number -> Counts, of all processes that the trace file tells of."""
    return {
        pid: Counts(p.has_mimalloc, p.before, sum(p.missed.values()), dict(p.missed), p.runtimes,
                    sorted(set(p.runtimes) - {owner for owner in p.handles.values() if owner}))
        for pid, p in processes_of(path, sites).items()
    }


def learn(path):
    """runtime -> offsets in it that malloc and its family call the system from, from a trace of heap_callers.c."""
    sites = collections.defaultdict(set)
    for process in processes_of(path, None).values():
        for (owner, offset), calls in process.callers.items():
            if calls >= CALLS:
                sites[owner].add(offset)
    return dict(sites)
