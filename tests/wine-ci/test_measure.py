#!/usr/bin/env python3
"""What wine-ci/programs/measure.py leaves out of its comparisons, and that it fails for a difference and for nothing else.
Prints a line per case and "N passed, N failed" at the end.
"""
import importlib.util
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("measure", HERE.parent.parent / "wine-ci/programs/measure.py")
measure = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(measure)

# As speedtest1 prints it: the times are aligned to the right.
STEP = " 100 - 30000 INSERTs into table with no index....................."
TOTAL = "       TOTAL......................................................."


def speedtest(step, total, hash="00ab"):
    return f"-- Speedtest1\r\n{STEP}{step:>9}\r\n{TOTAL}{total:>9}\r\nVerification Hash: {hash}\r\n".encode()


def fingerprint(text):
    program = next(p for p in measure.PROGRAMS if p.name == "speedtest1")
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        (here / "stdout").write_bytes(text)
        (here / "stderr").write_bytes(b"")
        return measure.fingerprint(program, here)


def case_slow_machine():
    quick = fingerprint(speedtest("0.012s", "1.234s"))
    for step, total in (("0.900s", "9.999s"), ("9.999s", "10.000s"), ("12.345s", "123.456s"), ("999.999s", "12345.678s")):
        assert fingerprint(speedtest(step, total)) == quick, f"times of {step} and {total} make a difference"


def case_difference():
    quick = fingerprint(speedtest("0.012s", "1.234s"))
    assert fingerprint(speedtest("0.012s", "1.234s", "00ac")) != quick, "another hash makes no difference"
    assert fingerprint(speedtest("0.012s", "1.234s").replace(b"30000", b"30001")) != quick, "another step makes no difference"


def case_no_times():
    try:
        fingerprint(b"nothing was timed\n")
    except measure.Failure:
        return
    raise AssertionError("output without times is taken")


def main():
    failed = 0
    cases = {name[5:]: case for name, case in globals().items() if name.startswith("case_")}
    for name, case in cases.items():
        try:
            case()
            print(f"ok     {name}")
        except AssertionError as error:
            failed += 1
            print(f"FAILED {name}: {error}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
