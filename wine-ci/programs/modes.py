#!/usr/bin/python3
"""Runs the demo's programs on mimalloc.dll plainly, with --profile at its default rate, and with --leaks; compares processor time.

usage: modes.py --out FOLDER (--wine WORD)... --build FOLDER --downloads FOLDER [--rounds N] [--only NAME]...
                [--mode MODE]... [--dll FILE]

As measure.py, whose programs and folders these are. The modes are asked for by the environment, as mi-run does it; a report is
written, and no text. In each round every program runs in every mode, each time in another order, so that a slow spell of
the machine hits all; standard output and files must be the same in all modes. What other processes of this machine do
to processor time is in "spread": where it is large, ratios of the rounds that took least say more than those of medians. --mode check is there, too, but slow (docs/diagnose.md);
--dll takes another mimalloc.dll.
"""
import argparse
import json
import pathlib
import shutil
import statistics
import sys

import measure
from measure import Failure

MODES = {
    "plain": {},
    "profile": {"MIMALLOC_PROFILE": "1"},
    "leaks": {"MIMALLOC_LEAKS": "1"},
    "check": {"MIMALLOC_CHECK": "1"},
}


def run(args, program, mode):
    """(seconds of processor time, peak RSS in KiB, recorded allocations, what came out)"""
    environment = dict(MODES[mode])
    if environment:
        environment.update(MIMALLOC_REPORT="report.json", MIMALLOC_REPORT_TEXT="0")
    (_, cpu, rss), here = measure.run_program(args, program, "mimalloc", environment)
    allocations = None
    if environment:  # of several commands, the last one's
        report = json.loads((here / "report.json").read_text(encoding="utf-8"))
        if report["totals"]["not_recorded"] and mode != "check":
            raise Failure(f"{mode}: {report['totals']['not_recorded']} blocks were not recorded")
        allocations = report["totals"]["allocations"]
    return cpu, rss, allocations, measure.fingerprint(program, here)


def measure_all(args, programs):
    results = {program.name: {mode: [] for mode in args.modes} for program in programs}
    outputs = {}
    for number in range(args.rounds):
        for program in programs:
            turn = number % len(args.modes)
            for mode in args.modes[turn:] + args.modes[:turn]:
                cpu, rss, allocations, output = run(args, program, mode)
                results[program.name][mode].append({"cpu": cpu, "rss": rss, "allocations": allocations})
                if outputs.setdefault(program.name, output) != output:
                    raise Failure(f"{program.name}: another output in mode {mode}: "
                                  + measure.outputs_that_differ(outputs[program.name], output))
                print(f"[{number + 1}/{args.rounds}] {program.name:11} {mode:8} {cpu:6.2f} s of processor time", flush=True)
    return results


def report(args, programs, results):
    rows = []
    for program in programs:
        runs = results[program.name]
        cpu = {mode: [one["cpu"] for one in runs[mode]] for mode in args.modes}
        median = {mode: statistics.median(cpu[mode]) for mode in args.modes}
        row = [program.name, f"{median['plain']:.2f}"]
        for mode in args.modes[1:]:
            rss = statistics.median(one["rss"] for one in runs[mode]) / 1024
            row += [f"{median[mode] / median['plain']:.3f}", f"{min(cpu[mode]) / min(cpu['plain']):.3f}", f"{rss:.1f}"]
        row.insert(2, f"{max((max(times) - min(times)) / statistics.median(times) for times in cpu.values()):.2f}")
        row.insert(3, f"{statistics.median(one['rss'] for one in runs['plain']) / 1024:.1f}")
        row.append(runs["leaks"][0]["allocations"] if "leaks" in runs else "-")
        rows.append(row)
    headings = ["program", "plain s", "spread", "plain MiB"]
    for mode in args.modes[1:]:
        headings += [f"{mode} x", "least x", "MiB"]
    print()
    measure.table(rows, [*headings, "allocations"])
    print(f"""
Medians of {args.rounds} rounds of processor time, and of peak RSS. x: times as much as plainly, by medians; least x: by the
rounds that took least, which other work on this machine has disturbed least. spread: (most - least) / median of one mode's rounds, the largest. allocations: of the last command.""")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("out", "build", "downloads"):
        parser.add_argument("--" + name, type=pathlib.Path, required=True)
    parser.add_argument("--wine", action="append", required=True, help="a word of the command that starts Wine")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=[p.name.split(",")[0] for p in measure.PROGRAMS])
    parser.add_argument("--mode", action="append", choices=list(MODES)[1:], dest="modes")
    parser.add_argument("--dll", type=pathlib.Path)
    args = parser.parse_args()
    args.out, args.build, args.downloads = (path.resolve() for path in (args.out, args.build, args.downloads))
    args.modes = ["plain", *(args.modes or ["profile", "leaks"])]
    programs = [p for p in measure.PROGRAMS if not args.only or p.name.split(",")[0] in args.only]
    measure.make_input(args.out / "input")
    if args.dll is not None:
        shutil.copy(args.dll, args.out / "mimalloc/mimalloc.dll")
    try:
        results = measure_all(args, programs)
    except Failure as failure:
        print(f"FAILED: {failure}")
        return 1
    report(args, programs, results)
    (args.out / "modes.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
