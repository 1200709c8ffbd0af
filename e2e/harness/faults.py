"""What is done to a master, and how it is measured: the tests and the figures use the same."""

import contextlib
import dataclasses
import time

from . import cluster, results
from .wait import until
from .writer import TIMEOUTS, Writer

BEFORE = 200  # acknowledged writes before the fault
AFTER = 200  # and after it
RECOVERY_S = 90


@contextlib.contextmanager
def _at_once(harm):
    harm()
    yield


def process_killed(instance, pod):
    return _at_once(lambda: instance.kill(pod))


def pod_deleted(instance, pod):
    return _at_once(lambda: instance.delete_pods(pod))


def pod_deleted_by_force(instance, pod):
    return _at_once(lambda: instance.delete_pods(pod, force=True))


def node_frozen(instance, pod):
    return cluster.frozen(instance.node_of(pod))


def volume_emptied(instance, pod):
    return _at_once(lambda: instance.empty_and_kill(pod))


# Name → function (instance, master's pod) → context manager: the fault holds within the block.
FAULTS = {"process killed": process_killed, "pod deleted": pod_deleted, "pod deleted by force": pod_deleted_by_force,
          "node frozen": node_frozen, "volume emptied, process killed": volume_emptied}


@dataclasses.dataclass
class Outcome:
    """What a fault did."""

    old: str
    new: str
    outage_s: float
    acknowledged: int
    missing: list
    errors: dict


def connect(instance):
    """How clients of the instance find the master: by Sentinel where there are some, else by the Service."""
    if instance.spec["sentinels"]:
        discovery = instance.discovery()
        name = instance.master_name()
        return lambda: discovery.master_for(name, **TIMEOUTS)
    return instance.client


def kind_of(instance):
    spec = instance.spec
    return f"sentinels: {spec['sentinels']}" if spec["masters"] == 1 else f"masters: {spec['masters']}"


def inflict(instance, name, changes_master=True, recorded_as=None):
    """Does it under a stream of writes; returns the outcome once everybody agrees again, and records its figures."""
    old = instance.wait_agreed()
    with Writer(connect(instance)) as writer:
        until("writes before the fault", lambda: writer.count() >= BEFORE, RECOVERY_S)
        with FAULTS[name](instance, old):
            struck = time.monotonic()
            if changes_master:
                instance.wait_new_master(old, timeout=RECOVERY_S)
            until(f"writes go on; errors: {dict(writer.errors)}", lambda: writer.acknowledged_after(struck) >= AFTER, RECOVERY_S)
        new = instance.wait_agreed()
    with instance.member(new, socket_timeout=10) as client:
        missing = writer.missing(client)
    outcome = Outcome(old, new, writer.outage(), writer.count(), missing, dict(writer.errors))
    results.record(recorded_as or name, kind=kind_of(instance), outage_s=round(outcome.outage_s, 3), acknowledged=outcome.acknowledged,
                   lost=len(missing))
    return outcome
