"""The chart is taken away and installed again: instances with sentinels go on, and what was asked meanwhile is done then."""

import json
import pathlib

import pytest
from harness import cluster, faults
from harness.cluster import CONTEXT, RELEASE, SYSTEM, Operator, run
from harness.wait import until

CHART = pathlib.Path(__file__).resolve().parents[3] / "charts" / "redis-replicaset-operator"


def helm(*arguments, **options):
    return run("helm", "--kube-context", CONTEXT, "-n", SYSTEM, *arguments, timeout=240, **options).stdout


@pytest.fixture
def values(tmp_path):
    """The values of the installed release as a file; the release is there again after the test."""
    path = tmp_path / "values.json"
    path.write_text(helm("get", "values", RELEASE, "-o", "json"))
    json.loads(path.read_text())
    yield path
    install(path)


def install(values):
    helm("upgrade", "--install", RELEASE, str(CHART), "-f", str(values), "--wait", "--timeout", "180s")
    Operator.wait_ready()


def test_lint():
    run("helm", "lint", "--strict", str(CHART))


def test_what_it_renders_is_accepted_by_the_server(values):
    rendered = helm("template", RELEASE, str(CHART), "-f", str(values))
    cluster.kubectl("-n", SYSTEM, "apply", "--dry-run=server", "-f", "-", stdin=rendered)


def test_an_unknown_value_is_refused():
    done = run("helm", "template", RELEASE, str(CHART), "--set", "image.repositry=x", check=False)
    assert done.returncode != 0 and "repositry" in done.stderr


@pytest.mark.only(sentinels=3)
def test_taken_away_and_installed_again_while_instances_run(instance, values):
    uids = {pod["metadata"]["uid"] for pod in instance.pods()}
    with faults.Writer(faults.connect(instance)) as writer:
        until("writes", lambda: writer.count() >= 200, 30)
        helm("uninstall", RELEASE, "--wait", "--timeout", "120s")
        until("the operator is gone", lambda: not Operator.pods(), 60, poll=0.3)
        assert instance.get()["metadata"].get("deletionTimestamp") is None
        gone = faults.time.monotonic()
        until("writes go on without it", lambda: writer.acknowledged_after(gone) >= 200, 30)
        assert {pod["metadata"]["uid"] for pod in instance.pods()} == uids
        old = next(pod for pod, (role, _) in instance.roles().items() if role == "master")
        epoch = instance.epoch()
        instance.kill(old)
        new = instance.wait_elected(epoch)
        install(values)
        assert instance.wait_agreed() == new
    assert {pod["metadata"]["uid"] for pod in instance.pods()} == uids
    with instance.client(socket_timeout=10) as client:
        assert writer.missing(client) == []
