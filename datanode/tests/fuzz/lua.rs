//! What scripts unpack: cmsgpack, cjson, struct. And scripts themselves, as texts that are compiled.

use datanode::resp::reader::Value;

use super::client::Client;
use super::mutate::mutate;
use super::rounds::{Fuzzer, Outcome};

/// Runs a script on an input: it may end with an error, and what it unpacks is packed again the same way twice.
fn unpack(name: &'static str, rounds: u64, corpus: Vec<Vec<u8>>, words: &[&[u8]], script: &str) {
    let mut client = Client::new();
    let sha = client.text(&["SCRIPT", "LOAD", script]);
    Fuzzer {
        name,
        rounds,
        corpus,
        mutate: &|rng, corpus| mutate(rng, corpus, words),
        check: &mut |input| match client.ask(&[&b"EVALSHA"[..], sha.as_bytes(), b"0", input]) {
            Value::Error(_) => Outcome::Refused,
            _ => Outcome::Taken,
        },
    }
    .run();
}

#[test]
fn message_packs() {
    let mut client = Client::new();
    let values = [
        "1, -1, 127, 128, 65536, -32769, 4294967296, -2147483649, 1.5, 1e300",
        "'', 'a', string.rep('x', 40), string.rep('y', 300)",
        "{}, {1, 2, 3}, {a = 1, b = {c = {1, 2, {}}}}, true, false",
        "{1, {2, {3, {4, {5, {6}}}}}}",
    ];
    let corpus = values.map(|v| match client.run(&["EVAL", &format!("return cmsgpack.pack({v})"), "0"]) {
        Value::Bulk(bytes) => bytes,
        other => panic!("{other:?}"),
    });
    const WORDS: [&[u8]; 8] = [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdc\xff\xff",
        b"\xcb",
        b"\x91",
        b"\x81\x01",
        b"\xc7",
    ];
    let script = "local function again(...) return cmsgpack.pack(...) end \
        local once = again(cmsgpack.unpack(ARGV[1])) \
        pcall(cmsgpack.unpack_limit, ARGV[1], 1, 1) pcall(cmsgpack.unpack_one, ARGV[1], #ARGV[1] - 1) return #once";
    unpack("message_packs", 1200, corpus.to_vec(), &WORDS, script);
}

#[test]
fn json() {
    let corpus = [
        r#"{"a": [1, 2.5, -3e10, true, false, null], "b": {"c": "x\u00e9\ud83d\ude00\n"}}"#,
        r#"[[[[["deep"]]]], {}, [], "", 0, -0, 1e-10]"#,
        r#""a string""#,
    ];
    const WORDS: [&[u8]; 14] = [
        b"[",
        b"]",
        b"{",
        b"}",
        b"[[[[[[[[[[[[[[[[",
        b"\"\\ud800\"",
        b"\"\\u\"",
        b"1e999",
        b"nan",
        b"-",
        b"{\"\":",
        b",",
        b"\\",
        b"null",
    ];
    let script = "local v = cjson.decode(ARGV[1]) local once = cjson.encode(v) \
        return cjson.encode(cjson.decode(once)) == once or redis.error_reply('another one')";
    unpack("json", 1200, corpus.map(|c| c.as_bytes().to_vec()).to_vec(), &WORDS, script);
}

/// Format and data are apart by a line feed.
#[test]
fn structs() {
    let corpus = [
        &b">I2i4hH\n\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c"[..],
        b"<bBlLdf\n\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
        b"sbc3\nabc\0\x02xyz",
        b"!4bi4xxB\n\x01\0\0\0\x01\x02\x03\x04\0\0\x05",
        b"bc0\n\x03abc",
    ];
    const WORDS: [&[u8]; 10] =
        [b"c0", b"s", b"i16", b"I32", b"!8", b"i2147483647", b"c99999999999", b"x", b">", b"="];
    let script = "local format, data = ARGV[1]:match('^([^\\n]*)\\n(.*)$') if not format then error('no format') end \
        struct.size(format:gsub('[sc]%d*', '')) return #{struct.unpack(format, data)}";
    unpack("structs", 1200, corpus.map(<[u8]>::to_vec).to_vec(), &WORDS, script);
}

/// Scripts that are compiled and run. They may not loop: there is nobody here who would end them.
#[test]
fn scripts() {
    let corpus = [
        "return redis.call('SET', KEYS[1] or 'a', ARGV[1] or 1)",
        "local t = {3, 2, 1, a = {}} table.sort(t) t[#t + 1] = 4 return {unpack(t)}",
        "#!lua flags=no-writes\nreturn {redis.pcall('SET', 'a', 1), tostring(redis)}",
        "return string.format('%d %s %5.2f %q', 1, 'x', 2.5, 'y') .. tostring(bit.tobit(2^40))",
        "return {ok = 'x', {err = 'y'}, map = {a = 1}, {double = 1.5}, {map = {a = {set = {b = true}}}}}",
        "redis.setresp(3) return redis.call('HGETALL', 'h')",
    ];
    const WORDS: [&[u8]; 16] = [
        b"(",
        b")",
        b"{",
        b"}",
        b" end ",
        b" local ",
        b"function() ",
        b"[[",
        b"..",
        b"%",
        b"%99999s",
        b"%s%s%s",
        b"\0",
        b"\x1bLua",
        b"#!lua ",
        b" nil ",
    ];
    let mut client = Client::new();
    Fuzzer {
        name: "scripts",
        rounds: 1200,
        corpus: corpus.map(|c| c.as_bytes().to_vec()).to_vec(),
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |script| match client.ask(&[&b"EVAL"[..], script, b"0"]) {
            Value::Error(_) => Outcome::Refused,
            _ => Outcome::Taken,
        },
    }
    .run();
}
