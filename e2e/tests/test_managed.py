"""Datanodes under `managed yes`: they follow the newest shard map and nothing else. The test is the authority, and plays it
well and badly; see docs/architecture.md, "Rules of the datanode"."""

import json
import shutil
import threading
import time

import pytest
import redis
from harness.wait import until
from harness.writer import Writer

DATASET = "d" * 40
OTHER = "e" * 40
ERRORS = (redis.RedisError, OSError)


class Shard:
    """Three datanodes and an authority that remembers its map."""

    def __init__(self, servers, implementation, acknowledge=1, **directives):
        self.nodes = [servers.start(implementation, {"managed": "yes", "managed-shard": 0, "replica-announce-ip": "127.0.0.1",
                                                     "appendonly": "yes", "appendfsync": "always",
                                                     "repl-ping-replica-period": 1, **directives}) for _ in range(3)]
        self.acknowledge = acknowledge
        self.epoch, self.founded_at, self.leader = 0, 0, None

    def address(self, node):
        return f"127.0.0.1:{node.port}"

    def map(self, master, epoch, dataset=DATASET, founded_at=None, **more):
        return {"name": "orders", "generation": 1, "settled": True, "quorum": 2, "downAfterMs": 1000, "failoverTimeoutMs": 10000,
                "graceMs": 30000, "parallelSyncs": 1, "writeAckReplicas": self.acknowledge, "sentinels": [],
                "shards": [{"index": 0, "slots": [[0, 16383]], "members": [self.address(node) for node in self.nodes],
                            "epoch": epoch, "master": master and self.address(master), "dataset": dataset,
                            "foundedAt": self.founded_at if founded_at is None else founded_at, "acceptLoss": 0}], **more}

    def say(self, node, *words, timeout=10):
        with node.client(socket_timeout=timeout) as client:
            return client.execute_command("REPLICASET", *words)

    def status(self, node):
        return json.loads(self.say(node, "STATUS"))

    def offer(self, content, nodes=None):
        for node in nodes or self.nodes:
            self.say(node, "OFFER", json.dumps(content))

    def promise(self, epoch, nodes=None):
        return [json.loads(self.say(node, "PROMISE", 0, epoch)) for node in nodes or self.nodes]

    def found(self, master):
        """All promise epoch 1, and `master` founds the dataset."""
        self.promise(1)
        self.epoch, self.founded_at = 1, 1
        self.lead(master, 1)

    def lead(self, master, epoch, nodes=None):
        """Makes `master` master at `epoch`, and waits until the others follow."""
        self.epoch, self.leader = epoch, master
        self.offer(self.map(master, epoch), nodes)
        until(f"{master.port} is master", lambda: self.status(master)["role"] == "master", ignore=ERRORS)
        others = [node for node in nodes or self.nodes if node is not master]
        for node in others:
            until(f"{node.port} follows", lambda: (s := self.status(node))["role"] == "replica" and s["linkUp"], 20, ignore=ERRORS)
        until("its replicas are online", lambda: sum(r["online"] for r in self.status(master)["replicas"]) == len(others), 20)

    def elect(self, nodes=None):
        """An election as it should be: promises at the next epoch, the largest (epoch, offset) wins."""
        nodes = nodes or self.nodes
        answers = self.promise(self.epoch + 1, nodes)
        best = max(range(len(nodes)), key=lambda n: (answers[n]["dataset"] == DATASET, answers[n]["epoch"], answers[n]["offset"]))
        self.lead(nodes[best], self.epoch + 1, nodes)
        return nodes[best]


@pytest.fixture
def shard(servers, ours):
    return Shard(servers, ours)


@pytest.fixture
def founded(shard):
    shard.found(shard.nodes[0])
    return shard


def refused(node):
    """Whether a write is refused."""
    with node.client(socket_timeout=1) as client:
        try:
            client.set("refused?", "1")
        except redis.ResponseError:
            return True
    return False


