//! The data server: a synchronous core that is driven through [`Service`]. One thread, one total order of writes:
//! command → store → effects → append-only file and replication stream → reply, which leaves no earlier than the
//! configured durability allows.

pub mod acl;
pub mod ahead;
pub mod alloc;
pub mod blocking;
pub mod client;
pub mod client_memory;
pub mod cron;
pub mod dispatch;
pub mod effects;
pub mod eviction;
pub mod front;
pub mod histogram;
pub mod info;
pub mod latency;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod migrate;
pub mod monitor;
pub mod process;
pub mod pubsub;
pub mod roles;
mod slab;
pub mod slowlog;
pub mod start;
pub mod stats;
pub mod testing;
pub mod tracking;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::acl::Acl;
use crate::config::Config;
use crate::config::types::ShutdownFlags;
use crate::disk::Disk;
use crate::io::{
    Action, ConnId, ConnectError, Gone, Io, JobId, Lane, LinkToken, Now, Peer, Service, Signal, Tuning,
};
use crate::managed::Managed;
use crate::persist::Persistence;
use crate::replication::Replication;
use crate::store::keyspace::Keyspace;
use crate::store::rng::Rng;

use blocking::{BlockedKeys, Watches};
use client::Clients;
use effects::Effects;
use pubsub::PubSub;
use stats::Stats;
use tracking::Tracking;

/// What a running server was started from.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Path of the executable.
    pub executable: String,
    /// Process id.
    pub pid: u32,
    /// The kernel's name for this start of the machine (`/proc/sys/kernel/random/boot_id`); empty if it has none.
    pub boot: String,
}

/// Writes (or everything) of clients wait until a deadline: `CLIENT PAUSE`, or a planned move of mastership.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pause {
    /// Monotonic milliseconds; 0: no pause.
    pub until_ms: u64,
    /// Reads wait, too.
    pub all: bool,
}

/// What `DEBUG` switches for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct DebugSwitches {
    /// Nothing happens by itself: no expiry, no saving, no regular messages to replicas.
    pub pause_cron: bool,
    /// `RESTORE` takes payloads with a wrong version or checksum.
    pub skip_checksums: bool,
    /// Scripts may call what is marked as not for them.
    pub scripts_may_all: bool,
    /// Microseconds to wait before the append-only file is written.
    pub aof_flush_sleep_us: u64,
}

