"""Positions: the same commands to ours and to Redis, replies, scores and effects compared."""

import random

import pytest
from harness import aof
from harness.differential import SEEDS, Pair, run_random
from harness.wait import until

SICILY = "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania 13.583333 37.316667 Agrigento"

SCRIPTS = {
    "add": """
        GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        GEOADD g 13.361389 38.115556 Palermo
        GEOADD g CH 13.4 38.1 Palermo 1 1 new
        GEOADD g NX 1 2 Palermo 3 4 other
        GEOADD g XX 1 2 Palermo 3 4 never
        GEOADD g XX CH 1 2.5 Palermo
        GEOADD nothing XX 1 2 a
        EXISTS nothing
        GEOADD g NX XX 1 2 a
        GEOADD g NX CH 1 2
        GEOADD g NX CH XX
        GEOADD g CH CH CH
        GEOADD g 1 2
        GEOADD g 1 2 a 3
        GEOADD g GT 1 2 a
        GEOADD g abc 2 a
        GEOADD g 1 abc a
        GEOADD g 1 2 a abc 4 b
        GEOADD g 200 2 a
        GEOADD g 1 90 a
        GEOADD g 1 2 a 1 90 b
        GEOADD g inf -inf a
        GEOADD g 1e300 nan a
        GEOADD g nan 1 a
        GEOADD g 180 85.05112878 ne -180 -85.05112878 sw 180 -85.05112878 se -180 85.05112878 nw 0 0 zero
        GEOADD g 180.0000001 0 a
        GEOADD g 0 85.05112879 a
        GEOADD g 0x10 0 hex
        GEOADD g -0 -0 minus
        GEOADD g " 1" 2 a
        GEOADD g 1 2 ""
        ZRANGE g 0 -1 WITHSCORES
        GEOPOS g Palermo Catania ne sw se nw zero hex minus ""
        GEOHASH g Palermo Catania ne sw se nw zero hex minus ""
    """,
    "ask": f"""
        {SICILY}
        GEOPOS g Palermo nothing Catania
        GEOPOS g
        GEOPOS nothing a b
        GEOHASH g Palermo nothing Catania
        GEOHASH g
        GEOHASH nothing a b
        GEODIST g Palermo Catania
        GEODIST g Palermo Catania m
        GEODIST g Palermo Catania KM
        GEODIST g Palermo Catania ft
        GEODIST g Palermo Catania Mi
        GEODIST g Palermo Palermo
        GEODIST g Palermo Catania parsec
        GEODIST g Palermo Catania km m
        GEODIST g Palermo nothing
        GEODIST g nothing Palermo
        GEODIST nothing a b
        GEODIST nothing a b parsec
        GEODIST g Palermo
    """,
    "any score is a position": """
        ZADD z -1 a 1e19 b inf c -inf d 9.3e18 e 1.7e19 f 4503599627370496 g 0.5 h 1e300 i 1234567890123 j -9.3e18 k 18446744073709551616 l
        GEOPOS z a b c d e f g h i j k l
        GEOHASH z a b c d e f g h i j k l
        GEODIST z a d
        GEODIST z e h
        GEORADIUS z 0 0 20000 km WITHDIST WITHHASH WITHCOORD ASC
        GEORADIUSBYMEMBER z a 100 km
        GEORADIUSBYMEMBER z g 100 km
        GEORADIUSBYMEMBER z c 100 km WITHHASH
    """,
    "radius": f"""
        {SICILY}
        GEORADIUS g 15 37 200 km
        GEORADIUS g 15 37 200 km WITHDIST
        GEORADIUS g 15 37 200 km WITHCOORD
        GEORADIUS g 15 37 200 km WITHHASH WITHCOORD WITHDIST ASC
        GEORADIUS g 15 37 200000 m DESC WITHDIST
        GEORADIUS g 15 37 656168 ft WITHDIST
        GEORADIUS g 15 37 124.27 mi WITHDIST
        GEORADIUS g 15 37 200 km COUNT 1
        GEORADIUS g 15 37 200 km COUNT 2 DESC
        GEORADIUS g 15 37 200 km COUNT 1 ANY
        GEORADIUS g 15 37 200 km COUNT 2 ANY DESC
        GEORADIUS g 15 37 200 km ANY COUNT 9
        GEORADIUS g 15 37 200 km ANY
        GEORADIUS g 15 37 200 km COUNT 0
        GEORADIUS g 15 37 200 km COUNT -1
        GEORADIUS g 15 37 200 km COUNT abc
        GEORADIUS g 15 37 200 km COUNT
        GEORADIUS g 15 37 0 km
        GEORADIUS g 15 37 -1 km
        GEORADIUS g 15 37 abc km
        GEORADIUS g 15 37 nan km
        GEORADIUS g 15 37 inf km
        GEORADIUS g 15 37 1e300 mi
        GEORADIUS g 15 37 200 parsec
        GEORADIUS g 15 370 200 km
        GEORADIUS g 15 abc 200 km
        GEORADIUS g 15 37 200 km WHAT
        GEORADIUS g 15 37 200 km FROMLONLAT 1 2
        GEORADIUS nothing 15 37 200 km
        GEORADIUS nothing 15 370 200 km
        GEORADIUS nothing 15 37 200 km WITHDIST STORE s
        GEORADIUS_RO g 15 37 200 km WITHDIST
        GEORADIUS_RO g 15 37 200 km STORE s
        GEORADIUS_RO g 15 37 200 km STOREDIST s
        GEORADIUSBYMEMBER g Agrigento 100 km
        GEORADIUSBYMEMBER g Agrigento 100 km WITHDIST ASC
        GEORADIUSBYMEMBER g nobody 100 km
        GEORADIUSBYMEMBER g nobody abc km
        GEORADIUSBYMEMBER g Agrigento abc km
        GEORADIUSBYMEMBER g Agrigento 100 parsec
        GEORADIUSBYMEMBER nothing Agrigento abc parsec
        GEORADIUSBYMEMBER nothing Agrigento abc parsec WHAT
        GEORADIUSBYMEMBER_RO g Agrigento 100 km
        GEORADIUSBYMEMBER_RO g Agrigento 100 km STORE s
        EXISTS s
    """,
    "store": f"""
        {SICILY}
        GEORADIUS g 15 37 200 km STORE s
        ZRANGE s 0 -1 WITHSCORES
        GEORADIUS g 15 37 200 km STOREDIST s
        ZRANGE s 0 -1 WITHSCORES
        GEORADIUS g 15 37 200 km STOREDIST s COUNT 1
        ZRANGE s 0 -1 WITHSCORES
        GEORADIUS g 15 37 200 km STOREDIST s STORE t
        ZRANGE t 0 -1 WITHSCORES
        GEORADIUS g 15 37 200 km STORE s WITHDIST
        GEORADIUS g 15 37 200 km WITHHASH STOREDIST s
        GEORADIUS g 15 37 200 km STORE
        GEORADIUS g 15 37 1 m STORE s
        EXISTS s
        GEORADIUSBYMEMBER g Palermo 1000 km STORE s
        EXPIRE s 100
        GEORADIUSBYMEMBER g Palermo 1000 mi STOREDIST s
        TTL s
        ZRANGE s 0 -1 WITHSCORES
        SET s text
        GEORADIUSBYMEMBER g Palermo 1000 mi STOREDIST s
        TYPE s
        GEOSEARCHSTORE s g FROMLONLAT 15 37 BYBOX 400 400 km ASC COUNT 2
        ZRANGE s 0 -1 WITHSCORES
        GEOSEARCHSTORE s g FROMMEMBER Catania BYRADIUS 400 km STOREDIST
        ZRANGE s 0 -1 WITHSCORES
        GEOSEARCHSTORE s g FROMMEMBER Catania BYRADIUS 400 km STOREDIST WITHDIST
        GEOSEARCHSTORE s g FROMMEMBER Catania BYRADIUS 400 km STORE x
        GEOSEARCHSTORE s nothing FROMMEMBER Catania BYRADIUS 400 km
        EXISTS s
        GEOSEARCHSTORE g g FROMLONLAT 15 37 BYRADIUS 100 km
        ZRANGE g 0 -1 WITHSCORES
        GEORADIUS nothing 1 2 3 km STORE g
        EXISTS g
    """,
    "search": f"""
        {SICILY}
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC WITHCOORD WITHDIST WITHHASH
        GEOSEARCH g FROMMEMBER Palermo BYBOX 4 4 m
        GEOSEARCH g BYBOX 400 400 km FROMMEMBER Palermo DESC
        GEOSEARCH g FROMMEMBER nobody BYBOX 400 400 km
        GEOSEARCH g FROMMEMBER nobody BYBOX 400 400 parsec
        GEOSEARCH g BYBOX 400 400 parsec FROMMEMBER nobody
        GEOSEARCH g FROMMEMBER Palermo FROMLONLAT 1 2 BYRADIUS 1 km
        GEOSEARCH g FROMLONLAT 1 2 FROMMEMBER Palermo BYRADIUS 1 km
        GEOSEARCH g FROMMEMBER Palermo FROMMEMBER Catania BYRADIUS 1 km
        GEOSEARCH g FROMLONLAT 1 2 FROMLONLAT 15 37 BYRADIUS 200 km
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km BYRADIUS 200 km
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 1 km BYBOX 1 1 km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 1 km BYRADIUS 1 km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 1 km BYBOX 400 400 km
        GEOSEARCH g FROMLONLAT 15 37 ASC DESC COUNT 2
        GEOSEARCH g BYRADIUS 1 km ASC WITHDIST
        geoSearch g BYRADIUS 1 km ASC WITHDIST
        GEOSEARCH g BYRADIUS 1 km ASC FROMLONLAT 1
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 1 1
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 1
        GEOSEARCH g FROMLONLAT 15 37 BYBOX abc 1 km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 abc km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX -1 1 km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 1 -1 km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX 0 inf km
        GEOSEARCH g FROMLONLAT 15 37 BYBOX inf inf km
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ANY
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST
        GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km STORE x
        GEOSEARCH nothing FROMMEMBER a BYRADIUS 1 km
        GEOSEARCH nothing FROMMEMBER a BYRADIUS 1 km BYBOX 1 1 km
        GEOSEARCH nothing FROMMEMBER a FROMLONLAT 1 2 BYRADIUS 1 km
        GEOSEARCHSTORE s g BYRADIUS 1 km ASC DESC
        GEOSEARCHSTORE s g FROMMEMBER Palermo ASC ASC DESC
        GEOSEARCH g
    """,
    "wrong type": """
        SET s x
        GEOADD s 1 2 a
        GEOADD s 1 abc a
        GEOPOS s a
        GEOHASH s a
        GEODIST s a b
        GEODIST s a b parsec
        GEORADIUS s 1 2 3 km
        GEORADIUS s 1 2 abc km
        GEORADIUSBYMEMBER s a 3 km
        GEOSEARCH s FROMLONLAT 1 2 BYRADIUS 3 km
        GEOSEARCHSTORE d s FROMLONLAT 1 2 BYRADIUS 3 km
        GEOSEARCHSTORE s d FROMLONLAT 1 2 BYRADIUS 3 km
        EXISTS s
    """,
    "keys of a command": """
        COMMAND GETKEYS GEOADD g 1 2 a
        COMMAND GETKEYS GEORADIUS g 1 2 3 km STORE a STOREDIST b
        COMMAND GETKEYS GEORADIUS g 1 2 3 store STORE a
        COMMAND GETKEYS GEORADIUS g 1 2 3 km COUNT STORE x STORE
        COMMAND GETKEYS GEORADIUSBYMEMBER g m 3 km STORE a
        COMMAND GETKEYS GEORADIUS_RO g 1 2 3 km STORE a
        COMMAND GETKEYS GEOSEARCHSTORE a g FROMLONLAT 1 2 BYRADIUS 3 km
        COMMAND GETKEYSANDFLAGS GEORADIUS g 1 2 3 km STORE a
        COMMAND GETKEYSANDFLAGS GEOSEARCHSTORE a g FROMLONLAT 1 2 BYRADIUS 3 km
        COMMAND INFO geoadd geopos geodist geohash georadius_ro georadiusbymember_ro geosearch geosearchstore georadius georadiusbymember
    """,
    "notifications": f"""
        CONFIG SET notify-keyspace-events KEA
        2: PSUBSCRIBE __key*__:*
        {SICILY}
        2<
        2<
        GEORADIUS g 15 37 200 km STORE s
        2<
        2<
        GEOSEARCHSTORE s g FROMLONLAT 15 37 BYRADIUS 200 km
        2<
        2<
        GEORADIUS g 15 37 1 m STORE s
        2<
        2<
        CONFIG SET notify-keyspace-events ""
    """,
}

