"""The faults that `python -m harness.loopback` measures, once or twice each: nothing that was acknowledged is lost, and no old
master accepts a write once the new one has. How long it takes is not asserted here."""

import pytest
from harness import outcome, process, results
from harness.local_faults import FAULTS, fill, inflict
from harness.network import Network
from harness.replicaset import ReplicaSet
from harness.wait import until
from harness.writer import Write

KEYS = 20_000


@pytest.fixture(scope="module")
def group():
    """Sentinels and data servers, each a machine of its own; it takes root."""
    servers = process.Servers()
    with Network() as network:
        try:
            made = ReplicaSet(servers, process.ours(), directives=(("appendfsync", "always"),), machine=network.machine)
            made.servers = servers
            yield made
        finally:
            servers.close()


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost(request, group, name):
    request.node.servers = group.servers  # whose logs are shown if it fails
    fault = FAULTS[name]
    if fault.keys:
        fill(group, KEYS)
    for _ in range(1 if fault.held else 2):
        found = inflict(group, name)
        assert found.missing == [], f"{len(found.missing)} of {found.acknowledged} are lost; errors: {found.errors}"
        assert found.late == [], "the old master has accepted writes after the new one's first"
        if fault.moves:
            assert found.new is not found.old
            group.settle()
    with group.master().client() as client:
        until("the dataset is there", lambda: not fault.keys or client.dbsize() >= KEYS)


def test_what_counts_as_late():
    """A write that the old master has answered is late if it was sent after the new one's first was answered, or answered only
    once the old one had come back."""
    old, new = ("old", 1), ("new", 1)

    class Seen:
        writes = [Write("a", "1", 1.0, 1.1, old), Write("b", "1", 1.2, 9.5, old), Write("c", "1", 2.0, 2.5, new),
                  Write("d", "1", 2.4, 2.6, old), Write("e", "1", 2.6, 2.7, old)]

        def first_of_another(self, server):
            return next(write for write in self.writes if write.server != server)
    assert [write.key for write in outcome.late([Seen()], old)] == ["e"]
    assert [write.key for write in outcome.late([Seen()], old, returned=9.0)] == ["b", "e"]
    assert outcome.late([Seen()], ("nobody", 1), returned=9.0) == []


def test_goals():
    goal = results.GOALS["process killed"]
    clean = [{"outage_s": 0.2, "lost": 0, "late": 0}] * 19
    assert goal.met([*clean, {"outage_s": 0.6}]) and not goal.met([*clean, {"outage_s": 0.61}])
    assert not goal.met([*clean, {"outage_s": 0.2, "lost": 1}]) and not goal.met([*clean, {"outage_s": 0.2, "late": 1}])
    assert results.GOALS["all processes killed"].met([{"outage_s": 5.0, "load_s": 3.1}])
    assert not results.GOALS["switchover"].met([{"outage_s": 0.01, "uncovered": 1}])
