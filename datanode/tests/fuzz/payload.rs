//! Payloads of `RESTORE` and `FUNCTION RESTORE`.

use datanode::rdb::{VERSION, crc64};
use datanode::resp::reader::Value;
use datanode::rng::Rng;
use datanode::server::alloc::high_water;

use super::client::Client;
use super::exercise::{KEY, exercise};
use super::mutate::{change, mutate, pick};
use super::packed::{length, mend_header, string, ziplist, zipmap};
use super::rounds::{Fuzzer, Outcome};

/// `RESTORE` may allocate so many bytes whatever the payload …
const MEMORY: u64 = 4 << 20;
/// … and so many times its size.
const MEMORY_PER_BYTE: u64 = 256;
/// Version and checksum behind a payload.
const FOOTER: usize = 10;

/// A payload with version and checksum.
fn sealed(body: &[u8]) -> Vec<u8> {
    let versioned = [body, &VERSION.to_le_bytes()].concat();
    [&versioned[..], &crc64::update(0, &versioned).to_le_bytes()].concat()
}

/// What fills a server with values of all types and encodings, line by line.
const VALUES: &str = "\
SET k:int 12345|SET k:negative -129|SET k:text hello|PFADD k:sparse a b c d e|RPUSH k:one a|\
RPUSH k:list 1 -1 127 4096 70000 -9000000 3000000000 9223372036854775807 a bb ccc|\
SADD k:ints 1 2 3 -70000|SADD k:longs 1 9223372036854775807|SADD k:set a b c 1|HSET k:hash f1 v1 2 3 f3 -4000|\
ZADD k:zset 1 a 2.5 b -inf c inf d 3 7|GEOADD k:geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania|\
XADD k:stream 1-1 f v g 2|XADD k:stream 1-2 f w g 3|XADD k:stream 5-0 other 1|XADD k:stream 6-0 f x g 4|\
XADD k:stream 7-0 f y g 5|XDEL k:stream 1-2|XGROUP CREATE k:stream G 0|XGROUP CREATE k:stream H 5-0|\
XREADGROUP GROUP G C COUNT 2 STREAMS k:stream >|XREADGROUP GROUP G c2 COUNT 1 STREAMS k:stream >|\
XGROUP CREATE k:empty G $ MKSTREAM|XADD k:trimmed 3-3 a b|XTRIM k:trimmed MAXLEN 0|\
CONFIG SET hash-max-listpack-entries 1|HSET k:table a 1 b 2 c 3|CONFIG SET zset-max-listpack-entries 1|\
ZADD k:tree 1 a 2 b 3 c|CONFIG SET list-max-listpack-size 2|RPUSH k:nodes a b c d e f 7 8|\
CONFIG SET set-max-intset-entries 1|SADD k:members 5 6|CONFIG SET stream-node-max-entries 2|XADD k:many 1-0 a 1|\
XADD k:many 2-0 a 2|XADD k:many 3-0 a 3|XADD k:many 4-0 b 4 c 5|XDEL k:many 2-0";

/// The bodies of payloads that our encoder writes.
pub fn written() -> Vec<Vec<u8>> {
    let mut client = Client::new();
    for line in VALUES.split('|') {
        client.say(line);
    }
    client.run(&["SET", "k:runs", &"ab".repeat(300)]);
    client.run(&[
        "SET",
        "k:long",
        &(0..400).map(|i| char::from(b'a' + (i * i % 26) as u8)).collect::<String>(),
    ]);
    for i in 0..300 {
        client.run(&["PFADD", "k:dense", &i.to_string()]);
    }
    client.say("PFDEBUG TODENSE k:dense");
    client.run(&["RPUSH", "k:plain", "small", &"x".repeat(9000), "small"]);
    let Value::Array(keys) = client.say("KEYS k:*") else { panic!("no keys") };
    assert!(keys.len() > 20);
    let mut bodies = Vec::new();
    let mut names: Vec<String> = keys.iter().filter_map(Value::text).collect();
    // Their order in the table is no matter of the corpus.
    names.sort();
    for compression in ["yes", "no"] {
        client.run(&["CONFIG", "SET", "rdbcompression", compression]);
        for key in &names {
            let Value::Bulk(mut payload) = client.run(&["DUMP", key]) else { panic!("no payload of {key}") };
            payload.truncate(payload.len() - FOOTER);
            bodies.push(payload);
        }
    }
    bodies
}

