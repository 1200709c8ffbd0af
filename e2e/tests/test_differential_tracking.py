"""Client side caching: the same commands to ours and to Redis; replies and what is pushed are compared, byte by byte."""

import pytest
from harness import differential, resp
from harness.wait import until

INVALIDATE = "__redis__:invalidate"
STEPS = 300  # of the random changes

# Pushed to the connection that tracks: RESP3 only.
PUSHED = {
    "what was read": """
        1: CLIENT TRACKING ON
        1: MGET a b
        1: GET a
        2: SET a 1
        1<
        2: SET a 2
        2: DEL nothing
        2: MSET b 1 c 1
        1<
        1: CLIENT TRACKING OFF
        1: GET a
        2: SET a 3
    """,
    "every kind of read": """
        2: RPUSH l a b c
        2: HSET h f v
        2: SADD s 1 2
        2: ZADD z 1 a 2 b
        1: CLIENT TRACKING ON
        1: LRANGE l 0 -1
        1: HGET h f
        1: SISMEMBER s 1
        1: ZRANGE z 0 -1
        1: EXISTS e1 e2
        1: TTL t
        1: SINTERCARD 2 s i
        1: OBJECT ENCODING l
        1: SORT_RO l BY nosort
        1: GET l  # the wrong type is a read, too
        1: INFO nothing
        2: LPOP l
        1<
        2: HINCRBY h n 1
        1<
        2: SADD s 1
        2: SADD s 3
        1<
        2: ZREMRANGEBYRANK z 0 -1
        1<
        2: SET e2 1
        1<
        2: SET t 1
        1<
        2: SADD i 1
        1<
    """,
    "writes are no reads": """
        1: CLIENT TRACKING ON
        1: SET k 1
        1: GETDEL k
        1: INCR n
        1: GETSET n 5
        2: SET k 1
        2: SET n 1
        1: PING
    """,
    "scripts read all keys that they are given": """
        1: CLIENT TRACKING ON
        1: EVAL "redis.call('set', 'k', '1')" 2 a b
        2: MSET a 1 b 1
        1: PING
        1: EVAL "redis.call('get', 'k')" 1 a
        2: SET k 2
        2: SET a 2
        1<
        1: EVAL_RO "redis.call('ping')" 1 a
        2: SET a 3
        1: PING
        1: EVAL_RO "redis.call('get', 'b')" 1 a
        2: SET b 3
        2: SET a 4
        1<
    """,
    "own changes, behind the reply": """
        1: CLIENT TRACKING ON
        1: GET a
        1: SET a 1
        1<
        1: GET a
        1: MULTI
        1: SET a 2
        1: GET b
        1: EXEC
        1<
        2: SET b 1
        1<
    """,
    "noloop": """
        1: CLIENT TRACKING ON NOLOOP
        1: GET a
        1: SET a 1
        1: GET a
        2: SET a 2
        1<
        1: CLIENT TRACKINGINFO
    """,
    "optin": """
        1: CLIENT TRACKING ON OPTIN
        1: GET a
        2: SET a 1
        1: CLIENT CACHING YES
        1: CLIENT TRACKINGINFO
        1: CLIENT CACHING NO
        1: GET a
        1: CLIENT TRACKINGINFO
        2: SET a 2
        1<
        1: GET a
        2: SET a 3
        1: CLIENT CACHING YES
        1: MULTI
        1: GET a
        1: GET b
        1: EXEC
        1: GET c
        2: MSET c 1 b 1 a 1
        1<
        1<
        1: MULTI
        1: GET a
        1: CLIENT CACHING YES
        1: GET b
        1: EXEC
        2: MSET c 1 b 1 a 1
        1<
        1: CLIENT CACHING YES
        1: NOSUCHCOMMAND
        1: GET a
        2: SET a 4
    """,
    "optout": """
        1: CLIENT TRACKING ON OPTOUT
        1: CLIENT CACHING NO
        1: CLIENT TRACKINGINFO
        1: GET a
        2: SET a 1
        1: GET a
        2: SET a 2
        1<
        1: CLIENT CACHING YES
    """,
    "broadcast": """
        1: CLIENT TRACKING ON BCAST
        1: CLIENT TRACKINGINFO
        2: SET a 1
        1<
        2: MSET c 1 b 1 a 1 b 2
        1<
        1: SET a 2
        1<
        2: SET a 1
        1<
    """,
    "broadcast by prefix": """
        1: CLIENT TRACKING ON BCAST PREFIX user: PREFIX item: NOLOOP
        1: CLIENT TRACKINGINFO
        3: CLIENT TRACKING ON BCAST PREFIX user:
        2: SET other 1
        2: SET user:1 x
        1<
        3<
        1: SET user:2 x
        3<
        2: MSET item:2 x item:1 x user:9 y
        1<
        1<
        3<
        1: CLIENT TRACKING ON BCAST PREFIX more: NOLOOP
        1: CLIENT TRACKINGINFO
        2: SET item:1 y
        1<
        3: CLIENT TRACKING OFF
        3: CLIENT TRACKINGINFO
    """,
    "flushing": """
        1: CLIENT TRACKING ON
        3: CLIENT TRACKING ON BCAST
        1: GET a
        2: FLUSHALL
        1<
        3<
        2: SET a 1
        3<
        1: FLUSHDB
        1<
        3<
        2: SWAPDB 0 1
        1: PING
    """,
    "expiry": """
        1: CLIENT TRACKING ON
        1: GET a
        2: SET a 1 PX 30
        1<
        1: GET a
        1<  # its time is up
        2: SET a 1
    """,
    "names, not databases": """
        1: CLIENT TRACKING ON
        1: GET a
        2: SELECT 3
        2: SET a 1
        1<
        1: GET a
        2: MOVE a 0
        1<
    """,
    "renamed, copied, stored": """
        1: CLIENT TRACKING ON
        2: SET a 1
        2: RPUSH l 3 1 2
        1: MGET a b c d
        2: RENAME a b
        1<
        1<
        2: COPY b c
        1<
        2: SORT l STORE d
        1<
        1: GET b
        2: RESTORE b 0 "\\x00\\xc0\\x01\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb" REPLACE
        2: EXPIRE b 100
        1<
        1: GET b
        2: PERSIST b
        1<
    """,
    "redirected to another connection of RESP3": """
        2: CLIENT SETNAME two
        1: CLIENT TRACKING ON REDIRECT @2
        1: CLIENT GETREDIR
        1: GET a
        3: SET a 1
        2<
        2: SET a 2
        1: GET a
        1: SET a 3
        2<
    """,
    "no replies, but pushes": """
        1: CLIENT TRACKING ON
        1: GET a
        1> CLIENT REPLY OFF
        2: SET a 1
        1<
        1: CLIENT REPLY ON
    """,
    "a listener of both modes": """
        1: CLIENT TRACKING ON
        1: GET a
        1: CLIENT TRACKING OFF
        1: CLIENT TRACKING ON BCAST PREFIX x
        2: SET a 1
        2: SET x 1
        1<
    """,
}

