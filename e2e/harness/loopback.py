"""Figures for people: every fault so many times on local processes, ours and the peer's in turn, in a table.

usage: python -m harness.loopback [--repeat 20] [--fault NAME]… [--only ours|redis]

20 times takes 20 minutes, and a machine that does nothing else: a failover waits for several fsyncs, one after the other.
Each server is a machine of its own on a private network, which takes root. Without that they share the loopback interface, and
faults of the network are refused: the exit code is 2.
"""

import argparse
import contextlib
import sys
import time

from . import process, results
from .local_faults import FAULTS, fill, inflict
from .network import Network, Unavailable
from .peerset import PeerSet
from .replicaset import ReplicaSet

KINDS = {results.OURS: (process.ours, ReplicaSet), results.PEER: (process.peer, PeerSet)}


@contextlib.contextmanager
def groups(kinds, fault, machine):
    """A group for each kind, whole and filled, while the block lasts."""
    servers = process.Servers()
    try:
        made = {}
        for kind, (implementation, group) in kinds.items():
            made[kind] = group(servers, implementation, directives=fault.directives, machine=machine)
            fill(made[kind], fault.keys)
        yield made
    except BaseException:
        for name, text in servers.logs():
            print(f"--- log of {name}\n{text}", file=sys.stderr)
        raise
    finally:
        servers.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--only", choices=KINDS, help="only this kind of server")
    arguments = parser.parse_args()
    begun, refused = time.time(), []
    chosen = {kind: (make(), group) for kind, (make, group) in KINDS.items() if arguments.only in (None, kind)}
    with contextlib.ExitStack() as stack:
        machine = None
        try:
            machine = stack.enter_context(Network()).machine
        except Unavailable as error:
            print(f"no network of machines: {error}", flush=True)
        made = {}
        for name in arguments.fault or FAULTS:
            if FAULTS[name].needs_machines and machine is None:
                refused.append(name)
            else:
                made[name] = stack.enter_context(groups(chosen, FAULTS[name], machine))
        # The faults in turn, each with servers of its own, which become whole again while it is the others' turn.
        for n in range(arguments.repeat):
            for name, kinds in made.items():
                for kind in sorted(kinds, reverse=n % 2):
                    print(f"{n + 1}: {name}, {kind}: {inflict(kinds[kind], name, kind)}", flush=True)
    print("\n".join(results.table(results.read(begun))))
    if refused:
        print(f"refused, for want of a network of machines: {', '.join(refused)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
