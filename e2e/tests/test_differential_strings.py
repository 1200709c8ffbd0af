"""Strings: the same commands to ours and to Redis, replies compared."""

import pytest
from harness.differential import SEEDS, run_random

SCRIPTS = {
    "set and its options": """
        SET a 1
        GET a
        SET a 2 NX
        SET a 2 XX
        SET b 1 XX
        SET a 3 GET
        SET nothing 1 GET
        SET nothing 2 NX GET
        SET a 4 EX 100
        TTL a
        SET a 5 KEEPTTL
        TTL a
        SET a 6
        TTL a
        SET a 7 PX 100000
        PTTL a
        SET a 8 EXAT 99999999999
        EXPIRETIME a
        SET a 9 PXAT 99999999999999
        SET a 1 EX 0
        SET a 1 EX -1
        SET a 1 EX abc
        SET a 1 PX 9223372036854775807
        SET a 1 EX 10 PX 10
        SET a 1 NX XX
        SET a 1 EX
        SET a 1 WHAT
        SET a 1 KEEPTTL EX 10
        SET a 1 ex 10 nx
        SET a
        SET
        EXISTS a
    """,
    "encodings": """
        SET a 12
        OBJECT ENCODING a
        SET a 9223372036854775807
        OBJECT ENCODING a
        SET a 9223372036854775808
        OBJECT ENCODING a
        SET a -0
        OBJECT ENCODING a
        SET a 012
        OBJECT ENCODING a
        SET a {44*x}
        OBJECT ENCODING a
        SET a {45*x}
        OBJECT ENCODING a
        SET a x
        APPEND a y
        OBJECT ENCODING a
        SET a 1
        APPEND a 2
        OBJECT ENCODING a
        INCR a
        OBJECT ENCODING a
        SET a 1.5
        INCRBYFLOAT a 1.5
        OBJECT ENCODING a
        SETRANGE a 0 9
        OBJECT ENCODING a
        SET a ""
        OBJECT ENCODING a
    """,
    "integers": """
        INCR a
        INCRBY a 9223372036854775806
        INCR a
        DECR b
        DECRBY b 9223372036854775807
        DECR b
        DECRBY b -9223372036854775808
        INCRBY b -9223372036854775808
        SET c abc
        INCR c
        SET c " 1"
        INCR c
        SET c 1.0
        INCR c
        INCRBY c 1.5
        INCRBY c abc
        SET c ""
        INCR c
        SET c 99999999999999999999
        INCR c
    """,
    "floats": """
        INCRBYFLOAT a 0.1
        INCRBYFLOAT a 0.2
        INCRBYFLOAT a 1e10
        INCRBYFLOAT a -1e-10
        INCRBYFLOAT a 5.0e3
        SET b 3.0
        INCRBYFLOAT b 1
        SET b 3
        INCRBYFLOAT b 1.00000000000000001
        INCRBYFLOAT b inf
        INCRBYFLOAT b nan
        INCRBYFLOAT b abc
        INCRBYFLOAT b 1e5000
        SET b 1e17
        INCRBYFLOAT b 1
        SET b " 1"
        INCRBYFLOAT b 1
        SET b 17.0000000000000001
        INCRBYFLOAT b -17
    """,
    "ranges": """
        SET a "hello world"
        GETRANGE a 0 -1
        GETRANGE a -5 -1
        GETRANGE a 5 2
        GETRANGE a 0 1000
        GETRANGE a -1000 2
        GETRANGE a -1 -1000
        GETRANGE nothing 0 -1
        SUBSTR a 0 4
        SETRANGE a 6 redis
        GET a
        SETRANGE a 20 x
        GET a
        SETRANGE new 3 x
        GET new
        SETRANGE new 0 ""
        SETRANGE nothing 5 ""
        EXISTS nothing
        SETRANGE a -1 x
        SETRANGE a 536870912 x
        SETRANGE a abc x
        STRLEN a
        STRLEN nothing
        APPEND nothing ""
        EXISTS nothing
        LCS a new
    """,
    "many keys": """
        MSET a 1 b 2 c 3
        MGET a b nothing c
        MSET a 1 b
        MSET
        MSETNX a 1 d 2
        EXISTS d
        MSETNX d 1 e 2 d 3
        MGET d e
        RPUSH list x
        MGET a list
        GETSET a new
        GETSET list x
        GETDEL a
        GETDEL a
        GETDEL list
        GETEX b EX 100
        TTL b
        GETEX b PERSIST
        TTL b
        GETEX b EX 0
        GETEX b EX 10 PERSIST
        GETEX b EXAT 1
        EXISTS b
        GETEX nothing EX 10
        SETEX a 10 x
        SETEX a 0 x
        SETEX a -5 x
        SETEX a abc x
        PSETEX a 100000 y
        PTTL a
        SETNX a z
        SETNX z z
    """,
    "longest common subsequence": """
        SET a ohmytext
        SET b mynewtext
        LCS a b
        LCS a b LEN
        LCS a b IDX
        LCS a b IDX WITHMATCHLEN MINMATCHLEN 4
        LCS a b LEN IDX
        LCS a nothing
        RPUSH l x
        LCS a l
    """,
    "wrong type": """
        RPUSH l x
        GET l
        SET l y
        GET l
        DEL l
        HSET l f v
        INCR l
        APPEND l x
        GETRANGE l 0 1
        SETRANGE l 0 x
        STRLEN l
        INCRBYFLOAT l 1
        GETEX l
        SET l 1 GET
        SETNX l 1
        SETEX l 10 1
        TYPE l
    """,
}

GRAMMAR = [
    "SET {k} {v}", "SET {k} {v} <NX|XX|> <GET|> <EX {t}|PX {t}|KEEPTTL|EX {i}|>", "GET {k}", "GETDEL {k}",
    "GETSET {k} {v}", "GETEX {k} <EX {t}|PERSIST|>", "APPEND {k} {v}", "STRLEN {k}", "INCR {k}", "DECR {k}",
    "INCRBY {k} {i}", "DECRBY {k} {i}", "INCRBYFLOAT {k} {f}", "GETRANGE {k} {i} {i}", "SETRANGE {k} {c} {v}",
    "MGET {k} {k} {k}", "MSET {k} {v} {k} {v}", "MSETNX {k} {v} {k} {v}", "SETNX {k} {v}", "SETEX {k} {t} {v}",
    "PSETEX {k} {t} {v}", "DEL {k}", "EXISTS {k} {k}", "TTL {k}", "OBJECT ENCODING {k}", "RPUSH {k} {v}", "TYPE {k}",
    "LCS {k} {k} <LEN|>",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)