# Messages of a subscription, for connections of RESP2.
REDIRECTED = {
    "reads": f"""
        2: SUBSCRIBE {INVALIDATE}
        1: CLIENT TRACKING ON REDIRECT @2
        1: GET a
        1: CLIENT GETREDIR
        1: CLIENT TRACKINGINFO
        3: SET a 1
        2<
        1: GET a
        1: SET a 2
        2<
        3: FLUSHALL
        2<
        1: CLIENT TRACKING OFF
        1: CLIENT GETREDIR
    """,
    "broadcast": f"""
        2: SUBSCRIBE {INVALIDATE}
        1: CLIENT TRACKING ON REDIRECT @2 BCAST PREFIX a PREFIX b
        3: MSET a2 1 a1 1
        2<
        3: DEL b
        3: SET b 1
        2<
    """,
    "without a subscription nothing comes": """
        1: CLIENT TRACKING ON REDIRECT @2
        1: GET a
        3: SET a 1
        2: PING
    """,
    "any subscription will do": """
        2: PSUBSCRIBE other*
        1: CLIENT TRACKING ON REDIRECT @2
        1: GET a
        3: SET a 1
        2<
    """,
}

WRONG = """
    CLIENT TRACKING
    CLIENT TRACKING MAYBE
    CLIENT TRACKING ON WHAT
    CLIENT TRACKING ON REDIRECT
    CLIENT TRACKING ON REDIRECT x
    CLIENT TRACKING ON REDIRECT 0
    CLIENT TRACKING ON REDIRECT -1
    CLIENT TRACKING ON REDIRECT 999999
    CLIENT TRACKING ON REDIRECT @1 REDIRECT @1
    CLIENT TRACKING ON PREFIX
    CLIENT TRACKING ON PREFIX a
    CLIENT TRACKING ON BCAST OPTIN
    CLIENT TRACKING ON BCAST OPTOUT
    CLIENT TRACKING ON OPTIN OPTOUT
    CLIENT TRACKING ON BCAST PREFIX ab PREFIX a
    CLIENT TRACKING ON BCAST PREFIX a PREFIX a
    CLIENT TRACKING OFF WHAT
    CLIENT TRACKING OFF PREFIX a
    CLIENT TRACKINGINFO
    CLIENT TRACKINGINFO x
    CLIENT GETREDIR
    CLIENT CACHING
    CLIENT CACHING YES
    CLIENT CACHING MAYBE
    CLIENT TRACKING ON
    CLIENT CACHING YES
    CLIENT CACHING NO
    CLIENT CACHING MAYBE
    CLIENT TRACKING ON BCAST
    CLIENT TRACKING ON OPTIN
    CLIENT TRACKING ON OPTOUT
    CLIENT CACHING NO
    CLIENT TRACKING ON OPTOUT NOLOOP
    CLIENT TRACKINGINFO
    CLIENT TRACKING ON
    CLIENT TRACKINGINFO
    CLIENT GETREDIR
    CLIENT TRACKING OFF
    CLIENT TRACKING ON BCAST PREFIX foo PREFIX bar
    CLIENT TRACKING ON BCAST PREFIX foobar
    CLIENT TRACKING ON BCAST PREFIX ba
    CLIENT TRACKING ON BCAST PREFIX x
    CLIENT TRACKING ON
    CLIENT TRACKINGINFO
    CLIENT TRACKING ON BCAST
    CLIENT TRACKINGINFO
    RESET
"""


