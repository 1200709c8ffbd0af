//! The append-only file: manifest, base and log, as a server loads them at its start.

use std::path::{Path, PathBuf};

use datanode::config::Config;
use datanode::disk_fake::FakeDisk;
use datanode::resp::encode_command;

use super::client::{Client, DIR, config, files, put};
use super::mutate::mutate;
use super::rounds::{Fuzzer, Outcome};

/// What may be in place of the word in a log, and around it.
const WORDS: [&[u8]; 12] = [
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"*2\r\n$6\r\nSELECT\r\n$2\r\n15\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
    b"#TS:1700000000\r\n",
    b"#RS:0123456789abcdef0123456789abcdef01234567:3:89abcdef0123456789abcdef0123456789abcdef:18446744073709551615\r\n",
    b"\r\n",
    b"$2147483647\r\n",
    b"*2147483647\r\n",
    b"file appendonly.aof.9.incr.aof seq 9 type i\n",
    b" type h\n",
    b"seq 9223372036854775807",
];

fn log_dir() -> PathBuf {
    Path::new(DIR).join("appendonlydir")
}

fn appending() -> Config {
    Config { appendonly: true, ..config() }
}

/// A server that starts on these files; why it does not.
fn start(files: &[(String, Vec<u8>)]) -> (Client, Result<(), String>) {
    let disk = FakeDisk::with_dir(Path::new(DIR));
    datanode::disk::Disk::create_dir(&disk, &log_dir()).unwrap();
    for (name, bytes) in files {
        put(&disk, &log_dir().join(name), bytes);
    }
    let mut client = Client::on(disk, appending());
    let outcome = client.bench.server.start(&mut client.bench.io);
    (client, outcome)
}

/// A log with a base and commands of all kinds behind it, in transactions too.
fn written() -> Vec<(String, Vec<u8>)> {
    let (mut client, started) = start(&[]);
    started.unwrap();
    let say_all = |client: &mut Client, lines: &str| {
        for line in lines.split('|') {
            client.say(line);
        }
    };
    say_all(
        &mut client,
        "SET a 1|RPUSH l a b c|HSET h f v|XADD x 1-1 f v|SELECT 2|SET z 1 PX 100000|SELECT 0",
    );
    client.say("BGREWRITEAOF");
    client.idle();
    say_all(
        &mut client,
        "INCR a|MULTI|LPUSH l x|SADD s 1 2 3|EXEC|ZADD z 1 a 2 b|SPOP s|SELECT 3|SETEX k 100 v|EVAL return{redis.call('set','e','1'),redis.call('incr','e')} 0",
    );
    client.run(&["FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() return 1 end)"]);
    client.idle();
    let files = files(&client.disk, &log_dir());
    assert!(files.len() == 3 && files.iter().all(|(_, bytes)| !bytes.is_empty()), "{files:?}");
    files
}

#[test]
fn append_only_files() {
    let good = written();
    // An input's first byte says which file the rest is put in the place of.
    let mut corpus: Vec<Vec<u8>> =
        good.iter().enumerate().map(|(i, (_, bytes))| [&[i as u8], &bytes[..]].concat()).collect();
    let incr = good.iter().position(|(name, _)| name.ends_with(".incr.aof")).unwrap();
    let mut log = vec![incr as u8];
    for command in
        ["SELECT 0", "DEL a", "INCRBYFLOAT f 1.5", "RENAME l m", "COPY m n", "FLUSHDB", "PEXPIREAT h 1"]
    {
        encode_command(&mut log, &command.split(' ').collect::<Vec<_>>());
    }
    corpus.push(log);
    Fuzzer {
        name: "append_only_files",
        rounds: 600,
        corpus,
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |input| {
            let mut changed = good.clone();
            let Some((which, bytes)) = input.split_first() else { return Outcome::Refused };
            changed[usize::from(*which) % good.len()].1 = bytes.to_vec();
            let (mut client, outcome) = start(&changed);
            if outcome.is_err() {
                let left = files(&client.disk, &log_dir());
                assert!(left == changed, "files that were refused were changed: {outcome:?}");
                return Outcome::Refused;
            }
            let loaded = client.digest();
            client.idle();
            // What was torn has been cut off for good: the next start finds the same data.
            let (mut next, outcome) = start(&files(&client.disk, &log_dir()));
            outcome.unwrap_or_else(|e| panic!("what was loaded once is not loaded again: {e}"));
            assert_eq!(next.digest(), loaded);
            Outcome::Taken
        },
    }
    .run();
}
