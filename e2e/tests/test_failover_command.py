"""FAILOVER, WAITAOF, REPLICAOF NO ONE, SHUTDOWN: a master and its replicas at a client's word, with a real Redis as either
of them."""

import contextlib
import threading
import time

import pytest
import redis
from harness.wait import until

TIMEOUT_S = 20
PAIRS = [("ours", "peer"), ("peer", "ours"), ("ours", "ours")]
IDS = ["ours to redis", "redis to ours", "ours to ours"]
FAST = {"repl-ping-replica-period": 1, "enable-debug-command": "yes"}


@pytest.fixture
def source(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def target(request):
    return request.getfixturevalue(request.param)


both = pytest.mark.parametrize("source, target", PAIRS, ids=IDS, indirect=True)


def linked(client):
    return client.info("replication").get("master_link_status") == "up"


def replicated(servers, source, target, **more):
    """A master and a replica that is in sync with it, with their clients."""
    master = servers.start(source, {**FAST, **more})
    replica = servers.start(target, {**FAST, **more, "replicaof": f"127.0.0.1 {master.port}"})
    clients = master.client(), replica.client()
    until("the replica is in sync", lambda: linked(clients[1]), TIMEOUT_S)
    until("the master counts it", lambda: clients[0].info("replication").get("slave0", {}).get("state") == "online", TIMEOUT_S)
    return master, replica, *clients


def state(client):
    return client.info("replication")["master_failover_state"]


def error(client, *command):
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command(*command)
    return str(caught.value)


@both
@pytest.mark.parametrize("to", [False, True], ids=["to any", "to a named one"])
def test_a_master_hands_over_to_its_replica(servers, source, target, to):
    one, two, old, new = replicated(servers, source, target)
    for n in range(100):
        old.set(f"k{n}", n)
    history = old.info("replication")["master_replid"]
    assert old.execute_command("FAILOVER", *(["TO", "127.0.0.1", two.port] if to else [])) in ("OK", b"OK", True)
    until("the replica is master", lambda: new.role()[0] == "master", TIMEOUT_S)
    until("the old master follows it", lambda: old.role()[0] == "slave" and linked(old), TIMEOUT_S)
    until("the move is over", lambda: state(old) == "no-failover", TIMEOUT_S)
    # The history goes on under a new name, and nothing had to be sent anew.
    after = new.info("replication")
    assert after["master_replid2"] == history and after["master_replid"] != history
    assert new.info("stats")["sync_full"] == 0 and new.info("stats")["sync_partial_ok"] == 1
    assert old.info("replication")["master_replid"] == after["master_replid"]
    new.set("after", "1")
    assert new.wait(1, 5000) == 1
    assert old.get("after") == "1" and old.dbsize() == 101
    # And back.
    assert new.execute_command("FAILOVER") in ("OK", b"OK", True)
    until("it is master again", lambda: old.role()[0] == "master" and linked(new), TIMEOUT_S)
    old.set("back", "1")
    assert old.wait(1, 5000) == 1 and new.get("back") == "1"


@both
def test_writes_wait_for_the_end_of_a_failover(servers, source, target):
    one, two, old, new = replicated(servers, source, target)
    with two.frozen():
        old.set("a", "1")
        old.execute_command("FAILOVER")
        assert state(old) == "waiting-for-sync"
        assert error(old, "FAILOVER") == "FAILOVER already in progress."
        assert error(old, "REPLICAOF", "127.0.0.1", 1) == "REPLICAOF not allowed while failing over."
        outcome = []

        def write():
            with one.client() as client, contextlib.suppress(redis.ConnectionError):
                try:
                    outcome.append(client.set("b", "2"))
                except redis.ResponseError as e:
                    outcome.append(str(e))

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.3)
        assert not outcome and old.get("a") == "1"
        old.execute_command("FAILOVER", "ABORT")
        writer.join(TIMEOUT_S)
        assert outcome == [True] and state(old) == "no-failover" and old.role()[0] == "master"
    assert error(old, "FAILOVER", "ABORT") == "No failover in progress."
    until("the replica has it", lambda: new.get("b") == "2", TIMEOUT_S)


@pytest.mark.parametrize("source, target", [("ours", "peer"), ("ours", "ours")], indirect=True, ids=IDS[::2])
def test_a_failover_ends_at_its_time_or_is_forced(servers, source, target):
    one, two, old, new = replicated(servers, source, target)
    with two.frozen():
        old.set("a", "1")
        old.execute_command("FAILOVER", "TIMEOUT", 300)
        until("it is given up", lambda: state(old) == "no-failover", TIMEOUT_S)
        assert old.role()[0] == "master" and old.set("b", "2")
        old.execute_command("FAILOVER", "TO", "127.0.0.1", two.port, "FORCE", "TIMEOUT", 300)
        until("it goes on without waiting", lambda: state(old) == "failover-in-progress", TIMEOUT_S)
    until("the replica is master", lambda: new.role()[0] == "master", TIMEOUT_S)
    until("the old master follows it", lambda: old.role()[0] == "slave" and linked(old), TIMEOUT_S)
    assert old.dbsize() == new.dbsize()


