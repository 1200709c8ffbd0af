//! Whole files and payloads: what is written is read again, and no damage does more than cause an error.

use super::decode::{Checksum, Counts, Decoder, Event, Expired};
use super::encode::{Encoder, Preamble, Replication, ValueWriter};
use super::*;
use crate::store::dict::HashSeed;
use crate::store::hash::Hash;
use crate::store::limits::Limits;
use crate::store::list::{End, List};
use crate::store::set::Set;
use crate::store::str::Str;
use crate::store::stream::Stream;
use crate::store::stream_group::{Group, Pending};
use crate::store::stream_id::StreamId;
use crate::store::value::Value;
use crate::store::zset::ZSet;

fn limits() -> Limits {
    Limits::new(HashSeed::repeatable(1))
}

/// What a value holds, in an order of its own.
fn content(value: &Value) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = match value {
        Value::Str(s) => return vec![s.to_bytes().into_owned()],
        Value::List(l) => return l.iter().map(|e| e.to_bytes().into_owned()).collect(),
        Value::Set(s) => s.iter().map(|e| e.to_bytes().into_owned()).collect(),
        Value::Hash(h) => h.iter().map(|(f, v)| [f.to_bytes(), v.to_bytes()].join(&b'=')).collect(),
        Value::ZSet(z) => {
            z.iter().map(|(m, s)| [&m.to_bytes()[..], &s.to_bits().to_be_bytes()].concat()).collect()
        }
        Value::Stream(s) => return stream_content(s),
    };
    all.sort();
    all
}

/// All there is to a stream, line by line.
fn stream_content(stream: &Stream) -> Vec<Vec<u8>> {
    let mut lines = vec![format!("{:?}", stream.log.totals())];
    for entry in stream.log.range(StreamId::MIN, StreamId::MAX) {
        let fields: Vec<_> = entry.fields().map(|(n, v)| (n.to_bytes(), v.to_bytes())).collect();
        lines.push(format!("{} {fields:?}", entry.id));
    }
    for (name, group) in &stream.groups {
        lines.push(format!("{name:?} {} {:?}", group.last_id, group.entries_read));
        for consumer in group.consumers() {
            lines.push(format!("{:?} {}", consumer.name(), consumer.seen_ms));
            let pending = consumer.pending().iter().map(|(id, _)| (id, group.pending(id)));
            lines.extend(
                pending.map(|(id, p)| format!("{id} {:?}", p.map(|p| (p.delivered_ms, p.deliveries)))),
            );
        }
    }
    lines.into_iter().map(String::into_bytes).collect()
}

/// A stream of `n` entries, of which some are deleted, with a group for every ten of them.
fn stream(n: u64) -> Stream {
    let (limits, mut stream) = (limits(), Stream::new());
    for i in 1..=n {
        let (value, more) = (format!("value {i}"), format!("{}", i * 1_000_003));
        let fields: &[&[u8]] = match i % 3 {
            0 => &[b"a", value.as_bytes(), b"b", more.as_bytes()],
            _ => &[b"a", value.as_bytes()],
        };
        let id = StreamId::new(1_700_000_000_000 + i / 4, i % 4);
        stream.log.append(&limits, id, fields.iter().copied());
        if i % 10 == 0 {
            let mut group = Group::new(id, (i % 20 == 0).then_some(i as i64));
            for name in ["idle", "busy", "busier"] {
                group.add_consumer(name.as_bytes(), i as i64);
            }
            for (k, name) in [(1, "busy"), (2, "busier"), (3, "busier")] {
                let Some(consumer) = group.find(name.as_bytes()) else { continue };
                let pending = Pending { consumer, delivered_ms: -5, deliveries: i };
                group.set_pending(StreamId::new(id.ms - k, k), pending);
            }
            stream.groups.insert(format!("group {i}").into_bytes().into(), group);
            stream.log.delete(id);
        }
    }
    stream
}

