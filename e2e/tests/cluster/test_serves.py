"""A resource is applied and becomes Ready; clients write through NAME, read through NAME-replicas, and ask the sentinels."""

import pytest
import redis
from harness import cluster, dataset
from harness.cluster import GROUP, PROBLEMS
from harness.wait import until


def test_writes_through_the_service_and_reads_through_the_replicas(instance):
    with instance.client() as writer, instance.reader() as reader:
        expected = dataset.write(writer)
        assert writer.role()[0] == "master"
        until("the replicas have it", lambda: dataset.read(reader) == expected, ignore=PROBLEMS)
        for _ in range(10):
            with instance.reader() as another:
                assert another.role()[0] == "slave"
        with pytest.raises(redis.exceptions.ReadOnlyError):
            reader.set("a", "1")


def test_everybody_agrees_on_the_master(instance):
    master = instance.wait_agreed()
    assert instance.get()["status"]["master"] == master


@pytest.mark.only(sentinels=3)
def test_sentinels_lead_redis_py_to_the_master(instance):
    master = instance.wait_agreed()
    discovery = instance.discovery()
    assert discovery.discover_master(instance.name) == (instance.host(master), 6379)
    replicas = {instance.host(pod) for pod in instance.data_pods() if pod != master}
    assert {host for host, _ in discovery.discover_slaves(instance.name)} == replicas
    with discovery.master_for(instance.name) as client:
        assert client.set("by-sentinel", "1")
        assert client.wait(2, 5000) == 2
    with discovery.slave_for(instance.name) as client:
        assert client.role()[0] == "slave" and client.get("by-sentinel") == "1"
    with instance.connect(instance.service("-sentinel"), 26379) as client:
        assert client.sentinel_master(instance.name)["num-other-sentinels"] == instance.spec["sentinels"] - 1
        assert client.execute_command("SENTINEL", "CKQUORUM", instance.name).startswith("OK")


def test_the_client_in_the_container_knows_the_password(instance):
    for pod in instance.data_pods():
        assert instance.namespace.kubectl("exec", pod, "--", "redis-cli", "dbsize").strip().isdigit()
    for pod in instance.sentinel_pods():
        found = instance.namespace.kubectl("exec", pod, "--", "redis-cli", "-p", "26379", "sentinel", "get-master-addr-by-name",
                                           instance.name)
        assert found.split() == [instance.host(instance.wait_agreed()), "6379"]


def test_status_says_what_is(instance):
    resource, spec = instance.get(), instance.spec
    status = resource["status"]
    assert status["observedGeneration"] == resource["metadata"]["generation"]
    assert (status["mastersReady"], status["replicasReady"]) == ("1/1", "2/2")
    assert status["sentinelsReady"] == f"{spec['sentinels']}/{spec['sentinels']}"
    (shard,) = status["shards"]
    assert shard["slots"] == "0-16383" and shard["epoch"] >= 1 and len(shard["dataset"]) == 40
    for condition in status["conditions"]:
        assert condition["reason"] and condition["lastTransitionTime"], condition
    columns = cluster.kubectl("-n", instance.namespace.name, "get", "rrs", instance.name).splitlines()[0].split()
    assert columns[0] == "NAME" and {"READY", "MASTERS", "REPLICAS", "SENTINELS", "MASTER", "AGE"} <= set(columns)


def test_objects_and_how_locked_down_they_are(instance):
    name, space = instance.name, instance.namespace.name
    found = {item["metadata"]["name"] for item in cluster.items("services", space)}
    wanted = {name, f"{name}-replicas", f"{name}-nodes"} | ({f"{name}-sentinel"} if instance.spec["sentinels"] else set())
    assert wanted <= found
    uid = instance.get()["metadata"]["uid"]
    for kind in ("statefulsets", "services", "configmaps", "poddisruptionbudgets"):
        owned = cluster.items(kind, space, f"{GROUP}/name={name}")
        assert owned, kind
        for item in owned:
            assert item["metadata"]["ownerReferences"][0]["uid"] == uid, item["metadata"]["name"]
    assert len(instance.password) >= 16
    claims = [item["metadata"]["name"] for item in cluster.items("persistentvolumeclaims", space)]
    assert {f"data-{pod}" for pod in instance.data_pods()} <= set(claims)
    nodes = {instance.node_of(pod) for pod in instance.data_pods()}
    assert len(nodes) == 3, "members keep off each other's nodes"
    for pod in instance.pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_a_password_is_needed_and_a_wrong_one_refused(instance):
    for hosts in ((instance.service(), 6379), (instance.service("-replicas"), 6379),
                  *([(instance.service("-sentinel"), 26379)] if instance.spec["sentinels"] else [])):
        with pytest.raises(redis.AuthenticationError):
            instance.connect(*hosts, password="wrong").ping()
        with pytest.raises(redis.AuthenticationError):
            instance.connect(*hosts, password=None, protocol=2).ping()
