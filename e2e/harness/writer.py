"""A stream of acknowledged, unique writes, and what became of them.

Several threads write one new key after the other, each waiting for its reply. What was acknowledged is remembered with its
time, so that afterwards two figures are known: the write outage (the longest gap between two acknowledged writes) and the
acknowledged writes that are missing. The stream is bounded in rate, number and time.
"""

import dataclasses
import itertools
import threading
import time
import uuid
from collections import Counter

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

THREADS = 4
RATE = 100.0  # writes a second of each thread
LIMIT = 100_000  # writes in all
DURATION_S = 300.0
# After an error, twice as long with each further one.
PAUSE_FIRST_S, PAUSE_MOST_S = 0.002, 0.01
BATCH = 500
ONCE = Retry(NoBackoff(), 0)
# Of a client that would rather look for the master again than wait long.
IMPATIENT = {"socket_timeout": 0.3, "socket_connect_timeout": 0.3}
# How long a writer waits for a reply before it looks for the master again.
TIMEOUTS = {"socket_timeout": 1.0, "socket_connect_timeout": 0.5, "retry": ONCE}


@dataclasses.dataclass(frozen=True)
class Write:
    key: str
    value: str
    sent: float
    acknowledged: float
    server: tuple | None  # (host, port) of who acknowledged it, where that is known


def covered(error):
    """Whether a client is told by it to look for the master and to try again: READONLY, MOVED, or a connection that was closed
    or refused. Silence and every other error are not."""
    return type(error) in (redis.exceptions.ReadOnlyError, redis.exceptions.MovedError, redis.ConnectionError) or (
        isinstance(error, ConnectionError))


def server_of(client):
    """(host, port) that a client with one connection at a time is connected to; None of a cluster's client, which has several."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return None
    found = getattr(pool, "master_address", None)
    return found or (pool.connection_kwargs.get("host"), pool.connection_kwargs.get("port"))


def through_sentinels(sentinels, name, password, **options):
    """What connects to the master as sentinels at (host, port) know it; `options` over TIMEOUTS."""
    options = {**TIMEOUTS, **options, "password": password}
    discovery = Sentinel(sentinels, sentinel_kwargs=options, decode_responses=True, **options)
    return lambda: discovery.master_for(name)


class Writer:
    """Writes through the clients that `connect` makes, one for each thread; use it as a context manager.

    `connect` is called again after every error, so that it can look the master up anew. All keys have the hash tag `tag`,
    where one is given. `server`: who acknowledges, where all clients stay with one.
    """

    def __init__(self, connect, threads=THREADS, rate=RATE, limit=LIMIT, duration=DURATION_S, tag="", server=None):
        self.prefix = f"w:{{{tag}}}:{uuid.uuid4().hex[:8]}" if tag else f"w:{uuid.uuid4().hex[:8]}"
        self._connect = connect
        self._server = server
        self._period = 1.0 / rate
        self._left = itertools.count(limit, -1)
        self._duration = duration
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]
        self.writes = []
        self.errors = Counter()
        self.uncovered = 0  # errors that trying again after MOVED, READONLY or a lost connection does not cover

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if not self._stop.is_set():
            self._stop.set()
            for thread in self._threads:
                thread.join()
            self.ended = time.monotonic()

    def _run(self, thread):
        client = None
        failed = 0  # in a row
        deadline = self.began + self._duration
        for n in itertools.count():
            if self._stop.is_set() or time.monotonic() > deadline or next(self._left) <= 0:
                break
            begun = time.monotonic()
            key, value = f"{self.prefix}:{thread}:{n}", uuid.uuid4().hex
            try:
                if client is None:
                    client = self._connect()
                if client.set(key, value) is not True:
                    raise redis.RedisError("SET was not answered with OK")
                write = Write(key, value, begun, time.monotonic(), self._server or server_of(client))
                failed = 0
                with self._lock:
                    self.writes.append(write)
                self._stop.wait(max(0.0, begun + self._period - time.monotonic()))
            except (redis.RedisError, OSError) as error:
                with self._lock:
                    self.errors[f"{type(error).__name__}: {str(error)[:60]}"] += 1
                    self.uncovered += not covered(error)
                if client is not None:
                    client.close()
                client = None
                self._stop.wait(min(PAUSE_FIRST_S * 2 ** min(failed, 10), PAUSE_MOST_S))
                failed += 1
        if client is not None:
            client.close()

    def count(self):
        """Number of writes acknowledged so far."""
        return len(self.writes)

    def first_of_another(self, server):
        """The first write that another than `server` has acknowledged; None while there is none."""
        with self._lock:
            others = [write for write in self.writes if write.server != server]
        return min(others, key=lambda write: write.acknowledged, default=None)

    def acknowledged_after(self, moment):
        """Number of writes that were both sent and acknowledged after the moment (of time.monotonic)."""
        with self._lock:
            return sum(write.sent > moment for write in self.writes)

    def outage(self):
        """Longest time without an acknowledged write, in seconds: from the first one to the end of the stream."""
        with self._lock:
            times = sorted(write.acknowledged for write in self.writes)
        if not times:
            return float("inf")
        times.append(getattr(self, "ended", time.monotonic()))
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def missing(self, client):
        """The acknowledged writes that `client` does not find with their value."""
        missing = []
        for start in range(0, len(self.writes), BATCH):
            batch = self.writes[start:start + BATCH]
            pipeline = client.pipeline(transaction=False)
            for write in batch:
                pipeline.get(write.key)
            for write, found in zip(batch, pipeline.execute()):
                found = found.decode() if isinstance(found, bytes) else found
                if found != write.value:
                    missing.append(write)
        return missing
