"""What is done to local processes, ours or the peer's, under a stream of writes, and how it is measured."""

import contextlib
import dataclasses
import signal
import threading
import time

from . import outcome
from .outcome import AFTER, BEFORE, RECOVERY_S
from .replicaset import ERRORS, NAME, PASSWORD
from .wait import until
from .writer import IMPATIENT, Writer, through_sentinels

HOLD_S = 4.0  # a master is frozen or cut off
STAY_S = 3.0  # a client stays at most with an old master that has come back and still takes itself for one
ASK_S = 30.0
POLL_S = 0.005
KEYS, KEYS_AT_ONCE, VALUE = 200_000, 1000, "v" * 100


@contextlib.contextmanager
def switchover(group, old, _):
    def asked():
        with group.sentinels[0].client() as client:
            return client.execute_command("SENTINEL", "FAILOVER", NAME)
    until("SENTINEL FAILOVER is taken up", asked, ASK_S, ignore=ERRORS)
    yield


@contextlib.contextmanager
def terminated(group, old, _):
    old.process.send_signal(signal.SIGTERM)
    yield
    old.wait_exit()
    old.spawn()


@contextlib.contextmanager
def killed(group, old, _):
    old.kill()
    yield
    old.spawn()


@contextlib.contextmanager
def frozen(group, old, _):
    with old.frozen():
        yield


@contextlib.contextmanager
def cut_off(group, old, _):
    with old.machine.cut_off():
        yield


@contextlib.contextmanager
def all_killed(group, old, figures):
    for server in group.all:
        server.process.kill()
    for server in group.all:
        server.kill()
    begun = time.monotonic()
    for server in group.all:
        server.spawn()
    loads = {}

    def loaded(server):
        until("it has loaded", server.answers, RECOVERY_S, poll=POLL_S, ignore=ERRORS)
        loads[server] = time.monotonic() - begun
    waits = [threading.Thread(target=loaded, args=(member,)) for member in group.members]
    for wait in waits:
        wait.start()
    yield
    for wait in waits:
        wait.join()
    figures["load_s"] = round(max(loads.values()), 3)


@dataclasses.dataclass(frozen=True)
class Fault:
    """`harm` (group, old master, figures of its own) is a context manager: the fault holds within the block."""

    harm: object
    moves: bool = True  # another becomes master
    held: bool = False  # the old master comes back as it was, after HOLD_S; meanwhile a client stays with it
    keys: int = 0  # in the dataset
    directives: tuple = ()

    needs_machines = property(lambda self: self.harm is cut_off)


FAULTS = {
    "switchover": Fault(switchover),
    "SIGTERM": Fault(terminated),
    "process killed": Fault(killed),
    "process frozen": Fault(frozen, held=True),
    "cut off": Fault(cut_off, held=True),
    "all processes killed": Fault(all_killed, moves=False, keys=KEYS, directives=(("appendfsync", "always"),)),
}


def fill(group, keys):
    """So many keys, kept by all members."""
    with group.master().client() as client:
        for start in range(0, keys, KEYS_AT_ONCE):
            client.mset({f"key:{n}": VALUE for n in range(start, min(start + KEYS_AT_ONCE, keys))})
    group.settle()


def inflict(group, name, recorded_as=None):
    """Does it under a stream of writes; returns the Outcome and records its figures, of the `recorded_as` kind. Another fault
    may follow at once: it waits until the group is whole."""
    fault = FAULTS[name]
    group.settle()
    old = group.master()
    figures, returned = {}, None

    namespace = old.machine.namespace if old.machine else None
    stayed = outcome.stays(namespace, old.client, old.address) if fault.held else None
    sentinels = [sentinel.address for sentinel in group.sentinels]
    with Writer(through_sentinels(sentinels, NAME, PASSWORD, **IMPATIENT)) as writer, stayed or outcome.nobody():
        until("writes before the fault", lambda: writer.count() >= BEFORE, RECOVERY_S)
        struck = time.monotonic()
        with fault.harm(group, old, figures):
            if fault.moves:
                first = until(f"another takes writes; errors: {writer.errors}", lambda: writer.first_of_another(old.address), RECOVERY_S)
                since = first.acknowledged
            else:
                since = struck
            if fault.held:
                time.sleep(max(0.0, struck + HOLD_S - time.monotonic()))
                since = returned = time.monotonic()
            else:
                until(f"writes go on; errors: {writer.errors}", lambda: writer.acknowledged_after(since) >= AFTER, RECOVERY_S)
        until(f"writes go on; errors: {writer.errors}", lambda: writer.acknowledged_after(since) >= AFTER, RECOVERY_S)
        while fault.held and time.monotonic() < returned + STAY_S and not follows(old):
            time.sleep(POLL_S)
    new = until("the master is known", group.master, RECOVERY_S, ignore=ERRORS)
    with new.client() as client:
        found = outcome.judge(old, new, writer, client, old.address, stayed, returned)
    if recorded_as:
        found.record(name, recorded_as, **figures)
    return found


def follows(server):
    """Whether it is a replica, as far as it says anything."""
    try:
        with server.client(socket_timeout=IMPATIENT["socket_timeout"]) as client:
            return client.role()[0] in ("slave", b"slave")
    except ERRORS:
        return False
