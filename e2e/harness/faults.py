"""What is done to a master on the cluster, and how it is measured: the tests and the figures use the same."""

import contextlib
import time

from . import cluster, outcome, results
from .outcome import AFTER, BEFORE, RECOVERY_S
from .wait import until
from .writer import IMPATIENT, TIMEOUTS, Writer, through_sentinels


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


def node_cut_off(instance, pod):
    return cluster.cut_off(instance.node_of(pod))


def volume_emptied(instance, pod):
    return _at_once(lambda: instance.empty_and_kill(pod))


def planned_move(instance, _pod):
    def move():
        with instance.sentinel(instance.sentinel_pods()[0], socket_timeout=5) as client:
            client.execute_command("SENTINEL", "FAILOVER", instance.name)
    return _at_once(move)


def all_killed(instance, _pod):
    return _at_once(lambda: instance.kill_all(instance.data_pods()))


# Name → function (instance, master's pod) → context manager: the fault holds within the block.
FAULTS = {"process killed": process_killed, "pod deleted": pod_deleted, "pod deleted by force": pod_deleted_by_force,
          "node frozen": node_frozen, "node cut off": node_cut_off, "volume emptied, process killed": volume_emptied}
# What is measured beside them. A planned move takes sentinels.
PLANNED = "planned move"
ALL = {PLANNED: planned_move, **FAULTS, "all processes killed": all_killed}
# After these the old master comes back as it was.
HELD = {"node frozen", "node cut off"}


def connect(instance):
    """How clients of the instance find the master: by Sentinel where there are some, else by the Service."""
    if instance.spec["sentinels"]:
        sentinels = [(instance.host(pod), cluster.SENTINEL_PORT) for pod in instance.sentinel_pods()]
        return through_sentinels(sentinels, instance.master_name(), instance.password, **IMPATIENT)
    return lambda: instance.client(**IMPATIENT)


def kind_of(instance):
    spec = instance.spec
    return f"sentinels: {spec['sentinels']}" if spec["masters"] == 1 else f"masters: {spec['masters']}"


@contextlib.contextmanager
def staying(instance, pod):
    """Writes of a client in the pod that stays with it."""
    address = instance.pod(pod)["status"]["podIP"]
    server = (instance.host(pod), cluster.REDIS_PORT)
    instance.password  # asked for now: the thread will be where the API is not
    with instance.network(pod) as namespace:
        patient = {"socket_timeout": 10, "socket_connect_timeout": TIMEOUTS["socket_connect_timeout"]}
        with outcome.stays(namespace, lambda: instance.connect(address, **patient), server) as stayed:
            yield stayed


def inflict(instance, name, changes_master=True, recorded_as=None):
    """Does it under a stream of writes; returns the Outcome once everybody agrees again, and records its figures. What the old
    master has accepted after the new one is known with sentinels only: else clients are not told who answers them."""
    old, epoch = instance.wait_agreed(), instance.epoch()
    stays = staying(instance, old) if name in HELD and instance.spec["sentinels"] else outcome.nobody()
    with Writer(connect(instance)) as writer, stays as stayed:
        until("writes before the fault", lambda: writer.count() >= BEFORE, RECOVERY_S)
        with ALL[name](instance, old):
            struck = time.monotonic()
            if changes_master:
                instance.wait_elected(epoch, timeout=RECOVERY_S)
            until(f"writes go on; errors: {dict(writer.errors)}", lambda: writer.acknowledged_after(struck) >= AFTER, RECOVERY_S)
        returned = time.monotonic()
        new = instance.wait_agreed()
    with instance.member(new, socket_timeout=10) as client:
        address = (instance.host(old), cluster.REDIS_PORT) if instance.spec["sentinels"] else None
        found = outcome.judge(old, new, writer, client, address, stayed, returned)
    found.record(recorded_as or name, kind_of(instance))
    return found
