"""A resource is changed while clients write: what is asked for is reached, and nothing that was acknowledged is lost."""

import contextlib

import pytest
from harness import faults
from harness.wait import until


@contextlib.contextmanager
def writing(instance, what, outage_max_s):
    """A stream of writes around a change; afterwards nothing is missing and the outage was short."""
    with faults.Writer(faults.connect(instance)) as writer:
        until("writes before the change", lambda: writer.count() >= 200, 30)
        began = faults.time.monotonic()
        yield
        seconds = faults.time.monotonic() - began
        reached = faults.time.monotonic()
        until(f"writes go on; errors: {dict(writer.errors)}", lambda: writer.acknowledged_after(reached) >= 200, 60)
    with instance.client(socket_timeout=10) as client:
        missing = writer.missing(client)
    faults.results.record(what, kind=faults.kind_of(instance), outage_s=round(writer.outage(), 3), seconds=round(seconds, 1),
                          acknowledged=writer.count(), lost=len(missing))
    assert missing == []
    assert writer.outage() < outage_max_s, writer.errors


def test_configuration_is_changed_without_a_restart(instance):
    uids = {pod["metadata"]["uid"] for pod in instance.pods()}
    with writing(instance, "configuration changed", 3):
        instance.patch({"config": {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
                        "persistence": {"aof": {"fsync": "always"}, "rdb": {"save": ["300 10"]}}})
        instance.wait_reached()
        for pod in instance.data_pods():
            with instance.member(pod) as client:
                wanted = {"maxmemory": "104857600", "maxmemory-policy": "allkeys-lru", "appendfsync": "always", "save": "300 10"}
                until(f"{pod} has it", lambda: {name: client.config_get(name)[name] for name in wanted} == wanted, 60)
    assert {pod["metadata"]["uid"] for pod in instance.pods()} == uids
    instance.patch({"config": None, "persistence": {"aof": {"fsync": "everysec"}, "rdb": None}})
    instance.wait_reached()


def test_configuration_that_needs_a_restart_is_rolled_in_order(instance):
    before = {name: instance.pod(name)["metadata"]["uid"] for name in instance.data_pods()}
    with writing(instance, "rolled", 10):
        instance.patch({"config": {"databases": 32}})
        instance.wait_reached()
        instance.wait_agreed()
    after = {name: instance.pod(name)["metadata"]["uid"] for name in before}
    assert all(before[name] != after[name] for name in before)
    for pod in before:
        with instance.member(pod) as client:
            assert client.config_get("databases") == {"databases": "32"}


def test_replicas_from_two_to_three_to_one(instance):
    for replicas in (3, 1, 2):
        with writing(instance, f"replicas to {replicas}", 10):
            instance.patch({"replicas": replicas})
            instance.wait_reached()
            instance.wait_agreed()
            assert len(instance.data_pods()) == replicas + 1
            master = instance.master()
            with instance.member(master) as client:
                until("so many are connected", lambda: client.info("replication")["connected_slaves"] == replicas, 30)
    for pod in instance.data_pods():
        with instance.member(pod, socket_timeout=10) as client, instance.client(socket_timeout=10) as reference:
            until(f"{pod} has as many keys", lambda: client.dbsize() == reference.dbsize(), 30)


@pytest.mark.only(sentinels=3)
def test_sentinels_from_three_to_five_and_back(instance):
    for count in (5, 3):
        with writing(instance, f"sentinels to {count}", 10):
            instance.patch({"sentinels": count})
            instance.wait_reached()
            master = instance.wait_agreed()
            for pod in instance.sentinel_pods():
                with instance.sentinel(pod) as client:
                    def knows():
                        found = client.sentinel_master(instance.name)
                        return (found["num-other-sentinels"], found["quorum"]) == (count - 1, count // 2 + 1)
                    until(f"{pod} knows the others", knows, 60)
            until(f"there are {count} sentinels",
                  lambda: sum("sentinel" in pod["metadata"]["name"] for pod in instance.pods()) == count, 60)
    outcome = faults.inflict(instance, "process killed")
    assert outcome.missing == [] and outcome.old == master


@pytest.mark.only(sentinels=3)
def test_planned_failover_by_sentinel_loses_nothing_and_hardly_pauses(instance):
    old, epoch = instance.wait_agreed(), instance.epoch()
    with writing(instance, "SENTINEL FAILOVER", 3):
        with instance.sentinel(instance.sentinel_pods()[0], socket_timeout=5) as client:
            assert client.execute_command("SENTINEL", "FAILOVER", instance.name) == "OK"
        assert old != instance.wait_elected(epoch) == instance.wait_agreed()
