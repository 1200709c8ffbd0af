"""Hashes: the same commands to ours and to Redis, replies compared."""

import pytest
from harness.differential import SEEDS, run_random

SCRIPTS = {
    "fields": """
        HSET h a 1 b 2 c 3
        HSET h a 9 d 4
        HGET h a
        HGET h nothing
        HGET nothing a
        HMSET h x 1 y 2
        HMGET h a nothing y
        HMGET nothing a b
        HGETALL h
        HGETALL nothing
        HKEYS h
        HVALS h
        HLEN h
        HEXISTS h a
        HEXISTS h nothing
        HSTRLEN h a
        HSTRLEN h nothing
        HSETNX h a 1
        HSETNX h new 1
        HDEL h a b nothing
        HDEL h c d x y new
        EXISTS h
        HSET h a
        HSET h a 1 b
        HMSET h a
        HGET h
        HGETALL
    """,
    "counters": """
        HINCRBY h n 5
        HINCRBY h n -7
        HINCRBY h n abc
        HSET h s abc
        HINCRBY h s 1
        HINCRBYFLOAT h s 1
        HINCRBYFLOAT h f 0.1
        HINCRBYFLOAT h f 0.2
        HINCRBYFLOAT h n 1.5
        HINCRBY h n 1
        HINCRBYFLOAT h f inf
        HINCRBYFLOAT h f nan
        HSET h m 9223372036854775807
        HINCRBY h m 1
        HINCRBY h m -1
        HGETALL h
    """,
    "encodings": """
        HSET h a {64*x}
        OBJECT ENCODING h
        HSET h b {65*x}
        OBJECT ENCODING h
        HDEL h b
        OBJECT ENCODING h
        HSET g {65*f} 1
        OBJECT ENCODING g
        CONFIG SET hash-max-listpack-entries 4
        HSET k 1 1 2 2 3 3 4 4
        OBJECT ENCODING k
        HSET k 5 5
        OBJECT ENCODING k
        CONFIG SET hash-max-listpack-entries 512
        CONFIG GET hash-max-ziplist-entries
    """,
    "random fields": """
        HSET h a 1
        HRANDFIELD h
        HRANDFIELD h 5
        HRANDFIELD h -3
        HRANDFIELD h 1 WITHVALUES
        HRANDFIELD h -2 WITHVALUES
        HRANDFIELD h 0
        HRANDFIELD nothing
        HRANDFIELD nothing 3
        HRANDFIELD h abc
        HRANDFIELD h 1 WHAT
        HRANDFIELD h -9223372036854775808 WITHVALUES
        HRANDFIELD h -9223372036854775808
    """,
    "scan": """
        HSET h a 1 b 2
        HSCAN h 0
        HSCAN h 0 COUNT 100 MATCH a
        HSCAN h 0 MATCH z*
        HSCAN nothing 0
        HSCAN h abc
        HSCAN h 0 COUNT 0
        HSCAN h 0 COUNT abc
        HSCAN h 0 WHAT
    """,
    "wrong type": """
        SET s x
        HSET s a 1
        HGET s a
        HGETALL s
        HLEN s
        HDEL s a
        HINCRBY s a 1
        HMGET s a
        HSCAN s 0
        HRANDFIELD s
        HSETNX s a 1
    """,
    "odd fields and values": """
        HSET h "" ""
        HGET h ""
        HSET h "\\x00\\xff" "\\r\\n"
        HGET h "\\x00\\xff"
        HSTRLEN h ""
        HSET h {100000*big} {100000*value}
        HSTRLEN h {100000*big}
        HGETALL h
    """,
}

GRAMMAR = [
    "HSET {k} {m} {v}", "HSET {k} {m} {v} {m} {v}", "HSET {k} {m} {i}", "HSETNX {k} {m} {v}", "HGET {k} {m}",
    "HMGET {k} {m} {m}", "HGETALL {k}", "HDEL {k} {m} {m}", "HLEN {k}", "HEXISTS {k} {m}", "HSTRLEN {k} {m}",
    "HKEYS {k}", "HVALS {k}", "HINCRBY {k} {m} {i}", "HINCRBYFLOAT {k} {m} {f}", "HMSET {k} {m} {v}", "DEL {k}",
    "OBJECT ENCODING {k}", "SET {k} {v}", "RENAME {k} {k}", "COPY {k} {k} <REPLACE|>", "EXPIRE {k} {t}", "PERSIST {k}",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)
