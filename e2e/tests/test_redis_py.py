"""What redis-py asks of a server, with both protocols: INFO by field, CLIENT SETINFO, pipelines, pub/sub, transactions, locks."""

import threading
import time

import pytest
import redis
from harness.wait import until


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(request, two_servers):
    with two_servers[0].client(protocol=request.param) as client:
        client.flushall()
        yield client


def test_info_has_the_fields_that_clients_and_exporters_read(client):
    client.mset({"a": 1, "b": 2})
    client.expire("a", 1000)
    client.get("a")
    client.get("nothing")
    info = client.info("everything")
    numbers = """uptime_in_seconds uptime_in_days hz process_id tcp_port arch_bits connected_clients blocked_clients maxclients
        tracking_clients used_memory used_memory_rss used_memory_peak used_memory_dataset total_system_memory maxmemory
        mem_fragmentation_ratio mem_clients_normal loading rdb_changes_since_last_save aof_enabled
        total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes
        total_net_output_bytes rejected_connections sync_full sync_partial_ok sync_partial_err expired_keys evicted_keys
        keyspace_hits keyspace_misses pubsub_channels pubsub_patterns total_error_replies connected_slaves
        master_repl_offset second_repl_offset repl_backlog_active repl_backlog_size repl_backlog_first_byte_offset
        repl_backlog_histlen used_cpu_sys used_cpu_user cluster_enabled lru_clock total_forks"""
    for name in numbers.split():
        assert isinstance(info[name], (int, float)), name
    assert info["redis_version"].startswith("7.") and info["redis_mode"] == "standalone"
    assert len(info["run_id"]) == 40 and len(info["master_replid"]) == 40
    assert info["role"] == "master" and info["maxmemory_policy"] == "noeviction"
    assert info["keyspace_hits"] >= 1 and info["keyspace_misses"] >= 1
    assert info["db0"]["keys"] == 2 and info["db0"]["expires"] == 1 and info["db0"]["avg_ttl"] >= 0
    assert info["used_memory_human"] and info["maxmemory_human"]


def test_info_by_section(client):
    for section in ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "keyspace", "commandstats",
                    "errorstats", "cluster", "all", "default"):
        assert isinstance(client.info(section), dict), section
    assert client.info("nothing") == {}
    assert client.info("server", "clients").keys() >= {"redis_version", "connected_clients"}
    client.get("a")
    assert client.info("commandstats")["cmdstat_get"]["calls"] >= 1
    with pytest.raises(redis.ResponseError):
        client.execute_command("NOSUCHCOMMAND")
    assert client.info("errorstats")["errorstat_ERR"]["count"] >= 1


def test_name_and_library_are_announced(two_servers):
    with two_servers[0].client(client_name="me") as client:
        # Redis 7.0 has no CLIENT SETINFO; redis-py goes on without it.
        assert client.ping()
        assert client.client_getname() == "me"
        (own,) = [entry for entry in client.client_list() if entry["id"] == str(client.client_id())]
        assert own["name"] == "me" and own["cmd"].startswith("client") and own["db"] == "0"
        assert client.client_info()["id"] == client.client_id()


def test_pipeline(client):
    with client.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(f"key:{n}", n)
            pipe.incrby(f"key:{n}", 1)
        assert pipe.execute() == [answer for n in range(1000) for answer in (True, n + 1)]


def test_pipeline_with_an_error_goes_on(client):
    client.set("s", "x")
    found = client.pipeline(transaction=False).incr("s").set("a", 1).execute(raise_on_error=False)
    assert isinstance(found[0], redis.ResponseError) and found[1] is True


def test_transaction(client):
    assert client.pipeline().set("a", 1).incr("a").get("a").execute() == [True, 2, "2"]


def test_watch(client, two_servers):
    with two_servers[0].client() as other, client.pipeline() as pipe:
        pipe.watch("a")
        other.set("a", "theirs")
        pipe.multi()
        pipe.set("a", "mine")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert client.transaction(lambda pipe: pipe.multi() or pipe.append("a", "!"), "a") == [7]


