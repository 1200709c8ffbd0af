//! The protocol: requests as a server reads them, in whatever pieces they arrive, and replies as a client reads them.

use std::sync::Arc;

use datanode::disk_fake::FakeDisk;
use datanode::io::ConnId;
use datanode::resp::encode_command;
use datanode::resp::reader;
use datanode::rng::Rng;
use datanode::server::testing::Bench;

use super::client::{Client, config};
use super::mutate::mutate;
use super::rounds::{Fuzzer, Outcome};

const WORDS: [&[u8]; 16] = [
    b"\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"*2147483647\r\n",
    b"*1048577\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$-1\r\n",
    b"$536870913\r\n",
    b"$9223372036854775807\r\n",
    b"PING\r\n",
    b"\"",
    b"'",
    b"\\xff",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
];

/// Pipelines, inline commands, transactions, both protocols.
fn requests() -> Vec<Vec<u8>> {
    const PIPELINES: [&str; 9] = [
        "PING|SET a 1|GET a|INCR a|APPEND a x|INCR a",
        "MULTI|SET a 1|LPUSH l a b c|LRANGE l 0 -1|EXEC|DISCARD|EXEC",
        "HELLO 3|HSET h a 1 b 2|HGETALL h|SADD s 1|SMEMBERS s|ZADD z 1 a|ZRANGE z 0 -1 WITHSCORES|HELLO 2",
        "SUBSCRIBE a b|PSUBSCRIBE *|PUBLISH a x|UNSUBSCRIBE|PUNSUBSCRIBE|PING",
        "WATCH a|SET a 2|MULTI|GET a|EXEC|SELECT 3|SWAPDB 0 3|RESET",
        "EVAL return{1,2,{3,ARGV[1]}} 0 x|EVALSHA 0 0|SCRIPT EXISTS 0|FCALL f 0",
        "CLIENT REPLY SKIP|PING|CLIENT REPLY OFF|PING|CLIENT REPLY ON|CLIENT SETNAME x|CLIENT GETNAME|CLIENT NO-EVICT on",
        "XADD x 1-1 a b|XREAD COUNT 1 STREAMS x 0|BLPOP l 1|COMMAND COUNT|OBJECT HELP|ACL WHOAMI",
        "REPLCONF listening-port 1|REPLCONF capa eof|REPLCONF ack 1|PSYNC ? -1|SYNC|FAILOVER|SLAVEOF NO ONE",
    ];
    let mut all = Vec::new();
    for pipeline in PIPELINES {
        let (mut arrays, mut mixed) = (Vec::new(), Vec::new());
        for (i, line) in pipeline.split('|').enumerate() {
            encode_command(&mut arrays, &line.split(' ').collect::<Vec<_>>());
            match i % 2 {
                0 => mixed.extend([line.as_bytes(), b"\r\n"].concat()),
                _ => encode_command(&mut mixed, &line.split(' ').collect::<Vec<_>>()),
            }
        }
        all.extend([arrays, mixed]);
    }
    all.push(b"SET \"a\\x41\\n b\" 'it\\'s'\nGET \"aA\\n b\"\r\n".to_vec());
    all
}

fn bench() -> Bench {
    Bench::on(config(), Arc::new(FakeDisk::with_dir(std::path::Path::new(super::client::DIR))))
}

/// What a client gets for this, and whether it is still connected.
fn talk(bench: &mut Bench, conn: ConnId, pieces: impl Iterator<Item = Vec<u8>>) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    let mut take = |bench: &mut Bench| {
        let closed = bench.settle();
        let last = closed.into_iter().filter(|(c, _)| *c == conn).flat_map(|(_, bytes)| bytes);
        got.extend(bench.take_bytes(conn).into_iter().chain(last));
    };
    for piece in pieces {
        bench.receive(conn, &piece);
        take(bench);
    }
    bench.pass(1500);
    take(bench);
    (got, bench.io.conn(conn).is_some())
}

