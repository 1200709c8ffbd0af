"""Our redis-cli beside the real one, on the same server: the same bytes printed, the same exit code."""

import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from harness import process
from harness.wait import until

TIMEOUT_S = 20
SPECIAL = b'a"b\\\x01\xc3\xa9\n\x07\xff'


@pytest.fixture(scope="module")
def server(peer):
    """A real server with a key of every kind."""
    servers = process.Servers()
    server = servers.start(peer, {"enable-debug-command": "yes"})
    with server.client() as client:
        client.set("string", "value")
        client.set("special", SPECIAL)
        client.set("counter", 5)
        client.rpush("list", *range(12))
        client.hset("hash", mapping={"a": 1, "b": 2})
        client.sadd("set", "one")
        client.zadd("zset", {"x": 1.5, "y": 3.1})
        client.xadd("stream", {"f": "v"}, id="1-1")
    yield server
    servers.close()




def run(program, server, *arguments, stdin=b"", env=None):
    done = subprocess.run([program, "-p", str(server.port), *arguments], input=stdin, capture_output=True,
                          timeout=TIMEOUT_S, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


def same(peer, ours, server, *arguments, **options):
    expected = run(peer.program("redis-cli"), server, *arguments, **options)
    assert run(ours.program("redis-cli"), server, *arguments, **options) == expected
    return expected


NESTED = "redis.setresp(3); return {map={a={map={}},b={map={x='1'}},c={},d={1},e={1,2},f={set={q=true}}}}"
COMMANDS = [
    ["get", "string"], ["get", "special"], ["get", "nothing"], ["incr", "counter", "x"], ["lrange", "list", "0", "-1"],
    ["lrange", "nothing", "0", "-1"], ["hgetall", "hash"], ["hgetall", "nothing"], ["smembers", "set"],
    ["zrange", "zset", "0", "-1", "withscores"], ["zscore", "zset", "y"], ["xrange", "stream", "-", "+"], ["type", "list"],
    ["nonsense"], ["lpush", "string", "x"], ["exists", "string", "list"], ["mget", "string", "nothing", "list"],
    ["eval", NESTED, "0"], ["eval", "return {1,{},{2,{3,{}}},'x',false,{err='E x'},{ok='fine'}}", "0"],
    *[["debug", "protocol", kind] for kind in
      ("string", "integer", "double", "null", "array", "set", "map", "push", "verbatim", "true", "false")],
]
FORMS = [[], ["--no-raw"], ["--raw"], ["--csv"], ["--json"], ["--quoted-json"]]


@pytest.mark.parametrize("words", [["incr", "counter", "x"], ["get", "special"], ["lrange", "list", "0", "-1"]])
def test_a_pipe_taken_for_a_terminal(server, ours, peer, words):
    _, printed, _ = same(peer, ours, server, *words, env={"FAKETTY": "1"})
    assert printed != run(ours.program("redis-cli"), server, *words)[1]


@pytest.mark.parametrize("word", ['"no end', '"two" "words"', '"one"x'])
def test_a_wrong_quotation_is_told(server, ours, peer, word):
    code, printed, _ = same(peer, ours, server, "--quoted-input", "get", word)
    assert (code, printed) == (1, b"Invalid quoted string\n")


@pytest.mark.parametrize("protocol", [[], ["-2"], ["-3"]], ids=["default", "resp2", "resp3"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form) or "default")
def test_replies_are_printed_alike(peer, ours, server, form, protocol):
    for command in COMMANDS:
        same(peer, ours, server, *form, *protocol, *command)


@pytest.mark.parametrize("arguments,stdin", [
    (["-r", "3", "ping"], b""),
    (["-r", "2", "-i", "0.01", "lrange", "list", "0", "1"], b""),
    (["-n", "3", "client", "getname"], b""),
    (["-n", "99", "ping"], b""),
    (["-x", "set", "k"], b"from\x00stdin"),
    (["-X", "tag", "set", "k", "tag"], b"tagged"),
    (["-X", "tag", "set", "k", "other"], b"tagged"),
    (["-d", "|", "lrange", "list", "0", "2"], b""),
    (["-D", "<>", "mget", "string", "counter"], b""),
    (["--quoted-input", "get", '"spec\\x69al"'], b""),
    (["-e", "nonsense"], b""),
    (["-e", "get", "string"], b""),
    (["--user", "nobody", "--pass", "wrong", "--no-auth-warning", "ping"], b""),
    (["-a", "wrong", "ping"], b""),
    ([], b'set a 1\nget a\n3 incr a\nget "unbalanced\n\nset b "x y"\nget b\nnonsense\nquit\nget a\n'),
    (["-e"], b"get string\nnonsense\n"),
    (["--scan", "--pattern", "s*"], b""),
    (["--scan", "--quoted-pattern", '"z\\x73*"'], b""),
    (["--pipe"], b"set p 1\r\nnonsense\r\n*1\r\n$4\r\nPING\r\n"),
    (["--bogus"], b""),
    (["--version"], b""),
    (["multi"], b""),
])
def test_options_do_the_same(peer, ours, server, arguments, stdin):
    same(peer, ours, server, *arguments, stdin=stdin)


def test_password_from_the_environment(peer, ours, server):
    same(peer, ours, server, "ping", env={"REDISCLI_AUTH": "wrong"})


def test_password_from_a_file(ours, servers, tmp_path):
    server = servers.start(ours, {"requirepass": "secret"})
    (tmp_path / "password").write_text("secret\n")
    program = ours.program("redis-cli")
    assert run(program, server, "ping", env={"REDISCLI_AUTH_FILE": str(tmp_path / "password")}) == (0, b"PONG\n", b"")
    code, _, err = run(program, server, "ping", env={"REDISCLI_AUTH_FILE": str(tmp_path / "none")})
    assert code == 1 and b"cannot read" in err


def test_uri(peer, ours, server):
    for program in (peer, ours):
        done = subprocess.run([program.program("redis-cli"), "-u", f"redis://127.0.0.1:{server.port}/3", "client", "info"],
                              capture_output=True, timeout=TIMEOUT_S)
        assert b" db=3 " in done.stdout


def test_nobody_answers(peer, ours):
    free_port = process.free_port()
    for program in (peer, ours):
        done = subprocess.run([program.program("redis-cli"), "-p", str(free_port), "ping"], capture_output=True,
                              timeout=TIMEOUT_S)
        assert done.returncode == 1
        assert done.stderr == f"Could not connect to Redis at 127.0.0.1:{free_port}: Connection refused\n".encode()


def test_scripts(peer, ours, server, tmp_path):
    script = tmp_path / "s.lua"
    script.write_text("return {KEYS[1], ARGV[1], #KEYS, #ARGV}")
    _, out, _ = same(peer, ours, server, "--eval", str(script), "k1", "k2", ",", "a")
    assert out == b"k1\na\n2\n1\n"


def test_large_keys(peer, ours, server):
    def table(program, option):
        code, out, _ = run(program.program("redis-cli"), server, option)
        # Keys come in the order of SCAN; the summary's first block is in the order of a hash table.
        return code, sorted(re.sub(rb"^\[\d+\.\d+%\]", b"", line) for line in out.splitlines())
    for option in ("--bigkeys", "--memkeys"):
        assert table(ours, option) == table(peer, option)
    assert run(ours.program("redis-cli"), server, "--hotkeys")[0] == run(peer.program("redis-cli"), server, "--hotkeys")[0]


def test_hot_keys(ours, servers, peer):
    server = servers.start(peer, {"maxmemory-policy": "allkeys-lfu"})
    with server.client() as client:
        for _ in range(200):
            client.incr("hot")
    code, out, _ = run(ours.program("redis-cli"), server, "--hotkeys")
    assert code == 0 and b'keyname: "hot"' in out


@pytest.mark.parametrize("whose", ["peer", "ours"])
def test_backup_and_restore(request, ours, servers, tmp_path, whose):
    source = servers.start(request.getfixturevalue(whose))
    with source.client() as client:
        client.mset({f"key{n}": "v" * 100 for n in range(2000)})
        digest = {key: client.get(key) for key in client.keys()}
    backup = tmp_path / "dump.rdb"
    assert run(ours.program("redis-cli"), source, "--rdb", str(backup))[0] == 0
    assert run(ours.program("redis-cli"), source, "--rdb", "-")[1][:5] == b"REDIS"
    copy = servers.start(ours, {"dir": tmp_path})
    with copy.client() as client:
        assert {key: client.get(key) for key in client.keys()} == digest


def test_a_broken_transfer_leaves_the_older_backup(ours, servers, tmp_path):
    source = servers.start(ours, {"requirepass": "secret"})
    backup = tmp_path / "dump.rdb"
    backup.write_bytes(b"older")
    code, _, err = run(ours.program("redis-cli"), source, "--rdb", str(backup))
    assert code == 1 and b"NOAUTH" in err and backup.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [backup]


def test_mass_insertion(ours, servers):
    target = servers.start(ours)
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$6\r\n%06d\r\n$1\r\nx\r\n" % n for n in range(100_000))
    code, out, _ = run(ours.program("redis-cli"), target, "--pipe", stdin=commands)
    assert code == 0 and out.endswith(b"errors: 0, replies: 100000\n")
    with target.client() as client:
        assert client.dbsize() == 100_000


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", HOME="/nonexistent", COLUMNS="200")
            # The end of the terminal is the end of the program, even where the tests themselves are to survive theirs.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.execv(words[0], words)
        self.text = ""

    def read(self):
        while select.select([self.fd], [], [], 0)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))
        return self.text

    def expect(self, needle):
        until(f"{needle!r} on the terminal; there is {self.text[-300:]!r}", lambda: needle in self.read(), TIMEOUT_S)

    def type(self, line):
        self.text = ""
        os.write(self.fd, line.encode() + b"\r")

    def close(self):
        os.close(self.fd)
        deadline = time.monotonic() + TIMEOUT_S
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_interactive(ours, server):
    free_port = process.free_port()
    prompt = f"127.0.0.1:{server.port}"
    terminal = Terminal(ours.program("redis-cli"), "-p", str(server.port))
    try:
        terminal.expect(f"{prompt}> ")
        for line, reply in [("get string", '"value"'), ("select 3", f"{prompt}[3]> "), ("multi", f"{prompt}[3](TX)> "),
                            ("set a 1", "QUEUED"), ("exec", "1) OK"), ("select 0", f"{prompt}> "),
                            ("help getrange", "GETRANGE key start end"), ("2 ping", "PONG"), ("debug sleep 0.6", "(0.6"),
                            ("info server", "redis_version:"), ('get "x', "Invalid argument(s)"), ("nonsense", "(error) ERR"),
                            (f"connect 127.0.0.1 {free_port}", "not connected> "),
                            (f"connect 127.0.0.1 {server.port}", f"{prompt}> ")]:
            terminal.type(line)
            terminal.expect(reply)
        os.write(terminal.fd, b"getrange ")
        terminal.expect("key start end")
        terminal.type("string 0 1")
        terminal.expect('"va"')
        with server.client() as client:
            terminal.type("subscribe channel")
            terminal.expect("1) \"subscribe\"")
            until("the message has a receiver", lambda: client.publish("channel", "hello") == 1)
            terminal.expect('"hello"')
        os.write(terminal.fd, b"\x03")
    finally:
        terminal.close()


def test_redirections_are_followed(ours, peer, servers):
    buses = [process.free_port() for _ in range(2)]
    nodes = [servers.start(peer, {"cluster-enabled": "yes", "cluster-port": bus}) for bus in buses]
    for node, (first, last) in zip(nodes, ((0, 8191), (8192, 16383))):
        with node.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
    with nodes[0].client() as client:
        client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port, buses[1])
    for node in nodes:
        with node.client() as client:
            until("the cluster is whole", lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 30)
    for key in ("foo", "bar", "hello"):
        assert run(ours.program("redis-cli"), nodes[0], "-c", "set", key, "1")[1] == b"OK\n"
        assert run(ours.program("redis-cli"), nodes[1], "-c", "get", key)[1] == b"1\n"
    assert b"MOVED" in run(ours.program("redis-cli"), nodes[0], "get", "foo")[1]
