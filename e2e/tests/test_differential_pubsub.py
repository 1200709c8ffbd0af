"""Publish and subscribe: the same commands to ours and to Redis, replies and pushed messages compared."""

import pytest

SCRIPTS = {
    "channels": """
        2: SUBSCRIBE a
        1: PUBLISH a hello
        2<
        1: PUBLISH b nobody
        2: SUBSCRIBE a
        2> SUBSCRIBE b c
        2<
        2<
        1: PUBLISH c "\\x00bin\\r\\n"
        2<
        1: PUBSUB CHANNELS
        1: PUBSUB CHANNELS a*
        1: PUBSUB NUMSUB a b nothing
        1: PUBSUB NUMSUB
        1: PUBSUB NUMPAT
        2: UNSUBSCRIBE a
        2: UNSUBSCRIBE nothing
        2> UNSUBSCRIBE b c
        2<
        2<
        1: PUBLISH a nobody
        2: PING
    """,
    "patterns": """
        2: PSUBSCRIBE n.*
        1: PUBLISH n.1 one
        2<
        2: SUBSCRIBE n.1
        1: PUBLISH n.1 two
        2<
        2<
        2: PSUBSCRIBE m.?
        1: PUBLISH m.2 three
        2<
        1: PUBLISH m.22 nobody
        1: PUBSUB NUMPAT
        1: PUBSUB CHANNELS *
        2: PUNSUBSCRIBE n.*
        2: PUNSUBSCRIBE nothing
        2: PUNSUBSCRIBE
        2: UNSUBSCRIBE
        2: UNSUBSCRIBE
        2: PUNSUBSCRIBE
        1: PUBLISH n.1 four
    """,
    "sharded channels": """
        2: SSUBSCRIBE s
        1: SPUBLISH s hello
        2<
        1: PUBLISH s other
        1: PUBSUB SHARDCHANNELS
        1: PUBSUB SHARDNUMSUB s
        2: SUNSUBSCRIBE s
        1: SPUBLISH s nobody
    """,
    "what a subscriber may say": """
        2: SUBSCRIBE a
        2: PING
        2: PING x
        2: GET k
        2: SET k 1
        2: PUBLISH a x
        2: MULTI
        2: RESET
        2: GET k
    """,
    "without replies": """
        2> CLIENT REPLY OFF
        2: SUBSCRIBE a
        2: PSUBSCRIBE b*
        1: PUBLISH a hello
        2<
        2> PING
        2: UNSUBSCRIBE a
        2: PUNSUBSCRIBE b*
        2: SSUBSCRIBE s
        2: SUNSUBSCRIBE s
        2> PING
        2: CLIENT REPLY ON
        2> CLIENT REPLY SKIP
        2: SUBSCRIBE a
        2: UNSUBSCRIBE a
        2: PING
    """,
    "wrong use": """
        SUBSCRIBE
        PUBLISH a
        PSUBSCRIBE
        PUBSUB
        PUBSUB WHAT
        PUBSUB CHANNELS a b
    """,
    "published in a transaction": """
        2: SUBSCRIBE a
        1: MULTI
        1: PUBLISH a 1
        1: PUBLISH a 2
        1: EXEC
        2<
        2<
    """,
    "keyspace events": """
        CONFIG SET notify-keyspace-events KEA
        2: PSUBSCRIBE __key*__:*
        SET a 1
        2<
        2<
        EXPIRE a 100
        2<
        2<
        DEL a
        2<
        2<
        CONFIG SET notify-keyspace-events ""
        CONFIG SET notify-keyspace-events Q
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    if name == "what a subscriber may say" and pair.protocol == 3:
        # With RESP3 a subscriber may say anything, and what it publishes to itself arrives as a push before the reply.
        pair.run("2: SUBSCRIBE a\n2: PING\n2: PING x\n2: SET k 1\n2: GET k\n2> PUBLISH a x\n2<\n2<\n2: RESET\n2: GET k")
    else:
        pair.run(SCRIPTS[name])


def test_nothing_is_left_over(pair):
    pair.run("2: SUBSCRIBE a\n1: PUBLISH a x\n2<\n2: UNSUBSCRIBE a\n1: PUBLISH a y")
    for connection in pair.connections("2"):
        assert connection.silent(0.05)