def test_a_master_that_is_refused_goes_on_as_master(servers, ours):
    """The one that is to take over has another history by the time it is asked."""
    one, two, old, new = replicated(servers, ours, ours)
    with two.frozen():
        old.set("a", "1")
        old.execute_command("FAILOVER", "TO", "127.0.0.1", two.port, "FORCE", "TIMEOUT", 200)
        until("it goes on without waiting", lambda: state(old) == "failover-in-progress", TIMEOUT_S)
        two.kill()
    assert state(old) == "failover-in-progress"
    servers.start(ours, {}, port=two.port)
    until("it is given up", lambda: state(old) == "no-failover", TIMEOUT_S)
    assert old.role()[0] == "master" and old.set("b", "2")


def test_errors_of_failover_are_those_of_redis(servers, ours, peer):
    texts = []
    for implementation in (ours, peer):
        one, two, master, replica = replicated(servers, implementation, implementation)
        port = two.port
        alone = servers.start(implementation).client()
        texts.append([
            error(alone, "FAILOVER"), error(alone, "FAILOVER", "ABORT"), error(alone, "FAILOVER", "ABORT", "FORCE"),
            error(alone, "FAILOVER", "TO", "127.0.0.1"), error(alone, "FAILOVER", "TO", "127.0.0.1", "x"),
            error(alone, "FAILOVER", "TIMEOUT", "0"), error(alone, "FAILOVER", "TIMEOUT", "-1"), error(alone, "FAILOVER", "TIMEOUT", "x"),
            error(alone, "FAILOVER", "FORCE", "FORCE"), error(alone, "FAILOVER", "WHAT"),
            error(replica, "FAILOVER"), error(master, "FAILOVER", "FORCE"),
            error(master, "FAILOVER", "FORCE", "TIMEOUT", "10"), error(master, "FAILOVER", "FORCE", "TO", "127.0.0.1", port),
            error(master, "FAILOVER", "TO", "127.0.0.2", port), error(master, "FAILOVER", "TO", "127.0.0.1", 1),
            error(master, "PSYNC", "?", "-1", "FAILOVER"), error(replica, "PSYNC", "0" * 40, "1", "FAILOVER"),
            error(master, "PSYNC", "?", "x"), error(master, "REPLICAOF", "a", "99999"),
        ])
    assert texts[0] == texts[1]


def test_waitaof_counts_files_that_have_the_writes(servers, ours, peer):
    options = {"appendonly": "yes", "appendfsync": "always"}
    one, two, master, replica = replicated(servers, ours, ours, **options)
    with one.client(single_connection_client=True) as c:
        assert c.execute_command("WAITAOF", 0, 0, 0) == [1, 1] or c.execute_command("WAITAOF", 1, 1, 5000) == [1, 1]
        c.set("a", "1")
        assert c.execute_command("WAITAOF", 1, 1, 5000) == [1, 1]
        # A replica that keeps no file, and a Redis 7.0, which does not say what it has on disk, do not count.
        replica.config_set("appendonly", "no")
        servers.start(peer, {**options, "replicaof": f"127.0.0.1 {one.port}"})
        until("both replicas are there", lambda: c.info("replication")["connected_slaves"] == 2, TIMEOUT_S)
        c.set("b", "1")
        assert c.execute_command("WAITAOF", 1, 1, 1200) == [1, 0]
        replica.config_set("appendonly", "yes")
        until("it counts again", lambda: c.execute_command("WAITAOF", 0, 1, 500)[1] == 1, TIMEOUT_S)


def test_waitaof_waits_for_the_local_file(servers, ours):
    one = servers.start(ours, {"appendonly": "yes", "appendfsync": "no", **FAST})
    with one.client(single_connection_client=True) as c, one.client(single_connection_client=True) as other:
        c.set("a", "1")
        assert c.execute_command("WAITAOF", 1, 0, 100) == [0, 0]
        # Who has written nothing waits for nothing.
        assert other.execute_command("WAITAOF", 1, 0, 0) == [1, 0]
        # In a transaction nobody waits.
        c.execute_command("MULTI")
        c.execute_command("WAITAOF", 1, 0, 0)
        assert c.execute_command("EXEC") == [[0, 0]]
        c.config_set("appendfsync", "everysec")
        assert c.execute_command("WAITAOF", 1, 0, 5000) == [1, 0]
        c.config_set("appendfsync", "no")
        c.set("c", "1")
        c.connection.send_command("WAITAOF", 1, 0, 0)
        until("it waits", lambda: other.info("clients")["blocked_clients"] == 1, TIMEOUT_S)
        other.config_set("appendonly", "no")
        with pytest.raises(redis.ResponseError, match="WAITAOF cannot be used when numlocal is set but appendonly is disabled."):
            c.connection.read_response()
        other.config_set("appendonly", "yes")
        until("the new file is whole", lambda: c.execute_command("WAITAOF", 1, 0, 100) == [1, 0], TIMEOUT_S)


