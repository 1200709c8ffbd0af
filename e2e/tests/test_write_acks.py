"""Replies to writes that are held until replicas have them, in memory (`write-ack-replicas`) or on disk (`write-ack-fsync`),
as settings of a data server and, by a shard map, of its members."""

import contextlib
import json
import threading
import time

import pytest
import redis
from harness.wait import until
from harness.writer import Writer
from test_managed import DATASET, ERRORS, Shard

AOF = {"appendonly": "yes", "appendfsync": "everysec"}
DISKS = {**AOF, "write-ack-fsync": "yes"}
HELD_S = 0.7
# Acknowledgements that only came by themselves, once a second, or syncs, would take as many seconds.
WRITES, SOON_S = 40, 10


def pair(servers, ours, replicas, directives, of_replicas=()):
    """A master and replicas that are in sync with it."""
    master = servers.start(ours, directives)
    follow = {"replicaof": f"127.0.0.1 {master.port}", **dict(of_replicas)}
    others = [servers.start(replica, follow) for replica in replicas]
    with master.client() as client:
        until("the replicas are online", lambda: sum(client.info("replication")[f"slave{n}"]["state"] == "online"
                                                     for n in range(len(others))) == len(others), 20, ignore=(KeyError,))
    return master, *others


@contextlib.contextmanager
def written(master, key="held", value="1"):
    """A write under way; gives the list in which its answer will be."""
    answers = []

    def write():
        with master.client(socket_timeout=20) as client:
            answers.append(client.set(key, value))
    thread = threading.Thread(target=write)
    thread.start()
    try:
        with master.client() as client:
            until("others see the write", lambda: client.get(key) == value)
        yield answers
    finally:
        thread.join(20)


def stays_unanswered(master):
    with master.client(socket_timeout=HELD_S) as client, pytest.raises(redis.TimeoutError):
        client.set("unanswered", "1")


def answers_soon(master):
    begun = time.monotonic()
    with master.client() as client:
        for n in range(WRITES):
            assert client.set(f"soon:{n}", n)
    assert time.monotonic() - begun < SOON_S


def replication(server):
    with server.client() as client:
        return client.info("replication")


@pytest.mark.parametrize("kind", ["ours", "peer"])
def test_a_reply_waits_for_a_replica_in_memory(servers, ours, request, kind):
    master, replica = pair(servers, ours, [request.getfixturevalue(kind)], {"write-ack-replicas": 1})
    answers_soon(master)
    with replica.frozen():
        with written(master) as answers:
            until("the server says what it waits for",
                  lambda: (i := replication(master))["write_ack_held_replies"] == 1 and i["write_ack_missing_replicas"] == 1)
            assert replication(master)["write_ack_oldest_ms"] >= 0
            time.sleep(HELD_S)  # nothing is to happen meanwhile
            assert answers == []
            replica.process.send_signal(18)
    assert answers == [True]
    replica.kill()
    stays_unanswered(master)
    with master.client() as client:
        assert client.get("unanswered") == "1"
        client.config_set("write-ack-replicas", 0)
        assert client.set("a", "1")


def test_two_replicas_of_two_kinds_are_needed(servers, ours, peer):
    master, one, two = pair(servers, ours, [ours, peer], {"write-ack-replicas": 2})
    answers_soon(master)
    for replica in (one, two):
        with replica.frozen(), written(master, f"without {replica.port}") as answers:
            time.sleep(HELD_S)  # nothing is to happen meanwhile
            assert answers == []
            replica.process.send_signal(18)
        assert answers == [True]


