"""Something happens to the master while clients write: a replica takes over, the old master returns as a replica, everybody
agrees, and no acknowledged write is missing."""

import pytest
from harness import dataset, faults
from harness.wait import until

# Longest time without an acknowledged write that is still taken for a success, in seconds: the figures are what is reported.
OUTAGE_MAX_S = {"process killed": 15, "pod deleted": 15, "pod deleted by force": 15, "node frozen": 20, "node cut off": 30,
                "volume emptied, process killed": 20}


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_master_is_lost(instance, fault):
    outcome = faults.inflict(instance, fault)
    assert outcome.missing == [], f"{len(outcome.missing)} of {outcome.acknowledged} lost; errors: {outcome.errors}"
    assert outcome.late == [], "the old master has accepted writes after the new one"
    # Only a process that is started again at once can be back before the election is over, and be chosen.
    assert outcome.new != outcome.old or fault == "process killed"
    assert outcome.new == outcome.old or instance.roles()[outcome.old] == ("slave", instance.host(outcome.new))
    assert outcome.outage_s < OUTAGE_MAX_S[fault], outcome.errors
    instance.wait_reached()


def test_emptied_volume_is_filled_from_the_replicas(instance):
    with instance.client() as client:
        expected = dataset.write(client, "emptied:")
        assert client.wait(2, 5000) == 2
        size = client.dbsize()
    old, epoch = instance.wait_agreed(), instance.epoch()
    dataset_id = instance.get()["status"]["shards"][0]["dataset"]
    instance.empty_and_kill(old)
    new = instance.wait_elected(epoch)
    assert old != new == instance.wait_agreed()
    for pod in instance.data_pods():
        with instance.member(pod, socket_timeout=10) as client:
            until(f"{pod} has everything", lambda: dataset.read(client, "emptied:") == expected and client.dbsize() >= size, 30)
    assert instance.get()["status"]["shards"][0]["dataset"] == dataset_id


def test_replica_is_lost_without_an_outage(instance):
    master = instance.wait_agreed()
    replica = next(pod for pod in instance.data_pods() if pod != master)
    with faults.Writer(faults.connect(instance)) as writer:
        until("writes", lambda: writer.count() >= 200, 30)
        instance.kill(replica)
        assert instance.wait_agreed() == master
        until("writes go on", lambda: writer.count() >= 400, 30)
    assert writer.outage() < 5, writer.errors
    with instance.client(socket_timeout=10) as client:
        assert writer.missing(client) == []


def test_all_pods_deleted_at_once(instance):
    with instance.client() as client:
        expected = dataset.write(client, "all:")
    with faults.Writer(faults.connect(instance)) as writer:
        until("writes", lambda: writer.count() >= 200, 30)
        before = {pod["metadata"]["uid"] for pod in instance.pods()}
        instance.delete_pods(*(pod["metadata"]["name"] for pod in instance.pods()))
        until("all pods are others", lambda: not before & {pod["metadata"]["uid"] for pod in instance.pods()}, 120)
        instance.wait_agreed()
    with instance.client(socket_timeout=10) as client:
        assert dataset.read(client, "all:") == expected
        missing = writer.missing(client)
    faults.results.record("all pods deleted", kind=faults.kind_of(instance), outage_s=round(writer.outage(), 3),
                          acknowledged=writer.count(), lost=len(missing))
    assert missing == []


def test_all_processes_killed_at_once(instance):
    """appendfsync everysec: a process that dies loses nothing that it gave to the kernel."""
    with faults.Writer(faults.connect(instance)) as writer:
        until("writes", lambda: writer.count() >= 200, 30)
        instance.kill_all(instance.data_pods())
        until("writes again", lambda: writer.acknowledged_after(faults.time.monotonic() - 1) > 20, 120)
        instance.wait_agreed()
    with instance.client(socket_timeout=10) as client:
        missing = writer.missing(client)
    faults.results.record("all processes killed", kind=faults.kind_of(instance), outage_s=round(writer.outage(), 3),
                          acknowledged=writer.count(), lost=len(missing))
    assert missing == []
