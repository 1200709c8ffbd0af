"""The operator is stopped: sentinels fail over without it, and its return changes nothing they decided."""

import pytest
from harness import faults, results
from harness.cluster import PROBLEMS, Operator
from harness.wait import until


@pytest.mark.only(sentinels=3)
def test_sentinels_decision_stands(instance):
    old, epoch = instance.wait_agreed(), instance.epoch()
    with Operator.stopped():
        with faults.Writer(faults.connect(instance)) as writer:
            until("writes", lambda: writer.count() >= 200, 30)
            struck = faults.time.monotonic()
            instance.delete_pods(old, force=True)
            new = instance.wait_elected(epoch)
            until("writes go on", lambda: writer.acknowledged_after(struck) >= 200, 60)
            until("the old master follows", lambda: instance.roles().get(old) == ("slave", instance.host(new)), 90, poll=0.3)
    assert instance.wait_agreed() == new
    assert instance.epoch() > epoch
    with instance.client(socket_timeout=10) as client:
        missing = writer.missing(client)
    results.record("operator away, pod deleted", kind=faults.kind_of(instance), outage_s=round(writer.outage(), 3),
                   acknowledged=writer.count(), lost=len(missing))
    assert missing == []


@pytest.mark.only(sentinels=0)
def test_without_sentinels_reads_go_on_and_the_operator_decides_when_it_is_back(instance):
    old = instance.wait_agreed()
    with instance.client() as client:
        client.set("before", "1")
        assert client.wait(2, 5000) == 2
    with Operator.stopped():
        instance.delete_pods(old, force=True)
        with instance.reader() as reader:
            until("reads go on", lambda: reader.get("before") == "1", 20, ignore=PROBLEMS)
        assert "master" not in {role for pod, (role, _) in instance.roles().items() if pod != old}
    instance.wait_agreed()
    with instance.client() as client:
        assert client.get("before") == "1" and client.set("after", "1")


def test_operator_restarts_and_nothing_happens(instance):
    master, epoch = instance.wait_agreed(), instance.epoch()
    uids = {pod["metadata"]["uid"] for pod in instance.pods()}
    with faults.Writer(faults.connect(instance)) as writer:
        with Operator.stopped():
            until("writes", lambda: writer.count() >= 200, 30)
        assert instance.wait_agreed() == master
        until("writes go on", lambda: writer.count() >= 400, 30)
    assert writer.outage() < 3, writer.errors
    assert instance.epoch() == epoch
    assert {pod["metadata"]["uid"] for pod in instance.pods()} == uids


@pytest.mark.only(sentinels=0)
def test_the_working_operator_is_lost_with_the_master(instance):
    """Another operator takes the Lease over, then decides."""
    Operator.lead_from(instance.node_of(instance.wait_agreed()))
    outcome = faults.inflict(instance, "node frozen", recorded_as="node frozen, the working operator's too")
    assert outcome.missing == [] and outcome.new != outcome.old