def test_it_starts_as_nobody_and_refuses_writes(shard):
    for node in shard.nodes:
        status = shard.status(node)
        assert (status["role"], status["epoch"], status["dataset"], status["writable"]) == ("nobody", 0, None, False)
        assert status["node"] == shard.address(node) and len(status["runId"]) == 40
        assert shard.say(node, "MAP") is None
        assert refused(node)


def test_founding(shard):
    shard.found(shard.nodes[1])
    with shard.nodes[1].client() as client:
        assert client.set("a", "1")
    for node in shard.nodes:
        status = shard.status(node)
        assert (status["dataset"], status["mapEpoch"], status["promised"]) == (DATASET, 1, 1)
        with node.client() as client:
            until(f"{node.port} has it", lambda: client.get("a") == "1")
    assert refused(shard.nodes[0]) and refused(shard.nodes[2])


def test_nobody_founds_without_a_promise_of_that_epoch(shard):
    shard.founded_at = 1
    shard.offer(shard.map(shard.nodes[0], 1))
    assert shard.status(shard.nodes[0])["role"] != "master"
    assert refused(shard.nodes[0])


def test_an_old_map_and_one_sent_again_change_nothing(founded):
    old = founded.map(founded.nodes[0], 1)
    founded.promise(2)
    founded.lead(founded.nodes[1], 2)
    before = [{key: founded.status(node)[key] for key in ("role", "epoch", "mapEpoch", "masterHost")} for node in founded.nodes]
    for _ in range(3):
        founded.offer(old)
        founded.offer(founded.map(founded.nodes[1], 2))
    after = [{key: founded.status(node)[key] for key in ("role", "epoch", "mapEpoch", "masterHost")} for node in founded.nodes]
    assert after == before
    with founded.nodes[1].client() as client:
        assert client.set("a", "1")


def test_a_restarted_master_does_not_just_go_on(founded):
    master = founded.nodes[0]
    with master.client() as client:
        client.set("a", "1")
    master.kill()
    master.start()
    assert founded.status(master)["role"] != "master"
    founded.offer(founded.map(master, 1))
    assert founded.status(master)["role"] != "master" and refused(master)
    with founded.nodes[founded.nodes.index(founded.elect())].client() as client:
        assert client.get("a") == "1" and client.set("b", "2")


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_killed_members_still_count_and_have_all_that_was_acknowledged(servers, ours, appendfsync):
    shard = Shard(servers, ours, appendfsync=appendfsync)
    shard.found(shard.nodes[0])
    with shard.nodes[0].client() as client:
        for n in range(500):
            client.set(f"key:{n}", n)
        client.bgrewriteaof()
        for n in range(500, 1000):
            client.set(f"key:{n}", n)
    for node in shard.nodes:
        node.kill()
    left = shard.nodes[1:]
    for node in left:
        node.start()
    assert [shard.status(node)["intact"] for node in left] == [True, True]
    with shard.elect(left).client() as client:
        assert client.dbsize() == 1000


def test_without_an_append_only_file_killed_members_do_not_count(servers, ours):
    shard = Shard(servers, ours, appendonly="no", save="3600 1")
    shard.found(shard.nodes[0])
    with shard.nodes[0].client() as client:
        client.set("a", "1")
    for node in shard.nodes:
        node.kill()
    for node in shard.nodes[1:]:
        node.start()
    assert [shard.status(node)["intact"] for node in shard.nodes[1:]] == [False, False]


def test_a_log_that_is_switched_off_and_on_counts_once_it_is_whole(founded):
    replica = founded.nodes[1]
    state = lambda: json.loads((replica.dir / "replicaset.json").read_text())["seal"]
    until("it is sealed", lambda: state() == "power")
    with replica.client() as client:
        client.config_set("appendonly", "no")
        assert state() == "none"
        client.config_set("appendonly", "yes")
    until("it is sealed again", lambda: state() == "power")


