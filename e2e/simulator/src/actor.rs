//! Whoever takes part: a data server, a sentinel, an operator, a client that writes. All but the client are the cores
//! that ship.

use datanode::io::{ConnId, ConnectError, Gone, Io, JobId, LinkToken, Peer, Service, Signal};
use datanode::sentinel::Sentinel;
use datanode::server::Server;

use crate::operator::Operator;
use crate::writer::Writer;

/// What a process is.
pub enum Core {
    /// A data server.
    Data(Box<Server>),
    /// A sentinel.
    Sentinel(Box<Sentinel>),
    /// An operator.
    Operator(Box<Operator>),
    /// A client.
    Writer(Box<Writer>),
}

/// One process.
pub struct Actor {
    /// Of its machine.
    pub name: String,
    /// What it is.
    pub core: Core,
}

impl Actor {
    /// Calls into the core; its log lines say whose they are.
    fn enter<R>(&mut self, f: impl FnOnce(&mut dyn Service) -> R) -> R {
        let _span = tracing::info_span!("at", node = self.name).entered();
        match &mut self.core {
            Core::Data(s) => f(&mut **s),
            Core::Sentinel(s) => f(&mut **s),
            Core::Operator(s) => f(&mut **s),
            Core::Writer(s) => f(&mut **s),
        }
    }
}

impl Service for Actor {
    fn accepted(&mut self, io: &mut Io, conn: ConnId, peer: Peer) {
        self.enter(|s| s.accepted(io, conn, peer));
    }

    fn received(&mut self, io: &mut Io, conn: ConnId) {
        self.enter(|s| s.received(io, conn));
    }

    fn drained(&mut self, io: &mut Io, conn: ConnId) {
        self.enter(|s| s.drained(io, conn));
    }

    fn closed(&mut self, io: &mut Io, conn: ConnId, why: Gone) {
        self.enter(|s| s.closed(io, conn, why));
    }

    fn connected(&mut self, io: &mut Io, token: LinkToken, result: Result<(ConnId, Peer), ConnectError>) {
        self.enter(|s| s.connected(io, token, result));
    }

    fn job_done(&mut self, io: &mut Io, job: JobId, result: std::io::Result<u64>) {
        self.enter(|s| s.job_done(io, job, result));
    }

    fn tick(&mut self, io: &mut Io) {
        self.enter(|s| s.tick(io));
    }

    fn before_sleep(&mut self, io: &mut Io) {
        self.enter(|s| s.before_sleep(io));
    }

    fn tick_ms(&self) -> u64 {
        match &self.core {
            Core::Data(s) => s.tick_ms(),
            Core::Sentinel(s) => s.tick_ms(),
            Core::Operator(s) => s.tick_ms(),
            Core::Writer(s) => s.tick_ms(),
        }
    }

    fn terminate(&mut self, io: &mut Io, signal: Signal) {
        self.enter(|s| s.terminate(io, signal));
    }
}
