"""Streams: the same commands to ours and to Redis, replies compared; what is passed on; files and payloads both ways."""

import shutil

import pytest
from harness import resp
from harness.differential import SEEDS, Generator, Pair, run_random, words
from harness.wait import until

SCRIPTS = {
    "adding": """
        XADD s 1-1 a 1 b 2
        XADD s 1-1 a 1
        XADD s 1-0 a 1
        XADD s 1-* a 1
        XADD s 1-* a 1
        XADD s 2 a 1
        XADD s 2-* c x
        XADD s 1-* a 1
        XADD s 0-0 a 1
        XADD t 0-* a 1
        XADD t 0-* a 1
        XADD u 0 a 1
        EXISTS u
        XADD u 0-0 a 1
        XADD u 5-18446744073709551615 a 1
        XADD u 5-* a 1
        XADD u 6-* a 1
        XADD u 18446744073709551615-18446744073709551615 a 1
        XADD u * a 1
        XADD u 18446744073709551615-* a 1
        XADD s 3-1 a
        XADD s 3-1 a 1 b
        XADD s 3-1
        XADD s
        XADD s x a 1
        XADD s - a 1
        XADD s + a 1
        XADD s *-* a 1
        XADD s 5-x a 1
        XADD s 5- a 1
        XADD s -5 a 1
        XADD s 18446744073709551616 a 1
        XADD s " 7" a 1
        XADD s +8 a 1
        XADD s 09-010 a 1
        XADD s 10--0 a 1
        XADD s " -5" a 1
        XADD s "11\\x00x" a 1
        XADD s {130*1} a 1
        XADD n NOMKSTREAM 1-1 a 1
        EXISTS n
        XADD n nomkstream 1-1 a
        XADD s NOMKSTREAM 12345678901234567890 a 1
        XADD e 1-1 "" ""
        XADD e 2-1 a "" b "" a ""
        XADD e 3-1 n 123456789 m -70000 "\\x00" {70*y}
        XADD e 4-1 {5000*f} {5000*v}
        XADD e 5-1 n 1
        XRANGE e - +
        XLEN s
        XLEN nothing
        XLEN
        TYPE s
        OBJECT ENCODING s
        DEL e t u
        SCAN 0 TYPE stream COUNT 1000
        SCAN 0 TYPE string COUNT 1000
    """,
    "options of adding": """
        XADD s MAXLEN 2 1 a 1
        XADD s MAXLEN = 2 2 a 1
        XADD s maxlen 2 3 a 1
        XADD s MAXLEN 0 4 a 1
        XLEN s
        XADD s MAXLEN -1 4 a 1
        XADD s MAXLEN x 4 a 1
        XADD s MAXLEN ~ -1 4 a 1
        XADD s MAXLEN ~ 2 5 a 1
        XADD s MAXLEN ~ 2 LIMIT 5 6 a 1
        XADD s MAXLEN ~ 2 LIMIT -5 7 a 1
        XADD s MAXLEN ~ 2 LIMIT x 7 a 1
        XADD s MAXLEN 2 LIMIT 5 7 a 1
        XADD s MAXLEN = 2 LIMIT 0 7 a 1
        XADD s LIMIT 5 7 a 1
        XADD s LIMIT 0 7 a 1
        XADD s MAXLEN 2 MINID 3 8 a 1
        XADD s MINID 2 MAXLEN 3 8 a 1
        XADD s MAXLEN 2 MAXLEN 3 8 a 1
        XADD s MINID 6 8 a 1
        XADD s MINID = 7-1 9 a 1
        XADD s MINID ~ 7-1 10 a 1
        XADD s MINID x 11 a 1
        XADD s MINID - 11 a 1
        XADD s MINID 11
        XADD s MAXLEN
        XADD s MAXLEN 3 NOMKSTREAM 4 5
        XADD s MAXLEN 3 NOMKSTREAM 4
        XADD s MAXLEN ~ 12 a 1
        XADD s MAXLEN = = 12 a 1
        XADD none NOMKSTREAM MAXLEN 3 1 a 1
        XADD maxlen 13 maxlen 1
        XRANGE s - +
        XINFO STREAM s
        XRANGE maxlen - +
    """,
    "ranges": """
        XADD s 1-1 a 1
        XADD s 1-2 a 2
        XADD s 2-1 b 3
        XADD s 3-0 a 4 b 5
        XADD s 5-5 a 6
        XRANGE s - +
        XREVRANGE s + -
        XRANGE s 1 1
        XRANGE s 1-2 3
        XRANGE s (1-1 (3
        XRANGE s (1 +
        XRANGE s - (1-2
        XRANGE s (5-5 +
        XREVRANGE s (3 (1-1
        XREVRANGE s 3 1 COUNT 2
        XREVRANGE s - +
        XRANGE s + -
        XRANGE s 3 1
        XRANGE s - + COUNT 2
        XRANGE s - + COUNT 0
        XRANGE s - + COUNT -1
        XRANGE s - + COUNT -5
        XRANGE s - + COUNT x
        XRANGE s - + COUNT
        XRANGE s - + COUNT 1 COUNT 3
        XRANGE s - + WHAT 1
        XRANGE s (- +
        XRANGE s - (+
        XRANGE s ( +
        XRANGE s x +
        XRANGE s - x
        XRANGE s 1-* +
        XRANGE s (18446744073709551615-18446744073709551615 +
        XRANGE s - (0-0
        XRANGE s - (0
        XRANGE s (x (y
        XRANGE nothing - +
        XRANGE nothing - + COUNT 0
        XRANGE nothing x +
        XRANGE s -
    """,
    "removing": """
        XADD s 1-1 a 1
        XADD s 1-2 a 2
        XADD s 2-1 b 3
        XADD s 3-0 a 4
        XDEL s 1-2 9-9 2-1
        XDEL s 1-2
        XINFO STREAM s
        XDEL s 1-1 1-1
        XINFO STREAM s
        XDEL s 3-0
        XINFO STREAM s
        XLEN s
        EXISTS s
        XADD s 3-0 a 1
        XADD s 3-1 a 1
        XDEL s x
        XDEL s 3-1 x
        XLEN s
        XDEL nothing x
        XDEL nothing 1
        XDEL s
        XRANGE s - +
        XINFO STREAM s FULL
    """,
    "trimming": """
        CONFIG SET stream-node-max-entries 3
        XADD s 1 a 1
        XADD s 2 a 1
        XADD s 3 a 1
        XADD s 4 a 1
        XADD s 5 a 1
        XADD s 6 a 1
        XADD s 7 a 1
        XADD s 8 a 1
        XINFO STREAM s
        XTRIM s MAXLEN 100
        XTRIM s MAXLEN ~ 6
        XTRIM s MAXLEN ~ 5
        XINFO STREAM s
        XTRIM s MAXLEN 4
        XINFO STREAM s
        XTRIM s MINID 6
        XINFO STREAM s
        XTRIM s MINID ~ 8
        XTRIM s MINID 7-1
        XINFO STREAM s
        XDEL s 8
        XINFO STREAM s
        XADD s 9 a 1
        XADD s 10 b 1
        XADD s 11 b 1
        XADD s 12 a 1
        XADD s 13 a 1
        XTRIM s MAXLEN ~ 0 LIMIT 1
        XTRIM s MAXLEN ~ 0 LIMIT 2
        XTRIM s MAXLEN ~ 0 LIMIT 3
        XTRIM s MAXLEN ~ 1 LIMIT 0
        XTRIM s MAXLEN 0
        XINFO STREAM s
        XTRIM s
        XTRIM s MAXLEN
        XTRIM s MAXLEN x
        XTRIM s MAXLEN -1
        XTRIM s MAXLEN 1 LIMIT 5
        XTRIM s LIMIT 5
        XTRIM s LIMIT 0 LIMIT 0
        XTRIM s LIMIT 5 MAXLEN
        XTRIM s WHAT 1
        XTRIM s MAXLEN 1 MINID 1
        XTRIM nothing MAXLEN 1
        XTRIM nothing MAXLEN x
        XADD s 14 a 1
        XADD s 15 a 1
        XADD s 16 a 1
        XADD s 17 a 1
        XDEL s 16
        XTRIM s MINID 16
        XINFO STREAM s
        XDEL s 17
        XTRIM s MINID = 99
        XINFO STREAM s FULL
        CONFIG SET stream-node-max-entries 100
    """,
    "nodes by size": """
        CONFIG SET stream-node-max-bytes 200
        XADD s 1-1 a {100*x}
        XADD s 1-2 a {50*x}
        XADD s 1-3 a {40*x}
        XADD s 2-1 a {400*x}
        XADD s 2-2 a 1
        XADD s 1000-1 a 1
        XADD s 1000-2 a 1
        XADD s 100000-2 a {180*x}
        XADD s 18446744073709551614-5 a {190*x}
        XADD s 18446744073709551614-7 b {90*x}
        XADD s 18446744073709551615-2 b {90*x}
        XINFO STREAM s
        XREVRANGE s + - COUNT 4
        XDEL s 1-1 1-2
        XDEL s 2-1
        XINFO STREAM s
        CONFIG SET stream-node-max-bytes 0
        CONFIG SET stream-node-max-entries 0
        XADD t 1-1 a {3000*x}
        XADD t 1-2 a {3000*x}
        XADD t 1-3 a {3000*x}
        XTRIM t MAXLEN ~ 1
        XINFO STREAM t
        CONFIG SET stream-node-max-bytes 4096
        CONFIG SET stream-node-max-entries 100
    """,
    "last id": """
        XSETID nothing 1-1
        XADD s 5-1 a 1
        XSETID s 5-1
        XSETID s 5-0
        XSETID s 9
        XADD s 8-1 a 1
        XADD s 9-1 a 1
        XSETID s x
        XSETID s -
        XSETID s 10 ENTRIESADDED 1
        XSETID s 10 ENTRIESADDED -1
        XSETID s 10 ENTRIESADDED x
        XSETID s 10 ENTRIESADDED 100 MAXDELETEDID 11
        XSETID s 10 ENTRIESADDED 100 MAXDELETEDID 8-5
        XINFO STREAM s
        XSETID s 10 MAXDELETEDID 0-0
        XINFO STREAM s
        XSETID s 10 ENTRIESADDED
        XSETID s 10 WHAT 1
        XSETID s 9-1 MAXDELETEDID 9-1 entriesadded 7 ENTRIESADDED 8
        XDEL s 9-1
        XSETID s 9
        XSETID s 9-0 MAXDELETEDID x
        XDEL s 5-1
        XSETID s 9-1 ENTRIESADDED 0
        XINFO STREAM s
        XSETID s 0-0
        XSETID
    """,
    "reading": """
        XADD a 1-1 f 1
        XADD a 2-1 f 2
        XADD a 3-1 f 3
        XADD b 1-1 g 1
        XREAD STREAMS a 0
        XREAD STREAMS a 1-1
        XREAD COUNT 1 STREAMS a b 0 0
        XREAD count 0 streams a b 3-1 0
        XREAD COUNT -1 STREAMS a 0
        XREAD STREAMS a b 3-1 1-1
        XREAD STREAMS a $
        XREAD STREAMS nothing 0
        XREAD STREAMS nothing a $ 2
        XREAD STREAMS a a 0 2
        XREAD BLOCK 10 STREAMS a $
        XREAD BLOCK 10 COUNT 1 STREAMS a 0
        XREAD STREAMS a 18446744073709551615-18446744073709551615
        XREAD STREAMS a
        XREAD STREAMS a b 1
        XREAD STREAMS
        XREAD COUNT 1
        XREAD COUNT x STREAMS a 0
        XREAD BLOCK x STREAMS a 0
        XREAD BLOCK -1 STREAMS a 0
        XREAD BLOCK 9223372036854775807 STREAMS a 0
        XREAD BLOCK 1.5 STREAMS a 0
        XREAD WHAT STREAMS a 0
        XREAD STREAMS a >
        XREAD STREAMS a +
        XREAD STREAMS a -
        XREAD STREAMS a x
        XREAD STREAMS nothing x
        XREAD GROUP g c STREAMS a 0
        XREAD NOACK STREAMS a 0
        XREAD COUNT 1 BLOCK
        XDEL a 3-1
        XREAD STREAMS a 2-1
        XDEL a 1-1 2-1
        XREAD STREAMS a 0
        MULTI
        XREAD BLOCK 0 STREAMS a $
        XREAD BLOCK 0 STREAMS b 0
        EXEC
    """,
    "groups": """
        XGROUP CREATE s g 0
        XGROUP CREATE s g $ MKSTREAM
        XGROUP CREATE s g 0
        XGROUP CREATE s g 0 MKSTREAM
        TYPE s
        XLEN s
        XADD s 1-1 a 1
        XADD s 2-1 a 2
        XADD s 3-1 a 3
        XGROUP CREATE s h $
        XGROUP CREATE s i 2
        XGROUP CREATE s j 2 ENTRIESREAD 2
        XGROUP CREATE s k - 
        XGROUP CREATE s k +
        XGROUP CREATE s k x
        XGROUP CREATE s k
        XGROUP CREATE s k 0 WHAT
        XGROUP CREATE s k 0 ENTRIESREAD
        XGROUP CREATE s k 0 ENTRIESREAD x
        XGROUP CREATE s k 0 ENTRIESREAD -2
        XGROUP CREATE s k 0 ENTRIESREAD -1
        XGROUP CREATE s l 0 entriesread 5 mkstream
        XGROUP CREATE s m 0 MKSTREAM MKSTREAM MKSTREAM
        XGROUP CREATE s n 0 MKSTREAM MKSTREAM MKSTREAM MKSTREAM
        XGROUP CREATE new x y MKSTREAM
        EXISTS new
        XINFO GROUPS s
        XGROUP SETID s g 2-1
        XGROUP SETID s g $
        XGROUP SETID s g -
        XGROUP SETID s g +
        XGROUP SETID s g x
        XGROUP SETID s g 1 ENTRIESREAD 1
        XGROUP SETID s g 1 ENTRIESREAD -3
        XGROUP SETID s g 1 MKSTREAM
        XGROUP SETID s g 1 ENTRIESREAD 1 ENTRIESREAD 2
        XGROUP SETID s none 0
        XGROUP SETID none g 0
        XGROUP SETID s g
        XINFO GROUPS s
        XGROUP CREATECONSUMER s g alice
        XGROUP CREATECONSUMER s g alice
        XGROUP CREATECONSUMER s g bob
        XGROUP CREATECONSUMER s none bob
        XGROUP CREATECONSUMER none g bob
        XGROUP CREATECONSUMER s g
        XGROUP CREATECONSUMER s g a b
        XINFO CONSUMERS s g
        XINFO CONSUMERS s none
        XINFO CONSUMERS none g
        XINFO CONSUMERS s
        XINFO GROUPS none
        XINFO GROUPS
        XINFO STREAM none
        XGROUP DELCONSUMER s g alice
        XGROUP DELCONSUMER s g alice
        XGROUP DELCONSUMER s none alice
        XGROUP DELCONSUMER none g alice
        XGROUP DESTROY s h
        XGROUP DESTROY s h
        XGROUP DESTROY none h
        XGROUP DESTROY s
        XGROUP WHAT s g
        XGROUP
        XINFO
        XINFO WHAT s
        XINFO HELP x
        XINFO STREAM s FULL
        XINFO STREAM s FULL COUNT 1
        XINFO STREAM s FULL COUNT 0
        XINFO STREAM s FULL COUNT -1
        XINFO STREAM s FULL COUNT x
        XINFO STREAM s FULL COUNT
        XINFO STREAM s FULL WHAT 1
        XINFO STREAM s WHAT
        XINFO STREAM s WHAT COUNT 1
    """,
    "reading in groups": """
        XADD s 1-1 a 1
        XADD s 2-1 a 2
        XADD s 3-1 a 3
        XADD s 4-1 a 4
        XADD s 5-1 a 5
        XGROUP CREATE s g 0
        XREADGROUP GROUP g alice STREAMS s 0
        XREADGROUP GROUP g alice COUNT 2 STREAMS s >
        XREADGROUP GROUP g bob COUNT 1 STREAMS s >
        XINFO GROUPS s
        XINFO CONSUMERS s g
        XPENDING s g
        XPENDING s g - + 10
        XPENDING s g - + 10 alice
        XPENDING s g - + 1 alice
        XPENDING s g - + 10 nobody
        XPENDING s g 2 2 10
        XPENDING s g (1-1 (3-1 10
        XPENDING s g + - 10
        XPENDING s g - + 0
        XPENDING s g - + -1
        XPENDING s g IDLE 0 - + 10
        XPENDING s g IDLE 100000 - + 10
        XPENDING s g IDLE -5 - + 10 alice
        XPENDING s g IDLE x - + 10
        XPENDING s g IDLE 5 - +
        XPENDING s g - + x
        XPENDING s g x + 10
        XPENDING s g - x 10
        XPENDING s g (18446744073709551615-18446744073709551615 + 10
        XPENDING s g - (0-0 10
        XPENDING s g -
        XPENDING s g - +
        XPENDING s g - + 10 alice extra
        XPENDING s g - + 10 alice extra more
        XPENDING s g - + 10 alice extra more most
        XPENDING s none
        XPENDING none g
        XPENDING none g x
        XREADGROUP GROUP g alice STREAMS s 0
        XREADGROUP GROUP g alice COUNT 1 STREAMS s 0
        XREADGROUP GROUP g alice STREAMS s 1-1
        XREADGROUP GROUP g alice STREAMS s 18446744073709551615-18446744073709551615
        XPENDING s g - + 10
        XREADGROUP GROUP g carol NOACK STREAMS s >
        XREADGROUP GROUP g carol STREAMS s >
        XREADGROUP GROUP g carol NOACK STREAMS s 0
        XPENDING s g
        XACK s g 1-1
        XACK s g 1-1 2-1 9-9
        XACK s g x
        XACK s none 1-1
        XACK none g x
        XACK s g
        XPENDING s g
        XDEL s 3-1
        XREADGROUP GROUP g alice STREAMS s 0
        XREADGROUP GROUP g bob STREAMS s 0
        XGROUP SETID s g 0
        XREADGROUP GROUP g alice STREAMS s >
        XREADGROUP GROUP g bob STREAMS s 0
        XINFO STREAM s FULL
        XGROUP DELCONSUMER s g alice
        XPENDING s g
        XREADGROUP GROUP none alice STREAMS s >
        XREADGROUP GROUP g alice STREAMS none >
        XREADGROUP GROUP g alice STREAMS s none > >
        XREADGROUP GROUP g alice STREAMS s $
        XREADGROUP GROUP g alice STREAMS s x
        XREADGROUP GROUP g alice STREAMS s +
        XREADGROUP GROUP g alice STREAMS s
        XREADGROUP GROUP g alice STREAMS s t >
        XREADGROUP GROUP g alice COUNT 5 WHAT STREAMS s >
        XREADGROUP COUNT 5 BLOCK 5 STREAMS s >
        XREADGROUP GROUP g
        XREADGROUP STREAMS s > NOACK GROUP g alice
        XREADGROUP GROUP g alice BLOCK 10 STREAMS s >
        XREADGROUP GROUP g alice BLOCK x STREAMS s >
        XREADGROUP GROUP g alice BLOCK -1 STREAMS s >
        XREADGROUP GROUP streams streams STREAMS s >
        MULTI
        XREADGROUP GROUP g alice BLOCK 0 STREAMS s >
        EXEC
    """,
    "several streams in a group": """
        XADD a 1-1 f 1
        XADD a 2-1 f 1
        XADD b 1-1 f 1
        XGROUP CREATE a g 0
        XGROUP CREATE b g 0
        XGROUP CREATE c g 0 MKSTREAM
        XREADGROUP GROUP g x COUNT 1 STREAMS a b c > > >
        XREADGROUP GROUP g x STREAMS a b c > > >
        XREADGROUP GROUP g x STREAMS a b c > > >
        XREADGROUP GROUP g x STREAMS a b c 0 > 0
        XREADGROUP GROUP g x BLOCK 10 STREAMS a b c > > >
    """,
    "claiming": """
        XADD s 1-1 a 1
        XADD s 2-1 a 2
        XADD s 3-1 a 3
        XADD s 4-1 a 4
        XGROUP CREATE s g 0
        XREADGROUP GROUP g alice COUNT 3 STREAMS s >
        XCLAIM s g bob 0 1-1
        XCLAIM s g bob 0 1-1 2-1 JUSTID
        XCLAIM s g bob 100000 3-1
        XCLAIM s g bob 0 4-1
        XCLAIM s g bob 0 4-1 FORCE
        XCLAIM s g carol 0 4-1 9-9 FORCE JUSTID
        XPENDING s g - + 10
        XCLAIM s g bob 0 3 RETRYCOUNT 7
        XCLAIM s g bob 0 3-1 RETRYCOUNT 7 JUSTID
        XCLAIM s g bob 0 3-1 RETRYCOUNT -7
        XCLAIM s g bob 0 3-1 RETRYCOUNT 0
        XCLAIM s g bob 0 3-1 IDLE 5000000
        XCLAIM s g bob -5 3-1 IDLE -5000000
        XCLAIM s g bob 0 3-1 IDLE -9223372036854775808
        XCLAIM s g bob 0 3-1 TIME 1000
        XPENDING s g IDLE 1000000 - + 10
        XCLAIM s g bob 1000000 3-1 TIME -1
        XCLAIM s g bob 0 3-1 TIME 99999999999999
        XCLAIM s g bob 0 3-1 LASTID 3-5
        XINFO GROUPS s
        XCLAIM s g bob 0 3-1 LASTID 2-5
        XCLAIM s g bob 0 LASTID 5-5
        XCLAIM s g bob 0 9-9 LASTID 5-5
        XCLAIM s g dave 0 FORCE
        XINFO GROUPS s
        XINFO CONSUMERS s g
        XDEL s 1-1
        XCLAIM s g bob 0 1-1
        XCLAIM s g bob 0 1-1 FORCE
        XPENDING s g - + 10
        XCLAIM s g bob x 1-1
        XCLAIM s g bob 0 x
        XCLAIM s g bob 0 1-1 WHAT
        XCLAIM s g bob 0 1-1 IDLE
        XCLAIM s g bob 0 1-1 IDLE x
        XCLAIM s g bob 0 1-1 TIME x
        XCLAIM s g bob 0 1-1 RETRYCOUNT x
        XCLAIM s g bob 0 1-1 LASTID x
        XCLAIM s g bob 0 1-1 JUSTID 2-1
        XCLAIM s g bob 0
        XCLAIM s none bob 0 1-1
        XCLAIM none g bob x 1-1
        XINFO STREAM s FULL
    """,
    "claiming what there is": """
        XADD s 1-1 a 1
        XADD s 2-1 a 2
        XADD s 3-1 a 3
        XADD s 4-1 a 4
        XADD s 5-1 a 5
        XGROUP CREATE s g 0
        XREADGROUP GROUP g alice STREAMS s >
        XAUTOCLAIM s g bob 0 0 COUNT 2
        XAUTOCLAIM s g bob 0 2-2 COUNT 2 JUSTID
        XAUTOCLAIM s g bob 0 (4-1
        XAUTOCLAIM s g carol 100000 0
        XPENDING s g - + 10
        XDEL s 2-1 4-1
        XAUTOCLAIM s g carol 0 - COUNT 2
        XAUTOCLAIM s g carol 0 2-2 COUNT 2
        XAUTOCLAIM s g carol 0 +
        XPENDING s g - + 10
        XAUTOCLAIM s g carol 0 0
        XAUTOCLAIM s g carol 0 0 COUNT 0
        XAUTOCLAIM s g carol 0 0 COUNT -1
        XAUTOCLAIM s g carol 0 0 COUNT x
        XAUTOCLAIM s g carol 0 0 COUNT 9223372036854775807
        XAUTOCLAIM s g carol 0 0 COUNT
        XAUTOCLAIM s g carol 0 0 WHAT
        XAUTOCLAIM s g carol 0 x
        XAUTOCLAIM s g carol 0 (x
        XAUTOCLAIM s g carol 0 (18446744073709551615-18446744073709551615
        XAUTOCLAIM s g carol x 0
        XAUTOCLAIM s g carol -1 0
        XAUTOCLAIM s g carol 0
        XAUTOCLAIM s none carol 0 0
        XAUTOCLAIM none g carol x 0
        XAUTOCLAIM none g carol 0 0
        XINFO STREAM s FULL
    """,
    "tries of claiming what there is": """
        XGROUP CREATE s g 0 MKSTREAM
        XADD s 1 a 1
        XADD s 2 a 1
        XADD s 3 a 1
        XADD s 4 a 1
        XADD s 5 a 1
        XADD s 6 a 1
        XADD s 7 a 1
        XADD s 8 a 1
        XADD s 9 a 1
        XADD s 10 a 1
        XADD s 11 a 1
        XADD s 12 a 1
        XREADGROUP GROUP g alice STREAMS s >
        XAUTOCLAIM s g bob 100000 0 COUNT 1
        XAUTOCLAIM s g bob 100000 11 COUNT 1
    """,
    "lag": """
        XGROUP CREATE s g 0 MKSTREAM
        XINFO GROUPS s
        XADD s 1 a 1
        XADD s 2 a 1
        XADD s 3 a 1
        XADD s 4 a 1
        XADD s 5 a 1
        XINFO GROUPS s
        XREADGROUP GROUP g a COUNT 1 STREAMS s >
        XINFO GROUPS s
        XGROUP CREATE s mid 3
        XGROUP CREATE s first 1
        XGROUP CREATE s last 5
        XGROUP CREATE s before 0-5
        XGROUP CREATE s beyond 9
        XGROUP CREATE s told 3 ENTRIESREAD 3
        XINFO GROUPS s
        XDEL s 4
        XINFO GROUPS s
        XREADGROUP GROUP g a COUNT 1 STREAMS s >
        XREADGROUP GROUP mid a COUNT 1 STREAMS s >
        XREADGROUP GROUP told a COUNT 1 STREAMS s >
        XREADGROUP GROUP first a COUNT 1 STREAMS s >
        XREADGROUP GROUP beyond a COUNT 1 STREAMS s >
        XINFO GROUPS s
        XTRIM s MAXLEN 1
        XINFO GROUPS s
        XADD s 6 a 1
        XADD s 7 a 1
        XINFO GROUPS s
        XREADGROUP GROUP before a COUNT 1 STREAMS s >
        XINFO GROUPS s
        XTRIM s MAXLEN 0
        XINFO GROUPS s
        XADD s 8 a 1
        XINFO GROUPS s
        XSETID s 10 ENTRIESADDED 100
        XINFO GROUPS s
        XDEL s 8
        XINFO GROUPS s
        XINFO STREAM s FULL
    """,
    "readers that wait": """
        XADD a 1-1 f 0
        2> XREAD BLOCK 5000 STREAMS a b $ $
        3> XREAD BLOCK 5000 COUNT 1 STREAMS b a 0 $
        4> XREAD BLOCK 5000 STREAMS a 100
        PING
        XADD a 2-1 f 1
        2<
        3<
        XADD a 101-1 f 1
        4<
        2> XREAD BLOCK 5000 STREAMS a b $ $
        PING
        MULTI
        XADD b 1-1 f 1
        XADD b 1-2 f 1
        XADD a 102-1 f 1
        EXEC
        2<
        2> XREAD BLOCK 5000 STREAMS c 0
        PING
        MULTI
        XADD c 1-1 f 1
        XDEL c 1-1
        EXEC
        2<
        2> XREAD BLOCK 5000 STREAMS d $
        PING
        SET d x
        DEL d
        RPUSH d x
        DEL d
        XADD d 1-1 a 1
        2<
        2> XREAD BLOCK 5000 STREAMS e $
        PING
        XADD f 5-5 a 1
        RENAME f e
        2<
        2> XREAD BLOCK 5000 STREAMS e $
        PING
        DEL e
        XADD e 5-6 a 1
        2<
        2> XREAD BLOCK 100 STREAMS e $
        2<
    """,
    "consumers that wait": """
        XGROUP CREATE s g $ MKSTREAM
        XGROUP CREATE t g $ MKSTREAM
        2> XREADGROUP GROUP g alice BLOCK 5000 STREAMS s t > >
        3> XREADGROUP GROUP g bob BLOCK 5000 COUNT 1 STREAMS s >
        4> XREADGROUP GROUP g carol BLOCK 5000 NOACK STREAMS t >
        PING
        XADD s 1-1 a 1
        2<
        XADD s 2-1 a 2
        3<
        XADD t 1-1 a 1
        4<
        XINFO STREAM s FULL
        XINFO STREAM t FULL
        2> XREADGROUP GROUP g alice BLOCK 5000 STREAMS s >
        3> XREADGROUP GROUP g bob BLOCK 5000 STREAMS s >
        4> XREADGROUP GROUP g dave BLOCK 5000 STREAMS s >
        PING
        MULTI
        XADD s 3-1 a 1
        XADD s 4-1 a 1
        EXEC
        2<
        XADD s 5-1 a 1
        3<
        XGROUP DESTROY s g
        4<
        XINFO STREAM s FULL
    """,
    "waiting consumers lose their stream": """
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        DEL s
        2<
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        SET s x
        2<
        DEL s
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        UNLINK s
        2<
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        RENAME s t
        2<
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS t >
        PING
        FLUSHALL
        2<
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        FLUSHDB
        2<
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        SWAPDB 0 1
        2<
        SWAPDB 0 1
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        PEXPIRE s 1
        2<
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        MULTI
        DEL s
        SADD s x
        EXEC
        2<
        DEL s
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        MULTI
        DEL s
        XADD s 1-1 a 1
        EXEC
        2<
        DEL s
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        MULTI
        DEL s
        XGROUP CREATE s g 0 MKSTREAM
        XADD s 1-1 a 1
        EXEC
        2<
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        PING
        MOVE s 1
        2<
        2> SELECT 1
        2<
        2> XREADGROUP GROUP g a BLOCK 5000 STREAMS s >
        FLUSHALL
        2<
    """,
    "waiting in vain": """
        XGROUP CREATE s g $ MKSTREAM
        2> XREADGROUP GROUP g a BLOCK 50 STREAMS s >
        2<
        XINFO STREAM s FULL
        2> XREAD BLOCK 50 STREAMS s $
        2<
    """,
    "wrong type": """
        SET s x
        XADD s 1-1 a 1
        XADD s NOMKSTREAM 1-1 a 1
        XADD s 0-0 a 1
        XLEN s
        XRANGE s - +
        XREVRANGE s + -
        XDEL s 1-1
        XDEL s x
        XTRIM s MAXLEN 1
        XSETID s 1-1
        XREAD STREAMS s 0
        XREAD STREAMS none s 0 0
        XREADGROUP GROUP g a STREAMS s >
        XGROUP CREATE s g 0 MKSTREAM
        XGROUP SETID s g 0
        XGROUP DESTROY s g
        XGROUP CREATECONSUMER s g c
        XGROUP DELCONSUMER s g c
        XACK s g 1-1
        XPENDING s g
        XPENDING s g - + 10
        XCLAIM s g c 0 1-1
        XAUTOCLAIM s g c 0 0
        XINFO STREAM s
        XINFO GROUPS s
        XINFO CONSUMERS s g
        XADD t 1-1 a 1
        GET t
        LPUSH t x
        SORT t
        APPEND t x
        STRLEN t
        INCR t
        SADD t x
        ZADD t 1 x
        HSET t a b
    """,
    "keys of streams": """
        XADD s 1-1 a 1
        XADD s 2-1 a 2
        XGROUP CREATE s g 0
        XREADGROUP GROUP g c COUNT 1 STREAMS s >
        COPY s t
        XADD s 3-1 a 1
        XACK s g 1-1
        XINFO STREAM t FULL
        RENAME t u
        XINFO STREAM u FULL
        EXPIRE u 1000
        XADD u 5 a 1
        TTL u
        PERSIST u
        MOVE u 1
        EXISTS u
        SELECT 1
        XINFO STREAM u FULL
        SELECT 0
        TYPE s
        DEL s
        EXISTS s
        XADD s 1-1 a 1
        UNLINK s
        XADD w 1 a 1
        WATCH w
        XADD w 2 a 1
        MULTI
        PING
        EXEC
        XGROUP CREATE w g 0
        WATCH w
        XGROUP CREATE w h 0
        MULTI
        PING
        EXEC
        WATCH x
        XGROUP CREATE x h 0 MKSTREAM
        MULTI
        PING
        EXEC
        WATCH w
        XREADGROUP GROUP g a COUNT 1 STREAMS w >
        MULTI
        PING
        EXEC
        WATCH w
        XACK w g 1
        MULTI
        PING
        EXEC
        WATCH w
        XCLAIM w g b 0 2 FORCE
        MULTI
        PING
        EXEC
        WATCH w
        XAUTOCLAIM w g b 0 0
        MULTI
        PING
        EXEC
        WATCH w
        XGROUP CREATECONSUMER w g zoe
        MULTI
        PING
        EXEC
        WATCH w
        XGROUP DELCONSUMER w g zoe
        MULTI
        PING
        EXEC
        WATCH w
        XGROUP SETID w g 0
        MULTI
        PING
        EXEC
        WATCH w
        XSETID w 9
        MULTI
        PING
        EXEC
        WATCH w
        XTRIM w MAXLEN 5
        MULTI
        PING
        EXEC
        WATCH w
        XTRIM w MAXLEN 1
        MULTI
        PING
        EXEC
        WATCH w
        XDEL w 77
        MULTI
        PING
        EXEC
        WATCH w
        XGROUP DESTROY w g
        MULTI
        PING
        EXEC
    """,
    "the table": """
        COMMAND INFO xadd xlen xrange xrevrange xread xreadgroup xdel xtrim xsetid xack xpending xclaim xautoclaim
        COMMAND INFO xgroup|create xgroup|setid xgroup|destroy xgroup|createconsumer xgroup|delconsumer xgroup|help
        COMMAND INFO xinfo|stream xinfo|groups xinfo|consumers xinfo|help
        COMMAND GETKEYS XREAD BLOCK 5 STREAMS a b c d
        COMMAND GETKEYS XREAD COUNT 5 NOACK STREAMS a b
        COMMAND GETKEYS XREADGROUP GROUP streams streams COUNT 5 STREAMS a b
        COMMAND GETKEYS XREADGROUP GROUP g c COUNT 5 STREAMS a b c
        COMMAND GETKEYS XREADGROUP GROUP g c WHAT 5 STREAMS a b
        COMMAND GETKEYS XGROUP CREATE s g 0
        COMMAND GETKEYS XADD s * a b
        COMMAND GETKEYSANDFLAGS XREAD STREAMS a b c d
        COMMAND GETKEYSANDFLAGS XADD s * a b
        COMMAND GETKEYSANDFLAGS XGROUP DESTROY s g
    """,
}

