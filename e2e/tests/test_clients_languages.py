"""Jedis and Lettuce, redis-rs and fred, go-redis at their usual work; see e2e/clients/README.md."""

import pytest
from harness import clients

SHARED = {"strings", "hashes", "lists", "sets", "sorted sets", "blocking", "pipeline", "transaction", "script",
          "publish and subscribe", "errors"}
FULL = SHARED | {"streams", "expiry", "watch", "scan"}
CLUSTER = SHARED - {"pipeline", "transaction", "publish and subscribe"} | {"keys of all slots"}
CLIENTS = {
    # client: language, protocols, what it checks with one master, and more of it in a cluster
    "jedis": ("java", (2, 3), FULL, {"pipeline", "publish and subscribe", "streams"}),
    "lettuce": ("java", (2, 3), FULL | {"reactive"}, {"publish and subscribe", "shard channels", "streams"}),
    "redis-rs": ("rust", (2, 3), FULL | {"asynchronous"}, {"streams", "cross-slot errors", "asynchronous"}),
    "fred": ("rust", (2, 3), SHARED, {"pipeline", "transaction", "publish and subscribe"}),
    "go-redis": ("go", (2, 3), FULL, {"pipeline", "transaction", "watch", "publish and subscribe", "shard channels",
                                      "slots and shards", "cross-slot errors"}),
}
ONCE = [(client, protocol) for client, (_, protocols, _, _) in CLIENTS.items() for protocol in protocols]


@pytest.mark.parametrize("client, protocol", ONCE)
def test_one_server(client_targets, client, protocol):
    language, _, wanted, _ = CLIENTS[client]
    caches = {"client side caching"} if (client, protocol) == ("lettuce", 3) else set()
    assert set(clients.work(language, client, protocol, "standalone", client_targets("standalone"))) >= wanted | caches


@pytest.mark.parametrize("client, protocol", [(client, protocols[-1]) for client, (_, protocols, _, _) in CLIENTS.items()])
def test_behind_sentinels(client_targets, client, protocol):
    language, _, wanted, _ = CLIENTS[client]
    assert set(clients.work(language, client, protocol, "sentinel", client_targets("sentinel"))) >= wanted


@pytest.mark.parametrize("client, protocol", ONCE)
def test_in_a_cluster(client_targets, client, protocol):
    language, _, _, more = CLIENTS[client]
    assert set(clients.work(language, client, protocol, "cluster", client_targets("cluster"))) >= CLUSTER | more


@pytest.mark.parametrize("client, protocol", [(client, protocols[-1]) for client, (_, protocols, _, _) in CLIENTS.items()])
def test_the_program_is_right_says_redis(client_targets, peer, client, protocol):
    language, _, wanted, _ = CLIENTS[client]
    assert set(clients.work(language, client, protocol, "standalone", client_targets("standalone", peer))) >= wanted
