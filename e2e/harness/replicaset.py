"""A RedisReplicaSet of local processes: managed datanodes and sentinels that share a shard map. The test plays the operator,
which states the topology once; who is master is the sentinels' affair."""

import contextlib
import json

import redis

from .process import LOOPBACK
from .wait import until

NAME = "orders"
PASSWORD = "e2e-secret"
SLOTS = 16384
DOWN_AFTER_MS = 1000
FAILOVER_TIMEOUT_MS = 10000
SETTLE_S = 40.0
ERRORS = (redis.RedisError, OSError)


class ReplicaSet:
    """`masters` shards of one master and `replicas` replicas, watched by `sentinels`; with several masters in cluster mode."""

    def __init__(self, servers, implementation, masters=1, replicas=2, sentinels=3, acknowledge=1, directives=(), machine=None):
        """`directives` for the data servers, over those here; `machine` gives each server the machine that it runs on."""
        self.masters = masters
        common = {"managed": "yes", "requirepass": PASSWORD}
        machine = machine or (lambda: None)
        data = {**common, "masterauth": PASSWORD, "appendonly": "yes", "repl-ping-replica-period": 1, **dict(directives)}
        if masters > 1:
            data.update({"cluster-enabled": "yes", "cluster-require-full-coverage": "no"})

        def new(directives, announce, mode="redis-server"):
            place = machine()
            own = {announce: place.address if place else LOOPBACK}
            return servers.new(implementation, {**directives, **own}, mode=mode, machine=place)
        self.shards = [[new({**data, "managed-shard": shard}, "replica-announce-ip") for _ in range(replicas + 1)]
                       for shard in range(masters)]
        self.sentinels = [new(common, "sentinel announce-ip", "redis-sentinel") for _ in range(sentinels)]
        self.all = [*(node for shard in self.shards for node in shard), *self.sentinels]
        for server in self.all:
            server.spawn()
        for server in self.all:
            until("an answer to PING", server.answers, SETTLE_S, ignore=ERRORS)
        topology = {"name": NAME, "generation": 1, "settled": True, "quorum": sentinels // 2 + 1, "downAfterMs": DOWN_AFTER_MS,
                    "failoverTimeoutMs": FAILOVER_TIMEOUT_MS, "graceMs": 30000, "parallelSyncs": 1, "writeAckReplicas": acknowledge,
                    "sentinels": [address(sentinel) for sentinel in self.sentinels],
                    "shards": [self._shard(index) for index in range(masters)]}
        for server in self.all:
            with server.client() as client:
                client.execute_command("REPLICASET", "OFFER", json.dumps(topology))
        self.settle()

    def _shard(self, index):
        bounds = [index * SLOTS // self.masters, (index + 1) * SLOTS // self.masters - 1]
        return {"index": index, "slots": [bounds], "members": [address(node) for node in self.shards[index]],
                "epoch": 0, "master": None, "dataset": None, "foundedAt": 0, "acceptLoss": 0}

    members = property(lambda self: self.shards[0])

    def map(self):
        """What a sentinel takes for the newest map."""
        with self.sentinels[0].client() as client:
            return json.loads(client.execute_command("REPLICASET", "MAP"))

    def master(self, shard=0):
        """The server that the map names master of the shard; None while there is none."""
        named = self.map()["shards"][shard]["master"]
        return next((node for node in self.shards[shard] if address(node) == named), None)

    def settled(self, shard):
        """Whether the shard's master takes writes and every other member follows it."""
        master = self.master(shard)
        if master is None:
            return False
        with master.client() as client:
            status = json.loads(client.execute_command("REPLICASET", "STATUS"))
        online = sum(replica["online"] for replica in status["replicas"])
        return status["role"] == "master" and status["writable"] and online == len(self.shards[shard]) - 1

    def settle(self):
        """Waits until every member of every shard does its part, and all of them have the same map."""
        for shard in range(self.masters):
            until(f"shard {shard} is whole", lambda: self.settled(shard), SETTLE_S, ignore=ERRORS)
        until("all have one map", self._agreed, SETTLE_S, ignore=ERRORS)

    def _agreed(self):
        maps = set()
        for server in self.all:
            with server.client() as client:
                maps.add(client.execute_command("REPLICASET", "MAP"))
        return len(maps) == 1

    def kill_master(self, shard=0):
        """kill -9 of the shard's master; the server that was it."""
        victim = self.master(shard)
        victim.kill()
        return victim

    def switch_over(self, shard=0):
        """A planned move of the shard's master to another member, once it is done."""
        old = self.master(shard)

        def moved():
            if self.master(shard) is not old:
                return True
            # It is refused while a sentinel has not heard yet that the replicas are well, and while it is under way; and one
            # that did not come about in time leaves the master where it was.
            with self.sentinels[0].client() as client:
                client.execute_command("REPLICASET", "SWITCHOVER", shard)
        until("another member is master", moved, SETTLE_S, poll=0.1, ignore=ERRORS)

    @contextlib.contextmanager
    def without_master(self, shard=0):
        """The shard's master is killed; after the block it is back, and the shard whole."""
        victim = self.kill_master(shard)
        try:
            yield victim
        finally:
            victim.start()
            self.settle()


def address(server):
    return f"{server.host}:{server.port}"
