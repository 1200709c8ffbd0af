"""Every command that ours and Redis both know, with arguments made from Redis' own documentation of them: replies compared
in both protocols, keyspace events, what the log gets, and the datasets that all this leads to.

Rounds of commands from consecutive seeds, $E2E_GENERATED_ROUNDS for each protocol. All
differences of a run are gathered, one for each command, with the seed of its round; E2E_SEED begins with that round.
"""

import os
import time

import pytest
from harness import aof, grammar, process, resp
from harness.differential import SEEDS, UNORDERED, Difference, Pair, shown

ROUNDS = int(os.environ.get("E2E_GENERATED_ROUNDS", 25))
ROUND_MAX_S = 5
COMMANDS_PER_ROUND = 150
MOST_DIFFERENCES = 40
SHOWN = 12

# Not sent at all, and why.
LEFT_OUT = {
    "the connection ends, or is no longer one for commands": [
        "quit", "shutdown", "reset", "hello", "monitor", "sync", "psync", "replconf", "subscribe", "unsubscribe", "psubscribe",
        "punsubscribe", "ssubscribe", "sunsubscribe", "client|kill", "client|reply", "client|pause", "client|tracking"],
    "the server is another one afterwards": [
        "debug", "replicaof", "slaveof", "failover", "config|set", "config|rewrite", "module|load", "module|loadex",
        "module|unload", "acl|setuser", "acl|deluser", "acl|load", "acl|save", "script|debug", "bgsave", "bgrewriteaof", "save"],
    "it talks to other servers": ["migrate"],
    "chance or time changes the data": ["spop", "xadd"],
    "what follows is queued": ["multi"],
    "it waits": ["xread", "xreadgroup"],
}
# Replies that cannot be the same, or are in an order of the server's own: only what kind they are is compared, or the code
# of an error.
LOOSE = {
    "info", "time", "lastsave", "role", "lolwut", "randomkey", "srandmember", "hrandfield", "zrandmember", "scan", "sscan", "hscan",
    "zscan", "config|get", "client|id", "client|list", "client|info", "client|trackinginfo", "object|idletime", "object|freq",
    "object|refcount", "dump", "acl|genpass", "acl|log", "acl|list", "acl|getuser", "acl|users", "acl|cat", "acl|dryrun",
    "cluster|myid", "xrange", "xrevrange", "xpending", "xclaim", "xautoclaim", "xinfo|stream",
    "xinfo|groups", "xinfo|consumers",
}
LOOSE_CONTAINERS = {"command", "memory", "latency", "slowlog", "module"}
LOOSE_GROUPS = {"scripting"}
# What waits without being called blocking.
WAITS = {"wait", "waitaof"}
# Once in so many times that they come up: they would take the data away, or take long.
RARE = {"flushall", "flushdb", "swapdb", "select", "pfselftest"}
ONE_IN = 20
# Now and then a key is left to expire first, or a command runs in a transaction.
EXPIRES, TRANSACTION = 0.03, 0.05
# Where these put nothing in the place of an expired key, Redis has deleted it; ours it has expired before. And one of them
# looks at what it holds all the same.
NOT_EXPIRED = ("store", "sort", "bitop", "copy", "restore", "restore-asking", "georadius", "georadiusbymember", "usage")
# Milliseconds by which points in time may differ that were seconds from now.
LATER = 2000
END = b"end of the round"

DATA = """
    MSET s0 12 s1 "hello world" s2 {50*x} s3 "\\x00\\xff\\x0f"
    HSET h0 f1 a f2 12 m1 -7
    HSET h1 f1 {70*v} f2 3.25 a b
    RPUSH l0 a b c 12 -7
    RPUSH l1 m1 {9000*y} m2
    SADD e0 1 2 3 -7
    SADD e1 a b m1 m2
    ZADD z0 1 a 2 b 3 c 2 m1
    ZADD z1 1 {70*w} 1 m1 1 m2
    ZADD q0 0 a 0 b 0 c 0 m1 0 m2
    ZADD q1 0 a 0 {70*w} 0 f1 0 m2
    GEOADD g0 13.361389 38.115556 a 15.087269 37.502669 b 13.4 38.1 m1
    PFADD p0 a b c m1
    PEXPIRE s2 5000000
    PEXPIRE h1 5000000
"""


