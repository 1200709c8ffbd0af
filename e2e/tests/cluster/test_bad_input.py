"""What is wrong is said in a condition that names it; nothing on a volume is overwritten; put right, it goes on with its data."""

import base64
import shlex

import pytest
from harness import dataset
from harness.cluster import GROUP, PROBLEMS, on_node
from harness.wait import until


def alone(**persistence):
    """The smallest instance: what happens to its one member is not mended by others."""
    return {"replicas": 0, "sentinels": 0, "persistence": {**persistence, "storage": {"size": "1Gi", "whenDeleted": "Delete"}}}


AOF_ONLY = alone(rdb={"save": []}, aof={"enabled": True, "fsync": "always"})
RDB_ONLY = alone(rdb={"save": ["3600 1"]}, aof={"enabled": False})


def named(instance, *words):
    """Waits until a condition that is not as it should be contains all the words; returns it."""
    def probe():
        for kind, one in instance.conditions().items():
            bad = one["status"] == ("False" if kind == "Ready" else "True")
            if bad and all(word.lower() in f"{one['reason']}: {one['message']}".lower() for word in words):
                return one
        return None
    return instance.explained(f"a condition that names {words}", probe, 120)


class Volume:
    """Files of a member's volume, as root on its node."""

    def __init__(self, instance, pod):
        self._node, self.path = instance.volume(pod)

    def run(self, script):
        return on_node(self._node, f"cd {shlex.quote(self.path)}; {script}")

    def fingerprint(self, pattern):
        return self.run(f"find . -type f -name {shlex.quote(pattern)} -exec sha256sum {{}} + | sort")


def filled(namespace, name, spec):
    instance = namespace.instance(name, spec)
    instance.wait_agreed()
    with instance.client(socket_timeout=10) as client:
        expected = dataset.write(client)
        client.save()
    return instance, f"{name}-0-0", expected


def damage_and_mend(namespace, name, spec, pattern, damage, mend, words):
    """Damages files of the only member while it is down, checks what is said and that they stay as they are, and mends them."""
    instance, pod, expected = filled(namespace, name, spec)
    volume = Volume(instance, pod)
    node, pid = instance.process(pod)
    on_node(node, f"kill -STOP {pid}; cd {shlex.quote(volume.path)}; {damage}; kill -9 {pid}")
    before = volume.fingerprint(pattern)
    assert before
    named(instance, pod, *words)
    def logged():
        log = instance.logs(pod, check=False).lower()
        return all(word in log for word in words)
    until(f"the log says {words}", logged, 60)
    assert volume.fingerprint(pattern) == before
    volume.run(mend)
    # A container that has failed often is started later and later; a new pod begins anew.
    instance.delete_pods(pod, force=True)
    instance.wait_agreed()
    with instance.client(socket_timeout=10) as client:
        assert dataset.read(client) == expected


def test_corrupt_rdb(namespace):
    damage_and_mend(namespace, "rdb", RDB_ONLY, "dump.rdb*",
                    "f=$(find . -name dump.rdb); cp $f /tmp/good.rdb;"
                    " printf XXXX | dd of=$f bs=1 seek=200 conv=notrunc 2>/dev/null",
                    "f=$(find . -name dump.rdb); cat /tmp/good.rdb > $f", ["dump.rdb"])


def test_aof_damaged_in_its_middle(namespace):
    damage_and_mend(namespace, "aof", AOF_ONLY, "*.aof*",
                    "f=$(find . -name '*.incr.aof' | sort | tail -n1); cp $f /tmp/good.aof;"
                    # The head of a command: damage inside a value cannot be noticed, a log has no checksums.
                    " at=$(grep -abo '^[*]' $f | cut -d: -f1 | awk '{at[NR] = $1} END {print at[int((NR + 1) / 2)]}');"
                    " printf '!!!!!!!!' | dd of=$f bs=1 seek=$at conv=notrunc 2>/dev/null",
                    "f=$(find . -name '*.incr.aof' | sort | tail -n1); cat /tmp/good.aof > $f", ["append only file"])


def test_unreadable_volume(namespace):
    damage_and_mend(namespace, "unreadable", RDB_ONLY, "dump.rdb*", "chmod 000 $(find . -name dump.rdb)",
                    "chmod 644 $(find . -name dump.rdb)", ["permission denied"])


