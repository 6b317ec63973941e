"""Peers cross-built from Debian's source packages, which wine-ci/setup --bench fetches and unpacks into .cache/src."""
import os
import shutil
import subprocess

from tool.errors import BenchError
from tool.link import HOST, ROOT

SOURCES = os.path.join(ROOT, ".cache", "src")
CC, CXX = f"{HOST}-gcc-posix", f"{HOST}-g++-posix"
CONFIGURE = ["./configure", f"--host={HOST}", f"CC={CC}", f"CXX={CXX}"]
JOBS = f"-j{os.cpu_count()}"
DEFINES = ["-O3", "-DNDEBUG", "-DMI_SHARED_LIB", "-DMI_SHARED_LIB_EXPORT"]

# Its Windows DLL expects a helper DLL that comes as a binary only and redirects the CRT; nothing here is redirected.
NO_REDIRECT = """\
#include <stdbool.h>
#include <stddef.h>
static bool init(const char** message) {
  if (message != NULL) *message = NULL;
  return true;
}
static void done(void) {}
bool (*__imp_mi_allocator_init)(const char**) = init;
void (*__imp_mi_allocator_done)(void) = done;
"""

# name: folder in .cache/src, files to write first, commands, the DLL that results
RECIPES = {
    "mimalloc-2.0.9": ("mimalloc-2.0.9", {"no-redirect.c": NO_REDIRECT},
                       [[CC, *DEFINES, "-Iinclude", "-shared", "-o", "mimalloc-2.0.9.dll", "src/static.c", "no-redirect.c",
                         "-static", "-lpsapi", "-lbcrypt", "-ladvapi32"]], "mimalloc-2.0.9.dll"),
    "jemalloc": ("jemalloc-5.3.0", {},
                 [[*CONFIGURE, "--with-jemalloc-prefix=je_", "--disable-cxx", "--disable-static"],
                  ["make", JOBS, "build_lib_shared"]], "lib/jemalloc.dll"),
    "tcmalloc": ("gperftools-2.10", {},
                 [["autoreconf", "-i"], [*CONFIGURE, "--enable-minimal", "--disable-static"],
                  ["make", JOBS, "libtcmalloc_minimal.la"]], ".libs/libtcmalloc_minimal-4.dll"),
}


def build(name, out):
    """The DLL of a peer, built if it isn't there. A failure leaves a log, and is tried again next time."""
    folder, files, commands, result = RECIPES[name]
    dll = os.path.join(out, name, os.path.basename(result))
    stamp = os.path.join(out, name, "recipe")
    recipe = repr(RECIPES[name])
    if os.path.isfile(dll) and os.path.isfile(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == recipe:
                return dll
    source = os.path.join(SOURCES, folder)
    if not os.path.isdir(source):
        raise BenchError(f"its source is not in .cache/src/{folder}: run wine-ci/setup --bench")
    work = os.path.join(out, name, "build")
    shutil.rmtree(os.path.join(out, name), ignore_errors=True)
    shutil.copytree(source, work, symlinks=True)
    for path, text in files.items():
        with open(os.path.join(work, path), "w", encoding="utf-8") as file:
            file.write(text)
    log = os.path.join(out, name, "log")
    with open(log, "w", encoding="utf-8") as file:
        for command in commands:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            try:
                code = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                      check=False).returncode
            except OSError as error:
                raise BenchError(f"could not be cross-built: {error}") from None
            if code != 0:
                raise BenchError(f"could not be cross-built: {command[0]} failed, see {os.path.relpath(log, ROOT)}")
    if not os.path.isfile(os.path.join(work, result)):
        raise BenchError(f"its build made no {result}, see {os.path.relpath(log, ROOT)}")
    shutil.copy2(os.path.join(work, result), dll)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(recipe)
    shutil.rmtree(work)
    return dll
