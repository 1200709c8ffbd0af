use crate::config::Config;
use crate::replication::link::MasterLink;
use crate::server::testing::Bench;

fn bench() -> Bench {
    Bench::new(Config::default())
}

#[test]
fn replies_can_be_turned_off() {
    let mut b = bench();
    let c = b.connect();
    assert_eq!(b.send(c, "CLIENT REPLY SKIP\r\nPING\r\nECHO a"), "$1\r\na\r\n");
    assert_eq!(b.send(c, "CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY SKIP\r\nPING\r\nNOSUCH"), "");
    assert_eq!(b.send(c, "CLIENT REPLY ON\r\nPING"), "+OK\r\n+PONG\r\n");
}

#[test]
fn a_pause_holds_writes_and_ends_by_itself_or_on_request() {
    let mut b = bench();
    let (a, c) = (b.connect(), b.connect());
    assert_eq!(b.send(a, "CLIENT PAUSE 1000 WRITE"), "+OK\r\n");
    assert_eq!(b.send(c, "GET k\r\nAPPEND k v\r\nPING"), "$-1\r\n");
    b.pass(900);
    assert_eq!(b.take(c), "");
    b.pass(200);
    assert_eq!(b.take(c), ":1\r\n+PONG\r\n");
    b.send(a, "CLIENT PAUSE 60000");
    assert_eq!(b.send(c, "GET k"), "");
    b.send(a, "CLIENT UNPAUSE");
    b.pass(10);
    assert_eq!(b.take(c), "$1\r\nv\r\n");
}

#[test]
fn a_pause_of_the_servers_own_outlives_the_clients() {
    let mut b = bench();
    let c = b.connect();
    b.server.pause = crate::server::Pause { until_ms: u64::MAX, all: false };
    b.send(c, "CLIENT UNPAUSE");
    assert_eq!(b.send(c, "APPEND k v"), "");
}

#[test]
fn keys_whose_time_is_up_stay_during_a_pause() {
    let mut b = bench();
    let c = b.connect();
    b.send(c, "APPEND k v");
    b.server.keyspace.set_expire(0, b"k", Some(b.io.now.unix_ms + 10));
    b.send(c, "CLIENT PAUSE 1000 WRITE");
    b.pass(100);
    assert_eq!(b.send(c, "GET k"), "$-1\r\n");
    assert!(b.server.keyspace.peek(0, b"k").is_some());
    b.pass(1000);
    assert_eq!(b.send(c, "GET k"), "$-1\r\n");
    assert!(b.server.keyspace.peek(0, b"k").is_none());
}

