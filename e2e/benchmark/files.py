"""Seconds per million keys: writing an RDB file, reading one, reading an append-only file of commands.

Each is given as time elapsed and as CPU time of the server with its children: on a machine that does other things as
well only the latter can be compared.
"""

from __future__ import annotations

import time

from .dataset import CPU, SHAPES, Row, Running, Server, fill, for_table, running


class Took:
    """Elapsed and CPU seconds."""

    def __init__(self, r: Running, fresh: bool = False):
        self.start, self.cpu = time.monotonic(), 0.0 if fresh else r.cpu()

    def rows(self, case: str, r: Running, keys: int, less: tuple[float, float] = (0, 0)) -> list[Row]:
        """What it took up to now."""
        elapsed, cpu = self.taken(r)
        per_million = 1_000_000 / keys
        return [
            Row(case, r.server.name, (elapsed - less[0]) * per_million, "s/M keys"),
            Row(case + CPU, r.server.name, (cpu - less[1]) * per_million, "s/M keys"),
        ]

    def taken(self, r: Running) -> tuple[float, float]:
        """What it took up to now, elapsed and CPU seconds."""
        return time.monotonic() - self.start, r.cpu() - self.cpu


def reload(r: Running, **directives: str) -> Took:
    """Stops a server and starts it again on its files, until it answers."""
    r.stop()
    took = Took(r, fresh=True)
    r.__init__(r.server, r.dir, **directives)
    return took


def rdb(server: Server, shape: str, keys: int) -> list[Row]:
    """`SAVE`, a background save without other load, and a start from the file."""
    with running(server) as r:
        empty = reload(r).taken(r)
        fill(r, SHAPES[shape], 0, keys)
        with r.client() as c:
            took = Took(r)
            c.call("SAVE")
            rows = took.rows(f"SAVE, {shape}", r, keys)
            took = Took(r)
            c.call("BGSAVE")
            while c.info("persistence")["rdb_bgsave_in_progress"] != "0":
                time.sleep(0.005)
            rows += took.rows(f"BGSAVE, {shape}", r, keys)
        rows += reload(r).rows(f"RDB load, {shape}", r, keys, empty)
        expect(r, keys)
    return rows


def aof(server: Server, shape: str, keys: int) -> list[Row]:
    """A start from an append-only file of the commands that made the keys."""
    directives = {"appendonly": "yes", "auto_aof_rewrite_percentage": "0", "appendfsync": "no"}
    with running(server, **directives) as r:
        empty = reload(r, **directives).taken(r)
        fill(r, SHAPES[shape], 0, keys)
        rows = reload(r, **directives).rows(f"AOF load, {shape}", r, keys, empty)
        expect(r, keys)
    return rows


def expect(r: Running, keys: int) -> None:
    """All keys are there."""
    with r.client() as c:
        if c.call("DBSIZE") != keys:
            raise RuntimeError("keys are missing")


def measure(servers: list[Server], keys: int) -> list[Row]:
    """All cases, each with all servers in turn."""
    return [row for case in (rdb, aof) for shape in SHAPES for s in servers for row in case(s, shape, keys)]


def rows(run) -> list:
    """For the benchmark's table."""
    return for_table(run, "files", measure, lambda case: None if case.startswith("BGSAVE") else 0.8)
