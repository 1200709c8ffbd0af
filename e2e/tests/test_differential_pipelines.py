"""Requests that come many at a time: in long pipelines, and on many connections at once, with and without I/O threads."""

import random

import pytest
from harness import resp
from harness.wait import until

CONNECTIONS = 40
ROUNDS = 60


def encoded(*requests):
    """Requests as they are sent, words separated by blanks."""
    out = b""
    for request in requests:
        words = [word.encode() for word in request.split()]
        out += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    return out


# What comes while earlier requests of the same pipeline change how later ones are to be taken.
PIPELINES = {
    "database changes": encoded("SET k 0", "SELECT 1", "GET k", "SET k 1", "SELECT 0", "GET k"),
    "transaction": encoded("MULTI", "INCR n", "GET n", "EXEC", "GET n", "MULTI", "FOO", "EXEC", "DISCARD", "GET n"),
    "same command, other arity": encoded("GET k", "GET", "GET k k", "get k", "GeT k", "SET k", "SET k v", "GET k"),
    "subcommands": encoded("CONFIG GET maxmemory", "CONFIG GET", "CONFIG", "OBJECT ENCODING k", "OBJECT|ENCODING k"),
    "protocol changes": encoded("HSET h f v", "HGETALL h", "HELLO 3", "HGETALL h", "GET none", "HELLO 2", "GET none"),
    "keys that go and come": encoded(*["SET a 1", "DEL a", "GET a", "LPUSH a x", "GET a", "RENAME a b", "LLEN b"] * 10),
    "large collections": encoded(*[f"SADD s m{i}" for i in range(700)], *[f"HSET g f{i} v" for i in range(700)],
                                 *[f"ZADD z {i} m{i}" for i in range(300)], *[f"SREM s m{i}" for i in range(0, 700, 7)],
                                 "SCARD s", "HLEN g", "ZRANGE z 0 9 WITHSCORES", "HMGET g f1 f2 none", "SISMEMBER s m1"),
    "quit in between": encoded("SET q 1", "QUIT", "SET q 2"),
    "nonsense in between": encoded("SET w 1", "GET w") + b"*1\r\n$x\r\n" + encoded("SET w 2"),
    "a wait in between": encoded("SET l 1", "DEL l", "BLPOP l 0.2", "RPUSH l a", "BLPOP l 0.2", "GET l"),
    "inline in between": encoded("SET i 1") + b"INCR i\r\n" + encoded("GET i") + b"GET i\r\n\r\n" + encoded("INCR i", "GET i"),
    "replies off": encoded("CLIENT REPLY SKIP", "GET a", "PING", "CLIENT REPLY OFF", "PING", "CLIENT REPLY ON", "PING"),
    "no such command": encoded("FOO", "FOO bar", "GET a", "FOO"),
    "empty requests": encoded("PING") + b"*0\r\n" + encoded("PING") + b"*-1\r\n" + encoded("PING"),
    "secret": encoded("CONFIG SET requirepass p", "RESET", "GET a", "AUTH q", "AUTH p", "GET a")
    + b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$11\r\nrequirepass\r\n$0\r\n\r\n" + encoded("GET a"),
}
# They end the connection: what is sent after that may take replies that have not been read with it.
ENDING = ("quit in between", "nonsense in between")


