//! Start and shutdown.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{JobKind, Origins, Server};
use crate::acl::Acl;
use crate::config::Config;
use crate::disk::Disk;
use crate::io::{Action, Io, Lane, Now, Outgoing};
use crate::managed::Managed;
use crate::persist::Persistence;
use crate::replication::link::MasterLink;
use crate::replication::{Replication, random_id};
use crate::store::dict::HashSeed;
use crate::store::keyspace::Keyspace;
use crate::store::limits::Limits;
use crate::store::rng::Rng;
use crate::system::{kernel, watchdog};

/// How to shut down (`SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE]`).
#[derive(Debug, Clone, Copy, Default)]
pub struct ShutdownMode {
    /// Save even without save points.
    pub save: bool,
    /// Do not save even with save points.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Exit even if saving fails.
    pub force: bool,
}

/// A shutdown that waits for replicas.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// How.
    pub mode: ShutdownMode,
    /// Monotonic milliseconds at which it goes on without them.
    pub deadline_ms: u64,
    /// Under a shard map: the time until which another member may be made master first.
    pub handover_until_ms: u64,
    /// The process is about to exit.
    pub done: bool,
}

/// Thresholds of encodings as configured.
pub fn limits_of(config: &Config, seed: HashSeed) -> Limits {
    Limits {
        seed,
        list_max_listpack_size: i64::from(config.list_max_listpack_size),
        hash_max_listpack_entries: config.hash_max_listpack_entries as usize,
        hash_max_listpack_value: config.hash_max_listpack_value as usize,
        set_max_intset_entries: config.set_max_intset_entries as usize,
        stream_node_max_bytes: config.stream_node_max_bytes as usize,
        stream_node_max_entries: config.stream_node_max_entries,
        zset_max_listpack_entries: config.zset_max_listpack_entries as usize,
        zset_max_listpack_value: config.zset_max_listpack_value as usize,
    }
}

/// How connections to others are made, as configured.
pub fn outgoing(config: &Config) -> Outgoing {
    Outgoing { source: config.bind_source_addr.clone(), mark: config.socket_mark_id }
}

impl Server {
    /// A server that has not loaded its data yet.
    pub fn new(
        config: Config,
        disk: Arc<dyn Disk>,
        seed: u64,
        now: Now,
        origins: Origins,
    ) -> Result<Server, String> {
        let mut rng = Rng::new(seed);
        let seed_of_hashes = rng.next_u64();
        // The order of keys in tables, and so in snapshots, is part of a run that is to be repeatable.
        let hash_seed = match cfg!(feature = "simulation") {
            true => HashSeed::repeatable(seed_of_hashes),
            false => HashSeed::new(seed_of_hashes),
        };
        let managed = if config.managed { Some(Managed::load(&config, &*disk)?) } else { None };
        let acl = Acl::load(&config, &*disk)?;
        let run_id = random_id(&mut rng);
        let repl = Replication::new(&mut rng);
        let mut server = Server {
            limits: limits_of(&config, hash_seed),
            keyspace: Keyspace::new(config.databases as usize, hash_seed),
            persist: Persistence::new(now),
            origins,
            run_id,
            started: now,
            acl,
            clients: Default::default(),
            effects: Default::default(),
            repl,
            pubsub: Default::default(),
            stats: Default::default(),
            rng,
            disk,
            managed,
            blocked_keys: Default::default(),
            woken_by: None,
            ready_keys: Default::default(),
            watches: Default::default(),
            tracking: super::tracking::Tracking::new(hash_seed),
            serving: None,
            loading: false,
            async_loading: false,
            pause: Default::default(),
            client_pause: Default::default(),
            migrations: Default::default(),
            monitors: Vec::new(),
            front: None,
            slowlog: Default::default(),
            latency: Default::default(),
            client_memory: 0,
            oom: Default::default(),
            blocked_clients: 0,
            used_memory: 0,
            startup_memory: super::alloc::in_use(),
            flushes: Default::default(),
            evictor: Default::default(),
            frozen: false,
            no_touch: false,
            peak_memory: 0,
            own_expires: BTreeSet::new(),
            active_expire: true,
            debug: Default::default(),
            shutdown: None,
            access_clock: Default::default(),
            in_exec: false,
            scripting: Default::default(),
            lazy: Vec::new(),
            events: Vec::new(),
            resume: Vec::new(),
            ack_due: false,
            metrics: None,
            held: Vec::new(),
            selected_db: None,
            origin_db: 0,
            now_s: now.unix_ms / 1000,
            next_job: 0,
            next_token: 0,
            jobs: Default::default(),
            scratch: Vec::new(),
            unit: Vec::new(),
            apply_sink: Vec::new(),
            ahead: Default::default(),
            lap: None,
            cron: Default::default(),
            config,
        };
        server.access_clock.advance(now, &server.config);
        Ok(server)
    }

