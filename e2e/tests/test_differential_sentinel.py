"""A sentinel of ours and a real redis-sentinel 7.0 over servers of the same kind are asked the same, with both protocols:
replies, error texts, fields and their order, what is written into sentinel.conf, and the events of a failover."""

import contextlib
import re
import subprocess
import time

import pytest
import redis
from harness import resp
from harness.process import Servers, ours, peer
from harness.wait import until

NAME = "mymaster"
DOWN_AFTER_MS = 1500
# A sentinel's timer that stands still for two seconds makes it doubt its clock.
TILT_MS = 2600
# Commands in order, words apart by blanks; "" is an empty word.
SAME = """
SENTINEL
SENTINEL foo
SENTINEL MASTER
SENTINEL MASTER x
SENTINEL REPLICAS x
SENTINEL SLAVES x
SENTINEL SENTINELS x
SENTINEL GET-MASTER-ADDR-BY-NAME x
SENTINEL CKQUORUM x
SENTINEL CKQUORUM mymaster
SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 0 *
SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 x *
SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *
SENTINEL MONITOR mymaster 127.0.0.1 6379 2
SENTINEL MONITOR m2 127.0.0.1 6379 0
SENTINEL MONITOR m2 127.0.0.1 6379 x
SENTINEL MONITOR m2 127.0.0.1 x 1
SENTINEL MONITOR m2 127.0.0.1 70000 1
SENTINEL MONITOR m2 host 6379 1
SENTINEL SET mymaster
SENTINEL SET mymaster foo bar
SENTINEL SET x quorum 1
SENTINEL SET mymaster quorum 0
SENTINEL SET mymaster quorum x
SENTINEL SET mymaster QUORUM 1
SENTINEL SET mymaster notification-script /bin/true
SENTINEL SET mymaster client-reconfig-script /bin/true
SENTINEL SET mymaster rename-command "" b
SENTINEL SET mymaster rename-command a ""
SENTINEL SET mymaster rename-command a b
SENTINEL SET mymaster rename-command a a
SENTINEL SET mymaster rename-command a
SENTINEL SET mymaster master-reboot-down-after-period -1
SENTINEL SET mymaster master-reboot-down-after-period 0
SENTINEL CONFIG
SENTINEL CONFIG GET
SENTINEL CONFIG GET *
SENTINEL CONFIG GET ANN*
SENTINEL CONFIG SET a
SENTINEL CONFIG SET a b
SENTINEL CONFIG SET announce-port x
SENTINEL CONFIG SET announce-port 70000
SENTINEL CONFIG SET resolve-hostnames maybe
SENTINEL CONFIG SET announce-hostnames no
SENTINEL CONFIG SET sentinel-user me
SENTINEL CONFIG GET sentinel*
SENTINEL CONFIG SET sentinel-user ""
SENTINEL DEBUG
SENTINEL DEBUG foo
SENTINEL DEBUG foo 1
SENTINEL DEBUG info-period 0
SENTINEL DEBUG info-period x
SENTINEL INFO-CACHE
SENTINEL INFO-CACHE x
SENTINEL PENDING-SCRIPTS
SENTINEL PENDING-SCRIPTS x
SENTINEL RESET x
SENTINEL REMOVE x
SENTINEL FAILOVER x
SENTINEL SIMULATE-FAILURE
SENTINEL SIMULATE-FAILURE HELP
SENTINEL SIMULATE-FAILURE foo
SENTINEL SIMULATE-FAILURE crash-after-election foo
SENTINEL SIMULATE-FAILURE crash-after-election crash-after-promotion
INFO sentinel
SENTINEL SIMULATE-FAILURE foo
INFO sentinel
SENTINEL FLUSHCONFIG
SENTINEL FLUSHCONFIG x
PING
PING a
PING a b
PUBLISH a b
PUBLISH __sentinel__:hello x
ROLE
SHUTDOWN foo
SHUTDOWN ABORT
CONFIG GET port
GET a
MULTI
RESET
QUIT
HELLO 4
HELLO 3 AUTH a b
AUTH a
AUTH a b
ACL LIST
ACL WHOAMI
ACL USERS
ACL SETUSER u +get
ACL SETUSER u +sentinel|foo
ACL SETUSER u on >p +@all -sentinel|failover
ACL LIST
ACL GETUSER u
ACL DRYRUN u sentinel failover x
ACL DRYRUN u sentinel masters
ACL SAVE
ACL LOAD
ACL LOG RESET
AUTH u p
ACL WHOAMI
SENTINEL FAILOVER x
PUBLISH a b
SENTINEL MYID x
CLIENT KILL 1.1.1.1:1
CLIENT GETNAME
CLIENT SETNAME n
CLIENT GETNAME
CLIENT SETINFO lib-name x
CLIENT TRACKINGINFO
CLIENT GETREDIR
CLIENT UNBLOCK 9999
CLIENT REPLY foo
CLIENT PAUSE 0
CLIENT UNPAUSE
COMMAND COUNT
COMMAND INFO get ping
COMMAND DOCS get
COMMAND GETKEYS get a
COMMAND GETKEYS sentinel masters
ACL DELUSER u
"""
# What tells the two apart although they answer the same: times, ports and ids.
VARIES = re.compile(rb"^(?:[0-9]+|[0-9a-f]{40}|)$")


