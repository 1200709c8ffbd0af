"""Latency under a fixed load: half of the better peer's peak rate, requests that leave on time whatever the server does."""

import time

from . import load
from .commands import CLIENTS, KEYS, STRINGS, VALUE
from .peers import PEERS, Peers, rotations
from .report import Row

GOAL = 0.8
CASES = {"GET": ("GET key:{r}",), "SET": (f"SET key:{{r}} {VALUE}",)}
RATE_ROUNDS = 3
# The kernel keeps a part of each second from processes with real-time priority: a turn is over before that, and the
# next begins in another second.
TURN = {"seconds": 0.6, "warmup": 0.15}
PAUSE_S = 0.6


def rows(run):
    """p99.9 and the median, by command."""
    peers = Peers(run.servers, run.programs)
    try:
        for server in peers.by_name.values():
            load.fill(server, *STRINGS)
        for name, commands in CASES.items():
            yield from _case(run, peers, name, commands)
    finally:
        peers.stop()


def _case(run, peers, name, commands):
    common = {"pinned": peers.pinned, "clients": CLIENTS, "keys": KEYS}
    peak = max(load.run("closed", peers.by_name[peer], commands, **TURN, **common)["rate"]
               for _ in range(RATE_ROUNDS) for peer in PEERS)
    rate = round(peak / 2)
    tail, median = ({server: [] for server in peers.by_name} for _ in range(2))
    for order in rotations(peers.by_name, run.rounds):
        for server in order:
            time.sleep(PAUSE_S)
            result = load.run("open", peers.by_name[server], commands, rate=rate, **TURN, **common)
            tail[server].append(result["p999_us"])
            median[server].append(result["p50_us"])
    yield Row("latency", f"{name} p99.9 at {rate}/s", "µs", tail, False, GOAL)
    yield Row("latency", f"{name} p50 at {rate}/s", "µs", median, False)
