//! Files and payloads exchanged with a real redis-server 7.0, in both directions, value by value.

mod redis;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datanode::aof::commands::CommandWriter;
use datanode::aof::files::{AofFiles, BaseFormat};
use datanode::aof::load::{PartReader, Step};
use datanode::check;
use datanode::disk::{Disk, RealDisk};
use datanode::rdb::Meta;
use datanode::rdb::decode::{Checksum, Decoder, Entry, Event, Expired};
use datanode::rdb::dump;
use datanode::rdb::encode::{Encoder, Preamble, Replication, ValueWriter};
use datanode::resp::encode_command;
use datanode::store::dict::HashSeed;
use datanode::store::limits::Limits;
use datanode::store::list::{End, List};
use datanode::store::num::parse_float;
use datanode::store::stream::lag;
use datanode::store::stream_id::StreamId;
use datanode::store::value::Value;
use redis::{Dir, Redis, string, tool};

/// All there is to a key: encoding, expiry, content.
type Content = (String, i64, Vec<Vec<u8>>);
type Dataset = BTreeMap<(u32, Vec<u8>), Content>;

const DATABASES: u32 = 16;
const NEVER: i64 = -1;

fn limits() -> Limits {
    Limits::new(HashSeed::new(7))
}

fn scored(member: &[u8], score: f64) -> Vec<u8> {
    [member, b"@", &score.to_bits().to_be_bytes()].concat()
}

/// The words of a reply, whatever its form.
fn flat(reply: redis::Value) -> Vec<u8> {
    match reply {
        redis::Value::Array(items) => items.into_iter().map(flat).collect::<Vec<_>>().join(&b' '),
        redis::Value::Int(n) => n.to_string().into_bytes(),
        redis::Value::Null => b"?".to_vec(),
        other => string(other),
    }
}

/// What a server answers about all its keys.
fn of_server(r: &mut Redis) -> Dataset {
    let mut all = Dataset::new();
    for db in 0..DATABASES {
        r.run(&["SELECT", &db.to_string()]);
        for key in r.strings(&["KEYS", "*"]) {
            let kind = string(r.run(&[b"TYPE", &key[..]]));
            let mut content = match &kind[..] {
                b"string" => r.strings(&[b"GET", &key[..]]),
                b"list" => r.strings(&[b"LRANGE", &key[..], b"0", b"-1"]),
                b"set" => r.strings(&[b"SMEMBERS", &key[..]]),
                b"hash" => {
                    let all = r.strings(&[b"HGETALL", &key[..]]);
                    all.chunks(2).map(|p| p.join(&b'=')).collect()
                }
                b"zset" => {
                    let all = r.strings(&[b"ZRANGE", &key[..], b"0", b"-1", b"WITHSCORES"]);
                    all.chunks(2).map(|p| scored(&p[0], parse_float(&p[1]).unwrap())).collect()
                }
                b"stream" => {
                    let entries = r.run(&[b"XRANGE", &key[..], b"-", b"+"]);
                    let groups = r.run(&[&b"XINFO"[..], b"GROUPS", &key]);
                    vec![flat(entries), flat(groups)]
                }
                other => panic!("type {}", String::from_utf8_lossy(other)),
            };
            if matches!(&kind[..], b"set" | b"hash") {
                content.sort();
            }
            let encoding = string(r.run(&[&b"OBJECT"[..], b"ENCODING", &key[..]]));
            let redis::Value::Int(expires) = r.run(&[b"PEXPIRETIME", &key[..]]) else { panic!("no expiry") };
            all.insert((db, key), (String::from_utf8(encoding).unwrap(), expires, content));
        }
    }
    all
}

