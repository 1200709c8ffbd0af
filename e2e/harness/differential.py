"""Asks two servers the same and compares their replies.

A script is text with one command a line. Words may be quoted, with Python's escapes inside ("\\x00"); `N*text` within
braces repeats ({1000*x}). A line may begin with the connection it goes to: `2: GET a`. `2> BLPOP q 5` sends without
reading, `2<` reads one reply. Everything else on a line after ` # ` is a comment.

A grammar is a list of command templates for seeded random commands; see `Generator`.
"""

import ast
import os
import random
import re

from . import resp
from .wait import until

# Replies whose order a server may choose, with the size of the groups that stay together.
UNORDERED = {"SMEMBERS": 1, "SINTER": 1, "SUNION": 1, "SDIFF": 1, "SPOP": 1, "KEYS": 1, "HKEYS": 1, "HVALS": 1, "HGETALL": 2,
             "CONFIG": 2, "PUBSUB": 1}
# Replies that are a time, by a command's first words, with the tolerance: a clock may tick between the two answers.
TIMES = {"TTL": 1, "PTTL": 500, "EXPIRETIME": 1, "PEXPIRETIME": 500, "OBJECT IDLETIME": 1}
# Fields of XINFO that are times.
MOMENTS = {b"idle", b"seen-time"}
WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
REPEAT = re.compile(r"\{(\d+)\*([^}]*)\}")
HISTORY = 25
WATCHER = "watcher"
MAY_WAIT = re.compile(r"B[LRZ]\w+|XREAD", re.IGNORECASE)
READY_S = 0.001
# Seeds of the random commands: $E2E_SEEDS of them, from $E2E_SEED on.
SEEDS = range(int(os.environ.get("E2E_SEED", 1)), int(os.environ.get("E2E_SEED", 1)) + int(os.environ.get("E2E_SEEDS", 5)))
COMMANDS = 600


class Difference(AssertionError):
    """The two servers answered differently."""


def words(line):
    """The words of one command line, as bytes."""
    found = []
    for word in WORD.findall(REPEAT.sub(lambda m: m[2] * int(m[1]), line)):
        found.append(ast.literal_eval("b" + word) if word.startswith('"') else word.encode())
    return found


def shown(word):
    return repr(word) if len(word) <= 60 else f"{word[:40]!r}… ({len(word)} bytes)"


def normal(command, reply):
    """The reply, in an order that both servers share."""
    kind, content = reply
    name = command[0].upper().decode(errors="replace")
    if name in UNORDERED and isinstance(content, list):
        if kind == "%":
            return kind, sorted(content, key=repr)
        size = UNORDERED[name]
        groups = [content[n:n + size] for n in range(0, len(content), size)]
        return kind, sorted(groups, key=repr)
    return reply


def timeless(reply, pending=False):
    """A reply about a stream's groups, without the times in it. `pending`: a list of deliveries."""
    kind, content = reply
    if kind == "%":
        return kind, [(name, _of_field(name, value)) for name, value in content]
    if kind != "*" or not content:
        return reply
    if pending:  # id, consumer (where it is not clear), time, number of deliveries
        return kind, [("*", [*item[:-2], "time", item[-1]]) for _, item in content]
    return kind, [_of_field(content[n - 1], item) if n else timeless(item) for n, item in enumerate(content)]


def _of_field(name, value):
    word = name[1] if name[0] == "$" else None
    return "time" if word in MOMENTS else timeless(value, pending=word == b"pending" and value[0] == "*")


def legible(text):
    return text.decode(errors="replace")


def same(command, one, other):
    names = [b" ".join(command[:n]).upper().decode(errors="replace") for n in (1, 2)]
    if names[0] == "XINFO":
        one, other = timeless(one), timeless(other)
    if names[0] == "XPENDING" and len(command) > 3:
        one, other = timeless(one, pending=True), timeless(other, pending=True)
    if one[0] == other[0] == "-":
        # Our error texts are UTF-8, whatever a client sent.
        return legible(one[1]) == legible(other[1])
    tolerance = max(TIMES.get(name, 0) for name in names)
    if tolerance and one[0] == other[0] == ":" and one[1] >= 0 and other[1] >= 0:
        return abs(one[1] - other[1]) <= tolerance
    return normal(command, one) == normal(command, other)