def test_concurrent_transactions_lose_no_update(client):
    client.set("counter", 0)

    def add(pipe):
        value = int(pipe.get("counter"))
        pipe.multi()
        pipe.set("counter", value + 1)
    threads = [threading.Thread(target=lambda: [client.transaction(add, "counter") for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("counter") == "100"


def test_pubsub(client):
    with client.pubsub() as pubsub:
        pubsub.subscribe("news")
        pubsub.psubscribe("n*")
        assert [pubsub.get_message(timeout=5)["type"] for _ in range(2)] == ["subscribe", "psubscribe"]
        assert client.publish("news", "hello") == 2
        found = [pubsub.get_message(timeout=5) for _ in range(2)]
        assert {(message["type"], message["data"]) for message in found} == {("message", "hello"), ("pmessage", "hello")}
        assert client.pubsub_channels() == ["news"]
        assert [tuple(pair) for pair in client.pubsub_numsub("news")] == [("news", 1)]
        assert client.pubsub_numpat() == 1


def test_pubsub_thread(client):
    heard = []
    with client.pubsub() as pubsub:
        pubsub.subscribe(news=lambda message: heard.append(message["data"]))
        thread = pubsub.run_in_thread(sleep_time=0.01)
        until("subscribed", lambda: client.publish("news", "0"))
        for n in range(1, 50):
            client.publish("news", str(n))
        until("all heard", lambda: heard[-50:] == [str(n) for n in range(50)])
        thread.stop()
        thread.join(5)


def test_scan_iter_finds_every_key_once_while_others_come_and_go(client):
    wanted = {f"keep:{n}" for n in range(3000)}
    client.mset(dict.fromkeys(wanted, 1))
    found = []
    for n, key in enumerate(client.scan_iter(match="keep:*", count=50)):
        found.append(key)
        client.set(f"other:{n}", 1)
        if n % 3 == 0:
            client.delete(f"other:{n - 1}")
    assert set(found) == wanted
    client.hset("h", mapping=dict.fromkeys(wanted, 1))
    client.sadd("s", *wanted)
    client.zadd("z", dict.fromkeys(wanted, 1))
    assert dict(client.hscan_iter("h", count=50)).keys() == wanted
    assert set(client.sscan_iter("s", count=50)) == wanted
    assert dict(client.zscan_iter("z", count=50)).keys() == wanted
    assert set(client.scan_iter(_type="hash")) == {"h"}


def test_blocking_pop_between_clients(client, two_servers):
    with two_servers[0].client() as other:
        got = []
        thread = threading.Thread(target=lambda: got.append(other.blpop(["a", "b"], timeout=5)))
        thread.start()
        until("it waits", lambda: client.info("clients")["blocked_clients"] == 1)
        client.rpush("b", "x")
        thread.join(5)
    assert [tuple(pair) for pair in got] == [("b", "x")]


def test_blocking_pop_times_out(client):
    begun = time.monotonic()
    assert client.blpop("nothing", timeout=0.2) is None
    assert 0.15 < time.monotonic() - begun < 2


def test_expiry(client):
    client.set("a", 1, px=100)
    client.hset("h", "f", 1)
    client.pexpire("h", 100)
    assert client.ttl("a") in (0, 1)
    until("both are gone", lambda: client.exists("a", "h") == 0)
    until("and removed without being asked for", lambda: client.dbsize() == 0)


def test_client_kill_and_list(client, two_servers):
    with two_servers[0].client(single_connection_client=True, client_name="victim") as victim:
        victim.ping()
        number = victim.client_id()
        assert client.client_kill_filter(_id=number) == 1
        with pytest.raises(redis.ConnectionError):
            victim.ping()
        assert number not in [int(entry["id"]) for entry in client.client_list()]


def test_client_pause(client, two_servers):
    client.client_pause(300, all=False)
    begun = time.monotonic()
    assert client.get("a") is None
    assert time.monotonic() - begun < 0.25, "reads go on"
    client.set("a", 1)
    assert time.monotonic() - begun > 0.25, "writes wait"


def test_lock(client):
    """redis-py's lock needs scripts for its release, so what is tested here is what it stands on."""
    assert client.set("lock", "me", nx=True, px=10_000)
    assert client.set("lock", "you", nx=True, px=10_000) is None
    assert client.lock("lock", blocking=False).acquire() is False
    client.delete("lock")
    assert client.lock("lock", timeout=10, blocking=False).acquire() is True


def test_unicode_and_binary(client, two_servers):
    client.set("anahtar:ğüşiöç", "değer")
    assert client.get("anahtar:ğüşiöç") == "değer"
    with two_servers[0].client(decode_responses=False) as raw:
        raw.set(bytes(range(256)), bytes(range(256)) * 1000)
        assert raw.get(bytes(range(256))) == bytes(range(256)) * 1000


def test_ten_megabytes(client):
    client.set("big", "x" * 10_000_000)
    assert client.strlen("big") == 10_000_000
    assert len(client.get("big")) == 10_000_000


def test_many_connections(two_servers):
    clients = [two_servers[0].client(single_connection_client=True) for _ in range(200)]
    assert all(client.ping() for client in clients)
    assert clients[0].info("clients")["connected_clients"] >= 200
    for client in clients:
        client.close()


def test_command_docs_and_count(client):
    assert client.command_count() > 100
    commands = client.command()
    assert commands["get"]["arity"] == 2 and "readonly" in commands["get"]["flags"]
    assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]


def test_memory_and_slowlog(client):
    client.set("a", "x" * 1000)
    assert 1000 <= client.memory_usage("a") <= 3000
    client.config_set("slowlog-log-slower-than", 0)
    client.get("a")
    client.config_set("slowlog-log-slower-than", 10_000)
    assert client.slowlog_len() >= 1
    assert isinstance(client.slowlog_get(1)[0]["duration"], int)
    assert client.slowlog_reset()
    now, micros = client.time()
    assert abs(now - time.time()) < 5 and 0 <= micros < 1_000_000
