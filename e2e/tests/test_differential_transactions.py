"""Transactions: the same commands to ours and to Redis, replies compared."""

import pytest

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


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()
