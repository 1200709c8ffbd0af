"""MIGRATE: keys that move from one server to another, with a real Redis as either of them."""

import contextlib
import socket
import threading
import time

import pytest
import redis
from harness.process import free_port
from harness.wait import until

TIMEOUT_S = 20
PAIRS = [("ours", "peer"), ("peer", "ours"), ("ours", "ours")]
IDS = ["ours to redis", "redis to ours", "ours to ours"]


@pytest.fixture
def source(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def target(request):
    return request.getfixturevalue(request.param)


both = pytest.mark.parametrize("source, target", PAIRS, ids=IDS, indirect=True)


@pytest.fixture
def two(servers, source, target):
    """Clients of both servers, and the second one's port."""
    one, other = servers.start(source), servers.start(target)
    with one.client() as a, other.client() as b:
        yield a, b, other.port


def move(client, port, key, db=0, timeout=5000, *options):
    return client.execute_command("MIGRATE", "127.0.0.1", port, key, db, timeout, *options)


def error(client, *command):
    with pytest.raises(redis.ResponseError) as caught:
        client.execute_command(*command)
    return str(caught.value)


@both
def test_keys_move(two):
    a, b, port = two
    a.set("s", "x" * 100_000)
    a.rpush("l", *range(1000))
    a.hset("h", "f", "v")
    a.zadd("z", {"m": 1.5})
    a.sadd("i", 1, 2, 3)
    a.set("t", "1", px=100_000)
    before = {key: a.type(key) for key in a.keys()}
    assert move(a, port, "s") == "OK"
    assert move(a, port, "", 0, 5000, "KEYS", "l", "h", "nothing", "z", "i", "t") == "OK"
    assert a.dbsize() == 0 and {key: b.type(key) for key in b.keys()} == before
    assert b.get("s") == "x" * 100_000 and b.lrange("l", 0, -1) == [str(n) for n in range(1000)]
    assert 90_000 < b.pttl("t") <= 100_000 and b.ttl("s") == -1
    assert move(a, port, "s") == "NOKEY" and move(a, port, "", 0, 100, "KEYS", "x", "y") == "NOKEY"
    # To another database, over a connection that is used again.
    a.set("d", "1")
    assert move(a, port, "d", 3) == "OK" and a.info("stats")["migrate_cached_sockets"] == 1
    a.set("e", "1")
    assert move(a, port, "e") == "OK" and b.get("e") == "1"
    assert b.info("keyspace")["db3"]["keys"] == 1


@both
def test_copy_and_replace(two):
    a, b, port = two
    a.set("k", "new")
    b.set("k", "old")
    busy = "Target instance replied with error: BUSYKEY Target key name already exists."
    assert error(a, "MIGRATE", "127.0.0.1", port, "k", 0, 1000) == busy
    assert a.get("k") == "new" and b.get("k") == "old"
    # One key that is refused does not keep the others.
    a.mset({"k1": "1", "k2": "2"})
    assert error(a, "MIGRATE", "127.0.0.1", port, "", 0, 1000, "KEYS", "k1", "k", "k2") == busy
    assert sorted(a.keys()) == ["k"] and b.mget("k1", "k", "k2") == ["1", "old", "2"]
    assert move(a, port, "k", 0, 1000, "COPY", "REPLACE") == "OK"
    assert a.get("k") == b.get("k") == "new"
    a.set("k", "newer")
    assert move(a, port, "k", 0, 1000, "REPLACE") == "OK" and not a.exists("k") and b.get("k") == "newer"
    assert error(a, "MIGRATE", "127.0.0.1", port, "k9", 0, 1000, "COPY", "WHAT") == "syntax error"
    a.set("k", "1")
    assert error(a, "MIGRATE", "127.0.0.1", port, "k", 99, 1000) == \
        "Target instance replied with error: ERR DB index is out of range"
    assert a.get("k") == "1" and not b.exists("k9")


@both
def test_passwords(servers, source, target):
    other = servers.start(target, {"requirepass": "secret"})
    with servers.start(source).client() as a, other.client() as b:
        a.set("k", "1")
        assert error(a, "MIGRATE", "127.0.0.1", other.port, "k", 0, 1000).startswith("Target instance replied with error: NOAUTH")
        assert error(a, "MIGRATE", "127.0.0.1", other.port, "k", 0, 1000, "AUTH", "wrong").startswith(
            "Target instance replied with error: WRONGPASS")
        assert a.get("k") == "1"
        assert move(a, other.port, "k", 0, 1000, "AUTH", "secret") == "OK" and b.get("k") == "1"
        a.set("k2", "1")
        assert move(a, other.port, "", 0, 1000, "AUTH2", "default", "secret", "KEYS", "k2") == "OK" and b.get("k2") == "1"


def test_what_cannot_be_reached(servers, ours, peer):
    """The same errors as Redis'; the key stays."""
    silent = socket.create_server(("127.0.0.1", 0))
    for implementation in (ours, peer):
        with servers.start(implementation).client() as a:
            a.set("k", "1")
            for port in (free_port(), "x"):
                assert error(a, "MIGRATE", "127.0.0.1", port, "k", 0, 200) == "IOERR error or timeout writing to target instance"
            text = error(a, "MIGRATE", "127.0.0.1", silent.getsockname()[1], "k", 0, 200)
            assert text == "IOERR error or timeout reading to target instance"
            assert a.get("k") == "1"
            assert error(a, "MIGRATE", "127.0.0.1", 1, "k", "x", 1) == "value is not an integer or out of range"
            assert error(a, "MIGRATE", "127.0.0.1", 1, "k", 0, 1, "KEYS", "k") == (
                "When using MIGRATE KEYS option, the key argument must be set to the empty string")
            assert error(a, "MIGRATE", "127.0.0.1", 1, "k", 0, 1, "AUTH") == "syntax error"
            assert error(a, "MIGRATE", "127.0.0.1", 1, "k", 0, 1, "AUTH2", "x") == "syntax error"
    silent.close()


def test_a_connection_that_was_kept_and_has_been_closed_is_made_anew(servers, ours, peer):
    other = servers.start(peer)
    with servers.start(ours).client() as a:
        for n in range(3):
            a.set("k", n)
            assert move(a, other.port, "k", 0, 1000, "REPLACE") == "OK"
            with other.client() as b:
                b.client_kill_filter(_type="normal", skipme=True)
        other.terminate()
        other.start()
        a.set("k", "last")
        assert move(a, other.port, "k", 0, 1000, "REPLACE") == "OK"
        assert a.info("stats")["migrate_cached_sockets"] == 1


def test_others_are_served_meanwhile_and_writes_to_the_key_wait(servers, ours, peer):
    one, other = servers.start(ours, {"appendonly": "yes"}), servers.start(peer)
    outcomes = {}

    def ask(name, *command):
        with one.client() as client:
            try:
                outcomes[name] = client.execute_command(*command)
            except redis.ResponseError as e:
                outcomes[name] = str(e)

    with one.client() as a, other.client() as b:
        a.mset({"k": "1", "free": "1"})
        threads = []
        with other.frozen():
            for name, command in {"migrate": ("MIGRATE", "127.0.0.1", other.port, "k", 0, 15_000), "append": ("APPEND", "k", "2"),
                                  "swap": ("SWAPDB", 1, 2)}.items():
                threads.append(threading.Thread(target=ask, args=(name, *command)))
                threads[-1].start()
                until("it waits", lambda: a.info("clients")["blocked_clients"] == len(threads), TIMEOUT_S)
            assert a.get("k") == "1" and a.incr("free") == 2 and not outcomes
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert outcomes == {"migrate": "OK", "append": 1, "swap": True}
        assert b.get("k") == "1" and a.get("k") == "2"
    # What was moved is gone from the file, too.
    one.kill()
    with one.start().client() as a:
        assert a.get("k") == "2" and a.get("free") == "2"


def test_a_client_that_leaves_ends_the_migration(servers, ours, peer):
    one, other = servers.start(ours), servers.start(peer)
    with one.client() as a, contextlib.suppress(redis.ConnectionError):
        a.set("k", "1")
        with other.frozen(), socket.create_connection(one.address) as s:
            s.sendall(f"MIGRATE 127.0.0.1 {other.port} k 0 60000\r\n".encode())
            until("it waits", lambda: a.info("clients")["blocked_clients"] == 1, TIMEOUT_S)
            s.close()
            until("nobody waits", lambda: a.info("clients")["blocked_clients"] == 0, TIMEOUT_S)
            assert a.set("k", "2")
        assert a.get("k") == "2"


def test_replicas_hear_of_it(servers, ours, peer):
    one, other = servers.start(ours), servers.start(peer)
    replica = servers.start(peer, {"replicaof": f"127.0.0.1 {one.port}"})
    with one.client() as a, replica.client() as r:
        until("in sync", lambda: r.info("replication")["master_link_status"] == "up", TIMEOUT_S)
        a.mset({"k": "1", "stays": "1"})
        assert move(a, other.port, "k") == "OK"
        assert a.wait(1, 5000) == 1 and r.keys() == ["stays"]
        assert error(r, "MIGRATE", "127.0.0.1", other.port, "stays", 0, 100).startswith("You can't write against a read only replica")


def test_not_in_a_transaction(servers, ours):
    one = servers.start(ours)
    with one.client() as a:
        a.set("k", "1")
        pipe = a.pipeline(transaction=True)
        pipe.execute_command("MIGRATE", "127.0.0.1", 1, "k", 0, 100)
        with pytest.raises(redis.ResponseError, match="MIGRATE inside a transaction is not supported by this server"):
            pipe.execute()
        assert a.get("k") == "1"


def test_restore_asking_is_restore(two_servers, pair):
    pair.run("""
        SET a 1
        RESTORE-ASKING b 0 x
        RESTORE-ASKING b 0
        EXISTS b
    """)
    for connection in pair.connections("1"):
        _, payload = connection.call("DUMP", "a")
        assert connection.call("RESTORE-ASKING", "c", "0", payload) == ("+", b"OK")
        assert connection.call("RESTORE-ASKING", "c", "0", payload)[0] == "-"
        assert connection.call("GET", "c") == ("$", b"1")


def test_a_key_that_was_changed_meanwhile_stays(servers, ours, peer):
    """A blocked client that is served changes a key that no command of the moment names."""
    one, other = servers.start(ours), servers.start(peer)
    with one.client() as a, other.client() as b, one.client(single_connection_client=True) as mover, \
            one.client(single_connection_client=True) as waiting:
        a.rpush("to", "1")
        waiting.connection.send_command("BLMOVE", "from", "to", "LEFT", "RIGHT", 0)
        until("it waits", lambda: a.info("clients")["blocked_clients"] == 1, TIMEOUT_S)
        with other.frozen():
            mover.connection.send_command("MIGRATE", "127.0.0.1", other.port, "to", 0, 15_000)
            until("both wait", lambda: a.info("clients")["blocked_clients"] == 2, TIMEOUT_S)
            # Only what is changed after it has been sent is older there.
            time.sleep(0.3)
            a.rpush("from", "2")
            assert waiting.connection.read_response() == "2"
        with pytest.raises(redis.ResponseError, match="a key was changed while it was migrated"):
            mover.connection.read_response()
        assert a.lrange("to", 0, -1) == ["1", "2"] and b.lrange("to", 0, -1) == ["1"]
        assert move(a, other.port, "to", 0, 5000, "REPLACE") == "OK" and b.lrange("to", 0, -1) == ["1", "2"]


def test_nothing_is_removed_while_writes_are_paused(servers, ours, peer):
    one, other = servers.start(ours), servers.start(peer)
    with one.client() as a, other.client() as b, one.client(single_connection_client=True) as mover:
        a.set("k", "1")
        with other.frozen():
            mover.connection.send_command("MIGRATE", "127.0.0.1", other.port, "k", 0, 15_000)
            until("it waits", lambda: a.info("clients")["blocked_clients"] == 1, TIMEOUT_S)
            a.client_pause(60_000, all=False)
        until("it has arrived", lambda: b.get("k") == "1", TIMEOUT_S)
        assert a.get("k") == "1" and not mover.connection.can_read(timeout=0.3)
        a.client_unpause()
        assert mover.connection.read_response() == "OK" and not a.exists("k")