def test_errors_of_waitaof(servers, ours):
    one, two, master, replica = replicated(servers, ours, ours)
    assert error(master, "WAITAOF", 2, 0, 0) == "value is out of range, value must between 0 and 1"
    assert error(master, "WAITAOF", "x", 0, 0) == "value is not an integer or out of range"
    assert error(master, "WAITAOF", 0, -1, 0) == "value is out of range, must be positive"
    assert error(master, "WAITAOF", 0, 0, -1) == "timeout is negative"
    assert error(master, "WAITAOF", 0, 0, "x") == "timeout is not an integer or out of range"
    assert error(master, "WAITAOF", 1, 0, 0) == "WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    assert error(replica, "WAITAOF", 0, 0, 0).startswith("WAITAOF cannot be used with replica instances.")
    assert master.execute_command("WAITAOF", 0, 0, 0) == [0, 0]
    # A replica without a file never counts, and CLIENT UNBLOCK ends the waiting.
    with one.client(single_connection_client=True) as c:
        number = c.client_id()
        c.set("a", "1")
        c.connection.send_command("WAITAOF", 0, 1, 0)
        until("it waits", lambda: master.client_unblock(number) == 1, TIMEOUT_S)
        assert c.connection.read_response() == [0, 0]


@both
def test_a_replica_that_becomes_master_by_itself_takes_a_new_history(servers, source, target):
    _, _, old, new = replicated(servers, source, target)
    old.set("a", "1")
    assert old.wait(1, 5000) == 1
    before = new.info("replication")
    assert new.execute_command("REPLICAOF", "NO", "ONE") in ("OK", b"OK", True)
    after = new.info("replication")
    assert after["role"] == "master" and after["master_replid"] != before["master_replid"]
    assert after["master_replid2"] == before["master_replid"]
    assert after["second_repl_offset"] == after["master_repl_offset"] + 1
    # Said again to a master it changes nothing.
    new.execute_command("REPLICAOF", "NO", "ONE")
    again = new.info("replication")
    assert (again["master_replid"], again["master_replid2"]) == (after["master_replid"], after["master_replid2"])


def test_shutdown_waits_for_a_replica_unless_it_is_told_not_to(servers, ours, peer):
    for implementation in (ours, peer):
        one, two, master, _ = replicated(servers, implementation, peer)
        with two.frozen():
            master.set("a", "1")
            outcome = []

            def end():
                with one.client(socket_timeout=30) as client, contextlib.suppress(redis.ConnectionError):
                    try:
                        outcome.append(client.execute_command("SHUTDOWN"))
                    except redis.ResponseError as e:
                        outcome.append(str(e))

            thread = threading.Thread(target=end)
            thread.start()
            until("it waits", lambda: "shutdown_in_milliseconds" in master.info("server"), TIMEOUT_S)
            assert master.execute_command("SHUTDOWN", "ABORT") in ("OK", b"OK", True)
            thread.join(TIMEOUT_S)
            assert outcome == ["Errors trying to SHUTDOWN. Check logs."]
            assert master.set("b", "2") and error(master, "SHUTDOWN", "ABORT") == "No shutdown in progress."
            with pytest.raises(redis.ConnectionError):
                master.execute_command("SHUTDOWN", "NOW")
            assert one.wait_exit() == 0


def test_shutdown_that_cannot_save_goes_on_unless_it_is_forced(servers, ours, peer):
    for implementation in (ours, peer):
        server = servers.start(implementation, {"dbfilename": "dump.rdb"})
        with server.client() as client:
            client.set("a", "1")
            # A directory in the file's place cannot be replaced, not even by root.
            (server.dir / "dump.rdb" / "full").mkdir(parents=True)
            assert error(client, "SHUTDOWN", "SAVE") == "Errors trying to SHUTDOWN. Check logs."
            assert client.get("a") == "1"
            with pytest.raises(redis.ConnectionError):
                client.execute_command("SHUTDOWN", "SAVE", "FORCE")
        assert server.wait_exit() == 0
