"""A persistence manager as people write it: reads INFO, takes snapshots, changes settings while running, keeps backups."""

import json
import shutil
import subprocess
import time

import pytest
from harness.wait import until

CONF_HEAD = """\
# Snapshots
save 900 1
save 300 10
save 60 10000
dbfilename dump.rdb
rdbcompression yes
rdbchecksum yes
stop-writes-on-bgsave-error yes

# Append-only file
appendonly yes
appendfilename "appendonly.aof"
# everysec is what most want
appendfsync everysec
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
aof-load-truncated yes
aof-use-rdb-preamble yes
"""

NUMBERS = ("loading", "async_loading", "rdb_changes_since_last_save", "rdb_bgsave_in_progress", "rdb_last_save_time",
           "rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec", "rdb_saves", "rdb_last_cow_size",
           "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded", "aof_enabled", "aof_rewrite_in_progress",
           "aof_rewrite_scheduled", "aof_last_rewrite_time_sec", "aof_current_rewrite_time_sec", "aof_last_cow_size",
           "aof_rewrites")
AOF_NUMBERS = ("aof_current_size", "aof_base_size", "aof_pending_rewrite", "aof_buffer_length",
               "aof_pending_bio_fsync", "aof_delayed_fsync")
STATES = ("rdb_last_bgsave_status", "aof_last_bgrewrite_status", "aof_last_write_status")


@pytest.fixture
def server(servers, ours):
    return servers.start(ours, {"save": ["900 1", "300 10", "60 10000"], "appendonly": "yes", "appendfsync": "everysec"})


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def idle(client):
    """INFO persistence once no snapshot and no rewrite is running or waiting."""
    def probe():
        info = client.info("persistence")
        busy = (info["rdb_bgsave_in_progress"], info["aof_rewrite_in_progress"], info["aof_rewrite_scheduled"])
        return info if not any(busy) else None
    return until("no snapshot and no rewrite is running", probe, 30)


def fill(client, count):
    with client.pipeline(transaction=False) as pipe:
        for n in range(count):
            pipe.set(f"test:key:{n}", f"value_{n}")
            pipe.hset(f"test:hash:{n}", mapping={"field1": f"value1_{n}", "field2": f"value2_{n}", "at": time.time()})
        pipe.execute()


def content(client):
    """Every key with its value, for strings and hashes."""
    found = {}
    for key in client.scan_iter(count=1000):
        found[key] = client.get(key) if client.type(key) == "string" else client.hgetall(key)
    return found


def test_info_has_every_field_with_its_type(client):
    info = client.info("persistence")
    for name in NUMBERS + AOF_NUMBERS:
        assert isinstance(info[name], int), name
    for name in STATES:
        assert info[name] == "ok", name
    assert info["aof_enabled"] == 1
    assert abs(info["rdb_last_save_time"] - time.time()) < 60
    assert info["rdb_current_bgsave_time_sec"] == info["aof_current_rewrite_time_sec"] == -1


def test_fields_of_the_aof_are_absent_while_it_is_off(servers, ours):
    with servers.start(ours, {"appendonly": "no"}).client() as client:
        info = client.info("persistence")
    assert info["aof_enabled"] == 0
    assert not set(AOF_NUMBERS) & set(info)


def test_background_snapshot_is_counted_and_written(server, client):
    fill(client, 1000)
    before = client.info("persistence")
    assert before["rdb_changes_since_last_save"] >= 2000
    assert client.bgsave() is True
    after = idle(client)
    assert after["rdb_saves"] == before["rdb_saves"] + 1
    assert after["rdb_last_bgsave_status"] == "ok"
    assert after["rdb_changes_since_last_save"] == 0
    assert after["rdb_last_bgsave_time_sec"] >= 0
    assert client.lastsave().timestamp() == after["rdb_last_save_time"] >= before["rdb_last_save_time"]
    assert (server.dir / "dump.rdb").read_bytes()[:5] == b"REDIS"


def test_foreground_snapshot(server, client):
    client.set("a", "1")
    assert client.save() is True
    assert client.info("persistence")["rdb_changes_since_last_save"] == 0
    assert (server.dir / "dump.rdb").stat().st_size > 0


def test_save_points_take_effect(servers, ours):
    server = servers.start(ours, {"save": "1 5"})
    with server.client() as client:
        fill(client, 5)
        until("a snapshot by itself", lambda: client.info("persistence")["rdb_saves"] >= 1, 15)
        assert idle(client)["rdb_last_bgsave_status"] == "ok"
    assert (server.dir / "dump.rdb").exists()


def test_rewrite_shortens_the_log(client):
    for n in range(2000):
        client.set("counter", n)
    before = idle(client)
    assert client.bgrewriteaof()
    after = until("the rewrite is counted", lambda: (i := idle(client))["aof_rewrites"] > before["aof_rewrites"] and i)
    assert after["aof_last_bgrewrite_status"] == "ok"
    assert after["aof_current_size"] < before["aof_current_size"]
    assert 0 < after["aof_base_size"] <= after["aof_current_size"]
    assert client.get("counter") == "1999"