@pytest.fixture(scope="module")
def programs():
    yield {"ours": ours(), "real": peer()}


class Watched:
    """A master with two replicas, all real, and one sentinel of a make that decides alone."""

    def __init__(self, servers, programs, make, text=""):
        self.data = [servers.start(programs["real"])]
        for _ in range(2):
            self.data.append(servers.start(programs["real"], {"replicaof": f"127.0.0.1 {self.data[0].port}"}))
        conf = (f"# first\nsentinel monitor {NAME} 127.0.0.1 {self.data[0].port} 1\n# second\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\nsentinel failover-timeout {NAME} 10000\n{text}")
        self.sentinel = servers.start(programs[make], mode="redis-sentinel", text=conf)
        until("both replicas are known", lambda: self.master()["num-slaves"] == 2, 20)

    def master(self):
        with self.sentinel.client() as client:
            return client.sentinel_master(NAME)

    def plain(self, text):
        """Without what the kernel or chance has chosen."""
        text = text.replace(str(self.sentinel.dir), "DIR")
        for n, server in enumerate([*self.data, self.sentinel]):
            text = re.sub(rf"\b{server.port}\b", f"PORT{n}", text)
        return re.sub(r"\b[0-9a-f]{40}\b", "ID", text)


@pytest.fixture(scope="module")
def pair(programs):
    with contextlib.closing(Servers()) as servers:
        yield [Watched(servers, programs, make) for make in ("real", "ours")]


def words(line):
    return ["" if word == '""' else word for word in line.split()]


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_and_errors_are_the_same(pair, protocol):
    connections = [resp.Connection(w.sentinel.address) for w in pair]
    hello = [c.call("HELLO", protocol) for c in connections]
    assert [[k for k, _ in h[1]] for h in hello if h[0] == "%"] == ([] if protocol == 2 else [hello_fields()] * 2)
    different = []
    for line in SAME.strip().splitlines():
        real, own = (w.plain(repr(c.call(*words(line)))) for w, c in zip(pair, connections))
        if real != own:
            different.append(f"{line}\n  real: {real}\n  ours: {own}")
    assert not different, "\n".join(different)


def hello_fields():
    return [("$", name) for name in (b"server", b"version", b"proto", b"id", b"mode", b"modules")]


@pytest.mark.parametrize("command", [f"SENTINEL MASTER {NAME}", f"SENTINEL REPLICAS {NAME}", "SENTINEL MASTERS",
                                     f"SENTINEL SENTINELS {NAME}", f"SENTINEL INFO-CACHE {NAME}"])
def test_descriptions_have_the_same_fields_in_the_same_order(pair, command):
    def shape(reply):
        kind, content = reply
        if kind == "%":
            return [(shape(key), shape(value)) for key, value in content]
        if kind == "*":
            return [shape(item) for item in content]
        if kind == "$" and content is not None:
            return "varies" if VARIES.match(content) or b":" in content or b"\n" in content else content
        return kind

    shapes = []
    for w in pair:
        connection = resp.Connection(w.sentinel.address)
        connection.call("HELLO", 3)
        shapes.append(shape(connection.call(*command.split())))
        connection.close()
    assert shapes[0] == shapes[1]


