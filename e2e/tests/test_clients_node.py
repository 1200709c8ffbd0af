"""ioredis, node-redis and BullMQ at their usual work."""

import pytest
from harness import clients

SHARED = {"strings", "hashes", "lists", "sets", "sorted sets", "streams", "blocking", "pipeline", "transaction", "script", "expiry",
          "publish and subscribe", "errors"}
CLUSTER = {"keys of all slots", "cross-slot errors", "shard channels"}
EXPECTED = {
    ("ioredis", "standalone"): SHARED | {"binary", "watch", "scan", "automatic pipelining", "monitor", "key prefix", "database"},
    ("ioredis", "sentinel"): SHARED | {"watch", "scan"},
    ("ioredis", "cluster"): SHARED | CLUSTER | {"redirection", "scan of every master", "reads from replicas"},
    ("node-redis", "standalone"): SHARED | {"watch", "scan", "functions", "client side caching"},
    ("node-redis", "sentinel"): SHARED | {"a connection of its own"},
    ("node-redis", "cluster"): SHARED | CLUSTER,
}
QUEUES = {"jobs", "retries with backoff", "failures", "delayed jobs", "priorities", "rate limit", "flows", "events and progress",
          "repeated jobs", "each job is done once by one of many workers"}
EXPECTED.update({("bullmq", mode): QUEUES for mode in ("standalone", "sentinel", "cluster")})
PROTOCOLS = {"ioredis": [2], "node-redis": [2, 3], "bullmq": [2]}


@pytest.mark.parametrize("client, protocol", [(client, protocol) for client, all in PROTOCOLS.items() for protocol in all])
@pytest.mark.parametrize("mode", ["standalone", "sentinel", "cluster"])
def test_work(client_targets, client, protocol, mode):
    assert set(clients.work("node", client, protocol, mode, client_targets(mode))) >= EXPECTED[client, mode]


@pytest.mark.parametrize("client, protocol", [(client, all[-1]) for client, all in PROTOCOLS.items()])
def test_the_program_is_right_says_redis(client_targets, peer, client, protocol):
    assert set(clients.work("node", client, protocol, "standalone", client_targets("standalone", peer))) >= EXPECTED[client, "standalone"]