/// The bodies of payloads that only older or later versions write.
pub fn foreign() -> Vec<Vec<u8>> {
    let long = vec![b'l'; 300];
    let words: [&[u8]; 10] =
        [b"a", b"1", b"-1", b"100", b"-3000", b"70000", b"9000000000", &long, b"2147483647", b"end"];
    let pairs: [&[u8]; 6] = [b"f", b"v", b"2", b"3", b"x", b"1.5"];
    let scored: [&[u8]; 6] = [b"a", b"1", b"b", b"2.5", b"c", b"70000"];
    let listed = |kind: u8, items: &[Vec<u8>], per: usize| {
        [&[kind][..], &length(items.len() / per), &items.concat()].concat()
    };
    let strings = |items: &[&[u8]]| items.iter().map(|i| string(i)).collect::<Vec<_>>();
    let integers = vec![vec![0xc0, 5], vec![0xc1, 0, 0x80], vec![0xc2, 1, 2, 3, 0x84]];
    let listpack = b"\x0f\0\0\0\x02\0\x81a\x02\x81b\x02\x07\x01\xff";
    let mut three = listpack.to_vec();
    three[4] = 3;
    vec![
        listed(1, &strings(&words), 1),
        listed(1, &integers, 1),
        listed(2, &integers, 1),
        listed(3, &[string(b"a"), b"\x031.5".to_vec(), string(b"b"), vec![254], string(b"c"), vec![255]], 2),
        listed(4, &strings(&pairs), 2),
        listed(
            5,
            &[string(b"a"), 1.5f64.to_le_bytes().to_vec(), string(b"b"), 0f64.to_le_bytes().to_vec()],
            2,
        ),
        [&[9][..], &string(&zipmap(&[(b"f", b"v"), (b"g", b"w")]))].concat(),
        [&[10][..], &string(&ziplist(&words))].concat(),
        [&[11][..], &string(b"\x02\0\0\0\x02\0\0\0\x01\0\xff\x7f")].concat(),
        [&[11][..], &string(b"\x08\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\x80")].concat(),
        [&[12][..], &string(&ziplist(&scored))].concat(),
        [&[13][..], &string(&ziplist(&pairs))].concat(),
        listed(14, &[string(&ziplist(&words)), string(&ziplist(&pairs))], 1),
        [&[20][..], &string(&three)].concat(),
    ]
}

/// Streams in the forms of Redis 5 and 7.2, from ours: their first figures are the same.
fn streams(bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let ours = bodies.iter().filter(|b| b[0] == 19);
    ours.flat_map(|b| [15, 21].map(|kind| [&[kind], &b[1..]].concat())).collect()
}

/// Gives the body to `RESTORE`, and uses what becomes of it.
fn restore(client: &mut Client, body: &[u8]) -> Outcome {
    let payload = sealed(body);
    let (reply, memory) =
        high_water::during(|| client.ask(&[&b"RESTORE"[..], KEY.as_bytes(), b"0", &payload[..]]));
    assert!(memory <= MEMORY + MEMORY_PER_BYTE * body.len() as u64, "RESTORE takes {memory} bytes of memory");
    match reply {
        Value::Error(e) if e == "ERR Bad data format" => {
            assert_eq!(client.say("DBSIZE"), Value::Int(0));
            return Outcome::Refused;
        }
        Value::Error(e) => panic!("{e}"),
        _ => {}
    }
    exercise(client, &payload);
    client.say("FLUSHALL");
    Outcome::Taken
}

/// All encodings that there are, changed anywhere.
#[test]
fn restore_payloads() {
    let mut client = Client::new();
    let mut corpus = written();
    corpus.extend(foreign());
    let old_streams = streams(&corpus);
    Fuzzer {
        name: "restore_payloads",
        rounds: 1000,
        corpus,
        mutate: &|rng, corpus| match rng.below(16) {
            0 => {
                let mut other = pick(rng, &old_streams).clone();
                change(rng, &mut other, corpus, &[]);
                other
            }
            _ => mutate(rng, corpus, &[]),
        },
        check: &mut |body| restore(&mut client, body),
    }
    .run();
}

/// Where in a body a compact encoding lies that fills all the rest, and the types that have one.
const PACKED: [u8; 7] = [10, 11, 12, 13, 16, 17, 20];

