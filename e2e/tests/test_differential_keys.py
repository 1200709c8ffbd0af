"""Keys and expiry: the same commands to ours and to Redis, replies compared."""

import time

import pytest
from harness import aof
from harness.differential import SEEDS, run_random
from harness.wait import until

TIMEOUT_S = 20

SCRIPTS = {
    "existence and type": """
        SET a 1
        RPUSH l 1
        SADD s 1
        HSET h f v
        ZADD z 1 m
        EXISTS a l nothing a
        EXISTS
        TYPE a
        TYPE l
        TYPE s
        TYPE h
        TYPE z
        TYPE nothing
        TOUCH a nothing
        DBSIZE
        KEYS *
        KEYS ?
        KEYS nothing
        DEL a l nothing
        UNLINK s h nothing
        DEL
        RANDOMKEY
        DEL z
        RANDOMKEY
        DBSIZE
    """,
    "expiry": """
        SET a 1
        TTL a
        PTTL a
        EXPIRETIME a
        PEXPIRETIME nothing
        TTL nothing
        EXPIRE a 100
        TTL a
        EXPIRE a 200 NX
        EXPIRE a 200 XX
        EXPIRE a 100 GT
        EXPIRE a 50 LT
        TTL a
        EXPIRE a 10 NX XX
        EXPIRE a 10 GT LT
        EXPIRE a 10 WHAT
        EXPIRE a abc
        EXPIRE a 9223372036854775807
        PEXPIRE a 9223372036854775807
        EXPIRE nothing 10
        PERSIST a
        PERSIST a
        PERSIST nothing
        EXPIRE a 10 GT
        EXPIRE a 10 LT
        PEXPIRE a 100000
        PTTL a
        EXPIREAT a 99999999999
        EXPIRETIME a
        PEXPIREAT a 99999999999999
        PEXPIRETIME a
        EXPIRE a 0
        EXISTS a
        SET a 1
        EXPIRE a -1
        EXISTS a
        SET a 1
        EXPIREAT a 1
        EXISTS a
    """,
    "expiry goes with its key": """
        SET a 1 EX 100
        RENAME a b
        TTL b
        COPY b c
        TTL c
        SET b 2
        TTL b
        HSET h f v
        EXPIRE h 100
        HSET h f w
        TTL h
        PERSIST h
        TTL h
        GETSET c x
        TTL c
    """,
    "rename and copy": """
        SET a 1
        RENAME a b
        RENAME a c
        RENAME b b
        SET c 2
        RENAMENX b c
        RENAMENX b d
        RENAMENX d d
        RENAMENX nothing x
        COPY d e
        COPY d e
        COPY d c REPLACE
        COPY d d
        COPY nothing x
        COPY d f DB 1
        COPY d d DB 1
        COPY d x DB 99
        COPY d x WHAT
        SELECT 1
        MGET d f
        FLUSHDB
        SELECT 0
        MGET c d e
    """,
    "databases": """
        SET a 0
        SELECT 1
        GET a
        SET a 1
        DBSIZE
        SELECT 0
        MOVE a 1
        MOVE a 0
        MOVE a 99
        MOVE a abc
        MOVE nothing 2
        MOVE a 2
        EXISTS a
        SWAPDB 1 2
        SELECT 2
        GET a
        SELECT 16
        SELECT -1
        SELECT abc
        GET a
        SWAPDB 0 99
        FLUSHDB
        FLUSHALL
        FLUSHALL ASYNC
        FLUSHDB SYNC
        FLUSHALL WHAT
        SELECT 0
    """,
    "object": """
        SET a 1
        OBJECT REFCOUNT b
        OBJECT REFCOUNT a
        SET a 0
        OBJECT REFCOUNT a
        SET a 9999
        OBJECT REFCOUNT a
        INCR a
        OBJECT REFCOUNT a
        SET a -1
        OBJECT REFCOUNT a
        INCR a
        OBJECT REFCOUNT a
        CONFIG SET maxmemory 1gb
        SET a 7
        OBJECT REFCOUNT a
        CONFIG SET maxmemory-policy allkeys-lru
        SET a 7
        OBJECT REFCOUNT a
        CONFIG SET maxmemory 0
        SET a 7
        OBJECT REFCOUNT a
        CONFIG SET maxmemory-policy noeviction
        OBJECT ENCODING nothing
        OBJECT IDLETIME a
        OBJECT FREQ a
        OBJECT WHAT a
        OBJECT ENCODING
    """,
    "scan": """
        SET a 1
        SCAN 0
        SCAN 0 MATCH a COUNT 10
        SCAN 0 TYPE string
        SCAN 0 TYPE list
        SCAN 0 TYPE what
        SCAN abc
        SCAN 0 COUNT 0
        SCAN 0 MATCH
        SCAN 0 WHAT
    """,
    "patterns": """
        MSET abc 1 abd 1 aec 1 "a*c" 1 "[x]" 1 "" 1
        KEYS a?c
        KEYS a[be]c
        KEYS a[^b]c
        KEYS a[a-d]c
        KEYS a\\\\*c
        KEYS "\\\\[x\\\\]"
        KEYS [
        KEYS ""
        KEYS *
        KEYS a*c
        KEYS **c
    """,
    "sort": """
        RPUSH l 3 1 2 10
        SORT l
        SORT l DESC
        SORT l ALPHA
        SORT l LIMIT 1 2
        SORT l LIMIT 0 -1
        MSET w_1 9 w_2 8 w_3 7 w_10 6
        SORT l BY w_*
        SORT l BY w_* GET # GET w_*
        SORT l BY nosort
        SORT l GET nothing_*
        HSET o_1 f a
        SORT l GET o_*->f
        SORT l STORE d
        LRANGE d 0 -1
        SORT nothing
        SORT nothing STORE d
        EXISTS d
        RPUSH t b a
        SORT t
        SORT_RO l
        SORT_RO l STORE x
        SET s x
        SORT s
        SORT l WHAT
    """,
    "unknown and malformed commands": """
        NOSUCHCOMMAND
        NOSUCHCOMMAND a b c
        nosuchcommand {200*x} y
        GET
        GET a b
        get
        EXPIRE a
        OBJECT
        CONFIG
        CONFIG WHAT
        CONFIG GET
        CLIENT WHAT
        COMMAND WHAT
        DEBUG
        "" a
        PING a b
        ECHO
        ECHO x
        PING
        PING hello
    """,
    "big and empty arguments": """
        SET "" ""
        GET ""
        SET {300000*k} {600000*v}
        STRLEN {300000*k}
        EXISTS {300000*k}
        DEL {300000*k} ""
        SET "a b" "\\r\\n\\x00"
        GET "a b"
        TYPE ""
    """,
}

