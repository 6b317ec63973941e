// Kills threads in the middle of the code under test, and nowhere else. Windows only.
#ifndef TESTS_SUPPORT_TERMINATE_H
#define TESTS_SUPPORT_TERMINATE_H

#include <stdbool.h>
#include <stddef.h>

#include <windows.h>

// Ends the thread by TerminateThread at a moment when it runs code of the program or of mimalloc.dll, and
// waits until it is gone. False when no such moment came within a million looks, or a call failed:
// GetLastError tells which.
//
// A thread that is killed inside a call of the system's may take a lock of Wine's along (Windows is in the
// kernel then). Measured with Wine 8 and no allocator at all: threads that only commit and decommit memory,
// or only open and close handles, hang their process within the first 20 kills, the next thread creation
// waiting for ntdll's own mutex. Threads that only compute or yield were killed 600 times, and threads killed
// by this function while they did all of that 600 times, without a hang.
bool test_terminate_in_code(HANDLE thread, DWORD code);

#endif
