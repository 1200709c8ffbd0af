"""ACL: the same users, rules and files to ours and to Redis; replies, what is denied, and who is disconnected compared."""

import random

import pytest
from harness import differential, resp
from harness.wait import until

HASH = b"2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"  # of "c"

SCRIPTS = {
    "users": """
        ACL WHOAMI
        ACL USERS
        ACL LIST
        ACL GETUSER default
        ACL GETUSER nobody
        ACL SETUSER a
        ACL GETUSER a
        ACL SETUSER a on nopass %R~r* %W~w* %RW~b* ~c* &ch1 &ch2 &ch1 (~sel +set)
        ACL GETUSER a
        ACL SETUSER b reset >a >b nopass >c
        ACL GETUSER b
        ACL SETUSER b nopass on skip-sanitize-payload allkeys allchannels
        ACL SETUSER b sanitize-payload resetkeys resetchannels clearselectors
        ACL SETUSER "" on
        ACL LIST
        ACL USERS
        ACL DELUSER a a "" nobody
        ACL DELUSER b default
        ACL USERS
        ACL SETUSER "a b"
        ACL SETUSER "a\\x00b"
        ACL SETUSER "\\xff\\x01" ~\\xfe
        ACL LIST
    """,
    "rules that are refused": """
        ACL SETUSER b (
        ACL SETUSER b on (+get ~x +set
        ACL SETUSER b (+get nosuch)
        ACL SETUSER b "(+get 'x)"
        ACL SETUSER b "(allkeys ~x nosuch)"
        ACL SETUSER b () "( )" "(  +get  ~x )"
        ACL SETUSER b (+get ( +set )
        ACL GETUSER b
        ACL SETUSER b +nosuch
        ACL SETUSER b +
        ACL SETUSER b -
        ACL SETUSER b +@
        ACL SETUSER b +@nosuch
        ACL SETUSER b +config|nosuch
        ACL SETUSER b +config|get|x
        ACL SETUSER b +nosuch|x
        ACL SETUSER b +select|0|1
        ACL SETUSER b -select|0
        ACL SETUSER b +select|
        ACL SETUSER b +config|
        ACL SETUSER b "+get x"
        ACL SETUSER b %
        ACL SETUSER b %~x
        ACL SETUSER b %X~x
        ACL SETUSER b %RR~x
        ACL SETUSER b %R
        ACL SETUSER b "~a b"
        ACL SETUSER b "&a b"
        ACL SETUSER b <x
        ACL SETUSER b #x
        ACL SETUSER b !x
        ACL SETUSER b nosuch
        ACL SETUSER b allkeys ~x
        ACL SETUSER b allkeys %X~x
        ACL SETUSER b allchannels &x
        ACL SETUSER b ""
        ACL GETUSER b
        ACL SETUSER b on nosuch off
        ACL GETUSER b
    """,
    "passwords": f"""
        ACL SETUSER a on >c #{HASH.decode()} >d
        ACL GETUSER a
        2: AUTH a c
        2: AUTH a d
        2: AUTH a e
        2: AUTH b c
        2: AUTH a
        2: AUTH a b c
        2: ACL WHOAMI
        ACL SETUSER a !{HASH.decode()}
        2: AUTH a c
        ACL SETUSER a <d
        2: AUTH a d
        ACL SETUSER a nopass
        2: AUTH a anything
        ACL SETUSER a off
        2: AUTH a anything
        ACL SETUSER a resetpass on
        2: AUTH a anything
        2: HELLO 2 AUTH a x
        ACL SETUSER a >x
        2: HELLO 2 AUTH a y SETNAME n
        2: PING
        ACL SETUSER a reset
        2: PING
    """,
    "asking wrongly": """
        ACL
        ACL NOSUCH
        ACL SETUSER
        ACL GETUSER
        ACL GETUSER a b
        ACL LOG a b
        ACL LOG abc
        ACL log -1
        ACL GENPASS 0
        ACL GENPASS 4097
        ACL GENPASS abc
        ACL GENPASS 1 2
        ACL CAT
        ACL CAT nosuch
        ACL CAT {200*x}
        ACL CAT a b
        ACL DELUSER
        ACL SAVE
        ACL LOAD
        ACL SAVE x
        ACL WHOAMI x
        ACL DRYRUN
        ACL DRYRUN default
        ACL DRYRUN nobody GET a
        ACL DRYRUN default NOSUCH
        ACL DRYRUN default GET
        ACL DRYRUN default CONFIG
        ACL DRYRUN default CONFIG NOSUCH
        ACL DRYRUN default CONFIG GET a
    """,
    "what is denied": """
        ACL SETUSER u on >p ~a* +get +set +multi +exec +discard +client|id +publish +subscribe +psubscribe +spublish &c &d.*
        2: AUTH u p
        2: ACL WHOAMI
        2: GET b
        2: GET a
        2: DEL a
        2: GET
        2: NOSUCH
        2: CONFIG GET x
        2: CONFIG
        2: CLIENT ID x
        2: CLIENT LIST
        2: PING
        2: PUBLISH c x
        2: PUBLISH e x
        2: SPUBLISH e x
        2: PSUBSCRIBE d.1
        2: PSUBSCRIBE c x
        2: MULTI
        2: GET b
        2: EXEC
        2: MULTI
        2: DEL a
        2: PUBLISH e x
        2: DISCARD
        2: RESET
        2: ACL WHOAMI
    """,
    "revoked before EXEC": """
        ACL SETUSER u on >p ~a* +@all &c
        2: AUTH u p
        2: MULTI
        2: GET a
        2: SET a x
        2: PUBLISH c x
        2: AUTH u wrong
        2: PING
        ACL SETUSER u -set resetkeys ~q resetchannels
        2: EXEC
        2: ACL WHOAMI
    """,
    "another user within a transaction": """
        ACL SETUSER u on >p ~a* +get
        2: MULTI
        2: SET b 1
        2: AUTH u p
        2: GET b
        2: SET a 1
        2: EXEC
        2: GET b
        EXEC
        EXEC x
        2: EXEC x
        2: EXEC
    """,
    "sort by what other keys hold": """
        RPUSH l 2 1
        ACL SETUSER u on nopass +@all ~l ~o
        2: AUTH u x
        2: SORT l
        2: SORT l BY w_*
        2: SORT l BY nothing
        2: SORT l GET w_*
        2: SORT l BY nothing GET #
        2: SORT_RO l BY w_*
        2: SORT l STORE o
        2: SORT l STORE p
        ACL SETUSER u %R~*
        2: SORT l BY w_*
        ACL SETUSER u resetkeys ~l (~* +sort)
        2: SORT l BY w_*
        2: SORT_RO l BY w_*
        ACL SETUSER u clearselectors (%R~* +get)
        2: SORT l BY w_*
    """,
    "the default user": """
        CONFIG SET requirepass foo
        2: PING
        2: AUTH bar
        2: AUTH foo
        2: CONFIG GET requirepass
        ACL SETUSER default >bar
        3: AUTH bar
        3: CONFIG GET requirepass
        CONFIG SET requirepass qux
        ACL GETUSER default
        4: AUTH bar
        4: AUTH default qux
        ACL SETUSER default off
        4: PING
        5: PING
        5: AUTH qux
        5: HELLO 2
        ACL SETUSER default on nopass
        5: PING
        5: AUTH whatever
        5: HELLO 2
        ACL SETUSER default resetpass >x
        5: PING
        ACL SETUSER default nopass
        CONFIG GET requirepass
        CONFIG SET requirepass ""
        ACL LIST
    """,
    "a default user with few rights": """
        ACL SETUSER admin on >p +@all ~* &*
        AUTH admin p
        ACL SETUSER default -@all +get ~a
        2: GET a
        2: GET b
        2: SET a 1
        ACL SETUSER default +@all ~* &*
        ACL SETUSER default resetkeys ~* allkeys
        ACL LIST
    """,
    "channels by default": """
        CONFIG GET acl-pubsub-default
        CONFIG SET acl-pubsub-default allchannels
        ACL SETUSER a (+get ~x)
        ACL SETUSER a reset
        ACL SETUSER b (+get ~x resetchannels)
        ACL GETUSER a
        ACL GETUSER b
        ACL LIST
        CONFIG SET acl-pubsub-default resetchannels
        ACL SETUSER b reset
        ACL LIST
    """,
    "keys and how they are used": """
        COMMAND GETKEYSANDFLAGS SET a b
        COMMAND GETKEYSANDFLAGS SET a b GET
        COMMAND GETKEYSANDFLAGS SET a b EX 10 gEt
        COMMAND GETKEYSANDFLAGS BITFIELD a
        COMMAND GETKEYSANDFLAGS BITFIELD a GET u8 0 OVERFLOW SAT GET u8 8
        COMMAND GETKEYSANDFLAGS BITFIELD a GET u8 0 SET u8 0 1
        COMMAND GETKEYSANDFLAGS BITFIELD a GET u8
        COMMAND GETKEYSANDFLAGS SORT a BY x STORE b
        COMMAND GETKEYSANDFLAGS ZUNIONSTORE d 2 a b
        COMMAND GETKEYSANDFLAGS ZUNIONSTORE d 5 a b
        COMMAND GETKEYSANDFLAGS ZUNIONSTORE d 0 a
        COMMAND GETKEYS ZUNION 2 a b
        COMMAND GETKEYS ZUNION 3 a b
        COMMAND GETKEYS ZUNION 3 a b WEIGHTS
        COMMAND GETKEYS ZUNION x a b
        COMMAND GETKEYS ZUNION -1 a b
        COMMAND GETKEYS ZUNION 99999999999999999999 a b
        COMMAND GETKEYS ZDIFFSTORE d 3 a b
        COMMAND GETKEYS SINTERCARD 5 a b
        COMMAND GETKEYS ZINTERCARD 5 a b
        COMMAND GETKEYS LMPOP 5 a b LEFT
        COMMAND GETKEYS BLMPOP 0 5 a b LEFT
        COMMAND GETKEYS ZMPOP 5 a b MIN
        COMMAND GETKEYS BZMPOP 0 9 a b MIN
        COMMAND GETKEYS EVAL s 5 a b
        COMMAND GETKEYS FCALL f 5 a
    """,
    "clients": """
        ACL SETUSER u on nopass +@all ~* &*
        2: AUTH u x
        CLIENT KILL USER nobody
        2: CLIENT KILL USER u
        2: PING
        3: AUTH u x
        2: CLIENT KILL USER u
        2: CLIENT KILL USER default ADDR 1.2.3.4:5
        2: PING
    """,
}


