"""What a fault did to the stream of writes: the same for local processes and for the cluster."""

import contextlib
import dataclasses

from . import network, results
from .writer import Writer

BEFORE = 200  # acknowledged writes before the fault
AFTER = 200  # and after it
RECOVERY_S = 90


@dataclasses.dataclass
class Outcome:
    """`old` and `new` are the masters before and after it, as the caller names them."""

    old: object
    new: object
    outage_s: float
    acknowledged: int
    missing: list
    errors: dict
    uncovered: int  # errors that a retry of READONLY, MOVED or a lost connection does not cover
    late: list  # writes that the old master has accepted after the new one's first

    def __str__(self):
        return (f"outage {self.outage_s:.3f} s, {self.acknowledged} acknowledged, {len(self.missing)} lost, "
                f"{len(self.late)} accepted by the old master after the new one's first, {self.uncovered} errors not covered")

    def record(self, what, kind, **more):
        """Appends it to the results."""
        results.record(what, kind=kind, outage_s=round(self.outage_s, 4), acknowledged=self.acknowledged,
                       lost=len(self.missing), late=len(self.late), uncovered=self.uncovered, **more)


def stays(namespace, connect, server):
    """A writer that stays with one server, (host, port), and waits for its replies. It works on that server's machine, in the
    network `namespace` (a file descriptor) where there is one, so that nothing cuts it off."""
    def there():
        if namespace is not None:
            network.enter(namespace)
        return connect()
    return Writer(there, threads=1, server=server)


def judge(old, new, writer, client, address=None, stayed=None, returned=None):
    """The Outcome, once the writers have ended. `client` is of the newest master, `address` the old one's (host, port).
    `stayed` is the writer that stayed with the old master, which came back at the moment `returned`."""
    writers = [writer, stayed] if stayed else [writer]
    missing = [write for one in writers for write in one.missing(client)]
    return Outcome(old, new, writer.outage(), sum(one.count() for one in writers), missing, dict(writer.errors),
                   writer.uncovered, late(writers, address, returned) if address else [])


def late(writers, old, returned=None):
    """Writes that the server `old` has accepted after another one's first: those that were sent after that was acknowledged,
    and those that were answered only after `old` had stood still."""
    firsts = [first for first in (one.first_of_another(old) for one in writers) if first]
    if not firsts:
        return []
    first = min(write.acknowledged for write in firsts)
    woke = returned if returned is not None and returned > first else float("inf")
    return [write for one in writers for write in one.writes
            if write.server == old and (write.sent > first or write.acknowledged > woke)]


@contextlib.contextmanager
def nobody():
    """In the place of a writer that stays."""
    yield None
