"""A resource is deleted: everything goes but what is kept; one of the same name takes the kept volumes over with their data."""

import pytest
from harness import dataset
from harness.cluster import GROUP, items
from harness.wait import until

KINDS = ("statefulsets", "services", "configmaps", "poddisruptionbudgets", "pods")


def leftovers(namespace, name):
    return [f"{kind}/{item['metadata']['name']}" for kind in KINDS for item in items(kind, namespace.name, f"{GROUP}/name={name}")]


def spec(when_deleted):
    return {"replicas": 1, "sentinels": 3, "durability": {"writeAckReplicas": 1},
            "persistence": {"storage": {"size": "1Gi", "whenDeleted": when_deleted}}}


def test_retained_volumes_are_taken_over_with_their_data(namespace):
    instance = namespace.instance("kept", spec("Retain"))
    instance.wait_agreed()
    with instance.client() as client:
        expected = dataset.write(client)
    dataset_id = instance.get()["status"]["shards"][0]["dataset"]
    instance.delete()
    until("only the volumes are left", lambda: not leftovers(namespace, "kept"), 120, poll=0.3)
    claims = {item["metadata"]["name"] for item in items("persistentvolumeclaims", namespace.name)}
    assert {"data-kept-0-0", "data-kept-0-1"} <= claims

    again = namespace.instance("kept", spec("Retain"))
    again.wait_agreed()
    assert again.get()["status"]["shards"][0]["dataset"] == dataset_id
    with again.client() as client:
        assert dataset.read(client) == expected
    for pod in again.data_pods():
        with again.member(pod) as client:
            until(f"{pod} has the data", lambda: dataset.read(client) == expected, 30)


def test_deleted_volumes_are_gone_and_a_new_resource_is_empty(namespace):
    instance = namespace.instance("gone", spec("Delete"))
    instance.wait_agreed()
    with instance.client() as client:
        dataset.write(client)
    instance.delete()
    until("nothing is left", lambda: not leftovers(namespace, "gone"), 120, poll=0.3)
    until("no volume is left", lambda: not [item for item in items("persistentvolumeclaims", namespace.name)
                                            if item["metadata"]["name"].startswith("data-gone-")], 120, poll=0.3)
    again = namespace.instance("gone", spec("Delete"))
    again.wait_agreed()
    with again.client() as client:
        assert client.dbsize() == 0


@pytest.mark.timeout(240)
def test_deleted_while_it_starts(namespace):
    instance = namespace.instance("early", spec("Delete"))
    until("its first pod is there", lambda: instance.pods(), 60, poll=0.2)
    instance.delete()
    until("nothing is left", lambda: not leftovers(namespace, "early"), 120, poll=0.3)
