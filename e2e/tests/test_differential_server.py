"""Commands about the server and its data as a whole: ours and Redis compared."""

import signal
import subprocess

import pytest
import redis
from harness import process, resp
from harness.wait import until

TIMEOUT_S = 20
DEBUG = {"enable-debug-command": "yes"}

SCRIPTS = {
    "debug": """
        DEBUG
        DEBUG NOSUCH
        DEBUG SLEEP 0
        DEBUG SLEEP x
        DEBUG SLEEP
        DEBUG ERROR "WHAT is this"
        DEBUG LOG text
        DEBUG LEAK text
        DEBUG SET-ACTIVE-EXPIRE 0
        DEBUG SET-ACTIVE-EXPIRE 1
        DEBUG SET-ACTIVE-EXPIRE
        DEBUG PAUSE-CRON 1
        DEBUG PAUSE-CRON 0
        DEBUG PAUSE-CRON
        DEBUG SET-DISABLE-DENY-SCRIPTS 1
        DEBUG SET-DISABLE-DENY-SCRIPTS 0
        DEBUG QUICKLIST-PACKED-THRESHOLD 100b
        DEBUG QUICKLIST-PACKED-THRESHOLD abc
        DEBUG QUICKLIST-PACKED-THRESHOLD 5gb
        DEBUG QUICKLIST-PACKED-THRESHOLD 0
        DEBUG AOF-FLUSH-SLEEP 10
        DEBUG AOF-FLUSH-SLEEP 0
        DEBUG DROP-CLUSTER-PACKET-FILTER -1
        DEBUG CLUSTERLINK KILL all x
        DEBUG REPLYBUFFER PEAK-RESET-TIME never
        DEBUG REPLYBUFFER PEAK-RESET-TIME x
        DEBUG REPLYBUFFER RESIZING 1
        DEBUG REPLYBUFFER WHAT 1
        DEBUG REPLICATE a b
        DEBUG CLIENT-EVICTION
        DEBUG RELOAD WHAT
        DEBUG ZIPLIST a
        DEBUG OBJECT a fast
    """,
    "debug about values": """
        DEBUG OBJECT nothing
        DEBUG SDSLEN nothing
        DEBUG LISTPACK nothing
        DEBUG QUICKLIST nothing
        DEBUG HTSTATS-KEY nothing
        SET s abc
        SET n 12
        RPUSH l a b 3
        HSET h f v
        ZADD z 1 m
        DEBUG SDSLEN n
        DEBUG SDSLEN l
        DEBUG LISTPACK s
        DEBUG LISTPACK h
        DEBUG LISTPACK z
        DEBUG QUICKLIST s
        DEBUG QUICKLIST l
        DEBUG QUICKLIST l 1
        DEBUG QUICKLIST l x
        DEBUG HTSTATS-KEY s
        DEBUG HTSTATS-KEY h
        DEBUG HTSTATS 99
        DEBUG HTSTATS x
        DEBUG POPULATE 3
        DEBUG POPULATE 3 p
        DEBUG POPULATE 3 q 5
        DEBUG POPULATE abc
        DEBUG POPULATE -1
        DEBUG POPULATE 1 x -5
        GET key:2
        GET p:0
        STRLEN q:1
        DBSIZE
    """,
    "digests": """
        DEBUG DIGEST
        DEBUG DIGEST-VALUE
        SET s abc
        SET n 12
        SET empty ""
        RPUSH l a b 3 -7
        RPUSH large {3000*x} y
        SADD i 1 2 3
        SADD m a b 3
        HSET h f v n 1
        ZADD z 1 a 1.5 b -inf c inf d 0.1 e 1e17 f -0 g
        SET t 1 EX 1000
        XADD x 1-1 f v n 12
        XADD x 2-5 f w n 13
        DEBUG DIGEST-VALUE s n empty l large i m h z t x nothing
        DEBUG DIGEST
        SELECT 3
        SET other 1
        DEBUG DIGEST
        DEBUG DIGEST-VALUE other s
        CONFIG SET hash-max-listpack-entries 1
        CONFIG SET zset-max-listpack-entries 1
        HSET h2 f v n 1 k 3.0
        ZADD z2 1 a 1.5 b -inf c inf d 0.1 e 1e17 f 3 g
        DEBUG DIGEST-VALUE h2 z2
        CONFIG SET hash-max-listpack-entries 128
        CONFIG SET zset-max-listpack-entries 128
        DEBUG DIGEST
        FLUSHALL
        DEBUG DIGEST
        SELECT 0
    """,
    "reload": """
        SET s abc
        RPUSH l a b 3
        SET t 1 EX 1000
        SELECT 2
        SET other 1
        DEBUG RELOAD
        DEBUG DIGEST
        SET later 1
        DEBUG RELOAD NOSAVE
        EXISTS later
        SET other 2
        SET later 1
        DEBUG RELOAD NOSAVE NOFLUSH MERGE
        MGET other later
        DEBUG DIGEST
        SELECT 0
        MGET s t
        DEBUG RELOAD merge nosave
        DEBUG DIGEST
    """,
    "swapdb": """
        SET a 0
        SELECT 1
        SET a 1
        SET b 1
        2: SELECT 1
        2: WATCH a nothing
        SWAPDB 0 1
        GET a
        EXISTS b
        2: MULTI
        2: PING
        2: EXEC
        SWAPDB 0 0
        SWAPDB 0 99
        SWAPDB x 1
        SWAPDB 0 x
        SWAPDB -1 0
        SWAPDB 0
        2> BLPOP q 5
        SELECT 2
        RPUSH q x
        SWAPDB 1 2
        2<
        SELECT 0
        2: SELECT 0
    """,
    "move and copy": """
        SET a 1 EX 1000
        MOVE a 1
        MOVE a 1
        SET a 2
        MOVE a 1
        MOVE a 0
        MOVE a 99
        MOVE a -1
        MOVE a x
        COPY a b
        COPY a b
        COPY a b REPLACE
        COPY a a
        COPY a a DB 2
        COPY a a DB 2 REPLACE
        COPY a b DB 99
        COPY a b DB x
        COPY a b DB
        COPY nothing b
        COPY a b WHAT
        SELECT 1
        TTL a
        SELECT 2
        GET a
        SELECT 0
    """,
    "reset": """
        SELECT 3
        MULTI
        RESET
        CLIENT GETNAME
        CLIENT SETNAME x
        RESET
        CLIENT GETNAME
        RESET x
        2: SUBSCRIBE c
        2: RESET
        2: PING
        WATCH a
        RESET
        SET a 1
    """,
    "object": """
        SET a 1
        SET b {100*x}
        OBJECT REFCOUNT b
        OBJECT FREQ b
        OBJECT FREQ nothing
        OBJECT IDLETIME b
        OBJECT IDLETIME nothing
        OBJECT REFCOUNT nothing
        OBJECT ENCODING b
        OBJECT WHAT b
        OBJECT FREQ
        CONFIG SET maxmemory-policy allkeys-lfu
        OBJECT IDLETIME b
        SET c abc
        OBJECT FREQ c
        CONFIG SET maxmemory-policy noeviction
    """,
    "memory": """
        MEMORY USAGE nothing
        MEMORY USAGE
        MEMORY USAGE a SAMPLES
        MEMORY USAGE a SAMPLES x
        MEMORY USAGE a SAMPLES -1
        MEMORY USAGE a WHAT
        MEMORY NOSUCH
        MEMORY
        MEMORY PURGE x
    """,
    "shutdown": """
        SHUTDOWN WHAT
        SHUTDOWN SAVE NOSAVE
        SHUTDOWN ABORT NOW
        SHUTDOWN ABORT
        SHUTDOWN ABORT x
        MULTI
        SHUTDOWN
        DISCARD
    """,
    "replication": """
        REPLCONF
        REPLCONF a
        REPLCONF what 1
        REPLCONF listening-port x
        REPLCONF listening-port 1 ip-address a
        REPLCONF capa eof capa psync2
        REPLCONF rdb-only 2
        REPLICAOF a
        REPLICAOF a 99999
        REPLICAOF a -1
        REPLICAOF NO ONE
        SLAVEOF no one
        ROLE
        ROLE x
        WAIT 0 0
        WAIT 1 -1
        WAIT x 0
        WAIT 1 x
        WAIT 0 9223372036854775807
        WAIT 1 10
        PSYNC
        PSYNC ?
        PSYNC ? x
        2: PSYNC ? -1 FAILOVER
        FAILOVER
    """,
    "lolwut": """
        LOLWUT
        LOLWUT VERSION
        LOLWUT VERSION x
        LOLWUT VERSION 9
        LOLWUT x
    """,
    "cluster commands without a cluster": """
        CLUSTER
        CLUSTER HELP
        CLUSTER INFO
        CLUSTER KEYSLOT a
        CLUSTER NOSUCH
        CLUSTER MEET a
        READONLY
        ASKING
    """,
}