    /// Loads the data, opens the append-only file, starts to follow the configured master. The error is what the
    /// process ends with.
    pub fn start(&mut self, io: &mut Io) -> Result<(), String> {
        io.outgoing = outgoing(&self.config);
        self.load_dataset(io)?;
        self.write_acks_changed();
        if self.managed.is_some() {
            self.start_as_nobody(io);
        } else if let Some((host, port)) = self.config.replicaof.clone() {
            self.repl.ensure_backlog(&self.config);
            self.repl.link = Some(MasterLink::new(host, port, io.now.mono_ms()));
        }
        self.refresh_memory();
        self.adjust_oom_score();
        watchdog::set(self.config.watchdog_period.into());
        if !self.config.bio_cpulist.is_empty() {
            // The first job of a thread says where it runs.
            for lane in Lane::ALL {
                let list = self.config.bio_cpulist.clone();
                self.background(io, lane, JobKind::Quiet, move || {
                    kernel::run_on(&list)
                        .inspect_err(|e| tracing::warn!("bio_cpulist: {e}"))
                        .map_err(std::io::Error::other)?;
                    Ok(0)
                });
            }
        }
        Ok(())
    }

    /// Begins an orderly end: replicas get what is missing to them, files are made durable, then the process exits.
    pub fn begin_shutdown(&mut self, io: &mut Io, mode: ShutdownMode) {
        if self.shutdown.is_none() {
            self.schedule_shutdown(io, mode);
            self.shutdown_cron(io);
            if self.shutdown.is_some_and(|s| !s.done) && self.is_master() {
                tracing::info!("Waiting for replicas before shutting down.");
                self.repl.wants_acks = true;
            }
        }
    }

    /// The same from the next tick on: until then it can be given up.
    pub(super) fn schedule_shutdown(&mut self, io: &mut Io, mode: ShutdownMode) {
        if self.shutdown.is_some() {
            return;
        }
        // There is nothing to be saved yet.
        let mode =
            if self.in_load() { ShutdownMode { save: false, nosave: true, now: true, ..mode } } else { mode };
        let now = io.now.mono_ms();
        let wait = if mode.now { 0 } else { u64::from(self.config.shutdown_timeout) * 1000 };
        let handover_until_ms = if mode.now { 0 } else { self.ask_for_handover(io) };
        if handover_until_ms == 0 {
            // Nothing new may be written while replicas catch up with the last of it.
            self.pause = super::Pause { until_ms: u64::MAX, all: false };
        }
        self.shutdown = Some(Shutdown { mode, deadline_ms: now + wait, handover_until_ms, done: false });
    }

    /// Says which replicas will have to ask the next master for what they lack.
    fn log_lagging_replicas(&self, now_ms: u64) {
        let offset = self.repl.offset();
        let (mut all, mut lagging) = (0, 0);
        for (peer, r) in self.repl.with_peers(&self.clients) {
            all += 1;
            if r.acked != offset {
                lagging += 1;
                tracing::warn!(
                    "Lagging replica {peer} reported offset {} behind master, lag={}, state={}.",
                    offset.saturating_sub(r.acked),
                    now_ms.saturating_sub(r.acked_at_ms) / 1000,
                    r.stage.name()
                );
            }
        }
        if all > 0 {
            tracing::info!("{} of {all} replicas are in sync when shutting down.", all - lagging);
        }
    }

    /// Gives a shutdown up (`SHUTDOWN ABORT`); false if there is none, or it is too late.
    pub fn abort_shutdown(&mut self, io: &mut Io) -> bool {
        let running = self.shutdown.is_some_and(|s| !s.done);
        if running {
            tracing::warn!("Shutdown manually aborted.");
            self.end_shutdown(io);
        }
        running
    }

    fn end_shutdown(&mut self, io: &mut Io) {
        self.shutdown = None;
        self.pause = self.lasting_pause();
        self.shutdown_failed(io);
    }

    /// Goes on with a shutdown once replicas are equal or its time is over.
    pub(super) fn shutdown_cron(&mut self, io: &mut Io) {
        let Some(s) = self.shutdown else { return };
        let now = io.now.mono_ms();
        // A script that has not ended has left the data half changed: they may be given up, but not saved.
        if s.done || (self.in_script() && !s.mode.nosave) {
            return;
        }
        if self.is_master() && s.handover_until_ms > now {
            return;
        }
        if self.is_master() && self.pause.until_ms == 0 {
            self.pause = super::Pause { until_ms: u64::MAX, all: false };
            self.repl.wants_acks = true;
        }
        let offset = self.repl.offset();
        let behind = self.is_master() && self.repl.online(&self.clients).any(|r| r.acked < offset);
        if behind && now < s.deadline_ms {
            return;
        }
        self.log_lagging_replicas(now);
        match self.finish_files(io, s.mode) {
            Err(e) if !s.mode.force => {
                tracing::error!("{e}, can't exit.");
                tracing::warn!("Errors trying to shut down the server. Check the logs for more information.");
                self.end_shutdown(io);
            }
            result => {
                if let Err(e) = result {
                    tracing::error!("{e}. Exit anyway.");
                }
                tracing::warn!("Redis is now ready to exit, bye bye...");
                self.abandon_script();
                io.ask(Action::Exit(0));
                self.shutdown = Some(Shutdown { done: true, ..s });
            }
        }
    }
}
