//! A server without sockets, for tests of what a client sees, and for fuzzers.

use std::sync::Arc;

use super::{Origins, Server};
use crate::config::Config;
use crate::disk::{Disk, RealDisk};
use crate::io::{Action, ConnId, ConnectError, Gone, Io, Now, Peer, Service};

/// The server and its connections. Time stands still unless it is moved.
pub struct Bench {
    /// The server.
    pub server: Server,
    /// Its connections.
    pub io: Io,
}

impl Bench {
    /// A master without data.
    ///
    /// # Panics
    /// Where the configuration names files that cannot be read.
    pub fn new(config: Config) -> Bench {
        Bench::on(config, Arc::new(RealDisk))
    }

    /// The same on another disk.
    ///
    /// # Panics
    /// As [`Bench::new`].
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
        self.receive(conn, &[lines.as_bytes(), b"\r\n"].concat());
        self.take(conn)
    }

    /// What has been sent to a client since it was last asked.
    pub fn take(&mut self, conn: ConnId) -> String {
        String::from_utf8_lossy(&self.take_bytes(conn)).into_owned()
    }

    /// Bytes come in as they are.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(connection) = self.io.conn(conn) else { return };
        connection.input.extend_from_slice(bytes);
        self.server.received(&mut self.io, conn);
        self.server.before_sleep(&mut self.io);
    }

    /// As [`Bench::take`], byte by byte.
    pub fn take_bytes(&mut self, conn: ConnId) -> Vec<u8> {
        let Some(connection) = self.io.conn(conn) else { return Vec::new() };
        let bytes = connection.output.sendable().to_vec();
        connection.output.consume(bytes.len());
        bytes
    }

    /// Carries out what the server asks for: connections are closed, jobs run at once, and nobody can be connected to.
    /// What was sent on connections that are closed by this, with their names.
    pub fn settle(&mut self) -> Vec<(ConnId, Vec<u8>)> {
        let mut closed = Vec::new();
        while let Some(action) = self.io.next_action() {
            match action {
                Action::Close { conn, .. } if self.io.conn(conn).is_some() => {
                    closed.push((conn, self.take_bytes(conn)));
                    self.server.closed(&mut self.io, conn, Gone::Asked);
                    self.io.release(conn);
                }
                Action::Connect { token, .. } => {
                    self.server.connected(&mut self.io, token, Err(ConnectError::Refused));
                }
                Action::Run(_, id, job) => {
                    let result = job();
                    self.server.job_done(&mut self.io, id, result);
                }
                Action::Close { .. } | Action::Tune { .. } | Action::Restart { .. } | Action::Exit(_) => {}
            }
        }
        closed
    }

    /// Lets time pass, with one tick at its end.
    pub fn pass(&mut self, ms: u64) {
        self.io.now.mono_us += ms * 1000;
        self.io.now.unix_ms += ms as i64;
        self.server.tick(&mut self.io);
        self.server.before_sleep(&mut self.io);
    }
}
