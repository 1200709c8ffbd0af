//! Uses a value that was taken from somebody else as clients would: all commands of its type read and change it, and
//! after each change it must still be a value that can be written and read.

use datanode::resp::reader::Value;
use datanode::rng::Rng;

use super::client::Client;
use super::mutate::pick;

/// The key of the value.
pub const KEY: &str = "key";
/// Commands that one value is put through, besides those that read it whole.
const COMMANDS: usize = 24;
/// Elements of the value that are used as arguments, at most.
const ELEMENTS: usize = 32;

/// Commands by type. `K` is the key, `D` another one, `E` an element of the value, `N` an integer, `P` a small one, `S`
/// a text.
const STRING: &str = "GET K|STRLEN K|GETRANGE K N N|BITCOUNT K|BITCOUNT K N N BIT|BITPOS K 1|GETBIT K P|LCS K K LEN|\
    BITFIELD K GET u8 P SET i16 P N INCRBY u4 P N|PFCOUNT K|PFADD K E|PFMERGE D K|PFMERGE K D|PFDEBUG ENCODING K|\
    PFDEBUG DECODE K|PFDEBUG GETREG K|APPEND K E|SETRANGE K P E|INCR K|DECRBY K N|INCRBYFLOAT K 1.5|SETBIT K P 1|\
    GETSET K E|BITOP NOT D K|BITOP XOR D K K|SUBSTR K 0 -1|SET K E KEEPTTL|GETDEL K|MGET K K";
const LIST: &str = "LLEN K|LRANGE K N N|LINDEX K N|LINDEX K P|LPOS K E RANK -1 COUNT 0|LPUSH K E S|RPUSH K S E|LPUSHX K E|\
    LPOP K|RPOP K P|LSET K N E|LSET K P S|LINSERT K BEFORE E S|LINSERT K AFTER E E|LREM K N E|LREM K 0 E|LTRIM K N N|\
    LTRIM K 0 P|LMOVE K K LEFT RIGHT|RPOPLPUSH K D|LMPOP 2 D K RIGHT COUNT 3|SORT K ALPHA|SORT K ALPHA STORE D|\
    SORT_RO K BY nosort GET #|LPUSH D E";
const SET: &str = "SCARD K|SMEMBERS K|SISMEMBER K E|SMISMEMBER K E S N|SRANDMEMBER K|SRANDMEMBER K P|SRANDMEMBER K -7|\
    SSCAN K 0 COUNT 100|SADD K E S N|SREM K E S|SPOP K|SPOP K P|SMOVE K D E|SINTER K D|SINTERCARD 2 K K LIMIT 3|\
    SUNIONSTORE D K K|SDIFFSTORE D K D|SINTERSTORE K K K|SADD D E S|SORT K ALPHA DESC|SADD K P";
const HASH: &str = "HLEN K|HGETALL K|HKEYS K|HVALS K|HGET K E|HMGET K E S|HEXISTS K E|HSTRLEN K E|HRANDFIELD K|\
    HRANDFIELD K P WITHVALUES|HRANDFIELD K -5 WITHVALUES|HSCAN K 0 COUNT 100|HSET K E S|HSET K S E E E|HSETNX K S E|\
    HDEL K E|HDEL K E S E|HINCRBY K E N|HINCRBY K S N|HINCRBYFLOAT K E 1e3|HSET K N N";
const ZSET: &str = "ZCARD K|ZRANGE K 0 -1 WITHSCORES|ZRANGE K N N|ZRANGE K -inf +inf BYSCORE LIMIT P P|ZRANGE K - + BYLEX|\
    ZRANGE K + - BYLEX REV|ZREVRANGEBYSCORE K +inf -inf WITHSCORES|ZSCORE K E|ZMSCORE K E S|ZRANK K E|ZREVRANK K E|\
    ZCOUNT K -inf (0|ZLEXCOUNT K - [E|ZRANDMEMBER K P WITHSCORES|ZRANDMEMBER K -5|ZSCAN K 0 COUNT 100|ZADD K N E|\
    ZADD K GT CH 1e300 E P S|ZADD K INCR -1.5 E|ZADD K NX -inf S|ZINCRBY K 1e308 E|ZREM K E|ZPOPMIN K|ZPOPMAX K P|\
    ZREMRANGEBYRANK K P P|ZREMRANGEBYSCORE K -inf N|ZREMRANGEBYLEX K [E [E|ZRANGESTORE D K 0 P|ZUNIONSTORE D 2 K K|\
    ZINTERSTORE K 1 K WEIGHTS -2|ZDIFFSTORE D 2 K D|ZMPOP 2 D K MAX COUNT 2|ZINTERCARD 2 K K|GEOPOS K E|GEOHASH K E|\
    GEODIST K E E|GEOSEARCH K FROMLONLAT 1 1 BYRADIUS 20000 km WITHCOORD|GEOADD K 13.36 38.11 E|SORT K ALPHA";
