"""Real clients follow failovers: each writes through one client object while the master is moved, and then killed with
SIGKILL, and afterwards reads back all that was acknowledged. All of them do so at once, on one replica set for each mode."""

import pytest
from harness import process
from harness.clients import Follower
from harness.replicaset import ReplicaSet, address

FOLLOWERS = [("node", "ioredis", 2), ("node", "node-redis", 3), ("java", "jedis", 3), ("java", "lettuce", 3), ("rust", "redis-rs", 3),
             ("rust", "fred", 3), ("go", "go-redis", 3), ("python", "redis-py", 3)]
MODES = {
    "sentinel": [*FOLLOWERS, ("node", "bullmq", 2)],
    "cluster": FOLLOWERS,
}
# Its cluster client learns of another master only by a MOVED: once the killed one is back, as replica.
WAITS_FOR_RETURN = {("cluster", "node-redis")}
MASTERS = {"sentinel": 1, "cluster": 3}
# Longest time without an acknowledged write that a client may need: it is found that the master is gone, another one is
# elected, and the client asks again, with pauses of its own. The test prints what it was (pytest -rP).
MOST_OUTAGE_MS = 15_000


def drill(servers, implementation, mode):
    """The reports of all clients of the mode, by client; an AssertionError in the place of one that failed."""
    replicaset = ReplicaSet(servers, implementation, masters=MASTERS[mode], replicas=2)
    addresses = [address(sentinel) for sentinel in replicaset.sentinels]
    if mode == "cluster":
        addresses = [address(node) for shard in replicaset.shards for node in shard]
    followers = [Follower(language, client, protocol, mode, addresses) for language, client, protocol in MODES[mode]]
    reports = {follower.client: [] for follower in followers}

    def each(ask, chosen=followers):
        for follower in chosen:
            seen = reports[follower.client]
            if isinstance(seen, list):
                try:
                    seen.append(ask(follower))
                except AssertionError as error:
                    reports[follower.client] = error
    try:
        each(lambda follower: follower.report("going"))
        each(lambda follower: follower.tell("mark"))
        replicaset.switch_over()
        each(lambda follower: follower.tell("moved"))
        each(lambda follower: follower.report("going"))
        replicaset.settle()
        each(lambda follower: follower.tell("mark"))
        with replicaset.without_master():
            each(lambda follower: follower.tell("killed"))
            waits = [follower for follower in followers if (mode, follower.client) in WAITS_FOR_RETURN]
            each(lambda follower: follower.report("going"), [follower for follower in followers if follower not in waits])
        each(lambda follower: follower.report("going"), waits)
        each(lambda follower: follower.tell("end"))
        each(lambda follower: follower.end())
    finally:
        for follower in followers:
            follower.kill()
    return reports


@pytest.fixture(scope="module")
def reports(ours):
    servers, known = process.Servers(), {}

    def ask(mode):
        if mode not in known:
            known[mode] = drill(servers, ours, mode)
        return known[mode]
    yield ask
    servers.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode, client", [(mode, client) for mode, clients in MODES.items() for _, client, _ in clients])
def test_the_client_goes_on_and_finds_what_was_acknowledged(reports, mode, client):
    found = reports(mode)[client]
    if isinstance(found, AssertionError):
        raise found
    moved, killed, end = (report for report in found[1:] if report)
    print(f"{mode} {client}: outage in ms: moved {moved['outage_ms']}, killed {killed['outage_ms']}; "
          f"{end['acknowledged']} writes; errors: {end['errors']}")
    assert end["acknowledged"] >= 300 and end["missing"] == []
    assert moved["outage_ms"] < MOST_OUTAGE_MS
    assert killed["outage_ms"] < MOST_OUTAGE_MS or (mode, client) in WAITS_FOR_RETURN
