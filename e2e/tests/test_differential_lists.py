"""Lists: the same commands to ours and to Redis, replies compared."""

import pytest
from harness.differential import SEEDS, run_random

SCRIPTS = {
    "both ends": """
        RPUSH l a b c
        LPUSH l x y z
        LRANGE l 0 -1
        LLEN l
        LPOP l
        RPOP l
        LPOP l 2
        RPOP l 100
        EXISTS l
        LPOP l
        LPOP l 1
        RPUSH l a
        LPOP l 0
        LPOP l -1
        LPOP l abc
        LPUSHX l b
        RPUSHX l c
        LPUSHX nothing b
        RPUSHX nothing b
        LRANGE l 0 -1
        RPUSH l
        LPUSH
    """,
    "ranges and indexes": """
        RPUSH l a b c d e
        LRANGE l 1 3
        LRANGE l -2 -1
        LRANGE l 3 1
        LRANGE l -100 100
        LRANGE l 5 10
        LRANGE nothing 0 -1
        LRANGE l abc 1
        LINDEX l 0
        LINDEX l -1
        LINDEX l 5
        LINDEX l abc
        LINDEX nothing 0
        LSET l 0 A
        LSET l -1 E
        LSET l 5 x
        LSET nothing 0 x
        LSET l abc x
        LTRIM l 1 -2
        LRANGE l 0 -1
        LTRIM l 5 1
        EXISTS l
        LTRIM nothing 0 1
    """,
    "insert, remove, find": """
        RPUSH l a b a c a b
        LINSERT l BEFORE b x
        LINSERT l AFTER b y
        LINSERT l BEFORE nothing x
        LINSERT nothing BEFORE a x
        LINSERT l BETWEEN a x
        LRANGE l 0 -1
        LREM l 1 a
        LREM l -1 a
        LREM l 0 b
        LREM l 0 nothing
        LREM l abc a
        LRANGE l 0 -1
        RPUSH p a b c a b c a
        LPOS p a
        LPOS p nothing
        LPOS p a RANK 2
        LPOS p a RANK -1
        LPOS p a RANK 0
        LPOS p a COUNT 0
        LPOS p a COUNT 2 RANK -1
        LPOS p a COUNT 0 MAXLEN 4
        LPOS p a COUNT -1
        LPOS p a MAXLEN -1
        LPOS nothing a
        LPOS nothing a COUNT 1
    """,
    "moves": """
        RPUSH a 1 2 3
        RPOPLPUSH a b
        RPOPLPUSH a a
        LMOVE a b LEFT RIGHT
        LMOVE a b RIGHT LEFT
        LMOVE nothing b LEFT RIGHT
        LMOVE a b UP DOWN
        LRANGE b 0 -1
        LMPOP 2 nothing b LEFT COUNT 2
        LMPOP 1 nothing LEFT
        LMPOP 0 a LEFT
        LMPOP 1 b LEFT COUNT 0
        LMPOP 2 b LEFT
        LMPOP 1 b MIDDLE
        SET s x
        RPUSH a 1
        RPOPLPUSH a s
        LMOVE a s LEFT LEFT
        LRANGE a 0 -1
        RPOPLPUSH s a
    """,
    "blocking pops that need not wait": """
        RPUSH l a b c
        BLPOP nothing l 1
        BRPOP l 1
        BLMOVE l m LEFT RIGHT 1
        BRPOPLPUSH m n 1
        BLMPOP 1 1 n LEFT
        BLPOP l 0.02
        BRPOP l abc
        BLPOP l -1
        BRPOPLPUSH nothing b 0.02
        BLMOVE nothing b LEFT LEFT 0.02
        BLMPOP 0.02 1 nothing LEFT
    """,
    "blocking pops that wait": """
        2> BLPOP q1 q2 5
        RPUSH q2 a b
        2<
        LRANGE q2 0 -1
        2> BRPOP q3 5
        3> BLPOP q3 5
        PING # the second waiter comes after the first
        RPUSH q3 x
        2<
        RPUSH q3 y
        3<
        EXISTS q3
        2> BLMOVE q4 q5 LEFT RIGHT 5
        RPUSH q4 moved
        2<
        LRANGE q5 0 -1
        2> BLPOP q6 5
        SET q6 string
        DEL q6
        RPUSH q6 list
        2<
        2> BLPOP q7 5
        MULTI
        RPUSH q7 a
        DEL q7
        EXEC
        RPUSH q7 b
        2<
    """,
    "encodings": """
        RPUSH l a
        OBJECT ENCODING l
        RPUSH l {10000*x}
        OBJECT ENCODING l
    """,
    "wrong type": """
        SET s x
        LPUSH s a
        RPUSH s a
        LPOP s
        LLEN s
        LRANGE s 0 1
        LINDEX s 0
        LSET s 0 a
        LREM s 0 a
        LTRIM s 0 1
        LINSERT s BEFORE a b
        LPOS s a
        BLPOP s 1
        LPUSHX s a
        LMPOP 1 s LEFT
    """,
}

GRAMMAR = [
    "RPUSH {k} {v} {v}", "LPUSH {k} {v}", "RPUSH {k} {m} {m} {m}", "LPOP {k}", "RPOP {k}", "LPOP {k} {c}",
    "RPOP {k} {c}", "LLEN {k}", "LRANGE {k} {i} {i}", "LRANGE {k} 0 -1", "LINDEX {k} {i}", "LSET {k} {i} {v}",
    "LREM {k} {i} {m}", "LTRIM {k} {c} -1", "LINSERT {k} <BEFORE|AFTER> {m} {v}", "LPOS {k} {m} <COUNT {c}|RANK 2|RANK -1|RANK 0|>",
    "RPOPLPUSH {k} {k}", "LMOVE {k} {k} <LEFT|RIGHT> <LEFT|RIGHT>", "LMPOP 2 {k} {k} <LEFT|RIGHT> <COUNT {c}|>",
    "LPUSHX {k} {v}", "RPUSHX {k} {v}", "DEL {k}", "SET {k} {v}", "RENAME {k} {k}", "COPY {k} {k} <REPLACE|>",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)
