"""What an acknowledged write costs: SET with asynchronous replication, with replies that the server holds until a replica has
the write, and with a client that sends WAIT or WAITAOF after each write.

One master with replicas of the same program on loopback, nothing pinned. A turn is a closed loop; latency is that of a batch,
from its sending to its last reply. Where the client asks, a batch has a WAIT behind each SET, or one behind all of them.
"""

import dataclasses
import os
import statistics
import tempfile
import time

from harness.wait import until

from . import load
from .peers import OURS, PEERS, rotations
from .report import Row, number

REPLICAS = (1, 2)
CLIENTS = (1, 50)
PIPELINES = (1, 16)
KEYS = 100_000
WARMUP_S = 0.2
SYNC_S = 30
SET = "SET key:{r} {v:64}"
ASYNCHRONOUS = "asynchronous"


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to have writes acknowledged."""

    name: str
    # Directives of the master, which only ours has.
    own: tuple = ()
    # What the client sends behind each write, or behind all writes of a batch.
    asks: str = ""
    once: bool = False

    def commands(self, pipeline):
        """A batch of so many writes."""
        if not self.asks:
            return (SET,), pipeline
        if self.once:
            return (SET,) * pipeline + (self.asks,), pipeline + 1
        return (SET, self.asks), 2 * pipeline

    def suits(self, server, pipeline):
        """Whether this server can do it, and whether it is something else than the ways before."""
        if self.own and server.implementation.name != OURS or self.once and pipeline == 1:
            return False
        if not self.asks:
            return True
        with server.client() as client:
            # In one word, for which the client has no parser: it does not expect an unknown command.
            return client.execute_command("COMMAND INFO", self.asks.split()[0]) != [None]


MEMORY = (Way(ASYNCHRONOUS), Way("write-ack-replicas 1", (("write-ack-replicas", 1), ("write-ack-fsync", "no"))),
          Way("WAIT 1 0 after each", asks="WAIT 1 0"), Way("WAIT 1 0 after the pipeline", asks="WAIT 1 0", once=True))
DISK = (Way(ASYNCHRONOUS), Way("write-ack-replicas 1, write-ack-fsync", (("write-ack-replicas", 1), ("write-ack-fsync", "yes"))),
        Way("WAITAOF 1 1 0 after each", asks="WAITAOF 1 1 0"),
        Way("WAITAOF 1 1 0 after the pipeline", asks="WAITAOF 1 1 0", once=True))
LOGS = {"no AOF": ({"appendonly": "no"}, MEMORY),
        "AOF everysec": ({"appendonly": "yes", "appendfsync": "everysec"}, DISK),
        "AOF always": ({"appendonly": "yes", "appendfsync": "always"}, DISK)}


def disk():
    """What an fsync takes where the servers' files are, milliseconds: the median of some."""
    with tempfile.TemporaryFile() as file:
        took = []
        for _ in range(100):
            file.write(b"x" * 100)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def rows(run):
    """Rates, with latencies in the notes."""
    print(f"an fsync takes {disk():.2f} ms here", flush=True)
    for log, (directives, ways) in LOGS.items():
        if run.only and not any(log.lower().startswith(part) for part in run.only):
            continue
        for replicas in REPLICAS:
            masters = {name: _start(run, name, replicas, directives) for name in run.programs}
            try:
                for clients in CLIENTS:
                    for pipeline in PIPELINES:
                        yield from _cases(run, masters, log, ways, (replicas, clients, pipeline))
            finally:
                for master, others in masters.values():
                    for server in (*others, master):
                        server.kill()


def _start(run, name, replicas, directives):
    """A master and its replicas, in sync. Ours all sync soon where somebody waits for it."""
    master = run.servers.start(run.programs[name], directives)
    others = []
    for _ in range(replicas):
        others.append(run.servers.start(run.programs[name], {**directives, "replicaof": f"127.0.0.1 {master.port}"}))
    with master.client() as client:
        states = lambda: [client.info("replication")[f"slave{n}"]["state"] for n in range(replicas)]  # noqa: E731
        until("replicas are online", lambda: states() == ["online"] * replicas, SYNC_S, ignore=(KeyError,))
    return master, others


def _set(master, others, way):
    """Has ours do it this way: replicas sync soon only where they are told to."""
    if master.implementation.name != OURS:
        return
    for server in (master, *others):
        with server.client() as client:
            wanted = dict(way.own) or {"write-ack-replicas": 0, "write-ack-fsync": "no"}
            for directive, value in wanted.items():
                client.config_set(directive, value)


def _cases(run, masters, log, ways, shape):
    replicas, clients, pipeline = shape
    done = {}
    chosen = [(way, name) for way in ways for name, (master, _) in masters.items() if way.suits(master, pipeline)]
    figures = {pair: ([], [], []) for pair in chosen}
    for order in rotations(chosen, run.rounds):
        for way, name in order:
            master, others = masters[name]
            _set(master, others, way)
            commands, length = way.commands(pipeline)
            result = load.run("closed", master, commands, pinned=False, clients=clients, pipeline=length, keys=KEYS,
                              seconds=run.seconds, warmup=WARMUP_S)
            rates, middle, tail = figures[way, name]
            rates.append(result["rate"] * pipeline / length)
            middle.append(result["p50_us"] / 1000)
            tail.append(result["p99_us"] / 1000)
    for way in ways:
        of = {name: figures[way, name] for name in masters if (way, name) in figures}
        if not of:
            continue
        median = {name: [statistics.median(values) for values in of[name]] for name in of}
        done[way.name] = median
        notes = [f"{name} p50 {number(m[1])} p99 {number(m[2])} ms, {m[0] / done[ASYNCHRONOUS][name][0]:.2f} of asynchronous"
                 for name, m in median.items()]
        case = f"{log}, {replicas} replicas, {clients} clients, pipeline {pipeline}: {way.name}"
        details = {"log": log, "replicas": replicas, "clients": clients, "pipeline": pipeline, "way": way.name,
                   "medians": median}
        yield Row("acks", case, "SET/s", {name: of[name][0] for name in of}, True, note="; ".join(notes), details=details)


def table(rows):
    """The table of docs/performance.md: rates, in brackets to the same server's asynchronous ones, and latencies."""
    lines = []
    of = [row.details for row in rows if row.subject == "acks"]
    for log in dict.fromkeys(detail["log"] for detail in of):
        lines += ["", f"**{log}**", "", "| replicas, clients, pipeline | | datanode | p50 / p99, ms | redis | p50 / p99, ms | valkey | p50 / p99, ms |",
                  "|---|---|--:|--:|--:|--:|--:|--:|"]
        plain, shape = {}, None
        for detail in (detail for detail in of if detail["log"] == log):
            known = detail["medians"]
            if detail["way"] == ASYNCHRONOUS:
                plain = {name: medians[0] for name, medians in known.items()}
            now = (detail["replicas"], detail["clients"], detail["pipeline"])
            cells = ["{}, {}, {}".format(*now) if now != shape else "", detail["way"]]
            shape = now
            for name in (OURS, *PEERS):
                if name not in known:
                    cells += ["–", "–"]
                    continue
                rate, middle, tail = known[name]
                part = "" if detail["way"] == ASYNCHRONOUS else f" ({rate / plain[name]:.2f})"
                # A batch that takes longer than a turn has no latency.
                took = "–" if middle == 0 else f"{number(middle)} / {number(tail)}"
                cells += [f"{number(rate)}{part}", took]
            lines.append("| " + " | ".join(cells) + " |")
    return lines
