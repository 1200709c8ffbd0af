//! One run: a deployment, faults upon it, the claims at every moment, and peace afterwards.

mod faults;
mod foreign;
mod pods;
mod report;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use datanode::command::debug::digest;
use datanode::config::Config;
use datanode::config::types::{Fsync, SavePoint};
use datanode::disk_fake::{FakeDisk, Fault, Survives};
use datanode::rng::Rng;
use datanode::sentinel::{self, Sentinel};
use datanode::server::{Origins, Server};
use datanode::shardmap::{NodeAddr, ShardState};
use datanode::sim::{Clock, Sim, Weather};
use operator::crd::RedisReplicaSet;
use operator::crd::desired::Desired;

use crate::actor::{Actor, Core};
use crate::claims::{Claims, first_missing};
use crate::message;
use crate::operator::{ApiServer, Operator};
use crate::scenario::{Scenario, Step};
use crate::story::{self, Aim, Deed};
use crate::writer::{History, Writer};

/// Between two looks at all claims, microseconds.
const SLICE_US: u64 = 10_000;
/// Time in which a new deployment must take writes, microseconds.
const FOUNDED_US: u64 = 60_000_000;
/// Time in which all must be well again once nothing goes wrong any more, microseconds.
const PEACE_US: u64 = 120_000_000;
/// Of so many steps one is the beginning of a story.
const STORY_IN: u64 = 8;
/// The pause after any other step, milliseconds.
const MOMENT_MS: u64 = 1500;
/// How long it must stay so, microseconds.
const CALM_US: u64 = 3_000_000;
/// Operators that run at the same time.
const OPERATORS: usize = 2;
/// How long who could not start waits before the next attempt, microseconds.
const RETRY_US: u64 = 500_000;
const DIR: &str = "/data";

/// The network when nothing goes wrong.
const CALM: Weather = Weather { delay_us: (200, 2000), loss: 0 };

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Simulated time, microseconds.
    pub simulated_us: u64,
    /// Writes sent and acknowledged.
    pub writes: (u32, usize),
    /// Masters there have been.
    pub epochs: usize,
    /// A fingerprint of everything that was sent: the same seed gives the same one.
    pub trace: u64,
}

impl Outcome {
    /// Adds up.
    pub fn add(&mut self, other: &Outcome) {
        self.simulated_us += other.simulated_us;
        self.writes.0 += other.writes.0;
        self.writes.1 += other.writes.1;
        self.epochs += other.epochs;
        self.trace ^= other.trace;
    }
}

/// A run in progress.
pub struct World {
    scenario: Scenario,
    sim: Sim<Actor>,
    rng: Rng,
    /// What a user has asked for last.
    desired: Rc<RefCell<Desired>>,
    disks: Vec<FakeDisk>,
    /// How often a machine has been started: what its kernel tells one start from another by.
    boots: Vec<u64>,
    names: Vec<String>,
    /// When a machine's process is to be started again, microseconds, and whether a disk is to be mended.
    restarts: BTreeMap<usize, u64>,
    mended: BTreeMap<usize, u64>,
    /// Members that may have lost something that they had acknowledged and have not got back.
    damaged: BTreeSet<usize>,
    /// Members that have been told to end because they are too many, and until when they may take their time.
    leaving: BTreeMap<usize, u64>,
    /// Connections of living machines have been refused.
    resets: bool,
    history: Rc<RefCell<History>>,
    claims: Rc<RefCell<Claims>>,
    api: Rc<RefCell<ApiServer>>,
    trace: Rc<RefCell<u64>>,
    /// Steps of a story that are still to come, and the pause after each, milliseconds.
    plan: VecDeque<(Step, u64)>,
    /// Faults that wait for a message, and those whose message has been sent, with the machine that they hit.
    aims: Rc<RefCell<Vec<Aim>>>,
    hits: Rc<RefCell<Vec<(Deed, usize)>>>,
    /// The volume of a member that has been given a foreign one.
    own_volume: Option<(usize, FakeDisk)>,
    verbose: bool,
}

