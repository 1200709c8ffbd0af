"""Messages in a cluster: what is published on any member reaches the subscribers of every member, once and in order."""

import pytest
import redis
from harness import process
from harness.replicaset import ReplicaSet
from harness.wait import until

MESSAGES = 200


@pytest.fixture(scope="module")
def cluster(ours):
    servers = process.Servers()
    yield ReplicaSet(servers, ours, masters=2, replicas=1)
    servers.close()


def members(cluster):
    return [node for shard in cluster.shards for node in shard]


def heard(subscriber, wanted):
    """The next so many messages."""
    found = []
    until(f"{wanted} messages", lambda: (m := subscriber.get_message(ignore_subscribe_messages=True)) and found.append(m["data"])
          or len(found) >= wanted, 20, poll=0.0)
    return found


@pytest.fixture
def subscribers(cluster):
    all = []
    for node in members(cluster):
        subscriber = node.client().pubsub()
        subscriber.subscribe("news")
        assert subscriber.get_message(timeout=5)["type"] == "subscribe"
        all.append(subscriber)
    yield all
    for subscriber in all:
        subscriber.connection.disconnect()


def publish(node, texts, channel="news"):
    with node.client(single_connection_client=True) as client:
        for text in texts:
            client.publish(channel, text)


def test_every_member_hears_every_member_once_and_in_order(cluster, subscribers):
    for number, node in enumerate(members(cluster)):
        texts = [f"{number}:{n}" for n in range(MESSAGES)]
        publish(node, texts)
        for subscriber in subscribers:
            assert heard(subscriber, MESSAGES) == texts
    # Nothing came twice: what is published next is what is heard next.
    publish(members(cluster)[0], ["last"])
    assert [heard(subscriber, 1) for subscriber in subscribers] == [["last"]] * len(subscribers)


def test_patterns_transactions_and_scripts(cluster):
    first, second = (shard[0] for shard in cluster.shards)
    with second.client() as listening, first.client() as client:
        subscriber = listening.pubsub()
        subscriber.psubscribe("n*")
        assert subscriber.get_message(timeout=5)["type"] == "psubscribe"
        client.pipeline(transaction=True).publish("n1", "a").publish("other", "x").publish("n2", "b").execute()
        client.eval("return redis.call('publish', 'n3', 'c')", 0)
        assert heard(subscriber, 3) == ["a", "b", "c"]
        subscriber.close()


def test_a_shards_channel_is_heard_on_every_member_of_the_shard(cluster):
    nodes = cluster.shards[0]
    with nodes[0].client() as client:
        channel = next(f"c{n}" for n in range(100) if client.execute_command("CLUSTER", "KEYSLOT", f"c{n}") < 8192)
    subscribers = [node.client().pubsub() for node in nodes]
    for subscriber in subscribers:
        subscriber.ssubscribe(channel)
        assert subscriber.get_message(timeout=5)["type"] == "ssubscribe"
    for node in nodes:
        with node.client() as client:
            client.execute_command("SPUBLISH", channel, f"by {node.port}")
    for subscriber in subscribers:
        assert sorted(heard(subscriber, len(nodes))) == sorted(f"by {node.port}" for node in nodes)
        subscriber.close()
    with cluster.shards[1][0].client() as client, pytest.raises(redis.ResponseError):
        client.execute_command("SPUBLISH", channel, "of another shard")


def test_a_member_that_is_away_holds_nobody_up_and_hears_again_once_it_is_back(cluster, subscribers):
    away = next(node for node in cluster.shards[1] if node is not cluster.master(1))
    index = members(cluster).index(away)
    publisher = cluster.master(0)
    with away.frozen():
        publish(publisher, [f"meanwhile:{n}" for n in range(MESSAGES)])
        for number, subscriber in enumerate(subscribers):
            if number != index:
                assert heard(subscriber, MESSAGES)[-1] == f"meanwhile:{MESSAGES - 1}"
    away.kill()
    publish(publisher, ["nobody there"])
    away.start()
    again = away.client().pubsub()
    again.subscribe("news")
    until("it is subscribed", lambda: again.get_message())

    def hears():
        publish(publisher, ["back"])
        return (m := again.get_message(ignore_subscribe_messages=True, timeout=0.2)) and m["data"] == "back"
    until("it hears again", hears, 20)
    again.close()
    cluster.settle()


def test_only_the_authority_passes_messages_on(cluster):
    with cluster.shards[0][0].client(password="wrong") as client, pytest.raises(redis.RedisError):
        client.execute_command("REPLICASET", "PUBLISH", "news", "forged")