@pytest.fixture
def pair(pair):
    """Users, log and passwords of one test are gone before the next. Connection 1 has to be one that may do that."""
    yield pair
    for connection in pair.connections("1"):
        for setting in (("requirepass", ""), ("acl-pubsub-default", "resetchannels"), ("acllog-max-len", "128")):
            connection.call("CONFIG", "SET", *setting)
        connection.call("ACL", "SETUSER", "default", "reset", "on", "nopass", "+@all", "~*", "&*")
        connection.call("RESET")
        for _, name in connection.call("ACL", "USERS")[1]:
            connection.call("ACL", "DELUSER", name)
        assert connection.call("ACL", "LOG", "RESET") == ("+", b"OK")


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(pair, name):
    if name == "the default user":
        # Who is not logged in cannot choose the protocol: the others keep to the old one.
        pair.protocol = 2
    pair.run(SCRIPTS[name])
    compare_logs(pair)


def fields(reply):
    """A map reply as a dict, whichever the protocol."""
    kind, content = reply
    if kind == "*":
        content = list(zip(content[::2], content[1::2]))
    return {name[1].decode(): value for name, value in content}


def compare_logs(pair):
    """ACL LOG without what differs by nature: age, and the client's addresses and buffers."""
    def log(connection):
        _, entries = connection.call("ACL", "LOG", "1000")
        found = []
        for entry in map(fields, entries):
            info = dict(word.split("=", 1) for word in entry["client-info"][1].decode().split())
            assert float(entry["age-seconds"][1]) < 60
            known = {name: entry[name] for name in ("count", "reason", "context", "object", "username")}
            found.append((known, list(entry), info["cmd"], info["user"], info["name"], info["db"]))
        return found

    ours, peer = map(log, pair.connections("9"))
    assert ours == peer