/// Values of every type and encoding.
fn values() -> Vec<Value> {
    let limits = limits();
    let mut all = Vec::new();
    for text in
        ["", "0", "-1", "127", "-129", "32768", "2147483647", "-2147483648", "2147483648", "007", "text"]
    {
        all.push(Value::Str(Str::new(text.as_bytes())));
    }
    all.push(Value::Str(Str::new(&b"compressible ".repeat(1000))));
    all.push(Value::Str(Str::new(&(0..20_000u32).map(|i| ((i * i) >> 5) as u8).collect::<Vec<_>>())));
    for n in [1, 10, 1000] {
        let (mut list, mut ints, mut set) = (List::new(), Set::new(), Set::new());
        let (mut hash, mut zset) = (Hash::new(), ZSet::new());
        for i in 0..n {
            let text = format!("element {i} of {n}").into_bytes();
            list.push(&limits, End::Back, &text);
            ints.insert(&limits, format!("{}", i64::from(i) * 100_000_000_000).as_bytes());
            set.insert(&limits, &text);
            hash.insert(&limits, &text, format!("{i}").as_bytes());
            zset.insert(&limits, &text, f64::from(i) / 7.0);
        }
        list.push(&limits, End::Front, &vec![b'L'; 10_000]);
        zset.insert(&limits, b"first", f64::NEG_INFINITY);
        zset.insert(&limits, b"last", f64::INFINITY);
        all.extend([
            Value::List(Box::new(list)),
            Value::Set(Box::new(ints)),
            Value::Set(Box::new(set)),
            Value::Hash(Box::new(hash)),
            Value::ZSet(Box::new(zset)),
            Value::Stream(Box::new(stream(n.min(60) as u64))),
        ]);
    }
    all
}

fn meta(i: usize) -> Meta {
    Meta {
        expire_at_ms: (i % 3 == 1).then_some(4_000_000_000_000),
        idle_s: (i % 4 == 2).then_some(77),
        freq: (i % 4 == 3).then_some(9),
    }
}

fn file(values: &[Value], compression: bool, checksum: bool) -> Vec<u8> {
    let (mut e, mut out) = (Encoder::new(compression, checksum), Vec::new());
    let replication = Some(Replication { stream_db: -1, id: "f00", offset: 1 << 40 });
    let preamble = Preamble {
        redis_version: "7.0.15",
        replication,
        dataset: Some("d00d"),
        epoch: Some(4),
        ..Preamble::default()
    };
    e.preamble(&mut out, &preamble);
    e.function(&mut out, b"#!lua name=x\n");
    e.resize_db(&mut out, 0, 5, 1);
    for (i, value) in values.iter().enumerate() {
        e.entry(&mut out, (i % 2) as u32, format!("key {i}").as_bytes(), value, meta(i));
    }
    e.end(&mut out);
    out
}

/// Everything in a file.
fn read(bytes: &[u8], expired: Expired) -> Result<(Vec<Event>, Counts), Error> {
    let mut decoder = Decoder::new(bytes, limits(), expired);
    let mut events = Vec::new();
    loop {
        events.push(decoder.next_event()?);
        if let Some(Event::End(_)) = events.last() {
            assert_eq!(decoder.offset(), bytes.len() as u64);
            return Ok((events, decoder.counts()));
        }
    }
}

