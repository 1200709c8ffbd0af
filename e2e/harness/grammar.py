"""Commands made from what a server's COMMAND DOCS says of their arguments: mostly well-formed, on keys of the type that
they are for, and sometimes not. The same seed makes the same commands."""

import itertools
import random

# Keys by the group of the commands that they suit; others are taken now and then, for wrong types.
KEYS = {"string": "s", "bitmap": "s", "hash": "h", "list": "l", "set": "e", "sorted-set": "z", "geo": "g", "hyperloglog": "p",
        "stream": "x"}
PER_GROUP = 4
# Sorting a small sorted set changes its encoding in Redis, though it only reads.
SORTS, SORTED = ("sort", "sort_ro"), "leshpn"
INTEGERS = ["0", "1", "-1", "2", "3", "5", "10", "100", "-2", "-3", "-100"]
ODD_INTEGERS = ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "1.5", "abc", "",
                " 1", "1 ", "+1", "007", "0x10", "-0", "1e3", "99999999999999999999999"]
DOUBLES = ["0", "1", "-1.5", "3.14159", "1e10", "-1e-5", "2", "0.1", "100", "+inf", "-inf"]
ODD_DOUBLES = ["nan", "1e400", "abc", "", "(1", "[a", "-0", "0x1p3", " 1", "1_0", "1e-400", "123456789.123456789", "1e17"]
WORDS = ["a", "b", "c", "m1", "m2", "f1", "f2", "12", "-7", "3.25", "0", "hello world"]
ODD_WORDS = [b"", b"\x00\xff\r\n", b"x" * 44, b"x" * 45, b"y" * 64, b"z" * 65, b"0123456789" * 1000, "ğü".encode(), b"-", b"+",
             b"(a", b"[b", b"*", b"$", b"h*llo[", b"\xf0\x28\x8c\x28", b"w" * 70_000]
PATTERNS = ["*", "s*", "?1", "[a-h]*", "nothing", "\\*", "w_*->f1", "", "[^s]*"]
# What time units and what stands for a time: far away, over since long, or no time at all, but never soon.
TIMES = ["0", "-1", "100000", "5000000"]
UNIX_TIMES = {"seconds": ["1", "4000000000", "0", "-5"], "milliseconds": ["1", "4000000000000", "0", "-5"]}
FAR = ("seconds", "milliseconds", "ttl", "timeout", "ms")
# Words by the name of the argument, where few of all words make sense.
NAMED = {"min": ["-inf", "(1", "0", "-", "[a", "(b", "1"], "max": ["+inf", "(5", "3", "+", "[c", "(m2", "2"],
         "id": ["0-1", "1-1", "5-3", "6-*", "0-0", "9"], "last-id": ["0-1", "7-1"], "start": ["-", "0-1", "(1-1", "0", "1"],
         "end": ["+", "5-3", "(9", "-1", "2"], "stop": ["-1", "2", "+", "0"],
         "encoding": ["u8", "i16", "u63", "i64", "u64", "i0", "x"], "member": WORDS, "subcommand": ["encoding", "decode", "getreg", "todense"],
         "longitude": ["13.4", "15", "-180", "0", "181"], "latitude": ["38.1", "37", "85.05", "0", "-86"],
         "radius": ["0", "10", "5000", "1e9", "-1"], "width": ["0", "10", "5000"], "height": ["0", "10", "5000"],
         "offset": ["0", "1", "7", "100", "-1", "#1", "#3"], "cursor": ["0", "0", "5", "abc"], "bit": ["0", "1", "2"],
         "destination-db": ["0", "3", "16"], "index": ["0", "1", "-1", "7"], "db": ["0", "99", "-1"],
         "frequency": ["0", "255", "256"], "type": ["string", "zset", "stream", "none"]}
WRONG_ARITY, ODD, OTHER_KEY = 0.04, 0.05, 0.12
MOST_REPEATED = 3


def plain(reply):
    """A reply of the raw connection, in RESP3, as strings, numbers, lists and dictionaries."""
    kind, content = reply
    if kind == "%":
        return {plain(key): plain(value) for key, value in content}
    if isinstance(content, list):
        return [plain(item) for item in content]
    return content.decode() if isinstance(content, bytes) else content


class Command:
    """One command, or one subcommand, with what the documentation says."""

    def __init__(self, name, docs, info):
        self.name = name
        self.words = name.split("|")
        self.group = docs["group"]
        self.arguments = docs.get("arguments", [])
        self.flags = set(info[2])