def test_log(pair):
    pair.run("""
        ACL SETUSER u on >p ~a +get +auth +client
        2: CLIENT SETNAME someone
        2: AUTH u wrong
        2: auth u wrong
        2: AUTH nobody wrong
        2: HELLO 2 AUTH u wrong
        2: AUTH wrong
        2: MULTI
        2: AUTH u wrong
        2: EXEC
        2: AUTH u p
        2: GET b
        2: GET b
        2: GET c
        2: DEL a
        2: MULTI
        2: GET b
    """)
    compare_logs(pair)
    for n in range(12):
        pair.run(f"3: AUTH u{n} x")
    pair.run("3: AUTH u1 x\n3: AUTH u11 x\n2: GET c\nCONFIG SET acllog-max-len 5")
    compare_logs(pair)
    pair.run("3: AUTH another x")
    compare_logs(pair)
    replies = [connection.call("ACL", "LOG", "2") for connection in pair.connections("1")]
    assert len(replies[0][1]) == len(replies[1][1]) == 2
    pair.run("ACL LOG 0\nACL LOG RESET\nACL LOG")


def alive(connection):
    """Whether the server still talks to this client."""
    try:
        connection.call("PING")
        return True
    except (resp.Closed, ConnectionError):
        return False


def test_who_is_disconnected(pair):
    """Deleted users, and subscribers of channels that were taken from them."""
    pair.run("""
        ACL SETUSER u on >p +@all ~* &c* &d &p.* (+@all &e)
        2: AUTH u p
        2: SUBSCRIBE c1
        3: AUTH u p
        3: PSUBSCRIBE p.*
        4: AUTH u p
        4: SSUBSCRIBE d
        5: AUTH u p
        6: AUTH u p
        6: SUBSCRIBE e
        7: SUBSCRIBE c1
    """)

    def expect(rules, gone):
        pair.run(f"ACL SETUSER u {rules}")
        for name in "234567":
            states = [alive(connection) for connection in pair.connections(name)]
            assert states == [name not in gone] * 2, f"{name} after {rules}"

    expect("-get", "")
    expect("resetchannels &c1 &p.* &d", "")
    expect("resetchannels &c* &p.*", "4")
    expect("resetchannels &* resetchannels &c1 &p.1*", "43")
    expect("allchannels", "43")
    expect("resetchannels", "432")
    expect("clearselectors", "4326")
    pair.run("ACL DELUSER u")
    for name in "57":
        assert [alive(connection) for connection in pair.connections(name)] == [name == "7"] * 2
    # Whoever removes itself is answered first.
    pair.run("ACL SETUSER v on nopass +@all\n8: AUTH v x\n8: ACL DELUSER v")
    assert [alive(connection) for connection in pair.connections("8")] == [False, False]


