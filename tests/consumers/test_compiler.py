#!/usr/bin/env python3
"""A user who gives the compiler a folder or two, and one who lets pkg-config say them; with GCC, and with clang."""
import os
import re

from consumer import EXAMPLES, PE, Consumer, Failure


class Compiler(Consumer):
    def prepare(self):
        super().prepare()
        self.headers = "-I" + os.path.dirname(self.find("mimalloc.h"))
        self.libraries = "-L" + os.path.dirname(self.find("libmimalloc-static.a"))

    def case_dll_by_name(self):
        self.is_api(self.compile("dll.exe", self.cc, self.example("api.c"), self.headers, self.libraries, "-lmimalloc"), True)

    def case_static_by_name(self):
        self.is_api(self.compile("static.exe", self.cc, self.example("api.c"), self.headers, self.libraries,
                                 "-lmimalloc-static"), False)

    def case_secure_static_by_name(self):
        self.is_api(self.compile("secure.exe", self.cc, self.example("api.c"), self.headers, self.libraries,
                                 "-lmimalloc-secure-static"), False)

    def case_static_flag_does_not_mix_them_up(self):
        # With -static the linker looks for archives only, and there is none of that name: an error, not another library.
        done = self.run([*self.cc, "-static", self.example("api.c"), self.headers, self.libraries, "-lmimalloc", "-o",
                         self.path("mixed.exe")], rc=None)
        if done.returncode == 0:
            if "mimalloc.dll" not in self.imports(self.path("mixed.exe")):
                raise Failure("-lmimalloc linked a static library")
        elif "cannot find -lmimalloc" not in done.stderr:
            raise Failure(f"unexpected: {done.stderr}")

    def case_crt_by_name(self):
        self.is_app(self.compile("crt.exe", self.cc, self.example("app.c"), self.libraries, "-lmimalloc-crt"), self.APP)

    def case_crt_by_name_cxx(self):
        path = self.compile("crtxx.exe", self.cxx, "-static", self.example("app.cpp"), self.libraries, "-lmimalloc-crt")
        needed = set(self.imports(path)) - {"mimalloc.dll", "kernel32.dll"}
        is_ucrt = "msvcrt.dll" not in needed
        runtime = {dll for dll in needed if dll.startswith("api-ms-win-crt-")} if is_ucrt else {"msvcrt.dll"}
        if not runtime or needed != runtime:  # one of the two, not a mixture
            raise Failure(f"needs no C runtime, or more DLLs: {needed}")
        self.is_app(path, self.APP_CXX)

    def case_override_by_name(self):
        self.is_app(self.compile("override.exe", self.cc, self.example("app.c"), self.libraries, "-lmimalloc-override"), self.APP, False)

    def case_override_by_name_cxx(self):
        path = self.compile("overridexx.exe", self.cxx, "-static", self.example("app.cpp"), self.libraries, "-lmimalloc-override")
        self.is_app(path, self.APP_CXX, False)

    def case_pkg_config_override(self):
        self.is_app(self.compile("pcoverride.exe", self.cc, self.example("app.c"), *self.pkg_config("--libs", "mimalloc-override")),
                    self.APP, False)

    def case_pkg_config_dll(self):
        self.is_api(self.compile("pcdll.exe", self.cc, self.example("api.c"),
                                 *self.pkg_config("--cflags", "--libs", "mimalloc >= 3.4")), True)

    def case_pkg_config_static(self):
        self.is_api(self.compile("pcstatic.exe", self.cc, self.example("api.c"),
                                 *self.pkg_config("--cflags", "--libs", "mimalloc-static")), False)

    def case_pkg_config_crt(self):
        self.is_app(self.compile("pccrt.exe", self.cc, self.example("app.c"), *self.pkg_config("--libs", "mimalloc-crt")), self.APP)

    def case_pkg_config_crt_cxx(self):
        self.is_app(self.compile("pccrtxx.exe", self.cxx, "-static", self.example("app.cpp"),
                                 *self.pkg_config("--libs", "mimalloc-crt")), self.APP_CXX)

    def case_pkg_config_versions(self):
        api = self.pkg_config("--modversion", "mimalloc")
        with open(self.find("mimalloc.h"), encoding="utf-8") as file:
            number = next(line.split()[2] for line in file if line.startswith("#define MI_MALLOC_VERSION "))
        if api != [f"{int(number) // 10000}.{int(number) // 100 % 100}.{int(number) % 100}"]:
            raise Failure(f"pkg-config says {api}, mimalloc.h {number}")
        if not self.pkg_config("--variable=project_version", "mimalloc")[0].startswith("0."):
            raise Failure("no version of the project's own")

    def case_clang_api(self):
        for name in ("mimalloc", "mimalloc-static"):
            path = self.compile(f"clang-{name}.exe", self.clang("clang"), self.example("api.c"), *self.pkg_config("--cflags", "--libs", name))
            self.is_api(path, name == "mimalloc")

    def case_clang_crt(self):
        self.is_app(self.compile("clangcrt.exe", self.clang("clang"), self.example("app.c"),
                                 *self.pkg_config("--libs", "mimalloc-crt")), self.APP)

    def case_clang_override(self):
        self.is_app(self.compile("clangoverride.exe", self.clang("clang"), "-fuse-ld=lld", self.example("app.c"),
                                 *self.pkg_config("--libs", "mimalloc-override")), self.APP, False)

    def case_clang_crt_cxx(self):
        self.is_app(self.compile("clangcrtxx.exe", self.clang("clang++"), "-static", "-pthread", self.example("app.cpp"),
                                 *self.pkg_config("--libs", "mimalloc-crt")), self.APP_CXX)

    def case_files(self):
        # What packagers ask for, and nothing twice.
        kind = ".html" if self.options.prefix else ".md"
        for name in ("LICENSE", "README" + kind, "CHANGELOG" + kind, "design" + kind, "mi-run.exe", "minject.exe", "mimalloc.dll"):
            self.find(name)
        imports = [file for _, _, files in os.walk(self.prefix) for file in files if file.endswith(".dll.a")]
        if imports != ["libmimalloc.dll.a"]:
            raise Failure(f"import libraries: {imports}")

    def case_links_of_documents(self):
        # Of an archive's pages, test_release.py looks at them.
        documents = [os.path.join(folder, name) for folder, _, files in os.walk(self.prefix) for name in files if name.endswith(".md")]
        if not documents and not self.options.prefix:
            raise Failure("no documents")
        dead = []
        for path in documents:
            with open(path, encoding="utf-8") as file:
                links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", file.read())
            dead += [f"{os.path.basename(path)}: {link}" for link in links if not os.path.exists(os.path.join(os.path.dirname(path), link))]
        if dead:
            raise Failure(f"links that lead nowhere: {dead}")

    def case_version_resources(self):
        follow = "mi-follow32.dll" if self.run([*self.cc, "-dumpmachine"]).stdout.startswith("i686") else "mi-follow64.dll"
        for name in ("mimalloc.dll", "mi-run.exe", "mi-report.exe", "minject.exe", follow):
            strings = PE(self.find(name)).version_strings()
            if strings.get("OriginalFilename") != name or not strings.get("CompanyName") or not strings.get("FileVersion"):
                raise Failure(f"{name}: {strings}")

    def case_examples_are_all_tried(self):
        # Who adds one adds a consumer of it.
        known = {"api.c", "app.c", "app.cpp", "CMakeLists.txt", "meson.build",
                 "heap_resource.hpp", "words.cpp"}  # the last two: tests/api
        unknown = set(os.listdir(EXAMPLES)) - known
        if unknown:
            raise Failure(f"no consumer's test builds {unknown}")


if __name__ == "__main__":
    Compiler(__doc__).main()
