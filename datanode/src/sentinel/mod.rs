//! A Sentinel: watches masters, agrees with other sentinels on failures, and moves the master on.
//!
//! Contract: a synchronous core behind [`Service`]; all I/O is through [`Io`] and [`Disk`]. Two modes share monitoring,
//! votes, events and the SENTINEL answers: *classic* (masters from `sentinel.conf`, commands to the data nodes, as Redis
//! Sentinel 7.0) and *managed* (masters from the shard map, `docs/architecture.md`). Whatever a vote or an epoch depends
//! on is durable before it is answered. Clients, users and channels are those of the [`Server`] in front of it.

mod answers;
mod commands;
pub mod config;
mod events;
mod failover;
mod figures;
mod hello;
mod info;
mod instance;
mod lease;
mod link;
mod managed;
mod monitor;
mod planned;
mod scripts;
mod settings;
mod state;
mod switchover;
mod timing;
mod topology;
mod vote;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::disk::{self, Disk};
use crate::io::{ConnId, ConnectError, Gone, Io, JobId, LinkToken, Now, Peer, Service, Signal};
use crate::net::http::Board;
use crate::rng::Rng;
use crate::server::{Origins, Server};
use crate::shardmap::{Authority, NodeAddr};
use config::{Config, MasterOptions};
use failover::Failover;
use instance::{Channel, InstId, Instance, Kind};

/// Where sentinels announce themselves and what they know.
pub(crate) const HELLO_CHANNEL: &str = "__sentinel__:hello";
/// Time between hello messages, milliseconds (as Redis).
pub(crate) const HELLO_PERIOD_MS: u64 = 2000;
/// Names of links and jobs begin here: those of the server in front are smaller.
const FIRST_ID: u64 = 1 << 32;
const TICK_MS: u64 = 50;
const TICK_MANAGED_MS: u64 = 10;

/// A monitored group: a master, its replicas, and the sentinels that watch it.
pub(crate) struct Master {
    opt: MasterOptions,
    /// The master; none where a shard has not been founded.
    inst: Option<InstId>,
    replicas: Vec<InstId>,
    peers: BTreeMap<InstId, PeerView>,
    odown_since_ms: Option<u64>,
    /// Whom this sentinel has voted for, in `opt.leader_epoch`.
    leader: Option<String>,
    failover: Failover,
    /// Managed: what this sentinel has to do with the master's lease.
    feed: lease::Feed,
}

/// What another sentinel says about a master.
#[derive(Debug, Clone, Default)]
struct PeerView {
    answered_ms: u64,
    asked_ms: u64,
    master_down: bool,
    leader: Option<String>,
    leader_epoch: u64,
    /// Managed: the newest authority it has accepted, as it said with its vote.
    authority: Option<Authority>,
}

/// A Sentinel process' core.
pub struct Sentinel {
    cfg: Config,
    /// What every Redis process has: connections, users, channels, general directives.
    front: Server,
    timing: timing::Timing,
    disk: Arc<dyn Disk>,
    rng: Rng,
    myid: String,
    current_epoch: u64,
    masters: BTreeMap<String, Master>,
    insts: BTreeMap<InstId, Instance>,
    links: HashMap<ConnId, (InstId, Channel)>,
    dialing: HashMap<LinkToken, (InstId, Channel)>,
    /// Source of instance ids, link tokens and job ids.
    next_id: u64,
    own_ip: Option<String>,
    last_tick_ms: u64,
    tilt_since_ms: Option<u64>,
    scripts: scripts::Scripts,
    managed: Option<managed::Managed>,
    terminating: bool,
    /// When to crash: bits of [`settings::Crash`].
    crashes: u8,
    /// Masters of the configuration have been told of.
    announced: bool,
    /// The state has changed and is to be saved soon.
    unsaved: bool,
    /// When it was last saved so, monotonic milliseconds.
    saved_ms: u64,
    /// Where probes and figures are shown.
    pub metrics: Option<Arc<Board>>,
    published_ms: u64,
}