@pytest.fixture(autouse=True)
def same_ids(two_servers):
    """Connections made in step get the same CLIENT ID on both servers."""
    def next_id(server):
        connection = resp.Connection(server.address)
        number = connection.call("CLIENT", "ID")[1]
        connection.close()
        return number

    ids = [next_id(server) for server in two_servers]
    for server, number in zip(two_servers, ids):
        for _ in range(max(ids) - number):
            next_id(server)


def run(pair, script):
    """Runs a script in which @N is the CLIENT ID of connection N."""
    for name in "123":
        _, number = pair.ask(name, [b"CLIENT", b"ID"])
        script = script.replace(f"@{name}", str(number))
    pair.run(script)
    nothing_is_left_over(pair)


def nothing_is_left_over(pair):
    """Whatever else was pushed comes before the answer to PING."""
    for name in "123":
        pair.ask(name, [b"PING"])
        if pair.protocol == 3:
            pair.ask(name, [b"RESET"])


@pytest.mark.parametrize("name", PUSHED)
@pytest.mark.parametrize("pair", [3], indirect=True)
def test_pushed(pair, name):
    run(pair, PUSHED[name])


@pytest.mark.parametrize("name", REDIRECTED)
@pytest.mark.parametrize("pair", [2], indirect=True)
def test_redirected(pair, name):
    run(pair, REDIRECTED[name])


def test_wrong_use(pair):
    run(pair, WRONG)


