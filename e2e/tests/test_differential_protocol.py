"""The protocol itself: malformed requests, inline commands, HELLO, AUTH, RESET, huge and empty arguments."""

import pytest
from harness import resp

# Sent as they are on a new connection; compared is everything until the server closes, or answers the PING that follows.
RAW = {
    "inline": b"PING\r\n",
    "inline, only a line feed": b"PING\n",
    "inline with quotes": b'SET a "x y\\x41\\n"\r\nGET a\r\n',
    "inline with single quotes": b"SET a 'it\\'s'\r\nGET a\r\n",
    "inline with unbalanced quotes": b'SET a "x\r\n',
    "empty lines": b"\r\n\r\nPING\r\n",
    "empty array": b"*0\r\n*-1\r\nPING\r\n",
    "pipeline": b"*1\r\n$4\r\nPING\r\n" * 50,
    "no bulk": b"*1\r\n:4\r\n",
    "bad count": b"*abc\r\n",
    "count too large": b"*2147483648\r\n",
    "bad length": b"*1\r\n$abc\r\n",
    "negative length": b"*1\r\n$-5\r\n",
    "length too large": b"*1\r\n$536870913\r\n",
    "an error in a pipeline": b"*1\r\n$4\r\nPING\r\n*1\r\n$3\r\nFOO\r\n*1\r\n$4\r\nPING\r\n",
    "after an error nothing": b"*1\r\n$x\r\n*1\r\n$4\r\nPING\r\n",
    "binary name": b"*1\r\n$3\r\n\x00\xff\n\r\n",
    "http post": b"POST / HTTP/1.1\r\n\r\n",
    "http host": b"Host: x\r\n",
}

SCRIPTS = {
    "hello": """
        HELLO 4
        HELLO abc
        HELLO 2 AUTH
        HELLO 2 AUTH a b
        HELLO 2 SETNAME "a b"
        HELLO 2 WHAT
        CLIENT GETNAME
    """,
    "auth": """
        AUTH x
        AUTH user x
        AUTH
        AUTH a b c
        AUTH default x
    """,
    "client": """
        CLIENT SETNAME me
        CLIENT GETNAME
        CLIENT SETNAME "with space"
        CLIENT SETNAME ""
        CLIENT GETNAME
        CLIENT NO-EVICT on
        CLIENT NO-EVICT what
        CLIENT REPLY ON
        CLIENT REPLY WHAT
        CLIENT KILL 1.2.3.4:5
        CLIENT KILL ID 999999
        CLIENT KILL TYPE what
        CLIENT PAUSE abc
        CLIENT PAUSE 1 WHAT
        CLIENT UNPAUSE
        CLIENT UNBLOCK 999999
        CLIENT TRACKINGINFO
    """,
    "reset": """
        MULTI
        RESET
        EXEC
        SELECT 3
        RESET
        CLIENT GETNAME
        SET a 1
        WATCH a
        RESET
    """,
    "command": """
        COMMAND COUNT WHAT
        COMMAND INFO get
        COMMAND INFO get nothing set
        COMMAND GETKEYS SET a b
        COMMAND GETKEYS MSET a 1 b 2
        COMMAND GETKEYS PING
        COMMAND GETKEYS ZUNIONSTORE d 2 a b
        COMMAND LIST FILTERBY PATTERN hgetal*
    """,
    "config": """
        CONFIG GET maxmemory
        CONFIG GET maxmemory*
        CONFIG GET nothing
        CONFIG GET maxmemory appendonly
        CONFIG SET maxmemory 1gb
        CONFIG GET maxmemory
        CONFIG SET maxmemory 0 nothing 1
        CONFIG SET maxmemory 0 maxmemory 1
        CONFIG SET maxmemory
        CONFIG SET maxmemory abc
        CONFIG SET maxmemory 0 hash-max-listpack-entries 512
        CONFIG SET port 99999
        CONFIG SET databases 3
        CONFIG SET appendfsync what
        CONFIG SET maxmemory-policy what
        CONFIG GET maxmemory
        CONFIG RESETSTAT
        CONFIG RESETSTAT x
    """,
    "replication commands without replication": """
        ROLE
        WAIT 0 10
        WAIT 1 10
        WAIT -1 10
        WAIT 1 -1
        WAIT abc 1
        REPLICAOF NO ONE
        REPLICAOF a abc
        REPLICAOF
        REPLCONF what x
        REPLCONF
        FAILOVER ABORT
    """,
    "persistence commands": """
        SAVE
        SAVE x
        BGSAVE WHAT
        LASTSAVE x
        SHUTDOWN WHAT
        SHUTDOWN ABORT
    """,
    "cluster commands without a cluster": """
        CLUSTER INFO
        CLUSTER WHAT
        READONLY
        READWRITE
        ASKING
    """,
}


def everything(server, data):
    """All replies to `data` followed by PING, until that is answered or the connection closed."""
    connection = resp.Connection(server.address)
    try:
        connection.send_raw(data)
        connection.send("PING", "end")
        replies = []
        while replies[-1:] != [("$", b"end")]:
            replies.append(connection.read())
        return replies
    except (resp.Closed, ConnectionError):
        return [*replies, "closed"]
    finally:
        connection.close()


@pytest.mark.parametrize("name", RAW)
def test_raw(two_servers, name):
    ours, peer = (everything(server, RAW[name]) for server in two_servers)
    assert ours == peer


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])


@pytest.mark.parametrize("protocol", [2, 3])
def test_hello_answers_the_same_fields(two_servers, protocol):
    found = []
    for server in two_servers:
        connection = resp.Connection(server.address)
        kind, content = connection.call("HELLO", protocol)
        connection.close()
        pairs = content if kind == "%" else list(zip(content[::2], content[1::2]))
        values = {name[1]: value for name, value in pairs}
        assert values[b"version"][1].startswith(b"7.") and values[b"id"][0] == ":"
        found.append((kind, {**values, b"version": None, b"id": None}))
    assert found[0] == found[1]


def test_quit(two_servers):
    for server in two_servers:
        connection = resp.Connection(server.address)
        assert connection.call("QUIT") == ("+", b"OK")
        with pytest.raises(resp.Closed):
            connection.read()


def test_a_request_in_single_bytes(two_servers):
    for server in two_servers:
        connection = resp.Connection(server.address)
        for byte in b"*2\r\n$4\r\nECHO\r\n$5\r\na\r\nbc\r\n":
            connection.send_raw(bytes([byte]))
        assert connection.read() == ("$", b"a\r\nbc")
        connection.close()


def test_a_deep_pipeline_is_answered_in_order(two_servers):
    count = 20_000
    for server in two_servers:
        connection = resp.Connection(server.address)
        connection.send_raw(b"".join(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%d\r\n" % (len(str(n)), n) for n in range(count)))
        for n in range(count):
            assert connection.read() == ("$", b"%d" % n)
        connection.close()


def test_command_docs_tell_the_same_arguments(two_servers):
    def arguments(server):
        with server.client(protocol=3) as client:
            docs = client.execute_command("COMMAND DOCS")
        found = {}
        for name, doc in docs.items():
            found[name] = doc.get("arguments")
            found.update({sub: inner.get("arguments") for sub, inner in doc.get("subcommands", {}).items()})
        return found
    ours, theirs = map(arguments, two_servers)
    both = ours.keys() & theirs.keys()
    assert len(both) > 250
    assert {name: ours[name] for name in both} == {name: theirs[name] for name in both}