def loose(command):
    return (command.name in LOOSE or command.words[0] in LOOSE_CONTAINERS or command.group in LOOSE_GROUPS
            or command.words[-1] == "help")


def alike(command, ours, peer):
    """Whether two replies are as equal as they can be."""
    if ours[0] == "-" and peer[0] == "-":
        return ours[1].split()[:1] == peer[1].split()[:1]
    return (ours[0] == "-") == (peer[0] == "-") and {ours[0], peer[0]} not in ({"$", ":"}, {"*", ":"}, {"+", ":"})


def same_effect(ours, peer):
    """Whether two logged commands are the same, but for the moment from which times were counted."""
    def near(one, other):
        return one == other or one.isdigit() and other.isdigit() and len(one) > 9 and abs(int(one) - int(other)) <= LATER

    return len(ours) == len(peer) and ours[0].upper() == peer[0].upper() and all(map(near, ours[1:], peer[1:]))


def in_databases(commands):
    """Each command with its database, without the SELECTs: how often they are repeated is a server's own affair."""
    found, database = [], b"0"
    for command in commands:
        if command[0].upper() == b"SELECT":
            database = command[1]
        else:
            found.append([*command, b"in", database])
    return found


class Round:
    """Commands of one seed, on data that is the same each time."""

    def __init__(self, servers, protocol, seed, known, dumps):
        self.pair = Pair(*servers, protocol)
        self._maker = grammar.Maker(seed, dumps)
        self._known = known
        self._logs = [aof.Log(server) for server in servers]
        self._events = [resp.Connection(server.address) for server in servers]
        self.name = None

    def close(self):
        for connection in self._events:
            connection.close()
        self.pair.close()

    def run(self):
        """Raises the first difference; `name` is then the command, or what was compared."""
        for log in self._logs:
            log.more()
        for connection in self._events:
            connection.call("PSUBSCRIBE", "__keyevent@*")
            connection.call("SUBSCRIBE", END)
        self.pair.run(DATA)
        chance = self._maker.random
        for _ in range(COMMANDS_PER_ROUND):
            command = chance.choice(self._known)
            if command.name in RARE and chance.randrange(ONE_IN):
                continue
            self.name = command.name
            words = self._maker.make(command)
            keys = [word for word in words if isinstance(word, grammar.Key)]
            over = None
            if keys and not command.name.endswith(NOT_EXPIRED) and chance.random() < EXPIRES:
                over = chance.choice(keys)
                self.pair.ask("1", [b"PEXPIRE", over, b"1"])
                time.sleep(0.003)
            self._ask(command, words)
            if over is not None:
                # Not every command that fails looks at all its keys.
                self.pair.ask("1", [b"EXISTS", over])
            if command.name == "select":
                self.pair.ask("1", [b"SELECT", b"0"])
        self.name = "the dataset"
        self.pair.compare_keys()
        self.name = "events"
        self._compare([self._announced(connection) for connection in self._events], lambda one, other: one == other)
        self.name = "the log"
        self._compare([in_databases(log.more()) for log in self._logs], same_effect)
        self._exchange()
        self.name = "what the other made of the dataset's payloads"
        self.pair.compare_keys()

    def _announced(self, connection):
        self.pair.connections("1")[self._events.index(connection)].call("PUBLISH", END, "")
        found = []
        while (message := connection.read())[1][1][1] != END:
            found.append(tuple(word for _, word in message[1][2:]))
        return found

    @staticmethod
    def _compare(both, same):
        """Two lists that should be the same: shows where they part."""
        ours, peer = both
        for n in range(max(len(ours), len(peer))):
            if n >= len(ours) or n >= len(peer) or not same(ours[n], peer[n]):
                raise Difference("\n".join([*(f"  both {one!r}"[:300] for one in ours[max(0, n - 3):n]),
                                            f"  peer {peer[n:n + 4]!r}"[:600], f"  ours {ours[n:n + 4]!r}"[:600]]))

    def _exchange(self):
        """Replaces each value by what the other server has serialized. The bytes may differ: there is more than one way to
        compress, and tables have no order."""
        both = self.pair.connections("1")
        for _, key in sorted(self.pair.ask("1", [b"KEYS", b"*"])[1]):
            ours, peer = (connection.call("DUMP", key) for connection in both)
            for connection, payload in zip(both, (peer[1], ours[1]), strict=True):
                reply = connection.call("RESTORE", key, 0, payload, "REPLACE")
                if reply != ("+", b"OK"):
                    raise Difference(f"RESTORE {key!r} {payload!r}: {reply!r}")

    def _ask(self, command, words):
        waits = "blocking" in command.flags or command.name in WAITS
        if loose(command):
            self.pair.history.append("1> " + " ".join(map(shown, words)))
            ours, peer = (connection.call(*words) for connection in self.pair.connections("1"))
            if not alike(command, ours, peer):
                raise Difference("\n".join([*self.pair.history[-SHOWN:], f"  peer {peer!r}"[:500], f"  ours {ours!r}"[:500]]))
        elif waits or command.name.upper() not in UNORDERED and self._maker.random.random() < TRANSACTION:
            # Within a transaction nothing waits.
            for part in ([b"MULTI"], words, [b"EXEC"]):
                self.pair.ask("1", part)
        else:
            self.pair.ask("1", words)


