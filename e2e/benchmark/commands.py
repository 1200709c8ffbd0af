"""Peak rates of commands: closed loop, 50 connections, without a pipeline, with 16 and with 100 commands in one."""

import dataclasses

from . import load
from .peers import OURS, Peers, rotations
from .report import Row

CLIENTS = 50
KEYS = 1_000_000
ELEMENTS = 100_000  # of a large collection: it is full, so that its updates are measured and not its growth
GOALS = {1: 1.0, 16: 1.3, 100: 1.5}
IO_THREADS_GOAL = 1.2
VALUE = "{v:64}"
SCRIPT = "return redis.call('GET',KEYS[1])"
LIBRARY = "#!lua name=bench\nredis.register_function('fetch', function(keys) return redis.call('GET', keys[1]) end)"


@dataclasses.dataclass(frozen=True)
class Case:
    """One command under load."""

    name: str
    commands: tuple
    # What is there before: commands with {i}, and how many of them.
    prepare: tuple = ()
    keys: int = KEYS
    # Commands in one pipeline; None: the usual ones.
    pipelines: tuple | None = None
    goal: float | None = None
    needs: str = ""


STRINGS = ((f"SET key:{{i}} {VALUE}",), KEYS)
CASES = (
    Case("GET", ("GET key:{r}",), STRINGS),
    Case("SET", (f"SET key:{{r}} {VALUE}",), STRINGS),
    Case("INCR", ("INCR counter:{r}",), (("SET counter:{i} 1000",), ELEMENTS), keys=ELEMENTS),
    Case("LPUSH/RPOP", (f"LPUSH list {VALUE}", "RPOP list"), ((f"LPUSH list {VALUE}",), 1000)),
    Case("HSET", (f"HSET hash element:{{r}} {VALUE}",), ((f"HSET hash element:{{i}} {VALUE}",), ELEMENTS), keys=ELEMENTS),
    Case("SADD", ("SADD set element:{r}",), (("SADD set element:{i}",), ELEMENTS), keys=ELEMENTS),
    Case("ZADD", ("ZADD zset {r} element:{r}",), (("ZADD zset {i} element:{i}",), ELEMENTS), keys=ELEMENTS),
    Case("XADD", (f"XADD stream MAXLEN ~ 10000 * field {VALUE}",), needs="XADD"),
    Case("MSET (10)", ("MSET " + " ".join([f"key:{{r}} {VALUE}"] * 10),), STRINGS),
    Case("LRANGE 100", ("LRANGE hundred 0 99",), (("RPUSH hundred element:{i}",), 100)),
    Case("MULTI of 10", ("MULTI", *[f"SET key:{{r}} {VALUE}"] * 10, "EXEC"), STRINGS, pipelines=(12,), goal=1.0),
    Case("EVALSHA", ("EVALSHA {sha} 1 key:{r}",), STRINGS, needs="EVALSHA"),
    Case("FCALL", ("FCALL fetch 1 key:{r}",), STRINGS, needs="FCALL"),
)
IO_THREAD_CASES = ("GET", "SET")


def rows(run):
    """Measures; yields rows. `run` holds the options."""
    chosen = [case for case in CASES if not run.only or case.name.lower().split()[0] in run.only]
    yield from _all(run, chosen, io_threads=1)
    if run.io_threads > 1:
        chosen = [case for case in chosen if run.only or case.name in IO_THREAD_CASES]
        yield from _all(run, chosen, run.io_threads)


def _all(run, cases, io_threads):
    peers = Peers(run.servers, run.programs, io_threads=io_threads)
    prepared = set()
    try:
        for case in cases:
            if case.prepare and case.prepare not in prepared:
                prepared.add(case.prepare)
                for server in peers.by_name.values():
                    load.fill(server, *case.prepare)
            yield from _case(run, case, peers, io_threads)
    finally:
        peers.stop()


def _case(run, case, peers, io_threads):
    subject = "commands" if io_threads == 1 else f"commands, {io_threads} I/O threads"
    names = [name for name in peers.by_name if not case.needs or peers.serves(name, case.needs)]
    if OURS not in names:
        yield Row(subject, case.name, "/s", {}, True, note=f"{case.needs} is not served")
        return
    commands = {name: _with_script(case, peers.by_name[name]) for name in names}
    for pipeline in case.pipelines or run.pipelines:
        figures, cpu = ({name: [] for name in names} for _ in range(2))
        for order in rotations(names, run.rounds):
            for name in order:
                result = load.run("closed", peers.by_name[name], commands[name], pinned=peers.pinned, clients=CLIENTS,
                                  pipeline=pipeline, seconds=run.seconds, warmup=run.seconds / 4, keys=case.keys)
                figures[name].append(result["rate"])
                cpu[name].append(result["cpu_us_per_op"])
        goal = case.goal or (GOALS.get(pipeline) if io_threads == 1 else IO_THREADS_GOAL)
        how = "" if case.pipelines else (f", pipeline {pipeline}" if pipeline > 1 else ", no pipeline")
        yield Row(subject, case.name + how, "/s", figures, True, goal, cpu=cpu)


def _with_script(case, server):
    """The commands with their script's digest filled in, and the script or function loaded that they call."""
    with server.client() as client:
        if case.needs == "FCALL":
            client.execute_command("FUNCTION", "LOAD", "REPLACE", LIBRARY)
        if case.needs == "EVALSHA":
            digest = client.execute_command("SCRIPT", "LOAD", SCRIPT)
            return [command.replace("{sha}", digest) for command in case.commands]
    return case.commands
