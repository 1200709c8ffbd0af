"""Hostile input against real processes: nothing makes one end, take memory without bound, or keep others waiting.

What Redis does, too, is asked of both. How readers of bytes are fuzzed: docs/hostile-input.md.
"""

import contextlib
import random
import re
import resource
import socket
import struct
import threading
import time

import pytest
import redis
from harness import resp
from harness.wait import until

MB = 1 << 20
SEED = 7


def rss(server):
    """Resident memory of a server, bytes."""
    with open(f"/proc/{server.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def raw(server, data=b"", timeout=10.0, buffer=None):
    """A connection on which `data` has been sent; of what comes back the system takes about `buffer` bytes."""
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(timeout)
    connection.connect(server.address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if data:
        connection.sendall(data)
    return connection


def until_closed(connection):
    """What comes before the server closes; a reset counts as its end."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            data += piece
    return bytes(data)


def reset(connection):
    """Closes with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def command(*words):
    words = [resp.encode(word) for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def unharmed(server):
    """It still serves, and its log tells of no panic."""
    with server.client() as client:
        assert client.set("unharmed", 1) and client.get("unharmed") == "1"
    assert server.process.poll() is None
    assert "panicked" not in server.log()


# Requests


def test_random_bytes(servers, ours):
    server = servers.start(ours)
    rng = random.Random(SEED)
    starts = [b"", b"*", b"*3\r\n$3\r\nSET\r\n", b"*1\r\n$", b"PING ", b"\r\n", b"*2\r\n$4\r\nAUTH\r\n", b"\x16\x03\x01"]
    for round in range(150):
        with raw(server, rng.choice(starts) + rng.randbytes(rng.choice([1, 10, 100, 5000]))) as connection:
            connection.shutdown(socket.SHUT_WR)
            until_closed(connection)
    unharmed(server)


ABSURD = {
    "bulk over its limit": (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    "bulk beyond 64 bits": (b"*1\r\n$99999999999999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    "negative bulk": (b"*1\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    "too many words": (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    "words beyond 64 bits": (b"*99999999999999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    "no end of a count": (b"*" + b"1" * 70_000, b"-ERR Protocol error: too big mbulk count string\r\n"),
    "no end of a length": (b"*1\r\n$" + b"1" * 70_000, b"-ERR Protocol error: too big bulk count string\r\n"),
    "no end of a line": (b"a" * 70_000, b"-ERR Protocol error: too big inline request\r\n"),
    "nested": (b"*1\r\n" * 1000, b"-ERR Protocol error: expected '$', got '*'\r\n"),
    "another protocol": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
}


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_lengths(two_servers, what):
    data, answer = ABSURD[what]
    for server in two_servers:
        with raw(server, data) as connection:
            got = until_closed(connection)
            assert answer is None or got == answer, server
        unharmed(server)


def test_lengths_are_not_taken_at_their_word(servers, ours):
    """Whoever announces much and sends little is given little memory, and the rest is not kept from others."""
    server = servers.start(ours)
    before = rss(server)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(raw(server, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nabc"))
            stack.enter_context(raw(server, b"*1048576\r\n$1\r\na\r\n"))
        unharmed(server)
        assert rss(server) - before < 20 * MB
    unharmed(server)


def test_before_the_password_little_is_taken(servers, any_of):
    server = servers.start(any_of, {"requirepass": "secret"})
    with raw(server, b"*11\r\n") as connection:
        assert until_closed(connection) == b"-ERR Protocol error: unauthenticated multibulk length\r\n"
    with raw(server, b"*2\r\n$4\r\nAUTH\r\n$16385\r\n") as connection:
        assert until_closed(connection) == b"-ERR Protocol error: unauthenticated bulk length\r\n"
    unharmed(server)


def test_a_request_in_many_pieces_costs_what_it_is_long(servers, ours):
    """Each piece is read once, however much of the request is there already."""
    server = servers.start(ours)
    words, pieces = 200_000, 300

    def cpu_s():
        with open(f"/proc/{server.pid}/stat") as file:
            return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / 100

    with raw(server, b"*%d\r\n$5\r\nRPUSH\r\n$1\r\nq\r\n" % (words + 2) + b"$1\r\na\r\n" * (words - pieces)) as connection:
        with server.client() as client:
            until("all is there", lambda: any(int(c["argv-mem"]) >= words - pieces for c in client.client_list()))
            begun = cpu_s()
            for _ in range(pieces):
                connection.sendall(b"$1\r\na\r\n")
                client.ping()
        assert connection.recv(100) == b":%d\r\n" % words
        # Reading all of it again each time would take some seconds.
        assert cpu_s() - begun < 1.0


def test_client_query_buffer_limit(servers, any_of):
    server = servers.start(any_of, {"client-query-buffer-limit": "1mb"})
    before = rss(server)
    with raw(server, b"*2\r\n$3\r\nGET\r\n$100000000\r\n") as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"x" * MB)
        assert until_closed(connection) == b""
    assert "max query buffer length" in server.log()
    assert rss(server) - before < 20 * MB
    unharmed(server)


def test_a_transaction_is_bounded_like_the_query_buffer(servers, ours):
    server = servers.start(ours, {"client-query-buffer-limit": "2mb"})
    with raw(server, command("MULTI")) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(command("SET", "a", "x" * 10_000))
        got = until_closed(connection)
        assert got.startswith(b"+OK\r\n+QUEUED\r\n") and got.count(b"QUEUED") < 300
    unharmed(server)


def test_proto_max_bulk_len(two_servers):
    for server in two_servers:
        with server.client() as client:
            client.config_set("proto-max-bulk-len", "1mb")
            try:
                with raw(server, b"*2\r\n$3\r\nGET\r\n$1048577\r\n") as connection:
                    assert until_closed(connection) == b"-ERR Protocol error: invalid bulk length\r\n"
                client.set("a", "x" * MB)
                for words in (("APPEND", "a", "y"), ("SETRANGE", "a", MB, "y")):
                    with pytest.raises(redis.ResponseError, match=r"string exceeds maximum allowed size \(proto-max-bulk-len\)"):
                        client.execute_command(*words)
            finally:
                client.config_set("proto-max-bulk-len", "512mb")
                client.delete("a")


MOST, LEAST = (1 << 63) - 1, -(1 << 63)
ABSURD_NUMBERS = f"""
    RPUSH l a b c
    SADD s a
    HSET h a 1
    ZADD z 1 a
    XADD x 1-1 a b
    XGROUP CREATE x g 0
    XREADGROUP GROUP g c STREAMS x >
    GEOADD g 1 1 a
    SET k text
    SRANDMEMBER s {MOST}
    SRANDMEMBER s {LEAST}
    HRANDFIELD h {MOST}
    HRANDFIELD h {LEAST}
    HRANDFIELD h {LEAST} WITHVALUES
    ZRANDMEMBER z {MOST}
    ZRANDMEMBER z {LEAST}
    LRANGE l {LEAST} {MOST}
    LINDEX l {LEAST}
    LINDEX l {MOST}
    LREM l {LEAST} x
    LSET l {LEAST} x
    LPOS l a COUNT {MOST} MAXLEN {MOST}
    LPOS l a RANK {LEAST}
    LPOS l a RANK {LEAST + 1}
    LMPOP 1 nothing LEFT COUNT {MOST}
    LMPOP {MOST} l LEFT
    SCAN 0 COUNT {MOST} TYPE nothing
    SSCAN s 0 COUNT {MOST}
    ZRANGE z {LEAST} {MOST}
    ZRANGE z -inf +inf BYSCORE LIMIT 0 {MOST}
    ZRANGE z -inf +inf BYSCORE LIMIT {MOST} {MOST}
    ZRANGE z - + BYLEX LIMIT {LEAST} {LEAST}
    ZREMRANGEBYRANK z {MOST} {LEAST}
    ZUNION {MOST} z
    ZUNIONSTORE d {LEAST} z
    ZINTERCARD 1 z LIMIT {MOST}
    SINTERCARD {MOST} s
    XRANGE x - + COUNT {MOST}
    XREAD COUNT {MOST} STREAMS x 0
    XPENDING x g IDLE {MOST} - + 10
    XCLAIM x g c {MOST} 1-1
    XTRIM x MAXLEN {MOST}
    XTRIM x MINID {MOST}-0 LIMIT {MOST}
    XTRIM x MINID ~ 0-0 LIMIT {MOST}
    XSETID x 18446744073709551615-18446744073709551615
    XADD x * a b
    XADD x 18446744073709551616-0 a b
    XGROUP SETID x g 18446744073709551615-18446744073709551615 ENTRIESREAD {MOST}
    XINFO GROUPS x
    SORT l BY nosort LIMIT 0 {MOST}
    SORT l ALPHA LIMIT {LEAST} {MOST}
    SETRANGE k {MOST} x
    SETRANGE k 536870912 x
    SETRANGE k -1 x
    GETRANGE k {LEAST} {MOST}
    SETBIT k 4294967296 1
    GETBIT k {MOST}
    BITCOUNT k {LEAST} {MOST} BIT
    BITPOS k 1 {LEAST} {MOST} BIT
    BITFIELD k SET u8 #{MOST} 1
    BITFIELD k GET i64 4294967295
    BITFIELD k INCRBY i64 0 {MOST} OVERFLOW FAIL INCRBY i64 0 {MOST}
    DECRBY n {LEAST}
    INCRBY n {LEAST}
    INCRBY n -1
    INCRBYFLOAT n 1e400
    HINCRBY h a {MOST}
    HINCRBYFLOAT h a 1e4000
    EXPIRE k {MOST}
    EXPIRE k {LEAST}
    PEXPIRE l {MOST}
    EXPIREAT l {MOST}
    SET k v EX {MOST}
    SET k v PX {MOST}
    SETEX k {MOST} v
    GETEX l PXAT {MOST}
    GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1e300 km COUNT {MOST}
    GEORADIUS g 1 1 1e300 km COUNT {LEAST}
    EVAL "return 1" {MOST}
    EVAL "return 1" {LEAST}
    COMMAND GETKEYS EVAL x {MOST}
    ACL GENPASS {MOST}
    ACL LOG {LEAST}
    SLOWLOG GET {LEAST}
    OBJECT FREQ k
    BLPOP nothing 1e300
    BLPOP nothing {LEAST}
    BLMPOP 0.01 {MOST} l LEFT
    WAIT {LEAST} 1
    WAIT {MOST} 1
    CLIENT PAUSE {LEAST}
    CLIENT TRACKING on REDIRECT {MOST}
    SELECT {MOST}
    MOVE l {MOST}
    SWAPDB 0 {MOST}
    COPY l d DB {MOST}
    RESTORE d {MOST} x
    RESTORE d 0 x IDLETIME {LEAST}
    PSETEX k {LEAST} v
    LATENCY HISTOGRAM nothing
    ZADD z 1e309 a
    ZADD z nan a
    ZINCRBY z inf a
    ZINCRBY z -inf a
    PUBSUB NUMSUB {{100000*x}}
    OBJECT ENCODING {{100000*x}}
    {{100000*x}}
"""


def test_absurd_numbers(pair):
    """Counts, ranges, times and scores at the ends of what can be written: the same replies, at once."""
    begun = time.monotonic()
    pair.run(ABSURD_NUMBERS)
    assert time.monotonic() - begun < 5


def test_half_commands_are_held_open(servers, ours):
    """They end with the clients that sent them, and nothing of them is done."""
    server = servers.start(ours)
    whole = command("SET", "half", "x" * 40)
    connections = [raw(server, whole[:n]) for n in range(1, len(whole))]
    unharmed(server)
    for n, connection in enumerate(connections):
        reset(connection) if n % 2 else connection.close()
    with server.client() as client:
        until("all are gone", lambda: len(client.client_list()) == 1)
        assert client.get("half") is None


def test_clients_that_reset_in_the_middle(servers, ours):
    server = servers.start(ours)
    pipeline = command("LRANGE", "list", 0, -1) * 100
    with server.client() as client:
        client.rpush("list", *["x" * 1000] * 100)
        for n in range(20):
            connection = raw(server, pipeline[:len(pipeline) - n])
            if n % 2:
                connection.recv(1000)
            reset(connection)
        until("all are gone", lambda: len(client.client_list()) == 1)
    unharmed(server)


def test_deep_nesting_in_scripts(servers, ours):
    server = servers.start(ours)
    deep = 100_000
    attacks = [
        ("return cjson.decode(ARGV[1])", "[" * deep),
        ("return cjson.decode(ARGV[1])", '{"a":' * deep),
        ("return cmsgpack.unpack(ARGV[1])", b"\x91" * deep),
        ("local t = {} for i = 1, tonumber(ARGV[1]) do t = {t} end return t", deep),
        ("local t = {} for i = 1, tonumber(ARGV[1]) do t = {t} end return cjson.encode(t)", deep),
        ("local t = {} for i = 1, tonumber(ARGV[1]) do t = {t} end return #cmsgpack.pack(t)", deep),
        ("local t = {} t[1] = t return cjson.encode(t)", ""),
        ("local t = {} t[1] = t return t", ""),
        ("local function f() return f() + 1 end return f()", ""),
        ("return loadstring(ARGV[1])()", "return " + "(" * deep),
        ("return {string.find(string.rep('a', 300), string.rep('(a', 40))}", ""),
        ("return {unpack({}, 1, 1e8)}", ""),
        ("return struct.unpack('c2147483647', 'x')", ""),
        ("return struct.pack('>i33', 1)", ""),
    ]
    with server.client(socket_timeout=30) as client:
        for script, argument in attacks:
            # An error, or a reply: but one or the other.
            with contextlib.suppress(redis.ResponseError, redis.exceptions.InvalidResponse, RecursionError):
                client.eval(script, 0, argument)
            unharmed(server)
            client.connection_pool.disconnect()


# Output


def test_a_slow_reader_over_its_limits(servers, any_of):
    """Closed at once over the hard limit, and after its time over the soft one, before more is taken than the limit."""
    server = servers.start(any_of, {"client-output-buffer-limit": "normal 20mb 5mb 1"})
    big = command("GET", "big")
    with server.client() as client:
        client.set("big", "x" * MB)
        before = rss(server)
        attacks = (big * 40, big * 1000, big * 12, command("MULTI") + big * 1000 + command("EXEC"))
        for n, requests in enumerate(attacks, 1):
            with raw(server, requests, buffer=64 * 1024) as connection:
                until("it is closed", lambda: server.log().count("overcoming of output buffer limits") == n)
                assert rss(server) < before + 100 * MB
                assert len(until_closed(connection)) < 20 * MB
        assert client.info("memory")["used_memory"] < 10 * MB
        assert rss(server) < before + 60 * MB
        assert client.info("stats").get("client_output_buffer_limit_disconnections", 4) == 4
    unharmed(server)


def test_a_subscriber_that_does_not_read(servers, any_of):
    server = servers.start(any_of, {"client-output-buffer-limit": "pubsub 8mb 2mb 60"})
    with server.client() as client, raw(server, command("SUBSCRIBE", "c"), buffer=64 * 1024) as connection:
        until("it has subscribed", lambda: client.pubsub_numsub("c")[0][1] == 1)
        for _ in range(30):
            client.publish("c", "x" * MB)
        until("it is closed", lambda: client.pubsub_numsub("c")[0][1] == 0)
        assert len(until_closed(connection)) < 30 * MB
    unharmed(server)


def test_a_replica_that_does_not_read(servers, any_of):
    server = servers.start(any_of, {"client-output-buffer-limit": "replica 8mb 0 0", "repl-backlog-size": "1mb",
                                    "repl-diskless-sync-delay": 0})
    with server.client() as client, raw(server, command("SYNC"), buffer=64 * 1024) as connection:
        until("it is a replica", lambda: client.info("replication")["connected_slaves"] == 1)
        until("the stream has begun", lambda: "online" in str(client.info("replication")["slave0"]))
        for n in range(30):
            client.set("a", "x" * MB)
        until("it is closed", lambda: client.info("replication")["connected_slaves"] == 0)
        until_closed(connection)
    unharmed(server)


def test_nobody_waits_for_slow_readers(servers, ours):
    server = servers.start(ours)
    with server.client() as client, contextlib.ExitStack() as stack:
        client.set("big", "x" * MB)
        for _ in range(20):
            stack.enter_context(raw(server, command("GET", "big") * 5))
        times = []
        for _ in range(200):
            begun = time.monotonic()
            client.ping()
            times.append(time.monotonic() - begun)
        assert sorted(times)[100] < 0.1


# Connections


def test_ten_thousand_idle_connections(servers, ours):
    many, asked = 10_000, 10_050
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < asked + 500:
        pytest.fail(f"RLIMIT_NOFILE is {hard}: at least {asked + 500} open files are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = []
    try:
        server = servers.start(ours, {"maxclients": many, "tcp-backlog": 4096})
        with server.client() as client:
            client.ping()
            before = rss(server)
            # Bound to several addresses, lest the run takes most of one address' ports.
            for n in range(many - 1):
                connection = socket.socket()
                connection.bind((f"127.0.1.{n % 100 + 1}", 0))
                connection.connect(server.address)
                connections.append(connection)
            until("all are accepted", lambda: client.info("clients")["connected_clients"] == many, 20)
            each = (rss(server) - before) / many
            print(f"{each:.0f} bytes of resident memory per idle connection")
            assert each < 8192
            with raw(server) as refused:
                assert until_closed(refused) == b"-ERR max number of clients reached\r\n"
            assert client.info("stats")["rejected_connections"] == 1
            times = []
            for _ in range(300):
                begun = time.monotonic()
                client.ping()
                times.append(time.monotonic() - begun)
            print(f"PING: median {sorted(times)[150] * 1e6:.0f} µs, slowest {max(times) * 1e6:.0f} µs")
            assert sorted(times)[150] < 0.02
            for connection in connections[::100]:
                connection.sendall(command("PING"))
                connection.settimeout(10)
                assert connection.recv(100) == b"+PONG\r\n"
            connections.pop().close()
            until("there is room again", lambda: raw(server, command("PING")).recv(100) == b"+PONG\r\n")
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_maxclients_and_timeout(servers, any_of):
    server = servers.start(any_of, {"maxclients": 4, "timeout": 1})
    with server.client() as client, contextlib.ExitStack() as stack:
        until("others are gone", lambda: len(client.client_list()) == 1)
        idle, half = raw(server), raw(server, b"*2\r\n$3\r\nGET\r\n")
        subscriber = stack.enter_context(raw(server, command("SUBSCRIBE", "c")))
        subscriber.recv(100)
        with raw(server) as refused:
            assert until_closed(refused) == b"-ERR max number of clients reached\r\n"
        # Idle ones make room after their time; a subscriber may be silent.
        assert until_closed(idle) == b"" and until_closed(half) == b""
        subscriber.sendall(command("PING"))
        assert subscriber.recv(100) == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    unharmed(server)


# Replication


BAD_HANDSHAKES = ["PSYNC", "PSYNC a", "PSYNC ? x", "PSYNC ? 99999999999999999999", "REPLCONF", "REPLCONF a",
                  "REPLCONF listening-port x", "REPLCONF ip-address {300*x}",
                  "REPLCONF capa", "REPLCONF nonsense 1", "REPLCONF rdb-only 5", "REPLCONF listening-port 1 capa", "SYNC x"]


def test_bad_handshakes(two_servers):
    """The same errors, and no replica comes of them."""
    from harness.differential import words
    for line in BAD_HANDSHAKES:
        answers = []
        for server in two_servers:
            connection = resp.Connection(server.address)
            answers.append(connection.call(*words(line)))
            connection.close()
        assert answers[0] == answers[1], line
    for server in two_servers:
        with server.client() as client:
            assert client.info("replication")["connected_slaves"] == 0


def test_replicas_that_say_nonsense(servers, ours):
    server = servers.start(ours)
    rng = random.Random(SEED)
    with server.client() as client:
        for n in range(30):
            connection = raw(server, command("REPLCONF", "capa", "eof", "capa", "psync2") + b"")
            connection.recv(100)
            ids = ["?", client.info("replication")["master_replid"], "x" * 40, "\0" * 4000]
            connection.sendall(command("PSYNC", rng.choice(ids), rng.choice([-1, 0, 1, 1 << 62, (1 << 63) - 1, -(1 << 63)])))
            connection.recv(100)
            connection.sendall(command("REPLCONF", "ACK", rng.choice([(1 << 63) - 1, -5, "x", "", 1 << 64])) + rng.randbytes(50))
            client.incr("n")
            reset(connection) if n % 2 else connection.close()
        until("they are gone", lambda: client.info("replication")["connected_slaves"] == 0)
        client.wait(1, 10)
    unharmed(server)


class EvilMaster:
    """Listens as a master does and answers the handshake, then each PSYNC with the next of the given texts."""

    def __init__(self, *answers):
        self.asked = 0
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                with contextlib.suppress(ConnectionError):
                    self._talk(connection)

    def _talk(self, connection):
        data = b""
        while piece := connection.recv(4096):
            data += piece
            while (end := data.find(b"\r\n", data.rfind(b"*"))) >= 0 and data.endswith(b"\r\n"):
                name = data.split(b"\r\n")[2].upper()
                data = b""
                if name == b"PSYNC":
                    self.asked += 1
                    answer = self._answers[min(self.asked, len(self._answers)) - 1]
                    connection.sendall(answer)
                    connection.close()
                    return
                connection.sendall(b"+PONG\r\n" if name == b"PING" else b"+OK\r\n")
                break

    def close(self):
        self._listener.close()
        for connection in self._open:
            connection.close()


def rdb_of(servers, implementation):
    """An RDB file with some keys, and that file with a byte changed in its middle."""
    server = servers.start(implementation)
    with server.client() as client:
        client.set("evil", "x" * 100)
        client.rpush("list", *range(50))
        client.hset("hash", mapping={"a": 1, "b": 2})
        client.save()
    good = (server.dir / "dump.rdb").read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 0xff
    return good, bytes(bad)


def test_an_evil_master(servers, ours):
    """Whatever it sends in place of its snapshot: the old data stay, and the process lives."""
    good, bad = rdb_of(servers, ours)
    full = b"+FULLRESYNC " + b"a" * 40 + b" 0\r\n"
    answers = [
        full + b"$%d\r\n" % len(bad) + bad,
        full + b"$%d\r\n" % (len(good) - 5) + good[:-5],
        full + b"$%d\r\n" % len(good) + good[:20],
        full + b"$" + b"9" * 30 + b"\r\n" + good,
        full + b"$-5\r\n",
        full + b"$EOF:short\r\n" + good,
        full + b"$EOF:" + b"m" * 40 + b"\r\n" + bad + b"m" * 40,
        full + b"*1\r\n$4\r\nPING\r\n",
        full + b"\n" * 100_000 + b"$3\r\nabc",
        b"+FULLRESYNC " + b"a" * 40 + b" 18446744073709551615\r\n" + b"$%d\r\n" % len(good) + good,
        b"+FULLRESYNC x y\r\n",
        b"+FULLRESYNC\r\n",
        b"+CONTINUE " + b"\xff" * 40 + b"\r\n*1\r\n$99999999999\r\n",
        b"\n" * 100_000 + b"-ERR no\r\n",
        b"+" + b"x" * MB,
        b"*536870912\r\n" * 100,
        b"*1000000\r\n" + b":1\r\n" * 100_000,
        b"$536870912\r\n" + b"x" * MB,
        b"\x00\xff" * 1000,
    ]
    server = servers.new(ours, {"repl-timeout": 5, "appendonly": "no"}).start()
    with server.client(socket_timeout=20) as client:
        client.set("old", "data")
        master = EvilMaster(*answers)
        try:
            # The pause between two attempts is not what is tested.
            for n in range(len(answers)):
                client.execute_command("REPLICAOF", "127.0.0.1", master.port)
                until(f"attempt {n}", lambda: master.asked > n, 15)
                until("it has failed", lambda: client.info("replication")["master_link_status"] == "down", 15)
                client.execute_command("REPLICAOF", "NO", "ONE")
                assert client.get("old") == "data" and client.dbsize() == 1, answers[n][:60]
        finally:
            master.close()
    unharmed(server)


# Files


def damaged(data):
    """Damages by name."""
    middle = bytearray(data)
    middle[len(middle) // 2] ^= 0x55
    return {
        "empty": b"", "cut": data[:-9], "cut in the middle": data[:len(data) // 2], "a byte": bytes(middle),
        "another file": b"\x7fELF" + b"\0" * 200, "a later version": data[:5] + b"9999" + data[9:],
        "a key twice": b"REDIS0010\xfe\x00" + b"\x00\x01k\x01v" * 2 + b"\xff" + bytes(8),
        "no end": data + b"trailing", "text": b"REDIS0010" + b"x" * 300,
    }


def test_damaged_rdb_files_at_the_start(servers, ours):
    """The process ends with 1, says why, and the file is as it was."""
    good, _ = rdb_of(servers, ours)
    for what, data in damaged(good).items():
        server = servers.new(ours)
        path = server.dir / "dump.rdb"
        path.write_bytes(data)
        server.spawn()
        if what == "no end":
            until("it has started", server.answers, ignore=(redis.RedisError, OSError))
            continue
        assert server.wait_exit() == 1, what
        assert "Fatal error loading the DB" in server.log() and "dump.rdb" in server.log(), what
        assert "panicked" not in server.log() and path.read_bytes() == data, what


def test_damaged_append_only_files_at_the_start(servers, ours):
    first = servers.start(ours, {"appendonly": "yes"})
    with first.client() as client:
        for n in range(50):
            client.set(f"key{n}", "x" * 50)
    assert first.terminate() == 0
    files = {path.name: path.read_bytes() for path in (first.dir / "appendonlydir").iterdir()}
    incr = next(name for name in files if name.endswith(".incr.aof"))
    manifest = next(name for name in files if name.endswith(".manifest"))
    base = next(name for name in files if name.endswith(".base.rdb"))
    cases = [(incr, files[incr][:300] + b"garbage" + files[incr][300:]), (incr, b"\0" * 500 + files[incr]),
             (manifest, b""), (manifest, b"file x"), (manifest, b"file ../../etc/passwd seq 1 type b\n"),
             (manifest, files[manifest] + b"file appendonly.aof.9.incr.aof seq 9 type i\n"),
             (base, files[base][:-3]), (base, b"*1\r\n$99999999999\r\n")]
    for name, data in cases:
        server = servers.new(ours, {"appendonly": "yes"})
        there = {**files, name: data}
        (server.dir / "appendonlydir").mkdir()
        for other, content in there.items():
            (server.dir / "appendonlydir" / other).write_bytes(content)
        server.spawn()
        assert server.wait_exit() == 1, (name, data[:60])
        assert "panicked" not in server.log()
        assert {path.name: path.read_bytes() for path in (server.dir / "appendonlydir").iterdir()} == there, (name, data[:60])


# Sentinel


def test_evil_hello_messages(servers, ours):
    """They make a sentinel neither end nor believe in another master, nor learn of sentinels without bound."""
    master = servers.start(ours)
    sentinel = servers.new(ours, mode="redis-sentinel", text=f"sentinel monitor m 127.0.0.1 {master.port} 2\n").start()
    rng = random.Random(SEED)
    run_id = "a" * 40
    good = ["127.0.0.1", "1", run_id, "0", "m", "127.0.0.1", str(master.port), "0"]
    odd = ["", " ", "x" * 5000, "-1", "0", "65536", "99999999999999999999", "18446744073709551615", "\0", "\n", "é", "*", "%s%n",
           "127.0.0.1\r\nSHUTDOWN", "::1", "[::1]", "nosuchhost.invalid", ",,,,", "a" * 40]
    with master.client() as client, sentinel.client() as asked:
        until("it watches", lambda: client.pubsub_numsub("__sentinel__:hello")[0][1] == 1)
        for n in range(300):
            fields = list(good)
            for _ in range(rng.randint(1, 3)):
                fields[rng.choice([0, 1, 2, 3, 4, 7])] = rng.choice(odd)
            client.publish("__sentinel__:hello", ",".join(fields))
        for text in ("", ",", "," * 7, "x" * MB, ",".join(good[:7]), ",".join([*good, "more"]), b"\xff\xfe" * 50):
            client.publish("__sentinel__:hello", text)
        with client.pipeline(transaction=False) as pipeline:
            for n in range(1100):
                pipeline.publish("__sentinel__:hello", f"127.0.0.1,{n + 1},{n:040x},0,m,127.0.0.1,{master.port},0")
            pipeline.execute()
        until("it knows many", lambda: len(asked.execute_command("SENTINEL", "SENTINELS", "m")) >= 900)
        said = asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m")
        assert said == ("127.0.0.1", master.port) or [str(w) for w in said] == ["127.0.0.1", str(master.port)]
        assert len(asked.execute_command("SENTINEL", "SENTINELS", "m")) <= 1000
    assert sentinel.process.poll() is None and "panicked" not in sentinel.log()
    # What it has written meanwhile is a file that it starts with.
    assert sentinel.terminate() == 0
    sentinel.start()


@pytest.mark.parametrize("data", [b"*1048577\r\n", b"*2\r\n$99999999\r\n", b"a" * 70_000, b"\xff" * 5000, b"*1\r\n" * 500])
def test_sentinels_take_hostile_requests(servers, ours, data):
    sentinel = servers.new(ours, mode="redis-sentinel", text="sentinel monitor m 127.0.0.1 1 1\n").start()
    with raw(sentinel, data) as connection:
        connection.shutdown(socket.SHUT_WR)
        until_closed(connection)
    with sentinel.client() as client:
        assert client.ping()
    assert re.search("panicked", sentinel.log()) is None