@pytest.fixture(scope="module")
def logging_servers(ours, peer):
    """Our server and the peer's with a log and all events; keys expire when they are asked for, and no sooner."""
    servers = process.Servers()
    directives = {"appendonly": "yes", "appendfsync": "no", "auto-aof-rewrite-percentage": 0, "notify-keyspace-events": "EA",
                  "enable-debug-command": "yes"}
    both = servers.start(ours, directives), servers.start(peer, directives)
    for server in both:
        with server.client() as client:
            client.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
    yield both
    servers.close()


@pytest.fixture(scope="module")
def documented(logging_servers):
    """The commands that both know, as Redis documents them, without those that are left out."""
    ours, peer = (resp.Connection(server.address) for server in logging_servers)
    for connection in (ours, peer):
        connection.call("HELLO", 3)
    names = {name.decode() for _, name in ours.call("COMMAND", "LIST")[1]}
    left_out = {name for names in LEFT_OUT.values() for name in names}
    known = [command for name, command in sorted(grammar.commands(peer).items()) if name in names and name not in left_out
             and command.words[0] not in left_out]
    pair = Pair(*logging_servers)
    pair.run(DATA)
    dumps = [peer.call("DUMP", key)[1] for _, key in sorted(peer.call("KEYS", "*")[1])]
    for connection in (ours, peer):
        connection.close()
    pair.close()
    assert len(known) > 200 and all(dumps)
    return known, dumps


@pytest.mark.timeout(ROUNDS * ROUND_MAX_S + 60)
@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
def test_generated(logging_servers, documented, protocol):
    found, seed = {}, SEEDS.start
    while seed < SEEDS.start + ROUNDS and len(found) < MOST_DIFFERENCES:
        one = Round(logging_servers, protocol, seed, *documented)
        try:
            one.run()
        except (Difference, resp.Closed, TimeoutError) as error:
            lines = str(error).splitlines() if isinstance(error, Difference) else one.pair.history
            found.setdefault(one.name, f"seed {seed}, {one.name}: {type(error).__name__}\n" + "\n".join(lines[-SHOWN:]))
        finally:
            one.close()
        seed += 1
    rounds = seed - SEEDS.start
    print(f"{rounds} rounds of {COMMANDS_PER_ROUND} commands, seeds {SEEDS.start} to {seed - 1}")
    assert not found, f"{len(found)} differences in {rounds} rounds\n\n" + "\n\n".join(found.values())
