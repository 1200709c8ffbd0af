"""What the API server refuses, with words that say why; and what it fills in."""

import json

import pytest
from harness.api import CONTEXT, RRS, get
from harness.cluster import Namespace, Refused, run


@pytest.fixture(scope="module")
def empty():
    """A namespace in which nothing is made but what a test applies without the operator's doing: dry runs only."""
    namespace = Namespace("refusals")
    yield namespace
    namespace.delete()


def spec(**fields):
    return fields


REFUSED = {
    "no masters": (spec(masters=0), ["masters", "greater than or equal to 1"]),
    "negative masters": (spec(masters=-1), ["masters", "greater than or equal to"]),
    "negative replicas": (spec(replicas=-1), ["replicas", "greater than or equal to 0"]),
    "negative sentinels": (spec(sentinels=-3), ["sentinels"]),
    "one sentinel": (spec(sentinels=1), ["sentinels must be 0", "odd number of at least 3"]),
    "two sentinels": (spec(sentinels=2), ["sentinels must be 0", "odd number of at least 3"]),
    "four sentinels": (spec(sentinels=4), ["sentinels must be 0", "odd number of at least 3"]),
    "quorum too large": (spec(sentinels=3, failover={"quorum": 4}), ["quorum must not be larger than sentinels"]),
    "quorum without sentinels": (spec(sentinels=0, failover={"quorum": 1}), ["quorum must not be larger than sentinels"]),
    "acknowledging replicas": (spec(replicas=1, durability={"writeAckReplicas": 2}),
                               ["writeAckReplicas must not be larger than replicas"]),
    "acknowledging disks without replicas": (spec(replicas=1, durability={"writeAckFsync": True}),
                                             ["writeAckFsync needs writeAckReplicas of at least 1"]),
    "acknowledging disks of none": (spec(durability={"writeAckFsync": True, "writeAckReplicas": 0}),
                                    ["writeAckFsync needs writeAckReplicas of at least 1"]),
    "acknowledging disks without AOF": (spec(durability={"writeAckFsync": True}, persistence={"aof": {"enabled": False}}),
                                        ["writeAckFsync needs persistence.aof.enabled"]),
    "replicas needed": (spec(replicas=1, durability={"minReplicasToWrite": 2}),
                        ["minReplicasToWrite must not be larger than replicas"]),
    "save without changes": (spec(persistence={"rdb": {"save": ["900"]}}), ["save", "two numbers", "900 1"]),
    "save in words": (spec(persistence={"rdb": {"save": ["often"]}}), ["save", "two numbers"]),
    "save of zero seconds": (spec(persistence={"rdb": {"save": ["0 1"]}}), ["save", "two numbers"]),
    "save with three numbers": (spec(persistence={"rdb": {"save": ["900 1 300"]}}), ["save", "two numbers"]),
    "rewrite size": (spec(persistence={"aof": {"rewriteMinSize": "large"}}), ["rewriteMinSize", "64Mi"]),
    "volume size": (spec(persistence={"storage": {"size": "big"}}), ["size", "1Gi"]),
    "no volume size": (spec(persistence={"storage": {"size": "0"}}), ["size", "larger than zero"]),
    "fsync": (spec(persistence={"aof": {"fsync": "sometimes"}}), ["fsync", "everysec"]),
    "when deleted": (spec(persistence={"storage": {"whenDeleted": "Burn"}}), ["whenDeleted", "Retain"]),
    "volume for nothing": (spec(persistence={"rdb": {"save": []}, "aof": {"enabled": False}, "storage": {"size": "1Gi"}}),
                           ["RDB", "AOF", "both off"]),
    "down after": (spec(failover={"downAfter": "soon"}), ["downAfter", "1s"]),
    "down after nothing": (spec(failover={"downAfter": "0s"}), ["downAfter"]),
    "failover timeout": (spec(failover={"timeout": "-1s"}), ["timeout", "10s"]),
    "lag": (spec(durability={"minReplicasMaxLag": "10"}), ["minReplicasMaxLag", "10s"]),
    "memory": (spec(config={"maxmemory": "lots"}), ["256mb", "maxmemory"]),
    "memory quantity": (spec(resources={"limits": {"memory": "12 potatoes"}}), ["memory"]),
    "directive of the operator": (spec(config={"requirepass": "secret"}), ["config may not set", "requirepass"]),
    "directive with a field": (spec(config={"appendonly": "no"}), ["config may not set", "appendonly"]),
    "line break in a directive": (spec(config={"maxmemory-policy": "noeviction\nrequirepass x"}), ["config"]),
    "unknown field": (spec(shards=3), ["unknown field", "shards"]),
    "unknown field, deeper": (spec(persistence={"aof": {"fsnyc": "always"}}), ["unknown field", "fsnyc"]),
    "wrong kind of value": (spec(replicas="two"), ["replicas", "integer"]),
}

