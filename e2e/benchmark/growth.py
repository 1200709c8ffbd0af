"""How the cost of a command grows: with the number of keys, of clients, and with the length of values."""

from __future__ import annotations

import pathlib
import resource
import statistics

from . import load
from .commands import CLIENTS
from .peers import OURS, REDIS, VALKEY, Peers, rotations
from .report import Row

VALUE = "{v:64}"
KEYS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
CONNECTIONS = (1, 10, 100, 1_000, 10_000)
LENGTHS = (16, 256, 4_096, 65_536, 1_048_576)
# All values of one length together are no longer than this, bytes.
VALUES_TOTAL = 64 << 20
COMMANDS = ("GET", "SET")
COLOURS = {OURS: "#c0392b", REDIS: "#7f8c8d", VALKEY: "#2980b9"}


def rows(run):
    """By series: keys, clients, bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    series = {"keys": _by_keys, "clients": _by_clients, "bytes": _by_bytes}
    try:
        for name, part in series.items():
            if not run.only or name in run.only:
                peers = Peers(run.servers, run.programs, {"save": "", "appendonly": "no"})
                try:
                    yield from part(run, peers)
                finally:
                    peers.stop()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _by_keys(run, peers):
    for keys in KEYS:
        if keys > run.millions * 1e6:
            return
        for server in peers.by_name.values():
            load.fill(server, (f"SET key:{{i}} {VALUE}",), keys)
        yield from _measure(run, peers, f"{keys:,} keys", keys, CLIENTS, VALUE)


def _by_clients(run, peers):
    keys = 100_000
    for server in peers.by_name.values():
        load.fill(server, (f"SET key:{{i}} {VALUE}",), keys)
    for clients in CONNECTIONS:
        yield from _measure(run, peers, f"{clients:,} clients", keys, clients, VALUE)


def _by_bytes(run, peers):
    for length in LENGTHS:
        keys, value = min(100_000, VALUES_TOTAL // length), f"{{v:{length}}}"
        for server in peers.by_name.values():
            load.fill(server, (f"SET key:{{i}} {value}",), keys, pipeline=max(1, min(100, 65_536 // length)))
        yield from _measure(run, peers, f"{length:,} bytes", keys, CLIENTS, value)


def _measure(run, peers, what, keys, clients, value):
    for command in COMMANDS:
        words = (f"{command} key:{{r}}" + (f" {value}" if command == "SET" else ""),)
        rate, cpu = ({name: [] for name in peers.by_name} for _ in range(2))
        for order in rotations(peers.by_name, run.rounds):
            for name in order:
                result = load.run("closed", peers.by_name[name], words, pinned=peers.pinned, clients=clients, keys=keys,
                                  seconds=run.seconds, warmup=run.seconds / 4)
                rate[name].append(result["rate"])
                cpu[name].append(result["cpu_us_per_op"])
        yield Row("growth", f"{command}, {what}", "/s", rate, True, cpu=cpu)


def plot(rows, path: pathlib.Path):
    """Processor time of a command over what grows, one panel for each series, as an SVG."""
    # Only here is it needed.
    from matplotlib.figure import Figure

    found = [row for row in rows if row.subject == "growth"]
    series = [name for name in ("keys", "clients", "bytes") if any(row.name.endswith(f" {name}") for row in found)]
    figure = Figure(figsize=(3.7 * len(series), 3.6), layout="constrained")
    panels = figure.subplots(1, len(series), squeeze=False)[0]
    for panel, name in zip(panels, series, strict=True):
        for server, colour in COLOURS.items():
            for command, style in zip(COMMANDS, ("-", "--"), strict=True):
                of_it = [row for row in found if row.name.startswith(f"{command},") and row.name.endswith(f" {name}")]
                xs = [int(row.name.split()[1].replace(",", "")) for row in of_it]
                ys = [statistics.median(row.cpu[server]) for row in of_it]
                panel.plot(xs, ys, style, color=colour, marker=".", label=f"{command}, {server}")
        panel.set(xscale="log", yscale="log", xlabel="bytes of a value" if name == "bytes" else name)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("processor time of a command, µs")
    panels[0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})