def everything(server, data, pieces):
    """All replies to `data`, sent in so many pieces, up to the end of the connection or of what PING answers."""
    connection = resp.Connection(server.address)
    mark = b"the-end"
    data += b"*2\r\n$4\r\nPING\r\n$%d\r\n%s\r\n" % (len(mark), mark)
    replies = []
    try:
        step = max(1, -(-len(data) // pieces))
        for at in range(0, len(data), step):
            connection.send_raw(data[at:at + step])
        while not replies or replies[-1] != ("$", mark):
            reply = connection.read()
            # HELLO's names versions and numbers of each server.
            replies.append("hello" if "server" in str(reply) else reply)
    except (resp.Closed, ConnectionError):
        replies.append("closed")
    finally:
        connection.close()
    return replies


@pytest.mark.parametrize("name, pieces", [(name, pieces) for name in PIPELINES for pieces in ([1] if name in ENDING else [1, 7])])
def test_pipeline(two_servers, name, pieces):
    answers = []
    for server in two_servers:
        with server.client() as client:
            client.flushall()
        answers.append(everything(server, PIPELINES[name], pieces))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("threads", [1, 4])
def test_many_connections_at_once(servers, ours, threads):
    """Each connection counts for itself: no reply is lost, doubled, or another's."""
    server = servers.start(ours, {"io-threads": threads, "io-threads-do-reads": "yes"})
    connections = [resp.Connection(server.address) for _ in range(CONNECTIONS)]
    counts, chance = [0] * CONNECTIONS, random.Random(5)
    value = "v" * 3000
    for _ in range(ROUNDS):
        asked = chance.sample(range(CONNECTIONS), chance.choice([1, 3, 10, CONNECTIONS]))
        requests = {i: chance.choice([1, 1, 5, 60]) for i in asked}
        # It finds them all at once when it goes on.
        with server.frozen():
            for i, n in requests.items():
                connections[i].send_raw(encoded(*[f"INCR n{i}", f"SET v{i} {i}{value}", f"GET v{i}"] * n))
        for i, n in requests.items():
            for _ in range(n):
                counts[i] += 1
                assert connections[i].read() == (":", counts[i])
                assert connections[i].read() == ("+", b"OK")
                assert connections[i].read() == ("$", f"{i}{value}".encode())
    # Some go away in the middle of it all.
    for i in range(0, CONNECTIONS, 2):
        connections[i].send_raw(encoded(*[f"GET v{i}"] * 500))
        connections[i].close()
    for i in range(1, CONNECTIONS, 2):
        assert connections[i].call("GET", f"n{i}") == ("$", str(counts[i]).encode())
    with server.client() as client:
        assert client.info("server")["io_threads_active"] == int(threads > 1)
        names = ["io_threaded_reads_processed", "io_threaded_writes_processed"]
        if threads > 1:
            # Counters of the sockets are added up once a second.
            until("shared work", lambda: all(client.info("stats")[name] > 0 for name in names))
        else:
            assert [client.info("stats")[name] for name in names] == [0, 0]


def test_logged_out_in_between(servers, ours, peer):
    """Who has to log in again may send no more than a stranger, though it came with what was allowed."""
    answers = []
    for implementation in (ours, peer):
        server = servers.start(implementation)
        many = "DEL " + " ".join(f"k{i}" for i in range(20))
        data = encoded("SET a 1", many, "CONFIG SET requirepass p", many, "RESET", "GET a", many, "AUTH p", "GET a")
        answers.append(everything(server, data, 1))
    assert answers[0] == answers[1]
    assert answers[0][-1] == "closed"


@pytest.mark.parametrize("threads", [1, 4])
def test_a_long_script_among_many(servers, ours, threads):
    """What was read together with a script's request is answered while the script runs."""
    options = {"io-threads": threads, "io-threads-do-reads": "yes", "busy-reply-threshold": 20}
    server = servers.start(ours, options)
    connections = [resp.Connection(server.address) for _ in range(CONNECTIONS)]
    # One that is killed, wherever it stands among the others.
    for place in (0, CONNECTIONS // 2):
        with server.frozen():
            for i, connection in enumerate(connections):
                if i == place:
                    connection.send_raw(encoded("SET before 1") + b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n")
                connection.send_raw(encoded("PING", "ECHO x"))
        others = [c for i, c in enumerate(connections) if i != place]
        answers = [(c.read()[1][:4], c.read()[1][:4]) for c in others]
        assert set(answers) <= {(b"PONG", b"x"), (b"BUSY", b"BUSY")}
        assert (b"BUSY", b"BUSY") in answers
        assert others[0].call("SCRIPT", "KILL") == ("+", b"OK")
        own = connections[place]
        assert own.read() == ("+", b"OK")
        assert own.read()[0] == "-"
        assert [own.read(), own.read()] == [("+", b"PONG"), ("$", b"x")]