impl World {
    /// The deployment of a seed, before anything has happened.
    pub fn new(seed: u64, verbose: bool) -> World {
        let mut rng = Rng::new(seed);
        let scenario = Scenario::of(&mut rng);
        if verbose {
            println!("seed {seed}: {scenario:?}");
        }
        let desired = desired(&scenario);
        let mut names: Vec<String> = (0..scenario.places as u32).map(|i| desired.member(0, i)).collect();
        names.extend((0..scenario.seats as u32).map(|i| desired.sentinel(i)));
        names.extend((0..OPERATORS).map(|i| format!("operator-{i}:1")));
        names.extend((0..scenario.writers).map(|i| format!("writer-{i}:1")));
        let mut sim = Sim::new(rng.next_u64(), scenario.weather);
        let mut disks = Vec::new();
        for name in &names {
            let node = sim.place(name);
            disks.push(FakeDisk::with_dir(Path::new(DIR)));
            sim.set_disk(node, disks[node].clone());
            let drift = rng.below(2 * scenario.drift_ppm + 1) as i64 - scenario.drift_ppm as i64;
            sim.set_clock(node, Clock { fast_ppm: drift, off_ms: rng.below(2000) as i64 - 1000 });
            sim.set_job_us(node, rng.below(scenario.job_us) + 1);
        }
        let mut world = World {
            scenario,
            sim,
            rng,
            desired: Rc::new(RefCell::new(desired)),
            boots: vec![0; disks.len()],
            disks,
            names,
            restarts: BTreeMap::new(),
            mended: BTreeMap::new(),
            damaged: BTreeSet::new(),
            leaving: BTreeMap::new(),
            resets: false,
            history: Rc::default(),
            claims: Rc::default(),
            api: Rc::default(),
            trace: Rc::default(),
            plan: VecDeque::new(),
            aims: Rc::default(),
            hits: Rc::default(),
            own_volume: None,
            verbose,
        };
        world.observe();
        world.keep_pods();
        (world.operator_node(0)..world.names.len()).for_each(|node| world.start(node));
        world
    }

    /// The whole run. The error says what did not hold.
    pub fn run(mut self) -> Result<Outcome, String> {
        // It begins in good weather: a deployment that has taken no write yet has nothing to lose.
        let weather = std::mem::replace(&mut self.sim.weather, CALM);
        self.until("the first write", FOUNDED_US, |w| w.history.borrow().acknowledged.len() > 3)?;
        self.sim.weather = weather;
        let mut steps = self.scenario.steps;
        while steps > 0 || !self.plan.is_empty() {
            if self.plan.is_empty() && self.rng.below(STORY_IN) == 0 {
                self.plan.extend(story::tell(&mut self.rng, &self.scenario));
            }
            let (step, pause) = self.plan.pop_front().unwrap_or_else(|| {
                (Step::next(&mut self.rng, &self.scenario, self.names.len()), self.rng.below(MOMENT_MS))
            });
            self.take(step);
            self.pass(pause * 1000)?;
            steps = steps.saturating_sub(1);
        }
        self.end_faults();
        // Who has been told to end takes its time.
        self.until("orderly ends", PEACE_US, |w| {
            (0..w.scenario.places).all(|i| w.server(i).is_none_or(|s| s.shutdown.is_none()))
        })?;
        let acknowledged = self.history.borrow().acknowledged.len();
        self.until("peace", PEACE_US, |w| w.well() && w.history.borrow().acknowledged.len() > acknowledged)?;
        // One more election may follow: of members that had promised, or votes that had been given.
        self.pass(CALM_US)?;
        self.until("calm", PEACE_US, World::well)?;
        let (epoch, _) = (self.newest_epoch(), self.pass(CALM_US)?);
        self.until("lasting calm", CALM_US, World::well)?;
        if self.newest_epoch() != epoch {
            return Err(format!("it does not stay well: {}", self.describe()));
        }
        self.nothing_lost()?;
        let history = self.history.borrow();
        Ok(Outcome {
            simulated_us: self.sim.now_us,
            writes: (history.sent, history.acknowledged.len()),
            epochs: self.claims.borrow().epochs(),
            trace: *self.trace.borrow(),
        })
    }