#[test]
fn a_password_keeps_strangers_out() {
    let mut b = Bench::new(Config { requirepass: "secret".into(), ..Config::default() });
    let c = b.connect();
    assert_eq!(b.send(c, "GET k"), "-NOAUTH Authentication required.\r\n");
    assert!(b.send(c, "HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert!(b.send(c, "AUTH wrong").starts_with("-WRONGPASS"));
    assert!(b.send(c, "AUTH bob secret").starts_with("-WRONGPASS"));
    assert_eq!(b.send(c, "AUTH secret"), "+OK\r\n");
    let late = b.connect();
    assert!(b.send(late, "HELLO 3 AUTH default secret").starts_with("%7\r\n"));
    let open = b.connect();
    assert_eq!(b.send(c, "CONFIG SET requirepass \"\""), "+OK\r\n");
    assert_eq!(b.send(open, "GET k"), "$-1\r\n");
}

#[test]
fn reset_forgets_everything_but_the_connection() {
    let mut b = bench();
    let c = b.connect();
    b.send(c, "HELLO 3 SETNAME me\r\nSELECT 3\r\nWATCH k\r\nSUBSCRIBE ch\r\nMULTI\r\nAPPEND k v");
    assert_eq!(b.send(c, "RESET"), "+RESET\r\n");
    assert_eq!(
        b.send(c, "CLIENT GETNAME\r\nPUBLISH ch m\r\nEXEC"),
        "$-1\r\n:0\r\n-ERR EXEC without MULTI\r\n"
    );
    let line = b.send(c, "CLIENT LIST");
    assert!(line.contains("db=0") && line.contains("resp=2") && line.contains("flags=N"), "{line}");
}

#[test]
fn ones_own_messages_come_in_the_order_of_the_replies() {
    let mut b = bench();
    let c = b.connect();
    b.send(c, "HELLO 3");
    let text = b.send(c, "SUBSCRIBE ch\r\nPUBLISH ch m");
    assert_eq!(
        text,
        ">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nm\r\n:1\r\n"
    );
}

#[test]
fn monitors_see_commands_without_secrets() {
    let mut b = bench();
    let (m, c) = (b.connect(), b.connect());
    assert_eq!(b.send(m, "MONITOR"), "+OK\r\n");
    b.send(c, "AUTH default secret\r\nCONFIG GET x\r\nPING");
    let seen = b.take(m);
    assert!(seen.contains("[0 127.0.0.1:5001] \"AUTH\" \"(redacted)\" \"(redacted)\"\r\n"), "{seen}");
    assert!(seen.ends_with("\"PING\"\r\n") && seen.matches('+').count() == 2, "{seen}");
}

#[test]
fn readiness_follows_role_and_link() {
    let mut b = bench();
    assert_eq!(b.server.readiness(), Ok(()));
    // A master without the replicas it needs still serves reads, and says NOREPLICAS to writes.
    b.server.config.min_replicas_to_write = 1;
    assert_eq!(b.server.readiness(), Ok(()));
    b.server.repl.link = Some(MasterLink::new("h".into(), 1, 0));
    assert_eq!(b.server.readiness(), Err("replica without a link to its master".into()));
    b.server.loading = true;
    assert_eq!(b.server.readiness(), Err("the data is being loaded".into()));
}

#[test]
fn every_command_is_described_and_its_subcommands_carry_its_name() {
    for spec in crate::command::table::all() {
        for sub in spec.subcommands {
            assert!(
                sub.name.strip_prefix(spec.name).is_some_and(|rest| rest.starts_with('|')),
                "{}",
                sub.name
            );
        }
    }
    let mut b = bench();
    let c = b.connect();
    let count = crate::command::table::all().count();
    assert!(b.send(c, "COMMAND").starts_with(&format!("*{count}\r\n")));
    assert!(b.send(c, "COMMAND DOCS").starts_with(&format!("*{}\r\n", count * 2)));
}

#[test]
fn info_tells_sections_apart() {
    let mut b = bench();
    let c = b.connect();
    let all = b.send(c, "INFO everything");
    for title in [
        "Server",
        "Clients",
        "Memory",
        "Persistence",
        "Stats",
        "Replication",
        "CPU",
        "Modules",
        "Commandstats",
    ] {
        assert!(all.contains(&format!("# {title}\r\n")), "{title}");
    }
    let default = b.send(c, "INFO");
    assert!(default.contains("# Keyspace") && !default.contains("# Commandstats"));
    let one = b.send(c, "INFO replication");
    assert!(one.contains("role:master") && !one.contains("# Server"));
    assert_eq!(b.send(c, "INFO nosuch"), "$0\r\n\r\n");
}

#[test]
fn messages_travel_to_replicas() {
    let mut b = bench();
    let c = b.connect();
    b.server.repl.ensure_backlog(&Config::default());
    b.send(c, "PUBLISH ch message");
    let mut stream = Vec::new();
    b.server.repl.backlog().unwrap().copy_from(1, &mut stream);
    assert!(stream.ends_with(b"*3\r\n$7\r\nPUBLISH\r\n$2\r\nch\r\n$7\r\nmessage\r\n"));
}

#[test]
fn http_is_cut_off() {
    let mut b = bench();
    let c = b.connect();
    assert_eq!(b.send(c, "POST / HTTP/1.1\r\nAPPEND k v"), "");
    assert!(b.server.keyspace.is_empty());
}