/// Listpacks, ziplists and intsets changed inside, with a size that is right: readers look at their elements.
#[test]
fn compact_encodings() {
    let mut client = Client::new();
    let mut corpus: Vec<Vec<u8>> =
        written().into_iter().chain(foreign()).filter_map(|b| unpacked(&b)).collect();
    // A listpack in the place of each type's.
    for kind in PACKED {
        corpus.extend(corpus.clone().into_iter().filter(|c| c[0] == 16).map(|c| [&[kind], &c[1..]].concat()));
    }
    let of_right_kind =
        |c: &Vec<u8>| super::client::Client::new().ask(&restoring(c)) == Value::Simple("OK".into());
    corpus.retain(of_right_kind);
    assert!(corpus.len() > 8);
    Fuzzer {
        name: "compact_encodings",
        rounds: 1200,
        corpus,
        mutate: &|rng: &mut Rng, corpus| {
            let mut input = mutate(rng, corpus, &[]);
            if let Some(packed) = input.get_mut(1..).filter(|_| rng.below(8) > 0) {
                mend_header(packed);
            }
            input
        },
        check: &mut |input| restore(&mut client, &body_of(input)),
    }
    .run();
}

/// Type and packed bytes of such a body, where they are not compressed.
fn unpacked(body: &[u8]) -> Option<Vec<u8>> {
    let (&kind, rest) = body.split_first().filter(|(kind, _)| PACKED.contains(kind))?;
    let packed = match rest {
        [len @ 0..64, packed @ ..] if packed.len() == usize::from(*len) => packed,
        [high @ 0x40..0x80, low, packed @ ..]
            if packed.len() == usize::from(*high & 0x3f) << 8 | usize::from(*low) =>
        {
            packed
        }
        _ => return None,
    };
    Some([&[kind], packed].concat())
}

/// The other way round.
fn body_of(input: &[u8]) -> Vec<u8> {
    match input.split_first() {
        Some((&kind, packed)) => [&[kind][..], &string(packed)].concat(),
        None => Vec::new(),
    }
}

fn restoring(input: &[u8]) -> Vec<Vec<u8>> {
    vec![b"RESTORE".to_vec(), KEY.into(), b"0".to_vec(), sealed(&body_of(input))]
}

/// Libraries of functions.
#[test]
fn function_payloads() {
    let mut client = Client::new();
    let library = |name: &str| {
        format!(
            "#!lua name={name}\nlocal function f(keys, args) return #args end\nredis.register_function('{name}_f', f)"
        )
    };
    let mut corpus = Vec::new();
    for names in [&["a"][..], &["a", "b"], &["c"]] {
        client.say("FUNCTION FLUSH");
        for name in names {
            client.run(&["FUNCTION", "LOAD", &library(name)]);
        }
        let Value::Bulk(payload) = client.say("FUNCTION DUMP") else { panic!("no payload") };
        corpus.push(payload[..payload.len() - FOOTER].to_vec());
    }
    client.say("FUNCTION FLUSH");
    client.run(&["FUNCTION", "LOAD", &library("present")]);
    let present = client.run(&["FUNCTION", "LIST", "WITHCODE"]);
    const WORDS: [&[u8]; 8] =
        [b"#!lua name=", b"\n", b"redis.register_function", b"\xf5", b"(", b"{}", b"error()", b"while 1 do"];
    Fuzzer {
        name: "function_payloads",
        rounds: 400,
        corpus,
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |body| {
            let reply = client.ask(&[&b"FUNCTION"[..], b"RESTORE", &sealed(body)[..], b"APPEND"]);
            if let Value::Error(_) = reply {
                let after = client.run(&["FUNCTION", "LIST", "WITHCODE"]);
                assert_eq!(after, present, "a payload that was refused has changed the libraries");
                return Outcome::Refused;
            }
            let Value::Bulk(dump) = client.say("FUNCTION DUMP") else { panic!("no payload") };
            client.run(&[&b"FUNCTION"[..], b"RESTORE", &dump[..], b"FLUSH"]);
            client.say("DEBUG RELOAD");
            client.say("FUNCTION FLUSH");
            client.run(&["FUNCTION", "LOAD", &library("present")]);
            Outcome::Taken
        },
    }
    .run();
}