ENTRIES = [
    "XADD {k} {e} {m} {v}", "XADD {k} {e} a 1", "XADD {k} {e} a {v} b {m}", "XADD {k} {e} b {v}", "XADD {k} {e} a {i}",
    "XADD {k} <MAXLEN|MAXLEN ~|MAXLEN =|MINID|MINID ~> {c} <LIMIT {c}|> {e} a {i}", "XADD {k} NOMKSTREAM {e} a {v}",
    "XADD {k} {d} a 1", "XDEL {k} {d} {d} {d}", "XDEL {k} {d}", "XLEN {k}", "XRANGE {k} {d} {d} <COUNT {c}|>",
    "XREVRANGE {k} {d} {d} <COUNT {c}|>", "XRANGE {k} - +", "XREVRANGE {k} + - COUNT {c}", "XREAD <COUNT {c}|> STREAMS {k} {k} {d} {d}",
    "XTRIM {k} <MAXLEN|MAXLEN ~|MAXLEN => <1|3|5|{i}> <LIMIT {c}|>", "XTRIM {k} <MINID|MINID ~> {d}", "XSETID {k} {d} <ENTRIESADDED {i}|MAXDELETEDID {d}|>",
    "XINFO STREAM {k} <FULL|FULL COUNT {c}|>", "DEL {k}", "COPY {k} {k} <REPLACE|>", "RENAME {k} {k}",
    "CONFIG SET stream-node-max-entries <1|2|5|100>", "CONFIG SET stream-node-max-bytes <50|200|4096>",
]
GROUP, NAME = "<g|h|g>", "<alice|bob|carol>"
GROUPS = [
    f"XGROUP CREATE {{k}} {GROUP} <0|$|{{d}}> <MKSTREAM|ENTRIESREAD {{c}}|MKSTREAM ENTRIESREAD {{i}}|>", f"XGROUP SETID {{k}} {GROUP} <0|$|{{d}}> <ENTRIESREAD {{i}}|>",
    f"XGROUP CREATECONSUMER {{k}} {GROUP} {NAME}", f"XGROUP DELCONSUMER {{k}} {GROUP} {NAME}", f"XGROUP DESTROY {{k}} {GROUP}",
    *[f"XREADGROUP GROUP {GROUP} {NAME} <COUNT {{c}}|> <NOACK|> STREAMS {{k}} {{o}}"] * 4, f"XACK {{k}} {GROUP} {{d}} {{d}} {{d}} {{d}}",
    f"XREADGROUP GROUP {GROUP} {NAME} STREAMS {{k}} {{k}} {{o}} {{o}}", f"XPENDING {{k}} {GROUP}", f"XPENDING {{k}} {GROUP} <IDLE 100000|IDLE 1|> {{d}} {{d}} {{c}} {NAME}",
    f"XPENDING {{k}} {GROUP} - + 10", f"XCLAIM {{k}} {GROUP} {NAME} <0|0|1000000> {{d}} {{d}} <JUSTID|FORCE|FORCE JUSTID|RETRYCOUNT {{i}}|IDLE 5000000|LASTID {{d}}|>",
    f"XAUTOCLAIM {{k}} {GROUP} {NAME} <0|0|1000000> {{d}} <COUNT {{c}}|JUSTID|>", "XINFO GROUPS {k}", f"XINFO CONSUMERS {{k}} {GROUP}",
]
KEYS = ("s0", "s1", "s2")


