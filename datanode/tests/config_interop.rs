//! The configuration against the real redis-server 7.0: names and defaults, CONFIG SET's answers, start-up errors, and
//! the file after CONFIG REWRITE. Every difference is named here with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use datanode::config::{Config, DIRECTIVES, Foreign, Mode, Rewritten, SetContext, Source};
use datanode::disk::RealDisk;
use datanode::glob::glob_match;
use datanode::resp::encode_command;
use datanode::resp::reader::{self, Value};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Directives that Redis does not have: what makes a node one of a RedisReplicaSet.
const OURS: [&str; 7] = [
    "managed",
    "managed-shard",
    "password-file",
    "write-ack-replicas",
    "write-ack-fsync",
    "metrics-port",
    "log-format",
];

/// A directory that goes away with the test.
struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let dir = std::env::temp_dir().join(format!("config-interop-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        TempDir(dir.canonicalize().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn redis_server(dir: &Path, args: &[String]) -> Child {
    Command::new("redis-server")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("these tests compare with the real redis-server 7.0: install the package redis-server")
}

/// A running redis-server and a connection to it.
struct Redis {
    child: Child,
    stream: TcpStream,
}

impl Redis {
    fn start(dir: &Path, args: &[String], port: u16) -> Redis {
        let mut child = redis_server(dir, args);
        let deadline = Instant::now() + START_TIMEOUT;
        let stream = loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                break stream;
            }
            if Instant::now() > deadline || child.try_wait().unwrap().is_some() {
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                panic!("redis-server {args:?} does not start: {output:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        Redis { child, stream }
    }

    fn call(&mut self, args: &[&str]) -> Value {
        let mut request = Vec::new();
        encode_command(&mut request, args);
        self.stream.write_all(&request).unwrap();
        let mut buf = Vec::new();
        loop {
            if let Some((value, _)) = reader::read(&buf).unwrap() {
                return value;
            }
            let mut chunk = [0; 16 * 1024];
            let n = match self.stream.read(&mut chunk) {
                Ok(n) if n > 0 => n,
                broken => {
                    panic!("no reply to {args:?}: {broken:?}; redis-server says: {}", self.last_words())
                }
            };
            buf.extend_from_slice(&chunk[..n]);
        }
    }

    /// Ends the server and gives its log.
    fn last_words(&mut self) -> String {
        let _ = self.child.kill();
        let mut log = String::new();
        if let Some(out) = &mut self.child.stdout {
            let _ = out.read_to_string(&mut log);
        }
        log
    }

    fn get(&mut self, patterns: &[&str]) -> Vec<(String, String)> {
        let reply = self.call(&[&["CONFIG", "GET"], patterns].concat());
        let items = reply.items().unwrap();
        let mut pairs: Vec<_> =
            items.chunks(2).map(|p| (p[0].text().unwrap(), p[1].text().unwrap())).collect();
        pairs.sort();
        pairs
    }

    /// `OK`, or the error.
    fn set(&mut self, pairs: &[(&str, &str)]) -> String {
        let words: Vec<&str> = pairs.iter().flat_map(|(n, v)| [*n, *v]).collect();
        match self.call(&[&["CONFIG", "SET"], words.as_slice()].concat()) {
            Value::Error(text) | Value::Simple(text) => text,
            other => panic!("{pairs:?}: {other:?}"),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our values must be theirs, but for directives they do not have.
fn assert_same(ours: Vec<(String, String)>, theirs: Vec<(String, String)>, context: &str) {
    let common = |values: Vec<(String, String)>| -> BTreeSet<_> {
        values.into_iter().filter(|(name, _)| !OURS.contains(&name.as_str())).collect()
    };
    let (ours, theirs) = (common(ours), common(theirs));
    let here: Vec<_> = ours.difference(&theirs).collect();
    let there: Vec<_> = theirs.difference(&ours).collect();
    assert!(here.is_empty() && there.is_empty(), "{context}: here {here:?}, there {there:?}");
}

/// A port nobody listens on, below those the kernel gives to outgoing connections: one of these could take it before
/// the server does, or even connect to itself.
fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    (0..COUNT)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            // Processes that run at the same time start apart.
            (FIRST + (std::process::id().wrapping_mul(127).wrapping_add(step)) % COUNT) as u16
        })
        .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .expect("a free port")
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|a| (*a).into()).collect()
}

fn load(dir: &Path, args: &[String]) -> Result<Config, String> {
    Config::load(&Source {
        mode: Mode::of("redis-server", args),
        args,
        disk: &RealDisk,
        cwd: dir,
        stdin: &|| Ok(b"maxmemory 7mb\n".to_vec()),
        is_command: &|name| ["get", "set", "keys", "flushall"].contains(&name),
    })
    .map_err(|e| e.to_string())
}

fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
    let mut pairs = config.get(patterns);
    pairs.sort();
    pairs
}

