"""Replication over links that do not last: under load, in chains, with the real Redis on either side."""

import random
import threading

import pytest
import redis
from harness.proxy import Proxy
from harness.wait import until

ERRORS = (redis.RedisError, OSError)
LOAD_S = 5.0
MAKES = [("ours", "ours"), ("ours", "peer"), ("peer", "ours")]


@pytest.fixture(params=MAKES, ids=[" from ".join(reversed(makes)) for makes in MAKES])
def makes(request):
    """Who is master, and who is replica."""
    return [request.getfixturevalue(name) for name in request.param]


def write(client, seed, done):
    """Changes of all types, in pipelines, until it is told to stop."""
    chance = random.Random(seed)
    while not done.is_set():
        with client.pipeline(transaction=chance.random() < 0.3) as pipe:
            for _ in range(chance.randrange(1, 60)):
                n = chance.randrange(300)
                chance.choice([
                    lambda: pipe.set(f"string:{n}", "x" * chance.randrange(2000)),
                    lambda: pipe.set(f"short:{n}", n, px=chance.randrange(1, 500)),
                    lambda: pipe.incrby(f"counter:{n % 10}", n),
                    lambda: pipe.rpush(f"list:{n % 20}", n, "y" * chance.randrange(300)).ltrim(f"list:{n % 20}", -200, -1),
                    lambda: pipe.hset(f"hash:{n % 20}", f"field:{n}", "z" * chance.randrange(200)),
                    lambda: pipe.sadd(f"set:{n % 20}", n, f"member:{n}").spop(f"set:{n % 20}"),
                    lambda: pipe.zadd(f"zset:{n % 20}", {f"member:{n}": chance.random()}),
                    lambda: pipe.xadd(f"stream:{n % 5}", {"n": n}, maxlen=300),
                    lambda: pipe.delete(f"string:{n}", f"list:{n % 20}"),
                    lambda: pipe.eval("return redis.call('append', KEYS[1], ARGV[1])", 1, f"script:{n % 50}", n),
                ])()
            pipe.execute()


def history(client):
    info = client.info("replication")
    return info["master_replid"], info["master_repl_offset"]


@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_links_cut_again_and_again_converge(servers, makes, diskless):
    """A master, its replica and a replica of that; each link is reset after a random number of bytes, for as long as there
    are writes: in handshakes, within snapshots, in the stream. Small backlogs make some of the syncs full ones."""
    source, target = makes
    more = {"repl-diskless-sync": diskless, "repl-backlog-size": "100kb", "enable-debug-command": "local"}
    master = servers.start(source, more)
    with Proxy(master.port, seed=1, longest=3_000_000) as first:
        middle = servers.start(target, {**more, "replicaof": f"127.0.0.1 {first.port}"})
        with Proxy(middle.port, seed=2, longest=3_000_000) as second:
            tail = servers.start(source, {**more, "replicaof": f"127.0.0.1 {second.port}"})
            done = threading.Event()
            clients = [master.client() for _ in range(2)]
            writers = [threading.Thread(target=write, args=(client, seed, done)) for seed, client in enumerate(clients)]
            for writer in writers:
                writer.start()
            done.wait(LOAD_S)
            # At least so often, however slow the machine is.
            until("the links were cut again and again", lambda: first.cuts >= 8 and second.cuts >= 3, 60)
            done.set()
            for writer in writers:
                writer.join()
            first.mend()
            second.mend()
            everybody = [server.client() for server in (master, middle, tail)]
            until("all have the same history and offset", lambda: len({history(c) for c in everybody}) == 1, 60, ignore=ERRORS)
            until("what is short-lived is gone", lambda: not any(c.keys("short:*") for c in everybody), 20)
            until("all have the same history and offset", lambda: len({history(c) for c in everybody}) == 1, 20, ignore=ERRORS)
            digests = {c.execute_command("DEBUG", "DIGEST") for c in everybody}
            assert len(digests) == 1 and clients[0].dbsize() > 100
            for client in (*clients, *everybody):
                client.close()
