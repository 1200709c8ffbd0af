//! Texts that people write: redis.conf, sentinel.conf, rules of users.

use std::path::Path;

use datanode::command::table;
use datanode::config::{Config, Foreign, Mode, Source};
use datanode::disk;
use datanode::disk_fake::FakeDisk;
use datanode::resp::reader::Value;
use datanode::sentinel;

use super::client::{Client, put};
use super::mutate::mutate;
use super::rounds::{Fuzzer, Outcome};

const FILE: &str = "/etc/redis.conf";

fn load(disk: &FakeDisk, mode: Mode) -> Result<Config, String> {
    let stdin = || Ok(Vec::new());
    let is_command = |name: &str| table::named(name).is_some();
    let source = Source {
        mode,
        args: &[FILE.into()],
        disk,
        cwd: Path::new("/etc"),
        stdin: &stdin,
        is_command: &is_command,
    };
    Config::load(&source).map_err(|e| e.to_string())
}

const WORDS: [&[u8]; 28] = [
    b"\n",
    b" ",
    b"\"",
    b"'",
    b"\\x",
    b"#",
    b"-1",
    b"0",
    b"18446744073709551616",
    b"9223372036854775807",
    b"1gb",
    b"99%",
    b"yes",
    b"no",
    b"include /etc/redis.conf\n",
    b"include /etc/*\n",
    b"save 1 1\n",
    b"client-output-buffer-limit replica 1 1 1\n",
    b"user x on >p ~* +@all (%R~a +get)\n",
    b"rename-command GET \"\"\n",
    b"bind * -::*\n",
    b"notify-keyspace-events KEA\n",
    b"oom-score-adj-values 0 1 2\n",
    b"port ",
    b"dir ",
    b"sentinel ",
    b"appenddirname x\n",
    b"\xff",
];

/// What is taken is written by CONFIG REWRITE in a form that means the same.
#[test]
fn redis_conf() {
    let lines = "port 7000|maxmemory 100mb|save 900 1 300 10|client-output-buffer-limit pubsub 1mb 512kb 60|bind 127.0.0.1|\
        user alice on >secret ~a* &c +@read -get|rename-command CONFIG xyz|maxmemory-policy allkeys-lfu|requirepass \"a b\"|\
        notify-keyspace-events Kx|latency-tracking-info-percentiles 50 99|oom-score-adj relative|hz 100|timeout 10|\
        list-max-listpack-size -2|proto-max-bulk-len 1mb|replicaof 127.0.0.1 6380|appendonly yes|appendfsync always|\
        logfile \"\"|databases 4|unixsocketperm 700|maxclients 100|slowlog-log-slower-than -1|replica-priority 50";
    let each = lines.split('|').map(|line| format!("# comment\n{line}\n").into_bytes());
    let corpus: Vec<Vec<u8>> = each.chain([lines.replace('|', "\n").into_bytes()]).collect();
    Fuzzer {
        name: "redis_conf",
        rounds: 800,
        corpus,
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |text| {
            let disk = FakeDisk::with_dir(Path::new("/etc"));
            put(&disk, Path::new(FILE), text);
            let Ok(config) = load(&disk, Mode::Server) else { return Outcome::Refused };
            if config.rewrite(&disk, &[]).is_ok() {
                let again = load(&disk, Mode::Server).unwrap_or_else(|e| {
                    let written = disk::read(&disk, Path::new(FILE)).unwrap();
                    panic!("CONFIG REWRITE has written what is not taken: {e}\n{}", written.escape_ascii())
                });
                let (mut before, mut after) = (config.get(&["*"]), again.get(&["*"]));
                before.sort();
                after.sort();
                assert_eq!(before, after, "CONFIG REWRITE has changed the configuration");
            }
            Outcome::Taken
        },
    }
    .run();
}