@pytest.mark.parametrize("pair", [3], indirect=True)
def test_a_redirection_breaks_with_its_connection(pair):
    _, target = pair.ask("2", [b"CLIENT", b"ID"])
    pair.ask("1", [b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", str(target).encode()])
    pair.ask("1", [b"GET", b"a"])
    pair.ask("3", [b"CLIENT", b"KILL", b"ID", str(target).encode()])
    pair.run("3: SET a 1\n1<\n1: CLIENT TRACKINGINFO\n1: CLIENT GETREDIR\n1: GET a\n3: SET a 2\n1<")
    for connection in pair.connections("1"):
        line = connection.call("CLIENT", "INFO")[1].decode()
        assert " flags=tR " in line and f" redir={target} " in line, line
    pair.run("1: CLIENT TRACKING ON BCAST\n1: CLIENT TRACKING OFF\n1: CLIENT TRACKING ON BCAST")
    for connection in pair.connections("1"):
        assert " flags=tB " in connection.call("CLIENT", "INFO")[1].decode()


def figures(connection):
    text = connection.call("INFO", "everything")[1].decode()
    return {line.split(":")[0]: line.split(":")[1] for line in text.splitlines() if line.startswith("tracking_")}


@pytest.mark.parametrize("pair", [3], indirect=True)
def test_figures(pair):
    pair.run("1: CLIENT TRACKING ON\n1: MGET a b c\n2: CLIENT TRACKING ON\n2: MGET c d\n3: CLIENT TRACKING ON BCAST PREFIX p PREFIX q")
    ours, peer = map(figures, pair.connections("1"))
    assert ours == peer
    assert {name: ours[name] for name in ours} == {"tracking_clients": "3", "tracking_total_keys": "4",
                                                   "tracking_total_items": "5", "tracking_total_prefixes": "2"}
    pair.run("3: SET c 1\n1<\n2<\n3: CLIENT TRACKING OFF\n2: CLIENT TRACKING OFF")
    ours, peer = map(figures, pair.connections("1"))
    assert ours == peer and ours["tracking_clients"] == "1"


@pytest.mark.parametrize("pair", [3], indirect=True)
def test_evicted_keys_are_announced(pair):
    """Which keys go differs; that each is announced exactly once, before the reply of the command they made room for, does not."""
    value = "x" * 100_000
    for mine, other in zip(pair.connections("1"), pair.connections("2")):
        for n in range(20):
            other.call("SET", f"k{n}", value)
        mine.call("CLIENT", "TRACKING", "ON")
        mine.call("MGET", *(f"k{n}" for n in range(20)))
        other.call("CONFIG", "SET", "maxmemory-policy", "allkeys-random")

        def room_is_made():
            used = int(dict(line.split(":", 1) for line in other.call("INFO", "memory")[1].decode().splitlines() if ":" in line)
                       ["used_memory"])
            # The next command of any client makes room, before it is answered. Not if what is freed late makes more meanwhile.
            other.call("CONFIG", "SET", "maxmemory", used - 1_000_000)
            other.call("PING")
            other.call("CONFIG", "SET", "maxmemory", 0)
            return other.call("DBSIZE")[1] < 20
        until("keys are evicted", room_is_made)
        left = other.call("DBSIZE")[1]
        gone = set()
        while len(gone) < 20 - left:
            kind, (what, (keys)) = mine.read()
            assert kind == ">" and what == ("$", b"invalidate"), what
            gone.add(keys[1][0][1])
        assert gone and mine.call("PING") == ("+", b"PONG")
        assert {key for key in gone if other.call("EXISTS", key)[1]} == set()
        other.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.mark.parametrize("pair", [3], indirect=True)
def test_the_table_is_bounded_without_further_commands(pair):
    for mine, other in zip(pair.connections("1"), pair.connections("2")):
        mine.call("CLIENT", "TRACKING", "ON")
        mine.call("MGET", "a", "b")
        other.call("CONFIG", "SET", "tracking-table-max-keys", 1)
        kind, (what, keys) = mine.read()
        assert kind == ">" and what == ("$", b"invalidate") and keys[1][0][1] in (b"a", b"b")
        other.call("CONFIG", "SET", "tracking-table-max-keys", 1_000_000)


@pytest.mark.parametrize("pair", [3], indirect=True)
def test_the_table_is_bounded(pair):
    for mine, other in zip(pair.connections("1"), pair.connections("2")):
        other.call("CONFIG", "SET", "tracking-table-max-keys", 10)
        mine.call("CLIENT", "TRACKING", "ON")
        mine.call("MGET", *(f"k{n}" for n in range(50)))
        other.call("PING")
        told = {mine.read()[1][1][1][0] for _ in range(40)}
        assert len(told) == 40
        assert mine.call("PING") == ("+", b"PONG")
        assert figures(other)["tracking_total_keys"] == "10"
        other.call("CONFIG", "SET", "tracking-table-max-keys", 1000000)


READS = ["GET {k}", "MGET {k} {k}", "STRLEN {k}", "GETRANGE {k} 0 1", "BITCOUNT {k}", "LRANGE {k} 0 -1", "LLEN {k}", "LPOS {k} {v}",
         "HGET {k} {m}", "HLEN {k}", "SCARD {k}", "SISMEMBER {k} {m}", "SINTERCARD 2 {k} {k}", "ZCARD {k}", "ZRANK {k} {m}",
         "ZSCORE {k} {m}", "TYPE {k}", "EXISTS {k} {k}", "TTL {k}", "TOUCH {k}", "EXPIRETIME {k}", "BITFIELD_RO {k} GET u8 0"]
WRITES = ["SET {k} {v}", "SET {k} {v} NX", "SET {k} {v} GET", "SETNX {k} {v}", "GETSET {k} {v}", "GETDEL {k}", "GETEX {k} PERSIST",
          "GETEX {k} EX 1000", "APPEND {k} {v}", "INCRBY {k} {i}", "INCRBYFLOAT {k} 1.5", "MSET {k} {v} {k} {v}", "MSETNX {k} {v} {k} {v}",
          "SETRANGE {k} {c} {v}", "SETBIT {k} 7 1", "BITOP AND {k} {k} {k}", "BITFIELD {k} SET u8 0 255", "SETEX {k} 1000 {v}",
          "DEL {k} {k}", "UNLINK {k}", "EXPIRE {k} {t}", "EXPIRE {k} {t} GT", "EXPIREAT {k} 1", "PERSIST {k}", "RENAME {k} {k}",
          "RENAMENX {k} {k}", "COPY {k} {k} REPLACE", "COPY {k} {k} DB 1", "MOVE {k} 1", "SORT {k} ALPHA STORE {k}",
          "LPUSH {k} {v}", "RPUSHX {k} {v}", "RPOP {k}", "LPOP {k} {c}", "LMOVE {k} {k} LEFT RIGHT", "LTRIM {k} 0 1", "LREM {k} 0 {v}",
          "LSET {k} 0 {v}", "LINSERT {k} BEFORE {v} x", "LMPOP 2 {k} {k} LEFT", "BLPOP {k} {k} 0.001", "SADD {k} {m} {m}", "SREM {k} {m}",
          "SPOP {k} 100", "SMOVE {k} {k} {m}", "SINTERSTORE {k} {k} {k}", "SUNIONSTORE {k} {k} {k}", "SDIFFSTORE {k} {k} {k}",
          "HSET {k} {m} {v}", "HSETNX {k} {m} {v}", "HDEL {k} {m}", "HINCRBY {k} {m} {i}", "ZADD {k} {s} {m}", "ZADD {k} <GT|XX|NX CH> {s} {m}",
          "ZINCRBY {k} 1 {m}", "ZREM {k} {m}", "ZPOPMIN {k}", "ZMPOP 1 {k} MAX", "ZREMRANGEBYRANK {k} 0 0", "ZREMRANGEBYSCORE {k} 0 1",
          "ZRANGESTORE {k} {k} 0 1", "ZUNIONSTORE {k} 2 {k} {k}", "ZINTERSTORE {k} 2 {k} {k}", "ZDIFFSTORE {k} 2 {k} {k}"]


def pushed(connection):
    """Keys that a client has been told of so far, in any order: one command may change several."""
    connection.send("PING")
    keys = []
    while (reply := connection.read()) != ("+", b"PONG"):
        assert reply[0] == ">" and reply[1][0] == ("$", b"invalidate"), reply
        keys += [key for _, key in reply[1][1][1]]
    return sorted(keys)


@pytest.mark.parametrize("mode", ["", "NOLOOP", "BCAST PREFIX k PREFIX {t}"])
@pytest.mark.parametrize("seed", differential.SEEDS)
@pytest.mark.parametrize("pair", [3], indirect=True)
def test_random_changes(pair, seed, mode):
    reads, writes = differential.Generator(READS, seed), differential.Generator(WRITES, seed)
    pair.ask("1", [b"CLIENT", b"TRACKING", b"ON", *mode.encode().split()])
    for n in range(STEPS):
        # Mostly the other one writes; sometimes the one that is told does so itself.
        name = "1" if n % 5 == 4 else "2"
        command = writes.command()
        pair.ask("1", reads.command())
        pair.send(name, command)
        replies = [connection.read() for connection in pair.connections(name)]
        assert ">" not in [kind for kind, _ in replies], f"seed {seed}, {command}: pushed before the reply: {replies}"
        ours, peer = map(pushed, pair.connections("1"))
        assert ours == peer, f"seed {seed}, step {n}, {command}: ours told {ours}, Redis {peer}"


@pytest.mark.parametrize("implementation", ["ours", "peer"])
def test_a_replicas_clients_are_told_of_the_masters_writes(servers, request, implementation):
    implementation = request.getfixturevalue(implementation)
    master = servers.start(implementation)
    replica = servers.start(implementation, {"replicaof": f"127.0.0.1 {master.port}", "repl-ping-replica-period": 1})
    writer, reader = resp.Connection(master.address), resp.Connection(replica.address)

    def in_sync():
        return b"master_link_status:up" in reader.call("INFO", "replication")[1]
    until("it is in sync", in_sync)
    reader.call("HELLO", 3)
    reader.call("CLIENT", "TRACKING", "ON")
    reader.call("MGET", "a", "b")
    writer.call("SET", "a", "1", "PX", "2000")
    told = (">", [("$", b"invalidate"), ("*", [("$", b"a")])])
    assert reader.read() == told
    assert reader.call("GET", "a") == ("$", b"1")
    # The master says when its time is up.
    assert reader.read() == told
    # Other data altogether.
    other = servers.start(implementation)
    reader.call("GET", "b")
    reader.call("REPLICAOF", "127.0.0.1", other.port)
    assert reader.read() == (">", [("$", b"invalidate"), ("_", None)])
    writer.close()
    reader.close()
