"""Seconds per million keys: writing an RDB file, reading one, reading an append-only file of commands."""

from __future__ import annotations

import time

from dataset import SHAPES, Row, Running, Server, fill, running


def loaded(r: Running, **directives: str) -> float:
    """Stops a server and starts it again on its files; seconds until it answers."""
    r.stop()
    start = time.monotonic()
    r.__init__(r.server, r.dir, **directives)
    return time.monotonic() - start


def rdb(server: Server, shape: str, keys: int) -> list[Row]:
    """`SAVE`, a background save without other load, and a start from the file."""
    per_million = 1_000_000 / keys
    with running(server) as r:
        empty = loaded(r)
        fill(r, SHAPES[shape], 0, keys)
        with r.client() as c:
            start = time.monotonic()
            c.call("SAVE")
            save = time.monotonic() - start
            start = time.monotonic()
            c.call("BGSAVE")
            while c.info("persistence")["rdb_bgsave_in_progress"] != "0":
                time.sleep(0.005)
            background = time.monotonic() - start
        load = loaded(r) - empty
        with r.client() as c:
            if c.call("DBSIZE") != keys:
                raise RuntimeError("keys are missing")
    return [
        Row(f"{name}, {shape}", server.name, seconds * per_million, "s/M keys")
        for name, seconds in (("SAVE", save), ("BGSAVE", background), ("RDB load", load))
    ]


def aof(server: Server, shape: str, keys: int) -> Row:
    """A start from an append-only file of the commands that made the keys."""
    directives = {"appendonly": "yes", "auto_aof_rewrite_percentage": "0", "appendfsync": "no"}
    with running(server, **directives) as r:
        empty = loaded(r, **directives)
        fill(r, SHAPES[shape], 0, keys)
        load = loaded(r, **directives) - empty
        with r.client() as c:
            if c.call("DBSIZE") != keys:
                raise RuntimeError("keys are missing")
    return Row(f"AOF load, {shape}", server.name, load * 1_000_000 / keys, "s/M keys")


def measure(servers: list[Server], keys: int) -> list[Row]:
    """All cases, each with all servers in turn."""
    rows = []
    for shape in SHAPES:
        for s in servers:
            rows += rdb(s, shape, keys)
    return rows + [aof(s, shape, keys) for shape in SHAPES for s in servers]