#[test]
fn files_round_trip() {
    let values = values();
    for (compression, checksum) in [(true, true), (false, true), (true, false)] {
        let bytes = file(&values, compression, checksum);
        let (events, counts) = read(&bytes, Expired::Keep).unwrap();
        let mut i = 0;
        let mut aux = Vec::new();
        for event in &events {
            match event {
                Event::Entry(e) => {
                    assert_eq!((e.db as usize, e.meta), (i % 2, meta(i)));
                    assert_eq!(e.key, format!("key {i}").into_bytes());
                    assert_eq!(e.value.encoding(), values[i].encoding(), "{i}");
                    assert_eq!(content(&e.value), content(&values[i]), "{i}");
                    i += 1;
                }
                Event::Aux(name, value) => {
                    aux.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
                }
                Event::Function(library) => assert_eq!(library, b"#!lua name=x\n"),
                Event::ResizeDb(keys, expires) => assert_eq!((*keys, *expires), (5, 1)),
                Event::SelectDb(db) => assert!(*db < 2),
                Event::End(sum) => {
                    assert_eq!(*sum, if checksum { Checksum::Verified } else { Checksum::Disabled });
                }
            }
        }
        assert_eq!((i, counts.keys), (values.len(), values.len() as u64));
        for pair in
            ["redis-ver=7.0.15", "repl-stream-db=-1", "repl-offset=1099511627776", "replicaset-epoch=4"]
        {
            assert!(aux.iter().any(|a| a == pair), "{pair}: {aux:?}");
        }
    }
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let bytes = file(&values()[..16], true, true);
    for n in 0..bytes.len() {
        assert!(read(&bytes[..n], Expired::Keep).is_err(), "cut at {n}");
    }
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(read(&bad, Expired::Keep).is_err(), "flipped at {at}");
    }
}

/// The checksum hides damage from the parts behind it: here it is switched off.
#[test]
fn no_mutation_makes_it_panic() {
    let bytes = file(&values(), true, false);
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % n
    };
    let (mut good, mut bad) = (0, 0);
    for _ in 0..1500 {
        let mut mutant = bytes.clone();
        for _ in 0..=next(4) {
            let at = next(mutant.len());
            match next(4) {
                0 => mutant[at] = next(256) as u8,
                1 => mutant[at] = [0, 0x80, 0x81, 0xc3, 0xfe, 0xff, 0x7f, 1][next(8)],
                2 => drop(mutant.remove(at)),
                _ => mutant.insert(at, next(256) as u8),
            }
        }
        match Decoder::new(&mutant[..], limits(), Expired::Keep).drain() {
            Ok(()) => good += 1,
            Err(_) => bad += 1,
        }
    }
    assert!(good > 0 && bad > 500, "{good} {bad}");
}

impl<R: std::io::Read> Decoder<R> {
    fn drain(mut self) -> Result<(), Error> {
        while !matches!(self.next_event()?, Event::End(_)) {}
        Ok(())
    }
}

#[test]
fn expired_keys_are_left_out_on_demand() {
    let bytes = file(&values(), true, true);
    let count = |expired| read(&bytes, expired).unwrap().1;
    assert_eq!(count(Expired::Skip { now_ms: 3_999_999_999_999 }).expired, 0);
    let all = count(Expired::Skip { now_ms: 4_000_000_000_001 });
    assert!(all.expired > 5 && all.expired == all.expires);
    assert_eq!(all.keys, count(Expired::Keep).keys);
}

fn kind_of(bytes: &[u8]) -> ErrorKind {
    read(bytes, Expired::Keep).err().unwrap().kind
}

#[test]
fn refusals_are_named() {
    assert!(matches!(kind_of(b"REDIS0012\xff"), ErrorKind::Version(12)));
    assert!(matches!(kind_of(b"REDIS0000\xff"), ErrorKind::Version(0)));
    assert!(matches!(kind_of(b"REDIS00+7\xff"), ErrorKind::NotRdb));
    assert!(matches!(kind_of(b"*3\r\n$3\r\nSET"), ErrorKind::NotRdb));
    assert!(matches!(kind_of(b"REDIS"), ErrorKind::Truncated));
    let with = |rest: &[u8]| kind_of(&[&b"REDIS0011"[..], rest].concat()).to_string();
    // A module type's id is its name, six bits a character, and a version.
    let json = with(b"\x07\x01k\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03");
    assert!(json.contains("module type 'ReJSON-RL'"), "{json}");
    assert_eq!(with(b"\x63\x01k"), "corrupt data: unknown value type 99");
    assert!(with(b"\x02\x01k\x02\x01a\x01a").contains("a member twice"));
    assert!(with(b"\x05\x01k\x01\x01a\0\0\0\0\0\0\xf8\x7f").contains("not a number"));
    assert!(with(b"\x00\x01k\x82\0\0\0\0").contains("length encoding"));
}