def test_settings_change_while_running_and_are_written_back(servers, ours):
    server = servers.new(ours, {}, text=CONF_HEAD)
    # The text decides, not the defaults of the harness before it.
    server.conf.write_text(f"port {server.port}\nbind 127.0.0.1\ndir {server.dir}\n" + CONF_HEAD)
    server.start()
    with server.client() as client:
        assert client.config_get("save") == {"save": "900 1 300 10 60 10000"}
        client.config_set("save", "")
        assert client.config_get("save") == {"save": ""}
        client.config_set("save", "300 10 60 1000")
        client.config_set("appendfsync", "always")
        client.config_set("appendonly", "no")
        client.config_set("maxmemory", "100mb")
        assert client.config_rewrite() == "OK"
    lines = server.conf.read_text().splitlines()
    assert [line for line in lines if line.startswith("save")] == ["save 300 10", "save 60 1000"]
    for kept in ("# Snapshots", "# Append-only file", "# everysec is what most want", "appendfsync always", "appendonly no"):
        assert lines.count(kept) == 1, kept
    assert lines.index("# everysec is what most want") + 1 == lines.index("appendfsync always"), "changed in its place"
    assert lines.index("# Generated by CONFIG REWRITE") < lines.index("maxmemory 100mb"), "what is new comes last"
    server.terminate()
    server.start()
    with server.client() as client:
        wanted = {"save": "300 10 60 1000", "appendfsync": "always", "appendonly": "no", "maxmemory": "104857600"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted


def test_the_log_is_switched_off_and_on_while_running(server, client):
    fill(client, 100)
    client.config_set("appendonly", "no")
    assert client.info("persistence")["aof_enabled"] == 0
    client.set("between", "1")
    client.config_set("appendonly", "yes")
    until("the log has a base again", lambda: idle(client)["aof_enabled"] == 1)
    client.set("afterwards", "2")
    expected = content(client)
    server.terminate()
    (server.dir / "dump.rdb").unlink(missing_ok=True)
    server.start()
    with server.client() as again:
        assert content(again) == expected


@pytest.mark.parametrize("name", ["save", "appendonly", "appendfsync", "dir", "dbfilename", "rdbcompression", "rdbchecksum",
                                  "stop-writes-on-bgsave-error", "appendfilename", "appenddirname", "aof-load-truncated",
                                  "no-appendfsync-on-rewrite", "auto-aof-rewrite-percentage",
                                  "auto-aof-rewrite-min-size", "aof-use-rdb-preamble"])
def test_every_setting_of_persistence_can_be_read(client, name):
    assert list(client.config_get(name)) == [name]


@pytest.mark.parametrize("name, value", [("appendfsync", "sometimes"), ("save", "60"), ("save", "0 1"), ("save", "a b"),
                                         ("appendonly", "maybe"), ("no-such-setting", "1"),
                                         ("auto-aof-rewrite-percentage", "-1"), ("maxmemory", "lots")])
def test_a_bad_setting_is_refused_and_changes_nothing(client, name, value):
    before = client.config_get("*")
    with pytest.raises(Exception, match=name):
        client.config_set(name, value)
    assert client.config_get("*") == before


def test_backup_with_metadata_is_restored_elsewhere(servers, ours, peer, server, client, tmp_path):
    fill(client, 5000)
    begun, before = time.time(), client.info()
    assert client.bgsave()
    idle(client)
    after = client.info()
    metadata = {
        "name": "nightly", "seconds": round(time.time() - begun, 2), "version": before["redis_version"],
        "memory": before["used_memory"], "memory_human": before["used_memory_human"],
        "clients": before["connected_clients"], "saved": after["rdb_last_save_time"],
        "keys": sum(before.get(f"db{n}", {}).get("keys", 0) for n in range(16)),
    }
    (tmp_path / "nightly_metadata.json").write_text(json.dumps(metadata, indent=2))
    assert metadata["keys"] == 10_000
    assert metadata["version"].startswith("7.")
    assert metadata["memory"] > 100_000 and metadata["clients"] >= 1
    assert metadata["memory_human"][-1] in "KMG" and float(metadata["memory_human"][:-1]) > 0

    backup = shutil.copy(server.dir / "dump.rdb", tmp_path / "nightly.rdb")
    check = subprocess.run([peer.program("redis-check-rdb"), backup], capture_output=True, text=True, timeout=30)
    assert check.returncode == 0 and "RDB looks OK" in check.stdout, check.stdout

    expected = content(client)
    restored = servers.new(ours, {"appendonly": "no"})
    shutil.copy(backup, restored.dir / "dump.rdb")
    with restored.start().client() as other:
        assert content(other) == expected


def test_the_demonstration_from_end_to_end(server, client):
    fill(client, 10_000)
    assert client.dbsize() == 20_000
    assert client.info("memory")["used_memory_human"]
    assert client.bgsave()
    idle(client)
    assert client.bgrewriteaof()
    idle(client)
    client.config_set("save", "300 10 60 1000")
    client.config_rewrite()
    assert client.flushdb() is True
    assert client.dbsize() == 0
    server.terminate()
    server.start()
    with server.client() as again:
        assert again.dbsize() == 0
        assert again.config_get("save")["save"] == "300 10 60 1000"