# Degrees and sizes from the ordinary to the edges of the map; members of few places, so that some are at the same one.
GRAMMAR = [
    "GEOADD {k} <NX|XX|CH|> <0|1|-1|13.4|179.9|-179.9|{f}> <0|1|38.1|-66.5|81|{f}> {m} 10 10 {m}",
    "GEOADD {k} <15|15.1|15.2|-180|180> <37|37.1|85|-85> {m} <15|15.1|15.2> <37|37.1> {m}",
    "GEOPOS {k} {m} {m}", "GEOHASH {k} {m} {m}", "GEODIST {k} {m} {m} <km|m|ft|MI|x|>",
    "GEORADIUS {k} <15|15.1|180|{f}> <37|37.1|81|{f}> <1|20|3000|19000|{f}> <km|mi> <WITHDIST|WITHHASH|WITHCOORD|> <ASC|DESC|> <COUNT {c}|COUNT {c} ANY|>",
    "GEORADIUS {k} <15|15.1> <37|37.1> 5000 km <STORE|STOREDIST> {k} <COUNT {c}|>",
    "GEORADIUSBYMEMBER {k} {m} <1|20|3000|{f}> <km|ft> <WITHDIST|> <ASC|DESC|> <COUNT {c}|>",
    "GEORADIUSBYMEMBER_RO {k} {m} 30 <km|ft> WITHDIST",
    "GEOSEARCH {k} <FROMMEMBER {m}|FROMLONLAT 15 37.1> <BYRADIUS {f} km|BYBOX 40 {f} km|BYBOX 9000 20000 km> <ASC|DESC|> <WITHDIST|WITHCOORD|>",
    "GEOSEARCHSTORE {k} {k} <FROMMEMBER {m}|FROMLONLAT 15 37.1> <BYRADIUS 900 km|BYBOX 4000 {f} km> <STOREDIST|> <COUNT {c}|>",
    "ZADD {k} {f} {m}", "DEL {k}", "SET {k} x", "ZREM {k} {m}", "OBJECT ENCODING {k}", "ZRANGE {k} 0 -1 WITHSCORES",
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    pair.run(SCRIPTS[name])
    pair.compare_keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random(pair, seed):
    run_random(pair, GRAMMAR, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_areas(two_servers, seed):
    """Circles and rectangles of every size all over the map: which members, in which order, how far."""
    pair = Pair(*two_servers)
    rng = random.Random(seed)
    places = [(rng.uniform(-180, 180), rng.uniform(-85.05, 85.05)) for _ in range(1500)]
    for _ in range(6):  # crowds, and places where several members are
        lon, lat = rng.uniform(-179, 179), rng.uniform(-84, 84)
        places += [(lon + rng.uniform(-1, 1), lat + rng.uniform(-1, 1)) for _ in range(100)] + [(lon, lat)] * 30
    command = [b"GEOADD", b"g"]
    for n, (lon, lat) in enumerate(places):
        command += [repr(lon).encode(), repr(lat).encode(), b"m%d" % n]
    pair.ask("1", command)
    pair.ask("1", [b"ZRANGE", b"g", b"0", b"-1", b"WITHSCORES"])
    try:
        for n in range(250):
            if rng.random() < 0.3:
                center = [b"FROMMEMBER", b"m%d" % rng.randrange(len(places))]
            else:
                lon, lat = rng.choice(places)
                center = [b"FROMLONLAT", b"%.9f" % min(180, lon + rng.choice((0, 0, 0.01))), b"%.9f" % lat]
            size = lambda: b"%.6f" % 10 ** rng.uniform(-3, 4.4)  # noqa: E731
            form = [b"BYRADIUS", size()] if rng.random() < 0.5 else [b"BYBOX", size(), size()]
            order = rng.choice(([], [b"ASC"], [b"DESC"]))
            count = rng.choice(([], [], [b"COUNT", b"%d" % rng.randrange(1, 300)], [b"COUNT", b"%d" % rng.randrange(1, 50), b"ANY"]))
            area = [*center, *form, rng.choice((b"km", b"mi")), *order, *count]
            pair.ask("1", [b"GEOSEARCH", b"g", *area, *rng.choice(([], [b"WITHDIST"], [b"WITHDIST", b"WITHHASH", b"WITHCOORD"]))])
            if n % 5 == 0:
                pair.ask("1", [b"GEOSEARCHSTORE", b"s", b"g", *area, *rng.choice(([], [b"STOREDIST"]))])
                pair.ask("1", [b"ZRANGE", b"s", b"0", b"-1", b"WITHSCORES"])
                pair.ask("1", [b"OBJECT", b"ENCODING", b"s"])
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from None
    finally:
        pair.close()


def test_effects(ours, peer, servers):
    """What the log gets, and what a real replica makes of it."""
    both = [servers.start(program, {"appendonly": "yes"}) for program in (ours, peer)]
    replicas = [servers.start(peer, {"replicaof": f"127.0.0.1 {server.port}"}) for server in both]
    clients = [replica.client() for replica in replicas]
    until("both replicas are linked", lambda: all(c.info("replication")["master_link_status"] == "up" for c in clients))
    pair = Pair(*both)
    pair.run(f"""
        {SICILY}
        {SICILY}
        GEOADD g NX CH 1 2 new 3 4 Palermo
        GEOADD g XX 1 2 never
        GEORADIUS g 15 37 200 km
        GEORADIUS g 15 37 200 km STOREDIST s
        GEORADIUSBYMEMBER g Palermo 200 km STORE t
        GEOSEARCHSTORE u g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST
        GEOSEARCHSTORE u g FROMLONLAT 15 37 BYRADIUS 1 m
        GEOSEARCHSTORE u g FROMLONLAT 15 37 BYRADIUS 1 m
    """)
    pair.close()
    until("the logs agree", lambda: aof.effects(both[0]) == aof.effects(both[1]))
    assert [command[0] for command in aof.effects(both[0]) if command[0] != b"SELECT"][:3] == [b"FLUSHALL", b"zadd", b"zadd"]

    def seen(client):
        return {key: client.zrange(key, 0, -1, withscores=True) for key in ("g", "s", "t", "u")}

    until("the replicas agree", lambda: seen(clients[0]) == seen(clients[1]) and len(seen(clients[0])["t"]) > 0)
