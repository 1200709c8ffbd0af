"""Server processes on loopback: ours and the peer's (Debian's Redis), driven in the same way.

Either program is called by Redis' own names (`redis-server FILE`, `redis-sentinel FILE`, `redis-check-rdb`), through links
made in a directory of the run. Each server has a directory of its own, a free port, a configuration file and a log.
No process outlives its `Servers`, nor the test run that made it.
"""

import contextlib
import ctypes
import itertools
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .wait import until

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0
LOG_TAIL = 60
NAMES = ("redis-server", "redis-sentinel", "redis-check-rdb", "redis-check-aof", "redis-cli")
ROOT = pathlib.Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
LOOPBACK = "127.0.0.1"


class DidNotStart(Exception):
    """The process ended, or did not answer, before it was ready. Its text ends with the log's tail."""


class Implementation:
    """A program that can be called by Redis' names."""

    def __init__(self, name, binary, **others):
        """`others`: names that are programs of their own."""
        self.name = name
        self._links = tempfile.TemporaryDirectory(prefix=f"{name}-")
        directory = pathlib.Path(self._links.name)
        directory.chmod(0o755)
        # A copy, so that a build meanwhile changes nothing and users without rights to the target directory can run it.
        shutil.copy(pathlib.Path(binary).resolve(), directory / name)
        for link in NAMES:
            os.symlink(others.get(link.replace("-", "_"), name), directory / link)

    def program(self, name):
        """Path of the program called `name`, one of NAMES."""
        return str(pathlib.Path(self._links.name) / name)

    def __repr__(self):
        return self.name


def peer():
    """Debian's Redis 7.0."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise RuntimeError("no redis-server in PATH: apt-get install redis-server redis-sentinel redis-tools")
    return Implementation("redis", binary, redis_cli=shutil.which("redis-cli"))


def ours():
    """The program in $DATANODE_BIN (a name in PATH is fine), else what Cargo built last."""
    asked = os.environ.get("DATANODE_BIN")
    if asked:
        found = shutil.which(asked)
        if found is None:
            raise RuntimeError(f"DATANODE_BIN={asked}: no such program")
        return Implementation("datanode", found)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in target.glob("**/datanode") if path.is_file() and path.parent.name in ("debug", "release")]
    if not built:
        raise RuntimeError(f"no datanode under {target}: cargo build -p datanode, or set DATANODE_BIN")
    return Implementation("datanode", max(built, key=lambda path: path.stat().st_mtime))


# Below the ports that the kernel gives to outgoing connections, one of which could take a port between its being found
# free and its use. Each process counts on from a place of its own, so that runs side by side do not meet.
PORTS = range(10000, 32000)
_ports = itertools.cycle(PORTS)
for _ in range(random.SystemRandom().randrange(len(PORTS))):
    next(_ports)


def free_port():
    """A loopback port that nobody listens on now."""
    for port in itertools.islice(_ports, len(PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def render(directives):
    """Configuration text of (name, value) pairs; a list as value gives one line per item."""
    lines = []
    for name, value in dict(directives).items():
        for one in value if isinstance(value, list) else [value]:
            lines.append(f"{name} {one}")
    return "\n".join(lines) + "\n"


class Server:
    """One server process, which may be stopped and started again on the same directory, port and configuration."""

    def __init__(self, implementation, directory, port, text, mode="redis-server", user=None, password=None, machine=None):
        self.implementation = implementation
        self.dir = pathlib.Path(directory)
        self.machine = machine
        self.host = machine.address if machine else LOOPBACK
        self.port = port
        self.mode = mode
        self.user = user
        self.password = password
        self.conf = self.dir / ("sentinel.conf" if mode == "redis-sentinel" else "redis.conf")
        self.conf.write_text(text)
        self._log = self.dir / "stdout.log"
        self.process = None

    address = property(lambda self: (self.host, self.port))
    pid = property(lambda self: self.process.pid)

    def spawn(self, *args):
        """Starts the process without waiting for it."""
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(
                [self.implementation.program(self.mode), str(self.conf), *args],
                cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                preexec_fn=self._prepare, user=self.user,
            )
        return self

    def _prepare(self):
        if self.machine:
            self.machine.enter()
        _die_with_parent()

    def start(self, *args):
        """Starts the process and waits until it has loaded its data and answers."""
        self.spawn(*args)
        try:
            until("an answer to PING", self.answers, START_TIMEOUT_S, ignore=(redis.RedisError, OSError))
        except BaseException:
            self.kill()
            raise
        return self

    def answers(self):
        """Whether it serves commands now. Raises DidNotStart if the process has ended."""
        code = self.process.poll()
        if code is not None:
            raise DidNotStart(f"{self.implementation} ended with {code} before it was ready:\n{self.log_tail()}")
        with self.client(socket_timeout=2) as client:
            return client.ping()

    def wait_exit(self, timeout=STOP_TIMEOUT_S):
        """Waits for the process to end by itself; its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log_tail()}") from None

    def terminate(self, timeout=STOP_TIMEOUT_S):
        """SIGTERM and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def kill(self):
        """SIGKILL, at any time and as often as one likes."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @contextlib.contextmanager
    def frozen(self):
        """The process stands still (SIGSTOP) within the block."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)

    def client(self, **options):
        """A redis-py client that tries each command once."""
        defaults = {"password": self.password, "socket_timeout": 10, "decode_responses": True,
                    "retry": Retry(NoBackoff(), 0)}
        return redis.Redis(*self.address, **{**defaults, **options})

    def log(self):
        """What it wrote so far, to its log file too where it has one."""
        texts = [path.read_text(errors="replace") for path in (self._log, self.dir / "server.log") if path.exists()]
        return "".join(texts)

    def log_tail(self):
        return "\n".join(self.log().splitlines()[-LOG_TAIL:])


class Servers:
    """Makes servers, and ends all of them."""

    def __init__(self):
        self._base = pathlib.Path(tempfile.mkdtemp(prefix="e2e-"))
        self._base.chmod(0o755)
        self.all = []

    def new(self, implementation, directives=(), mode="redis-server", text="", directory=None, **options):
        """A server that is not started: `directives` over the defaults, then `text` as it is. On a `machine` of network.py,
        where one is given, else on loopback."""
        port = options.pop("port", None) or free_port()
        directory = pathlib.Path(directory or self._base / f"{len(self.all)}-{implementation}-{port}")
        directory.mkdir(exist_ok=True)
        if options.get("user") is not None:
            os.chown(directory, options["user"], -1)
        machine = options.get("machine")
        defaults = {"port": port, "bind": machine.address if machine else LOOPBACK, "dir": directory}
        if mode == "redis-server":
            defaults.update({"save": '""', "repl-diskless-sync-delay": 0})
        password = options.pop("password", None) or dict(directives).get("requirepass")
        server = Server(implementation, directory, port, render({**defaults, **dict(directives)}) + text,
                        mode, password=password, **options)
        self.all.append(server)
        return server

    def start(self, implementation, directives=(), **options):
        """A server that is up."""
        return self.new(implementation, directives, **options).start()

    def logs(self):
        """Tails of all logs, to be shown when a test fails."""
        return [(f"{server.implementation} {server.mode} {server.port}", server.log_tail()) for server in self.all]

    def close(self):
        for server in self.all:
            server.kill()
        shutil.rmtree(self._base, ignore_errors=True)