def in_ours_only(pair):
    """Commands that only one side has: (ours, Redis')."""
    ours, peer = ({name.decode() for _, name in connection.call("COMMAND", "LIST")[1]}
                  for connection in pair.connections("9"))
    ours |= sub_commands(pair, 0)
    peer |= sub_commands(pair, 1)
    return ours - peer, peer - ours


def sub_commands(pair, side):
    _, found = pair.connections("9")[side].call("COMMAND", "LIST", "FILTERBY", "PATTERN", "*|*")
    return {name.decode() for _, name in found}


def parts(rules):
    """Rules about commands, with those behind the categories, whose order is arbitrary, as a set."""
    words = rules.decode().split()
    single = [word for word in words if "@" not in word]
    return [word for word in words if "@" in word], sorted(single)


def selectors(reply):
    """What GETUSER says, with the rules about commands apart."""
    user = fields(reply)
    found = [user, *map(fields, user.pop("selectors")[1])]
    return found, [selector.pop("commands")[1] for selector in found]


def compare_user(pair, name, extra, missing):
    """GETUSER on both sides. Rules about commands are compared as text where both sides have the same commands; else what
    they allow of those that both have: Redis is given both rules."""
    ours, peer = (connection.call("ACL", "GETUSER", name) for connection in pair.connections("1"))
    if ours[1] is None or peer[1] is None:
        assert ours == peer
        return
    (ours, our_rules), (peer, peer_rules) = selectors(ours), selectors(peer)
    assert ours == peer
    assert len(our_rules) == len(peer_rules)
    for mine, theirs in zip(our_rules, peer_rules):
        mine = b" ".join(word for word in mine.split() if word[1:].decode() not in extra)
        if not missing:
            assert parts(mine) == parts(theirs)
            continue
        redis, seen = pair.connections("9")[1], []
        without = [f"-{command}" for command in sorted(missing)]
        for rules in (mine, theirs):
            assert redis.call("ACL", "SETUSER", "scratch", "reset", *rules.split(), *without) == ("+", b"OK")
            seen.append(parts(fields(redis.call("ACL", "GETUSER", "scratch"))["commands"][1]))
        redis.call("ACL", "DELUSER", "scratch")
        assert seen[0] == seen[1], f"ours {mine!r}, Redis {theirs!r}"