def test_commands_and_their_rules_are_the_same(pair):
    """COMMAND LIST, COMMAND INFO by field, categories, and INFO's sections and fields."""
    lists, facts, categories, figures = [], [], [], []
    for w in pair:
        with w.sentinel.client() as client:
            categories.append({c: sorted(client.acl_cat(c)) for c in client.acl_cat()})
        connection = resp.Connection(w.sentinel.address)
        connection.call("HELLO", 3)
        figures.append([line.split(b":")[0] for line in connection.call("INFO", "everything")[1].splitlines()])
        lists.append(sorted(name for _, name in connection.call("COMMAND", "LIST")[1]))
        _, commands = connection.call("COMMAND")
        facts.append({c[0][1]: (c[1], sorted(c[2][1]), c[3:6], sorted(c[6][1]), len(c[9][1])) for _, c in commands})
    assert lists[0] == lists[1] and facts[0] == facts[1]
    mine = [{name for name in names if not name.startswith("replicaset")} for names in categories[1].values()]
    assert [set(names) for names in categories[0].values()] == mine
    # What only a server that keeps data or forks could say is 0 in both; new figures may be added.
    assert [f for f in figures[1] if f in set(figures[0])] == figures[0]


def test_the_file_is_rewritten_alike(pair):
    for w in pair:
        with w.sentinel.client() as client:
            client.execute_command("ACL", "SETUSER", "extra", "on", "nopass", "+ping")
            client.execute_command("SENTINEL", "SET", NAME, "auth-pass", "a b#c")
            assert client.execute_command("SENTINEL", "FLUSHCONFIG")
            client.execute_command("SENTINEL", "SET", NAME, "auth-pass", "")
            client.execute_command("ACL", "DELUSER", "extra")
    texts = [w.plain(w.sentinel.conf.read_text()) for w in pair]
    front = [text.splitlines()[:text.splitlines().index("# Generated by CONFIG REWRITE")] for text in texts]
    assert front[0] == front[1] and "# second" in front[0]
    rest = [sorted(line for line in text.splitlines() if line) for text in texts]
    assert rest[0] == rest[1]


def events(pubsub, last):
    """Events up to one for which `last` holds, in order."""
    seen = []

    def done():
        message = pubsub.get_message(ignore_subscribe_messages=True)
        if message:
            seen.append((message["channel"], message["data"]))
        return bool(message) and last(*seen[-1])
    until("the last event is told", done, 25, poll=0.001)
    return seen


def test_a_failover_is_told_in_the_same_words(programs):
    """The master is killed under each of them: the same events with the same texts in the same order."""
    with contextlib.closing(Servers()) as servers:
        watched = [Watched(servers, programs, make) for make in ("real", "ours")]
        listeners = []
        for w in watched:
            listeners.append(w.sentinel.client().pubsub())
            listeners[-1].psubscribe("*")
            w.data[0].kill()
        told = []
        for w, listener in zip(watched, listeners):
            # The last one is that the old master, a replica now, is down as well.
            seen = events(listener, lambda name, text: name == "+sdown" and text.startswith("slave"))
            new = next(text for name, text in seen if name == "+switch-master").split()[-1]
            roles = {str(w.data[0].port): "OLD", new: "NEW"}
            for server in w.data[1:]:
                roles.setdefault(str(server.port), "OTHER")
            seen = [(name, w.plain(re.sub(r"\d{4,}", lambda m: roles.get(m[0], m[0]), text))) for name, text in seen]
            # Each says what it saw of the new role as soon as it has seen it.
            told.append([event for event in seen if event[0] != "-role-change"])
        assert told[0] == told[1]


def test_a_sentinel_that_was_stopped_trusts_nothing_for_a_while(programs):
    with contextlib.closing(Servers()) as servers:
        master = servers.start(programs["real"])
        text = f"sentinel monitor {NAME} 127.0.0.1 {master.port} 1\n"
        for make in ("real", "ours"):
            sentinel = servers.start(programs[make], mode="redis-sentinel", text=text)
            with sentinel.client() as client:
                client.execute_command("SENTINEL", "DEBUG", "TILT-PERIOD", 1500)
                listener = client.pubsub()
                listener.psubscribe("*tilt")
                listener.get_message(timeout=5)
                with sentinel.frozen():
                    time.sleep(TILT_MS / 1000)
                assert events(listener, lambda *_: True) == [("+tilt", "#tilt mode entered")]
                figures = client.info("sentinel")
                assert figures["sentinel_tilt"] == 1 and figures["sentinel_tilt_since_seconds"] >= 0
                assert events(listener, lambda *_: True) == [("-tilt", "#tilt mode exited")]
                assert client.info("sentinel")["sentinel_tilt_since_seconds"] == -1


@pytest.mark.parametrize("when,states", [("election", "+elected-leader"), ("promotion", "+promoted-slave")])
def test_a_sentinel_that_is_to_crash_does(programs, when, states):
    with contextlib.closing(Servers()) as servers:
        watched = Watched(servers, programs, "ours")
        with watched.sentinel.client() as client:
            assert client.execute_command("SENTINEL", "SIMULATE-FAILURE", f"crash-after-{when}") == "OK"
        watched.data[0].kill()
        assert watched.sentinel.wait_exit(20) == 99
        assert states in watched.sentinel.log()
        roles = [server.client().role()[0] for server in watched.data[1:]]
        assert roles.count("master") == (1 if when == "promotion" else 0)


