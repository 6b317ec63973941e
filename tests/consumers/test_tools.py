#!/usr/bin/env python3
"""A user who can't rebuild the program, and one who looks for its leaks: mi-run, minject and the DLLs of the installed tree, and
programs that know nothing of mimalloc.
"""
import os
import shutil

from consumer import PE, Consumer, Failure, windows_path

LEAKING = """#include <stdlib.h>
#include <string.h>
static char* leaking_copy(const char* text) {
  char* copy = malloc(strlen(text) + 1);
  return strcpy(copy, text);
}
int main(int argc, char** argv) {
  size_t length = 0;
  for (int i = 0; i < 3; i++) length += strlen(leaking_copy(argc > 5 ? argv[5] : "never freed"));
  return length == 33 ? 0 : 1;
}
"""
MISUSING = """#include <stdlib.h>
int main(void) {
  char* volatile p = malloc(100);
  free(p);
  free(p);
  return 0;
}
"""


class Tools(Consumer):
    def prepare(self):
        super().prepare()
        self.plain = self.compile("plain.exe", self.cc, "-O1", self.example("app.c"))
        if "mimalloc.dll" in self.imports(self.plain):
            raise Failure("the program was to know nothing of mimalloc")

    def wine(self, program, *arguments, rc=0, **more):
        """Runs a Windows program, and returns what it said; nothing where only to inspect is possible."""
        if self.options.no_run:
            return None
        return self.run([*self.wrapper, program, *arguments], rc=rc, **more)

    def source(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def said(self, done, *words):
        for word in words if done is not None else ():
            if word not in done.stdout + done.stderr:
                raise Failure(f"'{word}' expected, got: {done.stdout} {done.stderr}")

    def case_mi_run(self):
        done = self.wine(self.find("mi-run.exe"), "--stats", windows_path(self.plain))
        self.said(done, self.APP, "malloc")

    def case_minject_and_back(self):
        folder = self.path("edited")
        os.mkdir(folder)
        program = shutil.copy(self.plain, folder)
        with open(program, "rb") as file:
            before = file.read()
        for _ in range(2):  # the backup of the first time is no obstacle to the second
            self.wine(self.find("minject.exe"), windows_path(program))
            if self.options.no_run:
                return
            if list(PE(program).imports())[0].lower() != "mimalloc.dll" or not os.path.exists(program + ".bak"):
                raise Failure(f"imports {list(PE(program).imports())}, beside it {os.listdir(folder)}")
            self.run_program(program, self.APP, True, env={"MIMALLOC_SHOW_STATS": "1"})
            self.wine(self.find("minject.exe"), "--remove", windows_path(program))
            with open(program, "rb") as file:
                if file.read() != before:
                    raise Failure("minject --remove left another program than there was")

    def case_leaks(self):
        program = self.compile("leaking.exe", self.cc, "-g", "-O0", self.source("leaking.c", LEAKING))
        done = self.wine(self.find("mi-run.exe"), "--leaks", windows_path(program), rc=None)
        self.said(done, "36 bytes in 3 blocks", "leaking_copy", "leaking.c:4")

    def case_secure_dll_in_the_others_place(self):
        """The same program, relinked, with the one DLL or the other beside it."""
        program = self.compile("misusing.exe", self.cc, "-O0", self.source("misusing.c", MISUSING),
                               "-L" + os.path.dirname(self.find("libmimalloc-crt.a")), "-lmimalloc-crt")
        secure = [os.path.join(folder, "mimalloc.dll") for folder, _, files in os.walk(self.prefix)
                  if os.path.basename(folder) == "secure" and "mimalloc.dll" in files]
        if len(secure) != 1:
            raise Failure(f"secure DLLs: {secure}")
        folder = self.path("secured")
        os.mkdir(folder)
        shutil.copy(program, folder)
        shutil.copy(secure[0], folder)
        done = self.wine(os.path.join(folder, "misusing.exe"), rc=None)
        self.said(done, "double free")
        if done is not None and done.returncode == 0:
            raise Failure("the program went on after a double free")


if __name__ == "__main__":
    Tools(__doc__).main()
