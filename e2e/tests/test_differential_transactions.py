"""Transactions: the same commands to ours and to Redis, replies compared."""

import pytest
from harness import differential, process
from harness.wait import until

TIMEOUT_S = 20

SCRIPTS = {
    "queued and executed": """
        MULTI
        SET a 1
        INCR a
        GET a
        LPUSH l x y
        EXEC
        MULTI
        EXEC
        EXEC
        DISCARD
        MULTI
        SET a 9
        DISCARD
        GET a
        MULTI
        MULTI
        EXEC
    """,
    "an error while queueing aborts all": """
        MULTI
        SET a 1
        NOSUCHCOMMAND
        EXEC
        GET a
        MULTI
        SET a
        SET a 1
        EXEC
        EXISTS a
        MULTI
        NOSUCHCOMMAND
        DISCARD
        MULTI
        PING
        EXEC
    """,
    "EXEC that is refused ends the transaction": """
        EXEC extra
        MULTI
        SET a 1
        EXEC extra
        GET a
        EXEC
        WATCH a
        EXEC extra
        2: SET a 5
        MULTI
        PING
        EXEC
        2: MULTI
        2: SET a 6
        CONFIG SET maxmemory 1
        2: EXEC
        CONFIG SET maxmemory 0
        GET a
    """,
    "an error while executing stops nothing": """
        SET s x
        MULTI
        INCR s
        LPUSH s y
        SET a 1
        HGET s f
        EXEC
        GET a
    """,
    "watched keys": """
        WATCH a
        2: SET a 1
        MULTI
        SET a 2
        EXEC
        GET a
        WATCH a b
        MULTI
        SET a 3
        EXEC
        WATCH a
        UNWATCH
        2: SET a 4
        MULTI
        GET a
        EXEC
        WATCH a
        2: GET a
        MULTI
        GET a
        EXEC
        WATCH nothing
        2: DEL nothing
        MULTI
        PING
        EXEC
        WATCH a
        SET a own # one's own change counts as well
        MULTI
        PING
        EXEC
        MULTI
        WATCH a
        EXEC
        WATCH
    """,
    "watched keys that go away": """
        SET a 1
        WATCH a
        2: DEL a
        MULTI
        PING
        EXEC
        WATCH nothing
        2: SET nothing 1
        MULTI
        PING
        EXEC
        SET a 1
        WATCH a
        2: FLUSHALL
        MULTI
        PING
        EXEC
        WATCH a
        2: FLUSHALL
        MULTI
        PING
        EXEC
        SET a 1
        WATCH a
        2: EXPIRE a 100
        MULTI
        PING
        EXEC
        SET b 1
        WATCH b
        2: RENAME b c
        MULTI
        PING
        EXEC
        WATCH a
        DISCARD
        MULTI
        DISCARD
        2: SET a 5
        MULTI
        PING
        EXEC
    """,
    "watched keys are those of their database": """
        WATCH a
        2: SELECT 1
        2: SET a 1
        MULTI
        PING
        EXEC
        2: FLUSHDB
        2: SET a 1
        2: SELECT 0
        WATCH a
        2: SWAPDB 0 1
        MULTI
        PING
        EXEC
    """,
    "blocking commands do not block": """
        MULTI
        BLPOP nothing 10
        BRPOPLPUSH nothing b 10
        BZPOPMIN nothing 10
        WAIT 1 10000
        EXEC
    """,
    "other commands within": """
        MULTI
        SELECT 1
        SET a 1
        SELECT 0
        EXISTS a
        PING
        ECHO x
        CONFIG GET maxmemory
        FLUSHALL
        EXEC
    """,
    "watched keys whose time comes": """
        DEBUG SET-ACTIVE-EXPIRE 0
        SET a 1 PX 30
        WATCH a nothing
        DEBUG SLEEP 0.06
        MULTI
        INCR a
        EXEC
        SET a 1 PX 30
        WATCH a
        DEBUG SLEEP 0.06
        GET a
        MULTI
        PING
        EXEC
    """,
    "watched keys whose time was up": """
        DEBUG SET-ACTIVE-EXPIRE 0
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        MULTI
        PING
        EXEC
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        GET a
        MULTI
        PING
        EXEC
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        DEL a
        MULTI
        PING
        EXEC
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        SET a 2
        MULTI
        PING
        EXEC
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        FLUSHDB
        MULTI
        PING
        EXEC
    """,
    "watched keys whose time was up when databases are exchanged": """
        DEBUG SET-ACTIVE-EXPIRE 0
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        SWAPDB 0 1
        MULTI
        PING
        EXEC
        WATCH a
        SWAPDB 0 1
        MULTI
        PING
        EXEC
        SELECT 1
        SET a 1 PX 1
        DEBUG SLEEP 0.03
        WATCH a
        SWAPDB 0 1
        MULTI
        PING
        EXEC
        FLUSHALL
        SET a 1 PX 1
        SELECT 0
        SET a 2
        DEBUG SLEEP 0.03
        SELECT 1
        WATCH a
        SWAPDB 0 1
        MULTI
        PING
        EXEC
        SELECT 0
    """,
    "what is queued takes memory": """
        MULTI
        2: CONFIG SET maxmemory 1
        GET a
        PING
        DISCARD
        MULTI
        EXEC
        2: CONFIG SET maxmemory 0
        MULTI
        GET a
        PING
        2: CONFIG SET maxmemory 1
        EXEC
        2: CONFIG SET maxmemory 0
    """,
    "snapshots wait for the end": """
        MULTI
        SET a 1
        BGREWRITEAOF
        SET b 1
        EXEC
        MULTI
        BGSAVE
        EXEC
    """,
    "others see all or nothing": """
        MULTI
        SET a 1
        2: GET a
        SET b 1
        2: MGET a b
        EXEC
        2: MGET a b
    """,
}


@pytest.fixture(scope="module")
def two_servers(ours, peer):
    """Both, where DEBUG is allowed."""
    servers = process.Servers()
    directives = {"enable-debug-command": "yes"}
    yield servers.start(ours, directives), servers.start(peer, directives)
    servers.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    for server in pair.servers:
        with server.client() as client:
            until("no snapshot under way", lambda: idle(client), TIMEOUT_S)
    pair.run(SCRIPTS[name])
    pair.run("DEBUG SET-ACTIVE-EXPIRE 1")
    pair.compare_keys()


def idle(client):
    """Whether files are neither written nor going to be."""
    info = client.info("persistence")
    return not any(info[name] for name in (
        "rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled",
    ))  # fmt: skip


def test_a_replica_that_becomes_stale(servers, ours, peer):
    """Whether EXEC is refused is decided by all that was queued."""
    directives = {"replica-serve-stale-data": "no"}
    both = [servers.start(implementation, directives) for implementation in (ours, peer)]
    pair = differential.Pair(*both)
    for queued in ("GET a", "PING", "MULTI", "INFO nothing"):
        pair.run(f"""
            MULTI
            {queued}
            2: REPLICAOF 127.0.0.1 1
            EXEC
            GET a
            2: REPLICAOF NO ONE
        """)
    pair.close()
