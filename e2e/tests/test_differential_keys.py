"""Keys and expiry: the same commands to ours and to Redis, replies compared."""

import pytest
from harness.differential import SEEDS, run_random

SCRIPTS = {
    "existence and type": """
        SET a 1
        RPUSH l 1
        SADD s 1
        HSET h f v
        ZADD z 1 m
        EXISTS a l nothing a
        EXISTS
        TYPE a
        TYPE l
        TYPE s
        TYPE h
        TYPE z
        TYPE nothing
        TOUCH a nothing
        DBSIZE
        KEYS *
        KEYS ?
        KEYS nothing
        DEL a l nothing
        UNLINK s h nothing
        DEL
        RANDOMKEY
        DEL z
        RANDOMKEY
        DBSIZE
    """,
    "expiry": """
        SET a 1
        TTL a
        PTTL a
        EXPIRETIME a
        PEXPIRETIME nothing
        TTL nothing
        EXPIRE a 100
        TTL a
        EXPIRE a 200 NX
        EXPIRE a 200 XX
        EXPIRE a 100 GT
        EXPIRE a 50 LT
        TTL a
        EXPIRE a 10 NX XX
        EXPIRE a 10 GT LT
        EXPIRE a 10 WHAT
        EXPIRE a abc
        EXPIRE a 9223372036854775807
        PEXPIRE a 9223372036854775807
        EXPIRE nothing 10
        PERSIST a
        PERSIST a
        PERSIST nothing
        EXPIRE a 10 GT
        EXPIRE a 10 LT
        PEXPIRE a 100000
        PTTL a
        EXPIREAT a 99999999999
        EXPIRETIME a
        PEXPIREAT a 99999999999999
        PEXPIRETIME a
        EXPIRE a 0
        EXISTS a
        SET a 1
        EXPIRE a -1
        EXISTS a
        SET a 1
        EXPIREAT a 1
        EXISTS a
    """,
    "expiry goes with its key": """
        SET a 1 EX 100
        RENAME a b
        TTL b
        COPY b c
        TTL c
        SET b 2
        TTL b
        HSET h f v
        EXPIRE h 100
        HSET h f w
        TTL h
        PERSIST h
        TTL h
        GETSET c x
        TTL c
    """,
    "rename and copy": """
        SET a 1
        RENAME a b
        RENAME a c
        RENAME b b
        SET c 2
        RENAMENX b c
        RENAMENX b d
        RENAMENX d d
        RENAMENX nothing x
        COPY d e
        COPY d e
        COPY d c REPLACE
        COPY d d
        COPY nothing x
        COPY d f DB 1
        COPY d d DB 1
        COPY d x DB 99
        COPY d x WHAT
        SELECT 1
        MGET d f
        FLUSHDB
        SELECT 0
        MGET c d e
    """,
    "databases": """
        SET a 0
        SELECT 1
        GET a
        SET a 1
        DBSIZE
        SELECT 0
        MOVE a 1
        MOVE a 0
        MOVE a 99
        MOVE a abc
        MOVE nothing 2
        MOVE a 2
        EXISTS a
        SWAPDB 1 2
        SELECT 2
        GET a
        SELECT 16
        SELECT -1
        SELECT abc
        GET a
        SWAPDB 0 99
        FLUSHDB
        FLUSHALL
        FLUSHALL ASYNC
        FLUSHDB SYNC
        FLUSHALL WHAT
        SELECT 0
    """,
    "object": """
        SET a 1
        OBJECT REFCOUNT b
        OBJECT ENCODING nothing
        OBJECT IDLETIME a
        OBJECT FREQ a
        OBJECT WHAT a
        OBJECT ENCODING
    """,
    "scan": """
        SET a 1
        SCAN 0
        SCAN 0 MATCH a COUNT 10
        SCAN 0 TYPE string
        SCAN 0 TYPE list
        SCAN 0 TYPE what
        SCAN abc
        SCAN 0 COUNT 0
        SCAN 0 MATCH
        SCAN 0 WHAT
    """,
    "patterns": """
        MSET abc 1 abd 1 aec 1 "a*c" 1 "[x]" 1 "" 1
        KEYS a?c
        KEYS a[be]c
        KEYS a[^b]c
        KEYS a[a-d]c
        KEYS a\\\\*c
        KEYS "\\\\[x\\\\]"
        KEYS [
        KEYS ""
        KEYS *
        KEYS a*c
        KEYS **c
    """,
    "sort": """
        RPUSH l 3 1 2 10
        SORT l
        SORT l DESC
        SORT l ALPHA
        SORT l LIMIT 1 2
        SORT l LIMIT 0 -1
        MSET w_1 9 w_2 8 w_3 7 w_10 6
        SORT l BY w_*
        SORT l BY w_* GET # GET w_*
        SORT l BY nosort
        SORT l GET nothing_*
        HSET o_1 f a
        SORT l GET o_*->f
        SORT l STORE d
        LRANGE d 0 -1
        SORT nothing
        SORT nothing STORE d
        EXISTS d
        RPUSH t b a
        SORT t
        SORT_RO l
        SORT_RO l STORE x
        SET s x
        SORT s
        SORT l WHAT
    """,
    "unknown and malformed commands": """
        NOSUCHCOMMAND
        NOSUCHCOMMAND a b c
        nosuchcommand {200*x} y
        GET
        GET a b
        get
        EXPIRE a
        OBJECT
        CONFIG
        CONFIG WHAT
        CONFIG GET
        CLIENT WHAT
        COMMAND WHAT
        DEBUG
        "" a
        PING a b
        ECHO
        ECHO x
        PING
        PING hello
    """,
    "big and empty arguments": """
        SET "" ""
        GET ""
        SET {300000*k} {600000*v}
        STRLEN {300000*k}
        EXISTS {300000*k}
        DEL {300000*k} ""
        SET "a b" "\\r\\n\\x00"
        GET "a b"
        TYPE ""
    """,
}

GRAMMAR = [
    "SET {k} {v} <EX {t}|>", "RPUSH {k} {v} {m}", "SADD {k} {m} {m}", "HSET {k} {m} {v}", "ZADD {k} {s} {m}",
    "EXPIRE {k} {t} <NX|XX|GT|LT|>", "PEXPIRE {k} {t}", "EXPIRE {k} {i}", "EXPIREAT {k} 99999999999", "PERSIST {k}",
    "TTL {k}", "PTTL {k}", "EXPIRETIME {k}", "TYPE {k}", "EXISTS {k} {k}", "DEL {k}", "UNLINK {k} {k}",
    "RENAME {k} {k}", "RENAMENX {k} {k}", "COPY {k} {k} <REPLACE|>", "KEYS {p}", "DBSIZE", "TOUCH {k} {k}",
    "OBJECT ENCODING {k}", "SWAPDB 0 0", "GETEX {k} PERSIST",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)