CATEGORIES = ("keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking "
              "dangerous connection transaction scripting all nosuch").split()
OTHER_RULES = ["on", "off", "ON", "nopass", "resetpass", ">p", ">q", "<p", "<q", f"#{HASH.decode()}", f"!{HASH.decode()}", "#12",
               "~*", "allkeys", "resetkeys", "~k*", "%R~k1", "%W~k1", "%rW~x?", "%R~*", "~k[0-3]", "%", "%x~y", "&*", "allchannels",
               "resetchannels", "&c*", "&c1", "&", "~", "reset", "clearselectors", "sanitize-payload", "skip-sanitize-payload",
               "allcommands", "nocommands", "+select|0", "+select|1", "+nosuch", "-nosuch", "nosuch", "", "(", ")",
               "+object|0", "-config|get", "+config|get", "+client", "-client|kill"]
TRIED = """GET k1|GET x1|SET k1 v|SET k1 v GET|SET x1 v|MGET k1 k2 x1|MSET k1 a k2 b|DEL k1 x1|EXISTS k1 y|COPY k1 x1|RENAME x1 k1|
    ZUNIONSTORE k1 2 k2 k3|SORT k1|SORT k1 STORE x1|SORT k1 BY y GET z|BITFIELD k1 GET u8 0|BITFIELD k1 SET u8 0 1|BITOP AND k1 x1|
    LMPOP 2 k1 k4 LEFT|BLMPOP 0 2 k1 x1 LEFT|OBJECT ENCODING k1|OBJECT HELP|SUBSCRIBE c1 d|PSUBSCRIBE c*|PSUBSCRIBE c1|PUBLISH c1 m|
    PUBLISH d m|SPUBLISH c1 m|SSUBSCRIBE d|SUNSUBSCRIBE d|CONFIG GET x|CONFIG SET x y|CONFIG|CLIENT KILL a|CLIENT ID|SELECT 0|SELECT 1|
    SELECT 2|AUTH x|HELLO|ACL WHOAMI|MULTI|EXEC|WATCH k1 x1|PING|FLUSHALL|KEYS k*|SCAN 0|DBSIZE|EXPIRE k1 1|TTL k1|GETDEL k1|APPEND k1 v|
    STRLEN x1|SINTERCARD 2 k1 k2|LMOVE k1 x1 LEFT LEFT|ZRANGESTORE k1 x1 0 1|DUMP k1|RESTORE k1 0 x|WAIT 0 0|MEMORY USAGE k1""".split("|")


def random_rules(rng, commands):
    def rule():
        kind = rng.random()
        if kind < 0.25:
            return rng.choice("+-") + "@" + rng.choice(CATEGORIES)
        if kind < 0.55:
            return rng.choice("+-") + rng.choice(commands)
        if kind < 0.62:
            return "(" + " ".join(rule() for _ in range(rng.randrange(4))) + ")"
        return rng.choice(OTHER_RULES)
    return [rule() for _ in range(rng.randrange(1, 8))]