/// Why a Sentinel can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What holds for every server is wrong: its users.
    #[error("{0}")]
    Front(String),
    /// Votes have to be kept somewhere.
    #[error("Sentinel needs config file on disk to save state. Exiting...")]
    NoFile,
    /// Its state file is there and can't be used.
    #[error("the state file {0} can't be used: {1}")]
    State(String, String),
    /// Its state can't be written.
    #[error("Sentinel was not able to save its state to {0}: {1}")]
    Save(String, std::io::Error),
}

impl Sentinel {
    /// Restores what was kept from an earlier life; `seed` feeds ids and jitter.
    pub fn new(
        mut cfg: Config,
        disk: Arc<dyn Disk>,
        seed: u64,
        now: Now,
        origins: Origins,
    ) -> Result<Self, StartError> {
        if !cfg.managed && cfg.file.is_none() {
            return Err(StartError::NoFile);
        }
        let mut rng = Rng::new(seed);
        let general = std::mem::take(&mut cfg.general);
        let front = Server::front(general, disk.clone(), seed, now, origins).map_err(StartError::Front)?;
        let myid = cfg.myid.clone().unwrap_or_else(|| rng.hex40());
        let mut s = Sentinel {
            current_epoch: cfg.current_epoch,
            myid,
            front,
            disk,
            rng,
            masters: BTreeMap::new(),
            insts: BTreeMap::new(),
            links: HashMap::new(),
            dialing: HashMap::new(),
            next_id: FIRST_ID,
            own_ip: None,
            last_tick_ms: 0,
            tilt_since_ms: None,
            scripts: scripts::Scripts::default(),
            managed: None,
            terminating: false,
            crashes: 0,
            announced: false,
            unsaved: false,
            saved_ms: 0,
            metrics: None,
            published_ms: 0,
            timing: timing::Timing::default(),
            cfg,
        };
        if s.cfg.managed {
            s.restore_managed(now)?;
        } else {
            for opt in std::mem::take(&mut s.cfg.masters) {
                s.add_master(opt, now.mono_ms());
            }
        }
        s.save().map_err(|e| StartError::Save(s.state_path(), e))?;
        if let Err(e) = disk::remove_leftovers(&*s.disk, Path::new(&s.state_path())) {
            tracing::warn!("What is left of attempts to write {} cannot be removed: {e}", s.state_path());
        }
        Ok(s)
    }

    /// The 40 hex digits by which other sentinels know it.
    pub fn id(&self) -> &str {
        &self.myid
    }

    /// Starts to monitor a master (classic).
    fn add_master(&mut self, mut opt: MasterOptions, now: u64) {
        let replicas = std::mem::take(&mut opt.known_replicas);
        let sentinels = std::mem::take(&mut opt.known_sentinels);
        let name = opt.name.clone();
        let inst = self.new_instance(Kind::Master, opt.addr.clone(), &name, now);
        self.masters.insert(
            name.clone(),
            Master {
                inst: Some(inst),
                replicas: Vec::new(),
                peers: BTreeMap::new(),
                odown_since_ms: None,
                leader: None,
                failover: Failover::default(),
                feed: lease::Feed::default(),
                opt,
            },
        );
        self.set_down_after(&name);
        for addr in replicas {
            self.add_replica(&name, addr, now);
        }
        for (addr, id) in sentinels {
            if id != self.myid {
                self.add_peer(&name, addr, &id, now);
            }
        }
    }

    fn new_instance(&mut self, kind: Kind, addr: NodeAddr, group: &str, now: u64) -> InstId {
        let id = InstId(self.next_id);
        self.next_id += 1;
        let down_after = self.masters.get(group).map_or(0, |m| m.opt.down_after_ms);
        self.insts.insert(id, Instance::new(kind, addr, group, down_after, now));
        id
    }

    fn add_replica(&mut self, name: &str, addr: NodeAddr, now: u64) -> InstId {
        let id = self.new_instance(Kind::Replica, addr, name, now);
        if let Some(m) = self.masters.get_mut(name) {
            m.replicas.push(id);
        }
        id
    }