GRAMMAR = [
    "SET {k} {v} <EX {t}|>", "RPUSH {k} {v} {m}", "SADD {k} {m} {m}", "HSET {k} {m} {v}", "ZADD {k} {s} {m}",
    "EXPIRE {k} {t} <NX|XX|GT|LT|>", "PEXPIRE {k} {t}", "EXPIRE {k} {i}", "EXPIREAT {k} 99999999999", "PERSIST {k}",
    "TTL {k}", "PTTL {k}", "EXPIRETIME {k}", "TYPE {k}", "EXISTS {k} {k}", "DEL {k}", "UNLINK {k} {k}",
    "RENAME {k} {k}", "RENAMENX {k} {k}", "COPY {k} {k} <REPLACE|>", "KEYS {p}", "DBSIZE", "TOUCH {k} {k}",
    "OBJECT ENCODING {k}", "SWAPDB 0 0", "GETEX {k} PERSIST",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)


@pytest.mark.parametrize("command", ["SCAN 0", "SCAN 0 MATCH a*", "SCAN 0 TYPE list", "RANDOMKEY"])
@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a transaction"])
def test_what_has_expired_goes_when_it_is_come_across(servers, ours, peer, command, within):
    """Each removal by itself, for it has nothing to do with the others; those of a transaction together."""
    # Without fsync Redis never puts off a write to the file.
    directives = {"appendonly": "yes", "appendfsync": "no", "enable-debug-command": "yes"}
    both = [servers.start(implementation, directives) for implementation in (ours, peer)]
    seen = []
    for server in both:
        with server.client() as client:
            client.execute_command("DEBUG SET-ACTIVE-EXPIRE 0")
            for key in ("a1", "a2", "b"):
                client.set(key, 1, px=1)
            time.sleep(0.01)
            log = aof.Log(server)
            log.more()
            with client.pipeline(transaction=within) as pipe:
                pipe.execute_command(*command.split()).set("end", 1).execute()
            written = []
            until("the end", lambda: written.extend(log.more()) or any(w[:2] == [b"SET", b"end"] for w in written), TIMEOUT_S)
        seen.append([word for word in written if word[0] != b"SELECT"])
    names = [[word[0] for word in words] for words in seen]
    assert names[0] == names[1] and sorted(seen[0]) == sorted(seen[1])
    assert (b"MULTI" in names[0]) == within


def test_a_replica_that_takes_writes_expires_its_own_keys(servers, ours, peer):
    """Of those its master says nothing."""
    source = servers.start(peer)
    for appendonly in ("no", "yes"):
        directives = {"replicaof": f"127.0.0.1 {source.port}", "replica-read-only": "no", "appendonly": appendonly}
        replica = servers.start(ours, directives)
        with source.client() as master, replica.client() as client:
            until("in sync", lambda: client.info("replication")["master_link_status"] == "up", TIMEOUT_S)
            master.set("theirs", 1, px=50)
            master.set("kept", 1)
            until("it has come", lambda: client.exists("kept"), TIMEOUT_S)
            before = client.info("stats")["expired_keys"]
            for n in range(200):
                client.set(f"own{n}", 1, px=50)
            client.set("later", 1, ex=1000)
            client.set("kept here", 1, px=50)
            client.persist("kept here")
            until("its own are gone", lambda: client.info("stats")["expired_keys"] == before + 200, TIMEOUT_S)
            until("theirs, too", lambda: not client.exists("theirs"), TIMEOUT_S)
            assert sorted(client.keys()) == ["kept", "kept here", "later"]
            assert client.info("stats")["slave_expires_tracked_keys"] == 1
            if appendonly == "yes":
                assert [b"DEL", b"own7"] in aof.effects(replica)
            client.execute_command("REPLICAOF NO ONE")
            until("master", lambda: client.info("stats")["slave_expires_tracked_keys"] == 0, TIMEOUT_S)


def test_what_was_flushed_does_not_come_back(servers, ours, peer):
    """With save points FLUSHALL saves, too: the RDB file does not hold any more what was thrown away."""
    seen = []
    for implementation in (ours, peer):
        server = servers.start(implementation, {"save": "3600 1000"})
        with server.client() as client:
            client.set("a", 1)
            client.save()
            client.set("b", 1)
            client.flushall()
            changes = [client.info("persistence")["rdb_changes_since_last_save"]]
            with client.pipeline() as pipe:
                pipe.set("c", 1).flushall().set("d", 1).execute()
            changes.append(client.info("persistence")["rdb_changes_since_last_save"])
            client.config_set("save", "")
            client.flushall()
            changes.append(client.info("persistence")["rdb_changes_since_last_save"])
        server.kill()
        server.start()
        with server.client() as client:
            seen.append((changes, client.keys()))
    assert seen[0] == seen[1] and seen[0][1] == []
