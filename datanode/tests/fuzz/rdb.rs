//! RDB files, as a server loads them.

use std::path::Path;

use datanode::disk::{self};
use datanode::rdb::crc64;
use datanode::resp::reader::Value;
use datanode::rng::Rng;

use super::client::{Client, DIR, put};
use super::exercise::survives;
use super::mutate::mutate;
use super::payload;
use super::rounds::{Fuzzer, Outcome};

const CHECKSUM: usize = 8;

/// A key that is there before a file is loaded, and still is if the file is refused.
const PRESENT: &str = "present";

/// Files with keys of all types, libraries, expiry, and what files say of themselves.
fn corpus() -> Vec<Vec<u8>> {
    let mut client = Client::new();
    let path = Path::new(DIR).join("dump.rdb");
    let mut files = Vec::new();
    let mut save = |client: &mut Client| {
        client.say("SAVE");
        files.push(disk::read(&client.disk, &path).unwrap());
    };
    client.say("SET one 1");
    save(&mut client);
    client.run(&["FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)"]);
    for line in "SELECT 3|SET a x PX 100000|SET b y EXAT 1|HSET h f v|RPUSH l a b 3|SADD s 1 2|ZADD z 1 a|\
                 XADD x 1-1 f v|SELECT 0|SET c zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz|CONFIG SET maxmemory-policy allkeys-lfu"
        .split('|')
    {
        client.say(line);
    }
    save(&mut client);
    client.say("CONFIG SET maxmemory-policy allkeys-lru");
    save(&mut client);
    client.say("CONFIG SET rdbcompression no");
    save(&mut client);
    // Old encodings in files of old versions: before the fifth there is no checksum.
    for (i, body) in payload::foreign().iter().enumerate() {
        let mut file = b"REDIS0003\xfe\0".to_vec();
        file.push(body[0]);
        file.extend(super::packed::string(format!("old:{i}").as_bytes()));
        file.extend(&body[1..]);
        file.push(0xff);
        files.push(file);
    }
    files
}

/// Puts the checksum right where there is one.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let old = file.get(..9).is_some_and(|head| head < &b"REDIS0005"[..]);
    if !old && let Some(at) = file.len().checked_sub(CHECKSUM) {
        let checksum = crc64::update(0, &file[..at]);
        file[at..].copy_from_slice(&checksum.to_le_bytes());
    }
    file
}

#[test]
fn rdb_files() {
    let mut client = Client::new();
    let path = Path::new(DIR).join("dump.rdb");
    Fuzzer {
        name: "rdb_files",
        rounds: 1000,
        corpus: corpus(),
        mutate: &|rng: &mut Rng, corpus| {
            let input = mutate(rng, corpus, &[]);
            if rng.below(16) > 0 { sealed(input) } else { input }
        },
        check: &mut |file| {
            client.say("FLUSHALL");
            client.say("FUNCTION FLUSH");
            client.run(&["SET", PRESENT, "1"]);
            let before = client.digest();
            put(&client.disk, &path, file);
            if let Value::Error(_) = client.ask(&["DEBUG", "RELOAD", "NOSAVE"]) {
                assert_eq!(client.digest(), before, "a file that was refused has changed the data");
                assert_eq!(
                    disk::read(&client.disk, &path).unwrap(),
                    file,
                    "a file that was refused is another"
                );
                return Outcome::Refused;
            }
            survives(&mut client);
            Outcome::Taken
        },
    }
    .run();
}
