#!/usr/bin/env python3
"""A user of CMake: find_package(mimalloc) and the programs of examples/CMakeLists.txt."""
import os
import shutil

from consumer import EXAMPLES, Consumer, Failure, Skip


class CMake(Consumer):
    def cmake(self, name, source, *arguments, rc=0):
        if not shutil.which("cmake"):
            raise Skip("no cmake here")
        build = self.path(name)
        processor = self.run([*self.cc, "-dumpmachine"]).stdout.split("-")[0]
        done = self.run(["cmake", "-G", "Ninja", "-S", source, "-B", build, "-DCMAKE_SYSTEM_NAME=Windows",
                         "-DCMAKE_SYSTEM_PROCESSOR=" + processor, "-DCMAKE_C_COMPILER=" + self.cc[0],
                         "-DCMAKE_CXX_COMPILER=" + self.cxx[0], "-DCMAKE_BUILD_TYPE=Release",
                         "-DCMAKE_PREFIX_PATH=" + self.prefix, *arguments], rc=rc)
        return build, done

    def project(self, name, text):
        folder = self.path(name + "-source")
        os.mkdir(folder)
        with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write("cmake_minimum_required(VERSION 3.21)\nproject(asks C)\n" + text)
        return folder

    def case_examples(self):
        build, _ = self.cmake("examples", EXAMPLES)
        done = self.run(["cmake", "--build", build, "-j", "1"])
        if "warning" in done.stdout:
            raise Failure(f"warnings: {done.stdout}")
        if not os.path.exists(os.path.join(build, "mimalloc.dll")):
            raise Failure("mimalloc.dll was not copied beside the programs")
        self.is_api(os.path.join(build, "api.exe"), True)
        self.is_api(os.path.join(build, "api_static.exe"), False)
        self.is_app(os.path.join(build, "app.exe"), self.APP)
        self.is_app(os.path.join(build, "app_cxx.exe"), self.APP_CXX)
        self.is_app(os.path.join(build, "app_override.exe"), self.APP, False)

    def case_older_versions_are_served(self):
        for version in ("2.0", "3.4.3 EXACT"):
            self.cmake("asks-" + version[0], self.project("asks-" + version[0], f"find_package(mimalloc {version} REQUIRED)\n"
                       "if(NOT mimalloc_VERSION VERSION_EQUAL 3.4.3 OR NOT mimalloc_PROJECT_VERSION MATCHES \"^0[.]\")\n"
                       "  message(FATAL_ERROR \"${mimalloc_VERSION}, ${mimalloc_PROJECT_VERSION}\")\nendif()\n"))

    def refused(self, name, text, reason, *arguments):
        _, done = self.cmake(name, self.project(name, text), *arguments, rc=None)
        if done.returncode == 0 or reason not in " ".join(done.stderr.split()):
            raise Failure(f"exit code {done.returncode}, {done.stderr}")

    def case_newer_version_is_refused(self):
        self.refused("newer", "find_package(mimalloc 99 REQUIRED)\n", "compatible with requested version")

    def case_other_width_is_refused(self):
        other = "set(CMAKE_SIZEOF_VOID_P 4)\n" if self.run([*self.cc, "-dumpmachine"]).stdout.startswith("x86_64") else "set(CMAKE_SIZEOF_VOID_P 8)\n"
        self.refused("width", other + "find_package(mimalloc REQUIRED)\n", "bytes)")

    def case_other_system_is_refused(self):
        self.refused("system", "set(CMAKE_SYSTEM_NAME Linux)\nfind_package(mimalloc REQUIRED)\n", "(for Windows)")

    def case_other_processor_is_refused(self):
        for name in ("ARM64", "aarch64", "riscv64"):
            self.refused(name, f"set(CMAKE_SYSTEM_PROCESSOR {name})\nfind_package(mimalloc REQUIRED)\n", "(for x86")
        self.refused("compiler", "set(CMAKE_C_COMPILER_ARCHITECTURE_ID ARM64)\nfind_package(mimalloc REQUIRED)\n", "(for x86")

    def case_names_of_the_processor_are_taken(self):
        # x86 is called AMD64, too, by CMake on 64-bit Windows.
        for name in ("AMD64", "x86_64", "x64", "i686", ""):
            self.cmake("cpu-" + name, self.project("cpu-" + name, f"set(CMAKE_SYSTEM_PROCESSOR \"{name}\")\nfind_package(mimalloc REQUIRED)\n"))

    def case_crt_and_our_names(self):
        text = f"find_package(mimalloc REQUIRED)\nadd_executable(both {self.example('api.c')})\ntarget_link_libraries(both mimalloc-crt mimalloc)\n"
        build, _ = self.cmake("both", self.project("both", text))
        self.run(["cmake", "--build", build, "-j", "1"])
        self.is_api(os.path.join(build, "both.exe"), True)

    def case_toolchain_file_that_looks_into_its_root_alone(self):
        # Two ways past CMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY, as docs/install.md has them.
        text, only = "find_package(mimalloc REQUIRED)\n", "-DCMAKE_FIND_ROOT_PATH_MODE_PACKAGE=ONLY"
        self.refused("only", text, "Could not find", only, "-DCMAKE_FIND_ROOT_PATH=" + self.path("nothing"))
        self.cmake("only-dir", self.project("only-dir", text), only, "-DCMAKE_FIND_ROOT_PATH=" + self.path("nothing"),
                   "-Dmimalloc_DIR=" + os.path.dirname(self.find("mimalloc-config.cmake")))
        self.cmake("only-root", self.project("only-root", text), only, "-DCMAKE_FIND_ROOT_PATH=" + self.path("nothing") + ";" + self.prefix)

    def case_found_twice(self):
        self.cmake("twice", self.project("twice", "find_package(mimalloc REQUIRED)\nfind_package(mimalloc REQUIRED)\n"))


if __name__ == "__main__":
    CMake(__doc__).main()
