"""How long a replica takes to get everything from its master: from `REPLICAOF` to the link being up."""

from __future__ import annotations

import time

from dataset import Row, Server, fill, running, string16, wait_for


def full_sync(server: Server, keys: int) -> Row:
    """Master and replica are of the same program."""
    # Without a pause to wait for further replicas.
    with running(server, repl_diskless_sync_delay="0") as master, running(server) as replica:
        fill(master, string16, 0, keys)
        with replica.client() as c:
            start = time.monotonic()
            c.call("REPLICAOF", "127.0.0.1", master.port)
            wait_for(lambda: up(replica))
            took = time.monotonic() - start
            if c.call("DBSIZE") != keys:
                raise RuntimeError("keys are missing")
    return Row(f"full sync of {keys:,} keys", server.name, took, "s")


def up(replica) -> bool:
    """A replica that loads may not answer at all."""
    with replica.client() as c:
        return c.info("replication").get("master_link_status") == "up"


def measure(servers: list[Server], keys: int) -> list[Row]:
    """Each server in turn."""
    return [full_sync(s, keys) for s in servers]