@pytest.fixture(scope="module")
def two_servers(ours, peer):
    """Both, where DEBUG is allowed."""
    servers = process.Servers()
    yield servers.start(ours, DEBUG), servers.start(peer, DEBUG)
    servers.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


# Redis and ours compress to different lengths.
DEBUG_OBJECT = """
    CONFIG SET rdbcompression no
    SET int 12
    SET short abc
    SET long {100*ab}
    RPUSH l a b 3
    SADD i 1 2 3
    SADD m a b c
    HSET h f v n 1
    ZADD z 1 m 2.5 n
"""


def test_debug_object_but_for_address_and_clock(pair):
    pair.run(DEBUG_OBJECT)
    for key in ["int", "short", "long", "l", "i", "h", "z"]:
        texts = []
        for connection in pair.connections("1"):
            kind, text = connection.call("DEBUG", "OBJECT", key)
            assert kind == "+"
            fields = dict(word.split(":", 1) for word in text.decode().removeprefix("Value ").split())
            assert fields.pop("at").startswith("0x") and fields.pop("lru").isdigit()
            assert int(fields.pop("lru_seconds_idle")) <= 1
            # Small integers are shared there.
            fields.pop("refcount")
            texts.append(fields)
        assert texts[0] == texts[1], key
    pair.run("CONFIG SET rdbcompression yes")