def test_pipelines_transactions_and_scripts(servers, ours, peer):
    master, replica = pair(servers, ours, [peer], {"write-ack-replicas": 1})
    with master.client() as client, client.pipeline(transaction=False) as pipe, client.pipeline() as transaction:
        for n in range(1000):
            pipe.incr("n").get("n")
        assert pipe.execute() == [n // 2 + 1 if n % 2 == 0 else str(n // 2 + 1) for n in range(2000)]
        assert transaction.set("a", "1").get("a").execute() == [True, "1"]
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "n") == 1001
        with replica.frozen():
            with master.client(socket_timeout=HELD_S) as other, pytest.raises(redis.TimeoutError):
                other.eval("return redis.call('INCR', KEYS[1])", 1, "n")
            assert client.get("n") == "1002"


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_a_reply_waits_for_disks(servers, ours, appendfsync):
    master, replica = pair(servers, ours, [ours], {**DISKS, "appendfsync": appendfsync, "write-ack-replicas": 1},
                           {**DISKS, "appendfsync": appendfsync})
    answers_soon(master)
    info = replication(master)
    assert info["write_ack_fsync"] == 1 and info["slave0"]["fsynced"] > 0
    with replica.frozen():
        stays_unanswered(master)


def test_a_replica_that_syncs_once_a_second_holds_replies_up_as_long(servers, ours):
    """It has not been told that somebody waits; but it says so when it has synced."""
    master, _ = pair(servers, ours, [ours], {**DISKS, "write-ack-replicas": 1}, AOF)
    with master.client() as client:
        begun = time.monotonic()
        for n in range(3):
            assert client.set(f"slow:{n}", n)
        assert 1 < time.monotonic() - begun < 3 * 2.5


@pytest.mark.parametrize("kind, directives", [("ours", {}), ("peer", AOF)], ids=["without AOF", "Redis 7.0"])
def test_a_replica_that_does_not_tell_of_its_disk_does_not_count(servers, ours, request, kind, directives):
    master, replica = pair(servers, ours, [request.getfixturevalue(kind)], {**DISKS, "write-ack-replicas": 1}, directives)
    with written(master) as answers:
        until("the own disk has it", lambda: replication(master)["write_ack_missing_own_fsync"] == 0)
        time.sleep(1 + HELD_S)  # nothing is to happen though the replica acknowledges by itself, too
        info = replication(master)
        assert (answers, info["write_ack_missing_replicas"], info["slave0"]["fsynced"]) == ([], 1, "none")
        if kind == "ours":
            with replica.client() as client:
                client.config_set("appendonly", "yes")
        else:
            with master.client() as client:
                client.config_set("write-ack-fsync", "no")
    assert answers == [True]


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_all_killed_at_once_have_all_that_was_answered(servers, ours, appendfsync):
    directives = {**DISKS, "appendfsync": appendfsync}
    nodes = pair(servers, ours, [ours, ours], {**directives, "write-ack-replicas": 2}, directives)
    with Writer(lambda: nodes[0].client(socket_timeout=2), rate=2000) as writer:
        until("writes", lambda: writer.count() >= 1000, 20)
        for node in nodes:
            node.process.kill()
    for node in nodes:
        node.kill()
    for node in nodes:
        node.conf.write_text("".join(line for line in node.conf.read_text().splitlines(True) if "replicaof" not in line))
        node.start()
        with node.client() as client:
            assert writer.missing(client) == []


def test_kept_in_the_file(servers, ours):
    server = servers.start(ours, AOF)
    with server.client() as client:
        assert client.config_get("write-ack-*") == {"write-ack-replicas": "0", "write-ack-fsync": "no"}
        client.config_set("write-ack-fsync", "yes")
        client.config_set("write-ack-replicas", 1)
        client.config_rewrite()
    lines = server.conf.read_text().splitlines()
    assert "write-ack-fsync yes" in lines and "write-ack-replicas 1" in lines
    server.kill()
    server.start()
    stays_unanswered(server)
    with server.client() as client:
        assert client.config_get("write-ack-*") == {"write-ack-replicas": "1", "write-ack-fsync": "yes"}
        with pytest.raises(redis.ResponseError, match="write-ack-fsync waits for the append-only file"):
            client.config_set("appendonly", "no")


def test_disks_without_a_log_are_refused_at_the_start(servers, ours):
    server = servers.new(ours, {"write-ack-fsync": "yes", "appendonly": "no"})
    server.spawn()
    assert server.wait_exit() != 0
    assert "write-ack-fsync waits for the append-only file: it needs appendonly yes" in server.log()