/// The same of a value of ours.
fn of_value(value: &Value) -> Vec<Vec<u8>> {
    let mut content: Vec<Vec<u8>> = match value {
        Value::Str(s) => vec![s.to_bytes().into_owned()],
        Value::List(l) => l.iter().map(|e| e.to_bytes().into_owned()).collect(),
        Value::Set(s) => s.iter().map(|e| e.to_bytes().into_owned()).collect(),
        Value::Hash(h) => h.iter().map(|(f, v)| [f.to_bytes(), v.to_bytes()].join(&b'=')).collect(),
        Value::ZSet(z) => z.iter().map(|(m, score)| scored(&m.to_bytes(), score)).collect(),
        Value::Stream(s) => {
            let mut entries = Vec::new();
            for entry in s.log.range(StreamId::MIN, StreamId::MAX) {
                entries.push(entry.id.to_string().into_bytes());
                entries.extend(
                    entry.fields().flat_map(|(n, v)| [n.to_bytes().into_owned(), v.to_bytes().into_owned()]),
                );
            }
            let known = |n: Option<i64>| n.map_or("?".to_owned(), |n| n.to_string());
            let groups = s.groups.iter().map(|(name, group)| {
                let (consumers, pending) = (group.consumers().len(), group.all_pending().len());
                let (read, lag) = (known(group.entries_read), known(lag(s.log.totals(), group)));
                let id = group.last_id;
                format!(
                    "name {} consumers {consumers} pending {pending} last-delivered-id {id} entries-read {read} lag {lag}",
                    text(name)
                )
            });
            vec![entries.join(&b' '), groups.collect::<Vec<_>>().join(" ").into_bytes()]
        }
    };
    if matches!(value, Value::Set(_) | Value::Hash(_)) {
        content.sort();
    }
    content
}

fn of_entries(entries: &[Entry]) -> Dataset {
    let one = |e: &Entry| {
        let expires = e.meta.expire_at_ms.unwrap_or(NEVER);
        ((e.db, e.key.clone()), (e.value.encoding().to_owned(), expires, of_value(&e.value)))
    };
    entries.iter().map(one).collect()
}

/// Compares key by key, for a readable failure.
fn assert_same(ours: &Dataset, theirs: &Dataset) {
    for (key, content) in theirs {
        let name = String::from_utf8_lossy(&key.1);
        let got = ours.get(key).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!((&got.0, got.1), (&content.0, content.1), "encoding and expiry of {name}");
        assert!(got.2 == content.2, "content of {name}: {:?}\nnot {:?}", got.2, content.2);
    }
    assert_eq!(ours.len(), theirs.len(), "more keys than there should be");
}

/// Everything in an RDB file.
#[derive(Default)]
struct File {
    entries: Vec<Entry>,
    aux: Vec<(String, String)>,
    functions: Vec<Vec<u8>>,
}