/// Sets, taking the change; `OK`, or the error.
fn set(config: &mut Config, pairs: &[(&str, &str)]) -> String {
    let bytes: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    let context = SetContext { loading: false, local_client: true, disk: &RealDisk };
    match config.set(&bytes, &context) {
        Ok(change) => {
            *config = change.config;
            "OK".into()
        }
        Err(text) => text,
    }
}

#[test]
fn names_and_defaults_are_redis_own() {
    let dir = TempDir::new("defaults");
    let port = free_port();
    let args = strings(&["--port", &port.to_string()]);
    let real = Redis::start(&dir.0, &args, port).get(&["*"]);
    let config = load(&dir.0, &args).unwrap();
    let version = Command::new("redis-server").arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    assert!(version.contains(" v=7.0."), "these tests compare with Redis 7.0, not with {version}");
    assert!(real.len() > 190);
    let ours = get(&config, &["*"]);
    assert_eq!(ours.len(), real.len() + OURS.len());
    assert_same(ours, real, "defaults");
}

#[test]
fn get_takes_patterns() {
    let dir = TempDir::new("get");
    let port = free_port();
    let args = strings(&["--port", &port.to_string()]);
    let mut real = Redis::start(&dir.0, &args, port);
    let config = load(&dir.0, &args).unwrap();
    let hidden = ["rdb-key-save-delay", "key-load-delay", "watchdog-period", "use-exit-on-panic"];
    for patterns in [
        &["maxmemory"][..],
        &["MaxMemory"],
        &["MAXM*"],
        &["save", "SAVE", "save"],
        &["*-slave-*", "repl*", "slave-priority"],
        &["nosuch", "nosuch*"],
        &["[ab]*"],
        &["rdb-key*"],
        &["t?mEout"],
        &["hash-max-[^z]*"],
        &hidden,
        &["loading-process-events-interval-bytes"],
    ] {
        assert_eq!(get(&config, patterns), real.get(patterns), "{patterns:?}");
    }
}

/// Not tried on the real server with these values, or answered otherwise: name, value (`*` is any), reason.
const SET_DIFFERENCES: &[(&str, &str, &str)] = &[
    ("tls-", "*", "the real server was built with TLS, and this one refuses to be asked for it"),
    ("port", "*", "the real server must bind it to answer"),
    ("bind", "*", "the real server must bind them to answer"),
    ("maxmemory-clients", "1", "the real server closes the connection of the test"),
    ("maxmemory-clients", "1kb", "the real server closes the connection of the test"),
    ("maxclients", "65536", "the real server asks the kernel for as many files"),
    ("maxclients", "2147483647", "the real server asks the kernel for as many files"),
    ("maxclients", "2147483648", "the real server asks the kernel for as many files"),
    ("watchdog-period", "*", "the real server sends itself a signal all the time"),
    ("maxmemory-clients", "9223372036854775808", "the real server takes the overflow for a percentage"),
];

fn is_difference(name: &str, value: &str) -> bool {
    SET_DIFFERENCES.iter().any(|(n, v, _)| {
        let name_fits = if n.ends_with('-') { name.starts_with(n) } else { name == *n };
        name_fits && (*v == "*" || *v == value)
    })
}

