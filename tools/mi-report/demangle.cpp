// The C++ runtime's own demangler.
#include <cstdlib>
#include <cxxabi.h>

extern "C" const char* demangle(const char* name);

extern "C" const char* demangle(const char* name) {
  if (name[0] != '_' || name[1] != 'Z') return name;
  int status;
  const char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  return readable != nullptr ? readable : name; // lives until the program ends
}