    fn add_peer(&mut self, name: &str, addr: NodeAddr, run_id: &str, now: u64) -> InstId {
        let id = self.new_instance(Kind::Sentinel, addr, name, now);
        if let Some(i) = self.insts.get_mut(&id) {
            i.run_id = run_id.to_owned();
        }
        if let Some(m) = self.masters.get_mut(name) {
            m.peers.insert(id, PeerView::default());
        }
        id
    }

    fn remove_instance(&mut self, io: &mut Io, id: InstId) {
        self.drop_links(io, id);
        self.insts.remove(&id);
        for m in self.masters.values_mut() {
            m.replicas.retain(|r| *r != id);
            m.peers.remove(&id);
        }
    }

    fn remove_master(&mut self, io: &mut Io, name: &str) {
        if let Some(m) = self.masters.remove(name) {
            let shared = self.managed.is_some();
            let peers = m.peers.keys().copied().filter(|_| !shared);
            for id in m.inst.into_iter().chain(m.replicas.iter().copied()).chain(peers) {
                self.remove_instance(io, id);
            }
        }
    }

    /// Copies the master's interval to all its instances.
    fn set_down_after(&mut self, name: &str) {
        let Some(m) = self.masters.get(name) else { return };
        for id in m.inst.iter().chain(&m.replicas).chain(m.peers.keys()) {
            if let Some(i) = self.insts.get_mut(id) {
                i.down_after_ms = m.opt.down_after_ms;
            }
        }
    }

    fn master_inst(&self, name: &str) -> Option<&Instance> {
        self.insts.get(&self.masters.get(name)?.inst?)
    }

    /// Our own address as we announce it, to one who sees us at `seen`.
    fn own_addr(&self, seen: Option<&String>) -> Option<NodeAddr> {
        let host = self.cfg.announce_ip.as_ref().or(seen).or(self.own_ip.as_ref())?.clone();
        let port = if self.cfg.announce_port > 0 { self.cfg.announce_port } else { self.cfg.port };
        NodeAddr::new(&host, port).ok()
    }

    fn tilt(&self) -> bool {
        self.tilt_since_ms.is_some()
    }
}

impl Service for Sentinel {
    fn accepted(&mut self, io: &mut Io, conn: ConnId, peer: Peer) {
        self.front.accepted(io, conn, peer);
    }

    fn received(&mut self, io: &mut Io, conn: ConnId) {
        match self.links.get(&conn) {
            Some(&(id, channel)) => self.link_received(io, conn, id, channel),
            None => {
                self.front.received(io, conn);
                self.serve_left(io);
            }
        }
    }

    fn drained(&mut self, _io: &mut Io, _conn: ConnId) {}

    fn closed(&mut self, io: &mut Io, conn: ConnId, why: Gone) {
        match self.links.remove(&conn) {
            Some((id, channel)) => self.link_closed(io, id, channel, why),
            None => self.front.closed(io, conn, why),
        }
    }

    fn connected(&mut self, io: &mut Io, token: LinkToken, result: Result<(ConnId, Peer), ConnectError>) {
        self.link_connected(io, token, result);
    }

    fn job_done(&mut self, io: &mut Io, job: JobId, result: std::io::Result<u64>) {
        if job.0 < FIRST_ID {
            return self.front.job_done(io, job, result);
        }
        self.script_done(io, job, result);
    }

    fn tick(&mut self, io: &mut Io) {
        self.front.tick(io);
        self.serve_left(io);
        self.timer(io);
        self.save_if_due(io.now.mono_ms());
        self.publish_figures(io);
    }

    fn before_sleep(&mut self, io: &mut Io) {
        self.front.before_sleep(io);
    }

    fn tick_ms(&self) -> u64 {
        if self.managed.is_some() { TICK_MANAGED_MS } else { TICK_MS }
    }

    fn terminate(&mut self, io: &mut Io, _signal: Signal) {
        self.end(io);
    }
}
