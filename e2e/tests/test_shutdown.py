"""The ends of a process, and bad input at its start: in order or by force nothing promised is lost, what is wrong is said
clearly, and nothing is overwritten."""

import hashlib
import os
import signal

import pytest
import redis
from harness.process import DidNotStart
from harness.wait import until
from harness.writer import Writer

NOBODY = 65534
AOF = {"appendonly": "yes"}
RDB = {"appendonly": "no", "save": "3600 1"}


def fill(client, count=500):
    with client.pipeline(transaction=False) as pipe:
        for n in range(count):
            pipe.set(f"key:{n}", f"value {n}")
        pipe.execute()


def incr_file(server):
    return max((server.dir / "appendonlydir").glob("*.incr.aof"))


def fingerprint(directory):
    """Every data file with its content's hash."""
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.rglob("*")) if path.is_file() and ("aof" in path.name or path.suffix == ".rdb")}


def refuses_to_start(server, *words):
    """It ends with an error, and its log has all the words."""
    server.spawn()
    assert server.wait_exit() not in (0, -signal.SIGSEGV, -signal.SIGABRT), server.log_tail()
    log = server.log().lower()
    for word in words:
        assert word.lower() in log, f"{word!r} is not in:\n{server.log_tail()}"


@pytest.mark.parametrize("conf", [AOF, RDB, {**AOF, "save": "3600 1"}], ids=["aof", "rdb", "both"])
def test_sigterm_loses_nothing(servers, ours, conf):
    server = servers.start(ours, conf)
    with Writer(server.client, rate=500) as writer:
        until("writes", lambda: writer.count() >= 500)
        assert server.terminate() == 0
    server.start()
    with server.client() as client:
        assert writer.missing(client) == []


@pytest.mark.parametrize("command, kept", [(("SHUTDOWN",), True), (("SHUTDOWN", "SAVE"), True), (("SHUTDOWN", "NOSAVE"), False)])
def test_shutdown_command(servers, ours, command, kept):
    server = servers.start(ours, RDB)
    with server.client() as client:
        client.set("a", "1")
        with pytest.raises(redis.ConnectionError):
            client.execute_command(*command)
    assert server.wait_exit() == 0
    server.start()
    with server.client() as client:
        assert client.exists("a") == kept


def test_sigint_is_in_order_too(servers, ours):
    server = servers.start(ours, RDB)
    with server.client() as client:
        client.set("a", "1")
    os.kill(server.pid, signal.SIGINT)
    assert server.wait_exit() == 0
    with server.start().client() as client:
        assert client.get("a") == "1"


def test_sigterm_waits_for_a_replica_that_is_behind(servers, ours):
    master = servers.start(ours, {"shutdown-timeout": 10})
    replica = servers.start(ours, {"replicaof": f"127.0.0.1 {master.port}"})
    with master.client() as one, replica.client() as other:
        until("the replica is in sync", lambda: other.info("replication")["master_link_status"] == "up")
        with replica.frozen():
            fill(one)
            os.kill(master.pid, signal.SIGTERM)
            with pytest.raises(AssertionError, match="still running"):
                master.wait_exit(0.5)
        assert master.wait_exit() == 0
        assert other.get("key:499") == "value 499"


@pytest.mark.parametrize("round_", range(3))
def test_kill_with_fsync_always_loses_nothing_acknowledged(servers, ours, round_):
    server = servers.start(ours, {**AOF, "appendfsync": "always"})
    with Writer(server.client, rate=1000) as writer:
        until("writes", lambda: writer.count() >= 300 * (round_ + 1))
        server.kill()
    server.start()
    with server.client() as client:
        assert writer.missing(client) == []


def test_kill_during_a_rewrite_loses_nothing_acknowledged(servers, ours):
    server = servers.start(ours, {**AOF, "appendfsync": "always"})
    with server.client() as client:
        fill(client, 50_000)
        with Writer(server.client, rate=1000) as writer:
            until("writes", lambda: writer.count() >= 50)
            client.bgrewriteaof()
            until("writes meanwhile", lambda: writer.count() >= 100)
            server.kill()
    server.start()
    with server.client() as client:
        assert client.get("key:49999") == "value 49999"
        assert writer.missing(client) == []


def test_unknown_directive(servers, ours):
    refuses_to_start(servers.new(ours, {"no-such-directive": "1"}), "FATAL CONFIG FILE ERROR", "no-such-directive", "line")


@pytest.mark.parametrize("name, value", [("appendfsync", "sometimes"), ("maxmemory", "lots"), ("port", "99999999"), ("save", "60")])
def test_bad_value_of_a_directive(servers, ours, name, value):
    server = servers.new(ours)
    server.conf.write_text(f"{name} {value}\n")
    refuses_to_start(server, "FATAL CONFIG FILE ERROR", f"{name} {value}")


def test_missing_configuration_file(servers, ours):
    server = servers.new(ours)
    server.conf.unlink()
    refuses_to_start(server, "can't open config file", str(server.conf))


