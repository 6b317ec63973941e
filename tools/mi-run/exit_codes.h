// What mi-run returns when it can't return what the program returned. The numbers are those of env and nohup.
#ifndef MI_RUN_EXIT_CODES_H
#define MI_RUN_EXIT_CODES_H

enum {
  EXIT_DONE = 0,
  EXIT_OWN_ERROR = 125, // wrong use of mi-run, or an error that has nothing to do with program and DLL
  EXIT_CANNOT = 126,    // program, process or DLL is there, but it can't be done
  EXIT_NOT_FOUND = 127, // program, process or DLL is not there
};

#endif
