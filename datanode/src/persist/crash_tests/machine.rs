//! A server's core on a disk that keeps every moment, and the book of what has been answered: from it follows what must
//! be found after a crash at any of these moments.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::state::State;
use crate::config::Config;
use crate::config::types::Fsync;
use crate::disk::Disk;
use crate::disk_fake::{FakeDisk, Survives};
use crate::io::{Action, ConnId, ConnectError, Gone, Io, Job, JobId, Lane, Now, Peer, Service};
use crate::resp::encode_command;
use crate::server::Server;
use crate::server::testing::Bench;

/// The working directory.
pub(super) const DIR: &str = "/data";

/// A background job is done after so long at the latest, milliseconds.
pub(super) const JOB_MS: u64 = 100;
/// The other lanes' jobs come after the syncs that were asked for at the same time, or later ones.
const FILE_JOB_MS: u64 = 250;

/// Ticks are so far apart where much time passes, milliseconds.
const LONG_TICK_MS: u64 = 100;

/// What was answered so long ago is durable under `appendfsync everysec`, milliseconds: a second between syncs, a tenth
/// until it is noticed that one is due, what the job takes, and ticks until each of these is noticed.
pub(super) const EVERYSEC_MS: u64 = 1000 + 100 + 2 * LONG_TICK_MS + JOB_MS;

/// A crash that could have happened: what may be found, and what must be there.
pub(super) struct Crash {
    pub(super) disk: FakeDisk,
    pub(super) what: String,
    /// How the server is started again; the index of the oldest state that may be found then.
    pub(super) restarts: Vec<(Config, usize)>,
    /// How many states had been reached.
    pub(super) states: usize,
    pub(super) now: Now,
}

/// What has happened so far.
pub(super) struct Book {
    /// All states, oldest first: one more for each unit of changes.
    pub(super) states: Vec<Rc<State>>,
    /// The state that was there at the end of each round (everything of it has been answered), with the time.
    answered: Vec<(u64, usize)>,
    /// The state that the append-only file has at least; none if there is no whole one.
    aof: Option<usize>,
    /// The state that the RDB file has.
    rdb: usize,
    /// The state that the snapshot under way has.
    captured: usize,
    /// The oldest state of a base of which it is not known whether it is there.
    unsure: usize,
    /// Until this time nothing had to be synced.
    paused_until_ms: u64,
    pub(super) crashes: Vec<Crash>,
    pub(super) log: Vec<String>,
}

impl Book {
    fn new(state: State) -> Book {
        Book {
            states: vec![Rc::new(state)],
            answered: Vec::new(),
            aof: None,
            rdb: 0,
            captured: 0,
            unsure: usize::MAX,
            paused_until_ms: 0,
            crashes: Vec::new(),
            log: Vec::new(),
        }
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    /// The oldest state that a server with this configuration may load.
    fn oldest(&self, config: &Config) -> usize {
        match (config.appendonly, self.aof) {
            (true, Some(aof)) => aof,
            // Its first base may be there, or not yet; or one whose publication has failed at its very end.
            (true, None) => self.rdb.min(self.captured).min(self.unsure),
            (false, _) => self.rdb,
        }
    }
}

/// A server from its start to its end.
pub(super) struct Machine {
    pub(super) bench: Bench,
    pub(super) disk: FakeDisk,
    pub(super) book: Book,
    jobs: VecDeque<(u64, Lane, JobId, Job)>,
    done: Vec<(JobId, std::io::Result<u64>)>,
    pub(super) exited: Option<i32>,
    client: ConnId,
    /// Another server that this one may follow, and both ends of their connection.
    pub(super) master: Option<Bench>,
    link: Option<(ConnId, ConnId)>,
    saves: u64,
    rewrites: u64,
}

pub(super) fn config(f: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config { dir: DIR.into(), databases: 4, save: Vec::new(), ..Config::default() };
    f(&mut config);
    config
}

pub(super) fn empty_disk() -> FakeDisk {
    FakeDisk::with_dir(Path::new(DIR))
}

impl Machine {
    /// Starts a server on a disk.
    pub(super) fn start(config: Config, disk: FakeDisk, now: Option<Now>) -> Result<Machine, String> {
        let mut bench = Bench::on(config, Arc::new(disk.clone()));
        bench.io.now = now.unwrap_or(bench.io.now);
        bench.server.start(&mut bench.io)?;
        let client = bench.connect();
        let book = Book::new(State::of(&bench.server));
        let mut machine = Machine {
            bench,
            disk,
            book,
            jobs: VecDeque::new(),
            done: Vec::new(),
            exited: None,
            client,
            master: None,
            link: None,
            saves: 0,
            rewrites: 0,
        };
        machine.book.aof = machine.bench.server.config.appendonly.then_some(0);
        machine.carry_out();
        Ok(machine)
    }