    fn observe(&mut self) {
        let (claims, trace) = (self.claims.clone(), self.trace.clone());
        let (aims, hits) = (self.aims.clone(), self.hits.clone());
        let clients = self.names.len() - self.scenario.writers;
        let exclusive = self.scenario.sentinels > 0 && self.scenario.acks == 0;
        self.sim.observe(Box::new(move |sender, from, to, bytes, now_us| {
            let mut hash = trace.borrow_mut();
            let mut add = |part: u64| *hash = (*hash ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
            [from as u64, to as u64, now_us, bytes.len() as u64].into_iter().for_each(&mut add);
            for chunk in bytes.chunks(size_of::<u64>()) {
                add(chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
            }
            drop(hash);
            if let Core::Data(server) = &sender.core
                && to >= clients
                && acknowledges(bytes)
            {
                let epoch = server.managed.as_ref().and_then(|m| m.master_epoch());
                claims.borrow_mut().write_answered(&sender.name, epoch, exclusive);
            }
            if let Core::Sentinel(_) = &sender.core {
                message::epochs_led(bytes).for_each(|e| claims.borrow_mut().led(e, from, &sender.name));
                let mut hits = hits.borrow_mut();
                aims.borrow_mut().retain_mut(|aim| {
                    if !aim.kind.is_in(bytes) {
                        return true;
                    }
                    if aim.after > 0 {
                        aim.after -= 1;
                        return true;
                    }
                    hits.push((aim.deed, if aim.sender { from } else { to }));
                    false
                });
                return !hits.is_empty();
            }
            false
        }));
    }

    fn sentinel_node(&self, i: usize) -> usize {
        self.scenario.places + i
    }

    fn operator_node(&self, i: usize) -> usize {
        self.scenario.places + self.scenario.seats + i
    }

    fn is_member(&self, node: usize) -> bool {
        node < self.scenario.places
    }

    /// Starts the process of a machine, unless it runs. One whose files cannot be used is started again later.
    fn start(&mut self, node: usize) {
        if self.sim.alive(node) {
            return;
        }
        let seed = self.rng.next_u64();
        let name = self.names[node].clone();
        let disk = self.disks[node].clone();
        let now = self.sim.now_at(node);
        let (members, sentinels) = (self.scenario.places, self.scenario.seats);
        let core = if node < members {
            let config = self.config(node);
            let origins = Origins { boot: self.boots[node].to_string(), ..Origins::default() };
            match Server::new(config, Arc::new(disk), seed, now, origins) {
                Ok(server) => Core::Data(Box::new(server)),
                Err(e) => return self.start_failed(node, &e),
            }
        } else if node < members + sentinels {
            let addr: NodeAddr = name.parse().expect("names make addresses");
            let general = Config { dir: DIR.into(), protected_mode: false, ..Config::default() };
            let mut config = sentinel::config::Config::new(general).expect("it says nothing of masters");
            config.managed = true;
            config.announce_ip = Some(addr.host().to_owned());
            config.announce_port = addr.port();
            match Sentinel::new(config, Arc::new(disk), seed, now, Origins::default()) {
                Ok(sentinel) => Core::Sentinel(Box::new(sentinel)),
                Err(e) => return self.start_failed(node, &e.to_string()),
            }
        } else if node < members + sentinels + OPERATORS {
            Core::Operator(Box::new(Operator::new(self.desired.clone(), self.api.clone(), seed)))
        } else {
            let nodes =
                self.names[..members].iter().map(|n| n.parse().expect("names make addresses")).collect();
            Core::Writer(Box::new(Writer::new(nodes, self.scenario.pause_ms, seed, self.history.clone())))
        };
        self.sim.start(node, Actor { name: short(&name).to_owned(), core });
        if self.is_member(node) {
            let started = self.sim.call(node, |a, io| match &mut a.core {
                Core::Data(server) => server.start(io),
                _ => Ok(()),
            });
            match started {
                Some(Ok(())) => {}
                Some(Err(e)) => {
                    self.sim.crash(node);
                    self.start_failed(node, &e);
                }
                // The power failed meanwhile.
                None => {
                    self.restarts.insert(node, self.sim.now_us + RETRY_US);
                }
            }
        }
    }

    fn start_failed(&mut self, node: usize, why: &str) {
        self.say(|| format!("{node} does not start: {why}"));
        if self.disks[node].has_crashed() {
            self.crash_disk(node, Survives::Everything);
        }
        self.restarts.insert(node, self.sim.now_us + RETRY_US);
    }

    fn config(&self, node: usize) -> Config {
        let addr: NodeAddr = self.names[node].parse().expect("names make addresses");
        Config {
            managed: true,
            dir: DIR.into(),
            replica_announce_ip: addr.host().to_owned(),
            port: addr.port(),
            protected_mode: false,
            appendonly: self.scenario.fsync.is_some(),
            appendfsync: self.scenario.fsync.unwrap_or(Fsync::Everysec),
            save: vec![SavePoint { seconds: 5, changes: 50 }],
            repl_backlog_size: 16 << 10,
            repl_diskless_sync: node.is_multiple_of(2),
            repl_diskless_sync_delay: 0,
            ..Config::default()
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>10.3} s  {}", self.sim.now_us as f64 / 1e6, what());
        }
    }

    fn newest_epoch(&self) -> u64 {
        self.claims.borrow().newest_epoch()
    }

    fn server(&mut self, node: usize) -> Option<&mut Server> {
        match &mut self.sim.core(node)?.core {
            Core::Data(server) => Some(server),
            _ => None,
        }
    }

    fn sentinel(&mut self, i: usize) -> Option<&mut Sentinel> {
        let node = self.sentinel_node(i);
        match &mut self.sim.core(node)?.core {
            Core::Sentinel(sentinel) => Some(sentinel),
            _ => None,
        }
    }

    /// Lets time pass.
    fn pass(&mut self, us: u64) -> Result<(), String> {
        let end = self.sim.now_us + us;
        while self.sim.now_us < end {
            self.sim.run((self.sim.now_us + SLICE_US).min(end));
            let hits = std::mem::take(&mut *self.hits.borrow_mut());
            hits.into_iter().for_each(|(deed, node)| self.inflict(deed, node));
            self.keep_pods();
            self.restart_due();
            self.check()?;
        }
        Ok(())
    }

    fn until(&mut self, what: &str, limit_us: u64, done: impl Fn(&mut World) -> bool) -> Result<(), String> {
        let end = self.sim.now_us + limit_us;
        while !done(self) {
            if self.sim.now_us > end {
                return Err(format!("waited for {what} in vain: {}", self.describe()));
            }
            self.pass(SLICE_US)?;
        }
        Ok(())
    }

    fn restart_due(&mut self) {
        let now = self.sim.now_us;
        for node in 0..self.names.len() {
            if let Some(code) = self.sim.take_exit(node) {
                self.say(|| format!("{node} has ended with {code}"));
                if !self.is_used(node) {
                    continue;
                }
                self.restarts.entry(node).or_insert(now + 200_000);
            }
        }
        let due: Vec<usize> = self.restarts.iter().filter(|(_, at)| **at <= now).map(|(n, _)| *n).collect();
        for node in due {
            self.restarts.remove(&node);
            if self.disks[node].has_crashed() {
                // The power had failed; what was not synced is there in part.
                let survives = Survives::Some(self.rng.next_u64());
                self.crash_disk(node, survives);
            } else if !self.mended.contains_key(&node) {
                // It was to crash at a change of a file, and made none.
                self.disks[node].set_fault(Fault::None);
            }
            if self.sim.alive(node) {
                continue;
            }
            self.say(|| format!("{node} is started"));
            self.start(node);
        }
        let mended: Vec<usize> = self.mended.iter().filter(|(_, at)| **at <= now).map(|(n, _)| *n).collect();
        for node in mended {
            self.mended.remove(&node);
            self.disks[node].set_fault(Fault::None);
        }
    }

    /// Looks at everything that must always hold.
    fn check(&mut self) -> Result<(), String> {
        let (claims, history) = (self.claims.clone(), self.history.clone());
        let mut claims = claims.borrow_mut();
        let mut writable = Vec::new();
        let leases = self.scenario.sentinels > 0 && !self.resets;
        for node in 0..self.scenario.places {
            let (now, name, acks) =
                (self.sim.now_at(node), short(&self.names[node]).to_owned(), self.scenario.acks);
            let Some(server) = self.server(node) else { continue };
            let Some(m) = &server.managed else { continue };
            if let Some(shard) = m.own_shard() {
                claims.map_seen(shard, &name);
            }
            if let Some(epoch) = m.master_epoch().filter(|_| m.holds_lease(now)) {
                writable.push((epoch, name.clone(), node));
                if acks > 0 {
                    claims.takes_writes(&name, node, epoch, now, (server, &history.borrow()));
                }
            }
        }
        // Where the newest master is down, what it had acknowledged is looked for when the next one takes writes.
        let newest = claims.newest_epoch();
        let counts = |(epoch, _, _): &&(u64, String, usize)| self.scenario.acks > 0 && *epoch >= newest;
        if let Some((_, name, node)) = writable.iter().max().filter(counts) {
            let now = self.sim.now_at(*node);
            if let Some(server) = self.server(*node) {
                claims.newly_acknowledged(name, now, (server, &history.borrow()));
            }
        }
        if writable.len() > 1 && leases {
            claims.violated(|| format!("two take writes: {writable:?}"));
        }
        for i in 0..self.scenario.seats {
            if let Some(shard) = self.sentinel(i).and_then(|s| s.shard_map()?.shard(0).cloned()) {
                claims.map_seen(&shard, &format!("sentinel {i}"));
            }
        }
        if let Some(shard) = self.api.borrow().map().and_then(|m| m.shard(0).cloned()) {
            claims.map_seen(&shard, "the API server");
        }
        claims.violation.clone().map_or(Ok(()), Err)
    }

    /// One master, and everybody knows it, follows it, and has the same.
    fn well(&mut self) -> bool {
        let newest = self.newest_epoch();
        let wanted = self.pods();
        if self.is_changing() || (wanted..self.scenario.places).any(|node| self.sim.alive(node)) {
            return false;
        }
        let (mut masters, mut digests, mut offsets) = (0, BTreeSet::new(), BTreeSet::new());
        for node in 0..wanted {
            let now = self.sim.now_at(node);
            let Some(server) = self.server(node) else { return false };
            let Some(m) = &server.managed else { return false };
            if m.own_shard().is_none_or(|s| s.epoch != newest) {
                return false;
            }
            if m.master_epoch().is_some() && m.holds_lease(now) {
                masters += 1;
            } else if !server.repl.link_is_up() || server.persist.lineage().epoch != newest {
                return false;
            }
            offsets.insert(server.repl.offset());
        }
        // Writes are on their way all the time; at some moment none is.
        if masters != 1 || offsets.len() != 1 {
            return false;
        }
        for node in 0..wanted {
            digests.extend(self.server(node).map(|s| digest::of_all(&s.keyspace)));
        }
        if digests.len() != 1 {
            let described = self.describe() + &self.differences();
            self.claims.borrow_mut().violated(|| format!("equal offsets, and different data: {described}"));
            return false;
        }
        (0..self.sentinel_pods()).all(|i| {
            let now = self.sim.now_at(self.sentinel_node(i)).mono_ms();
            let Some(status) = self.sentinel(i).and_then(|s| s.status(now)) else { return false };
            status.shards.first().is_some_and(|s| s.epoch == newest && s.state == ShardState::Ok)
        })
    }

    fn nothing_lost(&mut self) -> Result<(), String> {
        if self.scenario.acks == 0 {
            return Ok(());
        }
        for node in 0..self.scenario.places {
            let now = self.sim.now_at(node);
            let history = self.history.clone();
            let Some(server) = self.server(node) else { continue };
            let master = server.is_master();
            if let Some(write) = first_missing(server, now, &history.borrow()).filter(|_| master) {
                return Err(format!("{write:?} was acknowledged, and is lost"));
            }
        }
        Ok(())
    }
}

/// Whether a node's answer says that a write was done: what comes before the end of a transaction does not.
fn acknowledges(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(b"+OK\r\n+QUEUED\r\n".as_slice()).unwrap_or(bytes);
    let rest = rest.strip_prefix(b"+QUEUED\r\n".as_slice()).unwrap_or(rest);
    !rest.is_empty() && rest[0] != b'-' && !rest.windows(2).any(|w| w == b"\n-")
}

fn short(name: &str) -> &str {
    name.split(['.', ':']).next().unwrap_or(name)
}

fn desired(s: &Scenario) -> Desired {
    let object = serde_json::json!({
        "apiVersion": "redis.replicaset.dev/v1alpha1", "kind": "RedisReplicaSet",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "u-1", "generation": 1},
        "spec": {
            "replicas": s.members - 1, "sentinels": s.sentinels,
            "durability": {"writeAckReplicas": s.acks, "writeAckFsync": s.disks, "minReplicasToWrite": 0},
        },
    });
    let resource: RedisReplicaSet = serde_json::from_value(object).expect("it is one");
    Desired::of(&resource).expect("it contradicts nothing")
}