/// The data server's whole state.
pub struct Server {
    /// Configuration.
    pub config: Config,
    /// Process facts.
    pub origins: Origins,
    /// Identity of this run of the process: 40 hex digits.
    pub run_id: String,
    /// When it was started.
    pub started: Now,
    /// Users and what they may do.
    pub acl: Acl,
    /// Connected clients.
    pub clients: Clients,
    /// The data.
    pub keyspace: Keyspace,
    /// Effects of the running unit.
    pub effects: Effects,
    /// Replication: our stream, our replicas, our master.
    pub repl: Replication,
    /// Append-only file and snapshots.
    pub persist: Persistence,
    /// Subscriptions.
    pub pubsub: PubSub,
    /// Counters.
    pub stats: Stats,
    /// Random numbers.
    pub rng: Rng,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Shard map and promises, under `managed yes`.
    pub managed: Option<Managed>,
    /// Who waits for which key.
    pub blocked_keys: BlockedKeys,
    /// The key for which a blocked client's command is being run again.
    pub woken_by: Option<Box<[u8]>>,
    /// Keys that got elements while clients wait for them.
    pub ready_keys: VecDeque<(usize, Box<[u8]>)>,
    /// Who watches which key.
    pub watches: Watches,
    /// Who has which key in its cache.
    pub tracking: Tracking,
    /// The client whose request is being served.
    pub serving: Option<ConnId>,
    /// Loading the dataset at start or from the master.
    pub loading: bool,
    /// Loading the master's dataset while the present one is served.
    pub async_loading: bool,
    /// Paused clients: the server itself has writes wait, for a shutdown or a planned move of mastership.
    pub pause: Pause,
    /// Paused clients: `CLIENT PAUSE`.
    pub client_pause: Pause,
    /// Keys on their way to other servers (`MIGRATE`).
    pub migrations: migrate::Migrations,
    /// Who gets every command (`MONITOR`).
    pub monitors: Vec<ConnId>,
    /// What took long.
    pub latency: latency::Latency,
    /// What is left to the sentinel that this server is in front of, if it is.
    pub front: Option<front::Front>,
    /// Commands that took long.
    pub slowlog: slowlog::SlowLog,
    /// Memory of the clients that may be closed for want of it, bytes; counted only where that is bounded.
    pub client_memory: usize,
    /// How soon the kernel kills this process.
    pub oom: crate::system::kernel::OomScore,
    /// Number of blocked clients.
    pub blocked_clients: usize,
    /// Memory in use, bytes, as of the last look.
    pub used_memory: u64,
    /// `used_memory` before any data was loaded.
    pub startup_memory: u64,
    /// Flushed databases that are being freed.
    pub flushes: memory::Flushes,
    /// What eviction remembers.
    pub evictor: eviction::Evictor,
    /// While writes are paused nothing changes the data, not even the time: keys whose time is up are hidden, not removed.
    pub frozen: bool,
    /// The running command's client does not count as a user of keys (`CLIENT NO-TOUCH`).
    pub no_touch: bool,
    /// Largest `used_memory` seen.
    pub peak_memory: u64,
    /// Keys that clients have given an expiry on a replica that takes their writes.
    pub own_expires: BTreeSet<(usize, Box<[u8]>)>,
    /// `DEBUG SET-ACTIVE-EXPIRE`
    pub active_expire: bool,
    /// What else `DEBUG` has switched.
    pub debug: DebugSwitches,
    /// A shutdown in progress.
    pub shutdown: Option<start::Shutdown>,
    /// Thresholds of encodings.
    pub limits: crate::store::limits::Limits,
    /// The clock of `OBJECT IDLETIME` and `FREQ`.
    pub access_clock: memory::AccessClock,
    /// A transaction is being executed.
    pub in_exec: bool,
    /// Scripts and functions.
    pub scripting: crate::script::Scripting,
    /// Keyspace events of the running unit that could not be published at once.
    pub(crate) events: Vec<(crate::command::Event, &'static str, usize, Box<[u8]>)>,
    /// Large values to be freed in the background.
    pub(crate) lazy: Vec<crate::store::value::Value>,
    /// Clients that were unblocked and may have sent more.
    pub(crate) resume: Vec<ConnId>,
    /// The master is to be told our offset at the end of this loop.
    pub(crate) ack_due: bool,
    /// Where the figures for `/metrics` go.
    pub metrics: Option<Arc<crate::server::metrics::Board>>,
    /// Clients with held replies.
    pub(crate) held: Vec<ConnId>,
    pub(crate) selected_db: Option<usize>,
    pub(crate) origin_db: usize,
    /// Unix seconds, as of the last tick.
    pub(crate) now_s: i64,
    pub(crate) next_job: u64,
    pub(crate) next_token: u64,
    pub(crate) jobs: HashMap<JobId, JobKind>,
    scratch: Vec<u8>,
    unit: Vec<u8>,
    apply_sink: Vec<u8>,
    ahead: ahead::Ahead,
    /// When the command before this one ended, where another followed at once.
    lap: Option<std::time::Instant>,
    cron: cron::Cron,
}

/// What a background job was for; decides who hears of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Persistence: writing or publishing a file, an fsync.
    Persist(crate::persist::PersistJob),
    /// Freeing databases that have been flushed.
    Flush,
    /// Freeing memory, or something else whose end matters to nobody.
    Quiet,
}

/// So often in one round clients go on who have waited for what the round has brought about, a sync mostly.
const LAPS: usize = 16;

impl Server {
    /// Has a job done in the background.
    pub(crate) fn background(
        &mut self,
        io: &mut Io,
        lane: Lane,
        kind: JobKind,
        job: impl FnOnce() -> std::io::Result<u64> + Send + 'static,
    ) {
        self.next_job += 1;
        let id = JobId(self.next_job);
        self.jobs.insert(id, kind);
        io.ask(Action::Run(lane, id, Box::new(job)));
    }

    /// What has been written goes to the append-only file, the replicas, and what is applied to the master's knowledge.
    fn flush_writes(&mut self, io: &mut Io) {
        self.release_effects();
        self.broadcast_invalidations(io);
        self.flush_aof(io);
        self.sync_awaited(io);
        self.flush_stream(io);
        self.renew_seal(io);
        if std::mem::take(&mut self.ack_due) {
            self.acknowledge(io);
        }
    }

    /// Closes a client; `flush`: after what it may still get has been sent.
    pub fn close_client(&mut self, io: &mut Io, conn: ConnId, flush: bool) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.closing = true;
        }
        io.close(conn, flush);
    }

    /// Closes a client that takes too much: it and its buffers are gone at once, whatever else happens in this round.
    pub(crate) fn drop_client(&mut self, io: &mut Io, conn: ConnId) {
        io.close(conn, false);
        if let Some(c) = io.conn(conn) {
            c.discard();
        }
        self.forget_client(io, conn);
    }

    /// Forgets everything that refers to a client.
    pub(crate) fn forget_client(&mut self, io: &mut Io, conn: ConnId) {
        if let Some(running) = &mut self.scripting.running
            && running.conn == conn
        {
            // Its script still needs to know in which database it is.
            running.client_gone = true;
            return;
        }
        self.unblock(conn);
        self.unwatch_all(conn);
        self.untrack(conn);
        let Some(client) = self.clients.remove(conn) else { return };
        self.client_memory -= client.counted;
        self.pubsub.forget(&client);
        self.monitors.retain(|&c| c != conn);
        self.held.retain(|&c| c != conn);
        if client.replica.is_some() {
            self.replica_gone(io, conn, &client);
        }
    }
}

