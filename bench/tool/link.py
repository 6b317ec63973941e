"""Builds the workloads and links them once per allocator."""
import os
import re
import shutil
import subprocess

from tool import peers
from tool.errors import BenchError
from tool.peers import ROLES

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOST = "x86_64-w64-mingw32"
TRAITS = os.path.join(ROOT, "bench", "peers", "traits.c")


def call(command, what, cwd=None, env=None):
    """Runs a command; its output appears only if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    except OSError as error:
        raise BenchError(f"{what}: {error}", "wine-ci/setup --bench installs what is missing") from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-12:])
        raise BenchError(f"{what} failed (exit code {done.returncode}):\n{tail}\n({' '.join(command)})")
    return done.stdout


def build(folder, targets, setup_args=()):
    """Brings targets of a build folder up to date; makes the folder if there is none."""
    if not os.path.isfile(os.path.join(folder, "build.ninja")):
        call(["meson", "setup", folder, ROOT, *setup_args], f"meson setup {folder}")
    call(["ninja", "-C", folder, *targets], f"the build in {folder}")


def up_to_date(output, inputs, recipe):
    """Whether `output` was made by `recipe` and is younger than all inputs."""
    try:
        made = os.path.getmtime(output)
        with open(output + ".recipe", encoding="utf-8") as file:
            return file.read() == recipe and all(os.path.getmtime(path) < made for path in inputs)
    except OSError:
        return False


def link_native(peer, build_folder, out_folder):
    """The workloads on a static library, or on the C library. Returns the program."""
    archive = os.path.join(build_folder, "bench", "libbench-workloads.a")
    program = os.path.join(out_folder, f"bench-{peer.name}")
    os.makedirs(out_folder, exist_ok=True)
    command = ["gcc", "-O2", "-g", "-Wall", "-DBENCH_IMPORT=", *(f"-D{macro}" for macro in peer.macros()),
               "-o", program, TRAITS, archive]
    for role, function in peer.functions.items():
        command += [f"-Wl,--defsym=bench_{role}={function}", f"-Wl,-u,{function}"]
    if peer.path is None:
        command += ["-static"]  # so that a call is a direct one here, too
    elif ".so" in os.path.basename(peer.path):
        raise BenchError(f"{peer.name}: {peer.path} is a shared library", "natively, give the static one (.a)")
    else:
        command += [peer.path]
    command += ["-lpthread", "-lm", "-ldl"]
    inputs = [TRAITS, archive] + ([peer.path] if peer.path else [])
    link(command, program, inputs, peer.name)
    return program


def native_programs(build_folder, specs, with_glibc):
    """{name: program} of the native static library, of what --peer named, and of the C library."""
    ours = peers.with_functions("mimalloc", os.path.join(build_folder, "src", "libmimalloc-static.a"), {})
    listed = [ours, *map(peers.parse, specs), *([peers.glibc()] if with_glibc else [])]
    if len({peer.name for peer in listed}) != len(listed):
        raise BenchError("two allocators have the same name", "give each --peer a name of its own")
    folder = os.path.join(ROOT, "build-bench", "native")
    return {peer.name: link_native(peer, build_folder, folder) for peer in listed}


def link(command, program, inputs, name):
    recipe = " ".join(command)
    if not up_to_date(program, inputs, recipe):
        call(command, f"linking the workloads with {name}")
        with open(program + ".recipe", "w", encoding="utf-8") as file:
            file.write(recipe)


def link_windows(peer, build_folder, out_folder):
    """The workloads on a DLL, in a folder of its own with a copy of that DLL. Returns the program."""
    archive = os.path.join(build_folder, "bench", "libbench-workloads.a")
    folder = os.path.join(out_folder, peer.name)
    os.makedirs(folder, exist_ok=True)
    dll = os.path.basename(peer.path)
    if os.path.isabs(peer.path):
        shutil.copy2(peer.path, os.path.join(folder, dll))
        copy_compiler_dlls(peer.path, folder)
    definition = os.path.join(folder, "alloc.def")
    with open(definition + ".new", "w", encoding="utf-8") as file:
        file.write(f"LIBRARY \"{dll}\"\nEXPORTS\n")
        for role in ROLES:
            if role in peer.functions:
                name = peer.functions[role]
                file.write(f"  bench_{role}" + (f" == {name}\n" if name != f"bench_{role}" else "\n"))
    replace_if_changed(definition)
    library = os.path.join(folder, "liballoc.dll.a")
    link([f"{HOST}-dlltool", "--input-def", definition, "--output-lib", library], library, [definition],
         peer.name)
    program = os.path.join(folder, "bench.exe")
    command = [f"{HOST}-gcc-posix", "-O2", "-Wall", "-DBENCH_IMPORT=__declspec(dllimport)",
               *(f"-D{macro}" for macro in peer.macros()), "-o", program, TRAITS, archive, library, "-static", "-lpsapi"]
    link(command, program, [TRAITS, archive, library], peer.name)
    return program


def copy_compiler_dlls(path, folder):
    """Copies those DLLs of the compiler's that a DLL needs, and that these need in turn."""
    text = call([f"{HOST}-objdump", "-p", path], f"reading {path}")
    for name in re.findall(r"DLL Name: (lib\S+\.dll)", text):
        found = call([f"{HOST}-gcc-posix", f"-print-file-name={name}"], f"looking for {name}").strip()
        if os.path.isabs(found) and not os.path.exists(os.path.join(folder, name)):
            shutil.copy2(found, os.path.join(folder, name))
            copy_compiler_dlls(found, folder)


def replace_if_changed(path):
    """Moves path.new to path, unless that has the same contents."""
    with open(path + ".new", encoding="utf-8") as file:
        new = file.read()
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == new:
                os.remove(path + ".new")
                return
    except OSError:
        pass
    os.replace(path + ".new", path)
