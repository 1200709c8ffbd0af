use crate::config::Config;
use crate::io::ConnId;
use crate::server::testing::Bench;

const INVALID_K: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";

fn bench() -> (Bench, ConnId, ConnId) {
    let mut b = Bench::new(Config::default());
    let (reader, writer) = (b.connect(), b.connect());
    b.send(reader, "HELLO 3");
    (b, reader, writer)
}

#[test]
fn a_key_is_announced_once_until_it_is_read_again() {
    let (mut b, reader, writer) = bench();
    b.send(reader, "CLIENT TRACKING ON");
    b.send(reader, "GET k");
    b.send(writer, "SET k 1");
    assert_eq!(b.take(reader), INVALID_K);
    b.send(writer, "SET k 2");
    assert_eq!(b.take(reader), "");
    assert_eq!(b.server.tracking.keys(), 0);
    assert_eq!(b.server.tracking.items(), 0);
}

#[test]
fn own_changes_are_announced_behind_the_reply_even_of_a_transaction() {
    let (mut b, reader, _) = bench();
    b.send(reader, "CLIENT TRACKING ON");
    b.send(reader, "GET k");
    let got = b.send(reader, "MULTI\r\nSET k 1\r\nGET other\r\nEXEC");
    assert!(got.ends_with(&format!("*2\r\n+OK\r\n_\r\n{INVALID_K}")), "{got}");
    // The same in a pipeline: each between the replies it belongs to.
    let got = b.send(reader, "GET k\r\nSET k 2\r\nPING");
    assert_eq!(got, format!("$1\r\n1\r\n+OK\r\n{INVALID_K}+PONG\r\n"));
    // And where no reply is wanted.
    b.send(reader, "GET k");
    assert_eq!(b.send(reader, "CLIENT REPLY SKIP\r\nSET k 3"), INVALID_K);
}

#[test]
fn expiry_and_flushing_are_announced() {
    let (mut b, reader, writer) = bench();
    b.send(reader, "CLIENT TRACKING ON NOLOOP");
    b.send(writer, "SET k 1 PX 5");
    b.send(reader, "GET k");
    b.pass(10);
    assert_eq!(b.take(reader), INVALID_K);
    b.send(reader, "GET k");
    b.send(writer, "FLUSHDB");
    assert_eq!(b.take(reader), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
    assert_eq!(b.server.tracking.keys(), 0);
}

#[test]
fn more_keys_than_the_limit_are_given_up() {
    let (mut b, reader, writer) = bench();
    b.server.config.tracking_table_max_keys = 10;
    b.send(reader, "CLIENT TRACKING ON");
    let many: Vec<String> = (0..500).map(|i| format!("key{i}")).collect();
    b.send(reader, &format!("MGET {}", many.join(" ")));
    assert_eq!(b.server.tracking.keys(), 500);
    b.send(writer, "PING");
    assert_eq!(b.server.tracking.keys(), 400);
    assert_eq!(b.take(reader).matches("invalidate").count(), 100);
    // The longer it lasts the more are given up.
    b.send(writer, "PING");
    assert_eq!(b.server.tracking.keys(), 200);
    b.send(writer, "PING");
    assert_eq!(b.server.tracking.keys(), 10);
    assert_eq!(b.take(reader).matches("invalidate").count(), 390);
}

#[test]
fn a_redirection_outlives_no_connection() {
    let (mut b, reader, writer) = bench();
    let listener = b.connect();
    b.send(listener, "SUBSCRIBE __redis__:invalidate");
    b.send(reader, "CLIENT TRACKING ON REDIRECT 3");
    b.send(reader, "GET k");
    b.send(writer, "SET k 1");
    assert_eq!(b.take(listener), "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
    assert_eq!(b.take(reader), "");
    use crate::io::{Gone, Service};
    b.server.closed(&mut b.io, listener, Gone::Eof);
    b.send(reader, "GET k");
    b.send(writer, "SET k 1");
    assert_eq!(b.take(reader), ">2\r\n$21\r\ntracking-redir-broken\r\n:3\r\n");
    assert!(b.send(reader, "CLIENT TRACKINGINFO").contains("broken_redirect"));
}

#[test]
fn what_a_client_tracked_goes_with_it() {
    let (mut b, reader, writer) = bench();
    b.send(reader, "CLIENT TRACKING ON BCAST PREFIX a PREFIX b");
    assert_eq!((b.server.tracking.clients(), b.server.tracking.prefixes()), (1, 2));
    b.send(reader, "RESET");
    assert_eq!((b.server.tracking.clients(), b.server.tracking.prefixes()), (0, 0));
    b.send(writer, "CLIENT TRACKING ON BCAST");
    use crate::io::{Gone, Service};
    b.server.closed(&mut b.io, writer, Gone::Eof);
    assert_eq!((b.server.tracking.clients(), b.server.tracking.prefixes()), (0, 0));
}
