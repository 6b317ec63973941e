#!/usr/bin/env python3
"""A user of MSVC's linker, as near as Linux comes to it: clang in MSVC's mode, lld-link, import libraries for the runtime's DLLs
made from lists of names, Wine.
"""
import os
import re
import shutil
import sys

from consumer import ROOT, Consumer, Failure, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
# {architecture: (clang's target, llvm-dlltool's machine, a name that MinGW-w64's tools have before theirs)}
MACHINES = {"x64": ("x86_64-pc-windows-msvc", ["i386:x86-64"], "x86_64-w64-mingw32"),
            "x86": ("i686-pc-windows-msvc", ["i386", "-k"], "i686-w64-mingw32"),
            "arm64": ("aarch64-pc-windows-msvc", ["arm64"], None)}
FLAGS = ["-fms-compatibility", "-fms-extensions", "-O2", "-Wall", "-Werror"]
# What the programs take from the runtime; the allocation functions stand here so that a library that comes too late shows.
RUNTIME = {
    "ucrtbase.dll": ["exit", "_crt_atexit", "malloc", "calloc", "realloc", "free", "_msize", "_strdup", "_aligned_malloc",
                     "_aligned_free", "_getcwd", "puts"],
    "vcruntime140.dll": ["memcpy", "memset", "memmove", "memcmp"],
    "ntdll.dll": ["__chkstk"],  # part of what is linked into programs, with MSVC
}
RUNTIME_X86 = dict(RUNTIME, **{"ntdll.dll": ["_chkstk", "_allmul", "_alldiv", "_allrem", "_aulldiv", "_aullrem", "_aullshr", "_allshl"]})

STUBS = {
    "stdlib.h": "#include <stddef.h>\n",
    "string.h": "#include <stddef.h>\nvoid* memset(void* to, int byte, size_t size);\n",
    "wchar.h": "",
    "malloc.h": "",
    "new": """#include <stddef.h>
namespace std {
using ::size_t;
using ::ptrdiff_t;
struct nothrow_t {};
extern const nothrow_t nothrow;
enum class align_val_t : size_t {};
struct bad_alloc {};
typedef void (*new_handler)();
new_handler get_new_handler() noexcept;
}
""",
    "cstddef": "#include <stddef.h>\nnamespace std { using ::size_t; using ::ptrdiff_t; }\n",
    "cstdint": "#include <stdint.h>\nnamespace std { using ::uintptr_t; }\n",
    "memory": """namespace std {
template <class T> struct shared_ptr {
  shared_ptr();
  template <class D> shared_ptr(T* p, D deleter);
  template <class D> void reset(T* p, D deleter);
  T* get() const;
  bool operator==(const shared_ptr& other) const;
};
}
""",
    "type_traits": "namespace std { struct true_type {}; struct false_type {}; }\n",
    "utility": """namespace std {
template <class T> struct remove_reference { typedef T type; };
template <class T> struct remove_reference<T&> { typedef T type; };
template <class T> T&& forward(typename remove_reference<T>::type& t) noexcept { return static_cast<T&&>(t); }
}
""",
}


