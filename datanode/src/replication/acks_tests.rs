use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::disk_fake::FakeDisk;
use crate::io::Service;
use crate::server::testing::Bench;

fn master(config: Config) -> Bench {
    let dir = Path::new("/data");
    let mut b = Bench::on(Config { dir: dir.into(), ..config }, Arc::new(FakeDisk::with_dir(dir)));
    b.server.start(&mut b.io).unwrap();
    b.settle();
    b
}

/// A replica that continues where the stream is now.
fn replica(b: &mut Bench) -> ConnId {
    let conn = b.connect();
    b.send(conn, "REPLCONF capa eof capa psync2");
    let (id, next) = (b.server.repl.id.clone(), b.server.repl.offset() + 1);
    assert!(b.send(conn, &format!("PSYNC {id} {next}")).starts_with("+CONTINUE"));
    conn
}

#[test]
fn a_reply_is_held_until_enough_replicas_have_the_write() {
    let mut b = master(Config { write_ack_replicas: 2, ..Config::default() });
    let (one, two, c, other) = (replica(&mut b), replica(&mut b), b.connect(), b.connect());
    assert_eq!(b.send(c, "SET a 1"), "");
    assert_eq!(b.send(c, "GET a"), "", "replies keep their order");
    assert_eq!(b.send(other, "GET a"), "$1\r\n1\r\n");
    assert!(b.take(one).ends_with("REPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"), "they are asked at once");
    let offset = b.server.repl.offset();
    b.send(one, &format!("REPLCONF ACK {offset}"));
    assert_eq!(b.take(c), "");
    let waits = b.server.held_for(&b.io).unwrap();
    assert_eq!((b.server.held_replies(), waits.replicas, waits.own_fsync), (1, 1, false));
    b.send(two, &format!("REPLCONF ACK {offset}"));
    assert_eq!(b.take(c), "+OK\r\n$1\r\n1\r\n");
    assert_eq!((b.server.held_replies(), b.server.held_for(&b.io)), (0, None));
}

#[test]
fn without_any_replica_nothing_is_acknowledged() {
    let mut b = master(Config { write_ack_replicas: 1, ..Config::default() });
    let c = b.connect();
    assert_eq!(b.send(c, "SET a 1"), "");
    b.pass(4_000_000);
    assert_eq!(b.send(c, "SET a 2"), "", "nor when the backlog would have been freed");
    assert!(b.server.repl.has_backlog());
    let admin = b.connect();
    assert_eq!(b.send(admin, "CONFIG SET write-ack-replicas 0"), "+OK\r\n");
    assert_eq!(b.take(c), "+OK\r\n+OK\r\n");
}

/// What `fsync` asks of a replica: an acknowledgement from memory is none.
#[test]
fn disks_are_waited_for_the_own_one_too() {
    for appendfsync in [Fsync::Always, Fsync::Everysec, Fsync::No] {
        let mut b = master(Config {
            write_ack_replicas: 1,
            write_ack_fsync: true,
            appendonly: true,
            appendfsync,
            ..Config::default()
        });
        let (r, c) = (replica(&mut b), b.connect());
        assert_eq!(b.send(c, "SET a 1"), "");
        let offset = b.server.repl.offset();
        b.send(r, &format!("REPLCONF ACK {offset}"));
        assert_eq!(b.take(c), "", "{appendfsync:?}: it has it in memory");
        b.send(r, &format!("REPLCONF ACK {offset} FACK {}", offset - 60));
        assert_eq!(b.take(c), "", "{appendfsync:?}: it has what was before on disk");
        b.send(r, &format!("REPLCONF ACK {offset} FACK {offset}"));
        if appendfsync != Fsync::Always {
            assert_eq!(b.take(c), "", "{appendfsync:?}: the own sync is under way");
            assert!(b.server.held_for(&b.io).unwrap().own_fsync);
            b.settle();
            b.server.before_sleep(&mut b.io);
        }
        assert_eq!(b.take(c), "+OK\r\n", "{appendfsync:?}");
    }
}

#[test]
fn a_write_that_comes_during_a_sync_waits_for_the_next_one() {
    let config = Config { write_ack_fsync: true, appendonly: true, ..Config::default() };
    let mut b = master(config);
    let (one, two) = (b.connect(), b.connect());
    assert_eq!(b.send(one, "SET a 1"), "");
    assert_eq!(b.send(two, "SET b 1"), "");
    b.settle();
    b.server.before_sleep(&mut b.io);
    assert_eq!((b.take(one), b.take(two)), ("+OK\r\n".into(), String::new()));
    b.settle();
    b.server.before_sleep(&mut b.io);
    assert_eq!(b.take(two), "+OK\r\n");
}