#[test]
fn module_data_slots_and_empty_collections_are_passed_over() {
    let bytes =
        b"REDIS0011\xf7\x01\x02\x02\x05\x03abc\x04\0\0\0\0\0\0\0\0\x03\0\0\0\0\x01\x07\0\xf4\x05\x01\0\
                  \xfd\0\0\0\x10\x02\x01e\x00\xfd\0\0\0\x10\x00\x01k\x01v\xff\0\0\0\0\0\0\0\0";
    let (events, counts) = read(bytes, Expired::Keep).unwrap();
    assert_eq!(counts, Counts { keys: 2, expires: 2, expired: 0, empty: 1, module_aux: 1 });
    let Event::Entry(e) = &events[0] else { panic!("an entry is expected") };
    assert_eq!((&e.key[..], e.meta.expire_at_ms), (&b"k"[..], Some(0x1000_0000 * 1000)));
}

/// With a checksum that is right: what someone who may call RESTORE can send.
#[test]
fn no_payload_makes_it_panic() {
    let mut writer = ValueWriter::new(true);
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = move |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as usize % n
    };
    let mut good = 0;
    for value in values() {
        let payload = dump::encode(&mut writer, &value);
        let body = &payload[..payload.len() - 10];
        for _ in 0..400 {
            let mut mutant = body.to_vec();
            for _ in 0..=next(3) {
                let at = next(mutant.len().min(64));
                mutant[at] =
                    if next(2) == 0 { next(256) as u8 } else { [0, 0x80, 0x81, 0xc3, 0xff, 4][next(6)] };
            }
            good += u32::from(dump::decode(&with_footer(&mutant), &limits(), dump::Verify::Footer).is_ok());
        }
    }
    assert!(good > 0);
}

/// "Bad data format": its checksum is right.
#[test]
fn a_payload_that_ends_too_early_is_corrupt() {
    let decode =
        |body: &[u8]| dump::decode(&with_footer(body), &limits(), dump::Verify::Footer).map_err(|e| e.kind);
    assert!(matches!(decode(&[T_STRING, 5, b'a']), Err(ErrorKind::Corrupt(_))));
    assert!(matches!(decode(&[T_LIST_QUICKLIST_2, 1, 1, 0]), Err(ErrorKind::Corrupt(_))), "an empty node");
    assert!(matches!(decode(&[T_HASH_ZIPMAP, 2, 0, 0xff]), Err(ErrorKind::Corrupt(_))), "an empty zipmap");
    let short = dump::decode(b"short", &limits(), dump::Verify::Version);
    assert!(matches!(short.map_err(|e| e.kind), Err(ErrorKind::Truncated)), "no footer");
}

fn with_footer(body: &[u8]) -> Vec<u8> {
    let all = [body, &VERSION.to_le_bytes()].concat();
    [&all[..], &crc64::update(0, &all).to_le_bytes()].concat()
}