def test_scripts_are_tried_again_as_they_ask(programs, tmp_path):
    """Exit code 1 asks for another time, 2 does not, and one that runs too long is ended and tried again. They do not wait
    for each other."""
    calls = tmp_path / "calls"
    script = tmp_path / "script.sh"
    script.write_text(f"""#!/bin/sh
echo "$1" >> {calls}
case "$1" in
  +monitor) exec sleep 100 ;;
  +set) exit 1 ;;
  *) exit 2 ;;
esac
""")
    script.chmod(0o755)
    with contextlib.closing(Servers()) as servers:
        watched = Watched(servers, programs, "ours", f"sentinel notification-script {NAME} {script}\n")
        with watched.sentinel.client() as client:
            [pending] = client.execute_command("SENTINEL", "PENDING-SCRIPTS")
            assert pending["flags"] == "running" and int(pending["pid"]) > 0 and pending["retry-num"] == "1"
            assert pending["argv"][:2] == [str(script), "+monitor"]
            listener = client.pubsub()
            listener.psubscribe("-script*")
            client.execute_command("SENTINEL", "DEBUG", "SCRIPT-RETRY-DELAY", 100, "SCRIPT-MAX-RUNTIME", 1000)
            client.execute_command("SENTINEL", "SET", NAME, "quorum", 1)
            client.execute_command("SENTINEL", "RESET", NAME)
            seen = events(listener, lambda name, text: name == "-script-error")
            assert seen[-1][1] == f"{script} 0 2"
            until("the others are called again", lambda: min(map(calls.read_text().count, ["+set", "+monitor"])) >= 2, 10)
            assert ("-script-timeout", f"{script} {pending['pid']}") in seen + events(listener, lambda *_: True)
            assert calls.read_text().count("+reset-master") == 1


def test_users(programs):
    """Users in a file and a password for the default user; sentinels of both makes find each other as a user."""
    with contextlib.closing(Servers()) as servers:
        master = servers.start(programs["real"])
        sentinels = []
        for make in ("ours", "real", "ours"):
            file = servers.new(programs[make]).dir / "users.acl"
            file.write_text("user default off\nuser peer on >secret +@all &*\nuser app on >p +subscribe +psubscribe "
                            "+sentinel|master +sentinel|get-master-addr-by-name &+switch-master\n")
            text = (f"aclfile {file}\nsentinel monitor {NAME} 127.0.0.1 {master.port} 2\n"
                    f"sentinel sentinel-user peer\nsentinel sentinel-pass secret\n")
            sentinel = servers.new(programs[make], mode="redis-sentinel", text=text, password="secret").spawn()
            sentinels.append(sentinel)
        for sentinel in sentinels:
            with sentinel.client(username="peer") as client:
                until("it answers", client.ping, 20, ignore=(redis.RedisError, OSError))
                until("all are found", lambda: client.sentinel_master(NAME)["num-other-sentinels"] == 2, 20)
                until("all are usable", lambda: usable(client) == 3, 20)
        for sentinel in sentinels:
            with sentinel.client(username="app", password="p") as client:
                assert client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME) == ["127.0.0.1", str(master.port)]
                for denied in (["SENTINEL", "FAILOVER", NAME], ["INFO"], ["SUBSCRIBE", "+sdown"]):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        client.execute_command(*denied)
            with pytest.raises(redis.AuthenticationError), sentinel.client(password=None) as client:
                client.ping()


def usable(client):
    try:
        answer = client.execute_command("SENTINEL", "CKQUORUM", NAME)
    except redis.ResponseError as e:
        answer = str(e)
    return int(re.search(r"(\d+) usable", str(answer))[1]) if "usable" in str(answer) else 3 * (answer is True)


def test_it_does_not_start_without_a_file(programs):
    with contextlib.closing(Servers()) as servers:
        for make in ("real", "ours"):
            sentinel = servers.new(programs[make], mode="redis-sentinel")
            sentinel.conf.unlink()
            port = str(sentinel.port)
            done = subprocess.run([programs[make].program("redis-sentinel"), "--port", port], cwd=sentinel.dir,
                                  capture_output=True, text=True, timeout=20)
            assert done.returncode == 1 and "Sentinel needs config file on disk" in done.stdout + done.stderr