class Msvc(Consumer):
    def prepare(self):
        missing = [tool for tool in ("clang", "lld-link", "llvm-dlltool", "llvm-lib") if not shutil.which(tool)]
        if missing:
            print(f"skipped: {', '.join(missing)} not found; wine-ci/setup --toolchains installs what is needed")
            sys.exit(1 if os.environ.get("MI_TOOLCHAINS_REQUIRED") else 77)
        target, self.machine, self.mingw = MACHINES[self.options.arch]
        self.clang_command = ["clang", "--target=" + target, *FLAGS]
        if self.options.build:  # a build of its own beside it, with these libraries
            folder = os.path.join(os.path.abspath(self.options.build), "consumers", "msvc")
            if not os.path.exists(os.path.join(folder, "build.ninja")):
                self.run(["meson", "setup", folder, ROOT, "--cross-file", os.path.join(ROOT, "wine-ci", "x86_64-w64-mingw32.ini"),
                          "-Dtests=disabled", "-Dmsvc=enabled", "--werror"])
            self.run(["ninja", "-C", folder])
            self.options.build = folder
        super().prepare()
        self.libraries = os.path.dirname(self.find("mimalloc.lib"))
        self.kernel32 = self.stub("kernel32.dll", self.kernel32_names())
        runtime = RUNTIME_X86 if self.options.arch == "x86" else RUNTIME
        self.runtime = [self.stub(dll, names) for dll, names in runtime.items()]
        self.startup = self.object("msvc_startup.c", "startup.obj", "-Wno-builtin-requires-header")

    def kernel32_names(self):
        with open(os.path.join(ROOT, "dll", "kernel32-allowed.txt"), encoding="utf-8") as file:
            names = [line.split("#")[0].split()[0] for line in file if line.split("#")[0].split()]
        if self.options.arch != "x86":
            return names
        # Functions of the system have the size of their arguments in their names there.
        library = self.run([self.mingw + "-gcc-posix", "-print-file-name=libkernel32.a"]).stdout.strip()
        symbols = re.findall(r" T _(\w+)(@\d+)$", self.run([self.mingw + "-nm", "--defined-only", library]).stdout, re.M)
        return [name + size for name, size in symbols if name in names]

    def stub(self, dll, names):
        definition, library = self.path(dll + ".def"), self.path(dll + ".lib")
        with open(definition, "w", encoding="utf-8") as file:
            file.write(f"LIBRARY {dll}\nEXPORTS\n" + "\n".join(names) + "\n")
        self.run(["llvm-dlltool", "-m", *self.machine, "-d", definition, "-l", library])
        return library

    def object(self, source, output, *arguments):
        self.build([*self.clang_command, "-ffreestanding", *arguments, "-c", os.path.join(HERE, source), "-o", self.path(output)])
        return self.path(output)

    def link(self, output, *arguments):
        self.build(["lld-link", "/nologo", "/out:" + self.path(output), "/entry:mainCRTStartup", "/subsystem:console", "/opt:ref",
                    self.startup, *arguments, *self.runtime, self.kernel32])
        return self.path(output)

    def library(self, name):
        return os.path.join(self.libraries, name)

    def headers(self):
        return ["-I", os.path.dirname(self.find("mimalloc.h"))]

    def check(self, path, with_dll, without=()):
        imports = self.imports(path)
        foreign = [f"{name} of {dll}" for dll, names in imports.items() if dll != "mimalloc.dll" for name in names if name in without]
        if foreign or with_dll != ("mimalloc.dll" in imports):
            raise Failure(f"imports {foreign}; of mimalloc.dll: {imports.get('mimalloc.dll')}")
        # The runtimes themselves are left alone: a block of theirs is theirs.
        self.run_program(path, "ok", with_dll, env={"MIMALLOC_DISABLE_REDIRECT": "1"})

    FAMILY = {"malloc", "calloc", "realloc", "free", "_msize", "_strdup", "_aligned_malloc", "_aligned_free"}

    def case_control_without_us(self):
        path = self.link("plain.exe", self.object("msvc_program.c", "plain.obj"))
        names = [name for names in self.imports(path).values() for name in names]
        if not {"malloc", "free"} <= set(names):
            raise Failure("a program that was not linked with us passes")

    def case_dll(self):
        path = self.link("dll.exe", self.object("msvc_program.c", "dll.obj", "-DAPI", *self.headers()), self.library("mimalloc.lib"))
        self.check(path, True)

    def case_dll_with_dllimport(self):
        path = self.link("dllimport.exe", self.object("msvc_program.c", "dllimport.obj", "-DAPI", "-DMI_SHARED_LIB", *self.headers()),
                         self.library("mimalloc.lib"))
        self.check(path, True)

    def case_crt(self):
        path = self.link("crt.exe", self.object("msvc_program.c", "crt.obj"), "/include:__imp_mimalloc_crt", self.library("mimalloc-crt.lib"))
        self.check(path, True, self.FAMILY)

    def case_static(self):
        path = self.link("static.exe", self.object("msvc_program.c", "static.obj", "-DAPI", "-DSTATIC", *self.headers()),
                         self.library("mimalloc-static.lib"))
        self.check(path, False)

    def case_override(self):
        path = self.link("override.exe", self.object("msvc_program.c", "override.obj", "-DSTATIC"),
                         "/include:__imp_mimalloc_override", self.library("mimalloc-override.lib"))
        self.check(path, False, self.FAMILY)

    # What Microsoft's compiler finds by itself is given here: start-up code and the runtime's import libraries.
    CMAKE = """cmake_minimum_required(VERSION 3.21)
project(linked C)
find_package(mimalloc 3.4 REQUIRED)
function(program name library)
  add_executable(${name} ${PROGRAM})
  target_compile_definitions(${name} PRIVATE ${ARGN})
  target_link_libraries(${name} PRIVATE ${library} ${STARTUP} ${RUNTIME})
endfunction()
program(cmake-dll mimalloc API)
program(cmake-crt mimalloc-crt)
program(cmake-static mimalloc-static API STATIC)
program(cmake-override mimalloc-override STATIC)
"""

    def case_cmake(self):
        missing = [tool for tool in ("cmake", "ninja") if not shutil.which(tool)]
        if missing:
            raise Skip(f"no {' and no '.join(missing)} here")
        source, build = self.path("cmake"), self.path("cmake-build")
        os.mkdir(source)
        with open(os.path.join(source, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write(self.CMAKE)
        clang_cl = self.path("clang-cl")  # clang takes MSVC's command line when it is called so
        os.symlink(os.path.realpath(shutil.which("clang")), clang_cl)
        target = self.clang_command[1]
        flags = " ".join([target, *(f"/clang:{flag}" for flag in FLAGS[:2]), "/clang:-ffreestanding"])
        self.run(["cmake", "-G", "Ninja", "-S", source, "-B", build, "-DCMAKE_SYSTEM_NAME=Windows", "-DCMAKE_BUILD_TYPE=Release",
                  "-DCMAKE_SYSTEM_PROCESSOR=" + {"x64": "AMD64", "x86": "x86", "arm64": "ARM64"}[self.options.arch],
                  "-DCMAKE_C_COMPILER=" + clang_cl, "-DCMAKE_LINKER=" + shutil.which("lld-link"),
                  "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY", "-DCMAKE_MSVC_RUNTIME_LIBRARY=", "-DCMAKE_C_STANDARD_LIBRARIES=",
                  "-DCMAKE_C_FLAGS=" + flags, "-DCMAKE_EXE_LINKER_FLAGS=/manifest:no /nodefaultlib /entry:mainCRTStartup /opt:ref",
                  "-DCMAKE_PREFIX_PATH=" + self.prefix, "-DPROGRAM=" + os.path.join(HERE, "msvc_program.c"),
                  "-DSTARTUP=" + self.startup, "-DRUNTIME=" + ";".join([*self.runtime, self.kernel32])])
        self.run(["cmake", "--build", build, "-j", "1"])
        for name, with_dll, without in (("dll", True, ()), ("crt", True, self.FAMILY), ("static", False, ()), ("override", False, self.FAMILY)):
            self.check(os.path.join(build, f"cmake-{name}.exe"), with_dll, without)

    def case_static_hears_of_threads(self):
        # The TLS callback is in the program: the linker was asked for a TLS directory.
        for program in ("static.exe", "override.exe"):
            listing = self.run(["llvm-readobj", "--file-headers", self.path(program)]).stdout
            size = next(line.split(":")[1].strip() for line in listing.splitlines() if "TLSTableSize" in line)
            if int(size, 16) == 0:
                raise Failure(f"{program} has no TLS directory")

    def case_headers(self):
        # Without Microsoft's headers: clang's own for C, and of the C++ library what ours use.
        stubs = self.path("stubs")
        os.mkdir(stubs)
        for name, text in STUBS.items():
            with open(os.path.join(stubs, name), "w", encoding="utf-8") as file:
                file.write("#pragma once\n" + text)
        for language, header in (("c11", "mimalloc.h"), ("c11", "mimalloc-stats.h"), ("c11", "mimalloc-override.h"),
                                 ("c17", "mimalloc.h"), ("c++14", "mimalloc.h"), ("c++14", "mimalloc-stats.h"), ("c++17", "mimalloc.h"),
                                 ("c++14", "mimalloc-new-delete.h"), ("c++17", "mimalloc-new-delete.h")):
            is_cxx = language.startswith("c++")
            source = self.path("header." + ("cpp" if is_cxx else "c"))
            with open(source, "w", encoding="utf-8") as file:
                file.write(f"#include <{header}>\nint main() {{ return mi_version() == 0; }}\n" if is_cxx else
                           f"#include <{header}>\nint main(void) {{ return mi_version() == 0; }}\n")
            self.build([*self.clang_command, "-ffreestanding", "-nostdlibinc", "-std=" + language, "-fsyntax-only", "-idirafter", stubs, *self.headers(), source])


if __name__ == "__main__":
    Msvc(__doc__, lambda parser: parser.add_argument("--arch", choices=MACHINES, default="x64",
         help="of the libraries at hand (default %(default)s); with --build always x64")).main()
