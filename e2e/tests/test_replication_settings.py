"""Directives of replication, each by the effect it has: ours and the real Redis' alike."""

import pytest
import redis
from harness.wait import until


def start_pair(servers, any_of, master_has=None, replica_has=None):
    """A master and its replica, which have met."""
    fast = {"repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1}
    master = servers.start(any_of, {**fast, **(master_has or {})})
    replica = servers.start(any_of, {**fast, "replicaof": f"127.0.0.1 {master.port}", **(replica_has or {})})
    until("the replica is in step", lambda: link_is_up(replica))
    return master, replica


def link_is_up(replica):
    with replica.client() as client:
        return client.info("replication")["master_link_status"] == "up"


def test_a_backlog_without_replicas_ends_and_the_history_with_it(servers, any_of):
    master, replica = start_pair(servers, any_of, {"repl-backlog-ttl": 2})
    with master.client() as client:
        first = client.info("replication")
        assert first["repl_backlog_active"] == 1
        replica.terminate()
        until("the backlog is freed", lambda: client.info("replication")["repl_backlog_active"] == 0, 20)
        later = client.info("replication")
        assert later["master_replid"] != first["master_replid"]
        assert int(later["master_replid2"]) == 0, "nor can the former one be continued"
        client.set("written", "meanwhile")
        replica.start()
        until("the replica is in step again", lambda: link_is_up(replica))
        stats = client.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == (2, 0)
    with replica.client() as client:
        assert client.get("written") == "meanwhile"


def test_a_backlog_of_no_ttl_stays(servers, any_of):
    master, replica = start_pair(servers, any_of, {"repl-backlog-ttl": 0})
    with master.client() as client:
        before = client.info("replication")["master_replid"]
        replica.terminate()
        client.set("written", "meanwhile")
        # A server that took it for no time at all would look at it within a second.
        until("the replica is missed", lambda: client.info("replication")["connected_slaves"] == 0)
        first = client.info("server")["uptime_in_seconds"]
        until("three seconds have passed", lambda: client.info("server")["uptime_in_seconds"] > first + 3, 20)
        info = client.info("replication")
        assert (info["repl_backlog_active"], info["master_replid"]) == (1, before)


def test_either_side_gives_up_a_link_that_is_silent(servers, any_of):
    timeout = {"repl-timeout": 3}
    master, replica = start_pair(servers, any_of, timeout, timeout)
    with replica.frozen(), master.client() as client:
        until("the master has dropped it", lambda: client.info("replication")["connected_slaves"] == 0, 20)
    until("they have met again", lambda: link_is_up(replica))
    with master.frozen():
        until("the replica has given up", lambda: not link_is_up(replica), 20)
    until("they have met again", lambda: link_is_up(replica))


def test_a_master_takes_writes_only_with_enough_replicas_in_time(servers, any_of):
    master, replica = start_pair(servers, any_of, {"min-replicas-to-write": 1, "min-replicas-max-lag": 2})
    with master.client() as client:
        until("the replica counts", lambda: client.info("replication")["min_slaves_good_slaves"] == 1)
        assert client.set("k", 1)
        with replica.frozen():
            until("it is late", lambda: client.info("replication")["min_slaves_good_slaves"] == 0, 20)
            with pytest.raises(redis.ResponseError, match="^NOREPLICAS Not enough good replicas to write"):
                client.set("k", 2)
            assert client.get("k") == "1"
        until("it is back", lambda: client.info("replication")["min_slaves_good_slaves"] == 1, 20)
        assert client.set("k", 3)


def test_a_replica_without_its_master_serves_what_it_is_told_to(servers, any_of):
    master, replica = start_pair(servers, any_of, replica_has={"replica-serve-stale-data": "no"})
    with master.client() as client:
        client.set("k", "v")
        client.execute_command("WAIT", 1, 5000)
    with replica.client() as client:
        assert client.get("k") == "v"
        master.terminate()
        until("the link is down", lambda: not link_is_up(replica))
        with pytest.raises(redis.ResponseError, match="Link with MASTER is down"):
            client.get("k")
        client.config_set("replica-serve-stale-data", "yes")
        assert client.get("k") == "v"
        with pytest.raises(redis.ReadOnlyError):
            client.set("k", "w")


def test_replicas_are_closed_by_their_type(servers, any_of):
    master, replica = start_pair(servers, any_of)
    with master.client() as client, replica.client() as other:
        assert client.execute_command("CLIENT", "KILL", "TYPE", "replica") == 1
        until("it has come back by itself", lambda: client.info("stats")["sync_partial_ok"] == 1)
        assert other.execute_command("CLIENT", "KILL", "TYPE", "master") == 1
        until("it has come back by itself", lambda: client.info("stats")["sync_partial_ok"] == 2)


def test_a_replica_that_is_not_announced_is_told_to_no_client(servers, any_of):
    master, hidden = start_pair(servers, any_of, replica_has={"replica-announced": "no"})
    shown = servers.start(any_of, {"replicaof": f"127.0.0.1 {master.port}"})
    sentinel = servers.start(any_of, mode="redis-sentinel",
                             text=f"sentinel monitor it 127.0.0.1 {master.port} 1\n")
    with sentinel.client() as client:
        # Known to the sentinel, which may have to promote it, all the same.
        until("it knows both", lambda: client.sentinel_master("it")["num-slaves"] == 2, 30)
        until("it tells of one", lambda: [r["port"] for r in client.sentinel_slaves("it")] == [shown.port], 20)
        with hidden.client() as replica:
            replica.config_set("replica-announced", "yes")
        until("it tells of both", lambda: len(client.sentinel_slaves("it")) == 2, 30)
