// What mi-run and mi-follow.dll agree on.
//
// mi-run puts mi-follow.dll into the import directory that it makes, behind mimalloc.dll, and behind the
// DLL's name there a note: the command line that brings both DLLs into another process, as UTF-16 with a NUL,
// up to the number of that process. In the directory, since no environment of a program's making can lose it
// there.
#ifndef MI_RUN_FOLLOW_H
#define MI_RUN_FOLLOW_H

#define FOLLOW_SYMBOL "mi_follow" // its only export

// Its name tells the number of bits, so that both can lie in one folder.
#if defined(_WIN64)
#define FOLLOW_DLL L"mi-follow64.dll"
#else
#define FOLLOW_DLL L"mi-follow32.dll"
#endif

#endif
