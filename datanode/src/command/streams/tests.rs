//! What waiting clients get, and in which order.

use crate::config::Config;
use crate::server::testing::Bench;

/// The words of replies, without lengths.
fn words(reply: &str) -> Vec<String> {
    let text = reply.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with(['*', '$']));
    text.map(str::to_owned).collect()
}

#[test]
fn who_is_woken_in_vain_keeps_its_place() {
    let mut bench = Bench::new(Config::default());
    let conns: Vec<_> = (0..3).map(|_| bench.connect()).collect();
    let [main, first, second] = conns[..] else { panic!("three") };
    for key in ["a", "b"] {
        bench.send(main, &format!("XGROUP CREATE {key} g $ MKSTREAM"));
    }
    assert_eq!(bench.send(first, "XREADGROUP GROUP g x BLOCK 0 STREAMS a b > >"), "");
    assert_eq!(bench.send(second, "XREADGROUP GROUP g y BLOCK 0 STREAMS b >"), "");
    // The entry is read within the transaction that adds it.
    bench.send(main, "MULTI\r\nXADD a 1-1 f v\r\nXREADGROUP GROUP g z STREAMS a >\r\nEXEC");
    assert_eq!((bench.take(first), bench.take(second)), (String::new(), String::new()));
    bench.send(main, "XADD b 1-1 f v");
    assert_eq!(words(&bench.take(first)), ["b", "1-1", "f", "v"]);
    assert_eq!(bench.take(second), "");
    bench.send(main, "XADD b 2-1 f v");
    assert_eq!(words(&bench.take(second)), ["b", "2-1", "f", "v"]);
    assert_eq!(bench.server.blocked_clients, 0);
    assert!(bench.server.blocked_keys.is_empty());
}

#[test]
fn a_deadline_is_not_put_off_by_being_woken_in_vain() {
    let mut bench = Bench::new(Config::default());
    let (main, reader) = (bench.connect(), bench.connect());
    bench.send(main, "XADD s 5-5 f v");
    assert_eq!(bench.send(reader, "XREAD BLOCK 100 STREAMS s 9"), "");
    bench.pass(90);
    bench.send(main, "XADD s 6-1 f v");
    assert_eq!(bench.take(reader), "");
    bench.pass(20);
    assert_eq!(bench.take(reader), "*-1\r\n");
    assert!(bench.server.blocked_keys.is_empty());
}

#[test]
fn the_end_is_where_it_was_when_the_reader_came() {
    let mut bench = Bench::new(Config::default());
    let (main, reader) = (bench.connect(), bench.connect());
    bench.send(main, "XADD s 5-5 f v");
    assert_eq!(bench.send(reader, "XREAD BLOCK 0 STREAMS none s $ $"), "");
    // Replaced by another stream, whose ids are smaller: there is nothing behind 5-5.
    bench.send(main, "MULTI\r\nDEL s\r\nXADD s 1-1 f v\r\nEXEC");
    assert_eq!(bench.take(reader), "");
    bench.send(main, "XADD s 5-6 f v");
    assert_eq!(words(&bench.take(reader)), ["s", "5-6", "f", "v"]);
}

/// One read may deliver a thousand entries: with nobody to hear of it, not a thousand commands are made.
#[test]
fn effects_are_made_only_where_somebody_keeps_them() {
    let mut bench = Bench::new(Config::default());
    let main = bench.connect();
    bench.send(main, "XGROUP CREATE s g $ MKSTREAM\r\nXADD s * f v\r\nXREADGROUP GROUP g c STREAMS s >");
    assert!(bench.server.effects.is_empty());
    assert_eq!(words(&bench.send(main, "XLEN s")), [":1"]);
}
