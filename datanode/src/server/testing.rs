//! A server without sockets, for tests of what a client sees.

use std::sync::Arc;

use super::{Origins, Server};
use crate::config::Config;
use crate::disk::{Disk, RealDisk};
use crate::io::{ConnId, Io, Now, Peer, Service};

/// The server and its connections. Time stands still unless it is moved.
pub struct Bench {
    /// The server.
    pub server: Server,
    /// Its connections.
    pub io: Io,
}

impl Bench {
    /// A master without data.
    pub fn new(config: Config) -> Bench {
        Bench::on(config, Arc::new(RealDisk))
    }

    /// The same on another disk.
    pub fn on(config: Config, disk: Arc<dyn Disk>) -> Bench {
        let mut io = Io::default();
        io.now = Now { mono_us: 5_000_000, unix_ms: 1_700_000_000_000 };
        let server = Server::new(config, disk, 7, io.now, Origins::default()).unwrap();
        Bench { server, io }
    }

    /// A client from this machine.
    pub fn connect(&mut self) -> ConnId {
        let conn = self.io.open();
        let peer = Peer {
            remote: format!("127.0.0.1:{}", 5000 + conn.slot()),
            local: "127.0.0.1:6379".into(),
            unix: false,
        };
        self.server.accepted(&mut self.io, conn, peer);
        conn
    }

    /// Sends lines as a person would type them; what comes back at once.
    pub fn send(&mut self, conn: ConnId, lines: &str) -> String {
        let input = &mut self.io.conn(conn).unwrap().input;
        input.extend_from_slice(lines.as_bytes());
        input.extend_from_slice(b"\r\n");
        self.server.received(&mut self.io, conn);
        self.server.before_sleep(&mut self.io);
        self.take(conn)
    }

    /// What has been sent to a client since it was last asked.
    pub fn take(&mut self, conn: ConnId) -> String {
        let output = &mut self.io.conn(conn).unwrap().output;
        let text = String::from_utf8_lossy(output.sendable()).into_owned();
        let sent = output.sendable().len();
        output.consume(sent);
        text
    }

    /// Lets time pass, with one tick at its end.
    pub fn pass(&mut self, ms: u64) {
        self.io.now.mono_us += ms * 1000;
        self.io.now.unix_ms += ms as i64;
        self.server.tick(&mut self.io);
        self.server.before_sleep(&mut self.io);
    }
}