def test_aof_cut_at_its_end_is_loaded_up_to_there(namespace):
    instance, pod, expected = filled(namespace, "cut", AOF_ONLY)
    with instance.client() as client:
        client.set("last", "x" * 1000)
    volume = Volume(instance, pod)
    node, pid = instance.process(pod)
    on_node(node, f"kill -STOP {pid}; cd {shlex.quote(volume.path)}; f=$(find . -name '*.incr.aof' | sort | tail -n1);"
                  f" truncate -s -10 $f; kill -9 {pid}")
    until("it was started again", lambda: instance.process(pod)[1] != pid, 60, ignore=(RuntimeError, ValueError, KeyError))
    instance.wait_agreed()
    with instance.client(socket_timeout=10) as client:
        assert dataset.read(client) == expected
        assert not client.exists("last")
    assert "truncat" in instance.logs(pod).lower()


def test_a_replica_with_a_damaged_file_is_named_and_the_rest_serves(instance):
    master = instance.wait_agreed()
    with instance.client() as client:
        expected = dataset.write(client, "beside:")
    victim = next(pod for pod in instance.data_pods() if pod != master)
    volume = Volume(instance, victim)
    node, pid = instance.process(victim)
    on_node(node, f"kill -STOP {pid}; cd {shlex.quote(volume.path)}; for f in $(find . -name '*.aof' -o -name '*.rdb');"
                  f" do printf XXXXXXXX | dd of=$f bs=1 conv=notrunc 2>/dev/null; done; kill -9 {pid}")
    try:
        named(instance, victim)
        with instance.client() as client:
            assert dataset.read(client, "beside:") == expected and client.set("beside", 1)
    finally:
        volume.run("find . -mindepth 1 -delete")
        instance.delete_pods(victim, force=True)
    instance.wait_agreed()


def test_unknown_directive(instance):
    uids = {pod["metadata"]["uid"] for pod in instance.pods()}
    generation = instance.get()["metadata"]["generation"]
    instance.patch({"config": {"no-such-directive": "1"}})
    named(instance, "no-such-directive")
    with instance.client() as client:
        assert client.set("still", "served")
    assert len(uids & {pod["metadata"]["uid"] for pod in instance.pods()}) >= len(uids) - 1, "at most one member was tried with it"
    instance.patch({"config": None})
    instance.wait_reached()
    assert instance.get()["metadata"]["generation"] > generation


def test_bad_value_of_a_directive(instance):
    instance.patch({"config": {"maxmemory-policy": "keep-what-matters"}})
    named(instance, "maxmemory-policy")
    with instance.client() as client:
        assert client.set("still", "served")
    instance.patch({"config": None})
    instance.wait_reached()


@pytest.mark.parametrize("data, word", [({"passwort": "x"}, "password"), ({"password": ""}, "password")], ids=["no key", "empty"])
def test_secret_without_a_password(namespace, data, word):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "given"}, "stringData": data}
    namespace.apply(secret)
    instance = namespace.instance("secretive", {"replicas": 0, "sentinels": 0, "auth": {"secretName": "given"},
                                                "persistence": {"rdb": {"save": []}, "aof": {"enabled": False}}})
    named(instance, "given", word)
    namespace.apply({**secret, "stringData": {"password": "right"}})
    instance._password = "right"
    instance.wait_agreed()
    with instance.client() as client:
        assert client.ping()
    labels = [pod["metadata"]["labels"][f"{GROUP}/role"] for pod in instance.pods()]
    assert labels == ["master"]


@pytest.mark.timeout(300)
def test_secret_that_is_not_what_the_members_use(instance):
    """Somebody overwrites the Secret: the members go on with what they have until they are told, and it is said so."""
    name, space = f"{instance.name}-auth", instance.namespace
    old = instance.password
    space.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                 "data": {"password": base64.b64encode(b"another").decode()}})
    try:
        named(instance, "password")
    finally:
        space.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                     "data": {"password": base64.b64encode(old.encode()).decode()}})
    # A kubelet may just have brought the other one to some members; it takes it back when it looks again.
    instance.wait_reached(timeout=200)
    with instance.client() as client:
        until("the Service answers", client.ping, 30, ignore=PROBLEMS)
