"""How long a replica takes to get everything from its master: from `REPLICAOF` to the link being up.

Given as time elapsed and as CPU time of both: on a machine that does other things as well only the latter can be compared.
"""

from __future__ import annotations

import time

from .dataset import CPU, Row, Server, fill, for_table, running, string16, wait_for


def full_sync(server: Server, keys: int) -> list[Row]:
    """Master and replica are of the same program."""
    # Without a pause to wait for further replicas.
    with running(server, repl_diskless_sync_delay="0") as master, running(server) as replica:
        fill(master, string16, 0, keys)
        with replica.client() as c:
            start, cpu = time.monotonic(), master.cpu() + replica.cpu()
            c.call("REPLICAOF", "127.0.0.1", master.port)
            wait_for(lambda: up(replica))
            took, cpu = time.monotonic() - start, master.cpu() + replica.cpu() - cpu
            if c.call("DBSIZE") != keys:
                raise RuntimeError("keys are missing")
    case = f"full sync of {keys:,} keys"
    return [Row(case, server.name, took, "s"), Row(case + CPU, server.name, cpu, "s")]


def up(replica) -> bool:
    """A replica that loads may not answer at all."""
    with replica.client() as c:
        return c.info("replication").get("master_link_status") == "up"


def measure(servers: list[Server], keys: int) -> list[Row]:
    """Each server in turn."""
    return [row for s in servers for row in full_sync(s, keys)]


def rows(run) -> list:
    """For the benchmark's table."""
    return for_table(run, "sync", measure, lambda _: 0.8)