impl Service for Server {
    fn accepted(&mut self, io: &mut Io, conn: ConnId, peer: Peer) {
        self.stats.connections_received += 1;
        if self.clients.len() >= self.config.maxclients as usize {
            self.stats.rejected_connections += 1;
            io.send(conn, b"-ERR max number of clients reached\r\n");
            io.close(conn, true);
            return;
        }
        io.ask(Action::Tune { conn, tuning: Tuning::KeepAlive(self.config.tcp_keepalive) });
        let open = self.is_open();
        let user = self.acl.default_user().clone();
        let unprotected = self.config.protected_mode && user.needs_no_password();
        let client = self.clients.add(conn, peer, user, io.now);
        client.authenticated = open;
        if unprotected && !client.is_local() {
            io.send(conn, PROTECTED_MODE.as_bytes());
            self.close_client(io, conn, true);
        }
    }

    fn arrived(&mut self, io: &mut Io, conns: &[ConnId]) {
        for &conn in conns {
            let Some(client) = self.clients.get(conn).filter(|c| !self.must_log_in(c)) else { continue };
            if client.half.is_none()
                && let Some(c) = io.conn(conn)
            {
                self.ahead.note_first(&c.input, &self.keyspace, client.db);
            }
        }
        self.ahead.fetch_noted(&self.keyspace);
    }

    fn received(&mut self, io: &mut Io, conn: ConnId) {
        if let Some(c) = io.conn(conn) {
            self.stats.note_input(c.input.len() as u64);
        }
        if self.repl.link_conn() == Some(conn) {
            // A script sees data that nothing else changes; what is being loaded comes before what follows it.
            if !self.in_script() && !self.in_load() {
                self.link_received(io);
            }
        } else if self.errand_conn() == Some(conn) {
            self.errand_received(io, conn);
        } else if self.is_messengers(conn) {
            self.messenger_received(io, conn);
        } else if self.migrations.owns(conn) {
            self.migration_received(io, conn);
        } else {
            self.serve(io, conn);
        }
    }

    fn drained(&mut self, _io: &mut Io, _conn: ConnId) {}

    fn closed(&mut self, io: &mut Io, conn: ConnId, why: Gone) {
        if self.repl.link_conn() == Some(conn) {
            self.link_closed(io, why);
        } else if !self.managed_link_closed(io, conn)
            && !self.messenger_closed(io, conn)
            && !self.migration_closed(io, conn)
        {
            self.forget_echoes(conn);
            self.forget_client(io, conn);
        }
    }

    fn connected(&mut self, io: &mut Io, token: LinkToken, result: Result<(ConnId, Peer), ConnectError>) {
        if !self.managed_link_connected(io, token, &result)
            && !self.messenger_connected(io, token, &result)
            && !self.migration_connected(io, token, &result)
        {
            self.link_connected(io, token, result);
        }
    }

    fn job_done(&mut self, io: &mut Io, job: JobId, result: std::io::Result<u64>) {
        match self.jobs.remove(&job) {
            Some(JobKind::Persist(kind)) => self.persist_job_done(io, kind, result),
            Some(JobKind::Flush) => self.flushes.end(),
            Some(JobKind::Quiet) | None => {}
        }
    }

    fn tick(&mut self, io: &mut Io) {
        if self.in_script() || self.in_load() {
            return self.run_cron_in_midst(io);
        }
        self.run_cron(io);
    }

    fn before_sleep(&mut self, io: &mut Io) {
        self.flush_writes(io);
        for _ in 0..LAPS {
            if !self.release_holds(io) {
                break;
            }
            // What they have written since is not to wait for the next event, nor their replies to be ahead of the log.
            self.flush_writes(io);
        }
        self.check_output_limits(io);
        self.evict_clients(io);
        self.evictor.messages = 0;
        self.adjust_oom_score();
    }

    fn tick_ms(&self) -> u64 {
        self.tick_interval()
    }

    fn terminate(&mut self, io: &mut Io, signal: Signal) {
        let (name, flags) = match signal {
            Signal::Interrupt => ("SIGINT", self.config.shutdown_on_sigint),
            Signal::Terminate => ("SIGTERM", self.config.shutdown_on_sigterm),
        };
        if signal == Signal::Interrupt && self.shutdown.is_some() {
            tracing::warn!("You insist... exiting now.");
            io.ask(Action::Exit(1));
            return;
        }
        tracing::warn!("Received {name} scheduling shutdown...");
        let ShutdownFlags { save, nosave, now, force } = flags;
        let mode = start::ShutdownMode { save, nosave, now, force };
        match self.debug.pause_cron {
            true => self.schedule_shutdown(io, mode),
            false => self.begin_shutdown(io, mode),
        }
    }
}

const PROTECTED_MODE: &str = "-DENIED This server runs in protected mode: no bind address and no password are \
     configured, so that connections are only accepted from the loopback interface. Set a password (requirepass), or a \
     bind address, or 'protected-mode no' if the network is safe.\r\n";
