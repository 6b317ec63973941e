"""Runs a program with a time limit for it and for whatever it has started.

subprocess.run() ends one process when the time is up: a wrapper such as wine-ci/run-wine. The Windows program behind it, and the
one that mi-run has started, would go on, for ever if they spin. Here they are one process group, which is ended as a whole: when
the first of them ends (run-wine has a limit of its own), when the time is up, when this program is told to end (Meson's time
limit), and when it is interrupted. Wine's server and services have groups of their own.
"""
import os
import signal
import subprocess

_running = set()  # leaders of the groups that this program has started


def _end(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _children():
    """Of this program: one may have been started just now, and be in no list yet."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                        yield int(name)
            except OSError:
                pass  # it has ended


def _end_all(signal_number, frame):
    for child in _children():
        os.kill(child, signal.SIGKILL)  # which has no group of its own before it calls setsid
        _end(child)
    for group in list(_running):
        _end(group)
    if signal_number == signal.SIGINT:
        signal.default_int_handler(signal_number, frame)
    signal.signal(signal_number, signal.SIG_DFL)
    os.kill(os.getpid(), signal_number)


signal.signal(signal.SIGTERM, _end_all)
signal.signal(signal.SIGINT, _end_all)


def run(command, timeout, input=None, capture_output=False, then=None, **more):
    """As subprocess.run(), and raises subprocess.TimeoutExpired as that does. `then` is called when the command has ended and
    what it left still runs."""
    if input is not None:
        more["stdin"] = subprocess.PIPE
    if capture_output:
        more["stdout"] = more["stderr"] = subprocess.PIPE
    with subprocess.Popen(command, start_new_session=True, **more) as process:
        _running.add(process.pid)
        try:
            out, error = process.communicate(input, timeout)
            if then is not None:
                then()
        finally:
            _end(process.pid)
            _running.discard(process.pid)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)