/// Old encodings that nothing writes any more.
#[test]
fn old_types_are_read() {
    let ziplist = b"\x11\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xfe\x05\xff";
    let one = |kind: u8, body: &[u8]| {
        let bytes = [b"REDIS0004", &[kind][..], b"\x01k", body, b"\xff"].concat();
        let mut decoder = Decoder::new(&bytes[..], limits(), Expired::Keep);
        match decoder.next_event() {
            Ok(Event::Entry(e)) => content(&e.value),
            Ok(_) => panic!("not an entry"),
            Err(e) => panic!("type {kind}: {e}"),
        }
    };
    let blob = [&[ziplist.len() as u8], &ziplist[..]].concat();
    assert_eq!(one(T_LIST_ZIPLIST, &blob), [b"a", b"5"]);
    assert_eq!(one(T_LIST_QUICKLIST, &[&[2], &blob[..], &blob].concat()), [b"a", b"5", b"a", b"5"]);
    assert_eq!(one(T_HASH_ZIPLIST, &blob), [b"a=5"]);
    assert_eq!(one(T_ZSET_ZIPLIST, &blob), [[&b"a"[..], &5f64.to_bits().to_be_bytes()].concat()]);
    assert_eq!(one(T_HASH_ZIPMAP, b"\x07\x01\x01f\x01\0v\xff"), [b"f=v"]);
    assert_eq!(one(T_LIST, b"\x02\x01x\x01y"), [b"x", b"y"]);
    let scored = [[&b"m"[..], &1.5f64.to_bits().to_be_bytes()].concat()];
    assert_eq!(one(T_ZSET, b"\x01\x01m\x031.5"), scored);
    let lp = b"\x0c\0\0\0\x02\0\x81a\x02\x05\x01\xff";
    assert_eq!(one(T_SET_LISTPACK, &[&[lp.len() as u8], &lp[..]].concat()), [b"5", b"a"]);
}

#[test]
fn dump_payloads() {
    let mut writer = ValueWriter::new(true);
    for value in values() {
        let payload = dump::encode(&mut writer, &value);
        let back = dump::decode(&payload, &limits(), dump::Verify::Footer).unwrap();
        assert_eq!(content(&back), content(&value));
        for at in (0..payload.len()).step_by(payload.len() / 50 + 1) {
            let mut bad = payload.clone();
            bad[at] ^= 0x10;
            assert!(dump::decode(&bad, &limits(), dump::Verify::Footer).is_err());
            assert!(dump::decode(&payload[..at], &limits(), dump::Verify::Footer).is_err());
        }
    }
    // What redis-server 7.0 answers to DUMP of a key that holds 10 (see the command's page for older ones).
    let ten = b"\x00\xc0\n\n\x00n\x9fWE\x0e\xaec\xbb";
    assert_eq!(content(&dump::decode(ten, &limits(), dump::Verify::Footer).unwrap()), [b"10"]);
    assert_eq!(dump::encode(&mut writer, &Value::Str(Str::new(b"10"))), ten);
    for bad in [&b"\x02\0"[..], b"\x00\x01ab", b"", b"\x00\x05a"] {
        assert!(dump::decode(&with_footer(bad), &limits(), dump::Verify::Footer).is_err(), "{bad:?}");
    }
}

/// A stream as Redis 5 (type 15), 7.0 (19) and 7.2 (21) write it: two entries, one group, one pending entry.
fn stream_payload(kind: u8, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut stream = Stream::new();
    for seq in [1, 2] {
        stream.log.append(&limits(), StreamId::new(5, seq), [&b"f"[..], b"v"].into_iter());
    }
    let node = stream.log.nodes().next().unwrap().1.as_bytes().to_vec();
    let id = StreamId::new(5, 1).to_bytes();
    let mut out = vec![kind, 1, 16];
    out.extend(id);
    out.push(node.len() as u8);
    out.extend(node);
    out.extend([2, 5, 2]);
    if kind != T_STREAM {
        out.extend([5, 1, 0, 0, 2]);
    }
    out.extend([1, 1, b'g', 5, 2]);
    if kind != T_STREAM {
        out.push(2);
    }
    out.push(1);
    out.extend(id);
    out.extend(77i64.to_le_bytes());
    out.push(3);
    out.extend([1, 1, b'c']);
    out.extend(88i64.to_le_bytes());
    if kind == T_STREAM_3 {
        out.extend(99i64.to_le_bytes());
    }
    out.push(1);
    out.extend(id);
    edit(&mut out);
    out.extend(MAX_VERSION.to_le_bytes());
    let checksum = crc64::update(0, &out);
    out.extend(checksum.to_le_bytes());
    out
}

