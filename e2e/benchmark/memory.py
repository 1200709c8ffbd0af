"""Memory per key by shape, and how much more a snapshot takes while every key is written."""

from __future__ import annotations

import threading
import time

from .dataset import SHAPES, Row, Running, Server, fill, for_table, running, string16


def per_key(server: Server, shape: str, keys: int) -> Row:
    """Resident bytes per key."""
    with running(server) as r:
        before = r.rss()
        fill(r, SHAPES[shape], 0, keys)
        with r.client() as c:
            if c.call("DBSIZE") != keys:
                raise RuntimeError("keys are missing")
        return Row(f"{shape}, {keys:,} keys", server.name, (r.rss() - before) / keys, "B/key")


class Writer(threading.Thread):
    """Overwrites keys as fast as it can until it is stopped."""

    def __init__(self, server: Running, keys: int):
        super().__init__(daemon=True)
        self.server, self.keys, self.stopped = server, keys, threading.Event()

    def run(self) -> None:
        at = 0
        while not self.stopped.is_set():
            fill(self.server, string16, at, min(5000, self.keys - at))
            at = (at + 5000) % self.keys


def during_snapshot(server: Server, command: str, keys: int) -> Row:
    """How much the memory grows during a snapshot under full write load, percent."""
    rewrite = command == "BGREWRITEAOF"
    with running(server, appendonly="yes" if rewrite else "no", auto_aof_rewrite_percentage="0") as r:
        fill(r, string16, 0, keys)
        writer = Writer(r, keys)
        writer.start()
        time.sleep(1)
        before = most = r.rss()
        with r.client() as c:
            field = "aof_rewrite_in_progress" if rewrite else "rdb_bgsave_in_progress"
            c.call(command)
            while c.info("persistence")[field] == "1":
                most = max(most, r.rss())
                time.sleep(0.02)
        writer.stopped.set()
        writer.join()
        return Row(f"{command} of {keys:,} keys under writes", server.name, (most / before - 1) * 100, "% more")


def measure(servers: list[Server], keys: int) -> list[Row]:
    """All cases, each with all servers in turn."""
    rows = [per_key(s, shape, keys) for shape in SHAPES for s in servers]
    return rows + [during_snapshot(s, c, keys) for c in ("BGSAVE", "BGREWRITEAOF") for s in servers]


def rows(run) -> list:
    """For the benchmark's table. That extra memory is to be at most 5 % is no ratio."""
    return for_table(run, "memory", measure, lambda case: 0.85 if "under writes" not in case else None)
