"""What a ReplicaSet of one shard is to ours, of the peer's programs: a Redis master, two replicas and three sentinels."""

from .replicaset import DOWN_AFTER_MS, ERRORS, FAILOVER_TIMEOUT_MS, NAME, PASSWORD, SETTLE_S
from .wait import until


class PeerSet:
    """Followed like a ReplicaSet. Beside the password and the log on disk everything is as Redis comes."""

    def __init__(self, servers, implementation, replicas=2, sentinels=3, directives=(), machine=None):
        """`directives` for the data servers; `machine` gives each server the machine that it runs on."""
        machine = machine or (lambda: None)
        data = {"requirepass": PASSWORD, "masterauth": PASSWORD, "appendonly": "yes", **dict(directives)}
        first = servers.new(implementation, data, machine=machine())
        following = {**data, "replicaof": f"{first.host} {first.port}"}
        self.members = [first, *(servers.new(implementation, following, machine=machine()) for _ in range(replicas))]
        quorum = sentinels // 2 + 1
        watching = "".join(f"sentinel {line}\n" for line in (
            f"monitor {NAME} {first.host} {first.port} {quorum}", f"auth-pass {NAME} {PASSWORD}",
            f"down-after-milliseconds {NAME} {DOWN_AFTER_MS}", f"failover-timeout {NAME} {FAILOVER_TIMEOUT_MS}",
            f"sentinel-pass {PASSWORD}"))
        self.sentinels = [servers.new(implementation, {"requirepass": PASSWORD}, mode="redis-sentinel", text=watching,
                                      machine=machine()) for _ in range(sentinels)]
        self.all = [*self.members, *self.sentinels]
        for server in self.all:
            server.start()
        self.settle()

    def master(self):
        """The server that all sentinels take for the master; None while they do not agree."""
        named = set()
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                host, port = client.sentinel_get_master_addr_by_name(NAME)
                named.add((host, int(port)))
        return next((one for one in self.members if {one.address} == named), None)

    def settle(self):
        """Waits until everybody follows one master, and every sentinel knows it and could fail over."""
        until("the peer's servers are whole", self._whole, SETTLE_S, ignore=(*ERRORS, KeyError))

    def _whole(self):
        master = self.master()
        if master is None:
            return False
        with master.client() as client:
            found = client.info("replication")
        others = len(self.members) - 1
        online = [found.get(f"slave{n}", {}).get("state") == "online" for n in range(found["connected_slaves"])]
        return found["role"] == "master" and sum(online) == others and all(map(self._knows, self.sentinels))

    def _knows(self, sentinel):
        with sentinel.client() as client:
            master, replicas = client.sentinel_master(NAME), client.sentinel_slaves(NAME)
        return (master["flags"] == "master" and master["num-other-sentinels"] == len(self.sentinels) - 1
                and len(replicas) == len(self.members) - 1
                and all(one["flags"] == "slave" and one["master-link-status"] == "ok" for one in replicas))