@pytest.mark.parametrize("section", ["everything", "default", "all"])
@pytest.mark.parametrize("kind", ["plain", "with a file", "replica"])
def test_info_has_all_of_redis_fields(servers, ours, peer, section, kind):
    names = []
    for implementation in (ours, peer):
        conf = {"with a file": {"appendonly": "yes"}}.get(kind, {})
        server = servers.start(implementation, conf)
        if kind == "replica":
            master = server
            server = servers.start(implementation, {"replicaof": f"127.0.0.1 {master.port}"})
            with server.client() as client:
                until("in sync", lambda: client.info("replication")["master_link_status"] == "up", TIMEOUT_S)
        with server.client() as client:
            client.set("a", "1") if kind != "replica" else None
            text = client.execute_command("INFO", section)
            text = text if isinstance(text, str) else "\n".join(text)
            names.append(list(text))
    missing = [name for name in names[1] if name not in names[0] and not name.startswith(("cmdstat_", "latency_percentiles_"))]
    assert missing == []


def test_memory_stats_has_all_of_redis_fields(pair):
    pair.run("SET a 1\nSELECT 3\nSET b 1\nSELECT 0")
    shapes = []
    for connection in pair.connections("1"):
        kind, reply = connection.call("MEMORY", "STATS")
        flat = list(reply) if kind == "%" else list(zip(reply[::2], reply[1::2], strict=True))
        shapes.append([(name, value[0]) for name, value in flat])
    assert shapes[0] == shapes[1]


def test_memory_usage_grows_with_its_value_and_can_be_sampled(two_servers):
    with two_servers[0].client() as client:
        client.delete("h", "s")
        client.hset("h", mapping={f"f{n}": "v" * n for n in range(1000)})
        client.set("s", "x" * 10_000)
        all_of_it = client.memory_usage("h", samples=0)
        assert all_of_it > 500_000
        assert 0.5 * all_of_it < client.memory_usage("h", samples=500) < 2 * all_of_it
        assert 10_000 <= client.memory_usage("s") < 12_000
        assert client.memory_purge()
        assert isinstance(client.execute_command("MEMORY", "MALLOC-STATS"), str)
        assert client.execute_command("MEMORY", "DOCTOR")


def test_debug_is_guarded(servers, ours, peer):
    """`local` is refused to nobody here, `no` to everybody, and it cannot be changed at run time."""
    for value, allowed in (("no", False), ("local", True), ("yes", True)):
        texts = []
        for implementation in (ours, peer):
            with servers.start(implementation, {"enable-debug-command": value}).client() as client:
                try:
                    texts.append(client.execute_command("DEBUG", "SLEEP", 0))
                except redis.ResponseError as e:
                    texts.append(str(e))
                with pytest.raises(redis.ResponseError) as caught:
                    client.config_set("enable-debug-command", "yes")
                texts.append(str(caught.value))
        assert texts[:2] == texts[2:] and (texts[0] is True or texts[0] == "OK") == allowed, (value, texts)