def commands(connection):
    """All commands that a server documents, by name; `connection` speaks RESP3."""
    docs = plain(connection.call("COMMAND", "DOCS"))
    info = {}
    for entry in plain(connection.call("COMMAND")):
        info[entry[0]] = entry
        info.update({sub[0]: sub for sub in entry[9]})
    found = {}
    for name, doc in docs.items():
        for one, its in [(name, doc), *doc.get("subcommands", {}).items()]:
            if not its.get("subcommands") and one in info:
                found[one] = Command(one, its, info[one])
    return found


class Maker:
    """Random commands from a seed. `dumps`: payloads for RESTORE."""

    def __init__(self, seed, dumps):
        self.random = random.Random(seed)
        self._dumps = dumps

    def make(self, command):
        """The words of one call."""
        found = [word.encode() for word in command.words]
        for argument in command.arguments:
            found += self._argument(argument, command)
        if self.random.random() < WRONG_ARITY:
            found = found[:self.random.randrange(1, len(found) + 1)] if self.random.random() < 0.6 else [*found, b"extra"]
        self._count_keys(found)
        if "lex" in command.name or b"BYLEX" in found:
            self._order_by_name(found, command)
        return found

    def _order_by_name(self, found, command):
        """Only where all scores are the same there are ranges by name: takes such a set as the source."""
        keys = [n for n, word in enumerate(found) if isinstance(word, Key)]
        for n in keys[1 if command.name == "zrangestore" else 0:]:
            found[n] = Key(b"q%d" % self.random.randrange(PER_GROUP))

    def _count_keys(self, found):
        """The number of keys is most often right."""
        for n, word in enumerate(found):
            if word == b"numkeys":
                keys = sum(1 for _ in itertools.takewhile(lambda word: isinstance(word, Key), found[n + 1:]))
                right = self.random.random() < 0.9
                found[n] = str(keys if right else self.random.choice(ODD_INTEGERS + INTEGERS)).encode()

    @staticmethod
    def _encoded(word):
        return word if isinstance(word, bytes) else word.encode()

    def _argument(self, argument, command):
        flags = argument.get("flags", [])
        # Sorted by something else, elements may come out alike: then their order is the server's own.
        if "optional" in flags and (self.random.random() < 0.55 or argument.get("token") == "BY" and command.name in SORTS):
            return []
        times = self.random.randrange(1, MOST_REPEATED + 1) if "multiple" in flags else 1
        token = [argument["token"].encode()] if "token" in argument else []
        if token == [b'""']:
            token = [b""]
        found = []
        for n in range(times):
            if n == 0 or "multiple_token" in flags:
                found += token
            found += self._value(argument, command)
        return found

    def _value(self, argument, command):
        kind, name = argument["type"], argument["name"]
        if kind == "pure-token":
            return []
        if kind == "oneof":
            return self._argument({**self.random.choice(argument["arguments"])}, command)
        if kind == "block":
            return [word for part in argument["arguments"] for word in self._argument(part, command)]
        if kind == "key":
            return [self._key(command)]
        return [self._encoded(self._word(kind, name, command))]

    def _key(self, command):
        if command.name in SORTS:
            return Key(f"{self.random.choice(SORTED)}{self.random.randrange(PER_GROUP)}".encode())
        letter = KEYS.get(command.group)
        if letter is None or self.random.random() < OTHER_KEY:
            letter = self.random.choice([*KEYS.values(), "none"])
        return Key(f"{letter}{self.random.randrange(PER_GROUP)}".encode())

    def _word(self, kind, name, command):
        pick = self.random.choice
        if name == "numkeys":
            return "numkeys"
        if name == "serialized-value":
            return pick(self._dumps) if self.random.random() < 0.8 else pick(ODD_WORDS)
        odd = self.random.random() < ODD
        if kind == "unix-time":
            return pick(ODD_INTEGERS) if odd else pick(UNIX_TIMES["milliseconds" if "milli" in name else "seconds"])
        if name == "ttl" and odd:
            # One that is far too large deletes the key in Redis.
            return pick([n for n in ODD_INTEGERS if n != "9223372036854775807"])
        if name in FAR and kind in ("integer", "double"):
            return pick(ODD_INTEGERS) if odd else pick(TIMES)
        if "rand" in command.name and kind == "integer":
            return pick(["0", "3", "-3", "100", "abc"])
        if odd:
            return pick({"integer": ODD_INTEGERS, "double": ODD_DOUBLES}.get(kind, ODD_WORDS))
        if name in NAMED and self.random.random() < 0.9:
            return pick(NAMED[name])
        if kind == "pattern":
            return pick(PATTERNS)
        return pick({"integer": INTEGERS, "double": DOUBLES}.get(kind, WORDS))


class Key(bytes):
    """A word that is a key."""
