#!/usr/bin/env python3
"""Every export of mimalloc.dll either has a twin or is on the list of those that give, take and measure no blocks: a new
one that was forgotten would not be recorded.

usage: check_twins.py mimalloc.def twins_table.h
"""
import re
import sys

# Exports without blocks of the caller's, by how their names begin.
OTHERS = re.compile(r"mi_(process_|thread_|collect|version$|is_|check_owned$|register_|option|stats_|good_size$|"
                    r"malloc_good_size$|profile_dump$|reserve_|manage_|arena|debug_|subproc_(add|current|main|new|visit|heap_stats|stats)|heap_(new|collect|"
                    r"main|of|contains|theap|set_numa|visit|stats|check_owned|get_|guarded|set_default|try_new)|theap_(set_default|get_default|collect|visit|guarded)|"
                    r"unsafe_heap|abandoned_visit)|_mi_redirect_entry$")

with open(sys.argv[1], encoding="utf-8") as file:
    exports = {words[0] for words in (line.split(";")[0].split() for line in file) if len(words) == 1} - {"EXPORTS"}
with open(sys.argv[2], encoding="utf-8") as file:
    twins = set(re.findall(r"^TWIN(?:_IN_HEAP)?\((\w+),", file.read(), re.M))
problems = [f"{name} has no row in {sys.argv[2]}, and is not known to be without blocks" for name in sorted(exports - twins)
            if not OTHERS.match(name)]
problems += [f"{name} has a row, but is not exported" for name in sorted(twins - exports)]
print(f"{len(exports)} exports, {len(twins)} twins")
for problem in problems:
    print("FAILED:", problem)
sys.exit(bool(problems) or len(twins) < 50)
