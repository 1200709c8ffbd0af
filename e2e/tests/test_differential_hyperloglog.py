"""HyperLogLog: the same commands to ours and to Redis, replies and every byte of the values compared."""

import random

import pytest
from harness import aof
from harness.differential import SEEDS, Pair, run_random
from harness.wait import until

HEADER = r"HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80"

SCRIPTS = {
    "add and count": r"""
        PFADD h
        GET h
        PFADD h
        PFADD h a b c
        GET h
        PFADD h a b c
        PFADD h "" a "\x00\xff"
        PFCOUNT h
        GET h
        PFCOUNT h
        PFADD h a
        GET h
        PFADD h d e f g h i j k l m n
        GET h
        PFCOUNT h
        PFCOUNT nothing
        PFCOUNT nothing nothing
        PFADD other a x y z
        PFCOUNT h other nothing
        GET other
        OBJECT ENCODING h
        STRLEN h
        PFADD
        PFCOUNT
        PFMERGE
        EXPIRE h 1000
        PFADD h more
        TTL h
    """,
    "merge": r"""
        PFADD a 1 2 3
        PFADD b 3 4 5
        PFMERGE m a b nothing
        GET m
        PFCOUNT m
        PFMERGE m
        GET m
        PFMERGE new
        GET new
        PFMERGE new nothing
        PFMERGE a b
        GET a
        PFDEBUG TODENSE b
        PFMERGE m2 a b
        PFDEBUG ENCODING m2
        GET m2
        PFMERGE a b
        GET a
        SET s x
        PFMERGE t a s
        EXISTS t
        PFMERGE s a
        RPUSH l x
        PFMERGE t l
        PFMERGE l a
        EXPIRE m 1000
        PFMERGE m a
        TTL m
    """,
    "debug": r"""
        PFADD h a b c d e f g
        PFDEBUG ENCODING h
        PFDEBUG DECODE h
        PFDEBUG TODENSE h
        GET h
        PFDEBUG TODENSE h
        PFDEBUG ENCODING h
        PFDEBUG DECODE h
        PFCOUNT h
        PFDEBUG GETREG h
        PFADD i x
        PFDEBUG GETREG i
        PFDEBUG encoding i
        PFDEBUG WHAT i
        PFDEBUG ENCODING nothing
        PFDEBUG ENCODING
        PFDEBUG ENCODING i i
        PFSELFTEST
        PFSELFTEST x
        SET s x
        PFDEBUG ENCODING s
        RPUSH l x
        PFDEBUG ENCODING l
    """,
    "limit of the sparse form": r"""
        CONFIG SET hll-sparse-max-bytes 30
        PFADD h a b c d e f g h i j k
        PFDEBUG ENCODING h
        CONFIG SET hll-sparse-max-bytes 0
        PFADD i
        GET i
        PFADD i a
        PFDEBUG ENCODING i
        PFMERGE m
        PFDEBUG ENCODING m
        CONFIG SET hll-sparse-max-bytes 21
        PFADD j a
        GET j
        PFADD j b
        PFDEBUG ENCODING j
        PFMERGE k j
        CONFIG SET hll-sparse-max-bytes 3000
    """,
    "strings that are none": rf"""
        SET n 12345678901234567
        PFADD n a
        PFCOUNT n
        SET e ""
        PFADD e a
        PFCOUNT e e
        PFMERGE e
        SET short HYLL
        PFADD short a
        SET magic "HYLX\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff"
        PFADD magic a
        SET encoding "HYLL\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff"
        PFCOUNT encoding
        SET dense "HYLL\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x7f\xff"
        PFCOUNT dense
        PFDEBUG GETREG dense
        RPUSH l x
        PFADD l a
        PFCOUNT l
        PFCOUNT nothing l
        PFADD l
    """,
    "corrupt ones": rf"""
        SET none "{HEADER}"
        PFCOUNT none
        PFCOUNT none none
        PFADD none
        PFADD none a
        PFMERGE t none
        PFDEBUG DECODE none
        PFDEBUG GETREG none
        PFDEBUG TODENSE none
        GET none
        SET few "{HEADER}\x80\x81\x7f\xf0"
        PFCOUNT few
        PFADD few a b c d e
        PFCOUNT few few
        PFDEBUG DECODE few
        PFDEBUG TODENSE few
        GET few
        SET many "{HEADER}\x7f\xff\x80\x7f\xff"
        PFCOUNT many
        PFCOUNT many many
        PFADD many a b
        PFDEBUG GETREG many
        SET more "{HEADER}\x7f\xff\x80"
        PFCOUNT more
        PFCOUNT more more
        PFADD more a b
        PFMERGE more2 more
        SET cached "HYLL\x01\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x80"
        PFCOUNT cached
        PFCOUNT cached cached
        SET large "HYLL\x01abc\xff\xff\xff\xff\xff\xff\xff\x7f\x7f\xff"
        PFCOUNT large
        PFADD large a
        GET large
        SET limit "HYLL\x00abc\xff\xff\xff\xff\xff\xff\xff\xff{{12288*\xff}}"
        PFCOUNT limit
        PFADD limit a
        PFMERGE limit2 limit
        GET limit2
    """,
    "keys of a command": r"""
        COMMAND GETKEYS PFADD h a b
        COMMAND GETKEYS PFCOUNT a b c
        COMMAND GETKEYSANDFLAGS PFCOUNT a b c
        COMMAND GETKEYSANDFLAGS PFMERGE a b c
        COMMAND GETKEYSANDFLAGS PFDEBUG DECODE a
        COMMAND INFO pfadd pfcount pfmerge pfdebug pfselftest
    """,
    "notifications and watches": r"""
        CONFIG SET notify-keyspace-events KEA
        2: PSUBSCRIBE __key*__:*
        PFADD h a
        2<
        2<
        PFADD h a
        PFCOUNT h
        PFMERGE m h
        2<
        2<
        PFDEBUG TODENSE m
        CONFIG SET notify-keyspace-events ""
        PFADD h b
        3: WATCH h
        3: MULTI
        PFCOUNT h
        3: GET h
        3: EXEC
        3: WATCH h
        3: MULTI
        PFCOUNT h
        3: GET h
        3: EXEC
    """,
    "a string is shared with other commands": r"""
        PFADD h a b c
        APPEND h x
        PFCOUNT h
        SETRANGE h 15 "\x00"
        PFCOUNT h
        PFADD h new
        COPY h copy
        PFCOUNT copy
        OBJECT ENCODING copy
        PFADD k x
        GETRANGE k 0 100
        SETBIT k 7 1
        PFCOUNT k
    """,
}

