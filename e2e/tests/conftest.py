"""Fixtures for tests with local processes."""

import pytest
from harness import process


@pytest.fixture(scope="session")
def ours():
    """The implementation under test."""
    return process.ours()


@pytest.fixture(scope="session")
def peer():
    """The real Redis."""
    return process.peer()


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
