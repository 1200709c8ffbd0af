//! A simulated network for tests: several [`Service`] cores in one process, in virtual time, from one seed.
//!
//! Connections deliver bytes in order, each with a random delay. A lost message breaks its connection (as TCP does in the
//! end); across a cut nothing arrives, and a connection that tried stays dumb until its owner closes it. Machines have
//! clocks of their own, processes can be stopped for a while, and a disk that has crashed takes its process with it before
//! another byte leaves. The same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet, VecDeque};

use crate::disk_fake::FakeDisk;
use crate::io::{Action, ConnId, ConnectError, Gone, Io, Job, JobId, Lane, LinkToken, Now, Peer, Service};
use crate::rng::Rng;

/// Wall clock at the start of a run, milliseconds.
const UNIX_START_MS: i64 = 1_700_000_000_000;

/// How long an attempt to connect across a cut takes, microseconds.
const CONNECT_TIMEOUT_US: u64 = 2_000_000;

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Delay of a message, microseconds.
    pub delay_us: (u64, u64),
    /// Messages lost, per thousand.
    pub loss: u64,
}

enum Event {
    Tick {
        node: usize,
        life: u64,
    },
    Connect {
        from: usize,
        life: u64,
        token: LinkToken,
        to: Option<usize>,
    },
    Connected {
        node: usize,
        life: u64,
        token: LinkToken,
        result: Result<(usize, u64), ConnectError>,
    },
    Bytes {
        node: usize,
        life: u64,
        conn: ConnId,
        bytes: Vec<u8>,
    },
    Closed {
        node: usize,
        life: u64,
        conn: ConnId,
        why: Gone,
    },
    /// The background thread takes up its next job.
    Work {
        node: usize,
        life: u64,
        lane: Lane,
    },
    Worked {
        node: usize,
        life: u64,
        lane: Lane,
        id: JobId,
        result: std::io::Result<u64>,
    },
    /// A stopped process goes on.
    Resume {
        node: usize,
    },
}

impl Event {
    /// On which machine it happens.
    fn node(&self) -> usize {
        match self {
            Event::Connect { from, .. } => *from,
            Event::Tick { node, .. }
            | Event::Connected { node, .. }
            | Event::Bytes { node, .. }
            | Event::Closed { node, .. }
            | Event::Work { node, .. }
            | Event::Worked { node, .. }
            | Event::Resume { node } => *node,
        }
    }
}

/// A machine's clocks against the world's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// How much faster the monotonic clock runs, parts per million.
    pub fast_ppm: i64,
    /// How far the wall clock is off, milliseconds.
    pub off_ms: i64,
}

impl Clock {
    fn read(self, now_us: u64) -> Now {
        let mono_us = now_us.saturating_add_signed((now_us as i64 / 1000) * self.fast_ppm / 1000);
        Now { mono_us, unix_ms: UNIX_START_MS + (now_us / 1000) as i64 + self.off_ms }
    }
}

/// Who sees what leaves a machine: the sender's core, sender, receiver, bytes, microseconds since the start. True: the
/// present [`Sim::run`] ends with this event, so that something can be done at once.
pub type Observer<S> = Box<dyn FnMut(&S, usize, usize, &[u8], u64) -> bool>;

struct Timed(u64, u64, Event);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Node<S> {
    address: String,
    service: Option<S>,
    io: Io,
    /// Counts restarts, so that what was meant for an earlier life is not delivered.
    life: u64,
    clock: Clock,
    /// Until when the process is stopped, microseconds, and what has happened to it meanwhile.
    stopped_until_us: u64,
    waiting: VecDeque<Event>,
    /// Its files, where a crash of theirs is to end it.
    disk: Option<FakeDisk>,
    /// Jobs that wait, and how long each takes, microseconds.
    jobs: BTreeMap<Lane, VecDeque<(JobId, Job)>>,
    job_us: u64,
    /// The code it ended with by itself.
    exit: Option<i32>,
}

