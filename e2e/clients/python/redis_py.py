"""redis-py: one client object that lives through failovers. Its usual work is in e2e/tests/test_redis_py.py."""

import os
import queue
import sys
import threading
import time
from collections import Counter

import redis
from redis.backoff import ConstantBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from common import NAME, say

PAUSE_S = 0.005
PAUSE_AFTER_ERROR_S = 0.02
IN_A_ROW = 100
LONGEST_S = 120


def connect(options):
    if options.mode == "cluster":
        nodes = [ClusterNode(*address) for address in options.addresses]
        return RedisCluster(startup_nodes=nodes, password=options.password, protocol=options.protocol, decode_responses=True,
                            socket_timeout=2)
    # docs: sentinel
    sentinel = Sentinel(options.addresses, sentinel_kwargs={"password": options.password}, socket_timeout=2,
                        password=options.password, protocol=options.protocol, decode_responses=True)
    return sentinel.master_for(NAME, retry=Retry(ConstantBackoff(0.1), 3))
    # end


def follow(options):
    client = connect(options)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line.strip()) for line in sys.stdin], daemon=True).start()
    prefix, acknowledged, errors = f"follow:{os.getpid()}", [], Counter()
    row, waiting, last, outage, ending, n = 0, True, None, 0.0, False, 0
    deadline = time.monotonic() + LONGEST_S
    while not ending:
        assert time.monotonic() < deadline, f"nobody ended it; errors: {errors}"
        try:
            assert client.set(f"{prefix}:{n}", f"value {n}") is True
            now = time.monotonic()
            outage, last = max(outage, now - (last or now)), now
            acknowledged.append(n)
            row += 1
            time.sleep(PAUSE_S)
        except (redis.RedisError, OSError) as error:
            row = 0
            errors[f"{type(error).__name__}: {error}"[:80]] += 1
            time.sleep(PAUSE_AFTER_ERROR_S)
        n += 1
        if waiting and row >= IN_A_ROW:
            waiting = False
            say(going=len(acknowledged), outage_ms=round(outage * 1000))
            outage = 0.0
        while not lines.empty():
            line = lines.get()
            if line == "end":
                ending = True
            elif line == "mark":
                outage = 0.0
            else:
                waiting, row = True, 0
    missing = [n for n in acknowledged if client.get(f"{prefix}:{n}") != f"value {n}"]
    say(acknowledged=len(acknowledged), missing=missing, errors=errors)
    client.close()