def test_missing_directory(servers, ours):
    refuses_to_start(servers.new(ours, {"dir": "/nonexistent/data"}), "/nonexistent/data", "No such file or directory")


def test_port_in_use(servers, ours):
    first = servers.start(ours)
    refuses_to_start(servers.new(ours, port=first.port), "in use")
    with first.client() as client:
        assert client.ping()


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
def test_corrupt_rdb(servers, ours, damage):
    server = servers.start(ours, RDB)
    with server.client() as client:
        fill(client)
        client.save()
    server.kill()
    path = server.dir / "dump.rdb"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:len(data) // 2]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0x55
    elif damage == "garbage":
        data = bytearray(b"this is no snapshot" * 100)
    else:
        data = bytearray()
    path.write_bytes(data)
    before = fingerprint(server.dir)
    refuses_to_start(server, *{"garbage": ["wrong signature"]}.get(damage, ["rdb"]))
    assert fingerprint(server.dir) == before


def test_aof_cut_at_its_end_is_loaded_up_to_there(servers, ours):
    server = servers.start(ours, {**AOF, "appendfsync": "always"})
    with server.client() as client:
        fill(client)
        client.set("last", "x" * 1000)
    server.kill()
    path = incr_file(server)
    os.truncate(path, path.stat().st_size - 10)
    server.start()
    assert "truncated" in server.log().lower()
    with server.client() as client:
        assert client.dbsize() == 500 and not client.exists("last")
        client.set("again", "1")
    server.kill()
    with server.start().client() as client:
        assert client.get("again") == "1"


def test_aof_cut_at_its_end_is_refused_where_asked(servers, ours):
    server = servers.start(ours, {**AOF, "appendfsync": "always", "aof-load-truncated": "no"})
    with server.client() as client:
        fill(client)
    server.kill()
    path = incr_file(server)
    os.truncate(path, path.stat().st_size - 10)
    before = fingerprint(server.dir)
    refuses_to_start(server, path.name)
    assert fingerprint(server.dir) == before