fn load(path: &Path) -> File {
    let mut file = File::default();
    let mut decoder = Decoder::new(RealDisk.open_read(path).unwrap(), limits(), Expired::Keep);
    loop {
        match decoder.next_event().unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
            Event::Entry(e) => file.entries.push(*e),
            Event::Aux(name, value) => file.aux.push((text(&name), text(&value))),
            Event::Function(library) => file.functions.push(library),
            Event::SelectDb(_) | Event::ResizeDb(..) => {}
            Event::End(checksum) => {
                assert_eq!(checksum, Checksum::Verified);
                return file;
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that repeat only after a long time.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Values of every type and encoding.
fn fill(r: &mut Redis) {
    let ints = "0 1 -1 63 64 127 128 -128 -129 32767 32768 -32769 8388607 8388608 2147483647 2147483648 -2147483648 \
                -2147483649 9223372036854775807 -9223372036854775808 4095 -4096 4096 12 13";
    for n in ints.split_whitespace() {
        r.run(&["SET", &format!("int:{n}"), n]);
        r.run(&["RPUSH", "list:ints", n]);
        r.run(&["HSET", "hash:ints", n, n]);
        r.run(&["ZADD", "zset:ints", n, n]);
        r.run(&["SADD", "set:int64", n]);
    }
    for (i, s) in ["", "+1", "-0", "007", "1.5", " 1", "text", "2147483648x"].iter().enumerate() {
        r.run(&["SET", &format!("text:{i}"), s]);
    }
    for len in [1, 20, 21, 44, 45, 63, 64, 255, 4095, 4096, 16383, 16384, 70_000, 300_000] {
        r.run(&[b"SET", format!("noise:{len}").as_bytes(), &noise(len as u32, len)]);
        r.run(&["SET", &format!("runs:{len}"), &"ab".repeat(len / 2)]);
        let words: String = (0..len / 8).map(|i| format!("word{} ", i % 97)).collect();
        r.run(&["SET", &format!("words:{len}"), &words]);
        r.run(&[&b"RPUSH"[..], b"list:long", &noise(len as u32, len)]);
        r.run(&[&b"HSET"[..], b"hash:long", format!("{len}").as_bytes(), &noise(3, len)]);
    }
    for (n, name) in [(5, "few"), (120, "some"), (3000, "many")] {
        for i in 0..n {
            let (text, number) =
                (format!("element-{i}-{}", "x".repeat(i % 40)), format!("{}", i * 7919 % 65536));
            r.run(&["RPUSH", &format!("list:{name}"), &text, &number]);
            r.run(&["HSET", &format!("hash:{name}"), &text, &number]);
            r.run(&["SADD", &format!("set:{name}"), &text]);
            r.run(&["SADD", &format!("set:int16:{name}"), &(i % 30_000).to_string()]);
            r.run(&["SADD", &format!("set:int32:{name}"), &(i * 100_000).to_string()]);
            let score = format!("{}", (i as f64 - 3.0) / 7.0);
            r.run(&["ZADD", &format!("zset:{name}"), &score, &text]);
            r.run(&["ZADD", &format!("zset:same:{name}"), "1e300", &text]);
        }
    }
    r.run(&["ZADD", "zset:odd", "inf", "a", "-inf", "b", "-0", "c", "1e-300", "d", "0.1", "e", "3", "f"]);
    r.run(&["ZADD", "zset:longmember", "1", &"m".repeat(100)]);
    for i in 1..=500 {
        let (id, value) = (format!("{}-{}", i / 7, i % 7), "v".repeat(i % 50));
        match i % 5 {
            0 => r.run(&["XADD", "stream:many", &id, "other", &value, "n", &i.to_string()]),
            _ => r.run(&["XADD", "stream:many", &id, "field", &value]),
        };
        if i % 9 == 0 {
            r.run(&["XDEL", "stream:many", &id]);
        }
    }
    for group in ["first", "second"] {
        r.run(&["XGROUP", "CREATE", "stream:many", group, "3"]);
        for (consumer, count) in [("alice", "10"), ("bob", "7")] {
            r.run(&["XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", "stream:many", ">"]);
        }
        r.run(&["XGROUP", "CREATECONSUMER", "stream:many", group, "idle"]);
    }
    r.run(&["XGROUP", "CREATE", "stream:empty", "g", "$", "MKSTREAM"]);
    r.run(&["SET", "expires", "soon enough", "PXAT", "4102444800123"]);
    r.run(&["PEXPIREAT", "hash:few", "4102444800999"]);
    r.run(&[&b"SET"[..], b"binary\0\r\n\xff", b"\0\r\n\xff"]);
    r.run(&["SELECT", "9"]);
    r.run(&["SET", "other", "database"]);
    r.run(&["SELECT", "0"]);
}

/// The entries as a file of ours.
fn encode(entries: &[Entry], compression: bool, aof_base: bool) -> Vec<u8> {
    let (mut encoder, mut out) = (Encoder::new(compression, true), Vec::new());
    let replication = (!aof_base).then_some(Replication { stream_db: 0, id: ID, offset: 4711 });
    let preamble = Preamble {
        redis_version: "7.0.15",
        unix_s: 1_700_000_000,
        used_memory: 1,
        replication,
        aof_base,
        dataset: Some(ID),
        epoch: Some(3),
    };
    encoder.preamble(&mut out, &preamble);
    encoder.function(&mut out, LIBRARY.as_bytes());
    for e in entries {
        encoder.entry(&mut out, e.db, &e.key, &e.value, e.meta);
    }
    encoder.end(&mut out);
    out
}

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
const ID: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn rdb_files_both_ways() {
    let dir = Dir::new("rdb");
    let mut first = Redis::start(&dir.0, &[]);
    fill(&mut first);
    first.run(&["FUNCTION", "LOAD", LIBRARY]);
    let theirs = of_server(&mut first);
    assert!(theirs.len() > 80);
    let dump = dir.0.join("dump.rdb");
    for compression in ["yes", "no"] {
        first.run(&["CONFIG", "SET", "rdbcompression", compression]);
        first.run(&["SAVE"]);
        let File { entries, aux, functions } = load(&dump);
        assert_same(&of_entries(&entries), &theirs);
        assert_eq!(functions, [LIBRARY.as_bytes()]);
        assert!(aux.iter().any(|(n, v)| n == "redis-ver" && v.starts_with("7.")), "{aux:?}");
        assert_eq!(check::rdb_main(&[dump.to_string_lossy().into_owned()]), 0);
    }
    drop(first);

    // The other way: what was read, and a list with an element too large for a listpack.
    let mut entries = load(&dump).entries;
    let mut list = List::new();
    for len in [10, 20_000, 10] {
        list.push(&limits(), End::Back, &noise(1, len));
    }
    let value = Value::List(Box::new(list));
    entries.push(Entry { db: 3, key: b"list:plain".to_vec(), value, meta: Meta::default() });
    for compression in [true, false] {
        std::fs::write(&dump, encode(&entries, compression, false)).unwrap();
        let (ok, output) = tool("redis-check-rdb", &[&dump]);
        assert!(ok && output.contains("\\o/ RDB looks OK! \\o/"), "{output}");
        let mut second = Redis::start(&dir.0, &[("sanitize-dump-payload", "yes")]);
        assert_same(&of_entries(&entries), &of_server(&mut second));
        let info = string(second.run(&["INFO", "replication"]));
        assert!(text(&info).contains("master_repl_offset:4711"), "{}", text(&info));
    }
}

#[test]
fn frequency_and_idle_time_survive() {
    for (policy, idle) in [("allkeys-lru", true), ("allkeys-lfu", false)] {
        let dir = Dir::new(policy);
        let mut r = Redis::start(&dir.0, &[("maxmemory-policy", policy), ("maxmemory", "1gb")]);
        r.run(&["SET", "k", "v"]);
        r.run(&["SAVE"]);
        let mut entries = load(&dir.0.join("dump.rdb")).entries;
        let meta = entries[0].meta;
        assert_eq!((meta.idle_s.is_some(), meta.freq.is_some()), (idle, !idle));
        drop(r);
        entries[0].meta =
            Meta { idle_s: idle.then_some(500), freq: (!idle).then_some(99), expire_at_ms: None };
        std::fs::write(dir.0.join("dump.rdb"), encode(&entries, true, false)).unwrap();
        let mut r = Redis::start(&dir.0, &[("maxmemory-policy", policy), ("maxmemory", "1gb")]);
        let question = if idle { "IDLETIME" } else { "FREQ" };
        let redis::Value::Int(n) = r.run(&["OBJECT", question, "k"]) else { panic!("a number is expected") };
        assert!(if idle { (500..600).contains(&n) } else { n == 99 }, "{question} {n}");
    }
}

#[test]
fn dump_payloads_both_ways() {
    let dir = Dir::new("dump");
    let mut r = Redis::start(&dir.0, &[("sanitize-dump-payload", "yes")]);
    fill(&mut r);
    let theirs = of_server(&mut r);
    let mut writer = ValueWriter::new(true);
    let mut copies = Dataset::new();
    for ((db, key), content) in &theirs {
        r.run(&["SELECT", &db.to_string()]);
        let payload = string(r.run(&[b"DUMP", &key[..]]));
        let value = dump::decode(&payload, &limits(), dump::Verify::Footer)
            .unwrap_or_else(|e| panic!("{}: {e}", text(key)));
        assert!(of_value(&value) == content.2, "{}", text(key));
        let ours = dump::encode(&mut writer, &value);
        r.run(&[b"RESTORE", &key[..], b"0", &ours, b"REPLACE"]);
        copies.insert((*db, key.clone()), (content.0.clone(), NEVER, content.2.clone()));
    }
    assert_same(&of_server(&mut r), &copies);
}

/// The commands of a log, one line each, and what its RDB parts hold.
fn load_aof(files: &AofFiles) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut commands) = (Vec::new(), Vec::new());
    for part in files.parts().unwrap() {
        let mut reader = PartReader::open(&RealDisk, &part, &limits()).unwrap();
        loop {
            match reader.next_step() {
                Ok(Some(Step::Preamble(Event::Entry(e)))) => entries.push(*e),
                Ok(Some(Step::Preamble(_))) => {}
                Ok(Some(Step::Command(c))) => {
                    commands.push(c.as_args().iter().map(text).collect::<Vec<_>>().join(" "));
                }
                Ok(None) => break,
                Err(e) => panic!("{e}"),
            }
        }
    }
    (entries, commands)
}

fn open(dir: &Dir) -> AofFiles {
    AofFiles::open(Arc::new(RealDisk), &dir.0, "appendonlydir", "appendonly.aof").unwrap()
}

#[test]
fn an_aof_of_redis_is_read_and_continued() {
    let dir = Dir::new("aof-theirs");
    let config = [("appendonly", "yes"), ("appendfsync", "always"), ("aof-timestamp-enabled", "yes")];
    let mut r = Redis::start(&dir.0, &config);
    fill(&mut r);
    r.run(&["BGREWRITEAOF"]);
    for _ in 0..500 {
        let info = text(&string(r.run(&["INFO", "persistence"])));
        if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let rewritten = of_server(&mut r);
    r.run(&["SELECT", "0"]);
    r.run(&["SET", "after", "the rewrite"]);
    for command in ["MULTI", "INCR n", "LPUSH l x", "EXEC"] {
        r.run(&command.split(' ').collect::<Vec<_>>());
    }
    drop(r);

    let mut files = open(&dir);
    let (entries, commands) = load_aof(&files);
    assert_same(&of_entries(&entries), &rewritten);
    assert_eq!(commands, ["SELECT 0", "SET after the rewrite", "INCR n", "LPUSH l x"]);
    let manifest = files.manifest_path();
    assert_eq!(check::aof_main(&[manifest.to_string_lossy().into_owned()]), 0);

    // Ours goes on with it, and it goes on with ours.
    let mut log = files.resume().unwrap().unwrap();
    encode_command(log.pending(), &["SELECT", "0"]);
    encode_command(log.pending(), &["INCR", "n"]);
    log.sync().unwrap();
    let mut r = Redis::start(&dir.0, &config);
    assert_eq!(string(r.run(&["GET", "n"])), b"2");
    assert_eq!(string(r.run(&["GET", "after"])), b"the rewrite");
    assert_eq!(of_server(&mut r).len(), rewritten.len() + 3);
}

#[test]
fn an_aof_of_ours_is_loaded_by_redis() {
    let source = Dir::new("aof-source");
    let mut r = Redis::start(&source.0, &[]);
    fill(&mut r);
    r.run(&["SAVE"]);
    let mut expected = of_server(&mut r);
    drop(r);
    let entries = load(&source.0.join("dump.rdb")).entries;

    for format in [BaseFormat::Rdb, BaseFormat::Aof] {
        let dir = Dir::new("aof-ours");
        let mut files = open(&dir);
        assert!(files.resume().unwrap().is_none());
        let mut log = files.begin_anew().unwrap();
        write_base(&mut files, &[], BaseFormat::Rdb);
        encode_command(log.pending(), &["SET", "lost with the old base", "x"]);
        log.sync().unwrap();
        let mut log = files.next_incr().unwrap();
        encode_command(log.pending(), &["SELECT", "5"]);
        encode_command(log.pending(), &["SET", "new", "value"]);
        log.sync().unwrap();
        write_base(&mut files, &entries, format);
        for path in files.history() {
            RealDisk.remove(&path).unwrap();
        }
        files.forget_history().unwrap();
        let (ok, output) = tool("redis-check-aof", &[&files.manifest_path()]);
        assert!(ok && output.contains("All AOF files and manifest are valid"), "{output}");

        // A crash in the middle of a transaction.
        encode_command(log.pending(), &["MULTI"]);
        encode_command(log.pending(), &["SET", "never", "executed"]);
        log.pending().extend_from_slice(b"*3\r\n$3\r\nSE");
        log.sync().unwrap();
        let mut r = Redis::start(&dir.0, &[("appendonly", "yes"), ("sanitize-dump-payload", "yes")]);
        let theirs = of_server(&mut r);
        assert_eq!(r.run(&["FCALL", "f", "0"]), redis::Value::Int(1));
        drop(r);
        expected.insert((5, b"new".to_vec()), ("embstr".into(), NEVER, vec![b"value".to_vec()]));
        assert_same(&expected, &theirs);
    }
}

fn write_base(files: &mut AofFiles, entries: &[Entry], format: BaseFormat) {
    let file = RealDisk.create(&files.temp_base()).unwrap();
    let mut bytes = Vec::new();
    match format {
        BaseFormat::Rdb => bytes = encode(entries, true, true),
        BaseFormat::Aof => {
            let mut writer = CommandWriter::default();
            writer.function(&mut bytes, LIBRARY.as_bytes());
            for e in entries {
                writer.entry(&mut bytes, e.db, &e.key, &e.value, e.meta.expire_at_ms);
            }
        }
    }
    file.append(&bytes).unwrap();
    files.publish_base(&*file, format).unwrap();
}

#[test]
fn an_old_single_file_aof_becomes_multi_part() {
    let dir = Dir::new("aof-old");
    let mut bytes = Vec::new();
    encode_command(&mut bytes, &["SET", "k", "v"]);
    std::fs::write(dir.0.join("appendonly.aof"), &bytes).unwrap();
    let mut files = open(&dir);
    assert_eq!(load_aof(&files).1, ["SET k v"]);
    let mut log = files.resume().unwrap().unwrap();
    encode_command(log.pending(), &["SET", "l", "w"]);
    log.sync().unwrap();
    let mut r = Redis::start(&dir.0, &[("appendonly", "yes")]);
    assert_eq!(r.strings(&["MGET", "k", "l"]), [b"v", b"w"]);
}