    /// The process has ended in order: everything is in its files.
    pub(super) fn ended(&mut self) {
        let last = self.book.last();
        let config = &self.bench.server.config;
        if config.appendonly {
            self.book.aof = Some(last);
        }
        if !config.save.is_empty() {
            self.book.rdb = last;
        }
        // Its worker may have come to some of this before the end, or not.
        self.jobs.clear();
        let crash = self.crash_now();
        self.book.crashes.push(crash);
    }

    /// Starts again where this one has ended, with its book.
    pub(super) fn again(mut self) -> Result<Machine, String> {
        let mut config = self.bench.server.config.clone();
        config.replicaof = None;
        let oldest = self.book.oldest(&config);
        let mut next = Machine::start(config, self.disk.clone(), Some(self.bench.io.now))?;
        let state = next.book.states.swap_remove(0);
        let now_ms = next.bench.io.now.unix_ms;
        assert!(
            self.book.states[oldest..].iter().any(|s| s.is_as(&state, now_ms)),
            "an unknown state is there"
        );
        self.book.states.push(state);
        self.book.aof = next.book.aof.map(|_| self.book.last()).or(self.book.aof);
        self.book.log.push("started again".into());
        next.book = self.book;
        next.note_moments("start", &next.bench.server.config.clone());
        Ok(next)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.bench.io.now.mono_ms()
    }

    /// A command's reply; what it does not need to wait for.
    pub(super) fn send(&mut self, words: &[&str]) -> String {
        self.send_together(&[words])
    }

    /// Commands that come in at the same time, from one client.
    pub(super) fn send_together(&mut self, commands: &[&[&str]]) -> String {
        let text: Vec<_> = commands.iter().map(|c| shortened(&c.join(" "))).collect();
        let commands: Vec<Vec<u8>> = commands
            .iter()
            .map(|words| {
                let mut bytes = Vec::new();
                encode_command(&mut bytes, words);
                bytes
            })
            .collect();
        let client = self.client;
        let parts = commands.into_iter().map(|bytes| {
            move |server: &mut Server, io: &mut Io| {
                if let Some(c) = io.conn(client) {
                    c.input.extend_from_slice(&bytes);
                }
                server.received(io, client);
            }
        });
        self.round(&text.join(" + "), parts);
        let reply = self.bench.take(client);
        self.book.log.push(format!("  {}", shortened(reply.trim_end())));
        reply
    }

    /// Time passes, tick by tick.
    pub(super) fn pass(&mut self, ms: u64) {
        let tick_ms = if ms <= 2000 { 10 } else { LONG_TICK_MS };
        for _ in 0..ms.div_ceil(tick_ms) {
            if self.exited.is_some() {
                return;
            }
            self.bench.io.now.mono_us += tick_ms * 1000;
            self.bench.io.now.unix_ms += tick_ms as i64;
            let now = self.now_ms();
            self.deliver();
            self.round("", [|server: &mut Server, io: &mut Io| server.tick(io)]);
            // Those of a lane have one delay, and so keep their order.
            while let Some(i) = self.jobs.iter().position(|(since, lane, ..)| now >= since + lane_ms(*lane)) {
                self.run_job(i);
            }
            self.exchange();
        }
    }