def test_aof_damaged_in_its_middle(servers, ours):
    server = servers.start(ours, {**AOF, "appendfsync": "always"})
    with server.client() as client:
        fill(client)
    server.kill()
    path = incr_file(server)
    data = bytearray(path.read_bytes())
    middle = data.index(b"*3\r\n", len(data) // 2)
    data[middle:middle + 4] = b"!!!!"
    path.write_bytes(data)
    before = fingerprint(server.dir)
    refuses_to_start(server, "format", path.name)
    assert fingerprint(server.dir) == before


def test_aof_transaction_cut_in_its_middle_is_left_out_whole(servers, ours):
    server = servers.start(ours, {**AOF, "appendfsync": "always"})
    with server.client() as client:
        client.set("before", "1")
        with client.pipeline(transaction=True) as pipe:
            pipe.set("a", "1").set("b", "2").set("c", "3").execute()
    server.kill()
    path = incr_file(server)
    data = path.read_bytes()
    path.write_bytes(data[:data.rindex(b"*3\r\n$3\r\nSET")])
    with server.start().client() as client:
        assert client.get("before") == "1"
        assert client.exists("a", "b", "c") == 0


@pytest.mark.parametrize("damage", ["missing base", "missing manifest line", "garbage manifest"])
def test_damaged_aof_directory(servers, ours, damage):
    server = servers.start(ours, AOF)
    with server.client() as client:
        fill(client)
    server.kill()
    directory = server.dir / "appendonlydir"
    manifest = directory / "appendonly.aof.manifest"
    if damage == "missing base":
        max(directory.glob("*.base.*")).rename(server.dir / "kept-elsewhere")
    elif damage == "missing manifest line":
        manifest.write_text("file seq 1\n")
    else:
        manifest.write_bytes(b"\x00\x01\x02 garbage\n")
    before = fingerprint(server.dir)
    refuses_to_start(server, "aof")
    assert fingerprint(server.dir) == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take a directory from another user")
@pytest.mark.parametrize("conf, name", [(RDB, "dump.rdb"), (AOF, "appendonlydir")], ids=["rdb", "aof"])
def test_unreadable_volume(servers, ours, conf, name):
    server = servers.start(ours, conf)
    with server.client() as client:
        fill(client)
        client.save()
    server.terminate()
    before = fingerprint(server.dir)
    (server.dir / name).chmod(0)
    server.user = NOBODY
    os.chown(server.dir, NOBODY, -1)
    refuses_to_start(server, "permission denied")
    (server.dir / name).chmod(0o755)
    assert fingerprint(server.dir) == before


def test_disk_that_cannot_be_written_stops_writes_but_not_reads(servers, ours):
    server = servers.start(ours, {"appendonly": "no", "save": "3600 1000000"})
    with server.client() as client:
        client.set("a", "1")
        (server.dir / "dump.rdb").mkdir()  # whose renaming over it fails
        client.bgsave()
        until("the failure is seen", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 20)
        with pytest.raises(redis.ResponseError, match="^MISCONF"):
            client.set("a", "2")
        assert client.get("a") == "1"
        (server.dir / "dump.rdb").rmdir()
        client.bgsave()
        until("it works again", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", 20)
        assert client.set("a", "2")


def test_wrong_password(servers, ours):
    server = servers.start(ours, {"requirepass": "right"})
    with server.client(password=None, protocol=2) as client:
        with pytest.raises(redis.AuthenticationError, match="^Authentication required.$"):
            client.set("a", "1")
    with server.client(password="wrong") as client:
        with pytest.raises(redis.AuthenticationError, match="invalid username-password pair"):
            client.ping()
    with server.client() as client:
        assert client.set("a", "1")


def test_a_failed_start_raises_with_the_log(servers, ours):
    with pytest.raises(DidNotStart, match="no-such-directive"):
        servers.start(ours, {"no-such-directive": "1"})


def test_replicas_that_lack_something_are_named(servers, ours):
    master, replica = servers.start(ours, {"shutdown-timeout": 1, "repl-diskless-sync-delay": 0}), servers.start(ours)
    with master.client() as m, replica.client() as r:
        r.replicaof("127.0.0.1", master.port)
        until("the link is up", lambda: r.info("replication")["master_link_status"] == "up")
        os.kill(replica.pid, signal.SIGSTOP)
        m.set("a", "1")
    try:
        assert master.terminate() == 0
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    log = master.log()
    assert "Waiting for replicas before shutting down." in log and "0 of 1 replicas are in sync when shutting down." in log
    assert "Lagging replica 127.0.0.1:" in log and "behind master, lag=" in log


def test_a_log_that_has_no_base_yet_is_not_left(servers, ours):
    """The files of an earlier log would be loaded instead."""
    server = servers.start(ours, {"save": "", "rdb-key-save-delay": 30_000_000})
    with server.client() as client:
        client.set("a", "1")
        client.config_set("appendonly", "yes")
        with pytest.raises(redis.ResponseError, match="Errors trying to SHUTDOWN"):
            client.execute_command("SHUTDOWN")
        assert "Writing initial AOF, can't exit." in server.log()
        client.config_set("rdb-key-save-delay", 0)
        until("the base", lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        # The first incremental file is the one that was begun with the log.
        manifest = (server.dir / "appendonlydir" / "appendonly.aof.manifest").read_text()
        assert manifest == "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
        client.set("b", "1")
        client.config_rewrite()
    assert server.terminate() == 0
    server.start()
    with server.client() as client:
        assert client.mget("a", "b") == ["1", "1"]


def test_a_base_without_a_log(servers, ours):
    """`BGREWRITEAOF` under `appendonly no`; the log that is begun afterwards goes on from nothing of it."""
    server = servers.start(ours, {"save": "", "enable-debug-command": "yes"})
    manifest = server.dir / "appendonlydir" / "appendonly.aof.manifest"
    with server.client() as client:
        client.set("a", "1")
        client.bgrewriteaof()
        until("the base", lambda: not client.info("persistence")["aof_rewrite_in_progress"] and manifest.exists())
        assert manifest.read_text() == "file appendonly.aof.1.base.rdb seq 1 type b\n"
        client.set("b", "1")
        client.execute_command("DEBUG", "LOADAOF")
        assert client.keys() == ["a"]
        client.set("c", "1")
        client.config_set("appendonly", "yes")
        until("its base", lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        assert manifest.read_text() == ("file appendonly.aof.2.base.rdb seq 2 type b\n"
                                        "file appendonly.aof.1.incr.aof seq 1 type i\n")
        client.set("d", "1")
        client.execute_command("DEBUG", "LOADAOF")
        assert sorted(client.keys()) == ["a", "c", "d"]


def test_flushall_gives_up_what_is_being_saved(servers, ours):
    server = servers.start(ours, {"save": "", "rdb-key-save-delay": 100_000})
    with server.client() as client:
        fill(client)
        client.bgsave()
        assert client.info("persistence")["rdb_bgsave_in_progress"] == 1
        client.flushall()
        info = client.info("persistence")
        assert info["rdb_bgsave_in_progress"] == 0 and info["rdb_changes_since_last_save"] >= 1000
        assert not list(server.dir.glob("*.rdb"))


def test_a_server_that_cannot_save_says_so_to_whoever_pings(servers, ours, peer):
    for program in (ours, peer):
        server = servers.start(program, {"save": "3600 1", "dbfilename": "taken"})
        (server.dir / "taken").mkdir()
        with server.client(single_connection_client=True) as client:
            client.set("a", "1")
            client.bgsave()
            until("it fails", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
            with pytest.raises(redis.ResponseError, match="MISCONF Redis is configured to save RDB snapshots"):
                client.execute_command("PING")
            client.config_set("save", "")
            assert client.ping()
