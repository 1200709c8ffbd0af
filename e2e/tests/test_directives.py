"""Directives of redis.conf, each by the effect it has. What is the same with Redis is asked of both."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess

import pytest
import redis
from harness import resp
from harness.process import free_port
from harness.wait import until


def reachable(address, port, family=socket.AF_INET):
    with socket.socket(family) as probe:
        probe.settimeout(5)
        return probe.connect_ex((address, port)) == 0


def sockets(*query):
    """What the system says of TCP sockets."""
    assert shutil.which("ss"), "apt-get install iproute2"
    return subprocess.run(["ss", "-H", "-n", "-t", *query], capture_output=True, text=True, check=True).stdout


def status(pid, field):
    with open(f"/proc/{pid}/status") as file:
        return re.search(rf"^{field}:\s*(.*)$", file.read(), re.MULTILINE)[1]


def title(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().decode()


# Network


def test_unixsocket(servers, any_of):
    server = servers.new(any_of, {"unixsocketperm": 700, "tcp-keepalive": 0})
    path = server.dir / "redis.sock"
    server.conf.write_text(server.conf.read_text() + f"unixsocket {path}\n")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with redis.Redis(unix_socket_path=str(path), decode_responses=True) as client:
        line = dict(pair.split("=", 1) for pair in client.execute_command("CLIENT", "INFO").split())
        assert line["addr"] == line["laddr"] == f"{path}:0"
        assert "U" in line["flags"]
        big = "x" * 3_000_000
        assert client.set("a", big) and client.get("a") == big
        # Whoever may open the file is on this machine.
        client.config_set("protected-mode", "yes")
    assert server.terminate() == 0
    assert not path.exists()


def test_only_a_unixsocket(servers, any_of):
    server = servers.new(any_of, {"port": 0}, text="unixsocket ./here.sock\n")
    server.conf.write_text(server.conf.read_text().replace(f"port {server.port}", "port 0"))
    server.spawn()
    path = server.dir / "here.sock"
    until("the socket is there", path.exists)
    with redis.Redis(unix_socket_path=str(path)) as client:
        until("an answer", client.ping, ignore=(redis.ConnectionError,))
        assert not reachable("127.0.0.1", server.port)


def test_a_file_in_the_sockets_place_is_kept(servers, ours):
    server = servers.new(ours)
    path = server.dir / "file"
    path.write_text("mine")
    server.conf.write_text(server.conf.read_text() + f"unixsocket {path}\n")
    assert server.spawn().wait_exit() == 1
    assert path.read_text() == "mine" and "no socket" in server.log()


def test_bind_takes_both_families(servers, any_of):
    server = servers.start(any_of, {"bind": "* -::*", "protected-mode": "no"})
    assert reachable("127.0.0.1", server.port)
    if socket.has_ipv6 and reachable("::1", free_port(), socket.AF_INET6) is False and os.path.exists("/proc/net/if_inet6"):
        assert reachable("::1", server.port, socket.AF_INET6)


def test_an_address_may_be_missing_if_that_is_allowed(servers, any_of):
    assert servers.start(any_of, {"bind": "127.0.0.1 -192.0.2.1"}).client().ping()
    assert servers.new(any_of, {"bind": "127.0.0.1 192.0.2.1"}).spawn().wait_exit() == 1


def test_bind_and_port_at_run_time(servers, any_of):
    server = servers.start(any_of, {"bind": "127.0.0.1"})
    with server.client() as client:
        client.ping()
        client.config_set("bind", "127.0.0.2")
        assert reachable("127.0.0.2", server.port) and not reachable("127.0.0.1", server.port)
        # One that covers the present one, and back.
        client.config_set("bind", "*")
        assert reachable("127.0.0.1", server.port) and reachable("127.0.0.2", server.port)
        with pytest.raises(redis.ResponseError, match="argument 'bind'.*Failed to bind to specified addresses"):
            client.config_set("bind", "192.0.2.1")
        assert client.config_get("bind") == {"bind": "*"}
        assert reachable("127.0.0.1", server.port)
        other = free_port()
        client.config_set("port", other)
        assert reachable("127.0.0.1", other) and not reachable("127.0.0.1", server.port)
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            with pytest.raises(redis.ResponseError, match="argument 'port'.*Unable to listen on this port"):
                client.config_set("port", taken.getsockname()[1])
        assert client.config_get("port") == {"port": str(other)} and reachable("127.0.0.1", other)


def test_tcp_backlog(servers, any_of):
    server = servers.start(any_of, {"tcp-backlog": 37})
    line = sockets("-l", f"sport = :{server.port}").split()
    assert line[2] == "37", line


def test_tcp_keepalive(servers, any_of):
    server = servers.start(any_of, {"tcp-keepalive": 57})

    def timers():
        connection = resp.Connection(server.address)
        connection.call("PING")
        lines = sockets("-o", "state", "established", f"sport = :{server.port}").splitlines()
        connection.close()
        assert lines
        return [re.search(r"timer:\((\w+),(\d+)", line) for line in lines]
    assert all(timer and timer[1] == "keepalive" and int(timer[2]) <= 57 for timer in timers())
    with server.client() as client:
        client.config_set("tcp-keepalive", 0)
        client.close()
    assert until("no timers", lambda: timers()[-1:] == [None])


def test_bind_source_addr(servers, any_of):
    master = servers.start(any_of, {"protected-mode": "no"})
    servers.start(any_of, {"replicaof": f"127.0.0.1 {master.port}", "bind-source-addr": "127.0.0.9"})
    with master.client() as client:
        info = until("a replica", lambda: client.info("replication").get("slave0"))
        assert info["ip"] == "127.0.0.9"


def test_socket_mark_id(servers, any_of):
    server = servers.start(any_of, {"socket-mark-id": 42})
    assert "fwmark:0x2a" in sockets("-l", "-e", f"sport = :{server.port}")


# The process


def in_background(server, *args, stdin=None):
    """Runs the program until it has gone to the background; the pid of what is left."""
    command = [server.implementation.program(server.mode), *(args or [str(server.conf)])]
    done = subprocess.run(command, cwd=server.dir, input=stdin, capture_output=True, timeout=10)
    assert done.returncode == 0, done
    with server.client() as client:
        until("an answer", client.ping, ignore=(redis.RedisError, OSError))
        return client.info("server")["process_id"]


def end(server, pid):
    with server.client() as client:
        with pytest.raises(redis.ConnectionError):
            client.execute_command("SHUTDOWN", "NOSAVE", "NOW")
    until("the process is gone", lambda: not os.path.exists(f"/proc/{pid}") or status(pid, "State")[0] == "Z")


def test_daemonize(servers, any_of):
    server = servers.new(any_of, {"daemonize": "yes", "logfile": "server.log", "pidfile": "here.pid"})
    server.conf.write_text(server.conf.read_text().replace("here.pid", str(server.dir / "here.pid")))
    pid = in_background(server)
    try:
        assert os.getsid(pid) == pid != os.getsid(0)
        assert (server.dir / "here.pid").read_text() == f"{pid}\n"
        assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        assert "Ready to accept connections" in (server.dir / "server.log").read_text()
    finally:
        end(server, pid)
    assert not (server.dir / "here.pid").exists()


def test_why_a_daemon_did_not_start_is_in_its_log(servers, any_of):
    server = servers.new(any_of, {"daemonize": "yes", "logfile": "server.log", "bind": "192.0.2.1"})
    command = [any_of.program("redis-server"), str(server.conf)]
    assert subprocess.run(command, cwd=server.dir, timeout=10).returncode == 0
    path = server.dir / "server.log"
    until("the reason", lambda: "192.0.2.1" in path.read_text(), ignore=(OSError,))


def test_daemonize_with_standard_input(servers, any_of):
    server = servers.new(any_of, {"pidfile": "/nowhere/x"})
    text = server.conf.read_text() + "daemonize yes\nmaxmemory-samples 7\n"
    pid = in_background(server, "-", stdin=text.encode())
    with server.client() as client:
        assert client.config_get("maxmemory-samples") == {"maxmemory-samples": "7"}
    end(server, pid)


def test_pidfile_in_the_foreground(servers, any_of):
    server = servers.new(any_of)
    path = server.dir / "redis.pid"
    server.conf.write_text(server.conf.read_text() + f"pidfile {path}\n")
    server.start()
    assert path.read_text() == f"{server.pid}\n"
    assert server.terminate() == 0 and not path.exists()


def test_logfile(servers, any_of):
    server = servers.start(any_of, {"logfile": "server.log"})
    path = server.dir / "server.log"
    assert "Ready to accept connections" in path.read_text()
    # It may be moved away at any time.
    path.rename(server.dir / "server.log.1")
    with server.client() as client:
        client.config_rewrite()
    until("a new file", path.exists)


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
@pytest.mark.parametrize("mode", ["systemd", "auto"])
def test_supervised_by_systemd(servers, ours, monkeypatch, abstract, mode):
    server = servers.new(ours, {"supervised": mode, "daemonize": "yes"})
    name = str(server.dir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name if abstract else name)
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        server.start()
        heard = systemd.recv(500) + systemd.recv(500)
        assert b"STATUS=Ready to accept connections\n" in heard and heard.endswith(b"READY=1\n")
        assert server.terminate() == 0
        assert systemd.recv(500) == b"STOPPING=1\n"


def test_supervised_by_upstart(servers, any_of, monkeypatch):
    monkeypatch.setenv("UPSTART_JOB", "redis")
    server = servers.new(any_of, {"supervised": "upstart"}).spawn()
    until("it has stopped itself", lambda: status(server.pid, "State").startswith("T"))
    server.process.send_signal(signal.SIGCONT)
    until("an answer", server.answers, ignore=(redis.RedisError, OSError))


def test_process_title(servers, any_of):
    server = servers.start(any_of)
    program = any_of.program("redis-server")
    assert title(server.pid).split("\0")[0] == f"{program} 127.0.0.1:{server.port}"
    with server.client() as client:
        client.config_set("proc-title-template", "{port} {server-mode}")
        assert title(server.pid).split("\0")[0] == str(server.port)
        with pytest.raises(redis.ResponseError, match="template format is invalid or contains unknown variables"):
            client.config_set("proc-title-template", "{nothing}")
    server = servers.start(any_of, {"set-proc-title": "no"})
    assert title(server.pid).split("\0")[:2] == [program, str(server.conf)]


def test_oom_score_adj(servers, any_of):
    server = servers.start(any_of, {"oom-score-adj": "no"})

    def score():
        with open(f"/proc/{server.pid}/oom_score_adj") as file:
            return int(file.read())
    base = score()
    with server.client() as client:
        client.config_set("oom-score-adj-values", "5 10 20")
        assert score() == base
        client.config_set("oom-score-adj", "relative")
        assert score() == base + 5
        client.config_set("oom-score-adj", "absolute")
        assert score() == 5
        client.config_set("oom-score-adj-values", "6 11 20")
        assert score() == 6
        client.replicaof("127.0.0.1", free_port())
        assert score() == 11
        client.replicaof("NO", "ONE")
        assert score() == 6
        client.config_set("oom-score-adj", "no")
        assert score() == base
        # Whoever else sets it while it is nobody's business here sets what is added to.
        with open(f"/proc/{server.pid}/oom_score_adj", "w") as file:
            file.write(str(base + 22))
        client.config_set("oom-score-adj", "relative")
        assert score() == base + 28
        client.config_set("oom-score-adj", "no")
        assert score() == base + 22


def test_disable_thp(servers, any_of):
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
        unasked = "[always]" in file.read()
    server = servers.start(any_of)
    assert status(server.pid, "THP_enabled") == ("0" if unasked else "1")
    server = servers.start(any_of, {"disable-thp": "no"})
    assert status(server.pid, "THP_enabled") == "1"


def test_cpulists(servers, any_of):
    server = servers.start(any_of, {"server_cpulist": "0", "bio_cpulist": "1"})

    def allowed(thread):
        return status(f"{server.pid}/task/{thread}", "Cpus_allowed_list")
    threads = os.listdir(f"/proc/{server.pid}/task")
    assert allowed(server.pid) == "0" and len(threads) > 1
    assert "1" in map(allowed, threads)


def test_syslog(servers, any_of):
    if os.path.exists("/dev/log"):
        pytest.skip("this machine has a log of its own")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind("/dev/log")
        try:
            log.settimeout(10)
            server = servers.start(any_of, {"syslog-enabled": "yes", "syslog-ident": "mine", "syslog-facility": "local5"})
            heard = b""
            while b"Ready to accept connections" not in heard:
                heard = log.recv(5000)
            # Facility 21, and notices or warnings, as either server takes its readiness for.
            assert re.match(rb"<17[2-6]>(\w{3} .\d \d\d:\d\d:\d\d )?mine\[%d\]: " % server.pid, heard) or \
                re.match(rb"<17[2-6]>(\w{3} .\d \d\d:\d\d:\d\d )?mine: ", heard), heard
        finally:
            os.unlink("/dev/log")


@pytest.mark.parametrize("wanted", ["yes", "no"])
def test_crash_log(servers, ours, wanted):
    server = servers.start(ours, {"crash-log-enabled": wanted, "enable-debug-command": "yes"})
    with server.client() as client, pytest.raises(redis.ConnectionError):
        client.execute_command("DEBUG", "PANIC")
    assert server.wait_exit() != 0
    log = server.log()
    assert "DEBUG PANIC" in log
    assert ("REDIS BUG REPORT START" in log) is (wanted == "yes")


@pytest.mark.parametrize("number, directive, saved", [(signal.SIGTERM, "shutdown-on-sigterm", True),
                                                      (signal.SIGINT, "shutdown-on-sigint", True),
                                                      (signal.SIGINT, "shutdown-on-sigterm", False)])
def test_shutdown_on_signals(servers, any_of, number, directive, saved):
    server = servers.start(any_of, {directive: "save now"})
    with server.client() as client:
        client.set("a", "1")
    server.process.send_signal(number)
    assert server.wait_exit() == 0
    assert (server.dir / "dump.rdb").exists() is saved


def test_a_shutdown_that_waits_ends_at_a_second_sigint(servers, any_of):
    master = servers.start(any_of)
    replica = servers.start(any_of, {"replicaof": f"127.0.0.1 {master.port}"})
    with master.client() as client:
        until("it is online", lambda: client.info("replication").get("slave0", {}).get("state") == "online")
        with replica.frozen():
            client.set("a", "x" * 100_000)
            master.process.send_signal(signal.SIGINT)
            until("it waits", lambda: client.execute_command("CLIENT", "LIST") and "SIGINT" in master.log())
            master.process.send_signal(signal.SIGINT)
            assert master.wait_exit(5) == 1


def test_watchdog_period(servers, any_of):
    server = servers.start(any_of, {"enable-debug-command": "yes"})
    with server.client() as client:
        client.execute_command("DEBUG", "SLEEP", "0.3")
        assert "WATCHDOG TIMER EXPIRED" not in server.log()
        client.config_set("watchdog-period", 200)
        client.execute_command("DEBUG", "SLEEP", "0.5")
        until("it is told", lambda: "WATCHDOG TIMER EXPIRED" in server.log())


# Commands, clients, memory


def test_rename_command(servers, any_of):
    text = 'rename-command CONFIG ""\nrename-command get fetch\nrename-command OBJECT secret\n'
    server = servers.start(any_of, text=text)
    with server.client() as client:
        client.set("a", "1")
        assert client.execute_command("FETCH", "a") == "1"
        for gone in (["CONFIG", "GET", "port"], ["GET", "a"], ["OBJECT", "HELP"]):
            with pytest.raises(redis.ResponseError, match="unknown command"):
                client.execute_command(*gone)
        assert client.execute_command("SECRET", "HELP")
        assert client.command_count() > 100
        names = {name.lower() for name in client.execute_command("COMMAND LIST")}
        assert "set" in names and "config" not in names


def test_a_renamed_command_is_renamed_in_the_log_too(servers, any_of):
    server = servers.start(any_of, {"appendonly": "yes"}, text="rename-command set put\n")
    with server.client() as client:
        client.execute_command("PUT", "a", "1")
    server.kill()
    server.start()
    with server.client() as client:
        assert client.get("a") == "1"


@pytest.mark.parametrize("words", ["nothing other", "get set", "get"])
def test_wrong_renames_end_the_start(servers, any_of, words):
    assert servers.new(any_of, text=f"rename-command {words}\n").spawn().wait_exit() == 1


def test_maxmemory_clients(servers, any_of):
    server = servers.start(any_of, {"maxmemory-clients": "3mb"})
    with server.client() as watcher:
        watcher.ping()
        protected, other = resp.Connection(server.address), resp.Connection(server.address)
        half = b"*2\r\n$4\r\nECHO\r\n$2000000\r\n" + b"x" * 1_900_000
        protected.call("CLIENT", "NO-EVICT", "ON")
        protected.send_raw(half)
        other.send_raw(half)
        assert watcher.ping()
        greedy = resp.Connection(server.address)
        # More than is left: the largest of those that may go has to.
        greedy.send_raw(half)
        until("one is closed", lambda: watcher.info("stats")["evicted_clients"] >= 1)
        assert watcher.ping()
        protected.send_raw(b"x" * 100_000 + b"\r\n")
        assert protected.read()[0] == "$"
        for connection in (protected, other, greedy):
            connection.close()
        # In per cent of maxmemory; without that there is no bound.
        watcher.config_set("maxmemory-clients", "1%")
        large = resp.Connection(server.address)
        large.send_raw(half + b"x" * 100_000 + b"\r\n")
        assert large.read()[0] == "$"
        large.close()


def test_latency_monitor(servers, any_of):
    server = servers.start(any_of, {"enable-debug-command": "yes"})
    connection = resp.Connection(server.address)
    call = connection.call
    assert call("DEBUG", "SLEEP", "0.03") == ("+", b"OK") and call("LATENCY", "LATEST") == ("*", [])
    assert call("LATENCY", "DOCTOR")[0] == "$"
    call("CONFIG", "SET", "latency-monitor-threshold", 20)
    call("DEBUG", "SLEEP", "0.03")
    call("DEBUG", "SLEEP", "0.001")
    _, [(_, [name, (_, at), (_, last), (_, most)])] = call("LATENCY", "LATEST")
    assert name == ("$", b"command") and 30 <= last == most < 300 and abs(at - int(call("TIME")[1][0][1])) <= 2
    assert call("LATENCY", "HISTORY", "command") == ("*", [("*", [(":", at), (":", last)])])
    assert call("LATENCY", "HISTORY", "nothing") == ("*", [])
    head, line, *chart = call("LATENCY", "GRAPH", "command")[1].decode().split("\n")
    assert head == f"command - high {last} ms, low {last} ms (all time high {last} ms)"
    assert line == "-" * 80 and [row.rstrip("0123456789s") for row in chart] == [" ", " ", " ", "_", " ", "", "", ""]
    assert call("LATENCY", "GRAPH", "nothing") == ("-", b"ERR No samples available for event 'nothing'")
    assert b"command" in call("LATENCY", "DOCTOR")[1]
    assert call("LATENCY", "RESET", "nothing", "command") == (":", 1)
    assert call("LATENCY", "RESET") == (":", 0) and call("LATENCY", "LATEST") == ("*", [])
    connection.close()


def test_latency_of_large_keys_that_go(servers, ours):
    """Expiry and eviction of something large, in the foreground."""
    server = servers.start(ours, {"latency-monitor-threshold": 1, "enable-debug-command": "yes"})
    with server.client() as client:
        for name in ("a", "b"):
            for start in range(0, 60_000, 20_000):
                client.sadd(name, *(f"member {n}" for n in range(start, start + 20_000)))
        client.pexpire("a", 1)
        # Asking for the key would remove it, too.
        until("it has expired", lambda: client.dbsize() == 1)
        client.config_set("maxmemory-policy", "allkeys-random")
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory", 0)
        assert client.dbsize() == 0
        events = {event[0] for event in client.execute_command("LATENCY", "LATEST")}
        assert {"expire-cycle", "expire-del", "eviction-del"} <= events


def test_hz(servers, any_of):
    server = servers.start(any_of, {"hz": 500, "dynamic-hz": "no"})
    with server.client() as client:
        assert client.info("server")["hz"] == 500 and client.info("server")["configured_hz"] == 500


# Replication and cluster


@pytest.mark.parametrize("ignore", ["yes", "no"])
def test_replica_ignore_disk_write_errors(servers, any_of, ignore):
    master = servers.start(any_of)
    replica = servers.start(any_of, {"replicaof": f"127.0.0.1 {master.port}", "save": "3600 1",
                                     "replica-ignore-disk-write-errors": ignore})
    with master.client() as of_master, replica.client() as of_replica:
        until("it is in sync", lambda: of_replica.info("replication")["master_link_status"] == "up")
        # A directory where the file should be: the snapshot cannot take its place.
        snapshot = replica.dir / "dump.rdb"
        snapshot.unlink(missing_ok=True)
        (snapshot / "in the way").mkdir(parents=True)
        of_replica.bgsave()
        until("it has failed", lambda: of_replica.info("persistence")["rdb_last_bgsave_status"] == "err")
        of_master.set("a", "1")
        if ignore == "yes":
            assert until("it has the write", lambda: of_replica.get("a")) == "1"
        else:
            assert replica.wait_exit() != 0
            assert "unable to write command to disk" in replica.log()


def test_repl_diskless_sync_max_replicas(servers, any_of):
    master = servers.start(any_of, {"repl-diskless-sync-delay": 3600, "repl-diskless-sync-max-replicas": 2})
    replicas = [servers.start(any_of, {"replicaof": f"127.0.0.1 {master.port}"}) for _ in range(2)]
    for replica in replicas:
        with replica.client() as client:
            until("it is in sync", lambda: client.info("replication")["master_link_status"] == "up")


@pytest.mark.parametrize("behaviour", ["ignore", "panic-on-replicas"])
def test_propagation_error_behavior(servers, any_of, behaviour):
    master = servers.start(any_of)
    replica = servers.start(any_of, {"replicaof": f"127.0.0.1 {master.port}", "propagation-error-behavior": behaviour,
                                     "enable-debug-command": "yes", "replica-read-only": "no"})
    with master.client() as of_master, replica.client() as of_replica:
        until("it is in sync", lambda: of_replica.info("replication")["master_link_status"] == "up")
        of_replica.set("a", "a string, here only")
        of_replica.config_set("replica-read-only", "yes")
        of_master.lpush("a", "1")
        if behaviour == "ignore":
            assert until("it is told", lambda: "CRITICAL" in replica.log()) and of_replica.ping()
        else:
            assert replica.wait_exit() != 0


class Coverage:
    """One of two shards, in cluster mode; nobody has been made master of the other one."""

    def __init__(self, servers, ours, **directives):
        self.node = servers.start(ours, {"managed": "yes", "managed-shard": 0, "replica-announce-ip": "127.0.0.1",
                                         "cluster-enabled": "yes", **directives})
        address, dataset = f"127.0.0.1:{self.node.port}", "d" * 40
        mine = {"index": 0, "slots": [[0, 8191]], "members": [address], "epoch": 1, "master": address, "dataset": dataset,
                "foundedAt": 1, "acceptLoss": 0}
        other = {"index": 1, "slots": [[8192, 16383]], "members": ["127.0.0.1:1"], "epoch": 0, "master": None, "dataset": None,
                 "foundedAt": 0, "acceptLoss": 0}
        shard_map = {"name": "orders", "generation": 1, "settled": True, "quorum": 2, "downAfterMs": 1000,
                     "failoverTimeoutMs": 10000, "graceMs": 30000, "parallelSyncs": 1, "writeAckReplicas": 0, "sentinels": [],
                     "shards": [mine, other]}
        self.client = self.node.client()
        self.client.execute_command("REPLICASET", "PROMISE", 0, 1)
        self.client.execute_command("REPLICASET", "OFFER", json.dumps(shard_map))

    def says(self, *words):
        try:
            return self.client.execute_command(*words)
        except redis.RedisError as error:
            # redis-py knows the first word by a type of its own.
            return f"{type(error).__name__} {error}"


def test_cluster_require_full_coverage(servers, ours):
    cluster = Coverage(servers, ours, **{"cluster-require-full-coverage": "no"})  # foo's slot is 12182, bar's is 5061
    assert until("it is master", lambda: cluster.says("SET", "bar", "1") is True)
    assert "Hash slot not served" in cluster.says("GET", "foo") or "The cluster is down" in cluster.says("GET", "foo")
    cluster.client.config_set("cluster-require-full-coverage", "yes")
    assert cluster.says("GET", "bar").endswith("The cluster is down")
    assert cluster.says("SET", "bar", "2").endswith("The cluster is down")
    # What has no key is served all the same.
    assert cluster.says("PING") is True
    cluster.client.config_set("cluster-allow-reads-when-down", "yes")
    assert cluster.says("GET", "bar") == "1"
    assert cluster.says("SET", "bar", "2").endswith("The cluster is down and only accepts read commands")
    assert cluster.says("SPUBLISH", "bar", "x") == 0
    cluster.client.config_set("cluster-allow-pubsubshard-when-down", "no")
    assert cluster.says("SPUBLISH", "bar", "x").endswith("The cluster is down")
    cluster.client.close()


# Delays, by which tests make saving and loading last


def test_saving_and_loading_take_the_time_they_are_given(servers, any_of):
    """While a snapshot is being saved INFO tells how far it is, and while it is being loaded clients hear of that."""
    server = servers.start(any_of, {"save": "", "enable-debug-command": "yes", "rdb-key-save-delay": 100_000})
    with server.client() as client:
        client.execute_command("DEBUG", "POPULATE", 100, "key", 10_000)
        client.bgsave()
        info = until("it is under way", lambda: (i := client.info("persistence"))["current_save_keys_processed"] > 0 and i)
        assert info["rdb_bgsave_in_progress"] == 1 and info["current_save_keys_total"] == 100
        assert 0 < info["current_fork_perc"] < 100
        client.config_set("rdb-key-save-delay", 0)
        if any_of.name != "redis-server":
            until("no delay any more", lambda: not client.info("persistence")["rdb_bgsave_in_progress"])
        else:
            client.execute_command("FLUSHALL")  # The child keeps its delay; this ends it.
            client.execute_command("DEBUG", "POPULATE", 100, "key", 10_000)
        client.save()
        client.config_set("key-load-delay", 50_000)
        client.config_set("loading-process-events-interval-bytes", 1024)
        client.config_rewrite()
    server.kill()
    server.spawn()
    with server.client() as client:
        until("it listens", lambda: client.info("persistence"), ignore=(redis.RedisError, OSError))
        info = client.info("persistence")
        assert info["loading"] == 1 and info["loading_total_bytes"] > 0, info
        with pytest.raises(redis.exceptions.BusyLoadingError, match="loading the dataset in memory"):
            client.get("key:1")
        assert client.config_get("port")
        client.config_set("key-load-delay", 0)
        until("it is loaded", lambda: client.info("persistence")["loading"] == 0)
        assert client.dbsize() == 100


def test_a_server_that_is_loading_ends_when_asked_and_keeps_its_file(servers, ours):
    server = servers.start(ours, {"save": "3600 1", "enable-debug-command": "yes"})
    with server.client() as client:
        client.execute_command("DEBUG", "POPULATE", 100, "key", 10_000)
        client.save()
        client.config_set("key-load-delay", 100_000)
        client.config_set("loading-process-events-interval-bytes", 1024)
        client.config_rewrite()
    server.kill()
    before = (server.dir / "dump.rdb").read_bytes()
    server.spawn()
    with server.client() as client:
        until("it loads", lambda: client.info("persistence")["loading"] == 1, ignore=(redis.RedisError, OSError))
    assert server.terminate() == 0
    assert (server.dir / "dump.rdb").read_bytes() == before


def test_diskless_load_serves_what_there_was_where_the_history_is_the_same(servers, ours):
    """`repl-diskless-load swapdb`: reads go on, but nothing that would get into the way of what is being received."""
    master = servers.start(ours, {"save": "", "repl-diskless-sync-delay": 0, "enable-debug-command": "yes", "rdbcompression": "no"})
    replica = servers.start(ours, {"save": "", "repl-diskless-load": "swapdb", "replica-read-only": "no"})
    with master.client() as m, replica.client() as r:
        m.execute_command("DEBUG", "POPULATE", 50, "key", 100_000)
        r.replicaof("127.0.0.1", master.port)
        until("the link is up", lambda: r.info("replication")["master_link_status"] == "up")
        r.set("mine", "1")
        m.config_set("rdb-key-save-delay", 1_000_000)
        m.config_set("repl-backlog-size", 16384)
        with m.pipeline(transaction=True) as pipe:
            pipe.execute_command("CLIENT", "KILL", "TYPE", "replica")
            for n in range(5):
                pipe.set(f"more:{n}", "x" * 16384)
            pipe.execute()
        until("it is being received", lambda: r.info("persistence")["async_loading"] == 1)
        assert r.info("persistence")["loading"] == 0
        assert r.get("mine") == "1"
        for words in (("REPLICAOF", "NO", "ONE"), ("CONFIG", "SET", "appendonly", "yes")):
            with pytest.raises(redis.exceptions.BusyLoadingError):
                r.execute_command(*words)
        m.config_set("rdb-key-save-delay", 0)
        until("it is loaded", lambda: r.info("persistence")["async_loading"] == 0)
        assert r.get("mine") is None and r.dbsize() == 55
