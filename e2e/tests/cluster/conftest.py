"""Fixtures for tests on the cluster. Instances that several tests share are made once for each kind, one kind after the other."""

import time

import pytest
from harness import cluster, results
from harness.cluster import Namespace
from harness.wait import NotReached

SESSION_BEGAN = time.time()
TEST_TIMEOUT_S = 420
RECOVERY_S = 90



def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if applies(item)]
    for item in items:
        if "tests/cluster/" in str(item.path):
            item.add_marker(pytest.mark.cluster)
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


def applies(item):
    only = item.get_closest_marker("only")
    return only is None or item.callspec.params["shared"] == only.kwargs["sentinels"]


def pytest_terminal_summary(terminalreporter):
    measured = results.read(SESSION_BEGAN)
    if measured:
        terminalreporter.section("faults")
        for line in results.table(measured):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def running_nodes():
    """No node stays frozen or cut off, neither from an earlier run nor after this one."""
    cluster.mend_all()
    yield
    cluster.mend_all()


@pytest.fixture
def namespace(request):
    """A namespace of the test's own."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:30].strip("-")
    namespace = Namespace(name)
    yield namespace
    namespace.delete()


class Shared:
    """An instance that several tests use one after the other; one that does not recover is replaced."""

    def __init__(self, hint, spec):
        self._hint = hint
        self._spec = spec
        self._made = 0
        self.namespace = Namespace(hint)
        self.instance = None

    def make(self):
        self._made += 1
        began = time.monotonic()
        self.instance = self.namespace.instance(f"shared{self._made}", self._spec)
        self.instance.wait_condition("Ready")
        results.record("apply to Ready", kind=self._hint, seconds=round(time.monotonic() - began, 1))
        self.instance.wait_reached()

    def ready(self):
        if self.instance is None:
            self.make()
        try:
            self.instance.wait_reached(RECOVERY_S)
        except NotReached:
            self.instance.delete()
            self.make()
        return self.instance


@pytest.fixture(scope="session", params=[3, 0], ids=["sentinels-3", "sentinels-0"])
def shared(request):
    shared = Shared(f"sentinels-{request.param}", {
        "sentinels": request.param,
        "durability": {"writeAckReplicas": 1, "minReplicasToWrite": 1},
        "persistence": {"storage": {"size": "1Gi", "whenDeleted": "Delete"}},
    })
    yield shared
    shared.namespace.delete()


@pytest.fixture
def instance(shared):
    """1 master, 2 replicas, with sentinels and without; in good health at the start of each test."""
    return shared.ready()


@pytest.fixture(scope="session")
def shared_shards():
    shared = Shared("masters-3", {"masters": 3, "replicas": 1, "sentinels": 3,
                                  "durability": {"writeAckReplicas": 1},
                                  "persistence": {"storage": {"size": "1Gi", "whenDeleted": "Delete"}}})
    yield shared
    shared.namespace.delete()


@pytest.fixture
def shards(shared_shards):
    """3 masters with a replica each, in good health at the start of each test."""
    return shared_shards.ready()