const STREAM: &str = "XLEN K|XRANGE K - +|XREVRANGE K + - COUNT P|XRANGE K E +|XREAD COUNT P STREAMS K 0|\
    XREADGROUP GROUP G c COUNT P STREAMS K >|XREADGROUP GROUP G C STREAMS K 0|XREADGROUP GROUP G c NOACK STREAMS K >|\
    XINFO STREAM K FULL|XINFO STREAM K|XINFO GROUPS K|XINFO CONSUMERS K G|XPENDING K G|XPENDING K G - + 100|\
    XPENDING K G IDLE 0 - + P C|XADD K * E S|XADD K MAXLEN ~ P * S E|XADD K MAXLEN = P * E E|XADD K E S S|XDEL K E|\
    XDEL K E E|XTRIM K MAXLEN = P|XTRIM K MINID E|XTRIM K MINID ~ E LIMIT P|XACK K G E|XACK K G E E|\
    XCLAIM K G c 0 E|XCLAIM K G C 0 E FORCE JUSTID|XCLAIM K G c 0 E TIME N RETRYCOUNT P|XAUTOCLAIM K G c 0 0 COUNT P|\
    XGROUP CREATE K g 0|XGROUP CREATE K S E ENTRIESREAD P|XGROUP SETID K G E|XGROUP SETID K G $|XGROUP DESTROY K G|\
    XGROUP CREATECONSUMER K G c|XGROUP DELCONSUMER K G C|XSETID K E|XSETID K E ENTRIESADDED P MAXDELETEDID 0-1";
const ANY: &str = "TYPE K|OBJECT ENCODING K|OBJECT FREQ K|MEMORY USAGE K SAMPLES 0|DEBUG OBJECT K|COPY K D REPLACE|RENAME K K|\
    PEXPIRE K 100000|PERSIST K|TOUCH K|SCAN 0|RANDOMKEY|EXISTS K|MOVE K 1|UNLINK K|DEBUG LISTPACK K|DEBUG STRINGMATCH-LEN P E";

fn commands(kind: &str) -> &'static str {
    match kind {
        "string" => STRING,
        "list" => LIST,
        "set" => SET,
        "hash" => HASH,
        "zset" => ZSET,
        "stream" => STREAM,
        other => panic!("a value of type {other}"),
    }
}

/// Puts the value at [`KEY`], which came by `payload`, through its paces. It is the only one there is.
pub fn exercise(client: &mut Client, payload: &[u8]) {
    let kind = client.text(&["TYPE", KEY]);
    let (elements, groups, consumers) = read_whole(client, &kind);
    survives(client);
    // What is done depends on the payload alone, so that it fails again when it is tried again.
    let mut rng = Rng::new(datanode::rdb::crc64::update(0, payload));
    let all: Vec<&str> = commands(&kind).split('|').chain(ANY.split('|')).collect();
    for _ in 0..COMMANDS {
        let template = *pick(&mut rng, &all);
        let words = template.split(' ').map(|word| {
            let some = |rng: &mut Rng, from: &[Vec<u8>], or: &str| match from {
                [] => or.as_bytes().to_vec(),
                from => pick(rng, from).clone(),
            };
            match word {
                "K" => KEY.into(),
                "D" => b"other".to_vec(),
                "E" => some(&mut rng, &elements, "1-1"),
                "[E" => [b"[", &some(&mut rng, &elements, "x")[..]].concat(),
                "G" => some(&mut rng, &groups, "g"),
                "C" => some(&mut rng, &consumers, "c"),
                "N" => pick(&mut rng, &["0", "1", "-1", "-2", "127", "4096", "9223372036854775807"])
                    .as_bytes()
                    .to_vec(),
                "P" => rng.below(20).to_string().into_bytes(),
                "S" => vec![b's'; rng.below(90) as usize],
                word => word.into(),
            }
        });
        let words: Vec<Vec<u8>> = words.collect();
        client.ask(&words);
        if !whole(client) {
            client.run(&[&b"RESTORE"[..], KEY.as_bytes(), b"0", payload, b"REPLACE"]);
        }
    }
    survives(client);
}

