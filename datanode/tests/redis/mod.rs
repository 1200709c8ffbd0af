//! A real redis-server to compare with: started on a Unix socket in a directory of its own, stopped when dropped.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datanode::resp::{encode_command, reader};

pub use datanode::resp::reader::Value;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// The directory of one test, removed when dropped.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("datanode-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Runs one of Redis' tools; its output and whether it succeeded.
pub fn tool(name: &str, args: &[&Path]) -> (bool, String) {
    let output = Command::new(name).args(args).output().unwrap_or_else(|e| missing(name, &e));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn missing(name: &str, e: &std::io::Error) -> ! {
    panic!("cannot run {name} ({e}): install Redis 7.0, on Debian `apt-get install redis-server redis-tools`")
}

/// A running redis-server.
pub struct Redis {
    child: Child,
    stream: UnixStream,
    buf: Vec<u8>,
}

impl Redis {
    /// Starts one with its files in `dir` and the directives of `config`, and waits until it has loaded them.
    pub fn start(dir: &Path, config: &[(&str, &str)]) -> Redis {
        let socket = dir.join("socket");
        let log = dir.join("redis.log");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--enable-debug-command", "yes", "--dir"]).arg(dir);
        command.arg("--unixsocket").arg(&socket).arg("--logfile").arg(&log);
        for (name, value) in config {
            command.args([&format!("--{name}"), *value]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|e| missing("redis-server", &e));
        let deadline = Instant::now() + START_TIMEOUT;
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            let dead = child.try_wait().unwrap();
            if dead.is_some() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("redis-server does not start ({dead:?}):\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
        let mut redis = Redis { child, stream, buf: Vec::new() };
        while let Value::Error(e) = redis.ask(&["PING"]) {
            assert!(e.starts_with("LOADING") && Instant::now() < deadline, "{e}");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    /// The reply to a command, errors too.
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let mut out = Vec::new();
        encode_command(&mut out, args);
        self.stream.write_all(&out).unwrap();
        loop {
            if let Some((value, used)) = reader::read(&self.buf).unwrap() {
                self.buf.drain(..used);
                return value;
            }
            let mut piece = [0; 64 * 1024];
            let n = self.stream.read(&mut piece).unwrap();
            assert!(n > 0, "redis-server has closed the connection");
            self.buf.extend_from_slice(&piece[..n]);
        }
    }

    /// The reply to a command that must succeed.
    pub fn run<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        match self.ask(args) {
            Value::Error(e) => panic!("{}: {e}", String::from_utf8_lossy(args[0].as_ref())),
            value => value,
        }
    }

    /// The strings of an array reply.
    pub fn strings<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<Vec<u8>> {
        match self.run(args) {
            Value::Array(items) => items.into_iter().map(string).collect(),
            other => vec![string(other)],
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The bytes of a string reply.
pub fn string(value: Value) -> Vec<u8> {
    match value {
        Value::Bulk(b) => b,
        Value::Simple(s) => s.into_bytes(),
        other => panic!("a string is expected, not {other:?}"),
    }
}
