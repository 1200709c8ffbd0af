"""Machines of their own on one host, and the cable between them: network namespaces behind a bridge.

A `Network` is private to the thread that enters it and to what that thread starts: the host's own network is neither used
nor changed, and all of it is gone with the last process in it, however that ends. A machine that is cut off loses every
packet to and from the others, as behind a pulled cable: nobody is told. What runs on the machine itself still reaches it.
"""

import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
COMMAND_S = 10
NET = "10.88.0"
DISABLED, FORWARDING = "0", "3"  # states of a bridge's port: bridge(8)
OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This process may not make networks, or iproute2 is missing. The text says which."""


def _checked(result):
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
    except FileNotFoundError:
        raise Unavailable(f"no program '{command[0]}': apt-get install iproute2") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")


def enter(namespace):
    """Moves the calling thread into a network namespace (a file descriptor); children and later threads of it follow."""
    _checked(_libc.setns(namespace, CLONE_NEWNET))


def _new_namespace():
    """A file descriptor of a new network namespace; the calling thread is in it afterwards."""
    try:
        _checked(_libc.unshare(CLONE_NEWNET))
    except OSError as error:
        raise Unavailable(f"a network namespace cannot be made ({error}): it takes root, or `unshare -Urn`") from None
    return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)


class Machine:
    """A host of its own: an address, and a cable that can be pulled."""

    def __init__(self, number):
        self.address = f"{NET}.{number}"
        self._port = f"port{number}"
        outside = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _run("ip", "link", "add", self._port, "type", "veth", "peer", "name", "cable")
            self.namespace = _new_namespace()
            enter(outside)
            _run("ip", "link", "set", "cable", "netns", f"/proc/{os.getpid()}/fd/{self.namespace}")
            _run("ip", "link", "set", self._port, "master", "switch", "up")
            enter(self.namespace)
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "address", "add", f"{self.address}/24", "dev", "cable")
            _run("ip", "link", "set", "cable", "up")
        finally:
            enter(outside)
            os.close(outside)

    def enter(self):
        """Moves the calling thread to this machine, for good."""
        enter(self.namespace)

    @contextlib.contextmanager
    def cut_off(self):
        """Nothing passes between this machine and the others within the block."""
        _run("bridge", "link", "set", "dev", self._port, "state", DISABLED)
        try:
            yield
        finally:
            _run("bridge", "link", "set", "dev", self._port, "state", FORWARDING)


class Network:
    """A switch and the machines behind it. The thread that enters it is at the switch and reaches them all."""

    def __enter__(self):
        self._outside = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        self._machines = []
        try:
            os.close(_new_namespace())
        except Unavailable:
            os.close(self._outside)
            raise
        try:
            _run("ip", "link", "set", "lo", "up")
            _run("ip", "link", "add", "switch", "type", "bridge")
            _run("ip", "address", "add", f"{NET}.254/24", "dev", "switch")
            _run("ip", "link", "set", "switch", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        enter(self._outside)
        for descriptor in [self._outside, *(machine.namespace for machine in self._machines)]:
            os.close(descriptor)

    def machine(self):
        """One more machine, at most 253."""
        self._machines.append(Machine(len(self._machines) + 1))
        return self._machines[-1]
