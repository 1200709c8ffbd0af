"""Fixtures for tests with local processes."""

import pytest
from harness import clients, differential, process


@pytest.fixture(scope="session")
def ours():
    """The implementation under test."""
    return process.ours()


@pytest.fixture(scope="session")
def peer():
    """The real Redis."""
    return process.peer()


@pytest.fixture(params=["ours", "peer"])
def any_of(request):
    """Either implementation: what is tested with it holds for both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def servers(request):
    """Starts servers; all are gone after the test, and their logs are shown if it failed."""
    servers = process.Servers()
    request.node.servers = servers
    yield servers
    servers.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    servers = getattr(item, "servers", None)
    if report.failed and servers is not None:
        report.sections.extend((f"log of {name}", text) for name, text in servers.logs())
    return report


@pytest.fixture(scope="session")
def two_servers(ours, peer):
    """Our server and the peer's, for comparisons; each test begins with FLUSHALL."""
    servers = process.Servers()
    yield servers.start(ours), servers.start(peer)
    servers.close()


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def pair(request, two_servers):
    """Both servers asked in step."""
    pair = differential.Pair(*two_servers, request.param)
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def client_targets(ours):
    """Where the programs of `e2e/clients` go to: `client_targets(mode, implementation)` gives the addresses, the servers
    being started when they are first asked for."""
    servers, known = process.Servers(), {}

    def ask(mode, implementation=ours):
        key = mode, implementation.name
        if key not in known:
            known[key] = clients.targets(servers, implementation, mode)
        return known[key]
    yield ask
    servers.close()
