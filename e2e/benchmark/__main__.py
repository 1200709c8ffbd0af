"""Speed and memory beside Redis 7.0 and Valkey: the same load on each server in turn, several rounds, ratios.

usage: e2e/bench [SUBJECT]… [options]
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import time

from harness.process import Servers

from . import acks, commands, files, growth, latency, memory, peers, report, stalls, sync

SUBJECTS = {"commands": commands, "latency": latency, "memory": memory, "stalls": stalls, "files": files, "sync": sync,
            "growth": growth, "acks": acks}
# The others take long: they fill servers with data again and again.
USUAL = ("commands", "latency")


@dataclasses.dataclass
class Run:
    """What all subjects need."""

    servers: Servers
    programs: dict
    rounds: int
    seconds: float
    pipelines: tuple
    io_threads: int
    only: set
    millions: float


def facts():
    """The machine and the versions, as far as they matter to the figures."""
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cores": len(peers.CORES), "processor": model, "kernel": platform.release(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "load_average": os.getloadavg()[0]}


@contextlib.contextmanager
def prioritized(nice, realtime):
    """The processes started within the block have this priority."""
    if realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    os.nice(nice)
    # Where the kernel shares the processor between sessions first, a priority counts within one only.
    autogroup = pathlib.Path("/proc/self/autogroup")
    before = autogroup.read_text().split()[-1] if nice and autogroup.exists() else None
    if before is not None:
        autogroup.write_text(str(nice))
    try:
        yield
    finally:
        if before is not None:
            autogroup.write_text(before)


def main():
    parser = argparse.ArgumentParser(prog="e2e/bench", description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", choices=[*SUBJECTS, []],
                        help=f"{', '.join(SUBJECTS)} ({' '.join(USUAL)})")
    parser.add_argument("--rounds", type=int, default=5, help="how often each server has its turn (5)")
    parser.add_argument("--seconds", type=float, default=0.8, help="length of a turn at one command (0.8)")
    parser.add_argument("--pipelines", type=int, nargs="+", default=[1, 16, 100])
    parser.add_argument("--io-threads", type=int, default=2, help="measure commands with so many, too; 1: don't (2)")
    parser.add_argument("--only", nargs="+", default=[], help="parts of a subject, by the beginning of their names")
    parser.add_argument("--millions", type=float, default=1, help="of keys, for subjects about data (1)")
    parser.add_argument("--nice", type=int, default=0, help="priority; a negative one keeps others' work out, and needs root")
    parser.add_argument("--realtime", action="store_true", help="run before everything else on the machine; needs root")
    parser.add_argument("--json", type=pathlib.Path, help="write everything that was measured here")
    parser.add_argument("--plot", type=pathlib.Path, help="draw how costs grow here, as an SVG (with the subject growth)")
    arguments = parser.parse_args()
    begun, servers, rows = time.monotonic(), Servers(), []
    about = facts()
    print(json.dumps(about), flush=True)
    try:
        with prioritized(arguments.nice, arguments.realtime):
            run = Run(servers, peers.implementations(), arguments.rounds, arguments.seconds, tuple(arguments.pipelines),
                      arguments.io_threads, {part.lower() for part in arguments.only}, arguments.millions)
            for name in arguments.subjects or USUAL:
                for row in SUBJECTS[name].rows(run):
                    rows.append(row)
                    ratio = row.ratio()
                    print(f"[{time.monotonic() - begun:5.0f} s] {row.subject}: {row.name}: "
                          f"{'–' if ratio is None else f'{ratio:.2f}'} {row.note}", flush=True)
    finally:
        servers.close()
        if rows:
            print("\n" + "\n".join(report.table(rows)), flush=True)
            print("\n".join(acks.table(rows)), flush=True)
        if arguments.plot:
            growth.plot(rows, arguments.plot)
        if arguments.json:
            report.write_json(arguments.json, rows, about)


if __name__ == "__main__":
    main()