class Pair:
    """Connections to our server and to the peer's, in step."""

    def __init__(self, ours, peer, protocol=2):
        self.servers = (ours, peer)
        self.protocol = protocol
        self._connections, self._ids = {}, {}
        self.history = []
        self.ask("1", [b"FLUSHALL"])

    def close(self):
        for pair in self._connections.values():
            for connection in pair:
                connection.close()

    def connections(self, name):
        if name not in self._connections:
            pair = [resp.Connection(server.address) for server in self.servers]
            for connection in pair:
                if self.protocol != 2:
                    kind, _ = connection.call("HELLO", self.protocol)
                    assert kind == "%"
            self._ids[name] = [connection.call("CLIENT", "ID")[1] for connection in pair]
            self._connections[name] = pair
        return self._connections[name]

    def send(self, name, command):
        self.history.append(f"{name}> " + " ".join(map(shown, command)))
        for connection in self.connections(name):
            connection.send(*command)

    def settle(self, name):
        """Waits until what was sent last is answered or waits, on both servers: what others send then comes after it."""
        for connection, watcher, client in zip(self.connections(name), self.connections(WATCHER), self._ids[name]):
            until(f"client {name} waits, or has its reply",
                  lambda: " flags=b " in watcher.call("CLIENT", "LIST", "ID", client)[1].decode() or not connection.silent(READY_S))

    def read(self, name, command):
        ours, peer = (connection.read() for connection in self.connections(name))
        if not same(command, ours, peer):
            raise Difference("\n".join(["", *self.history[-HISTORY:], f"  peer answered {peer!r}"[:2000],
                                        f"  ours answered {ours!r}"[:2000]]))
        return ours

    def ask(self, name, command):
        self.send(name, command)
        return self.read(name, command)

    def run(self, script):
        """Runs a script; returns the replies read."""
        replies, waiting = [], {}
        for line in script.splitlines():
            line = line.split(" # ")[0].strip()
            if not line or line.startswith("#"):
                continue
            name, mode, rest = "1", ":", line
            if head := re.match(r"(\d)([:<>])\s*(.*)", line):
                name, mode, rest = head.groups()
            if mode == ":":
                replies.append(self.ask(name, words(rest)))
            elif mode == ">":
                waiting[name] = words(rest)
                self.send(name, waiting[name])
                if MAY_WAIT.match(rest):
                    self.settle(name)
            else:
                replies.append(self.read(name, waiting.get(name, [b""])))
        return replies

    def compare_keys(self):
        """Type, encoding, time to live and content of every key, on both sides."""
        _, keys = self.ask("1", [b"KEYS", b"*"])
        for _, key in sorted(keys):
            _, kind = self.ask("1", [b"TYPE", key])
            self.ask("1", [b"OBJECT", b"ENCODING", key])
            self.ask("1", [b"PTTL", key])
            self.ask("1", {b"string": [b"GET", key], b"hash": [b"HGETALL", key], b"list": [b"LRANGE", key, b"0", b"-1"],
                           b"set": [b"SMEMBERS", key], b"zset": [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
                           b"stream": [b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"]}[kind])


class Generator:
    """Random commands from templates, the same ones for the same seed.

    In a template each `{letter}` becomes a random word: k key, v value, m member or field, i integer, f float, s score,
    p pattern, c count (small), t seconds far away, e id of a new stream entry, d id of an old one, o from
    where to read in a group. `<a b|c|>` is one of its alternatives, which may be empty.
    """

    EDGES = ["0", "1", "-1", "2", "10", "100", "-100", "9223372036854775807", "-9223372036854775808",
             "9223372036854775808", "1.5", "abc", "", " 1", "0x10", "007", "-0", "+5"]
    FLOATS = ["0", "1", "-1.5", "3.14159", "1e10", "-1e-5", "inf", "-inf", "nan", "1e400", "abc", "", "0.1", "123456789.123456789",
              "5.0e3", "1e17"]
    VALUES = [b"", b"a", b"hello world", b"12", b"-7", b"3.25", b"10000", b"9223372036854775807", b"\x00\xff\r\n", b"x" * 44,
              b"x" * 45, b"y" * 64, b"z" * 65, b"0123456789" * 500, "ğüşiöç".encode()]
    PATTERNS = ["*", "k*", "k[0-3]", "k?", "[^k]*", "nothing", "\\*", "k[3-1]", "*" * 20 + "b", ""]

    def __init__(self, grammar, seed, keys=("k0", "k1", "k2", "k3", "{t}4", "{t}5")):
        self.random = random.Random(seed)
        self._grammar = grammar
        self._keys = keys
        self._ms = 1

    def _word(self, letter):
        pick = self.random.choice
        if letter == "k":
            return pick(self._keys)
        if letter == "v":
            return pick(self.VALUES)
        if letter == "m":
            return pick([f"m{self.random.randrange(12)}", f"{self.random.randrange(20)}", b"", b"\x00\x01", b"long" * 20])
        if letter == "i":
            return pick(self.EDGES) if self.random.random() < 0.3 else str(self.random.randrange(-12, 13))
        if letter in "fs":
            return pick(self.FLOATS) if self.random.random() < 0.4 else str(self.random.randrange(-5, 6))
        if letter == "c":
            return str(self.random.randrange(0, 6)) if self.random.random() < 0.9 else pick(self.EDGES)
        if letter == "t":
            return str(self.random.randrange(100, 100_000))
        if letter == "e":
            self._ms += self.random.randrange(2)
            return pick([f"{self._ms}-*", f"{self._ms}-*", f"{self._ms}-{self.random.randrange(9)}", f"{self._ms}"])
        if letter == "d":
            if self.random.random() < 0.1:
                return pick([*self.EDGES, "-", "+", "$", ">", "5-*", "18446744073709551615-18446744073709551615", "0-0"])
            return f"{self.random.randrange(self._ms + 2)}" + pick(["", "-0", "-1", "-2"])
        if letter == "o":
            return pick([">", ">", ">", "0", self._word("d")])
        if letter == "p":
            return pick(self.PATTERNS)
        raise AssertionError(f"no such letter: {letter}")

    def command(self):
        template = self.random.choice(self._grammar)
        template = re.sub(r"<([^<>]*)>", lambda m: self.random.choice(m[1].split("|")), template)
        found = []
        for word in template.split():
            found.append(resp.encode(self._word(word[1]) if re.fullmatch(r"\{\w\}", word) else word))
        if self.random.random() < 0.02:  # wrong arity
            found = found[:-1] if self.random.random() < 0.5 and len(found) > 1 else [*found, b"extra"]
        return found


def run_random(pair, grammar, seed, commands=COMMANDS, **options):
    """Random commands on both sides; now and then everything is compared. A failure names the seed."""
    generator = Generator(grammar, seed, **options)
    try:
        for n in range(commands):
            pair.ask("1", generator.command())
            if n % 100 == 99:
                pair.compare_keys()
        pair.compare_keys()
    except (Difference, resp.Closed) as error:
        raise Difference(f"seed {seed}, command {n}, {type(error).__name__}:{error}") from None
