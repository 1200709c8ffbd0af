//! What the real redis-server cannot show: our own directives, refusals, and files that cannot be replaced. The rest
//! is compared in `tests/config_interop.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::types::LogFormat;
use super::*;
use crate::disk::{DiskFile, RealDisk};

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let dir = std::env::temp_dir().join(format!("config-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn load_as(&self, mode: Mode, args: &[&str]) -> Result<Config, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).into()).collect();
        Config::load(&Source {
            mode,
            args: &args,
            disk: &RealDisk,
            cwd: &self.0,
            stdin: &|| Err(io::ErrorKind::BrokenPipe.into()),
            is_command: &|name| name == "keys" || name == "get",
        })
        .map_err(|e| e.to_string())
    }

    fn load(&self, args: &[&str]) -> Result<Config, String> {
        self.load_as(Mode::Server, args)
    }

    fn refusal(&self, args: &[&str]) -> String {
        let text = self.load(args).expect_err(&format!("{args:?} is refused"));
        text.lines().last().unwrap().into()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Change, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    config.set(&pairs, &SetContext { loading: false, local_client: false, disk: &RealDisk })
}

#[test]
fn the_table_has_no_name_twice_and_every_default_reads_back() {
    let mut names: Vec<&str> = DIRECTIVES.iter().flat_map(Directive::names).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for directive in DIRECTIVES {
        for line in directive.lines(&Config::default()) {
            let words = crate::resp::parse::split_words(line.as_bytes()).unwrap();
            let words: Vec<&str> = words.iter().map(|w| std::str::from_utf8(w).unwrap()).collect();
            let mut config = Config::default();
            if directive.name != "save" {
                directive
                    .assign(&mut config, &words, &RealDisk)
                    .unwrap_or_else(|e| panic!("{}: {e}", directive.name));
                assert_eq!(config, Config::default(), "{}", directive.name);
            }
        }
    }
}

#[test]
fn what_is_not_done_is_refused_with_a_reason() {
    let dir = TempDir::new("refused");
    let tls = "TLS is not supported by this server";
    let modules = "Modules are not supported by this server";
    for (args, reason) in [
        (&["--tls-port", "6380"][..], tls),
        (&["--tls-replication", "yes"], tls),
        (&["--tls-cluster", "yes"], tls),
        (&["--loadmodule", "/x.so", "arg"], modules),
        (&["--search.timeout", "5"], modules),
        (&["--managed", "yes", "--replicaof", "a", "1"], "replicaof directive not allowed in managed mode"),
    ] {
        assert_eq!(dir.refusal(args), reason, "{args:?}");
    }
    // Said, but asking for nothing.
    dir.load(&["--tls-port", "0", "--tls-replication", "no", "--unixsocket", "", "--activedefrag", "no"])
        .unwrap();
    let config = dir.load(&[]).unwrap();
    assert_eq!(
        set(&config, &[("maxmemory", "1"), ("tls-port", "1")]).unwrap_err(),
        format!("ERR CONFIG SET failed (possibly related to argument 'tls-port') - {tls}")
    );
}

#[test]
fn our_directives() {
    let dir = TempDir::new("ours");
    let config = dir
        .load(&[
            "--managed",
            "yes",
            "--managed-shard",
            "2",
            "--write-ack-replicas",
            "1",
            "--metrics-port",
            "9121",
            "--log-format",
            "json",
        ])
        .unwrap();
    assert!(config.managed);
    assert_eq!((config.managed_shard, config.write_ack_replicas, config.metrics_port), (2, 1, 9121));
    assert_eq!(config.log_format, LogFormat::Json);
    let change =
        set(&config, &[("write-ack-replicas", "2"), ("timeout", "0"), ("slave-priority", "7")]).unwrap();
    assert_eq!(change.names, ["write-ack-replicas", "replica-priority"]);
    assert_eq!(change.config.write_ack_replicas, 2);
    for name in ["managed", "managed-shard", "metrics-port", "password-file", "log-format"] {
        assert!(set(&config, &[(name, "1")]).unwrap_err().ends_with("can't set immutable config"), "{name}");
    }
}

#[test]
fn set_applies_all_or_nothing_and_knows_the_moment() {
    let config = Config::default();
    let error = set(&config, &[("maxmemory", "1gb"), ("hz", "x")]).unwrap_err();
    assert_eq!(
        error,
        "ERR CONFIG SET failed (possibly related to argument 'hz') - argument couldn't be parsed into an integer"
    );
    let loading = SetContext { loading: true, local_client: true, disk: &RealDisk };
    assert_eq!(
        config.set(&[(b"appendonly", b"yes")], &loading).unwrap_err(),
        "LOADING Redis is loading the dataset in memory"
    );
    assert!(config.set(&[(b"maxmemory", b"1")], &loading).is_ok());
    assert!(
        config.set(&[(b"syslog-ident\xff", b"1")], &loading).unwrap_err().starts_with("ERR Unknown option")
    );
    assert!(
        config
            .set(&[(b"masterauth", b"\xff")], &loading)
            .unwrap_err()
            .ends_with("argument is not UTF-8 text")
    );
    assert!(is_sensitive("RequirePass") && is_sensitive("masterauth") && !is_sensitive("port"));
}

#[test]
fn the_password_comes_from_its_file() {
    let dir = TempDir::new("password");
    dir.file("pw", "first secret\n");
    dir.file("a.conf", "requirepass kept\npassword-file pw\n");
    let mut config = dir.load(&["a.conf"]).unwrap();
    assert_eq!((config.requirepass.as_str(), config.masterauth.as_str()), ("first secret", "first secret"));
    assert_eq!(config.reload_password(&RealDisk), Ok(false));
    dir.file("pw", "second\r\n");
    assert_eq!(config.reload_password(&RealDisk), Ok(true));
    assert_eq!(config.requirepass, "second");
    // What cannot be a password leaves the present one in force.
    for text in ["", "\n"] {
        dir.file("pw", text);
        assert!(config.reload_password(&RealDisk).unwrap_err().ends_with("it is empty"));
    }
    std::fs::remove_file(dir.0.join("pw")).unwrap();
    assert!(config.reload_password(&RealDisk).unwrap_err().ends_with("No such file or directory"));
    assert_eq!(config.requirepass, "second");
    assert!(dir.refusal(&["a.conf"]).contains("No such file or directory"));
    // It never reaches the configuration file.
    config.rewrite(&RealDisk, &[]).unwrap();
    let text = std::fs::read_to_string(dir.0.join("a.conf")).unwrap();
    assert!(
        text.starts_with("requirepass kept\npassword-file \"pw\"\n") && !text.contains("second"),
        "{text}"
    );
}

#[test]
fn files_that_include_each_other_end() {
    let dir = TempDir::new("loop");
    dir.file("a.conf", "include b.conf\n");
    dir.file("b.conf", "include a.conf\n");
    assert_eq!(dir.refusal(&["a.conf"]), "Files include each other too deep");
    dir.file("c.conf", "syslog-ident \"\\xff\"\n");
    assert_eq!(dir.refusal(&["c.conf"]), "Configuration line is not UTF-8 text");
    assert!(dir.refusal(&["-"]).starts_with("Fatal error, can't open config file '-'"));
}

#[test]
fn commands_are_renamed_one_after_another() {
    let dir = TempDir::new("rename");
    dir.file(
        "a.conf",
        "rename-command KEYS k\nrename-command k keys\nrename-command keys \"\"\nrename-command get KEYS\n",
    );
    assert_eq!(dir.load(&["a.conf"]).unwrap().extra.rename_commands.len(), 4);
    for (text, reason) in [
        ("rename-command keys get", "Target command name already exists"),
        ("rename-command keys \"\"\nrename-command keys x", "No such command in rename-command"),
        ("rename-command keys k\nrename-command get k", "Target command name already exists"),
    ] {
        dir.file("a.conf", text);
        assert_eq!(dir.refusal(&["a.conf"]), reason, "{text}");
    }
}

#[test]
fn a_sentinel_keeps_its_lines() {
    let dir = TempDir::new("sentinel");
    dir.file(
        "s.conf",
        "dir .\nsentinel monitor \"my master\" 127.0.0.1 6379 2\n# c\nsentinel down-after-milliseconds m 5\n",
    );
    assert_eq!(Mode::of("/x/redis-sentinel", &[]), Mode::Sentinel);
    assert_eq!(Mode::of("/redis-sentinel/redis-server", &[]), Mode::Server);
    assert_eq!(Mode::of("redis-server", &["s.conf".into(), "--sentinel".into()]), Mode::Sentinel);
    let config = dir.load_as(Mode::Sentinel, &["s.conf", "--sentinel", "--loglevel", "debug"]).unwrap();
    assert_eq!((config.port, config.protected_mode), (26379, false));
    assert_eq!(config.extra.sentinel.len(), 2);
    assert_eq!(config.extra.sentinel[0].number, 2);
    assert_eq!(config.extra.sentinel[0].words, ["monitor", "my master", "127.0.0.1", "6379", "2"]);
    let lines = |l: &[&str]| l.iter().map(|s| (*s).into()).collect();
    let foreign = [
        Foreign {
            option: "sentinel monitor",
            lines: lines(&["sentinel monitor a ::1 1 1", "sentinel monitor b ::1 2 1"]),
        },
        Foreign { option: "sentinel down-after-milliseconds", lines: lines(&[]) },
    ];
    config.rewrite(&RealDisk, &foreign).unwrap();
    let text = std::fs::read_to_string(dir.0.join("s.conf")).unwrap();
    assert!(text.contains("\nsentinel monitor a ::1 1 1\n# c\n"), "{text}");
    assert!(text.ends_with("\nsentinel monitor b ::1 2 1\n") && !text.contains("down-after"), "{text}");
}

/// The real file system, but for a file that nothing can be renamed over.
struct Mounted {
    path: PathBuf,
    errno: i32,
}

impl Disk for Mounted {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path)
    }
    fn open_append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open_append(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
        RealDisk.open_read(path)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        RealDisk.len(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to == self.path {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
}

#[test]
fn a_mounted_file_is_copied_and_others_stay() {
    let dir = TempDir::new("mounted");
    std::fs::create_dir(dir.0.join("data")).unwrap();
    let text = "# from a ConfigMap\nmaxmemory 1mb\ndir data\n";
    dir.file("mounted.conf", text);
    let config = dir.load(&["mounted.conf"]).unwrap();
    let config = set(&config, &[("maxmemory", "2mb")]).unwrap().config;
    let path = dir.0.join("mounted.conf");
    for (errno, reason) in [
        (libc::EBUSY, "Device or resource busy"),
        (libc::EROFS, "Read-only file system"),
        (libc::EXDEV, "Invalid cross-device link"),
    ] {
        let disk = Mounted { path: path.clone(), errno };
        let copy = dir.0.join("data/redis.conf");
        let done = config.rewrite(&disk, &[]).unwrap();
        assert_eq!(done, Rewritten::Copy { path: copy.clone(), reason: reason.into() });
        let written = std::fs::read_to_string(&copy).unwrap();
        assert!(written.starts_with("# from a ConfigMap\nmaxmemory 2mb\ndir \"/"), "{written}");
        std::fs::remove_file(&copy).unwrap();
    }
    let denied = config.rewrite(&Mounted { path: path.clone(), errno: libc::EACCES }, &[]);
    assert_eq!(denied, Err(RewriteError("ERR Rewriting config file: Permission denied".into())));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert_eq!(RealDisk.list(&dir.0).unwrap(), ["data", "mounted.conf"]);
}

#[test]
fn a_managed_node_writes_no_master() {
    let dir = TempDir::new("managed");
    dir.file("m.conf", "managed yes\n");
    let mut config = dir.load(&["m.conf"]).unwrap();
    config.replicaof = Some(("other".into(), 6379));
    config.rewrite(&RealDisk, &[]).unwrap();
    assert!(!std::fs::read_to_string(dir.0.join("m.conf")).unwrap().contains("other"));
    dir.load(&["m.conf"]).unwrap();
}

#[test]
fn quoted_bytes_are_read_back() {
    let bytes = b"a\"b\\\n\x01\xff";
    let text = super::value::quote(bytes);
    assert_eq!(text, r#""a\"b\\\n\x01\xff""#);
    assert_eq!(crate::resp::parse::split_words(text.as_bytes()), Some(vec![bytes.to_vec()]));
}