/// The same in one piece and in many: the same replies, and the server serves others afterwards.
#[test]
fn requests_in_pieces() {
    Fuzzer {
        name: "requests_in_pieces",
        rounds: 800,
        corpus: requests(),
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |input| {
            let (mut whole, mut pieces) = (bench(), bench());
            let (a, b) = (whole.connect(), pieces.connect());
            let at_once = talk(&mut whole, a, std::iter::once(input.to_vec()));
            let mut rng = Rng::new(datanode::rdb::crc64::update(0, input));
            let mut rest = input;
            let cut = std::iter::from_fn(|| {
                let (piece, left) = rest.split_at(rest.len().min(1 + rng.below(20) as usize));
                rest = left;
                (!piece.is_empty()).then(|| piece.to_vec())
            });
            let in_pieces = talk(&mut pieces, b, cut);
            let lines = |(bytes, open): &(Vec<u8>, bool)| {
                let mut lines: Vec<_> =
                    bytes.split(|&b| b == b'\n').map(|l| l.escape_ascii().to_string()).collect();
                // Channels are left in any order.
                if lines.iter().any(|l| l.contains("unsubscribe")) {
                    lines.sort();
                }
                (lines, *open)
            };
            // Whether a replica may join depends on what it has been sent.
            let joins = input.windows(4).any(|w| w.eq_ignore_ascii_case(b"SYNC"));
            assert!(joins || lines(&at_once) == lines(&in_pieces), "{at_once:?} is not {in_pieces:?}");
            let other = whole.connect();
            assert_eq!(whole.send(other, "PING"), "+PONG\r\n");
            match at_once.1 {
                true => Outcome::Taken,
                false => Outcome::Refused,
            }
        },
    }
    .run();
}

/// Replies, as a link to a master and sentinels read them.
#[test]
fn replies() {
    let mut client = Client::new();
    let mut corpus = Vec::new();
    for line in [
        "COMMAND INFO get",
        "CONFIG GET max*",
        "ACL LIST",
        "HELLO 3",
        "CONFIG GET save",
        "XADD x 1-1 a b",
        "XINFO STREAM x FULL",
        "GET no",
        "HELLO 2",
    ] {
        let conn = client.bench.connect();
        client.bench.receive(conn, b"HELLO 3\r\n");
        client.bench.take_bytes(conn);
        client.bench.receive(conn, &[line.as_bytes(), b"\r\n"].concat());
        corpus.push(client.bench.take_bytes(conn));
    }
    corpus.extend([
        b"+OK\r\n".to_vec(),
        b"-ERR no\r\n".to_vec(),
        b"|1\r\n+k\r\n+v\r\n*2\r\n$-1\r\n*-1\r\n".to_vec(),
        b">3\r\n$7\r\nmessage\r\n+a\r\n=5\r\ntxt:b\r\n".to_vec(),
        b"%2\r\n+a\r\n,1.5\r\n#t\r\n(123456789012345678901234567890\r\n".to_vec(),
        b"!5\r\nERR x\r\n".to_vec(),
    ]);
    const WORDS: [&[u8]; 12] = [
        b"*1\r\n",
        b"%1\r\n",
        b"|1\r\n",
        b"~2\r\n",
        b"$-1\r\n",
        b"*536870912\r\n",
        b"$536870912\r\n",
        b"%536870912\r\n",
        b"_\r\n",
        b"\r\n",
        b":9223372036854775808\r\n",
        b"#t\r\n",
    ];
    Fuzzer {
        name: "replies",
        rounds: 5000,
        corpus,
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |input| match reader::read(input) {
            Ok(Some((value, used))) => {
                assert_eq!(reader::read(&input[..used]), Ok(Some((value, used))));
                assert!(!matches!(reader::read(&input[..used - 1]), Ok(Some(_))), "whole before its end");
                Outcome::Taken
            }
            Ok(None) | Err(_) => Outcome::Refused,
        },
    }
    .run();
}