@pytest.mark.parametrize("word, expected", [("SEGFAULT", signal.SIGSEGV), ("PANIC", signal.SIGABRT), ("ASSERT", signal.SIGABRT),
                                            ("OOM", signal.SIGABRT)])
def test_debug_that_ends_the_process(servers, ours, word, expected):
    server = servers.start(ours, DEBUG)
    with server.client() as client, pytest.raises(redis.ConnectionError):
        client.execute_command("DEBUG", word)
    assert server.wait_exit() == -expected


@pytest.mark.parametrize("word, kept", [("RESTART", True), ("CRASH-AND-RECOVER", False)])
def test_debug_that_starts_it_anew(servers, ours, word, kept):
    server = servers.start(ours, {**DEBUG, "save": "3600 1000000"})
    with server.client() as client:
        client.set("saved", "1")
        client.save()
        client.set("later", "1")
        run = client.info("server")["run_id"]
        with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
            client.execute_command("DEBUG", word, 100)
    until("it is there again", server.answers, TIMEOUT_S, ignore=(redis.RedisError, OSError))
    with server.client() as client:
        assert client.info("server")["run_id"] != run and client.info("server")["process_id"] == server.pid
        assert client.mget("saved", "later") == ["1", "1" if kept else None]


def test_reload_and_loadaof_keep_what_cannot_be_read(servers, ours):
    server = servers.start(ours, {**DEBUG, "appendonly": "yes", "appendfsync": "always"})
    with server.client() as client:
        client.rpush("l", *range(1000))
        client.set("t", "1", ex=1000)
        with client.pipeline() as pipe:
            pipe.set("a", 1).incr("a").execute()
        digest = client.execute_command("DEBUG", "DIGEST")
        assert client.execute_command("DEBUG", "LOADAOF")
        assert client.execute_command("DEBUG", "DIGEST") == digest
        assert client.execute_command("DEBUG", "RELOAD")
        assert client.execute_command("DEBUG", "DIGEST") == digest
        client.set("after", "1")
        digest = client.execute_command("DEBUG", "DIGEST")
        with pytest.raises(redis.ResponseError, match="Error trying to load the RDB dump, check server logs."):
            client.execute_command("DEBUG", "RELOAD", "NOSAVE", "NOFLUSH")
        (server.dir / "dump.rdb").write_bytes(b"REDIS0010nonsense")
        with pytest.raises(redis.ResponseError, match="Error trying to load the RDB dump, check server logs."):
            client.execute_command("DEBUG", "RELOAD", "NOSAVE")
        assert client.execute_command("DEBUG", "DIGEST") == digest
        with open(next((server.dir / "appendonlydir").glob("*.incr.aof")), "ab") as f:
            f.write(b"*1\r\n$4\r\nnone")
        with pytest.raises(redis.ResponseError, match="Error trying to load the AOF files, check server logs."):
            client.execute_command("DEBUG", "LOADAOF")
        assert client.execute_command("DEBUG", "DIGEST") == digest


def test_digests_after_a_copy_by_every_way(servers, ours, peer):
    """A replica, and the file that is loaded by the other, have the digest of their source."""
    one = servers.start(ours, {**DEBUG, "save": '""'})
    replica = servers.start(peer, {**DEBUG, "replicaof": f"127.0.0.1 {one.port}"})
    with one.client() as a, replica.client() as b:
        a.hset("h", mapping={f"f{n}": n for n in range(1000)})
        a.zadd("z", {f"m{n}": n / 7 for n in range(1000)})
        a.sadd("s", *(f"m{n}" for n in range(1000)))
        a.rpush("l", *range(1000))
        a.set("t", "1", px=1_000_000)
        until("in sync", lambda: b.info("replication")["master_link_status"] == "up", TIMEOUT_S)
        assert a.wait(1, 5000) == 1
        assert a.execute_command("DEBUG", "DIGEST") == b.execute_command("DEBUG", "DIGEST")