@pytest.fixture(autouse=True)
def usual_nodes(request):
    """Each test begins with nodes of the usual size."""
    if "pair" in request.fixturenames:
        request.getfixturevalue("pair").run("CONFIG SET stream-node-max-entries 100\nCONFIG SET stream-node-max-bytes 4096")


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


def same_payloads(pair):
    """The bytes of DUMP, of streams without groups (whose times differ)."""
    pair.ask("1", [b"CONFIG", b"SET", b"rdbcompression", b"no"])
    for key in KEYS:
        if pair.ask("1", [b"TYPE", key.encode()])[1] == b"stream":
            if pair.ask("1", [b"XINFO", b"GROUPS", key.encode()])[1] == []:
                pair.ask("1", [b"DUMP", key.encode()])
    pair.ask("1", [b"CONFIG", b"SET", b"rdbcompression", b"yes"])


@pytest.mark.parametrize("seed", SEEDS)
def test_random_entries(pair, seed):
    run_random(pair, ENTRIES, seed, keys=KEYS)
    same_payloads(pair)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_groups(pair, seed):
    run_random(pair, ENTRIES[:10] + GROUPS * 2, seed, keys=KEYS)


def test_ids_by_the_clock(two_servers):
    for server in two_servers:
        connection = resp.Connection(server.address)
        connection.call("FLUSHALL")
        found = [connection.call("XADD", "s", "*", "a", n)[1] for n in range(50)]
        parts = [tuple(map(int, one.split(b"-"))) for one in found]
        assert parts == sorted(set(parts))
        seconds, micros = (int(part) for _, part in connection.call("TIME")[1])
        assert abs(parts[-1][0] - (seconds * 1000 + micros // 1000)) < 1000
        connection.call("XADD", "s", f"{parts[-1][0] + 10**9}-5", "a", "1")
        assert connection.call("XADD", "s", "*", "a", "1")[1] == b"%d-6" % (parts[-1][0] + 10**9)
        connection.close()


def test_events(pair):
    """Keyspace notifications, in order."""
    pair.run("""
        CONFIG SET notify-keyspace-events KEtgxn
        2: PSUBSCRIBE __key*__:*
    """)
    script = """
        XGROUP CREATE s g $ MKSTREAM
        XADD s 1-1 a 1
        XADD s MAXLEN 1 2-1 a 1
        XADD s NOMKSTREAM 3-1 a 1
        XTRIM s MAXLEN 5
        XTRIM s MAXLEN 1
        XREADGROUP GROUP g c STREAMS s >
        XREADGROUP GROUP g d STREAMS s 0
        XGROUP CREATECONSUMER s g e
        XGROUP CREATECONSUMER s g e
        XGROUP DELCONSUMER s g e
        XCLAIM s g f 0 3-1
        XAUTOCLAIM s g h 0 0
        XACK s g 3-1
        XGROUP SETID s g 0
        XSETID s 9-9
        XDEL s 3-1
        XDEL s 3-1
        XGROUP DESTROY s g
        XGROUP CREATE s g 0
        DEL s
    """
    pair.run(script)
    kind = pair.ask("1", [b"PUBLISH", b"__keyspace@0__:end", b"end"])
    assert kind[0] == ":"
    for _ in range(100):
        if b"end" in [part[1] for part in pair.read("2", [b""])[1]]:
            break
    else:
        raise AssertionError("the end was not published")
    pair.run("CONFIG SET notify-keyspace-events \"\"")


def test_waiting_counts_once(two_servers):
    """A command that waits is one call, and MONITOR shows it once."""
    found = []
    for server in two_servers:
        main, reader, monitor = (resp.Connection(server.address) for _ in range(3))
        main.call("FLUSHALL")
        main.call("CONFIG", "RESETSTAT")
        monitor.call("MONITOR")
        for _ in range(3):
            reader.send("XREAD", "BLOCK", 5000, "STREAMS", "s", "$")
            assert reader.silent(0.05)
            main.call("XADD", "s", "*", "a", "1")
            reader.read()
        shown = []
        while not monitor.silent(0.1):
            shown.append(monitor.read()[1].split(b"] ")[1].split()[0])
        stats = [line for line in main.call("INFO", "commandstats")[1].split(b"\r\n") if b"xread" in line]
        found.append((shown, stats[0].split(b",")[0]))
        for connection in (main, reader, monitor):
            connection.close()
    assert found[0] == found[1]


def log_of(server):
    """The commands in the incremental file of a server's log."""
    data = next(server.dir.glob("appendonlydir/*.incr.aof")).read_bytes()
    found, rest = [], data
    while rest:
        head, rest = rest.split(b"\r\n", 1)
        if head.startswith(b"#"):
            continue
        command = []
        for _ in range(int(head[1:])):
            size, rest = rest.split(b"\r\n", 1)
            command.append(rest[:int(size[1:])])
            rest = rest[int(size[1:]) + 2:]
        found.append(command)
    return found


def shown_times(commands):
    """The commands, with the time of a delivery as what matters of it: whether it is near the present."""
    for command in commands:
        if command[0] == b"XCLAIM":
            at = command.index(b"TIME") + 1
            command[at] = b"recently" if int(command[at]) > 1_600_000_000_000 else command[at]
    return commands


EFFECTS = """
    XADD s 1-1 a 1
    XADD s 2-* a 1
    XADD s 2 a 1
    XADD s NOMKSTREAM 3-* a 1
    XADD none NOMKSTREAM 3-* a 1
    XADD s MAXLEN 2 4-1 a 1
    XADD s MAXLEN ~ 2 5-1 a 1
    XADD s maxlen ~ 2 limit 1 5-* a 1
    XADD s MINID ~ 4 6-* a 1
    XADD s MINID = 5 7-1 a 1
    XTRIM s MAXLEN ~ 1
    XTRIM s MAXLEN = 3
    XTRIM s MAXLEN 3
    XTRIM s MINID 6
    XDEL s 1-1
    XDEL s 6-0
    XGROUP CREATE s g 0
    XGROUP CREATE t g $ MKSTREAM
    XREADGROUP GROUP g alice STREAMS s >
    XREADGROUP GROUP g alice STREAMS s >
    XREADGROUP GROUP g alice STREAMS s 0
    XREADGROUP GROUP g lazy STREAMS s 0
    XREADGROUP GROUP g lazier NOACK STREAMS s 0
    XADD s 8-1 a 1
    XADD s 8-2 a 1
    XREADGROUP GROUP g bob NOACK STREAMS s >
    XADD s 9-1 a 1
    XADD s 9-2 b 2
    XADD t 1-1 b 2
    XREADGROUP GROUP g bob COUNT 1 STREAMS s t > >
    XREADGROUP GROUP g bob STREAMS s t > >
    XCLAIM s g carol 0 9-1 9
    XCLAIM s g carol 0 9-1 JUSTID
    XCLAIM s g carol 0 9-1 RETRYCOUNT 5 TIME 1000
    XCLAIM s g carol 100000 9-2
    XCLAIM s g dave 0 77 LASTID 10
    XCLAIM s g dave 0 LASTID 3
    XCLAIM s g dave 0 8-1 FORCE
    XDEL s 9-1
    XCLAIM s g carol 0 9-1
    XAUTOCLAIM s g erin 0 0 COUNT 2
    XDEL s 9-2
    XAUTOCLAIM s g erin 0 0
    XACK s g 8-1 8-2
    XACK s g 8-1
    XACK t g 1-1
    XGROUP CREATECONSUMER s g zoe
    XGROUP CREATECONSUMER s g zoe
    XGROUP DELCONSUMER s g zoe
    XGROUP DELCONSUMER s g zoe
    XGROUP SETID s g 8 ENTRIESREAD 5
    XGROUP SETID s g $
    XSETID s 100 ENTRIESADDED 50 MAXDELETEDID 9-9
    MULTI
    XADD s 101-* a 1
    XREADGROUP GROUP g alice STREAMS s >
    XTRIM s MAXLEN ~ 0
    EXEC
    2> XREADGROUP GROUP g frank BLOCK 5000 STREAMS s >
    3> XREADGROUP GROUP g grace BLOCK 5000 NOACK STREAMS s >
    XADD s 102-1 a 1
    2<
    XADD s 103-1 a 1
    3<
    XGROUP DESTROY s g
    DEL s t
"""


@pytest.mark.parametrize("entries", [1, 2, 100])
def test_effects(servers, ours, peer, entries):
    """What goes to the log, and with it to replicas."""
    conf = {"appendonly": "yes", "appendfsync": "always", "stream-node-max-entries": entries}
    both = [servers.start(implementation, conf) for implementation in (ours, peer)]
    pair = Pair(*both)
    pair.run(EFFECTS)
    pair.close()
    mine, real = (shown_times(log_of(server)) for server in both)
    assert mine == real


def workload(connection, seed, commands=400):
    """Random changes; times are those of the server."""
    generator = Generator(ENTRIES[:10] + ENTRIES[15:17] + GROUPS, seed, keys=KEYS)
    for n in range(commands):
        command = generator.command()
        if b"CONFIG" not in command:
            connection.call(*command)
        if n % 10 == 0:
            connection.call("XADD", generator.random.choice(KEYS), "*", "now", n)
    # Of each kind something for sure.
    for command in ("DEL s0 s1", "XGROUP CREATE s0 g 0 MKSTREAM", "XADD s0 * a 1 b 2", "XADD s0 * a 1 b 2", "XADD s0 * b 2 c 3",
                    "XREADGROUP GROUP g alice COUNT 2 STREAMS s0 >", "XGROUP CREATECONSUMER s0 g bob", "XGROUP CREATE s1 empty $ MKSTREAM"):
        assert connection.call(*words(command))[0] != "-"


def content(connection, but=()):
    """Everything about every stream, times of deliveries included, but some fields, and then consumers that have nothing."""
    def one(name, item):
        if name in but:
            return ""
        if but and name == b"consumers" and item[0] == "*":
            item = "*", [consumer for consumer in item[1] if dict(pairs(consumer))[b"pel-count"] != (":", 0)]
        return without(item)

    def pairs(reply):
        return [(name[1], value) for name, value in zip(reply[1][::2], reply[1][1::2])]

    def without(reply):
        kind, items = reply
        if kind != "*" or not items:
            return reply
        return kind, [one(items[n - 1][1], item) if n else without(item) for n, item in enumerate(items)]

    found = {}
    for _, key in connection.call("KEYS", "*")[1]:
        if connection.call("TYPE", key)[1] == b"stream":
            reply = connection.call("XINFO", "STREAM", key, "FULL", "COUNT", "0")
            assert reply[0] == "*", reply
            found[key] = without(reply)
    return found


# What the effects of reading in a group do not say: they have the last id it was given, but not how many that makes. Nor do
# they name a consumer that came to be by asking for what it had been given before.
UNSAID = (b"seen-time", b"entries-read", b"lag")


@pytest.fixture(params=["ours to redis", "redis to ours", "ours to ours"])
def direction(request, ours, peer):
    one, other = request.param.split(" to ")
    return {"ours": ours, "redis": peer}[one], {"ours": ours, "redis": peer}[other]


@pytest.mark.parametrize("entries", [3, 100])
def test_files(servers, direction, entries):
    """RDB, the log as it is, and the log rewritten with and without an RDB preamble."""
    source, target = direction
    conf = {"appendonly": "yes", "appendfsync": "always", "aof-use-rdb-preamble": "no", "stream-node-max-entries": entries}
    one = servers.start(source, conf)
    connection = resp.Connection(one.address)
    workload(connection, entries)
    assert len(content(connection)) >= 2

    def check(name, files, conf, but=()):
        other = servers.new(target, conf)
        for file in files:
            (shutil.copytree if (one.dir / file).is_dir() else shutil.copy)(one.dir / file, other.dir / file)
        there = resp.Connection(other.start().address)
        assert content(there, but) == content(connection, but), name
        there.close()

    check("log", ["appendonlydir"], conf, UNSAID)
    assert connection.call("SAVE") == ("+", b"OK")
    check("RDB", ["dump.rdb"], {"appendonly": "no"})
    for preamble in ("yes", "no"):
        if preamble == "no":
            # As in Redis, a log of commands does not have what is pending of entries that are gone.
            for key in content(connection):
                for _, group in connection.call("XINFO", "GROUPS", key)[1]:
                    connection.call("XAUTOCLAIM", key, group[1][1], "x", 10**15, 0, "COUNT", 1000)
        connection.call("CONFIG", "SET", "aof-use-rdb-preamble", preamble)
        assert connection.call("BGREWRITEAOF")[0] == "+"
        until("the rewrite is done", lambda: b"aof_rewrite_in_progress:0" in connection.call("INFO", "persistence")[1]
              and b"aof_rewrite_scheduled:0" in connection.call("INFO", "persistence")[1], 20)
        until("what the rewrite replaced is gone", lambda: len(list((one.dir / "appendonlydir").iterdir())) == 3)
        # XCLAIM counts as being heard of.
        check(f"rewritten, preamble {preamble}", ["appendonlydir"], conf, () if preamble == "yes" else (b"seen-time",))
    connection.close()


def test_payloads(servers, direction):
    one, other = (resp.Connection(servers.start(implementation).address) for implementation in direction)
    workload(one, 7)
    expected = content(one)
    for key in expected:
        assert other.call("RESTORE", key, 0, one.call("DUMP", key)[1]) == ("+", b"OK")
    assert content(other) == expected
    for key in expected:
        # Groups and consumers are kept in the order of their names, so that a payload comes back the same.
        for connection in (one, other):
            connection.call("CONFIG", "SET", "rdbcompression", "no")
        assert one.call("DUMP", key) == other.call("DUMP", key)
    one.close()
    other.close()


def test_replica(servers, direction):
    """A replica has the same data, by the full resync and by the stream."""
    source, target = direction
    master = servers.start(source)
    one = resp.Connection(master.address)
    workload(one, 8)
    other = resp.Connection(servers.start(target, {"replicaof": f"127.0.0.1 {master.port}"}).address)
    until("the replica is in sync", lambda: b"master_link_status:up" in other.call("INFO", "replication")[1], 30)
    assert content(other) == content(one)
    workload(one, 9)
    reader = resp.Connection(master.address)
    reader.call("XREADGROUP", "GROUP", "g", "late", "STREAMS", "s0", ">")
    reader.send("XREADGROUP", "GROUP", "g", "late", "BLOCK", 5000, "STREAMS", "s0", ">")
    until("it waits", lambda: b"blocked_clients:1" in one.call("INFO", "clients")[1])
    one.call("XADD", "s0", "MAXLEN", "~", 2, "*", "a", 1)
    assert reader.read()[0] == "*"
    assert one.call("WAIT", 1, 5000) == (":", 1)
    assert content(other, UNSAID) == content(one, UNSAID)
    for connection in (one, other, reader):
        connection.close()


def test_waiting_at_a_replica(servers, direction):
    """XREAD may wait at a replica, and is woken by what its master sends; XREADGROUP writes, and may not."""
    source, target = direction
    master = servers.start(source)
    one = resp.Connection(master.address)
    other = resp.Connection(servers.start(target, {"replicaof": f"127.0.0.1 {master.port}"}).address)
    until("the replica is in sync", lambda: b"master_link_status:up" in other.call("INFO", "replication")[1], 30)
    one.call("XGROUP", "CREATE", "s", "g", "$", "MKSTREAM")
    assert one.call("WAIT", 1, 5000) == (":", 1)
    assert other.call("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">")[1].startswith(b"READONLY")
    other.send("XREAD", "BLOCK", 5000, "STREAMS", "s", "$")
    assert other.silent(0.1)
    one.call("XADD", "s", "5-5", "a", "1")
    assert other.read() == ("*", [("*", [("$", b"s"), ("*", [("*", [("$", b"5-5"), ("*", [("$", b"a"), ("$", b"1")])])])])])
    one.close()
    other.close()