type Words = Vec<Vec<u8>>;

/// Reads all of the value, from both ends where it has two, and sees that its parts agree. Elements of it; of streams also
/// groups and consumers.
fn read_whole(client: &mut Client, kind: &str) -> (Words, Words, Words) {
    let mut ask = |line: &str| client.say(&line.replace(" K", &format!(" {KEY}")));
    let (mut groups, mut consumers) = (Vec::new(), Vec::new());
    let elements = match kind {
        "string" => vec![ask("GET K")],
        "list" => {
            let all = items(ask("LRANGE K 0 -1"));
            assert_eq!(ask("LLEN K"), Value::Int(all.len() as i64));
            for (i, element) in all.iter().enumerate().take(ELEMENTS) {
                assert_eq!(ask(&format!("LINDEX K {i}")), *element, "{i}");
                assert_eq!(ask(&format!("LINDEX K -{}", all.len() - i)), *element, "{i} from the end");
            }
            all
        }
        "set" => {
            let all = items(ask("SMEMBERS K"));
            assert_eq!(ask("SCARD K"), Value::Int(all.len() as i64));
            all
        }
        "hash" => {
            let all = items(ask("HGETALL K"));
            assert_eq!(ask("HLEN K"), Value::Int(all.len() as i64 / 2));
            all
        }
        "zset" => {
            let all = items(ask("ZRANGE K 0 -1"));
            assert_eq!(ask("ZCARD K"), Value::Int(all.len() as i64));
            let mut back = items(ask("ZRANGE K 0 -1 REV"));
            back.reverse();
            assert_eq!(all, back);
            assert_eq!(all.len(), items(ask("ZRANGE K -inf +inf BYSCORE")).len());
            all
        }
        _ => {
            let entries = items(ask("XRANGE K - +"));
            assert_eq!(ask("XLEN K"), Value::Int(entries.len() as i64));
            let mut back = items(ask("XREVRANGE K + -"));
            back.reverse();
            assert_eq!(entries, back);
            ask("XINFO STREAM K FULL COUNT 0");
            for group in items(ask("XINFO GROUPS K")) {
                let Some(Value::Bulk(name)) = group.items().and_then(|i| i.get(1)) else {
                    panic!("{group:?}")
                };
                let listed = client.run(&[&b"XINFO"[..], b"CONSUMERS", KEY.as_bytes(), name]);
                for consumer in items(listed) {
                    let Some(Value::Bulk(name)) = consumer.items().and_then(|i| i.get(1)) else {
                        panic!("{consumer:?}")
                    };
                    consumers.push(name.clone());
                }
                groups.push(name.clone());
            }
            entries.into_iter().filter_map(|entry| entry.items().and_then(|i| i.first().cloned())).collect()
        }
    };
    let elements = elements.into_iter().take(ELEMENTS);
    let bytes = elements.map(|e| match e {
        Value::Bulk(bytes) => bytes,
        other => panic!("an element is {other:?}"),
    });
    (bytes.collect(), groups, consumers)
}

fn items(reply: Value) -> Vec<Value> {
    match reply {
        Value::Array(items) => items,
        other => panic!("an array is expected, not {other:?}"),
    }
}

/// Whether the value is still there; then it can be written, and what was written be read.
fn whole(client: &mut Client) -> bool {
    match client.run(&["DUMP", KEY]) {
        Value::Bulk(payload) => {
            // When it expires is not in the payload, but in the digest.
            client.run(&["PERSIST", KEY]);
            client.run(&[&b"RESTORE"[..], b"copy", b"0", &payload[..], b"REPLACE"]);
            let Value::Array(digests) = client.run(&["DEBUG", "DIGEST-VALUE", KEY, "copy"]) else {
                panic!("no digests")
            };
            assert_eq!(digests[0], digests[1], "a copy by DUMP and RESTORE is not the same");
            client.run(&["DEL", "copy"]);
            true
        }
        Value::Null => false,
        other => panic!("DUMP answers {other:?}"),
    }
}

/// All data are the same after they were written to an RDB file and read from it.
pub fn survives(client: &mut Client) {
    let before = client.digest();
    client.say("DEBUG RELOAD");
    assert_eq!(client.digest(), before, "the data are not the same after DEBUG RELOAD");
}