@pytest.mark.parametrize("seed", differential.SEEDS)
def test_random_rules(pair, seed):
    extra, missing = in_ours_only(pair)
    rng = random.Random(seed)
    both = sorted(sub_commands(pair, 0) & sub_commands(pair, 1))
    _, listed = pair.connections("9")[0].call("COMMAND", "LIST")
    both += sorted({name.decode() for _, name in listed} - extra)
    for n in range(120):
        name = rng.choice(["u0", "u1", "u2"])
        rules = random_rules(rng, both)
        where = f"seed {seed}, step {n}: {name} {rules}"
        try:
            pair.ask("1", [b"ACL", b"SETUSER", name.encode(), *(rule.encode() for rule in rules)])
            compare_user(pair, name, extra, missing)
            for line in rng.sample(TRIED, 12):
                pair.ask("1", [b"ACL", b"DRYRUN", name.encode(), *line.encode().split()])
            if rng.random() < 0.05:
                pair.ask("1", [b"ACL", b"DELUSER", name.encode()])
        except AssertionError as error:
            raise AssertionError(f"{where}\n{error}") from None


def test_categories(pair):
    """The commands of each category, as far as both sides have them."""
    extra, missing = in_ours_only(pair)
    for category in CATEGORIES[:-2]:
        ours, peer = ({name.decode() for _, name in connection.call("ACL", "CAT", category)[1]}
                      for connection in pair.connections("1"))
        assert ours - extra == peer - missing, category


def test_generated_passwords(pair):
    for connection in pair.connections("1"):
        for bits, digits in ((None, 64), (1, 1), (4, 1), (5, 2), (4096, 1024)):
            _, made = connection.call("ACL", "GENPASS", *([] if bits is None else [str(bits)]))
            assert len(made) == digits and int(made, 16) >= 0
        assert connection.call("ACL", "GENPASS") != connection.call("ACL", "GENPASS")


def test_passwords_are_not_logged(pair):
    pair.run("CONFIG SET slowlog-log-slower-than 0\nCONFIG SET slowlog-max-len 128\nSLOWLOG RESET\nACL SETUSER s >secret on\n"
             "2: AUTH s secret\nCONFIG SET slowlog-log-slower-than 10000")
    logs = [connection.call("SLOWLOG", "GET", "-1") for connection in pair.connections("1")]
    for log in logs:
        assert b"secret" not in repr(log).encode()
    said = [sorted(repr(entry[1][3]) for entry in log[1] if entry[1][3][1][0][1].lower() == b"acl") for log in logs]
    assert said[0] == said[1] and said[0]


USERS = ["user alice on nopass sanitize-payload ~* resetchannels +@all (~x resetchannels -@all +get)",
         "user bob off >pw %R~a* ~b* &c1 -@all +get +config|get +select|0", "user default on nopass ~* &* +@all"]


def users(server, name="default", password=""):
    with server.client(username=name, password=password or None) as client:
        return sorted(line.replace("+select|0 +config|get", "+config|get +select|0") for line in client.acl_list())


def test_acl_files_both_ways(servers, ours, peer):
    """One writes the file, the other starts with it; then it is changed and loaded again."""
    for writer, reader in ((ours, peer), (peer, ours)):
        first = servers.new(writer, {"aclfile": "users.acl"})
        (first.dir / "users.acl").write_text("\n".join(["", *USERS, ""]))
        first.start()
        with first.client() as client:
            client.acl_setuser("carol", enabled=True, passwords=["+secret"], commands=["+get"], keys=["k"])
            assert client.acl_save()
        written = (first.dir / "users.acl").read_bytes()
        assert sorted(written.decode().splitlines()) == sorted(users(first)) or writer is peer
        second = servers.new(reader, {"aclfile": "users.acl"})
        (second.dir / "users.acl").write_bytes(written)
        second.start()
        expected = [line for line in users(first)]
        assert len(expected) == 4
        shown = users(second)
        assert [sorted(line.split()) for line in shown] == [sorted(line.split()) for line in expected]
        carol = resp.Connection(second.address)
        assert carol.call("AUTH", "carol", "secret") == ("+", b"OK")
        with second.client() as admin:
            assert carol.call("GET", "k") == ("$", None)
            (second.dir / "users.acl").write_text("user dave on nosuch\nuser dave on\n")
            for attempt in (admin.acl_load, admin.acl_load):
                with pytest.raises(Exception, match="users.acl:1: Syntax error. WARNING: Duplicate user 'dave' found on line 2. "
                                                    "WARNING: ACL errors detected, no change"):
                    attempt()
            assert carol.call("GET", "k") == ("$", None)
            (second.dir / "users.acl").write_bytes(written)
            assert admin.acl_load()
            # As Redis 7.0 does it: only who is the default user stays connected.
            assert not alive(carol)
            (second.dir / "users.acl").unlink()
            with pytest.raises(Exception, match="Error loading ACLs, opening file 'users.acl': No such file or directory"):
                admin.acl_load()
        for server in (first, second):
            server.kill()


