"""Figures of the tests on the cluster: one JSON object per line in the file $RRS_RESULTS, and a table of them."""

import json
import os
import pathlib
import statistics
import time

DEFAULT = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "redis-replicaset-operator"


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


def table(measurements):
    """Lines of a table: median and largest write outage, writes lost, for each fault and kind of instance."""
    groups = {}
    for one in measurements:
        groups.setdefault((one["what"], one.get("kind", "")), []).append(one)
    lines = [f"{'what':34} {'instance':14} {'runs':>4} {'outage s (median, max)':>24} {'acknowledged':>12} {'lost':>5}"
             f" {'seconds':>8}"]
    for (what, kind), runs in sorted(groups.items()):
        outages = [run["outage_s"] for run in runs if run.get("outage_s") is not None]
        outage = f"{statistics.median(outages):.2f}, {max(outages):.2f}" if outages else "–"
        spans = [run["seconds"] for run in runs if run.get("seconds") is not None]
        span = f"{statistics.median(spans):.1f}" if spans else "–"
        lines.append(f"{what:34} {kind:14} {len(runs):4} {outage:>24} {sum(run.get('acknowledged', 0) for run in runs):12}"
                     f" {sum(run.get('lost', 0) for run in runs):5} {span:>8}")
    return lines