def test_published_messages_go_to_replicas_and_not_into_the_file(servers, ours, peer):
    one = servers.start(ours, {"appendonly": "yes", "appendfsync": "always"})
    replica = servers.start(peer, {"replicaof": f"127.0.0.1 {one.port}"})
    with one.client() as a, replica.client() as b, b.pubsub() as listener:
        until("in sync", lambda: b.info("replication")["master_link_status"] == "up", TIMEOUT_S)
        listener.subscribe("news")
        until("subscribed", lambda: listener.get_message(timeout=1), TIMEOUT_S)
        a.set("a", "1")
        a.publish("news", "hello")
        with a.pipeline() as pipe:
            pipe.set("b", "1").publish("news", "in a transaction").execute()
        seen = [until("a message", lambda: listener.get_message(timeout=1), TIMEOUT_S)["data"] for _ in range(2)]
        assert seen == ["hello", "in a transaction"]
        written = b"".join(path.read_bytes() for path in (one.dir / "appendonlydir").glob("*.incr.aof"))
        assert b"hello" not in written and b"$1\r\nb\r\n" in written


def test_the_real_tools_take_what_was_reloaded(servers, ours, peer):
    server = servers.start(ours, DEBUG)
    with server.client() as client:
        client.rpush("l", *range(100))
        assert client.execute_command("DEBUG", "RELOAD")
    check = subprocess.run([peer.program("redis-check-rdb"), server.dir / "dump.rdb"], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stdout


def snapshot(server, *commands):
    """What a raw connection gets that sends these commands: all lines before the snapshot, how it is framed, and it."""
    connection = resp.Connection(server.address)
    lines = []
    for command in commands:
        connection.send(*command)
        if command[0] == "REPLCONF":
            assert connection.read() == ("+", b"OK")
    while True:
        line = connection._line().lstrip(b"\n")
        if line.startswith(b"$"):
            break
        if line:
            lines.append(line.split(b" ")[0])
    if line.startswith(b"$EOF:"):
        mark = line[5:]
        while mark not in connection._buffer:
            connection._fill()
        size, data = "mark", bytes(connection._buffer).partition(mark)[0]
    else:
        while len(connection._buffer) < int(line[1:]):
            connection._fill()
        size, data = "length", bytes(connection._buffer[:int(line[1:])])
    connection.close()
    return lines, size, data


@pytest.mark.parametrize("commands", [
    [("SYNC",)], [("REPLCONF", "capa", "eof"), ("SYNC",)], [("PSYNC", "?", "-1")],
    [("REPLCONF", "capa", "eof", "capa", "psync2"), ("PSYNC", "?", "-1")],
], ids=["sync", "sync eof", "psync", "psync eof"])
def test_replicas_of_every_age_get_a_snapshot(servers, two_servers, ours, peer, commands):
    answers = []
    for server in two_servers:
        with server.client() as client:
            client.flushall()
            client.rpush("l", *range(1000))
            client.config_set("repl-diskless-sync-delay", 0)
        lines, size, data = snapshot(server, *commands)
        assert data.startswith(b"REDIS00")
        path = server.dir / "received.rdb"
        path.write_bytes(data)
        check = subprocess.run([peer.program("redis-check-rdb"), path], capture_output=True, text=True, timeout=60)
        assert check.returncode == 0 and "[info] 1 keys read" in check.stdout, check.stdout
        answers.append((lines, size))
    assert answers[0] == answers[1]


# Commands of which some are refused, some fail, and some wait.
COUNTED = """
    SET a
    SET a 1
    SET a 1 WHAT
    NOSUCH
    CONFIG NOSUCH
    OBJECT
    EVAL a
    EVAL "return redis.call('GET')" 0
    EVAL "return redis.pcall('LPUSH', 'a', 'x')" 0
    MULTI
    SET
    EXEC
    MULTI
    SET a 2
    LPUSH a x
    EXEC
    EXEC
    CONFIG SET maxmemory 1
    SET a 1
    CONFIG SET maxmemory 0
    XADD s 1-1 f v
    XGROUP CREATE s g $
    2> BLPOP l 0
    3> XREADGROUP GROUP g c BLOCK 0 STREAMS s >
"""


def counted(connection):
    """Calls, rejected and failed ones of each command, and errors by their code."""
    figures = {}
    for section in ("commandstats", "errorstats", "stats"):
        lines = connection.call("INFO", section)[1].decode().splitlines()
        figures.update(line.split(":", 1) for line in lines if ":" in line)
    # That CLIENT UNBLOCK fails where it has another one's command fail is Redis' slip.
    untold = ("cmdstat_info", "cmdstat_client|unblock")
    calls = {}
    for name, text in figures.items():
        if name.startswith("cmdstat_") and name not in untold:
            numbers = dict(pair.split("=") for pair in text.split(","))
            calls[name] = tuple(int(numbers[n]) for n in ("calls", "rejected_calls", "failed_calls"))
    errors = {name: text for name, text in figures.items() if name.startswith("errorstat_")}
    return calls, errors, figures["total_error_replies"]


def test_what_is_counted_of_calls_that_fail(pair):
    pair.run("CONFIG RESETSTAT")
    pair.run(COUNTED)
    for connection in pair.connections("1"):
        until("two wait", lambda: b"blocked_clients:2" in connection.call("INFO", "clients")[1], TIMEOUT_S)
        for way in ("ERROR", "TIMEOUT"):
            lines = connection.call("CLIENT", "LIST")[1].decode().splitlines()
            client = next((line for line in lines if "cmd=blpop" in line and "flags=b" in line), "id=0")
            connection.call("CLIENT", "UNBLOCK", client.split()[0].removeprefix("id="), way)
        connection.call("XGROUP", "DESTROY", "s", "g")
    pair.run("2<\n3<")
    for one, other in zip(*(counted(connection) for connection in pair.connections("1")), strict=True):
        assert one == other


def test_time_goes_on_from_one_command_to_the_next(pair):
    """Though they came together."""
    together = ["SET a 1 PX 40", "DEBUG SLEEP 0.08", "GET a", "SET b 1 PX 40", "MULTI", "DEBUG SLEEP 0.08", "GET b", "EXEC", "GET b"]
    seen = []
    for server in pair.servers:
        connection = resp.Connection(server.address)
        connection.send_raw(b"".join(line.encode() + b"\r\n" for line in together))
        seen.append([connection.read() for _ in together])
        connection.close()
    assert seen[0] == seen[1]


def test_a_base_without_a_log(servers, ours, peer):
    """BGREWRITEAOF where no append-only file is kept: what it writes can be loaded, here and by Redis."""
    for preamble in ("yes", "no"):
        one = servers.start(ours, {**DEBUG, "aof-use-rdb-preamble": preamble})
        with one.client() as client:
            with pytest.raises(redis.ResponseError, match="append-only file to load"):
                client.execute_command("DEBUG", "LOADAOF")
            client.rpush("l", *range(1000))
            for _ in range(2):
                client.bgrewriteaof()
                until("it is written", lambda: not client.info("persistence")["aof_rewrite_in_progress"], TIMEOUT_S)
            digest = client.execute_command("DEBUG", "DIGEST")
            client.set("later", 1)
            assert client.execute_command("DEBUG", "LOADAOF")
            assert client.execute_command("DEBUG", "DIGEST") == digest
            client.set("later", 1)
        directory = one.dir / "appendonlydir"
        manifest = lambda: (directory / "appendonly.aof.manifest").read_text().split()  # noqa: E731
        until("the base before is gone", lambda: manifest()[2:] == ["seq", "2", "type", "b"], TIMEOUT_S)
        one.terminate()
        assert sorted(path.name for path in directory.iterdir()) == sorted([manifest()[1], "appendonly.aof.manifest"])
        for implementation in (peer, ours):
            other = servers.start(implementation, {**DEBUG, "appendonly": "yes"}, directory=one.dir)
            with other.client() as client:
                assert client.execute_command("DEBUG", "DIGEST") == digest
                assert client.dbsize() == 1
            other.terminate()


def test_a_log_begun_while_a_base_without_one_is_written(servers, ours, peer):
    one = servers.start(ours, {**DEBUG, "rdb-key-save-delay": "10000000"})
    with one.client() as client:
        client.set("a", 1)
        client.bgrewriteaof()
        assert client.info("persistence")["aof_rewrite_in_progress"] == 1
        client.config_set("appendonly", "yes")
        client.set("b", 2)
        client.config_set("rdb-key-save-delay", 0)
        idle = lambda: not any(client.info("persistence")[f"aof_rewrite_{what}"] for what in ("in_progress", "scheduled"))  # noqa: E731
        until("the base is written", idle, TIMEOUT_S)
        client.set("c", 3)
        digest = client.execute_command("DEBUG", "DIGEST")
        # Switched off, a rewrite under way ends.
        client.config_set("rdb-key-save-delay", 10000000)
        client.bgrewriteaof()
        until("it has begun", lambda: client.info("persistence")["aof_rewrite_in_progress"], TIMEOUT_S)
        client.config_set("appendonly", "no")
        assert "Killing running AOF rewrite child" in one.log()
    one.kill()
    other = servers.start(peer, {**DEBUG, "appendonly": "yes"}, directory=one.dir)
    with other.client() as client:
        assert client.execute_command("DEBUG", "DIGEST") == digest
