#!/usr/bin/env python3
"""limited_run.py: whoever ends the run, and however, nothing that the program has started goes on."""
import os
import signal
import subprocess
import sys
import tempfile
import time

from limited_run import run

# Like run-wine with mi-run behind it: a shell, a program, and one that no longer is that one's child. It reads for ever.
TREE = "(trap '' TERM; cat /dev/zero > /dev/null & echo $!) ; cat /dev/zero > /dev/null & echo $!; echo $$; wait"
LIMIT = 100  # for what should come at once


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids):
    """A killed process may need a moment: the system's."""
    end = time.monotonic() + LIMIT
    while any(map(is_there, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    return not any(map(is_there, pids))


def check(is_so, what):
    print(f"{'ok' if is_so else 'not ok'} - {what}", flush=True)
    return is_so


def numbers(text):
    return [int(word) for word in text.split()]


def time_is_up():
    try:
        run(["sh", "-c", TREE], timeout=0.5, capture_output=True, text=True)
    except subprocess.TimeoutExpired as late:
        pids = numbers(late.output.decode())
        return check(len(pids) == 3 and gone(pids), f"the time is up: {pids} are gone")
    return check(False, "no limit")


def it_ends():
    with tempfile.TemporaryFile("w+") as said:  # a pipe would be waited for until all have closed it
        run(["sh", "-c", TREE.removesuffix("wait") + "exit 124"], timeout=LIMIT, stdout=said)
        said.seek(0)
        pids = numbers(said.read())
    return check(len(pids) == 3 and gone(pids), f"it ends by itself: {pids} are gone")


def told_to_end(number):
    """This file once more, as the test that Meson ends, while it waits and while it starts the program."""
    results = []
    for moment in ("wait", "start"):
        with subprocess.Popen([sys.executable, __file__, moment], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            pids = [int(child.stdout.readline()) for _ in range(3)]
            was_there = all(map(is_there, pids))
            child.send_signal(number)
            try:
                child.wait(LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
            results.append(check(was_there and gone(pids), f"signal {number}, {moment}: {pids} are gone"))
            for pid in filter(is_there, pids):
                os.kill(pid, signal.SIGKILL)
    return all(results)


def passes_through():
    done = run(["sh", "-c", "cat; echo error >&2; exit 7"], timeout=LIMIT, input="sent", capture_output=True, text=True)
    return check((done.returncode, done.stdout, done.stderr) == (7, "sent", "error\n"), "streams and exit code pass through")


def not_back(*given, really=subprocess.Popen._execute_child):
    """What Popen() does last. In short steps: a signal that comes right before a sleep begins is seen when that has ended."""
    really(*given)
    while True:
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1:] == ["start"]:
        subprocess.Popen._execute_child = not_back
    if sys.argv[1:]:
        run(["sh", "-c", TREE], timeout=10 * LIMIT)
    results = [passes_through(), it_ends(), time_is_up(), told_to_end(signal.SIGTERM), told_to_end(signal.SIGINT)]
    sys.exit(0 if all(results) else 1)
