"""Sets: the same commands to ours and to Redis, replies compared."""

import pytest
from harness.differential import SEEDS, run_random

SCRIPTS = {
    "members": """
        SADD s a b c a
        SADD s a
        SCARD s
        SMEMBERS s
        SISMEMBER s a
        SISMEMBER s z
        SMISMEMBER s a z b
        SMISMEMBER nothing a
        SREM s a z
        SMEMBERS s
        SMOVE s t b
        SMOVE s t nothing
        SMOVE nothing t b
        SMOVE t t b
        SREM s c
        EXISTS s
        SADD s
        SMEMBERS nothing
        SCARD nothing
    """,
    "algebra": """
        SADD a 1 2 3 4
        SADD b 3 4 5
        SADD c 4 5 6
        SINTER a b
        SINTER a b c
        SINTER a nothing
        SUNION a b c
        SDIFF a b
        SDIFF a b c
        SDIFF nothing a
        SINTERSTORE d a b
        SMEMBERS d
        SUNIONSTORE d a b c
        SDIFFSTORE d a b
        SINTERSTORE d a nothing
        EXISTS d
        SINTERCARD 2 a b
        SINTERCARD 2 a b LIMIT 1
        SINTERCARD 2 a b LIMIT 0
        SINTERCARD 2 a b LIMIT -1
        SINTERCARD 0 a
        SINTERCARD 3 a b
        SINTERCARD abc a b
        SET x y
        SINTER a x
        SINTER nothing x
        SUNIONSTORE x a b
        TYPE x
    """,
    "encodings": """
        SADD s 1 2 3
        OBJECT ENCODING s
        SADD s a
        OBJECT ENCODING s
        SREM s a
        OBJECT ENCODING s
        SADD h {100*x}
        OBJECT ENCODING h
        SADD i 9223372036854775807 -9223372036854775808
        OBJECT ENCODING i
        SMEMBERS i
        SADD j 9223372036854775808
        OBJECT ENCODING j
        SADD j2 01
        OBJECT ENCODING j2
        CONFIG SET set-max-intset-entries 3
        SADD k 1 2 3
        OBJECT ENCODING k
        SADD k 4
        OBJECT ENCODING k
        CONFIG SET set-max-intset-entries 512
    """,
    "random members": """
        SADD s a
        SRANDMEMBER s
        SRANDMEMBER s 5
        SRANDMEMBER s -3
        SRANDMEMBER s 0
        SRANDMEMBER nothing
        SRANDMEMBER nothing 2
        SRANDMEMBER s abc
        SPOP s 0
        SPOP s -1
        SPOP s
        EXISTS s
        SPOP s
        SPOP s 2
        SADD s a b c
        SPOP s 3 # all of them
        EXISTS s
    """,
    "scan": """
        SADD s 1 2 3
        SSCAN s 0
        SSCAN s 0 MATCH 2
        SSCAN nothing 0
        SSCAN s abc
        SSCAN s 0 COUNT -1
    """,
    "wrong type": """
        SET s x
        SADD s a
        SREM s a
        SMEMBERS s
        SISMEMBER s a
        SCARD s
        SPOP s
        SRANDMEMBER s
        SMOVE s t a
        SADD t a
        SMOVE t s a
        SSCAN s 0
        SDIFF t s
    """,
}

GRAMMAR = [
    "SADD {k} {m} {m}", "SADD {k} {v}", "SADD {k} {i} {i} {i}", "SREM {k} {m} {m}", "SREM {k} {i}", "SCARD {k}",
    "SMEMBERS {k}", "SISMEMBER {k} {m}", "SMISMEMBER {k} {m} {i}", "SMOVE {k} {k} {m}", "SINTER {k} {k}",
    "SUNION {k} {k} {k}", "SDIFF {k} {k}", "SINTERSTORE {k} {k} {k}", "SUNIONSTORE {k} {k} {k}",
    "SDIFFSTORE {k} {k} {k}", "SINTERCARD 2 {k} {k} <LIMIT {c}|>", "DEL {k}", "SET {k} {v}", "OBJECT ENCODING {k}",
    "RENAME {k} {k}",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)
