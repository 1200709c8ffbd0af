//! A planned move of mastership without sentinels (<https://redis.io/docs/latest/commands/failover/>): the master stops
//! taking writes, waits until a replica has everything, and asks that replica for the stream with the word `FAILOVER`,
//! upon which it becomes master. Nothing that was acknowledged is lost, unless `FORCE` allows it.
//!
//! Writes stay paused until the new master has accepted, or the move is given up. Under a shard map there is no such
//! move: its authority says who is master.

use crate::command::Error;
use crate::io::Io;
use crate::replication::{ReplicaState, Stage};
use crate::server::{Pause, Server};

/// A move under way.
#[derive(Debug)]
pub struct Failover {
    /// Where to; `None`: to the first replica that has everything.
    target: Option<(String, u16)>,
    /// At the deadline it goes on without waiting.
    force: bool,
    /// Monotonic milliseconds; 0: none.
    deadline_ms: u64,
    /// The replica has been asked to become master.
    asked: bool,
}

impl Failover {
    /// The replica has been asked to become master.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// The name INFO has for how far it is.
    pub fn state_name(&self) -> &'static str {
        if self.asked { "failover-in-progress" } else { "waiting-for-sync" }
    }
}

impl Server {
    /// Begins a move to a replica, or to any; `timeout_ms` 0: without a limit.
    pub fn begin_failover(
        &mut self,
        io: &mut Io,
        target: Option<(String, i64)>,
        timeout_ms: u64,
        force: bool,
    ) -> Result<(), Error> {
        if self.repl.failover.is_some() {
            return Err("ERR FAILOVER already in progress.".into());
        }
        if self.repl.link.is_some() {
            return Err("ERR FAILOVER is not valid when server is a replica.".into());
        }
        if self.repl.replicas.is_empty() {
            return Err("ERR FAILOVER requires connected replicas.".into());
        }
        if force && (timeout_ms == 0 || target.is_none()) {
            return Err(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.".into()
            );
        }
        let target = match target {
            None => None,
            Some((host, port)) => {
                let port = u16::try_from(port).unwrap_or(0);
                match self.replica_at(&host, port) {
                    None => return Err("ERR FAILOVER target HOST and PORT is not a replica.".into()),
                    Some(r) if r.stage != Stage::Online => {
                        return Err("ERR FAILOVER target replica is not online.".into());
                    }
                    Some(_) => Some((host, port)),
                }
            }
        };
        // Asked now, replicas need not wait for their next regular acknowledgement.
        self.repl.wants_acks = true;
        self.release_effects();
        self.flush_stream(io);
        let deadline_ms = if timeout_ms == 0 { 0 } else { io.now.mono_ms().saturating_add(timeout_ms) };
        self.repl.failover = Some(Failover { target, force, deadline_ms, asked: false });
        self.pause = self.lasting_pause();
        tracing::info!("FAILOVER requested, writes are paused at offset {}", self.repl.offset());
        Ok(())
    }

    /// Goes on with a move once a replica has everything, or its time is over. At every tick.
    pub(crate) fn failover_cron(&mut self, io: &mut Io) {
        let Some(f) = self.repl.failover.as_ref().filter(|f| !f.asked) else { return };
        let offset = self.repl.offset();
        let ready = self
            .repl
            .online(&self.clients)
            .filter(|r| f.target.as_ref().is_none_or(|(host, port)| r.is_at(host, *port)))
            .find(|r| r.acked == offset)
            .map(|r| (r.announced.clone(), r.port));
        let late = f.deadline_ms != 0 && io.now.mono_ms() >= f.deadline_ms;
        let (force, target) = (f.force, f.target.clone());
        match (ready, late) {
            (Some(replica), _) => self.ask_for_promotion(io, replica, "is synced"),
            (None, true) if force => {
                if let Some(target) = target {
                    self.ask_for_promotion(io, target, "time out exceeded");
                }
            }
            (None, true) => {
                self.abort_failover(io, "Replica never caught up before timeout");
            }
            (None, false) => {}
        }
    }

    fn ask_for_promotion(&mut self, io: &mut Io, (host, port): (String, u16), why: &str) {
        tracing::info!("FAILOVER to {host}:{port} {why}, failing over.");
        if let Some(f) = &mut self.repl.failover {
            f.asked = true;
        }
        self.config.replicaof = Some((host.clone(), port));
        self.follow(io, Some((host, port)));
    }

    /// Gives a move up: this node is, or becomes again, a master that takes writes. False if there is none.
    pub fn abort_failover(&mut self, io: &mut Io, why: &str) -> bool {
        let Some(f) = self.repl.failover.take() else { return false };
        tracing::info!("Aborting failover, {}: {why}", f.state_name());
        if f.asked {
            self.config.replicaof = None;
            self.follow(io, None);
        }
        self.pause = self.lasting_pause();
        true
    }

    /// The replica has become master, and we have become its replica.
    pub(crate) fn failover_done(&mut self) {
        if self.repl.failover.take().is_some() {
            tracing::info!("Failover succeeded: following the new master");
            self.pause = self.lasting_pause();
        }
    }

    /// `PSYNC id offset FAILOVER`: our master, who has history `id` in full with us, wants us to take its place.
    pub(super) fn accept_failover(&mut self, io: &mut Io, id: &str) -> Result<(), Error> {
        tracing::warn!("Failover request received for replid {id}.");
        if self.managed.is_some() {
            return Err("ERR PSYNC FAILOVER not allowed: this node's role comes from the shard map".into());
        }
        if self.repl.link.is_none() {
            return Err("ERR PSYNC FAILOVER can't be sent to a master.".into());
        }
        if !id.eq_ignore_ascii_case(&self.repl.id) {
            return Err("ERR PSYNC FAILOVER replid must match my replid.".into());
        }
        self.config.replicaof = None;
        self.follow(io, None);
        Ok(())
    }

    fn replica_at(&self, host: &str, port: u16) -> Option<&ReplicaState> {
        let states = self.repl.replicas.iter().filter_map(|&c| self.clients.get(c)?.replica.as_deref());
        states.into_iter().find(|r| r.is_at(host, port))
    }

    /// The pause of writes that a shutdown or a failover under way keeps up, if there is one.
    pub(crate) fn lasting_pause(&self) -> Pause {
        match self.shutdown.is_some() || self.repl.failover.is_some() {
            true => Pause { until_ms: u64::MAX, all: false },
            false => Pause::default(),
        }
    }
}

impl ReplicaState {
    /// It listens there, by what it announced or where it came from.
    fn is_at(&self, host: &str, port: u16) -> bool {
        self.announced.eq_ignore_ascii_case(host) && self.port == port
    }
}