def test_users_in_redis_conf_both_ways(servers, ours, peer):
    for writer, reader in ((ours, peer), (peer, ours)):
        first = servers.start(writer, {"requirepass": "root"}, text="\n".join(["# people", *USERS[:2], ""]))
        with first.client() as client:
            client.acl_setuser("carol", enabled=True, passwords=["+secret"], commands=["+get"], keys=["k"])
            assert client.acl_deluser("alice") == 1
            assert client.config_rewrite()
        lines = first.conf.read_text().splitlines()
        assert [line.split()[1] for line in lines if line.startswith("user ")] == ["bob", "carol", "default"]
        assert lines[lines.index("# people") + 1].startswith("user bob ")
        second = servers.new(reader, {"requirepass": "root"})
        port, conf = second.port, first.conf.read_text()
        second.conf.write_text(conf.replace(f"port {first.port}", f"port {port}").replace(str(first.dir), str(second.dir)))
        second.start()
        ours_now, peer_now = users(first, password="root"), users(second, password="root")
        assert [sorted(line.replace("sanitize-payload", "").split()) for line in ours_now] == \
            [sorted(line.replace("sanitize-payload", "").split()) for line in peer_now]
        for server in (first, second):
            server.kill()


STARTS = {
    "a wrong rule": ("user a on +@all ~* nosuch", None, ["at line", "Error in user declaration", "Syntax error"]),
    "an unknown command": ("user a on +nosuch", None,
                           ["Error loading ACL rule '+nosuch' for the user named 'a': Unknown command or category name in ACL",
                            "Critical error while loading ACLs. Exiting."]),
    "an unknown category": ("user a +@nosuch >x", None, ["Error loading ACL rule '+@nosuch' for the user named 'a'"]),
    "twice the same": ("user a on\nuser a off", None,
                       ["Error in user declaration 'a': Duplicate user found. A user can only be defined once in config files"]),
    "no name": ("user", None, ["Bad directive or wrong number of arguments"]),
    "a blank in the name": ('user "a b" on', None, ["Spaces not allowed in ACL usernames"]),
    "a wrong hash": ("user a #zz", None, ["The password hash must be exactly 64 characters"]),
    "an open selector": ("user a (+get ~x", None, ["Error in user declaration"]),
    "no file": ("aclfile users.acl", None,
                ["Aborting Redis startup because of ACL errors: Error loading ACLs, opening file 'users.acl': No such file or directory"]),
    "both": ("aclfile users.acl\nuser a on", "user b on",
             ["Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid."]),
    "a wrong file": ("aclfile users.acl", "user a on nosuch +nosuch >x\n\nuser a on\nusr x\n# c\nuser\nUSER x\nuser c (+get\nuser d <x\n",
                     ["Aborting Redis startup because of ACL errors: users.acl:1: Syntax error. users.acl:1: Error in applying operation "
                      "'+nosuch': Unknown command or category name in ACL. WARNING: Duplicate user 'a' found on line 3. users.acl:4 should "
                      "start with user keyword followed by the username. users.acl:5 should start with user keyword followed by the "
                      "username. users.acl:6 should start with user keyword followed by the username. users.acl:7 should start with user "
                      "keyword followed by the username. users.acl:8: Unmatched parenthesis in selector definition.users.acl:9: The "
                      "password you are trying to remove from the user does not exist. WARNING: ACL errors detected, no change to the "
                      "previously active ACL rules was performed"]),
    "blanks in a file": ("aclfile users.acl", "   user   a   on  \t\n", ["users.acl:1: Syntax error. WARNING"]),
}


@pytest.mark.parametrize("name", STARTS)
def test_starts_that_are_refused(servers, ours, peer, name):
    text, file, said = STARTS[name]
    for implementation in (ours, peer):
        server = servers.new(implementation, text=text + "\n")
        if file is not None:
            (server.dir / "users.acl").write_text(file)
        server.spawn()
        assert server.wait_exit() == 1
        for line in said:
            assert line in server.log(), implementation