# Few elements in few keys, so that values are met again; the limit moves, so that both forms are.
GRAMMAR = [
    "PFADD {k} {m}", "PFADD {k} {m} {m} {v}", "PFADD {k} {i} {i} {i} {i} {i} {i}", "PFADD {k} {t} {t} {t} {t} {t} {t} {t} {t}",
    "PFADD {k}", "PFCOUNT {k}", "PFCOUNT {k} {k} {k}", "PFMERGE {k} {k} {k}", "PFMERGE {k}", "PFDEBUG DECODE {k}",
    "PFDEBUG <ENCODING|TODENSE|ENCODING|what> {k}", "GET {k}", "STRLEN {k}", "DEL {k}", "SET {k} {v}", "OBJECT ENCODING {k}",
    "CONFIG SET hll-sparse-max-bytes <0|20|60|200|3000|3000|3000>", "RPUSH {k} x",
]


@pytest.fixture(autouse=True)
def default_limit(two_servers):
    """Every test begins with the default limit of the sparse form."""
    yield
    for server in two_servers:
        with server.client() as client:
            client.config_set("hll-sparse-max-bytes", 3000)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)


@pytest.mark.parametrize("limit, most", [(3000, 60_000), (200, 5000), (0, 5000), (7000, 6000)])
def test_growth(two_servers, limit, most):
    """From nothing to many elements: the value after each step, and its count."""
    pair = Pair(*two_servers)
    rng = random.Random(limit)
    pair.ask("1", [b"CONFIG", b"SET", b"hll-sparse-max-bytes", b"%d" % limit])
    size, added = 1, 0
    while added < most:
        added += size
        pair.ask("1", [b"PFADD", b"h", *(rng.randbytes(rng.randrange(20)) for _ in range(size))])
        pair.ask("1", [b"GET", b"h"])
        pair.ask("1", [b"PFCOUNT", b"h"])
        pair.ask("1", [b"GET", b"h"])
        size = min(size + size // 5 + 1, 5000)
    assert pair.ask("1", [b"PFCOUNT", b"h"])[1] > 0.9 * most
    pair.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_corrupt(two_servers, seed):
    """Values that are damaged at random: what Redis takes ours takes, what it refuses is refused, and nothing crashes."""
    pair = Pair(*two_servers)
    rng = random.Random(seed)
    good = [b"\x7f\xff", b"\x40\x3f\x80\x7f\xbe", b"\x5f\xff\x9f\xfe\x5f\xfb\x80", b"\x3f" * 256]
    for n in range(200):
        body = bytearray(rng.choice(good))
        for _ in range(rng.randrange(3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        if rng.random() < 0.2:
            body += rng.randbytes(rng.randrange(4))
        # A long run that lacks its second byte makes Redis write behind the string's end.
        at = 0
        while at < len(body):
            at += 2 if 0x40 <= body[at] < 0x80 else 1
        if at > len(body):
            body.append(rng.randrange(256))
        header = bytearray(b"HYLL\x01\0\0\0" + rng.choice((b"\0" * 7 + b"\x80", bytes(8), rng.randbytes(8))))
        if rng.random() < 0.1:
            header[rng.randrange(8)] = rng.randrange(256)
        key = b"c%d" % (n % 20)
        pair.ask("1", [b"SET", key, bytes(header + body)])
        commands = [[b"PFCOUNT", key], [b"PFCOUNT", key, b"h"], [b"PFMERGE", b"h", key], [b"PFDEBUG", b"DECODE", key],
                    [b"PFMERGE", key, b"h"], [b"PFDEBUG", b"TODENSE", key], [b"GET", key],
                    [b"PFADD", key, *(rng.randbytes(3) for _ in range(5))]]
        for command in rng.sample(commands, 5):
            pair.ask("1", command)
    pair.close()


def test_effects(ours, peer, servers):
    """What the log gets, and what a real replica makes of it."""
    both = [servers.start(program, {"appendonly": "yes"}) for program in (ours, peer)]
    replicas = [servers.start(peer, {"replicaof": f"127.0.0.1 {server.port}"}) for server in both]
    clients = [replica.client(decode_responses=False) for replica in replicas]
    until("both replicas are linked", lambda: all(c.info("replication")["master_link_status"] == "up" for c in clients))
    pair = Pair(*both)
    pair.run("""
        PFADD h a b c
        PFADD h a b c
        PFCOUNT h
        PFCOUNT h
        PFCOUNT h nothing
        PFADD h d
        PFMERGE m h
        PFMERGE m
        PFCOUNT m
        PFDEBUG ENCODING m
        PFDEBUG TODENSE m
        PFDEBUG TODENSE m
        PFDEBUG GETREG h
        PFADD e
        PFADD e
    """)
    pair.close()
    until("the logs agree", lambda: aof.effects(both[0]) == aof.effects(both[1]))
    names = [command[0] for command in aof.effects(both[0])]
    assert names.count(b"PFCOUNT") == 2 and names.count(b"PFADD") == 3, names

    def seen(client):
        return [client.get(key) for key in ("h", "m", "e")]

    until("the replicas agree", lambda: None not in seen(clients[0]) and seen(clients[0]) == seen(clients[1]))


def test_counting_on_a_replica(ours, servers):
    """A replica may count, too: its log goes on with nothing but the master's stream."""
    master = servers.start(ours)
    replica = servers.start(ours, {"appendonly": "yes", "replicaof": f"127.0.0.1 {master.port}"})
    client, there = master.client(), replica.client()
    client.pfadd("h", *range(1000))
    until("the value has arrived", lambda: there.exists("h"))
    counted = there.pfcount("h")
    assert abs(counted - 1000) < 50
    client.set("after", "1")
    until("the next write has arrived", lambda: there.exists("after"))
    assert there.pfcount("h") == client.pfcount("h") == counted
    until("the log has the write", lambda: [b"SET", b"after", b"1"] in aof.effects(replica))
    master.kill()
    before = [command[0] for command in aof.effects(replica)]
    assert before.count(b"PFCOUNT") <= 1, "the master's own"
