#!/usr/bin/env python3
"""A user of Meson with mimalloc's sources under subprojects/, and a packager who installs it under another name."""
import json
import os
import shutil

from consumer import EXAMPLES, ROOT, Consumer, Failure

# All of the tree but what is made in it, and its examples, which would be projects in a project.
SOURCES = [name for name in os.listdir(ROOT) if not name.startswith((".", "build")) and name != "examples"]


class Subproject(Consumer):
    def cross_file(self):
        """What a user writes: compilers, and nothing of this project."""
        machine = self.run([*self.cc, "-dumpmachine"]).stdout.strip()
        cpu = machine.split("-")[0]
        path = self.path("cross.ini")
        with open(path, "w", encoding="utf-8") as file:
            file.write("[binaries]\n" + "".join(f"{key} = {value!r}\n" for key, value in (
                ("c", self.cc), ("cpp", self.cxx), ("ar", machine + "-ar"), ("strip", machine + "-strip"),
                ("windres", machine + "-windres"), ("pkgconfig", "pkg-config")))
                + "[properties]\nneeds_exe_wrapper = true\nskip_sanity_check = true\n"
                + f"[host_machine]\nsystem = 'windows'\ncpu_family = {'x86_64' if cpu == 'x86_64' else 'x86'!r}\ncpu = {cpu!r}\n"
                + "endian = 'little'\n")
        return path

    def source(self, name):
        folder = self.path(name)
        shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("build*", "subprojects"))
        return folder

    def check(self, build):
        self.is_api(os.path.join(build, "api.exe"), True)
        self.is_api(os.path.join(build, "api-static.exe"), False)
        self.is_app(os.path.join(build, "app.exe"), self.APP)
        self.is_app(os.path.join(build, "app-cxx.exe"), self.APP_CXX)

    def case_dependency_by_pkg_config(self):
        source, build = self.source("installed"), self.path("installed-build")
        self.run(["meson", "setup", build, source, "--cross-file", self.cross_file(),
                  "-Dpkg_config_path=" + os.path.dirname(self.find("mimalloc.pc"))])
        self.run(["ninja", "-C", build, "-j1"])
        self.check(build)

    def case_dependency_by_fallback(self):
        source, build = self.source("fallback"), self.path("fallback-build")
        inner = os.path.join(source, "subprojects", "mimalloc")
        os.makedirs(inner)
        for name in SOURCES:
            os.symlink(os.path.join(ROOT, name), os.path.join(inner, name))
        # A user with warnings as errors, and with link-time optimisation. No pkg-config file is to be found.
        self.run(["meson", "setup", build, source, "--cross-file", self.cross_file(), "-Db_lto=true", "-Dwerror=true"],
                 env={"PKG_CONFIG_LIBDIR": self.folder, "PKG_CONFIG_PATH": ""})
        options = json.loads(self.run(["meson", "introspect", "--buildoptions", build]).stdout)
        werror = [option["value"] for option in options if option["name"] in ("werror", "mimalloc:werror")]
        targets = json.loads(self.run(["meson", "introspect", "--targets", build]).stdout)
        extra = [target["name"] for target in targets if target["name"] in ("mi-run", "minject", "stress-dll", "unit-page", "bench-workloads")]
        if extra:
            raise Failure(f"a subproject builds {extra}")
        if not any(werror):
            raise Failure("the case is to be tried with werror=true")
        self.run(["ninja", "-C", build, "-j1"])
        dll = os.path.join(build, "subprojects", "mimalloc", "dll", "mimalloc.dll")
        self.find_dll = dll
        self.check(build)

    def case_another_package_name(self):
        """Installed beside an upstream mimalloc, no file has a name of the other's; programs still find it."""
        if self.options.prefix:
            return
        plans = {}
        for name in ("mimalloc", "mimalloc-dll"):
            build = self.path("plan-" + name)
            self.run(["meson", "setup", build, ROOT, "--cross-file", self.cross_file(), "-Dtests=disabled", "-Dpackage_name=" + name])
            plan = json.loads(self.run(["meson", "introspect", "--install-plan", build]).stdout)
            plans[name] = {entry["destination"] for section in plan.values() for entry in section.values()
                           if entry.get("tag") != "tools"}
            with open(os.path.join(build, "meson-private", name + ".pc"), encoding="utf-8") as file:
                flags = next(line for line in file if line.startswith("Cflags:")).split()[1:]
            if flags != ["-I${includedir}" + ("" if name == "mimalloc" else "/" + name), "-I${headers}"]:
                raise Failure(f"{name}.pc: {flags}")
        both = {path for path in plans["mimalloc"] & plans["mimalloc-dll"]}
        if both:
            raise Failure(f"the same under both names: {sorted(both)}")
        if not any(path.endswith("pkgconfig/mimalloc-dll-crt.pc") for path in plans["mimalloc-dll"]):
            raise Failure(f"no file for pkg-config under the other name: {sorted(plans['mimalloc-dll'])}")

    def case_libdir_by_width(self):
        """CMake looks for Windows libraries into lib alone, whatever libdir is: the file there must lead to libdir."""
        if self.options.prefix:
            return
        build = self.path("plan-lib32")
        self.run(["meson", "setup", build, ROOT, "--cross-file", self.cross_file(), "-Dtests=disabled", "--libdir", "lib32"])
        prefix = self.path("widths")
        plan = json.loads(self.run(["meson", "introspect", "--install-plan", build]).stdout)
        for source, entry in plan["configure"].items():
            target = os.path.join(prefix, entry["destination"].removeprefix("{prefix}/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(source, target)
        found = os.listdir(os.path.join(prefix, "lib", "cmake"))
        with open(os.path.join(prefix, "lib", "cmake", found[0], "mimalloc-config.cmake"), encoding="utf-8") as file:
            text = file.read()
        if found != ["mimalloc-lib32"] or "lib32" not in text or "${CMAKE_CURRENT_LIST_DIR}/../../.." not in text:
            raise Failure(f"{found}: {text}")


if __name__ == "__main__":
    Subproject(__doc__).main()
