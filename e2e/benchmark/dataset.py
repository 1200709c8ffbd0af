"""What the subjects about data share: servers under measurement, a fast way to fill them, and the shapes of keys.

A subject is a module with `measure(servers, keys) -> list[Row]`, for which only the standard library is used, and
`rows(run)`, which gives the same to the benchmark's table. One by itself, and without the table:
`python -m benchmark.dataset SUBJECT KEYS NAME=COMMAND…`, as in `… memory 1000000 "ours=datanode server" redis=redis-server`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

START_TIMEOUT_S = 600
CALL_TIMEOUT_S = 1200
BATCH = 500


class Server(NamedTuple):
    """A server program: its name in tables, and the command that takes a configuration file as its argument."""

    name: str
    command: list[str]


class Row(NamedTuple):
    """One figure."""

    case: str
    server: str
    value: float
    unit: str


class Running:
    """A server process with a directory of its own."""

    def __init__(self, server: Server, directory: str, **directives: str):
        self.server, self.dir = server, directory
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": directory, "save": '""',
                    "appendonly": "no", **{k.replace("_", "-"): v for k, v in directives.items()}}
        config = os.path.join(directory, "server.conf")
        with open(config, "w") as f:
            f.writelines(f"{name} {value}\n" for name, value in settings.items())
        self.log = open(os.path.join(directory, "log"), "ab")
        self.process = subprocess.Popen([*server.command, config], stdout=self.log, stderr=self.log, cwd=directory)
        self.wait_loaded()

    def wait_loaded(self) -> None:
        """Returns when the server answers and has loaded its data."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.server.name} ended: see {self.dir}/log")
            try:
                with self.client() as c:
                    if c.call("PING") == b"PONG":
                        return
            except (ConnectionError, ReplyError):
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.server.name} did not start")
            time.sleep(0.01)

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """A connection."""
        c = Client(self.port)
        try:
            yield c
        finally:
            c.socket.close()

    def rss(self) -> int:
        """Resident memory of the process with its children, bytes."""
        return sum(resident(p) for p in [self.process.pid, *children(self.process.pid)])

    def cpu(self) -> float:
        """CPU seconds of the process, with those of children that have ended."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            times = f.read().rsplit(")", 1)[1].split()[11:15]
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def resident(pid: int) -> int:
    """Memory that belongs to a process alone or is shared with others, each share counted once, bytes (Pss)."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def children(pid: int) -> list[int]:
    """Processes that a process has forked."""
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += [int(p) for p in f.read().split()]
    return found


@contextlib.contextmanager
def running(server: Server, **directives: str) -> Iterator[Running]:
    """A server that is stopped, and whose directory is removed, in any case."""
    directory = tempfile.mkdtemp(prefix="bench-")
    r = None
    try:
        r = Running(server, directory, **directives)
        yield r
    finally:
        if r is not None:
            r.stop()
        shutil.rmtree(directory, ignore_errors=True)


class ReplyError(Exception):
    """An error reply."""


class Client:
    """A connection that speaks RESP2."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=CALL_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")

    def call(self, *args: str | bytes | int):
        """Sends one command and returns its reply."""
        self.socket.sendall(encode(*args))
        return self.read()

    def read(self):
        """The next reply."""
        line = self.replies.readline()
        if not line:
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.replies.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        return rest

    def info(self, section: str) -> dict[str, str]:
        """INFO as a dictionary."""
        text = self.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def encode(*args: str | bytes | int) -> bytes:
    """A command as it goes over the wire."""
    words = [a if isinstance(a, bytes) else str(a).encode() for a in args]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


Shape = Callable[[int], bytes]


def _key(i: int) -> bytes:
    return b"key:%012d" % i


def string16(i: int) -> bytes:
    """A key of 16 bytes with a string of 16 bytes."""
    return b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$16\r\nval:%012d\r\n" % (i, i)


def hash5(i: int) -> bytes:
    """Five fields of 6 bytes with values of 8."""
    pairs = b"".join(b"$6\r\nfield%d\r\n$8\r\nv%07d\r\n" % (j, (i + j) % 10_000_000) for j in range(5))
    return b"*12\r\n$4\r\nHSET\r\n$16\r\n%s\r\n" % _key(i) + pairs


def list20(i: int) -> bytes:
    """Twenty elements of 8 bytes."""
    elements = b"".join(b"$8\r\ne%07d\r\n" % ((i + j) % 10_000_000) for j in range(20))
    return b"*22\r\n$5\r\nRPUSH\r\n$16\r\n%s\r\n" % _key(i) + elements


def set10(i: int) -> bytes:
    """Ten integers below a million."""
    return encode(b"SADD", _key(i), *((i * 10 + j) * 7919 % 1_000_000 for j in range(10)))


def zset10(i: int) -> bytes:
    """Ten members of 8 bytes with integer scores below a million."""
    pairs = b"".join(
        b"$6\r\n%06d\r\n$8\r\nm%07d\r\n" % ((i * 10 + j) * 7919 % 900_000 + 100_000, (i + j) % 10_000_000)
        for j in range(10)
    )
    return b"*22\r\n$4\r\nZADD\r\n$16\r\n%s\r\n" % _key(i) + pairs


SHAPES: dict[str, Shape] = {
    "strings of 16 B": string16,
    "hashes of 5": hash5,
    "lists of 20": list20,
    "sets of 10 integers": set10,
    "sorted sets of 10": zset10,
}


def fill(server: Running, shape: Shape, first: int, count: int) -> None:
    """Sends the commands that make keys `first` up to `first + count`."""
    with server.client() as c:
        c.socket.sendall(encode("CLIENT", "REPLY", "OFF"))
        for start in range(first, first + count, BATCH):
            c.socket.sendall(b"".join(map(shape, range(start, min(start + BATCH, first + count)))))
        if c.call("CLIENT", "REPLY", "ON") != b"OK":
            raise RuntimeError("the keys were not taken")


def wait_for(condition: Callable[[], bool], pause_s: float = 0.02, timeout_s: float = CALL_TIMEOUT_S) -> float:
    """Seconds until a condition holds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout_s:
            raise TimeoutError("the condition has not come true")
        time.sleep(pause_s)
    return time.monotonic() - start


def for_table(run, subject: str, measure: Callable, goal: Callable[[str], float | None]) -> list:
    """The rows of a subject for the benchmark's table. `goal`: by the beginning of a case's name."""
    from .report import Row as TableRow

    servers = [Server(name, [program.program("redis-server")]) for name, program in run.programs.items()]
    table: dict[str, TableRow] = {}
    for _ in range(run.rounds):
        for row in measure(servers, int(run.millions * 1_000_000)):
            case = row.case.removesuffix(CPU)
            line = table.setdefault(case, TableRow(subject, case, row.unit, {}, False, goal(case)))
            figures = line.cpu if row.case.endswith(CPU) else line.figures
            figures.setdefault(row.server, []).append(row.value)
    return list(table.values())


# Ends the name of a case that is about processor time.
CPU = ", CPU"


def main(subject: str, keys: str, *servers: str) -> None:
    """Prints the rows of one subject."""
    programs = [(name, command.split()) for name, _, command in (s.partition("=") for s in servers)]
    module = importlib.import_module(f"benchmark.{subject}")
    for row in module.measure([Server(*p) for p in programs], int(keys)):
        print(f"{row.case:50} {row.server:10} {row.value:10.3f} {row.unit}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
