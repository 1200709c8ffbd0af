"""Three masters: hash slots, redirections, cluster-aware clients; a shard that fails leaves the others alone."""

import contextlib

import pytest
import redis
from redis.exceptions import MovedError
from harness import faults, results
from harness.cluster import PROBLEMS, Operator, kubectl, run
from harness.wait import until
from harness.writer import Writer

SHARDS, SLOTS = 3, 16384


def tags(client):
    """A hash tag for each shard: {shard: tag}."""
    found = {}
    for n in range(1000):
        shard = client.execute_command("CLUSTER", "KEYSLOT", f"{{t{n}}}") * SHARDS // SLOTS
        found.setdefault(shard, f"t{n}")
        if len(found) == SHARDS:
            return found
    raise AssertionError("no hash tag found for every shard")


@pytest.fixture
def masters(shards):
    """The master's pod of each shard, once everybody agrees."""
    return [shards.wait_agreed(shard) for shard in range(SHARDS)]


def test_slots_are_spread_evenly_and_every_member_says_the_same(shards, masters):
    hosts = {shards.host(pod): pod for pod in shards.data_pods()}
    for pod in shards.data_pods():
        with shards.member(pod, protocol=2) as client:
            found = sorted(raw(client, "CLUSTER", "SLOTS"))
        assert [(low, high) for low, high, *_ in found] == [(0, 5460), (5461, 10922), (10923, 16383)]
        for shard, (_, _, master, *replicas) in enumerate(found):
            assert hosts[text(master[0])] == masters[shard] and master[1] == 6379
            assert {hosts[text(replica[0])] for replica in replicas} == set(shards.data_pods(shard)) - {masters[shard]}
    for index, shard in enumerate(shards.get()["status"]["shards"]):
        assert shard["slots"] == f"{found[index][0]}-{found[index][1]}"


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def raw(client, *words):
    """A reply as it comes, without redis-py's conversion of cluster commands."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*words)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def test_cluster_commands(shards, masters):
    identities = {}
    for pod in shards.data_pods():
        with shards.member(pod, protocol=2) as client:
            identities[pod] = raw(client, "CLUSTER", "MYID")
    assert len(set(identities.values())) == 2 * SHARDS and all(len(one) == 40 for one in identities.values())
    with shards.member(masters[0], protocol=2) as client:
        info = dict(line.split(":", 1) for line in text(raw(client, "CLUSTER", "INFO")).splitlines())
        assert (info["cluster_state"], info["cluster_slots_assigned"], info["cluster_slots_ok"]) == ("ok", "16384", "16384")
        assert (info["cluster_known_nodes"], info["cluster_size"]) == ("6", "3")
        assert raw(client, "CLUSTER", "KEYSLOT", "foo") == 12182
        assert raw(client, "CLUSTER", "KEYSLOT", "{foo}bar") == 12182
        nodes = [line.split() for line in text(raw(client, "CLUSTER", "NODES")).splitlines()]
        assert {node[0] for node in nodes} == set(identities.values())
        by_id = {identity: pod for pod, identity in identities.items()}
        for node in nodes:
            pod = by_id[node[0]]
            assert shards.host(pod) in node[1] and node[7] == "connected"
            flags = set(node[2].split(","))
            assert ("myself" in flags) == (pod == masters[0])
            if pod in masters:
                assert "master" in flags and node[3] == "-" and len(node) == 9
            else:
                assert "slave" in flags and by_id[node[3]] == masters[int(pod.split("-")[-2])]
        described = raw(client, "CLUSTER", "SHARDS")
        assert len(described) == SHARDS
        for one in described:
            fields = {text(name): value for name, value in zip(one[::2], one[1::2])}
            assert len(fields["slots"]) == 2 and len(fields["nodes"]) == 2
        assert client.info("cluster")["cluster_enabled"] == 1


def test_redirections(shards, masters):
    with shards.member(masters[0]) as first:
        by_shard = tags(first)
        assert first.set(f"{{{by_shard[0]}}}here", 1)
        with pytest.raises(MovedError) as moved:
            first.set(f"{{{by_shard[1]}}}there", 1)
        assert (moved.value.host, moved.value.port) == (shards.host(masters[1]), 6379)
        with pytest.raises(redis.ResponseError, match="CROSSSLOT|hash to the same slot"):
            first.mset({f"{{{by_shard[0]}}}a": 1, f"{{{by_shard[1]}}}b": 2})
        assert first.mset({f"{{{by_shard[0]}}}a": 1, f"{{{by_shard[0]}}}b": 2})
        with pytest.raises(redis.ResponseError):
            first.execute_command("SELECT", 1)
    replica = next(pod for pod in shards.data_pods(0) if pod != masters[0])
    with shards.member(replica, single_connection_client=True) as second:
        with pytest.raises(MovedError):
            second.get(f"{{{by_shard[0]}}}here")
        assert second.readonly()
        until("the replica serves the read", lambda: second.get(f"{{{by_shard[0]}}}here") == "1")
        with pytest.raises(MovedError):
            second.set(f"{{{by_shard[0]}}}here", 2)
        second.readwrite()
        with pytest.raises(MovedError):
            second.get(f"{{{by_shard[0]}}}here")


def test_redis_py_cluster_client(shards, masters):
    with contextlib.closing(shards.cluster_client()) as client:
        assert client.mset_nonatomic({f"key:{n}": n for n in range(1000)})
        assert client.mget_nonatomic([f"key:{n}" for n in range(1000)]) == [str(n) for n in range(1000)]
        with client.pipeline() as pipe:
            for n in range(200):
                pipe.incr(f"key:{n}")
            assert pipe.execute() == [n + 1 for n in range(200)]
        assert client.cluster_keyslot("foo") == 12182
        assert len(client.get_primaries()) == SHARDS and len(client.get_replicas()) == SHARDS
        assert sum(1 for _ in client.scan_iter(match="key:*", count=100)) == 1000
    counts = []
    for pod in masters:
        with shards.member(pod) as member:
            counts.append(member.dbsize())
    assert all(count > 200 for count in counts), counts


def test_redis_cli_follows_redirections(shards, masters):
    script = "".join(f"set cli:{n} {n}\n" for n in range(60)) + "".join(f"get cli:{n}\n" for n in range(60))
    done = run("redis-cli", "-c", "--no-auth-warning", "-a", shards.password, "-h", shards.host(masters[0]), stdin=script)
    answers = [line for line in done.stdout.splitlines() if line and not line.startswith("->")]
    assert answers == ["OK"] * 60 + [str(n) for n in range(60)]


def test_failover_of_one_shard_leaves_the_others_undisturbed(shards, masters):
    with shards.member(masters[0]) as client:
        by_shard = tags(client)
    epochs = [shards.epoch(shard) for shard in range(SHARDS)]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Writer(shards.cluster_client, threads=2, tag=by_shard[shard])) for shard in range(SHARDS)]
        until("writes to every shard", lambda: all(writer.count() >= 100 for writer in writers), 60)
        struck = faults.time.monotonic()
        shards.kill(masters[1])
        new = shards.wait_elected(epochs[1], shard=1)
        until("writes to it go on", lambda: writers[1].acknowledged_after(struck + 0.5) >= 100, 60)
        assert shards.wait_agreed(1) == new
    with contextlib.closing(shards.cluster_client()) as client:
        missing = [writer.missing(client) for writer in writers]
    for shard, writer in enumerate(writers):
        results.record("process killed: " + ("its shard" if shard == 1 else "other shards"), kind="masters: 3",
                       outage_s=round(writer.outage(), 3), acknowledged=writer.count(), lost=len(missing[shard]))
    assert missing == [[], [], []]
    assert writers[0].outage() < 1.5 and writers[2].outage() < 1.5, [writer.outage() for writer in writers]
    assert [shards.epoch(shard) for shard in (0, 2)] == [epochs[0], epochs[2]]
    assert [shards.master(shard) for shard in (0, 2)] == [masters[0], masters[2]]


def test_a_shard_that_is_all_gone_takes_exactly_its_slots_with_it(shards, masters):
    with contextlib.closing(shards.cluster_client()) as client:
        expected = {f"whole:{n}": str(n) for n in range(300)}
        client.mset_nonatomic(expected)
        shard_of = {key: client.cluster_keyslot(key) * SHARDS // SLOTS for key in expected}
    dataset = shards.get()["status"]["shards"][1]["dataset"]
    with Operator.stopped():
        kubectl("-n", shards.namespace.name, "scale", "statefulset", f"{shards.name}-1", "--replicas=0")
        until("its pods are gone", lambda: not shards.pods(shard=1), 90, poll=0.3)

        def as_it_should_be():
            for pod in (masters[0], masters[2]):
                own = int(pod.split("-")[-2])
                with shards.member(pod, single_connection_client=True) as client:
                    for key, value in list(expected.items())[:60]:
                        try:
                            assert client.get(key) == value and shard_of[key] == own, key
                        except MovedError as moved:
                            assert moved.slot_id * SHARDS // SLOTS == shard_of[key] != own
                        except redis.ResponseError as error:
                            assert "CLUSTERDOWN" in f"{type(error).__name__} {error}".upper() and shard_of[key] == 1, error
                    key = next(key for key in expected if shard_of[key] == own)
                    assert client.set(key, expected[key])
            return True
        until("the rest is served", as_it_should_be, 60, ignore=PROBLEMS)
        for key in [key for key in expected if shard_of[key] == 1][:3]:
            with pytest.raises(PROBLEMS):
                with shards.connect(shards.host(f"{shards.name}-1-0")) as client:
                    client.get(key)
    shards.wait_reached()
    shards.wait_agreed(1)
    assert shards.get()["status"]["shards"][1]["dataset"] == dataset
    with contextlib.closing(shards.cluster_client()) as client:
        assert client.mget_nonatomic(list(expected)) == list(expected.values())