/// One end of a connection.
struct End {
    peer: (usize, ConnId),
    /// The peer's life at the time: its successor knows nothing of the connection.
    peer_life: u64,
    /// Bytes sent arrive no earlier than those before them.
    arrives_us: u64,
    dumb: bool,
}

/// The world.
pub struct Sim<S> {
    /// Microseconds since the start.
    pub now_us: u64,
    /// Where everything random comes from.
    pub rng: Rng,
    /// The network at present.
    pub weather: Weather,
    nodes: Vec<Node<S>>,
    queue: BinaryHeap<Reverse<Timed>>,
    sequence: u64,
    ends: BTreeMap<(usize, ConnId), End>,
    /// Directions in which nothing arrives.
    cuts: HashSet<(usize, usize)>,
    /// Machines whose connections the network refuses though they live.
    refused: HashSet<usize>,
    observer: Option<Observer<S>>,
    /// The observer wants the run to end.
    interrupted: bool,
}

impl<S: Service> Sim<S> {
    /// An empty world.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Sim {
            now_us: 1_000_000,
            rng: Rng::new(seed),
            weather,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            ends: BTreeMap::new(),
            cuts: HashSet::new(),
            refused: HashSet::new(),
            observer: None,
            interrupted: false,
        }
    }

    /// The time by true clocks.
    pub fn now(&self) -> Now {
        Clock::default().read(self.now_us)
    }

    /// The time by a machine's clocks.
    pub fn now_at(&self, node: usize) -> Now {
        self.nodes[node].clock.read(self.now_us)
    }

    /// Has everything that leaves a machine looked at.
    pub fn observe(&mut self, observer: Observer<S>) {
        self.observer = Some(observer);
    }

    /// Sets a machine's clocks. What has been read from them does not change, so this is for machines that do not run.
    pub fn set_clock(&mut self, node: usize, clock: Clock) {
        self.nodes[node].clock = clock;
    }

    /// Says on which files a machine's process depends.
    pub fn set_disk(&mut self, node: usize, disk: FakeDisk) {
        self.nodes[node].disk = Some(disk);
    }

    /// How long background jobs of a machine take, each.
    pub fn set_job_us(&mut self, node: usize, job_us: u64) {
        self.nodes[node].job_us = job_us;
    }

    /// Stops a process for a while, as SIGSTOP does: what arrives waits.
    pub fn stop_for(&mut self, node: usize, us: u64) {
        let until = self.now_us + us;
        let n = &mut self.nodes[node];
        n.stopped_until_us = n.stopped_until_us.max(until);
        self.at(until, Event::Resume { node });
    }

    /// Lets a stopped process go on.
    pub fn go_on(&mut self, node: usize) {
        self.nodes[node].stopped_until_us = 0;
        self.at(self.now_us, Event::Resume { node });
    }

    /// With which code a process has ended by itself, once.
    pub fn take_exit(&mut self, node: usize) -> Option<i32> {
        self.nodes[node].exit.take()
    }

    /// Adds a node that listens at `host:port`.
    pub fn add(&mut self, address: &str, service: S) -> usize {
        let node = self.place(address);
        self.start(node, service);
        node
    }

    /// Adds a machine without a process.
    pub fn place(&mut self, address: &str) -> usize {
        self.nodes.push(Node {
            address: address.into(),
            service: None,
            io: Io::default(),
            life: 0,
            clock: Clock::default(),
            stopped_until_us: 0,
            waiting: VecDeque::new(),
            disk: None,
            jobs: BTreeMap::new(),
            job_us: 0,
            exit: None,
        });
        self.nodes.len() - 1
    }

    /// Starts a node again.
    pub fn start(&mut self, node: usize, service: S) {
        let n = &mut self.nodes[node];
        n.service = Some(service);
        n.io = Io::default();
        n.jobs.clear();
        n.waiting.clear();
        (n.stopped_until_us, n.exit) = (0, None);
        let life = n.life;
        self.at(self.now_us, Event::Tick { node, life });
    }

    /// Ends a node's process without warning: its connections break, new ones are refused.
    pub fn crash(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        n.service = None;
        n.life += 1;
        for conn in self.connections(node) {
            self.hang_up(node, conn, Gone::Error);
        }
    }

    fn connections(&self, node: usize) -> Vec<ConnId> {
        self.ends.keys().filter(|(at, _)| *at == node).map(|(_, conn)| *conn).collect()
    }

    /// The network resets a machine's connections, which both ends see, and refuses new ones until [`Sim::mend_all`].
    pub fn refuse(&mut self, node: usize) {
        self.refused.insert(node);
        for conn in self.connections(node) {
            let Some(end) = self.ends.get(&(node, conn)) else { continue };
            let (life, at) = (self.nodes[node].life, self.now_us + self.weather.delay_us.0);
            let ((peer, there), peer_life) = (end.peer, end.peer_life);
            self.at(at, Event::Closed { node, life, conn, why: Gone::Error });
            self.at(at, Event::Closed { node: peer, life: peer_life, conn: there, why: Gone::Error });
        }
    }

    /// Whether a machine's process runs.
    pub fn alive(&self, node: usize) -> bool {
        self.nodes[node].service.is_some()
    }

    /// The core of a living node.
    pub fn core(&mut self, node: usize) -> Option<&mut S> {
        self.nodes[node].service.as_mut()
    }

    /// Calls into a living node's core as an event would.
    pub fn call<R>(&mut self, node: usize, f: impl FnOnce(&mut S, &mut Io) -> R) -> Option<R> {
        let now = self.now_at(node);
        let n = &mut self.nodes[node];
        n.io.now = now;
        let result = f(n.service.as_mut()?, &mut n.io);
        n.service.as_mut()?.before_sleep(&mut n.io);
        if n.disk.as_ref().is_some_and(FakeDisk::has_crashed) {
            self.crash(node);
            return None;
        }
        self.settle(node);
        Some(result)
    }

    /// Cuts or mends the network between two nodes.
    pub fn cut(&mut self, a: usize, b: usize, cut: bool) {
        self.cut_way(a, b, cut);
        self.cut_way(b, a, cut);
    }

    /// The same in one direction.
    pub fn cut_way(&mut self, from: usize, to: usize, cut: bool) {
        if cut {
            self.cuts.insert((from, to))
        } else {
            self.cuts.remove(&(from, to))
        };
    }

    /// Mends the network.
    pub fn mend_all(&mut self) {
        self.cuts.clear();
        self.refused.clear();
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// Runs until `until_us`, or until the observer ends it.
    pub fn run(&mut self, until_us: u64) {
        self.interrupted = false;
        while let Some(Reverse(Timed(at, _, _))) = self.queue.peek()
            && *at <= until_us
        {
            let Some(Reverse(Timed(at, _, event))) = self.queue.pop() else { break };
            self.now_us = at.max(self.now_us);
            let n = &mut self.nodes[event.node()];
            if n.stopped_until_us > self.now_us
                || !n.waiting.is_empty() && !matches!(event, Event::Resume { .. })
            {
                n.waiting.push_back(event);
            } else {
                self.step(event);
            }
            if self.interrupted {
                return;
            }
        }
        self.now_us = until_us;
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Timed(at_us, self.sequence, event)));
    }

    fn delay(&mut self) -> u64 {
        let (min, max) = self.weather.delay_us;
        min + self.rng.below(max - min + 1)
    }

    fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life && self.alive(node)
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Tick { node, life } if self.lives(node, life) => {
                let wait = self.call(node, |s, io| {
                    s.tick(io);
                    s.tick_ms()
                });
                self.at(self.now_us + wait.unwrap_or(1).max(1) * 1000, Event::Tick { node, life });
            }
            Event::Connect { from, life, token, to } => self.connect(from, life, token, to),
            Event::Connected { node, life, token, result } => self.connected(node, life, token, result),
            Event::Bytes { node, life, conn, bytes } if self.lives(node, life) => {
                let n = &mut self.nodes[node];
                if let Some(c) = n.io.conn(conn) {
                    c.input.extend_from_slice(&bytes);
                    self.call(node, |s, io| s.received(io, conn));
                }
            }
            Event::Closed { node, life, conn, why } if self.lives(node, life) => self.gone(node, conn, why),
            Event::Resume { node } => {
                for event in std::mem::take(&mut self.nodes[node].waiting) {
                    if !matches!(event, Event::Resume { .. }) {
                        self.step(event);
                    }
                }
            }
            Event::Work { node, life, lane } if self.lives(node, life) => {
                let Some((id, job)) = self.nodes[node]
                    .jobs
                    .get_mut(&lane)
                    .and_then(VecDeque::front_mut)
                    .map(|(id, job)| (*id, std::mem::replace(job, Box::new(|| Ok(0)))))
                else {
                    return;
                };
                let result = job();
                if self.nodes[node].disk.as_ref().is_some_and(FakeDisk::has_crashed) {
                    return self.crash(node);
                }
                let at = self.now_us + self.nodes[node].job_us;
                self.at(at, Event::Worked { node, life, lane, id, result });
            }
            Event::Worked { node, life, lane, id, result } if self.lives(node, life) => {
                let jobs = self.nodes[node].jobs.entry(lane).or_default();
                jobs.pop_front();
                if !jobs.is_empty() {
                    self.at(self.now_us, Event::Work { node, life, lane });
                }
                self.call(node, |s, io| s.job_done(io, id, result));
            }
            _ => {}
        }
    }

    fn connect(&mut self, from: usize, life: u64, token: LinkToken, to: Option<usize>) {
        let delay = self.delay();
        let result = match to {
            None => Err(ConnectError::Unresolved("no such host".into())),
            // The attempt times out.
            Some(to) if self.is_cut(from, to) || self.is_cut(to, from) => {
                Err(ConnectError::Unreachable("timed out".into()))
            }
            Some(to) if !self.alive(to) || self.refused.contains(&to) || self.refused.contains(&from) => {
                Err(ConnectError::Refused)
            }
            Some(to) => Ok((to, self.nodes[to].life)),
        };
        let wait =
            if matches!(result, Err(ConnectError::Unreachable(_))) { CONNECT_TIMEOUT_US } else { delay };
        self.at(self.now_us + wait, Event::Connected { node: from, life, token, result });
    }

    fn connected(
        &mut self,
        node: usize,
        life: u64,
        token: LinkToken,
        result: Result<(usize, u64), ConnectError>,
    ) {
        if !self.lives(node, life) {
            return;
        }
        let result = match result {
            Ok((to, to_life)) if self.lives(to, to_life) => {
                let here = self.nodes[node].io.open();
                let there = self.nodes[to].io.open();
                let end = |peer, peer_life| End { peer, peer_life, arrives_us: 0, dumb: false };
                self.ends.insert((node, here), end((to, there), to_life));
                self.ends.insert((to, there), end((node, here), life));
                let (mine, theirs) = (self.nodes[node].address.clone(), self.nodes[to].address.clone());
                let peer = Peer { remote: mine.clone(), local: theirs.clone(), unix: false };
                self.call(to, |s, io| s.accepted(io, there, peer));
                Ok((here, Peer { remote: theirs, local: mine, unix: false }))
            }
            Ok(_) => Err(ConnectError::Refused),
            Err(e) => Err(e),
        };
        self.call(node, |s, io| s.connected(io, token, result));
    }

    /// One end is closed: the other one learns of it, if the network lets it.
    fn hang_up(&mut self, node: usize, conn: ConnId, why: Gone) {
        let Some(end) = self.ends.remove(&(node, conn)) else { return };
        let (peer, there) = end.peer;
        if end.dumb || self.is_cut(node, peer) {
            return;
        }
        let life = end.peer_life;
        let at = end.arrives_us.max(self.now_us + self.weather.delay_us.0);
        self.at(at, Event::Closed { node: peer, life, conn: there, why });
    }

    fn gone(&mut self, node: usize, conn: ConnId, why: Gone) {
        self.hang_up(node, conn, Gone::Eof);
        if self.nodes[node].io.conn(conn).is_none() {
            return;
        }
        self.call(node, |s, io| s.closed(io, conn, why));
        self.nodes[node].io.release(conn);
    }

    /// Carries out what a core has asked for.
    fn settle(&mut self, node: usize) {
        loop {
            if let Some(action) = self.nodes[node].io.next_action() {
                let life = self.nodes[node].life;
                match action {
                    Action::Connect { token, host, port, .. } => {
                        let address = format!("{host}:{port}");
                        let to = self.nodes.iter().position(|n| n.address == address);
                        let at = self.now_us + self.weather.delay_us.0;
                        self.at(at, Event::Connect { from: node, life, token, to });
                    }
                    Action::Close { conn, flush } => {
                        if flush {
                            self.transmit(node, conn);
                        }
                        self.gone(node, conn, Gone::Asked);
                    }
                    Action::Run(lane, id, job) => {
                        let jobs = self.nodes[node].jobs.entry(lane).or_default();
                        jobs.push_back((id, job));
                        if jobs.len() == 1 {
                            self.at(self.now_us, Event::Work { node, life, lane });
                        }
                    }
                    Action::Tune { .. } => {}
                    Action::Exit(code) => {
                        self.flush_all(node);
                        self.crash(node);
                        self.nodes[node].exit = Some(code);
                        return;
                    }
                    Action::Restart { .. } => return self.crash(node),
                }
            } else if let Some(conn) = self.nodes[node].io.next_dirty() {
                self.transmit(node, conn);
            } else {
                return;
            }
        }
    }

    fn flush_all(&mut self, node: usize) {
        while let Some(conn) = self.nodes[node].io.next_dirty() {
            self.transmit(node, conn);
        }
    }

    fn transmit(&mut self, node: usize, conn: ConnId) {
        let Some(c) = self.nodes[node].io.conn(conn) else { return };
        let bytes = c.output.sendable().to_vec();
        if bytes.is_empty() {
            return;
        }
        c.output.consume(bytes.len());
        let (delay, lost) = (self.delay(), self.rng.below(1000) < self.weather.loss);
        let Some(end) = self.ends.get(&(node, conn)) else { return };
        let (peer, there) = end.peer;
        let cut = self.is_cut(node, peer);
        let now = self.now_us;
        if let (Some(observer), Some(sender)) = (&mut self.observer, &self.nodes[node].service) {
            self.interrupted |= observer(sender, node, peer, &bytes, now);
        }
        let Some(end) = self.ends.get_mut(&(node, conn)) else { return };
        if end.dumb || cut {
            end.dumb = true;
            return;
        }
        end.arrives_us = end.arrives_us.max(now + delay);
        let at = end.arrives_us;
        let (life, own_life) = (end.peer_life, self.nodes[node].life);
        if life != self.nodes[peer].life {
            // Nobody knows the connection there any more: a reset comes back.
            end.dumb = true;
            self.at(at, Event::Closed { node, life: own_life, conn, why: Gone::Error });
        } else if lost {
            end.dumb = true;
            self.at(at, Event::Closed { node: peer, life, conn: there, why: Gone::Error });
            self.at(at, Event::Closed { node, life: own_life, conn, why: Gone::Error });
        } else {
            self.at(at, Event::Bytes { node: peer, life, conn: there, bytes });
        }
    }
}
