"""The allocators that are compared under Wine, and how their programs are started."""
import os
import subprocess

from tool import crossbuild, link, peers
from tool.errors import BenchError

CRT_FUNCTIONS = {"malloc": "malloc", "calloc": "calloc", "realloc": "realloc", "free": "free",
                 "aligned": "_aligned_malloc", "aligned_free": "_aligned_free", "order": "size-first"}
OURS = "mimalloc.dll"
BOUND = "bound"  # the lower bound is no peer: it could not serve a program


def environment():
    """Environment and command line of the project's Wine (wine-ci/lib.sh), with its server running."""
    script = ('set -euo pipefail; . wine-ci/lib.sh; wine_env && [ -d "$WINEPREFIX/drive_c" ] || exit 9; wine_up; '
              'printf "%s\\0" "${#MI_WINE[@]}" "${MI_WINE[@]}"; env -0')
    done = subprocess.run(["bash", "-c", script], cwd=link.ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise BenchError("there is no Wine to run the programs with", "run wine-ci/setup --bench")
    count, *texts = done.stdout.decode().split("\0")
    wine, pairs = texts[:int(count)], texts[int(count):]
    env = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    # The C runtime stays what it is, for us as for the peers: what is measured is the call of each allocator's DLL.
    env["MIMALLOC_DISABLE_REDIRECT"] = "1"
    return wine, env


def library_peers(build, out, without, progress):
    """(peers, [(name, why it is missing)]): what is built from this tree, what Windows has, what Debian's sources give."""
    dlls = {name: os.path.join(build, *parts) for name, parts in
            {OURS: ("dll", "mimalloc.dll"), "heap": ("bench", "bench-heap.dll"), BOUND: ("bench", "bench-toy.dll")}.items()}
    listed = [
        peers.with_functions(OURS, dlls[OURS], {}),
        peers.Peer("msvcrt", "msvcrt.dll", CRT_FUNCTIONS),
        peers.Peer("ucrtbase", "ucrtbase.dll", CRT_FUNCTIONS),
        peers.with_functions("HeapAlloc", dlls["heap"], {}),
        peers.with_functions(BOUND, dlls[BOUND], {}),
    ]
    missing = []
    for name in crossbuild.RECIPES:
        if name in without:
            continue
        progress(f"building {name}")
        try:
            listed.append(peers.with_functions(name, crossbuild.build(name, os.path.join(out, "peers")), {}))
        except BenchError as error:
            missing.append((name, str(error.args[0]).splitlines()[0]))
    return listed, missing


def build_all(build):
    """The DLL and everything of bench/ in Meson's build folder."""
    ini = "x86_64-w64-mingw32.ini"
    layer = os.path.join(link.ROOT, ".cache", ini)
    if not os.path.isfile(layer):
        raise BenchError("the cross compiler isn't set up", "run wine-ci/setup --bench")
    link.build(build, ["dll/mimalloc.dll", "bench/libbench-workloads.a", "bench/bench-toy.dll", "bench/bench-heap.dll"],
               ["--cross-file", os.path.join(link.ROOT, "wine-ci", ini), "--cross-file", layer])
