"""Three sentinels, a master and two slaves from plain configuration files, and what a manager of them does."""

import time

import pytest
import redis
from redis.sentinel import MasterNotFoundError, Sentinel, SlaveNotFoundError
from harness.process import free_port
from harness.wait import until
from harness.writer import TIMEOUTS, Writer

PASSWORD = "master_password"
NAME = "mymaster"
# More than the second after which Redis' sentinel asks a new master for the first time: else it may take it for down at once.
DOWN_AFTER_MS = 2000
FAILOVER_S = 30
ERRORS = (redis.RedisError, OSError)


class Deployment:
    """One master, two slaves, three sentinels."""

    def __init__(self, servers, data, sentinels):
        self.servers = servers
        conf = {"requirepass": PASSWORD, "masterauth": PASSWORD, "appendonly": "yes", "repl-ping-replica-period": 1}
        master = servers.start(data, conf)
        slaves = [servers.start(data, {**conf, "replicaof": f"127.0.0.1 {master.port}"}) for _ in range(2)]
        self.data = {server.port: server for server in (master, *slaves)}
        self.first = master
        self.scripts = servers.new(data).dir
        for script in ("notify", "reconfig"):
            path = self.scripts / f"{script}.sh"
            path.write_text(f'#!/bin/sh\necho "$@" >> {self.scripts}/{script}.txt\n')
            path.chmod(0o755)
        self.sentinels = [self._sentinel(implementation, free_port()) for implementation in sentinels]
        self.hosts = [sentinel.address for sentinel in self.sentinels]
        self.discovery = Sentinel(self.hosts, socket_timeout=1.0)
        self.settle()

    def _sentinel(self, implementation, port):
        text = f"""\
sentinel monitor {NAME} 127.0.0.1 {self.first.port} 2
sentinel auth-pass {NAME} {PASSWORD}
sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}
sentinel parallel-syncs {NAME} 1
sentinel failover-timeout {NAME} 10000
sentinel notification-script {NAME} {self.scripts}/notify.sh
sentinel client-reconfig-script {NAME} {self.scripts}/reconfig.sh
"""
        return self.servers.new(implementation, mode="redis-sentinel", text=text, port=port).start()

    def settle(self, slaves=2):
        """Waits until every sentinel knows the other two and so many slaves that are well."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                def knows():
                    master = client.sentinel_master(NAME)
                    return (master["num-other-sentinels"], master["num-slaves"]) == (2, slaves)
                until("the sentinel knows everybody", knows, 30, ignore=ERRORS)

    def master_port(self):
        return self.discovery.discover_master(NAME)[1]

    def master(self, **options):
        return self.discovery.master_for(NAME, password=PASSWORD, decode_responses=True, **options)

    def slave(self, **options):
        return self.discovery.slave_for(NAME, password=PASSWORD, decode_responses=True, **options)

    def wait_failover(self, old):
        """Waits until all sentinels name the same master, another than `old`, which says so itself."""
        def agreed():
            named = set()
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    named.add(client.sentinel_get_master_addr_by_name(NAME))
            (address,) = named
            with self.data[address[1]].client() as client:
                return address[1] if address[1] != old and client.role()[0] == "master" else None
        return until("the sentinels agree on another master", agreed, FAILOVER_S, ignore=(*ERRORS, ValueError))

    def wait_replica(self, port, master):
        def follows():
            with self.data[port].client() as client:
                info = client.info("replication")
            return (info["role"], info.get("master_port"), info.get("master_link_status")) == ("slave", master, "up")
        until(f"{port} is a slave of {master}", follows, FAILOVER_S, ignore=ERRORS)


# Who keeps the data, and the three who watch.
ALL_OURS = ("ours", ["ours"] * 3)
MIXES = {"all ours": ALL_OURS, "our sentinels watch Redis": ("peer", ["ours"] * 3),
         "Redis' sentinels watch ours": ("ours", ["peer"] * 3), "sentinels of both": ("ours", ["ours", "peer", "ours"])}
in_every_mix = pytest.mark.parametrize("deployment", MIXES.values(), ids=MIXES, indirect=True)


@pytest.fixture
def deployment(servers, request):
    data, sentinels = getattr(request, "param", ALL_OURS)
    return Deployment(servers, request.getfixturevalue(data), [request.getfixturevalue(one) for one in sentinels])


def test_manager_reads_the_state(deployment):
    assert deployment.discovery.discover_master(NAME) == ("127.0.0.1", deployment.first.port)
    slaves = until("both slaves are offered", lambda: (s := deployment.discovery.discover_slaves(NAME)) and len(s) == 2 and s)
    assert {port for _, port in slaves} == set(deployment.data) - {deployment.first.port}
    for sentinel in deployment.sentinels:
        with sentinel.client() as client:
            info = client.info()
            assert info["redis_mode"] == "sentinel" and isinstance(info["uptime_in_seconds"], int)
            assert info["sentinel_masters"] == 1 and info["sentinel_tilt"] == 0
            assert info["master0"]["name"] == NAME and info["master0"]["status"] == "ok"
            assert (info["master0"]["slaves"], info["master0"]["sentinels"]) == (2, 3)
            assert client.ping() is True


def test_sentinel_commands_answer_what_was_configured(deployment):
    with deployment.sentinels[0].client() as client:
        master = client.sentinel_master(NAME)
        assert (master["ip"], master["port"], master["quorum"]) == ("127.0.0.1", deployment.first.port, 2)
        assert master["down-after-milliseconds"] == DOWN_AFTER_MS
        assert (master["failover-timeout"], master["parallel-syncs"]) == (10000, 1)
        assert master["flags"] == "master" and len(master["runid"]) == 40
        assert master["notification-script"].endswith("notify.sh")
        assert master["client-reconfig-script"].endswith("reconfig.sh")
        assert list(client.sentinel_masters()) == [NAME]
        slaves = client.sentinel_slaves(NAME)
        assert {slave["port"] for slave in slaves} == set(deployment.data) - {deployment.first.port}
        assert {sentinel["port"] for sentinel in client.sentinel_sentinels(NAME)} == {
            sentinel.port for sentinel in deployment.sentinels[1:]}
        until("all three can be used", lambda: client.execute_command("SENTINEL", "CKQUORUM", NAME).startswith(
            "OK 3 usable Sentinels"))
        assert client.sentinel_get_master_addr_by_name("nobody") is None
        with pytest.raises(redis.ResponseError, match="No such master with that name"):
            client.sentinel_master("nobody")


@in_every_mix
def test_clients_by_sentinel_write_and_read(deployment):
    key, value = "failover:test", f"value-{time.time_ns()}"
    master = deployment.master(socket_timeout=1.0)
    assert master.set(key, value)
    assert master.wait(2, 5000) == 2
    slave = deployment.slave(socket_timeout=1.0)
    assert slave.role()[0] == "slave"
    assert slave.get(key) == value


def test_unknown_master(deployment):
    with pytest.raises(MasterNotFoundError):
        deployment.discovery.discover_master("nobody")
    with pytest.raises(SlaveNotFoundError):
        deployment.discovery.slave_for("nobody").ping()


@in_every_mix
def test_master_is_killed_and_comes_back(deployment):
    old = deployment.first.port
    deployment.master().set("before", "1")
    assert deployment.master().wait(2, 5000) == 2
    with deployment.sentinels[0].client() as client, client.pubsub() as events:
        events.psubscribe("*")
        assert events.get_message(timeout=5)["type"] == "psubscribe"
        deployment.first.kill()
        new = deployment.wait_failover(old)
        seen = {}

        def announced():
            while message := events.get_message(timeout=0.05):
                seen[message["channel"]] = message["data"]
            return "+switch-master" in seen
        until("+switch-master is published", announced)
    assert seen["+switch-master"] == f"{NAME} 127.0.0.1 {old} 127.0.0.1 {new}"
    assert seen["+sdown"].startswith(f"master {NAME} 127.0.0.1 {old}")
    assert deployment.master_port() == new
    assert deployment.master().get("before") == "1"
    assert deployment.master().set("after", "2")

    (third,) = set(deployment.data) - {old, new}
    deployment.wait_replica(third, new)
    deployment.first.start()
    deployment.wait_replica(old, new)
    with deployment.data[old].client() as client:
        until("the old master has the new data", lambda: client.get("after") == "2")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("x", "1")
    deployment.settle()

    notified = until("the notification script ran", lambda: lines(deployment.scripts / "notify.txt"))
    assert any(line.startswith(f"+sdown master {NAME} 127.0.0.1 {old}") for line in notified), notified
    reconfigured = until("the reconfiguration script ran", lambda: lines(deployment.scripts / "reconfig.txt"))
    assert f"{NAME} leader start 127.0.0.1 {old} 127.0.0.1 {new}" in reconfigured


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_a_stream_of_writes_goes_on_after_the_failover(deployment):
    writer = Writer(lambda: deployment.master(**TIMEOUTS))
    with writer:
        until("some writes", lambda: writer.count() > 50)
        deployment.first.kill()
        killed = time.monotonic()
        new = deployment.wait_failover(deployment.first.port)
        until("writes again", lambda: writer.acknowledged_after(killed + 0.5) > 50, FAILOVER_S)
    assert deployment.master_port() == new
    assert writer.outage() < 15, writer.errors
    # Without WAIT, Redis promises nothing about the last instant: only what was acknowledged a second before counts.
    lost = [write for write in writer.missing(deployment.master()) if write.acknowledged < killed - 1.0]
    assert lost == []


def test_a_frozen_master_is_replaced_and_follows_when_it_wakes(deployment):
    old = deployment.first.port
    with deployment.first.frozen():
        new = deployment.wait_failover(old)
    deployment.wait_replica(old, new)
    assert deployment.master().set("a", "1")


def test_failover_by_command_moves_the_master(deployment):
    old = deployment.first.port
    until("two slaves in a state to be promoted", lambda: len(deployment.discovery.discover_slaves(NAME)) == 2)
    with deployment.sentinels[1].client() as client:
        def accepted():
            return client.execute_command("SENTINEL", "FAILOVER", NAME) == "OK"
        until("SENTINEL FAILOVER is accepted", accepted, 20, ignore=(redis.ResponseError,))
    new = deployment.wait_failover(old)
    deployment.wait_replica(old, new)


def test_sentinels_remember_after_a_restart(deployment):
    old = deployment.first.port
    deployment.first.kill()
    new = deployment.wait_failover(old)
    for sentinel in deployment.sentinels:
        sentinel.terminate()
        sentinel.start()
    for sentinel in deployment.sentinels:
        with sentinel.client() as client:
            assert client.sentinel_get_master_addr_by_name(NAME) == ("127.0.0.1", new)
    deployment.first.start()
    deployment.wait_replica(old, new)


def test_without_a_majority_nothing_is_decided(deployment):
    for sentinel in deployment.sentinels[1:]:
        sentinel.kill()
    deployment.first.kill()
    with deployment.sentinels[0].client() as client:
        until("the lone sentinel finds the master down", lambda: "s_down" in client.sentinel_master(NAME)["flags"], 15)
        assert client.sentinel_get_master_addr_by_name(NAME) == ("127.0.0.1", deployment.first.port)

        def no_quorum():
            with pytest.raises(redis.ResponseError, match="NOQUORUM"):
                client.execute_command("SENTINEL", "CKQUORUM", NAME)
            return True
        # pytest's own failure is no AssertionError.
        until("the lone sentinel says that it has no quorum", no_quorum, ignore=(pytest.fail.Exception,))
    for port in set(deployment.data) - {deployment.first.port}:
        with deployment.data[port].client() as client:
            assert client.role()[0] == "slave"
