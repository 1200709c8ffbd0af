"""The longest a client waits for one reply while the server does something large.

The client is a process of its own that sends one PING after another. What the kernel says that the server's first
thread and the client have waited for a processor is subtracted: on a machine that others use too, that is the machine's.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable

from .dataset import Row, Running, Server, encode, fill, for_table, running, string16, wait_for

QUIET_S = 2.0


def delay(path: str) -> float:
    """Seconds that a thread has been ready to run without a processor."""
    with open(path) as f:
        return int(f.read().split()[1]) / 1e9


def probe(port: int, pid: int, stop, worst) -> None:
    """Sends PINGs one after another until `stop` is set; keeps the longest wait, seconds."""
    ping, paths = encode("PING"), ("/proc/self/schedstat", f"/proc/{pid}/schedstat")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not stop.is_set():
            ready = sum(map(delay, paths))
            start = time.perf_counter()
            s.sendall(ping)
            s.recv(64)
            waited = time.perf_counter() - start
            worst.value = max(worst.value, waited - (sum(map(delay, paths)) - ready))


def longest(r: Running, operation: Callable[[], None]) -> float:
    """The longest wait while `operation` runs, milliseconds."""
    stop, worst = multiprocessing.Event(), multiprocessing.Value("d", 0.0)
    p = multiprocessing.Process(target=probe, args=(r.port, r.process.pid, stop, worst), daemon=True)
    p.start()
    time.sleep(0.3)
    worst.value = 0.0
    try:
        operation()
    finally:
        stop.set()
        p.join()
    return worst.value * 1000


def idle() -> None:
    """Nothing."""
    time.sleep(QUIET_S)


def save(r: Running, command: str, field: str) -> None:
    """A background job, to its end."""
    with r.client() as c:
        c.call(command)
        wait_for(lambda: c.info("persistence")[field] == "0")


def large_set(r: Running, elements: int) -> None:
    """A set of so many members of 12 bytes, made in pieces."""
    with r.client() as c:
        c.socket.sendall(encode("CLIENT", "REPLY", "OFF"))
        for start in range(0, elements, 1000):
            members = [b"m:%010d" % i for i in range(start, min(start + 1000, elements))]
            c.socket.sendall(encode("SADD", "large", *members))
        c.call("CLIENT", "REPLY", "ON")


def unlink(r: Running) -> None:
    """Deletes it, and waits for what that sets off."""
    with r.client() as c:
        c.call("UNLINK", "large")
    time.sleep(QUIET_S)


def cases(server: Server, keys: int) -> list[Row]:
    """All operations on one server."""
    rows = []

    def row(case: str, ms: float) -> None:
        rows.append(Row(case, server.name, ms, "ms"))

    off = {"auto_aof_rewrite_percentage": "0", "repl_diskless_sync_delay": "0"}
    with running(server, appendonly="yes", appendfsync="everysec", **off) as r:
        fill(r, string16, 0, keys // 10)
        row("nothing", longest(r, idle))
        row(f"growth to {keys:,} keys", longest(r, lambda: fill(r, string16, keys // 10, keys - keys // 10)))
        row(f"BGSAVE of {keys:,} keys", longest(r, lambda: save(r, "BGSAVE", "rdb_bgsave_in_progress")))
        row(f"AOF rewrite of {keys:,} keys", longest(r, lambda: save(r, "BGREWRITEAOF", "aof_rewrite_in_progress")))
        with running(server) as replica:
            def attach() -> None:
                with replica.client() as c:
                    c.call("REPLICAOF", "127.0.0.1", r.port)
                with r.client() as c:
                    wait_for(lambda: "state=online" in c.info("replication").get("slave0", ""))
            row(f"full resync of {keys:,} keys", longest(r, attach))
    with running(server) as r:
        large_set(r, keys)
        row(f"BGSAVE of a set of {keys:,}", longest(r, lambda: save(r, "BGSAVE", "rdb_bgsave_in_progress")))
        row(f"UNLINK of a set of {keys:,}", longest(r, lambda: unlink(r)))
    return rows


def measure(servers: list[Server], keys: int) -> list[Row]:
    """All cases, one server after the other."""
    return [row for s in servers for row in cases(s, keys)]


def rows(run) -> list:
    """For the benchmark's table. That none is to be longer than 5 ms is no ratio."""
    return for_table(run, "stalls", measure, lambda _: None)