    /// Everything that is under way comes to its end.
    pub(super) fn settle(&mut self) {
        while self.exited.is_none() && self.run_job(0) {
            self.deliver();
        }
        self.deliver();
    }

    /// Does the oldest job of this lane, if there is one.
    pub(super) fn run_job_of(&mut self, lane: Lane) {
        if let Some(at) = self.jobs.iter().position(|(_, l, ..)| *l == lane) {
            self.run_job(at);
        }
    }

    /// Does the job at this place in the queue, of which the server does not hear yet; false if there is none.
    pub(super) fn run_job(&mut self, at: usize) -> bool {
        let Some((_, _, id, job)) = self.jobs.remove(at) else { return false };
        self.done.push((id, job()));
        self.note_moments("job", &self.bench.server.config.clone());
        true
    }

    /// The server hears of the jobs that are done.
    fn deliver(&mut self) {
        for (id, result) in std::mem::take(&mut self.done) {
            self.round("job done", [|server: &mut Server, io: &mut Io| server.job_done(io, id, result)]);
        }
    }

    /// A round of the driver: events, then `before_sleep`, then what the core has asked for.
    fn round<F: FnOnce(&mut Server, &mut Io)>(&mut self, what: &str, events: impl IntoIterator<Item = F>) {
        if self.exited.is_some() {
            return;
        }
        if !what.is_empty() {
            self.book.log.push(format!("{} {what}", self.now_ms()));
        }
        let before = self.bench.server.config.clone();
        let (saving, walking) = (self.bench.server.saving(), self.bench.server.keyspace.in_snapshot());
        let (from, captured) = (self.book.last(), self.book.captured);
        for event in events {
            let Bench { server, io } = &mut self.bench;
            event(server, io);
            self.note_state();
        }
        let Bench { server, io } = &mut self.bench;
        server.before_sleep(io);
        self.note_state();
        self.note_moments(what, &before);
        self.carry_out();
        let persist = &self.bench.server.persist;
        let (saves, rewrites) = (persist.saves, persist.rewrites);
        if persist.rewrite_failures > 0 {
            self.book.unsure = self.book.unsure.min(captured);
        }
        if std::mem::replace(&mut self.rewrites, rewrites) != rewrites {
            self.book.aof = self.book.aof.max(Some(captured));
        }
        if std::mem::replace(&mut self.saves, saves) != saves {
            self.book.rdb = self.book.rdb.max(if saving { captured } else { from });
        }
        if !walking && self.bench.server.keyspace.in_snapshot() {
            self.book.captured = from;
        }
        self.note_answers();
    }

    fn note_state(&mut self) {
        let state = State::of(&self.bench.server);
        if *self.book.states[self.book.last()] != state {
            self.book.states.push(Rc::new(state));
        }
    }

    /// Between two answers a crash may have happened at each of the disk's moments.
    fn note_moments(&mut self, what: &str, before: &Config) {
        let moments = self.disk.take_moments();
        let after = &self.bench.server.config;
        let changed = (before.appendonly, &before.dbfilename) != (after.appendonly, &after.dbfilename);
        for moment in moments {
            let configs = [before].into_iter().chain(changed.then_some(after));
            self.book.crashes.push(Crash {
                disk: moment.disk,
                what: format!("{:?} {} during '{what}'", moment.call, moment.path.display()),
                restarts: configs.map(|c| (c.clone(), self.book.oldest(c))).collect(),
                states: self.book.states.len(),
                now: self.bench.io.now,
            });
        }
    }

    /// A crash that happens now, in no moment of the disk's.
    pub(super) fn crash_now(&mut self) -> Crash {
        let config = self.bench.server.config.clone();
        Crash {
            disk: self.disk.after_crash(Survives::Everything),
            what: "the end".into(),
            restarts: vec![(config.clone(), self.book.oldest(&config))],
            states: self.book.states.len(),
            now: self.bench.io.now,
        }
    }

