"""Functions that workers call."""

import redis


def add(x, y):
    return x + y


def broken():
    raise ValueError("broken")


def fails_at_first(counter, host, port, password):
    with redis.Redis(host, port, password=password) as client:
        if client.incr(counter) == 1:
            raise ValueError("not yet")
        client.delete(counter)
    return "at last"
