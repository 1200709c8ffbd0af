"""Sentinel mode as processes on loopback: classic sentinels over real redis-servers, alone and mixed with real ones."""

import shutil
import signal
import socket
import subprocess
import time

import pytest
import redis
from harness import wait
from harness.process import free_port, ours, peer
from redis.sentinel import Sentinel

# Not less: a real sentinel connects to a new master up to a second after it has heard of it, and would see that second as
# silence and start another failover.
DOWN_AFTER_MS = 2500
NAME = "mymaster"

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="needs a real redis-server to watch")


@pytest.fixture(scope="session")
def programs():
    """What starts a sentinel, by its make."""
    own, real = ours(), peer()
    yield {"ours": [own.program(own.name), "sentinel"], "real": [real.program("redis-sentinel")]}


def until(condition, timeout=20.0, what="condition"):
    """As the harness', for clients that may not be able to ask yet."""
    return wait.until(what, condition, timeout, poll=0.05, ignore=(redis.RedisError, OSError))


class Group:
    """Real redis-servers and sentinels of both makes in one directory, all ended with it."""

    def __init__(self, directory, programs):
        self.dir, self.programs, self.processes = directory, programs, {}

    def _run(self, name, words):
        log = open(self.dir / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(words, cwd=self.dir, stdout=log, stderr=log)

    def server(self, port, master=None, password=None):
        (self.dir / f"data-{port}").mkdir(exist_ok=True)
        words = ["redis-server", "--port", str(port), "--dir", str(self.dir / f"data-{port}"), "--save", "",
                 "--repl-diskless-sync-delay", "0"]
        if master:
            words += ["--replicaof", "127.0.0.1", str(master)]
        if password:
            words += ["--requirepass", password, "--masterauth", password]
        self._run(f"server-{port}", words)
        until(lambda: redis.Redis(port=port, password=password).ping(), what=f"server {port}")

    def sentinel(self, port, master, quorum=2, real=False, extra=""):
        conf = self.dir / f"sentinel-{port}.conf"
        if not conf.exists():
            conf.write_text(
                f"port {port}\n# a comment that stays\nsentinel monitor {NAME} 127.0.0.1 {master} {quorum}\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {NAME} 10000\n{extra}"
            )
        self._run(f"sentinel-{port}", [*self.programs["real" if real else "ours"], str(conf)])
        until(lambda: redis.Redis(port=port).ping(), what=f"sentinel {port}")

    def kill(self, name, how=signal.SIGKILL):
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait(timeout=10)
        return process.returncode

    def end(self):
        for process in self.processes.values():
            process.kill()
            process.wait(timeout=10)


@pytest.fixture
def group(tmp_path, programs):
    g = Group(tmp_path, programs)
    yield g
    g.end()


def start(group, makes, password=None, extra=""):
    """A master, two replicas, and one sentinel for each of makes ('ours' or 'real'), all acquainted."""
    servers = [free_port() for _ in range(3)]
    for port in servers:
        group.server(port, None if port == servers[0] else servers[0], password)
    sentinels = [free_port() for _ in makes]
    for port, make in zip(sentinels, makes):
        group.sentinel(port, servers[0], real=make == "real", extra=extra)
    for port in sentinels:
        acquainted(port, len(makes) - 1, 2)
    return servers, sentinels


def acquainted(port, sentinels, replicas):
    def check():
        m = redis.Redis(port=port).sentinel_master(NAME)
        return m["num-other-sentinels"] == sentinels and m["num-slaves"] == replicas and not m["is_odown"]

    until(check, 30, f"sentinel {port} knows the others")


def raw(port, line):
    """The first bytes of the answer to an inline command."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(line.encode() + b"\r\n")
        return s.recv(4096).decode()


def master_of(port):
    return redis.Redis(port=port, decode_responses=True).sentinel_get_master_addr_by_name(NAME)[1]


def role(port, password=None):
    return redis.Redis(port=port, password=password).role()[0]


@pytest.mark.parametrize("makes", [["ours"] * 3, ["ours", "real", "ours"], ["real", "ours", "real"]],
                         ids=["ours", "mostly-ours", "mostly-real"])
def test_failover_after_the_master_is_killed(group, makes):
    servers, sentinels = start(group, makes)
    listeners = []
    for port in sentinels:
        p = redis.Redis(port=port, decode_responses=True).pubsub()
        p.psubscribe("*")
        listeners.append(p)
    begun = time.monotonic()
    group.kill(f"server-{servers[0]}")
    for port in sentinels:
        until(lambda: master_of(port) != servers[0], 20, "a new master is announced")
    assert time.monotonic() - begun < 12
    new = master_of(sentinels[0])
    assert {master_of(p) for p in sentinels} == {new}
    until(lambda: role(new) == b"master", what="the new master's role")
    other = next(p for p in servers[1:] if p != new)
    until(lambda: redis.Redis(port=other).info("replication")["master_port"] == new, 20, "the other replica follows")
    for p in listeners:
        seen = []
        until(lambda: (m := p.get_message()) is not None and seen.append(m) is None and m["channel"] == "+switch-master",
              what="+switch-master")
        text = next(m["data"] for m in seen if m["channel"] == "+switch-master")
        assert text == f"{NAME} 127.0.0.1 {servers[0]} 127.0.0.1 {new}"
        assert "+sdown" in [m["channel"] for m in seen]
    # The old master comes back and is made a replica.
    group.server(servers[0])
    until(lambda: redis.Redis(port=servers[0]).info("replication").get("master_port") == new, 40, "the old one follows")
    for port in sentinels:
        until(lambda: {int(s["port"]) for s in redis.Redis(port=port).sentinel_slaves(NAME)} == set(servers) - {new},
              what="replicas are listed")


def test_redis_py_finds_master_and_replicas(group):
    servers, sentinels = start(group, ["ours"] * 3, password="secret", extra=f"sentinel auth-pass {NAME} secret\n")
    client = Sentinel([("127.0.0.1", p) for p in sentinels], password="secret", socket_timeout=1)
    assert client.discover_master(NAME) == ("127.0.0.1", servers[0])
    until(lambda: sorted(client.discover_slaves(NAME)) == sorted(("127.0.0.1", p) for p in servers[1:]),
          what="both replicas are usable")
    master, replica = client.master_for(NAME), client.slave_for(NAME)
    assert master.set("k", "v")
    until(lambda: replica.get("k") == b"v", what="the write is replicated")
    group.kill(f"server-{servers[1]}")
    until(lambda: client.discover_slaves(NAME) == [("127.0.0.1", servers[2])], 20, "the dead replica is left out")
    group.kill(f"server-{servers[0]}")
    until(lambda: client.discover_master(NAME) == ("127.0.0.1", servers[2]), 20, "the new master is found")
    until(lambda: master.set("k", "w"), 20, "master_for follows")


def test_forced_failover_and_answers(group):
    servers, sentinels = start(group, ["ours"] * 3)
    s = redis.Redis(port=sentinels[0], decode_responses=True)
    until(lambda: "OK 3 usable Sentinels" in raw(sentinels[0], f"SENTINEL CKQUORUM {NAME}"), what="all are usable")
    assert s.execute_command("ROLE") == ["sentinel", [NAME]]
    info = s.info()
    assert info["redis_mode"] == "sentinel" and info["master0"]["status"] == "ok"
    assert info["master0"]["slaves"] == 2 and info["master0"]["sentinels"] == 3
    assert s.sentinel_masters()[NAME]["quorum"] == 2
    assert len(s.sentinel_sentinels(NAME)) == 2
    for words, text in [(["SENTINEL", "MASTER", "none"], "No such master"),
                        (["SENTINEL", "FAILOVER", "none"], "No such master"),
                        (["SENTINEL", "NONSENSE"], "unknown subcommand"),
                        (["SENTINEL", "MONITOR", NAME, "127.0.0.1", "1", "1"], "Duplicate"),
                        (["SENTINEL", "SET", NAME, "quorum", "x"], "Invalid argument"),
                        (["SENTINEL", "SET", NAME, "notification-script", "/bin/true"], "denied"),
                        (["GET", "k"], "unknown command"),
                        (["PUBLISH", "x", "y"], "HELLO"),
                        (["REPLICASET", "MAP"], "unknown command")]:
        with pytest.raises(redis.ResponseError, match=text):
            s.execute_command(*words)
    assert s.execute_command("SENTINEL", "FAILOVER", NAME)
    new = until(lambda: (m := master_of(sentinels[0])) != servers[0] and m, 20, "a replica is promoted")
    for port in sentinels:
        until(lambda: master_of(port) == new, 20, "all sentinels follow")
    until(lambda: role(servers[0]) == b"slave", 20, "the old master is a replica")
    # Monitoring can be ended and begun at run time.
    s.execute_command("SENTINEL", "REMOVE", NAME)
    assert s.sentinel_masters() == {}
    s.execute_command("SENTINEL", "MONITOR", NAME, "127.0.0.1", new, 2)
    acquainted(sentinels[0], 2, 2)


def test_state_outlives_the_process(group):
    servers, sentinels = start(group, ["ours"] * 3)
    ids = [redis.Redis(port=p).execute_command("SENTINEL", "MYID") for p in sentinels]
    assert len(set(ids)) == 3
    group.kill(f"server-{servers[0]}")
    new = until(lambda: (m := master_of(sentinels[0])) != servers[0] and m, 20, "failover")
    until(lambda: master_of(sentinels[1]) == new, 20, "all know")
    assert group.kill(f"sentinel-{sentinels[0]}", signal.SIGTERM) == 0
    conf = (group.dir / f"sentinel-{sentinels[0]}.conf").read_text()
    assert "# a comment that stays" in conf and f"sentinel monitor {NAME} 127.0.0.1 {new} 2" in conf
    assert conf.count("sentinel known-replica ") == 2 and conf.count("sentinel known-sentinel ") == 2
    group.sentinel(sentinels[0], servers[0])
    assert master_of(sentinels[0]) == new
    m = redis.Redis(port=sentinels[0]).sentinel_master(NAME)
    assert m["num-other-sentinels"] == 2 and m["num-slaves"] == 2 and m["config-epoch"] >= 1
    assert redis.Redis(port=sentinels[0]).execute_command("SENTINEL", "MYID") == ids[0]
    # A real sentinel goes on from the same file.
    group.kill(f"sentinel-{sentinels[0]}", signal.SIGTERM)
    group.sentinel(sentinels[0], servers[0], real=True)
    assert master_of(sentinels[0]) == new


def test_no_failover_without_a_majority(group):
    servers, sentinels = start(group, ["ours"] * 3)
    for port in sentinels[1:]:
        group.kill(f"sentinel-{port}")
    s = redis.Redis(port=sentinels[0])
    until(lambda: all(i["is_sdown"] for i in s.sentinel_sentinels(NAME)), 20, "the others are seen down")
    with pytest.raises(redis.ResponseError, match="NOQUORUM"):
        s.execute_command("SENTINEL", "CKQUORUM", NAME)
    group.kill(f"server-{servers[0]}")
    until(lambda: s.sentinel_master(NAME)["is_sdown"], 20, "the master is seen down")
    time.sleep(3 * DOWN_AFTER_MS / 1000)
    assert master_of(sentinels[0]) == servers[0]
    assert not s.sentinel_master(NAME)["is_odown"]


def test_scripts_are_called(group):
    calls = group.dir / "calls"
    script = group.dir / "script.sh"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    script.chmod(0o755)
    servers, sentinels = start(
        group, ["ours"] * 3,
        extra=f"sentinel notification-script {NAME} {script}\nsentinel client-reconfig-script {NAME} {script}\n")
    group.kill(f"server-{servers[0]}")
    new = until(lambda: (m := master_of(sentinels[0])) != servers[0] and m, 20, "failover")
    text = f"{NAME} leader start 127.0.0.1 {servers[0]} 127.0.0.1 {new}"
    until(lambda: text in calls.read_text(), 20, "the reconfiguration script was called")
    assert f"+sdown master {NAME} 127.0.0.1 {servers[0]}" in calls.read_text()


@pytest.mark.parametrize("line,text", [("nonsense 1", "Bad directive"), ("sentinel nonsense x y", "Unrecognized"),
                                       (f"sentinel monitor {NAME} host 6379 2", "resolve")])
def test_bad_configuration_is_refused(tmp_path, programs, line, text):
    conf = tmp_path / "s.conf"
    conf.write_text(f"port 0\n{line}\n")
    before = conf.read_text()
    done = subprocess.run([*programs["ours"], str(conf)], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and text in done.stderr and "line 2" in done.stderr and line in done.stderr
    assert conf.read_text() == before
