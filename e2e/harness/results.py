"""Figures of the faults: one JSON object per line in the file $RRS_RESULTS, and a table of them with the goals."""

import dataclasses
import json
import math
import os
import pathlib
import statistics
import time

DEFAULT = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "redis-replicaset-operator"
OURS, PEER = "ours", "redis"
NO_GOALS = {PEER, "sentinels: 0"}


@dataclasses.dataclass(frozen=True)
class Goal:
    """Of a fault's write outage, in seconds. Beside it nothing acknowledged may be lost, nor accepted by an old master once the
    new one has accepted a write."""

    p50_s: float
    p99_s: float
    planned: bool = False  # no error either that a client would not try again after
    beyond_load: bool = False  # what counts is the outage less the time that loading took

    def __str__(self):
        return f"{self.p50_s:g}, {self.p99_s:g}" if not self.beyond_load else f"load + {self.p99_s:g}"

    def met(self, runs):
        spans = [run["outage_s"] - (run.get("load_s", 0) if self.beyond_load else 0) for run in runs]
        clean = not any(run.get("lost", 0) + run.get("late", 0) for run in runs)
        errors = self.planned and any(run.get("uncovered", 0) for run in runs)
        return clean and not errors and percentile(spans, 50) <= self.p50_s and percentile(spans, 99) <= self.p99_s


PLANNED, DEAD, SILENT = Goal(0.02, 0.1, planned=True), Goal(0.3, 0.6), Goal(1.6, 2.5)
GOALS = {
    "switchover": PLANNED, "SIGTERM": PLANNED, "pod deleted": PLANNED,
    "process killed": DEAD, "pod deleted by force": DEAD, "volume emptied, process killed": DEAD,
    "process frozen": SILENT, "cut off": SILENT,
    "node frozen": Goal(1.6, 3.0), "node cut off": Goal(1.6, 3.0),
    "all processes killed": Goal(2.0, 2.0, beyond_load=True),
}


def path():
    return pathlib.Path(os.environ.get("RRS_RESULTS", DEFAULT / "results.jsonl"))


def record(what, **figures):
    """Appends one measurement: `what` was done to which `kind` of instance, and the figures."""
    path().parent.mkdir(parents=True, exist_ok=True)
    with open(path(), "a") as file:
        file.write(json.dumps({"at": round(time.time(), 1), "what": what, **figures}) + "\n")


def read(since=0.0):
    if not path().exists():
        return []
    with open(path()) as file:
        return [one for one in map(json.loads, file) if one["at"] >= since]


def percentile(values, percent):
    """By nearest rank: one of the values, such that so many percent of them are not above it. The median of an even number is
    the mean of the middle two."""
    if percent == 50:
        return statistics.median(values)
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


HEAD = (f"{'what':30} {'instance':12} {'runs':>4} {'p50 s':>7} {'p99 s':>7} {'longest':>7} {'load s':>6} {'ratio':>6} {'goal':>9}"
        f" {'met':>3} {'acknowledged':>12} {'lost':>5} {'late':>5} {'errors':>6} {'seconds':>8}")
NOTES = ("outage: longest time between two acknowledged writes; ratio: the peer's p50 by this one's; late: accepted by the old master",
         "after the new one's first; errors: those that a retry of READONLY, MOVED or a lost connection does not cover")


def table(measurements):
    """Lines of a table, one for each fault and kind of instance."""
    groups = {}
    for one in measurements:
        groups.setdefault((one["what"], one.get("kind", "")), []).append(one)
    outages = {key: [run["outage_s"] for run in runs if run.get("outage_s") is not None] for key, runs in groups.items()}
    lines = [HEAD]
    for (what, kind), runs in sorted(groups.items()):
        own, peer = outages[what, kind], outages.get((what, PEER))
        spread = [f"{value:.3f}" for value in (percentile(own, 50), percentile(own, 99), max(own))] if own else ["–"] * 3
        ratio = f"{percentile(peer, 50) / percentile(own, 50):.1f}" if own and peer and kind != PEER else "–"
        goal = GOALS.get(what) if own and kind not in NO_GOALS else None
        if goal and goal.beyond_load and not all("load_s" in run for run in runs):
            goal = None
        met = ("yes" if goal.met(runs) else "NO") if goal else "–"
        middle = {field: f"{statistics.median(found):.1f}" if (found := [run[field] for run in runs if run.get(field) is not None])
                  else "–" for field in ("load_s", "seconds")}
        total = {field: sum(run.get(field, 0) for run in runs) for field in ("acknowledged", "lost", "late", "uncovered")}
        lines.append(f"{what:30} {kind:12} {len(runs):4} {spread[0]:>7} {spread[1]:>7} {spread[2]:>7} {middle['load_s']:>6} {ratio:>6}"
                     f" {str(goal or '–'):>9} {met:>3} {total['acknowledged']:12} {total['lost']:5} {total['late']:5}"
                     f" {total['uncovered']:6} {middle['seconds']:>8}")
    return [*lines, *NOTES]