def test_who_follows_another_closes_what_it_has_not_acknowledged(servers, ours):
    old, new = servers.start(ours, {"write-ack-replicas": 1}), servers.start(ours)
    outcome = []

    def write():
        with old.client(socket_timeout=20) as client:
            try:
                outcome.append(client.set("a", "1"))
            except redis.ConnectionError as e:
                outcome.append(type(e))
    thread = threading.Thread(target=write)
    thread.start()
    with old.client() as client:
        until("the write is there", lambda: client.get("a") == "1")
        client.replicaof("127.0.0.1", new.port)
    thread.join(20)
    assert outcome == [redis.ConnectionError]


class Disks(Shard):
    """Its map asks for disks, and its nodes sync once a second if nobody does."""

    def map(self, *args, **more):
        return super().map(*args, **{"writeAckFsync": True, **more})


@pytest.fixture
def disks(servers, ours):
    shard = Disks(servers, ours)
    for node in shard.nodes:
        with node.client() as client:
            client.config_set("appendfsync", "everysec")
    shard.found(shard.nodes[0])
    return shard


def test_under_a_shard_map_the_map_rules(disks):
    master, *replicas = disks.nodes
    assert json.loads(disks.say(master, "MAP"))["writeAckFsync"] is True
    answers_soon(master)
    with master.client() as client:
        client.config_set("write-ack-fsync", "yes")
        client.config_set("write-ack-replicas", 2)
        with replicas[0].frozen():
            assert client.set("one is enough", "1")
    with replicas[0].frozen(), replicas[1].frozen():
        stays_unanswered(master)
    # The next topology no longer asks for disks.
    for node in disks.nodes:
        with node.client() as client:
            client.config_set("write-ack-fsync", "no")
    disks.offer(disks.map(master, 1, writeAckFsync=False, generation=2))
    assert "writeAckFsync" not in json.loads(disks.say(master, "MAP"))
    assert replication(master)["write_ack_fsync"] == 0
    answers_soon(master)


def test_members_that_keep_no_log_do_not_count_and_a_master_without_refuses(disks):
    master, *replicas = disks.nodes
    for node in replicas:
        with node.client() as client:
            client.config_set("appendonly", "no")
    stays_unanswered(master)
    with replicas[1].client() as client:
        client.config_set("appendonly", "yes")
    with master.client() as client:
        assert client.set("a", "1")
        client.config_set("appendonly", "no")
        with pytest.raises(redis.ResponseError, match="MISCONF Writes are to be acknowledged when they are on disk"):
            client.set("b", "1")
    assert disks.status(master)["writable"] is False


def test_all_members_killed_at_once_lose_nothing_that_was_answered(disks):
    with Writer(lambda: disks.leader.client(socket_timeout=2), rate=500) as writer:
        for turn in range(2):
            until("writes", lambda: writer.count() >= 300 * (turn + 1), 20)
            for node in disks.nodes:
                node.process.kill()
            for node in disks.nodes:
                node.kill()
                node.start()
            for node in disks.nodes:
                assert json.loads(disks.say(node, "MAP"))["writeAckFsync"] is True
            disks.elect()
    with disks.leader.client() as client:
        assert writer.missing(client) == []
    assert all(disks.status(node)["dataset"] == DATASET for node in disks.nodes)


def test_an_election_after_the_loss_of_the_master_has_all_that_was_answered(disks):
    with Writer(lambda: disks.leader.client(socket_timeout=2), rate=500) as writer:
        until("writes", lambda: writer.count() >= 300, 20)
        dead = disks.leader
        dead.kill()
        disks.elect([node for node in disks.nodes if node is not dead])
        until("writes go on", lambda: writer.count() >= 600, 20)
    with disks.leader.client() as client:
        assert writer.missing(client) == []
    dead.start()
    disks.offer(disks.map(disks.leader, disks.epoch), [dead])
    until("it follows", lambda: disks.status(dead)["linkUp"], 20, ignore=ERRORS)