#[test]
fn under_always_the_own_disk_alone_is_done_in_the_same_round() {
    let config =
        Config { write_ack_fsync: true, appendonly: true, appendfsync: Fsync::Always, ..Config::default() };
    let mut b = master(config);
    let c = b.connect();
    assert_eq!(b.send(c, "SET a 1"), "+OK\r\n");
    assert_eq!(b.send(c, "CONFIG SET appendonly no write-ack-fsync no"), "+OK\r\n");
    assert_eq!(b.send(c, "SET a 2"), "+OK\r\n");
}

#[test]
fn what_waits_for_disks_needs_the_log() {
    let mut b = master(Config::default());
    let c = b.connect();
    let refused = "-ERR CONFIG SET failed (possibly related to argument 'write-ack-fsync') - write-ack-fsync waits for \
                   the append-only file: it needs appendonly yes\r\n";
    assert_eq!(b.send(c, "CONFIG SET write-ack-fsync yes"), refused);
    assert_eq!(b.send(c, "CONFIG SET write-ack-fsync yes appendonly yes"), "+OK\r\n");
    assert_eq!(b.send(c, "CONFIG SET appendonly no"), refused);
    // A shard map may ask for what its node does not do.
    b.server.config.write_ack_fsync = true;
    b.server.set_appendonly(&mut b.io, false).unwrap();
    assert!(b.send(c, "SET a 1").starts_with("-MISCONF Writes are to be acknowledged when they are on disk"));
}

#[test]
fn transactions_scripts_and_those_who_were_blocked_are_held_and_reads_are_not() {
    let mut b = master(Config { write_ack_replicas: 1, ..Config::default() });
    let r = replica(&mut b);
    let ack = |b: &mut Bench| {
        let offset = b.server.repl.offset();
        b.send(r, &format!("REPLCONF ACK {offset}"));
    };
    let (c, blocked) = (b.connect(), b.connect());
    assert_eq!(b.send(c, "MULTI\r\nSET a 1\r\nGET a\r\nEXEC"), "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    ack(&mut b);
    assert_eq!(b.take(c), "*2\r\n+OK\r\n$1\r\n1\r\n");
    assert_eq!(b.send(c, "EVAL \"return redis.call('INCR', KEYS[1])\" 1 n"), "");
    ack(&mut b);
    assert_eq!(b.take(c), ":1\r\n");
    assert_eq!(b.send(c, "EVAL \"return redis.call('GET', KEYS[1])\" 1 n"), "$1\r\n1\r\n");
    assert_eq!(b.send(blocked, "BLPOP l 0"), "");
    assert_eq!(b.send(c, "RPUSH l x"), "");
    assert_eq!(b.take(blocked), "");
    ack(&mut b);
    assert_eq!((b.take(c), b.take(blocked)), (":1\r\n".into(), "*2\r\n$1\r\nl\r\n$1\r\nx\r\n".into()));
}

#[test]
fn who_becomes_a_replica_drops_what_it_has_not_acknowledged() {
    let mut b = master(Config { write_ack_replicas: 1, ..Config::default() });
    let (c, admin) = (b.connect(), b.connect());
    assert_eq!(b.send(c, "SET a 1"), "");
    assert_eq!(b.send(admin, "REPLICAOF 127.0.0.1 1"), "+OK\r\n");
    assert_eq!(b.settle(), [(c, Vec::new())]);
    assert_eq!(b.send(admin, "CONFIG SET write-ack-replicas 0"), "+OK\r\n");
}

#[test]
fn a_killed_client_is_forgotten_and_the_others_wait_on() {
    let mut b = master(Config { write_ack_replicas: 1, ..Config::default() });
    let (r, gone, stays, admin) = (replica(&mut b), b.connect(), b.connect(), b.connect());
    let id = b.send(gone, "CLIENT ID");
    b.send(gone, "SET a 1");
    b.send(stays, "SET b 1");
    assert_eq!(b.send(admin, &format!("CLIENT KILL ID {}", id.trim_matches([':', '\r', '\n']))), ":1\r\n");
    assert_eq!(b.settle(), [(gone, Vec::new())]);
    assert_eq!(b.server.held_replies(), 1);
    let offset = b.server.repl.offset();
    b.send(r, &format!("REPLCONF ACK {offset}"));
    assert_eq!(b.take(stays), "+OK\r\n");
}

#[test]
fn who_goes_on_after_waiting_is_neither_ahead_of_the_log_nor_late() {
    let config = Config { appendonly: true, appendfsync: Fsync::Always, ..Config::default() };
    let mut b = master(config);
    let (r, c) = (replica(&mut b), b.connect());
    assert_eq!(b.send(c, "SET a 1\r\nWAIT 1 0\r\nSET b 2\r\nWAITAOF 1 0 0\r\nSET c 3"), "+OK\r\n");
    b.take(r);
    let offset = b.server.repl.offset();
    b.send(r, &format!("REPLCONF ACK {offset}"));
    assert_eq!(b.take(c), ":1\r\n+OK\r\n*2\r\n:1\r\n:0\r\n+OK\r\n");
    assert!(b.server.persist.is_durable(b.server.persist.log_mark()), "what was answered is on disk");
}