#[test]
fn sentinel_conf() {
    let id = "0123456789abcdef0123456789abcdef01234567";
    let monitored = "sentinel monitor m 127.0.0.1 6379 2";
    let lines = format!(
        "sentinel down-after-milliseconds m 1000|sentinel failover-timeout m 2000|sentinel parallel-syncs m 2|\
         sentinel auth-pass m secret|sentinel auth-user m me|sentinel config-epoch m 3|sentinel leader-epoch m 3|\
         sentinel known-replica m 127.0.0.1 6380|sentinel known-sentinel m 127.0.0.1 26380 {id}|\
         sentinel rename-command m CONFIG xyz|sentinel master-reboot-down-after-period m 10"
    );
    let general = format!(
        "sentinel myid {id}|sentinel current-epoch 4|sentinel announce-ip 10.0.0.1|sentinel announce-port 1|\
         sentinel deny-scripts-reconfig yes|sentinel resolve-hostnames yes|sentinel announce-hostnames yes|port 26379"
    );
    let each = lines.split('|').map(|line| format!("{monitored}\n{line}\n").into_bytes());
    let alone = general.split('|').map(|line| format!("{line}\n").into_bytes());
    let all = format!("{monitored}\n{}\n{}\n", lines.replace('|', "\n"), general.replace('|', "\n"));
    let corpus: Vec<Vec<u8>> = each.chain(alone).chain([all.into_bytes()]).collect();
    Fuzzer {
        name: "sentinel_conf",
        rounds: 1500,
        corpus,
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |text| {
            let disk = FakeDisk::with_dir(Path::new("/etc"));
            put(&disk, Path::new(FILE), text);
            let read =
                || sentinel::config::Config::new(load(&disk, Mode::Sentinel)?).map_err(|e| e.to_string());
            let Ok(config) = read() else { return Outcome::Refused };
            let state = |config: &sentinel::config::Config| {
                let mut lines = config.global_state(id, config.current_epoch);
                lines.extend(config.masters.iter().flat_map(|m| m.state()));
                lines
            };
            let before = state(&config);
            let general = load(&disk, Mode::Sentinel).unwrap();
            let no_users = Foreign { option: "user", lines: Vec::new() };
            if sentinel::config::rewrite(&general, &disk, &before, no_users).is_ok() {
                let again = read().unwrap_or_else(|e| {
                    let written = disk::read(&disk, Path::new(FILE)).unwrap();
                    panic!("what was written is not taken: {e}\n{}", written.escape_ascii())
                });
                assert_eq!(state(&again), before, "the state has changed by being written");
            }
            Outcome::Taken
        },
    }
    .run();
}

/// Rules that are taken are listed in a form that makes the same user.
#[test]
fn rules_of_users() {
    const RULES: [&str; 9] = [
        "on nopass ~* &* +@all",
        "off >secret <secret resetpass",
        "~a* %R~b* %W~c %RW~d resetkeys allkeys",
        "+@read -@write +get -set +config|get -config|set +select|1",
        "&a &b* resetchannels allchannels",
        "(~a +get) (%R~b +@string -incr) clearselectors (+@all -debug)",
        "#5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 sanitize-payload skip-sanitize-payload",
        "+@all -@all +@keyspace -client|kill +client|list nocommands allcommands",
        "reset on >a >b +ping",
    ];
    const WORDS: [&[u8]; 16] = [
        b" ",
        b"+@",
        b"-@",
        b"+",
        b"-",
        b"~",
        b"%R~",
        b"%W~",
        b"&",
        b"(",
        b")",
        b"|",
        b"@all",
        b"config|get",
        b"*",
        b">\xff",
    ];
    let mut client = Client::new();
    let mut set = |words: &[Vec<u8>], name: &str| {
        client.run(&["ACL", "SETUSER", name, "reset"]);
        let command: Vec<Vec<u8>> = ["ACL", "SETUSER", name]
            .map(|w| w.as_bytes().to_vec())
            .into_iter()
            .chain(words.to_vec())
            .collect();
        let reply = client.ask(&command);
        let listed = client.run(&["ACL", "LIST"]);
        let lines = listed.items().into_iter().flatten().filter_map(|line| match line {
            Value::Bulk(line) => Some(line.clone()),
            _ => None,
        });
        let prefix = format!("user {name} ").into_bytes();
        let line = lines.filter_map(|line| Some(line.strip_prefix(&prefix[..])?.to_vec())).next();
        client.run(&["ACL", "GETUSER", name]);
        client.run(&["ACL", "DRYRUN", name, "GET", "a"]);
        (reply, line.expect("the user is listed"))
    };
    Fuzzer {
        name: "rules_of_users",
        rounds: 900,
        corpus: RULES.map(|r| r.as_bytes().to_vec()).to_vec(),
        mutate: &|rng, corpus| mutate(rng, corpus, &WORDS),
        check: &mut |rules| {
            let words: Vec<Vec<u8>> = rules.split(|&b| b == b' ').map(<[u8]>::to_vec).collect();
            let (reply, line) = set(&words, "one");
            if let Value::Error(_) = reply {
                return Outcome::Refused;
            }
            let listed: Vec<Vec<u8>> = line.split(|&b| b == b' ').map(<[u8]>::to_vec).collect();
            let (reply, again) = set(&listed, "two");
            assert_eq!(reply, Value::Simple("OK".into()), "{}", line.escape_ascii());
            assert_eq!(again.escape_ascii().to_string(), line.escape_ascii().to_string());
            Outcome::Taken
        },
    }
    .run();
}