ACCEPTED = {
    "nothing": spec(),
    "without sentinels": spec(sentinels=0),
    "five sentinels": spec(sentinels=5, failover={"quorum": 3, "downAfter": "500ms", "timeout": "1m30s"}),
    "shards": spec(masters=3, replicas=1),
    "alone": spec(replicas=0, sentinels=0),
    "in memory": spec(persistence={"rdb": {"save": []}, "aof": {"enabled": False}}),
    "all fields": spec(
        masters=1, replicas=2, sentinels=3,
        persistence={"rdb": {"save": ["900 1", "300 10", "60 10000"], "compression": True, "checksum": True},
                     "aof": {"enabled": True, "fsync": "everysec", "rewritePercentage": 100, "rewriteMinSize": "64Mi",
                             "rdbPreamble": True},
                     "storage": {"size": "1Gi", "storageClassName": "standard", "whenDeleted": "Retain"}},
        durability={"writeAckReplicas": 1, "minReplicasToWrite": 1, "minReplicasMaxLag": "10s"},
        failover={"downAfter": "1s", "quorum": 2, "timeout": "10s", "parallelSyncs": 1},
        auth={"secretName": "orders-auth"}, config={"maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"},
        resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}),
}


def resource(fields, name="refused"):
    return {"apiVersion": "redis.replicaset.dev/v1alpha1", "kind": "RedisReplicaSet", "metadata": {"name": name}, "spec": fields}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(empty, name):
    fields, words = REFUSED[name]
    with pytest.raises(Refused) as refused:
        empty.apply(resource(fields), dry_run=True)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(empty, name):
    empty.apply(resource(ACCEPTED[name]), dry_run=True)


@pytest.mark.parametrize("name", ["A", "-a", "a" * 64, "orders-sentinel"])
def test_names_that_cannot_be(empty, name):
    with pytest.raises(Refused, match="name"):
        empty.apply(resource({}, name), dry_run=True)


def test_without_a_spec(empty):
    with pytest.raises(Refused, match="Required value|missing required field"):
        empty.apply({key: value for key, value in resource({}).items() if key != "spec"}, dry_run=True)


def test_what_cannot_be_changed_later(instance):
    before = instance.get()
    for change, words in (
        ({"masters": 3}, "masters cannot be changed"),
        ({"persistence": {"storage": {"size": "500Mi"}}}, "size|smaller|shrink"),
        ({"persistence": {"storage": {"storageClassName": "another"}}}, "storageClassName cannot be changed"),
        ({"replicas": 0}, "writeAckReplicas must not be larger"),
        ({"sentinels": 4}, "odd number"),
    ):
        with pytest.raises(Refused, match=words):
            instance.patch(change)
    assert instance.get()["spec"] == before["spec"]
    assert instance.get()["metadata"]["generation"] == before["metadata"]["generation"]


def test_schema_is_described_and_offers_no_scale():
    crd = get("customresourcedefinitions", RRS)
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1alpha1"]
    assert version["subresources"] == {"status": {}}
    assert crd["spec"]["names"]["shortNames"] == ["rrs"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert all(field.get("description") for field in spec["properties"].values())


def test_what_is_left_out_is_filled_in(empty):
    text = json.dumps(resource({}))
    done = run("kubectl", "--context", CONTEXT, "-n", empty.name, "apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=text)
    spec = json.loads(done.stdout)["spec"]
    assert (spec["masters"], spec["replicas"], spec["sentinels"]) == (1, 2, 3)
    assert spec["persistence"]["rdb"]["save"] == ["900 1", "300 10", "60 10000"]
    assert spec["persistence"]["aof"]["enabled"] is True and spec["persistence"]["aof"]["fsync"] == "everysec"
    assert spec["failover"]["downAfter"] == "1s"
