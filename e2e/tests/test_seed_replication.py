"""A master and its slaves, each from its own configuration file, the way tutorials set them up."""

import pytest
import redis
from harness.wait import until

PASSWORD = "master_password"
MASTER_CONF = {"requirepass": PASSWORD, "masterauth": PASSWORD, "min-replicas-to-write": 1, "min-replicas-max-lag": 10,
               "save": ["900 1", "300 10", "60 10000"], "appendonly": "yes", "appendfsync": "everysec",
               "repl-ping-replica-period": 1}


def slave_conf(master, **more):
    return {"replicaof": f"127.0.0.1 {master.port}", "masterauth": PASSWORD, "requirepass": PASSWORD,
            "replica-read-only": "yes", "replica-priority": 100, "save": '""', "appendonly": "no", **more}


def in_sync(slave):
    return slave.info("replication")["master_link_status"] == "up"


@pytest.fixture
def trio(servers, ours):
    """Clients of a master and of two slaves that are in sync with it."""
    master = servers.start(ours, MASTER_CONF)
    slaves = [servers.start(ours, slave_conf(master)) for _ in range(2)]
    clients = [server.client() for server in (master, *slaves)]
    for client in clients[1:]:
        until("the slave is in sync", lambda: in_sync(client))
    until("the master counts both", lambda: clients[0].info("replication")["connected_slaves"] == 2)
    yield clients
    for client in clients:
        client.close()


def test_what_is_written_to_the_master_is_read_from_the_slaves(trio):
    master, *slaves = trio
    master.set("greeting", "merhaba")
    master.hset("user:1", mapping={"name": "ada", "age": "36"})
    master.rpush("queue", *range(100))
    assert master.wait(2, 5000) == 2
    for slave in slaves:
        assert slave.get("greeting") == "merhaba"
        assert slave.hgetall("user:1") == {"name": "ada", "age": "36"}
        assert slave.llen("queue") == 100


def test_a_slave_refuses_writes(trio):
    with pytest.raises(redis.exceptions.ReadOnlyError):
        trio[1].set("a", "1")


def test_info_replication_of_both_sides(trio):
    master, slave, _ = trio
    info = master.info("replication")
    assert info["role"] == "master"
    ports = {client.connection_pool.connection_kwargs["port"] for client in trio[1:]}
    assert {info[f"slave{n}"]["port"] for n in (0, 1)} == ports
    for n in (0, 1):
        assert info[f"slave{n}"]["ip"] == "127.0.0.1" and info[f"slave{n}"]["state"] == "online"
        assert isinstance(info[f"slave{n}"]["offset"], int) and isinstance(info[f"slave{n}"]["lag"], int)
    assert len(info["master_replid"]) == 40
    seen = slave.info("replication")
    assert seen["role"] == "slave" and seen["master_host"] == "127.0.0.1"
    assert seen["master_port"] == master.connection_pool.connection_kwargs["port"]
    assert seen["slave_read_only"] == 1 and seen["slave_priority"] == 100
    assert seen["master_replid"] == info["master_replid"]
    until("equal offsets", lambda: slave.info("replication")["slave_repl_offset"]
          == master.info("replication")["master_repl_offset"])


def test_role_of_both_sides(trio):
    master, slave, _ = trio
    def of_master():
        role, offset, slaves = master.role()
        return role == "master" and offset > 0 and {tuple(one)[:2] for one in slaves} == {
            ("127.0.0.1", str(client.connection_pool.connection_kwargs["port"])) for client in trio[1:]}
    until("the master names both slaves", of_master)
    port = master.connection_pool.connection_kwargs["port"]
    until("the slave names its master", lambda: slave.role()[:4] == ["slave", "127.0.0.1", port, "connected"])


def test_a_master_without_slaves_refuses_writes_and_serves_reads(servers, ours):
    with servers.start(ours, MASTER_CONF).client() as master:
        with pytest.raises(redis.ResponseError, match="^NOREPLICAS Not enough good replicas to write.$"):
            master.set("a", "1")
        assert master.get("a") is None


def test_a_slave_with_the_wrong_password_says_so_and_gets_nothing(servers, ours):
    master = servers.start(ours, {**MASTER_CONF, "min-replicas-to-write": 0})
    slave = servers.start(ours, {**slave_conf(master), "masterauth": "wrong"})
    with master.client() as at_master, slave.client() as at_slave:
        at_master.set("secret", "1")
        until("the log names the reason", lambda: "WRONGPASS" in slave.log())
        assert at_slave.info("replication")["master_link_status"] == "down"
        assert at_slave.dbsize() == 0
        at_slave.config_set("masterauth", PASSWORD)
        until("the slave is in sync", lambda: in_sync(at_slave), 20)
        until("the data is there", lambda: at_slave.get("secret") == "1")


def test_a_slave_that_was_away_catches_up(servers, ours):
    master = servers.start(ours, MASTER_CONF)
    slave, other = (servers.start(ours, slave_conf(master)) for _ in range(2))
    with master.client() as at_master:
        until("two good slaves", lambda: at_master.info("replication").get("min_slaves_good_slaves") == 2)
        at_master.set("before", "1")
        slave.kill()
        until("the loss is noticed", lambda: at_master.info("replication")["connected_slaves"] == 1)
        at_master.set("meanwhile", "2")
        slave.start()
        with slave.client() as at_slave:
            until("the slave is in sync", lambda: in_sync(at_slave))
            until("both keys", lambda: at_slave.mget("before", "meanwhile") == ["1", "2"])


def test_promoted_and_demoted_while_running(trio):
    master, slave, other = trio
    master.config_set("min-replicas-to-write", 0)
    master.set("a", "1")
    assert master.wait(2, 5000) == 2
    slave.replicaof("NO", "ONE")
    assert slave.role()[0] == "master"
    slave.set("b", "2")
    host, port = "127.0.0.1", slave.connection_pool.connection_kwargs["port"]
    for client in (master, other):
        client.replicaof(host, port)
        until("follows the new master", lambda: in_sync(client), 20)
        until("has both keys", lambda: client.mget("a", "b") == ["1", "2"])
    # Both shared the new master's history, so nothing had to be copied again.
    assert slave.info("stats")["sync_full"] == 0
    assert slave.info("stats")["sync_partial_ok"] == 2