def test_an_emptied_master_is_not_elected_and_is_filled(founded):
    master = founded.nodes[0]
    with master.client() as client:
        for n in range(1000):
            client.set(f"key:{n}", n)
    master.kill()
    for path in master.dir.iterdir():
        if path not in (master.conf, master.dir / "stdout.log"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    master.start()
    assert founded.status(master)["dataset"] is None
    founded.offer(founded.map(master, 2), [master])
    assert founded.status(master)["role"] != "master" and refused(master)
    founded.epoch = 2
    assert founded.elect() is not master
    with master.client() as client:
        until("it was filled", lambda: client.dbsize() == 1000, 20)
    assert founded.status(master)["dataset"] == DATASET


def test_a_foreign_dataset_is_kept(servers, ours, founded):
    """A node that holds another dataset neither takes this one over nor gives it up."""
    other = Shard(servers, ours, acknowledge=0)
    other.nodes = other.nodes[:1]
    other.promise(1)
    other.offer(other.map(other.nodes[0], 1, dataset=OTHER, founded_at=1))
    stranger = other.nodes[0]
    until("the other dataset is founded", lambda: other.status(stranger)["role"] == "master")
    with stranger.client() as client:
        client.set("theirs", "1")
    founded.nodes[2].kill()
    founded.nodes[2] = stranger
    content = founded.map(founded.nodes[0], 7)
    founded.promise(7, founded.nodes[:2])
    founded.offer(content)
    until("it does not follow", lambda: founded.status(stranger)["role"] != "master", ignore=ERRORS)
    with stranger.client() as client:
        for _ in range(20):
            assert client.get("theirs") == "1"
            time.sleep(0.1)  # it must stay so: there is nothing to wait for
    assert founded.status(stranger)["dataset"] == OTHER


def test_a_write_is_acknowledged_only_when_a_replica_has_it(founded):
    master, *replicas = founded.nodes
    answers = []

    def write():
        with master.client(socket_timeout=10) as client:
            answers.append(client.set("held", "1"))
    with replicas[0].frozen(), replicas[1].frozen():
        with master.client(socket_timeout=0.7) as client, pytest.raises(redis.TimeoutError):
            client.set("never acknowledged", "1")
        thread = threading.Thread(target=write)
        thread.start()
        with master.client() as client:
            until("others see it before", lambda: client.get("held") == "1")
        assert answers == []
    thread.join(10)
    assert answers == [True]


def test_a_promise_stops_the_master_and_drops_its_clients(founded):
    master = founded.nodes[0]
    with master.client(single_connection_client=True) as client:
        client.set("a", "1")
        (status,) = founded.promise(5, [master])
        assert status["promised"] == 5
        with pytest.raises(ERRORS):
            client.set("b", "1")
    assert refused(master)


def test_a_new_master_gives_its_replicas_time_before_it_refuses_writes_without_them(servers, ours):
    shard = Shard(servers, ours, acknowledge=0, **{"min-replicas-to-write": 1})
    shard.found(shard.nodes[0])
    for node in (shard.nodes[0], shard.nodes[2]):
        node.kill()
    new = shard.nodes[1]
    shard.promise(2, [new])
    shard.offer(shard.map(new, 2, downAfterMs=4000), [new])
    with new.client() as client:
        assert client.set("meanwhile", "1"), "as long as they are not down by any measure"
        until("writes are refused", lambda: refused(new), 20)
        with pytest.raises(redis.ResponseError, match="^NOREPLICAS"):
            client.set("later", "1")


def test_an_older_promise_is_refused(founded):
    founded.promise(5)
    with pytest.raises(redis.ResponseError, match="^STALEEPOCH promised 5"):
        founded.promise(4)
    founded.promise(5)


def test_promises_outlive_a_kill(founded):
    node = founded.nodes[2]
    founded.promise(9, [node])
    node.kill()
    node.start()
    assert founded.status(node)["promised"] == 9
    with pytest.raises(redis.ResponseError, match="^STALEEPOCH"):
        founded.promise(8, [node])


def test_replicas_that_promised_acknowledge_nothing_to_the_old_master(founded):
    master, *replicas = founded.nodes
    founded.promise(2, replicas)
    with master.client(socket_timeout=1.5) as client, pytest.raises(ERRORS):
        client.set("a", "1")


def test_handover_loses_nothing_and_pauses_writes_shortly(founded):
    old, new, _ = founded.nodes
    with Writer(lambda: founded.leader.client(socket_timeout=1)) as writer:
        until("writes", lambda: writer.count() >= 200)
        status = json.loads(founded.say(old, "HANDOVER", 0, founded.address(new), 2, 5000))
        assert founded.status(new)["offset"] == status["offset"]
        founded.promise(2)
        founded.lead(new, 2)
        moved = time.monotonic()
        until("writes go on", lambda: writer.acknowledged_after(moved) >= 200)
    assert writer.outage() < 3
    with new.client() as client:
        assert writer.missing(client) == []
    assert founded.status(old)["role"] == "replica"


def test_handover_that_cannot_end_resumes_writes(founded):
    old, new, _ = founded.nodes
    with new.frozen():
        with old.client() as client:
            client.set("behind", "1")
        with pytest.raises(redis.ResponseError, match="^HANDOVER"):
            founded.say(old, "HANDOVER", 0, founded.address(new), 2, 300)
        with old.client() as client:
            assert client.set("goes on", "1")


@pytest.mark.parametrize("round_", range(3))
def test_killed_masters_lose_no_acknowledged_write(founded, round_):
    with Writer(lambda: founded.leader.client(socket_timeout=1), rate=300) as writer:
        for turn in range(3):
            until("writes", lambda: writer.count() >= 200 * (turn + 1), 20)
            dead = founded.leader
            dead.kill()
            founded.elect([node for node in founded.nodes if node is not dead])
            dead.start()
            founded.offer(founded.map(founded.leader, founded.epoch), [dead])
            until("it follows", lambda: founded.status(dead)["linkUp"] and founded.status(dead)["role"] == "replica", 20,
                  ignore=ERRORS)
    with founded.leader.client() as client:
        assert writer.missing(client) == []


def test_members_continue_with_the_new_master_where_they_were(founded):
    """Nobody gets everything anew because of an election, be it the former master."""
    old = founded.leader
    with old.client() as client:
        client.set("a", "1")
    until("all have it", lambda: len({founded.status(node)["offset"] for node in founded.nodes}) == 1)
    for _ in range(2):
        new = founded.elect(founded.nodes[1:])
        founded.offer(founded.map(new, founded.epoch), [old])
        until("the former master follows", lambda: founded.status(old)["linkUp"], 20)
        with new.client() as client:
            client.set("b", "2")
            stats = client.info("stats")
        assert stats["sync_full"] == 0 and stats["sync_partial_ok"] >= 2

def test_a_frozen_master_that_wakes_acknowledges_nothing_more(founded):
    old = founded.leader
    with old.client(socket_timeout=3, single_connection_client=True) as client:
        client.set("a", "1")
        with old.frozen():
            founded.elect([node for node in founded.nodes if node is not old])
        with pytest.raises(ERRORS):
            client.set("after waking", "1")
    founded.offer(founded.map(founded.leader, founded.epoch), [old])
    until("it follows", lambda: founded.status(old)["role"] == "replica" and founded.status(old)["linkUp"], 20, ignore=ERRORS)
    with founded.leader.client() as client:
        assert client.get("after waking") is None


def test_a_member_does_not_hand_over_at_a_clients_word(founded):
    master, replica = founded.nodes[:2]
    for node in (master, replica):
        with node.client() as client:
            with pytest.raises(redis.ResponseError, match="comes from the shard map. Use SENTINEL FAILOVER"):
                client.execute_command("FAILOVER")
            with pytest.raises(redis.ResponseError, match="comes from the shard map"):
                client.execute_command("PSYNC", "0" * 40, 1, "FAILOVER")
            assert client.info("replication")["master_failover_state"] == "no-failover"
    with master.client() as client:
        assert client.set("a", "1")