#[test]
fn set_answers_as_redis_for_every_directive() {
    const VALUES: [&str; 26] = [
        "-1",
        "0",
        "1",
        "2",
        "50",
        "101",
        "1001",
        "65536",
        "2147483647",
        "2147483648",
        "9223372036854775808",
        "007",
        "1.5",
        "1kb",
        "1K",
        "3mb",
        "-5%",
        "10%",
        "101%",
        "yes",
        "NO",
        "abc",
        "a/b",
        "local",
        "1 2",
        "save now",
    ];
    let dir = TempDir::new("set");
    let port = free_port();
    let args = strings(&["--port", &port.to_string()]);
    let mut real = Redis::start(&dir.0, &args, port);
    let mut config = load(&dir.0, &args).unwrap();
    let mut answers = 0;
    let mut wrong: Vec<String> = Vec::new();
    for directive in DIRECTIVES.iter().filter(|d| !OURS.contains(&d.name)) {
        for name in directive.names() {
            let original = directive.show(&config);
            for value in VALUES.iter().filter(|v| !is_difference(name, v)) {
                let pair = [(name, *value)];
                let (theirs, ours) = (real.set(&pair), set(&mut config, &pair));
                let (their_value, our_value) = (real.get(&[name]), get(&config, &[name]));
                if ours != theirs || our_value != their_value {
                    wrong.push(format!(
                        "CONFIG SET {name} '{value}': {ours} {our_value:?}, but Redis: {theirs} {their_value:?}"
                    ));
                }
                answers += 1;
            }
            if !directive.flags.immutable && !directive.flags.protected && !is_difference(name, "*") {
                let pair = [(name, original.as_str())];
                assert_eq!((set(&mut config, &pair), real.set(&pair)), ("OK".into(), "OK".into()), "{name}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(answers > 4000, "only {answers} answers compared");
}

#[test]
fn set_answers_as_redis_for_grammars_and_groups() {
    let cases: &[&[(&str, &str)]] = &[
        &[("save", "")],
        &[("save", "900 1 300 10")],
        &[("save", "900")],
        &[("save", "900  1")],
        &[("save", "900 1 ")],
        &[("save", "0 1")],
        &[("save", "900 -1")],
        &[("save", "1 0")],
        &[("SAVE", "60 1000")],
        &[("client-output-buffer-limit", "replica 1mb 512kb 30")],
        &[("client-output-buffer-limit", "slave 1mb 0 0 pubsub 3 2 1")],
        &[("client-output-buffer-limit", "normal 1 2")],
        &[("client-output-buffer-limit", "normal x 2 3")],
        &[("client-output-buffer-limit", "normal 1gb 2 -3")],
        &[("client-output-buffer-limit", "master 1 2 3")],
        &[("client-output-buffer-limit", "")],
        &[("oom-score-adj-values", "1 2 3")],
        &[("oom-score-adj-values", "1 2")],
        &[("oom-score-adj-values", "1 2 9999")],
        &[("oom-score-adj-values", "1 2 x")],
        &[("notify-keyspace-events", "KEA")],
        &[("notify-keyspace-events", "Kg$lshzxetdmn")],
        &[("notify-keyspace-events", "Eln")],
        &[("notify-keyspace-events", "Q")],
        &[("notify-keyspace-events", "")],
        &[("latency-tracking-info-percentiles", "50 99.95 100")],
        &[("latency-tracking-info-percentiles", "0.1234567 100.1")],
        &[("latency-tracking-info-percentiles", "a")],
        &[("latency-tracking-info-percentiles", "")],
        &[("shutdown-on-sigint", "save nosave")],
        &[("shutdown-on-sigint", "force NOW save")],
        &[("shutdown-on-sigterm", "default now")],
        &[("shutdown-on-sigterm", "")],
        &[("hz", "1000")],
        &[("hz", "0")],
        &[("oom-score-adj", "relative")],
        &[("oom-score-adj", "no")],
        &[("activedefrag", "yes")],
        &[("cluster-announce-hostname", "a_b")],
        &[("cluster-announce-hostname", "a-b.C9")],
        &[("proc-title-template", "{foo}")],
        &[("proc-title-template", "{title")],
        &[("proc-title-template", "")],
        &[("proc-title-template", "x {title} {port}")],
        &[("maxmemory", "1gb"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory-samples", "7")],
        &[("maxmemory", "2gb"), ("maxmemory-policy", "nonsense"), ("maxmemory-samples", "8")],
        &[("maxmemory", "3gb"), ("nosuch", "1"), ("databases", "3")],
        &[("databases", "3"), ("nosuch", "1")],
        &[("maxmemory", "1"), ("MaxMemory", "2")],
        &[("slave-priority", "5"), ("replica-priority", "6")],
        &[("slave-priority", "x")],
        &[("min-replicas-to-write", "2"), ("min-replicas-max-lag", "0")],
        &[("DIR", "/tmp")],
        &[("dbfilename", "x")],
        &[("requirepass", "secret word"), ("masterauth", "päss")],
        &[("replicaof", "a 1")],
        &[("appendfsync", "ALWAYS")],
        &[("no such", "1")],
    ];
    let dir = TempDir::new("group");
    let port = free_port();
    let args = strings(&["--port", &port.to_string()]);
    let mut real = Redis::start(&dir.0, &args, port);
    let mut config = load(&dir.0, &args).unwrap();
    for case in cases {
        assert_eq!(set(&mut config, case), real.set(case), "{case:?}");
        assert_same(get(&config, &["*"]), real.get(&["*"]), &format!("after {case:?}"));
    }
    // Where it differs: Redis takes these as 0, "no bound".
    for value in ["", "kb", "99999999999gb"] {
        assert_eq!(real.set(&[("maxmemory", value)]), "OK");
        assert!(set(&mut config, &[("maxmemory", value)]).ends_with("argument must be a memory value"));
    }
}

#[test]
fn protected_directives_follow_the_guard() {
    let dir = TempDir::new("guard");
    fs::create_dir(dir.0.join("sub")).unwrap();
    for guard in ["no", "local", "yes"] {
        let port = free_port();
        let args = strings(&["--port", &port.to_string(), "--enable-protected-configs", guard]);
        let mut real = Redis::start(&dir.0, &args, port);
        let mut config = load(&dir.0, &args).unwrap();
        for pair in [
            ("dbfilename", "other.rdb"),
            ("dbfilename", "a/b"),
            ("dir", "sub"),
            ("dir", "nosuch"),
            ("dir", ""),
            ("dir", dir.0.to_str().unwrap()),
        ] {
            assert_eq!(set(&mut config, &[pair]), real.set(&[pair]), "{guard}: {pair:?}");
            assert_eq!(get(&config, &["d*"]), real.get(&["d*"]), "{guard}: {pair:?}");
        }
    }
}

#[test]
fn files_and_arguments_load_as_in_redis() {
    let dir = TempDir::new("load");
    fs::create_dir(dir.0.join("data")).unwrap();
    fs::create_dir(dir.0.join("conf.d")).unwrap();
    dir.file("conf.d/10.conf", "maxmemory 10mb\ntimeout 10");
    dir.file("conf.d/20.conf", "\ntimeout 20\n");
    dir.file("conf.d/.hidden", "timeout 30\n");
    dir.file("inc.conf", "save 5 5\nmaxmemory-policy \"allkeys-lfu\"\n");
    dir.file("save.conf", "save 900 1\nsave 300 2\n");
    dir.file(
        "all.conf",
        "# comment\n\n  PORT 1\r\n\tloglevel \"verb\\x6fse\"\nbind 127.0.0.1 -::1\ndir ./data\nsave \"\"\nsave 7 8 9 10\n\
         client-output-buffer-limit slave 3mb 2kb 1\nclient-output-buffer-limit normal 9mb 8000001 7\n\
         slave-priority 3\nhash-max-ziplist-entries 9\nlist-max-ziplist-value 3\nlua-replicate-commands yes\n\
         requirepass 'it\\'s me'\nshutdown-on-sigterm nosave now\nrename-command FLUSHALL \"\"\n\
         rename-command keys all_keys\nhz 900\nnotify-keyspace-events Ex\nmaxmemory-clients 5%\n\
         user alice on >pw ~* +@all\nunixsocketperm 700\n",
    );
    dir.file("include.conf", "save 1 1\ninclude conf.d/*\ninclude nothing-*.conf\ninclude inc.conf\n");
    let cases: &[&[&str]] = &[
        &["save.conf"],
        &["save.conf", "--save", "60", "3"],
        &["save.conf", "--save", "60 3"],
        &["save.conf", "--save", ""],
        &["save.conf", "--save", "60", "3", "--save", ""],
        &["save.conf", "--save", "--appendonly", "yes"],
        &["save.conf", "--SAVE", "60 3 70 4"],
        &["save.conf", "--save 60 3"],
        &["save.conf", "--appendonly", "yes", "--save"],
        &["--save"],
        &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendfsync", "always"],
        &["--logfile", "log file.txt", "--requirepass", "--dashes", "--masterauth", "a\"b\\"],
        &["--replicaof", "127.0.0.1", "1"],
        &["--replicaof", "no", "one"],
        &["all.conf"],
        &["include.conf"],
        &["--include", "include.conf", "--timeout", "5"],
        &["--dir", "data"],
    ];
    for case in cases {
        let port = free_port().to_string();
        // Whatever the case says about it, the server is to be reached.
        let mut args = strings(case);
        if args.last().is_some_and(|a| a == "--save") {
            args.splice(args.len() - 1.., strings(&["--port", &port, "--save"]));
        } else {
            args.extend(strings(&["--port", &port]));
        }
        let config = load(&dir.0, &args).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        let mut real = Redis::start(&dir.0, &args, port.parse().unwrap());
        if !config.requirepass.is_empty() {
            assert_eq!(real.call(&["AUTH", &config.requirepass]), Value::Simple("OK".into()), "{args:?}");
        }
        assert_same(get(&config, &["*"]), real.get(&["*"]), &format!("{args:?}"));
    }
    let config = load(&dir.0, &strings(&["all.conf"])).unwrap();
    assert_eq!(config.extra.config_file, Some(dir.0.join("all.conf")));
    let user = ["alice", "on", ">pw", "~*", "+@all"].map(|word| word.as_bytes().to_vec());
    assert_eq!(config.extra.users, [user]);
    let renamed = [("flushall", ""), ("keys", "all_keys")].map(|(a, b)| (a.into(), b.into()));
    assert_eq!(config.extra.rename_commands, renamed);
    // Behind an include Redis forgets the `save` lines before each one; here they add up as everywhere.
    dir.file("behind.conf", "include inc.conf\nsave 1 1\nsave 2 2\n");
    let saved = load(&dir.0, &strings(&["behind.conf"])).unwrap().get(&["save"]);
    assert_eq!(saved, [("save".into(), "5 5 1 1 2 2".into())]);
    assert_eq!(load(&dir.0, &strings(&["-", "--timeout", "3"])).unwrap().maxmemory, 7 << 20);
    assert_eq!(load(&dir.0, &strings(&["all.conf", "-"])).unwrap().maxmemory, 7 << 20);
}

#[test]
fn start_up_errors_are_redis_own() {
    let dir = TempDir::new("errors");
    dir.file("one.conf", "# c\n");
    let lines = [
        "nosuchthing",
        "port",
        "port abc",
        "port 99999",
        "port 1 2",
        "port \"a",
        "port \"1\"2",
        "save 1",
        "save a b",
        "appendfsync zz",
        "maxmemory 1zb",
        "maxmemory -1",
        "replicaof a",
        "replicaof a 99999",
        "dir /nonexistent",
        "dbfilename a/b",
        "appendfilename ''",
        "appenddirname x/y",
        "include",
        "include /nonexistent",
        "include one.conf two.conf",
        "rename-command a",
        "rename-command nocmd x",
        "rename-command get set",
        "sentinel monitor a b 6379 2",
        "logfile /nonexistent/log",
        "client-output-buffer-limit normal 1 2",
        "oom-score-adj-values 1 2",
        "unixsocketperm 9",
        "list-max-ziplist-value",
        "user",
        "enable-debug-command maybe",
        "a.b",
        "bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
        "cluster-enabled yes\nreplicaof 127.0.0.1 1",
    ];
    let mut cases: Vec<Vec<String>> = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let name = format!("bad{i}.conf");
        dir.file(&name, &format!("# first\n\n  {line}  \ntimeout 0\n"));
        dir.file(&format!("outer{i}.conf"), &format!("timeout 1\ninclude {name}\n"));
        cases.push(strings(&[&name]));
        if !line.contains("replicaof 127") && !line.starts_with("logfile") {
            cases.push(strings(&[&format!("outer{i}.conf")]));
        }
    }
    for args in [
        &["one.conf", "--port", "17998", "--port"][..],
        &["one.conf", "--save", "60"],
        &["one.conf", "--nosuch", "1"],
        &["one.conf", "foo"],
        &["--port", "abc"],
        &["--enable-debug-command", "--port", "17998"],
        &["--maxmemory", "-1"],
        &["--port 1 2"],
        &["nosuch.conf"],
    ] {
        cases.push(strings(args));
    }
    for args in cases {
        let output = redis_server(&dir.0, &args).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let ours = load(&dir.0, &args).expect_err(&format!("{args:?} is refused"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        if stderr.is_empty() {
            // A file that cannot be opened is logged, with time and process id in front.
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert!(stdout.trim_end().ends_with(&format!("# {ours}")), "{args:?}: {ours}\nnot: {stdout}");
        } else {
            assert_eq!(ours.trim_end(), stderr.trim_end(), "{args:?}");
        }
    }
}

/// The file in two parts: what stands, and what was appended, whose order Redis leaves to a hash table.
fn parts(path: &Path) -> (String, BTreeSet<String>) {
    let text = fs::read_to_string(path).unwrap();
    let (kept, added) = text.split_once("# Generated by CONFIG REWRITE\n").unwrap_or((&text, ""));
    (kept.into(), added.lines().map(Into::into).collect())
}

#[test]
fn rewrite_leaves_the_file_redis_leaves() {
    let dir = TempDir::new("rewrite");
    fs::create_dir(dir.0.join("data")).unwrap();
    dir.file("inc.conf", "timeout 12\n");
    let inputs = [
        "",
        "# only a comment",
        "maxmemory 1024\n",
        "# head\n\n\n# memory\nmaxmemory 100mb\n   maxmemory-policy allkeys-lru   \n\n\nsave 900 1\nsave 300 10\nsave 60 5\n# tail\n",
        "timeout 5\ntimeout 6\ntimeout 7\n# end\n\n\n",
        "slave-priority 5\nmin-slaves-to-write 1\nslave-serve-stale-data no\nslaveof 127.0.0.1 1\n",
        "include inc.conf\nrename-command KEYS \"\"\nlua-replicate-commands yes\nappendonly no\nappendonly yes\n",
        "client-output-buffer-limit pubsub 1mb 1mb 1\nclient-output-buffer-limit replica 1 2 3\nbind 127.0.0.1\n",
        "dir ./data\nlogfile \"\"\npidfile p.pid\nrequirepass \"a \\\"b\\\"\"\nnotify-keyspace-events \"\"\nrepl-backlog-size 100000\n",
        "bind * -::*\nsave \"\"\ndbfilename dump.rdb\nmaxmemory-clients 10%\nunixsocketperm 700\nhz 10\n",
        "save 1 1\n\n# Generated by CONFIG REWRITE\ntimeout 3\n",
    ];
    let changes: [&[(&str, &str)]; 4] = [
        &[],
        &[("maxmemory", "2gb"), ("maxmemory-policy", "volatile-ttl"), ("save", "10 20"), ("timeout", "0")],
        &[("save", ""), ("maxmemory", "1025"), ("replica-priority", "100"), ("masterauth", "x\ty\u{7f}é")],
        &[
            ("save", "1 2 3 4 5 6 7 8"),
            ("client-output-buffer-limit", "normal 3mb 1025kb 5"),
            ("notify-keyspace-events", "KEA"),
            ("latency-tracking-info-percentiles", ""),
            ("shutdown-on-sigterm", "now force"),
            ("slowlog-log-slower-than", "-1"),
            ("requirepass", ""),
        ],
    ];
    for (i, input) in inputs.iter().enumerate() {
        for (j, change) in changes.iter().enumerate() {
            let (theirs, mine) = (dir.file("theirs.conf", input), dir.file("mine.conf", input));
            let port = free_port();
            let port_text = port.to_string();
            let args = |file: &str| strings(&[file, "--port", &port_text]);
            let mut config = load(&dir.0, &args("mine.conf")).unwrap();
            let mut real = Redis::start(&dir.0, &args("theirs.conf"), port);
            if !config.requirepass.is_empty() {
                real.call(&["AUTH", &config.requirepass]);
            }
            let context = format!("input {i}, change {j}");
            // Twice: a file that was rewritten is read back.
            for _ in 0..2 {
                if !change.is_empty() {
                    assert_eq!(set(&mut config, change), "OK", "{context}");
                    assert_eq!(real.set(change), "OK", "{context}");
                }
                assert_eq!(real.call(&["CONFIG", "REWRITE"]), Value::Simple("OK".into()), "{context}");
                // Users are the server's; here, as Redis has them.
                let users = fs::read_to_string(&theirs).unwrap();
                let users = users.lines().filter(|l| l.starts_with("user ")).map(Into::into).collect();
                let foreign = [Foreign { option: "user", lines: users }];
                assert_eq!(
                    config.rewrite(&RealDisk, &foreign),
                    Ok(Rewritten::File(mine.clone())),
                    "{context}"
                );
                let mut ours = parts(&mine);
                if input.starts_with("include inc.conf") && config.timeout == 0 {
                    // Redis leaves it out, being the default, and has the included value again after a restart.
                    assert!(ours.1.remove("timeout 0"), "{context}");
                }
                assert_eq!(ours, parts(&theirs), "{context}");
            }
            let again = load(&dir.0, &strings(&["mine.conf"])).unwrap();
            assert_same(get(&again, &["*"]), get(&config, &["*"]), &context);
        }
    }
}

#[test]
fn patterns_match_as_in_redis() {
    const PATTERNS: usize = 3000;
    let dir = TempDir::new("glob");
    let port = free_port();
    let mut real = Redis::start(&dir.0, &strings(&["--port", &port.to_string()]), port);
    // Xorshift: the same words every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = |alphabet: &[u8], longest: u64| -> String {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let len = next() % (longest + 1);
        (0..len).map(|_| char::from(alphabet[(next() % alphabet.len() as u64) as usize])).collect()
    };
    let keys: BTreeSet<String> = (0..200).map(|_| word(b"aabcB-]^\\*", 6)).collect();
    for key in &keys {
        real.call(&["SET", key, ""]);
    }
    let mut hits = 0;
    for _ in 0..PATTERNS {
        let pattern = word(b"aabc-[[]]^\\**??", 9);
        let reply = real.call(&["KEYS", &pattern]);
        let theirs: BTreeSet<String> = reply.items().unwrap().iter().filter_map(Value::text).collect();
        let matches = |key: &&String| glob_match(pattern.as_bytes(), key.as_bytes(), false);
        let ours: BTreeSet<String> = keys.iter().filter(matches).cloned().collect();
        assert_eq!(ours, theirs, "{pattern}");
        hits += ours.len();
    }
    assert!(hits > PATTERNS, "only {hits} matches compared");
}

#[test]
fn rewrite_without_a_file_is_refused() {
    let dir = TempDir::new("nofile");
    let port = free_port();
    let args = strings(&["--port", &port.to_string()]);
    let config = load(&dir.0, &args).unwrap();
    let Value::Error(theirs) = Redis::start(&dir.0, &args, port).call(&["CONFIG", "REWRITE"]) else {
        panic!("Redis rewrites a file it does not have");
    };
    assert_eq!(config.rewrite(&RealDisk, &[]).unwrap_err().0, theirs);
}