#[test]
fn streams_in_all_three_forms() {
    let read = |kind| {
        super::dump::decode(&stream_payload(kind, |_| {}), &limits(), super::dump::Verify::Footer).unwrap()
    };
    let [old, present, new] = [T_STREAM, T_STREAM_2, T_STREAM_3].map(read);
    assert_eq!(content(&old), content(&present));
    assert_eq!(content(&new), content(&present));
    let text: Vec<String> = content(&old).into_iter().map(|l| String::from_utf8(l).unwrap()).collect();
    assert_eq!(text[3..], ["[103] 5-2 Some(2)", "[99] 88", "5-1 Some((77, 3))"]);
}

#[test]
fn streams_that_contradict_themselves_are_refused() {
    type Edit = fn(&mut Vec<u8>);
    // The end of the payload: … the group's pending entry, the consumer, and its pending entry.
    let refused = |edit: fn(&mut Vec<u8>)| match super::dump::decode(
        &stream_payload(T_STREAM_2, edit),
        &limits(),
        super::dump::Verify::Footer,
    ) {
        Err(Error { kind: ErrorKind::Corrupt(text), .. }) => text,
        other => panic!("{}", other.is_ok()),
    };
    fn from_end(b: &mut [u8], n: usize) -> &mut u8 {
        let at = b.len() - n;
        &mut b[at]
    }
    let cases: [(Edit, &str); 8] = [
        (|b| b[2] = 15, "another size"),
        (|b| *b.last_mut().unwrap() = 9, "no group, or for two"),
        (
            |b| {
                b.truncate(b.len() - 17);
                b.push(0);
            },
            "pending for no consumer",
        ),
        (
            |b| {
                let at = b.len() - 17;
                let again = b[at + 1..].to_vec();
                b[at] = 2;
                b.extend(again);
            },
            "for two consumers",
        ),
        (
            |b| {
                let at = b.len() - 28;
                let again = b[at + 1..].to_vec();
                b[at] = 2;
                b.extend(again);
            },
            "Duplicate stream consumer",
        ),
        (|b| *from_end(b, 68) += 1, "another number of entries"),
        (|b| *from_end(b, 66) -= 1, "entries behind its last id"),
        (|b| b[25] = 7, "listpack"),
    ];
    for (n, (edit, text)) in cases.into_iter().enumerate() {
        let error = refused(edit);
        assert!(error.contains(text), "case {n}: {error}");
    }
}

/// In parts a value is the same as in one piece.
#[test]
fn large_values_in_parts() {
    use crate::store::list::{End, List};
    let limits = Limits::new(HashSeed::repeatable(2));
    for n in [1, 600, 1024, 5000, 40_000] {
        let (mut list, mut set, mut hash, mut zset) = (List::new(), Set::new(), Hash::new(), ZSet::new());
        for i in 0..n {
            let e = format!("element {i}").into_bytes();
            list.push(&limits, End::Back, &e);
            set.insert(&limits, &e);
            hash.insert(&limits, &e, &e);
            zset.insert(&limits, &e, i as f64 / 3.0);
        }
        list.push(&limits, End::Back, &vec![b'p'; 20_000]);
        let values = [
            Value::Str(Str::new(&vec![b's'; n])),
            Value::List(Box::new(list)),
            Value::Set(Box::new(set)),
            Value::Hash(Box::new(hash)),
            Value::ZSet(Box::new(zset)),
        ];
        for value in &values {
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            let mut writer = ValueWriter::new(false);
            writer.value(&mut whole, value);
            let (mut from, mut count) = (0, 1);
            while let Some(next) = writer.part(&mut parts, value.as_ref(), from) {
                (from, count) = (next, count + 1);
            }
            assert!(parts == whole, "{n} {}", value.type_name());
            assert!(!ValueWriter::is_large(value.as_ref()) || count > 1, "{n} {}", value.type_name());
        }
    }
}
