"""Data exchanged with a real Redis, in both directions: RDB and AOF files, DUMP, full and partial replication, chains."""

import shutil
import socket
import subprocess

import pytest
import redis
from harness.wait import until

ERRORS = (redis.RedisError, OSError)


def pytest_generate_tests(metafunc):
    if "source" in metafunc.fixturenames:
        metafunc.parametrize("source, target", [("ours", "peer"), ("peer", "ours"), ("ours", "ours")],
                             ids=["ours to redis", "redis to ours", "ours to ours"], indirect=True)


@pytest.fixture
def source(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def target(request):
    return request.getfixturevalue(request.param)


def fill(client):
    """A value of every type in every encoding, in two databases, some with an expiry."""
    client.mset({"int": 12, "min": -(2**63), "text": "merhaba dünya", "empty": "", "long": "x" * 100_000, "comp": "ab" * 5000})
    client.set(b"bin\x00\xff\r\n", bytes(range(256)) * 300)
    client.rpush("list:small", *"abc", 1, -5000, 2**40, "")
    client.rpush("list:large", *range(5000), "y" * 20_000)
    client.sadd("set:int", 1, -2, 2**15, 2**40)
    client.sadd("set:text", "a", "b", 1, "", "ü")
    client.sadd("set:large", *(f"member-{n}" for n in range(2000)))
    client.hset("hash:small", mapping={"a": 1, "b": "", "": "c", "n": -70000})
    client.hset("hash:large", mapping={f"field-{n}": "v" * (n % 90) for n in range(2000)})
    client.zadd("zset:small", {"a": 1, "b": -1.5, "c": "inf", "d": 0.1, "e": 1e17})
    client.zadd("zset:large", {f"m{n}": n / 7 for n in range(2000)})
    client.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"))
    client.pfadd("hll:sparse", *range(100))
    client.pfadd("hll:dense", *range(5000))
    for n in range(300):
        client.xadd("stream", {"n": n, **({"other": "x" * n} if n % 7 == 0 else {})}, id=f"{n // 3 + 1}-{n % 3}")
    client.xdel("stream", "5-1", "7-2")
    client.xgroup_create("stream", "group", 20)
    client.xreadgroup("group", "alice", {"stream": ">"}, count=20)
    client.xgroup_create("stream:empty", "group", "$", mkstream=True)
    client.set("ttl:far", "1", ex=100_000)
    client.hset("ttl:hash", "a", "1")
    client.pexpire("ttl:hash", 200_000_000)
    client.set("ttl:gone", "1", px=1)
    client.execute_command("SELECT", 3)
    client.set("other database", "3")
    client.execute_command("SELECT", 0)


def content(client):
    """Every key of both databases, with type, encoding, whether it expires, and value."""
    read = {b"string": client.get, b"list": lambda k: client.lrange(k, 0, -1), b"set": lambda k: sorted(client.smembers(k)),
            b"hash": lambda k: dict(client.hgetall(k)), b"zset": lambda k: client.zrange(k, 0, -1, withscores=True),
            b"stream": lambda k: (client.xrange(k), client.xpending(k, "group"),
                                  [(g["name"], g["consumers"], g["last-delivered-id"]) for g in client.xinfo_groups(k)])}
    found = {}
    for database in (0, 3):
        client.execute_command("SELECT", database)
        for key in client.keys():
            kind = client.type(key)
            expires = client.expiretime(key)
            value = read[kind](key)
            if value is not None:
                found[database, key] = kind, client.object("encoding", key), expires, value
    client.execute_command("SELECT", 0)
    return found


def binary(server):
    """A client on a single connection that decodes nothing."""
    return server.client(decode_responses=False, single_connection_client=True)


def linked(client):
    return client.info("replication").get("master_link_status") == "up"


def caught_up(*clients):
    """Whether all have the same history and offset."""
    seen = {(i["master_replid"], i.get("slave_repl_offset", i["master_repl_offset"]))
            for i in (client.info("replication") for client in clients)}
    return len(seen) == 1


def test_rdb(servers, source, target, peer):
    one = servers.start(source, {"appendonly": "no"})
    with binary(one) as client:
        fill(client)
        until("the short-lived key is gone", lambda: not client.exists("ttl:gone"))
        client.save()
        expected = content(client)
    check = subprocess.run([peer.program("redis-check-rdb"), one.dir / "dump.rdb"], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stdout
    other = servers.new(target, {"appendonly": "no"})
    shutil.copy(one.dir / "dump.rdb", other.dir)
    with binary(other.start()) as client:
        assert content(client) == expected
        assert client.info("persistence")["rdb_last_load_keys_loaded"] == len(expected)


@pytest.mark.parametrize("preamble", ["yes", "no"])
@pytest.mark.parametrize("rewrite", [True, False], ids=["rewritten", "not rewritten"])
def test_aof(servers, source, target, peer, preamble, rewrite):
    conf = {"appendonly": "yes", "appendfsync": "always", "aof-use-rdb-preamble": preamble}
    one = servers.start(source, conf)
    with binary(one) as client:
        fill(client)
        if rewrite:
            client.bgrewriteaof()
            until("the rewrite is done", lambda: (i := client.info("persistence"))["aof_rewrites"] >= 1
                  and not i["aof_rewrite_in_progress"], 30)
        client.set("after", "1")
        client.incr("int")
        client.lpop("list:small")
        client.incrbyfloat("float", 0.1)
        client.spop("set:text")
        client.getex("ttl:far", persist=True)
        with client.pipeline() as pipe:
            pipe.set("tx:a", 1).incr("tx:a").execute()
        until("the short-lived key is gone", lambda: not client.exists("ttl:gone"))
        expected = content(client)
    one.kill()
    manifest = one.dir / "appendonlydir" / "appendonly.aof.manifest"
    check = subprocess.run([peer.program("redis-check-aof"), manifest], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0 and "All AOF files and manifest are valid" in check.stdout, check.stdout
    other = servers.new(target, conf)
    shutil.copytree(one.dir / "appendonlydir", other.dir / "appendonlydir")
    with binary(other.start()) as client:
        assert content(client) == expected


def test_dump_and_restore(servers, source, target):
    with binary(servers.start(source)) as one, binary(servers.start(target)) as other:
        fill(one)
        # It may be there still, and be kept by the other for ever.
        one.delete("ttl:gone")
        for key in one.keys():
            other.restore(key, 0, one.dump(key))
        for key in other.keys():
            assert one.type(key) == other.type(key)
            assert one.object("encoding", key) == other.object("encoding", key), key
        kept = {key: item[3] for key, item in content(one).items() if key[0] == 0}
        assert {key: item[3] for key, item in content(other).items()} == kept
        with pytest.raises(redis.ResponseError, match="DUMP payload version or checksum are wrong"):
            other.restore("bad", 0, one.dump("text")[:-1] + b"\x00")


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_full_resync_then_the_stream(servers, source, target, diskless):
    master = servers.start(source, {"repl-diskless-sync": diskless})
    replica = servers.new(target, {"replicaof": f"127.0.0.1 {master.port}"})
    with binary(master) as one:
        fill(one)
        with binary(replica.start()) as other:
            until("the replica is in sync", lambda: linked(other), 30)
            one.set("later", "1")
            one.spop("set:large", 10)
            one.incrbyfloat("float", 0.1)
            one.set("short", "1", px=50)
            one.execute_command("SELECT", 3)
            one.rpush("in the other database", "x")
            one.execute_command("SELECT", 0)
            assert one.wait(1, 5000) == 1
            until("the short-lived keys are gone on both", lambda: not one.exists("short", "ttl:gone") and
                  not other.exists("short", "ttl:gone"))
            until("the replica deleted them too", lambda: one.dbsize() == other.dbsize())
            until("equal offsets", lambda: caught_up(one, other))
            assert content(other) == content(one)
            assert one.info("stats")["sync_full"] == 1


def test_partial_resync_after_a_cut_link(servers, source, target):
    master = servers.start(source, {"repl-backlog-size": "10mb"})
    replica = servers.start(target, {"replicaof": f"127.0.0.1 {master.port}"})
    with binary(master) as one, binary(replica) as other:
        until("the replica is in sync", lambda: linked(other), 30)
        for n in range(5):
            one.set(f"before:{n}", n)
            assert one.execute_command("CLIENT", "KILL", "TYPE", "replica") == 1
            one.set(f"after:{n}", n)
            until("both keys", lambda: other.mget(f"before:{n}", f"after:{n}") == [str(n).encode()] * 2, 20)
            until("the master counts it online", lambda: one.info("replication")["connected_slaves"] == 1
                  and one.info("replication")["slave0"]["state"] == "online")
        stats = one.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == (1, 5)
        until("equal offsets", lambda: caught_up(one, other))
        assert content(other) == content(one)


def test_partial_resync_after_a_restart_of_the_replica(servers, source, target):
    master = servers.start(source)
    replica = servers.start(target, {"replicaof": f"127.0.0.1 {master.port}", "save": "3600 1"})
    with binary(master) as one:
        with binary(replica) as other:
            until("the replica is in sync", lambda: linked(other), 30)
            one.set("before", "1")
            assert one.wait(1, 5000) == 1
        assert replica.terminate() == 0
        one.set("meanwhile", "2")
        with binary(replica.start()) as other:
            until("both keys", lambda: other.mget("before", "meanwhile") == [b"1", b"2"], 20)
        stats = one.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == (1, 1)


def test_full_resync_again_when_the_backlog_is_too_short(servers, source, target):
    master = servers.start(source, {"repl-backlog-size": "16kb"})
    replica = servers.start(target, {"replicaof": f"127.0.0.1 {master.port}"})
    with binary(master) as one, binary(replica) as other:
        until("the replica is in sync", lambda: linked(other), 30)
        with replica.frozen():
            one.execute_command("CLIENT", "KILL", "TYPE", "replica")
            for n in range(100):
                one.set(f"big:{n}", b"x" * 10_000)
        until("the link is up again", lambda: linked(other) and caught_up(one, other), 30, ignore=ERRORS)
        stats = one.info("stats")
        assert (stats["sync_full"], stats["sync_partial_err"]) == (2, 1)
        assert content(other) == content(one)


def test_chain(servers, source, target):
    """A replica of a replica; the middle one is of the other make, and the tail survives its master's change."""
    head = servers.start(source)
    middle = servers.start(target, {"replicaof": f"127.0.0.1 {head.port}"})
    tail = servers.start(source, {"replicaof": f"127.0.0.1 {middle.port}"})
    with binary(head) as one, binary(middle) as two, binary(tail) as three:
        fill(one)
        until("both are in sync", lambda: linked(two) and linked(three), 30)
        until("equal histories and offsets", lambda: caught_up(one, two, three), 20)
        one.set("through the chain", "1")
        until("it arrived", lambda: three.get("through the chain") == b"1")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            two.set("x", "1")
        two.replicaof("NO", "ONE")
        two.set("of the new head", "2")
        until("the tail follows on", lambda: three.get("of the new head") == b"2", 20)
        one.replicaof("127.0.0.1", middle.port)
        until("the old head follows", lambda: linked(one) and one.get("of the new head") == b"2", 20)
        assert two.info("stats")["sync_partial_ok"] >= 1
        until("equal histories and offsets", lambda: caught_up(one, two, three), 20)
        assert content(one) == content(two) == content(three)


def test_moving_over_without_losing_a_write(servers, source, target):
    """How a deployment changes from one to the other: replicate, wait, promote, turn the old one around."""
    old = servers.start(source)
    new = servers.start(target)
    with binary(old) as one, binary(new) as other:
        fill(one)
        other.replicaof("127.0.0.1", old.port)
        until("the new one is in sync", lambda: linked(other), 30)
        one.set("last", "1")
        assert one.wait(1, 5000) == 1
        other.replicaof("NO", "ONE")
        other.set("first", "1")
        one.replicaof("127.0.0.1", new.port)
        until("the old one follows", lambda: linked(one) and one.get("first") == b"1", 20)
        assert other.get("last") == b"1"
        assert other.info("stats")["sync_full"] == 0


@pytest.mark.parametrize("how", ["by its kind", "by its address"])
def test_a_link_that_is_cut_is_made_anew_at_once(servers, source, target, how):
    master, replica = servers.start(source), servers.start(target)
    with binary(master) as m, binary(replica) as r:
        r.replicaof("127.0.0.1", master.port)
        until("the link is up", lambda: linked(r))
        words = ["TYPE", "master"] if how == "by its kind" else [f"127.0.0.1:{master.port}"]
        assert r.execute_command("CLIENT", "KILL", *words) in (1, b"OK")
        m.set("a", "1")
        until("it goes on", lambda: r.get("a") == b"1")
        assert (m.info("stats")["sync_full"], m.info("stats")["sync_partial_ok"]) == (1, 1)


def test_replicas_of_a_restarted_master_are_told_what_has_expired(servers, source, target):
    """What the master leaves out as it loads its file those who go on from where they were still have."""
    master = servers.start(source, {"save": "3600 1", "repl-diskless-sync-delay": 0, "enable-debug-command": "yes"})
    replica = servers.start(target)
    with binary(replica) as r:
        with binary(master) as m:
            r.replicaof("127.0.0.1", master.port)
            until("the link is up", lambda: linked(r))
            m.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
            m.set("kept", "1")
            m.set("gone", "1", px=1)
            until("both have it all", lambda: r.dbsize() == 2)
        assert master.terminate() == 0
        master.start()
        with binary(master) as m:
            until("the link is up", lambda: linked(r))
            until("it is told", lambda: r.dbsize() == 1)
            assert m.info("stats")["sync_partial_ok"] == 1 and m.info("stats")["sync_full"] == 0


def test_a_writable_replica_expires_what_its_own_clients_wrote(servers, source, target):
    master = servers.start(source)
    replica = servers.start(target, {"replica-read-only": "no"})
    with binary(replica) as r:
        r.replicaof("127.0.0.1", master.port)
        until("the link is up", lambda: linked(r))
        r.set("mine", "1", px=300)
        r.set("changed", "1", px=300)
        r.persist("changed")
        assert r.info("stats")["slave_expires_tracked_keys"] >= 1
        until("it expires", lambda: r.dbsize() == 1)
        assert r.get("changed") == b"1"


def test_whoever_receives_the_stream_gets_no_replies(servers, ours):
    """Redis' words for it are in the log, and the connection ends."""
    server = servers.start(ours, {"repl-diskless-sync-delay": 0})
    for words, name in ((b"PING", "ping"), (b"GET a", "get"), (b"XINFO HELP", "xinfo|help")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as replica:
            replica.sendall(b"SYNC\r\n" + words + b"\r\n")
            while replica.recv(4096):
                pass
        until("it is told", lambda: f"Replica generated a reply to command '{name}', disconnecting it" in server.log())
    assert "Replica can't interact with the keyspace" in server.log()


def test_a_snapshot_without_keys(servers, ours, peer, tmp_path):
    """What `redis-cli --functions-rdb` asks for."""
    server, library = servers.start(ours), "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
    with binary(server) as client:
        client.set("a", "1")
        client.function_load(library)
        file = tmp_path / "functions.rdb"
        subprocess.run([peer.program("redis-cli"), "-p", str(server.port), "--functions-rdb", str(file)], check=True,
                       capture_output=True, timeout=20)
        with pytest.raises(redis.ResponseError, match="Unsupported rdb-filter-only option: keys"):
            client.execute_command("REPLCONF", "rdb-filter-only", "keys")
    copy = servers.new(peer)
    shutil.copy(file, copy.dir / "dump.rdb")
    copy.start()
    with binary(copy) as client:
        assert client.dbsize() == 0 and client.fcall("f", 0) == 1


def test_a_replica_that_loads_for_long_is_not_taken_for_lost(servers, source, target):
    """It sends empty lines meanwhile: the master's `repl-timeout` is shorter than the loading takes."""
    master = servers.start(source, {"repl-diskless-sync-delay": 0, "enable-debug-command": "yes", "rdbcompression": "no"})
    replica = servers.start(target, {"key-load-delay": 40_000, "loading-process-events-interval-bytes": 1024})
    with binary(master) as m, binary(replica) as r:
        m.execute_command("DEBUG", "POPULATE", 100, "key", 2000)
        m.config_set("repl-timeout", 2)
        m.config_set("repl-ping-replica-period", 1)
        r.replicaof("127.0.0.1", master.port)
        until("it is loaded", lambda: linked(r) and r.dbsize() == 100, timeout=30, ignore=ERRORS)
        stats = m.info("stats")
        assert (stats["sync_full"], stats["sync_partial_ok"]) == (1, 0)
