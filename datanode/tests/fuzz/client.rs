//! A server in memory, with a disk in memory, and a client that talks to it.

use std::path::Path;
use std::sync::Arc;

use datanode::config::Config;
use datanode::config::types::Guard;
use datanode::disk::{self, Disk};
use datanode::disk_fake::FakeDisk;
use datanode::io::ConnId;
use datanode::resp::encode_command;
use datanode::resp::reader::{self, Value};
use datanode::server::testing::Bench;

/// Where its files are.
pub const DIR: &str = "/data";

/// Server, disk and client.
pub struct Client {
    pub bench: Bench,
    pub disk: FakeDisk,
    conn: ConnId,
}

impl Client {
    /// One without data.
    pub fn new() -> Client {
        Client::on(FakeDisk::with_dir(Path::new(DIR)), config())
    }

    /// One that has not loaded its data.
    pub fn on(disk: FakeDisk, config: Config) -> Client {
        let mut bench = Bench::on(config, Arc::new(disk.clone()));
        let conn = bench.connect();
        Client { bench, disk, conn }
    }

    /// The reply to a command, errors too.
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let mut request = Vec::new();
        encode_command(&mut request, args);
        self.bench.receive(self.conn, &request);
        let shown = request[..request.len().min(300)].escape_ascii();
        let closed = self.bench.settle();
        assert!(closed.is_empty(), "the connection was closed: {shown}");
        let reply = self.bench.take_bytes(self.conn);
        match reader::read(&reply) {
            Ok(Some((value, used))) if used == reply.len() => value,
            other => panic!("{shown}: the reply is not one reply: {other:?}: {}", reply.escape_ascii()),
        }
    }

    /// The reply to a command that must succeed.
    pub fn run<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        match self.ask(args) {
            Value::Error(e) => panic!("{}: {e}", String::from_utf8_lossy(args[0].as_ref())),
            value => value,
        }
    }

    /// The same, in words.
    pub fn say(&mut self, line: &str) -> Value {
        self.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// What the reply to a command is as text.
    pub fn text<A: AsRef<[u8]>>(&mut self, args: &[A]) -> String {
        let reply = self.run(args);
        reply.text().unwrap_or_else(|| panic!("not a text: {reply:?}"))
    }

    /// The fingerprint of all data.
    pub fn digest(&mut self) -> String {
        self.text(&["DEBUG", "DIGEST"])
    }

    /// Has jobs done and time pass until nothing is left to be done.
    pub fn idle(&mut self) {
        const TURNS: u32 = 50;
        for _ in 0..TURNS {
            self.bench.pass(20);
            self.bench.settle();
        }
    }
}

/// What the servers are configured as.
pub fn config() -> Config {
    Config { dir: DIR.into(), enable_debug_command: Guard::Yes, save: Vec::new(), ..Config::default() }
}

/// Puts a file on a disk.
pub fn put(disk: &FakeDisk, path: &Path, bytes: &[u8]) {
    disk.create(path).unwrap().append(bytes).unwrap();
}

/// All files of a directory.
pub fn files(disk: &FakeDisk, dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = disk.list(dir).unwrap_or_default();
    let read = |name: &String| disk::read(disk, &dir.join(name));
    names.iter().filter_map(|name| Some((name.clone(), read(name).ok()?))).collect()
}
