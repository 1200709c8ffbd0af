"""A value of every type, written through a client and checked through another."""


def write(client, prefix=""):
    """Writes a value of every type; returns what `read` is to find."""
    client.set(f"{prefix}string", "merhaba")
    client.set(f"{prefix}expires", "later", ex=100_000)
    client.hset(f"{prefix}hash", mapping={f"field-{n}": f"value-{n}" for n in range(50)})
    client.rpush(f"{prefix}list", *(f"item-{n}" for n in range(300)))
    client.sadd(f"{prefix}set", *(f"member-{n}" for n in range(200)))
    client.sadd(f"{prefix}integers", *range(100))
    client.zadd(f"{prefix}zset", {f"member-{n}": n / 3 for n in range(200)})
    client.incrby(f"{prefix}counter", 41)
    client.incr(f"{prefix}counter")
    return read(client, prefix)


def read(client, prefix=""):
    """Everything that `write` wrote, as found by this client."""
    return {
        "string": client.get(f"{prefix}string"),
        "expires": client.get(f"{prefix}expires"),
        "expiry": client.expiretime(f"{prefix}expires"),
        "hash": client.hgetall(f"{prefix}hash"),
        "list": client.lrange(f"{prefix}list", 0, -1),
        "set": set(client.smembers(f"{prefix}set")),
        "integers": set(client.smembers(f"{prefix}integers")),
        "zset": client.zrange(f"{prefix}zset", 0, -1, withscores=True),
        "counter": client.get(f"{prefix}counter"),
    }