def test_the_default_user_in_files(servers, ours, peer):
    """What a file says of the default user holds, and requirepass does not."""
    seen = []
    for implementation in (ours, peer):
        conf = servers.start(implementation, text="requirepass x\nuser default on nopass +@all ~*\n")
        file = servers.new(implementation, {"aclfile": "users.acl"}, text="requirepass x\n")
        (file.dir / "users.acl").write_text("user a on nopass +@all ~*\n")
        file.start()
        off = servers.new(implementation, text="user default off\nuser a on >p +@all ~* &*\n")
        off.spawn()
        until("it answers", lambda: off.client(username="a", password="p").ping(), ignore=(Exception,))
        stranger = resp.Connection(off.address)
        assert stranger.call("PING") == ("-", b"NOAUTH Authentication required.")
        stranger.close()
        seen.append((users(conf), users(file), users(off, "a", "p")))
        for server in (conf, file, off):
            server.kill()
    assert seen[0] == seen[1]


def test_replicas_log_in_as_a_user(servers, ours, peer):
    """masteruser and masterauth against a master that lets nobody else in, either way round."""
    for first, second in ((ours, peer), (peer, ours)):
        rules = "user default off\nuser repl on >rp +psync +replconf +ping\nuser app on >p +@all ~* &*\n"
        master = servers.new(first, text=rules)
        master.spawn()
        app = master.client(username="app", password="p")
        until("it answers", app.ping, ignore=(Exception,))
        app.set("k", "v")
        replica = servers.start(second, {"replicaof": f"127.0.0.1 {master.port}", "masteruser": "repl", "masterauth": "rp"})
        until("the replica has it", lambda: replica.client().get("k") == "v", 20)
        app.set("k", "w")
        until("it follows", lambda: replica.client().get("k") == "w", 20)
        app.close()
        for server in (master, replica):
            server.kill()


def test_sentinels_log_in_as_a_user(servers, ours, peer):
    """auth-user: our sentinel at a master of either kind, Redis' sentinel at ours."""
    may = "+multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill"
    for watcher, watched in ((ours, ours), (ours, peer), (peer, ours)):
        master = servers.start(watched, text=f"user watcher on >sp allchannels {may}\n")
        sentinel = servers.new(watcher, mode="redis-sentinel", text=(
            f"sentinel monitor m 127.0.0.1 {master.port} 1\nsentinel auth-user m watcher\nsentinel auth-pass m sp\n"
            "sentinel down-after-milliseconds m 2000\n")).start()
        with sentinel.client() as client:
            def seen():
                state = client.sentinel_master("m")
                return state["flags"] in ("master", {"master"}) or (state.get("is_master") and not state.get("is_sdown"))
            until("it sees the master", lambda: seen() and client.execute_command("SENTINEL", "CKQUORUM", "m"), 10,
                  ignore=(Exception,))
        with master.client() as admin:
            assert "user=watcher" in admin.execute_command("CLIENT LIST") or any(
                one["user"] == "watcher" for one in admin.client_list())
            assert admin.execute_command("ACL", "LOG") == []
        for server in (sentinel, master):
            server.kill()


def test_scripts(pair):
    """Commands that scripts call are checked as the caller's, and logged."""
    if b"eval" not in {name for _, name in pair.connections("9")[0].call("COMMAND", "LIST")[1]}:
        pytest.skip("this build has no scripts")
    pair.run("""
        ACL SETUSER u on >p ~a* +eval +get +publish &c
        2: AUTH u p
        2: EVAL "return redis.call('get','a')" 0
        2: EVAL "return redis.pcall('get','b')" 0
        2: EVAL "return redis.pcall('del','a')" 0
        2: EVAL "return redis.pcall('publish','d','x')" 0
        2: EVAL "return redis.call('get','b')" 0
        2: EVAL "return 1" 1 b
        2: EVAL "return {redis.acl_check_cmd('get','b'),redis.acl_check_cmd('get','a'),redis.acl_check_cmd('del','a')}" 0
        2: EVAL "return redis.acl_check_cmd('nosuch')" 0
        2: EVAL "return redis.acl_check_cmd()" 0
    """)
    compare_logs(pair)
