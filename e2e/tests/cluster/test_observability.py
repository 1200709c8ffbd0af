"""Metrics in Prometheus' text format with every series that dashboard and alerts read, probes, Events, and logs in JSON."""

import json
import pathlib
import re
import urllib.error
import urllib.request

import pytest
from harness.cluster import METRICS_PORT, OPERATOR_PORT, SYSTEM, Operator, kubectl
from harness.wait import until

FILES = pathlib.Path(__file__).resolve().parents[3] / "charts" / "redis-replicaset-operator" / "files"
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*",?)*\})? ([^ ]+)( \d+)?')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
# Only while there is something to count.
SOMETIMES = {"redis_db_keys", "redis_slave_repl_offset", "redis_master_link_up"}


def fetch(host, port, path):
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as response:
        return response.read().decode()


def series(text):
    """{(name, labels): value}; every line must be of the format, every series have a type."""
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert kind in ("counter", "gauge", "histogram", "summary", "untyped"), line
            assert name not in types, f"twice: {line}"
            types[name] = kind
        elif line and not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line!r}"
            key = match[1], tuple(sorted(LABEL.findall(match[2] or "")))
            assert key not in found, f"twice: {line}"
            found[key] = float(match[3])
    for name, _ in found:
        assert name in types or re.sub("_(bucket|sum|count)$", "", name) in types, f"{name} has no type"
    return found


def names(found):
    return {name for name, _ in found}


def read_by_people(prefix):
    """Names of the series that the dashboard and the alerts read."""
    text = "".join(path.read_text() for path in FILES.iterdir())
    return set(re.findall(rf"\b{prefix}_[a-z0-9_]+", text))


def operator_host():
    return Operator.leader()["status"]["podIP"]


def test_operator_metrics(instance):
    def probe():
        return series(fetch(operator_host(), OPERATOR_PORT, "/metrics"))
    found = probe()
    assert read_by_people("rrs") and read_by_people("rrs") <= names(found), read_by_people("rrs") - names(found)
    labels = {"namespace": instance.namespace.name, "name": instance.name}
    until("the instance is shown as ready", lambda: any(
        name == "rrs_instance_ready" and labels.items() <= dict(found_labels).items() and value == 1
        for (name, found_labels), value in probe().items()), 30)


def test_datanode_metrics(instance):
    master = instance.wait_agreed()
    with instance.client() as client:
        client.set("counted", 1)
        client.get("counted")
    seen = set()
    for pod in instance.data_pods():
        found = series(fetch(instance.host(pod), METRICS_PORT, "/metrics"))
        seen |= names(found)
        assert found["redis_up", ()] == 1
        missing = read_by_people("redis") - names(found) - SOMETIMES
        assert not missing, f"{pod}: {missing}"
        role = "master" if pod == master else "slave"
        assert any(name == "redis_instance_info" and dict(labels)["role"] == role for name, labels in found)
    assert SOMETIMES <= seen


@pytest.mark.only(sentinels=3)
def test_sentinel_metrics(instance):
    for pod in instance.sentinel_pods():
        found = names(series(fetch(instance.host(pod), METRICS_PORT, "/metrics")))
        assert {"redis_up", "redis_sentinel_masters", "redis_sentinel_master_ok_sentinels"} <= found


def test_probes(instance):
    for host, port in [(instance.host(pod), METRICS_PORT) for pod in instance.data_pods()] + [(operator_host(), OPERATOR_PORT)]:
        fetch(host, port, "/livez")
        # Another test's fault may be just over: a member that catches up says so.
        until(f"{host} says it is ready", lambda: fetch(host, port, "/readyz"), 30, ignore=(urllib.error.HTTPError,))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(host, port, "/nothing")


def test_every_decision_is_an_event(instance):
    old, epoch = instance.wait_agreed(), instance.epoch()
    instance.kill(old)
    new = instance.wait_elected(epoch)
    instance.wait_agreed()

    def told():
        return [event for event in instance.events() if new in event["message"] and event["reason"] not in ("Created",)]
    until("an Event tells of the new master", told, 30)
    for event in instance.events():
        assert re.fullmatch("[A-Z][A-Za-z]+", event["reason"]) and event["message"], event
        assert event["type"] in ("Normal", "Warning")


@pytest.mark.parametrize("who", ["operator", "datanode", "sentinel"])
def test_logs_are_json(instance, who):
    if who == "operator":
        text = Operator.log(tail=-1)
    else:
        pods = instance.sentinel_pods() if who == "sentinel" else instance.data_pods()
        text = "".join(instance.logs(pod) for pod in pods)
    for line in text.splitlines():
        entry = json.loads(line)
        assert entry["level"] in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR") and entry["timestamp"], line
        assert entry.get("message") or entry.get("fields", {}).get("message"), line


def test_the_password_is_in_no_log(instance):
    texts = [Operator.log(tail=-1)] + [instance.logs(pod["metadata"]["name"]) for pod in instance.pods()]
    assert not any(instance.password in text for text in texts)