    /// The round is over: its replies have left.
    fn note_answers(&mut self) {
        let (now, last) = (self.now_ms(), self.book.last());
        let server = &self.bench.server;
        let book = &mut self.book;
        if self.exited.is_some_and(|code| code != 0) {
            return;
        }
        book.answered.push((now, last));
        let persist = &server.persist;
        let paused = server.config.no_appendfsync_on_rewrite && persist.snapshot.is_some();
        let failing = persist.log.as_ref().is_some_and(|log| log.error().is_some());
        if paused || failing || server.config.appendfsync == Fsync::No {
            book.paused_until_ms = now;
        }
        let whole = server.persist.durable_offset(0).is_some();
        if whole && server.config.appendonly {
            let answered = match server.config.appendfsync {
                Fsync::Always => Some(last),
                Fsync::Everysec if now >= book.paused_until_ms + EVERYSEC_MS => {
                    let old = |(at, _): &&(u64, usize)| at + EVERYSEC_MS <= now;
                    book.answered.iter().rev().find(old).map(|(_, state)| *state)
                }
                Fsync::Everysec | Fsync::No => None,
            };
            book.aof = book.aof.max(answered);
        }
    }

    /// Does what the core has asked for.
    fn carry_out(&mut self) {
        let now = self.now_ms();
        while let Some(action) = self.bench.io.next_action() {
            match action {
                Action::Run(lane, id, job) => self.jobs.push_back((now, lane, id, job)),
                Action::Exit(code) => self.exited = Some(code),
                Action::Close { conn, .. } => {
                    let Bench { server, io } = &mut self.bench;
                    server.closed(io, conn, Gone::Asked);
                    io.release(conn);
                    self.link.take_if(|link| link.0 == conn);
                }
                Action::Connect { token, .. } => {
                    let Bench { server, io } = &mut self.bench;
                    let result = match &mut self.master {
                        None => Err(ConnectError::Refused),
                        Some(master) => {
                            let ours = io.open();
                            self.link = Some((ours, master.connect()));
                            Ok((ours, Peer::default()))
                        }
                    };
                    server.connected(io, token, result);
                }
                Action::Tune { .. } | Action::Restart { .. } => {}
            }
        }
    }

    /// What this server and its master have for each other is delivered.
    fn exchange(&mut self) {
        let Some(master) = &mut self.master else { return };
        master.pass(10);
        master.settle();
        let Some((ours, theirs)) = self.link else { return };
        let sent = self.bench.take_bytes(ours);
        master.receive(theirs, &sent);
        master.settle();
        let sent = master.take_bytes(theirs);
        if !sent.is_empty() {
            let receive = move |server: &mut Server, io: &mut Io| {
                if let Some(c) = io.conn(ours) {
                    c.input.extend_from_slice(&sent);
                }
                server.received(io, ours);
            };
            self.round("from the master", [receive]);
        }
    }

    /// Files whose names say that they are only for a while.
    pub(super) fn temporary_files(&self) -> Vec<PathBuf> {
        temporary_files(&self.disk)
    }
}

pub(super) fn temporary_files(disk: &FakeDisk) -> Vec<PathBuf> {
    let in_dir = |dir: &Path| -> Vec<PathBuf> {
        disk.list(dir).unwrap_or_default().iter().map(|name| dir.join(name)).collect()
    };
    let root = Path::new(DIR);
    let all = in_dir(root).into_iter().chain(in_dir(&root.join("appendonlydir")));
    all.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("temp-"))).collect()
}

fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    text.chars().take(MOST).collect()
}

/// How long a job of this lane waits.
fn lane_ms(lane: Lane) -> u64 {
    match lane {
        Lane::Sync => JOB_MS,
        Lane::Files | Lane::Free => FILE_JOB_MS,
    }
}
