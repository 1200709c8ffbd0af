//! A simulated network for tests: several [`Service`] cores in one process, in virtual time, from one seed.
//!
//! Connections deliver bytes in order, each with a random delay. A lost message breaks its connection (as TCP does in the
//! end); across a cut nothing arrives, and a connection that tried stays dumb until its owner closes it. The same seed
//! gives the same run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use crate::io::{Action, ConnId, ConnectError, Gone, Io, LinkToken, Now, Peer, Service};
use crate::rng::Rng;

/// Wall clock at the start of a run, milliseconds.
const UNIX_START_MS: i64 = 1_700_000_000_000;

/// How bad the network is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Delay of a message, microseconds.
    pub delay_us: (u64, u64),
    /// Messages lost, per thousand.
    pub loss: u64,
}

enum Event {
    Tick { node: usize, life: u64 },
    Connect { from: usize, life: u64, token: LinkToken, to: Option<usize> },
    Connected { node: usize, life: u64, token: LinkToken, result: Result<(usize, u64), ConnectError> },
    Bytes { node: usize, life: u64, conn: ConnId, bytes: Vec<u8> },
    Closed { node: usize, life: u64, conn: ConnId, why: Gone },
}

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
pub(crate) struct Sim<S> {
    pub now_us: u64,
    pub rng: Rng,
    pub weather: Weather,
    nodes: Vec<Node<S>>,
    queue: BinaryHeap<Reverse<Timed>>,
    sequence: u64,
    ends: HashMap<(usize, ConnId), End>,
    cuts: HashSet<(usize, usize)>,
}

impl<S: Service> Sim<S> {
    pub fn new(seed: u64, weather: Weather) -> Self {
        Sim {
            now_us: 1_000_000,
            rng: Rng::new(seed),
            weather,
            nodes: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            ends: HashMap::new(),
            cuts: HashSet::new(),
        }
    }

    pub fn now(&self) -> Now {
        Now { mono_us: self.now_us, unix_ms: UNIX_START_MS + (self.now_us / 1000) as i64 }
    }

    /// Adds a node that listens at `host:port`.
    pub fn add(&mut self, address: &str, service: S) -> usize {
        self.nodes.push(Node { address: address.into(), service: None, io: Io::default(), life: 0 });
        let node = self.nodes.len() - 1;
        self.start(node, service);
        node
    }

    /// Starts a node again.
    pub fn start(&mut self, node: usize, service: S) {
        let n = &mut self.nodes[node];
        n.service = Some(service);
        n.io = Io::default();
        let life = n.life;
        self.at(self.now_us, Event::Tick { node, life });
    }

    /// Ends a node's process without warning: its connections break, new ones are refused.
    pub fn crash(&mut self, node: usize) {
        let n = &mut self.nodes[node];
        n.service = None;
        n.life += 1;
        let mut mine: Vec<ConnId> = self.ends.keys().filter(|(at, _)| *at == node).map(|(_, c)| *c).collect();
        mine.sort();
        for conn in mine {
            self.hang_up(node, conn, Gone::Error);
        }
    }

    pub fn alive(&self, node: usize) -> bool {
        self.nodes[node].service.is_some()
    }

    /// The core of a living node.
    pub fn core(&mut self, node: usize) -> Option<&mut S> {
        self.nodes[node].service.as_mut()
    }

    /// Calls into a living node's core as an event would.
    pub fn call<R>(&mut self, node: usize, f: impl FnOnce(&mut S, &mut Io) -> R) -> Option<R> {
        let now = self.now();
        let n = &mut self.nodes[node];
        n.io.now = now;
        let result = f(n.service.as_mut()?, &mut n.io);
        n.service.as_mut()?.before_sleep(&mut n.io);
        self.settle(node);
        Some(result)
    }

    /// Cuts or mends the network between two nodes.
    pub fn cut(&mut self, a: usize, b: usize, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cuts.insert(pair)
        } else {
            self.cuts.remove(&pair)
        };
    }

    pub fn mend_all(&mut self) {
        self.cuts.clear();
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    /// Runs until `until_us`.
    pub fn run(&mut self, until_us: u64) {
        while let Some(Reverse(Timed(at, _, _))) = self.queue.peek()
            && *at <= until_us
        {
            let Some(Reverse(Timed(at, _, event))) = self.queue.pop() else { break };
            self.now_us = at.max(self.now_us);
            self.step(event);
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
            _ => {}
        }
    }

    fn connect(&mut self, from: usize, life: u64, token: LinkToken, to: Option<usize>) {
        let delay = self.delay();
        let result = match to {
            None => Err(ConnectError::Unresolved("no such host".into())),
            // The attempt times out.
            Some(to) if self.is_cut(from, to) => Err(ConnectError::Unreachable("timed out".into())),
            Some(to) if !self.alive(to) => Err(ConnectError::Refused),
            Some(to) => Ok((to, self.nodes[to].life)),
        };
        let wait = if matches!(result, Err(ConnectError::Unreachable(_))) { 2_000_000 } else { delay };
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
                    Action::Run(..) | Action::Tune { .. } => {}
                    Action::Exit(_) | Action::Restart { .. } => return self.crash(node),
                }
            } else if let Some(conn) = self.nodes[node].io.next_dirty() {
                self.transmit(node, conn);
            } else {
                return;
            }
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
