//! The loop: connections, requests, replies, and the figures.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use datanode::server::histogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use crate::Options;
use crate::replies::Replies;
use crate::template::{Batch, Numbers};

/// From this many requests a second on the generator spins instead of sleeping, whose grain is a millisecond.
pub const SPIN_RATE: f64 = 2000.0;
const READ: usize = 256 * 1024;
/// A server that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(120);
/// How long replies are still awaited at the end of an open loop.
const DRAIN: Duration = Duration::from_secs(20);

struct Connection {
    stream: TcpStream,
    replies: Replies,
    /// Requests without a reply: since when, and how many.
    waiting: VecDeque<(Instant, usize)>,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// The command that its next batch begins with.
    first: usize,
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = push(&mut self.stream, bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let sent = push(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(())
    }
}

/// Writes as much as the socket takes.
fn push(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}

struct Load<'a> {
    o: &'a Options,
    poll: Poll,
    connections: Vec<Connection>,
    /// One for each command that a batch may begin with.
    batches: Vec<Batch>,
    numbers: Numbers,
    scratch: Vec<u8>,
    input: Vec<u8>,
    requested: u64,
    answered: u64,
    latency: Histogram,
    longest: Duration,
    /// How late the generator itself was.
    late: Histogram,
    latest: Duration,
}

/// Runs the load; the figures.
pub fn run(o: &Options) -> std::io::Result<Value> {
    let poll = Poll::new()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, o.port));
    let connections = (0..o.clients)
        .map(|i| {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(i), Interest::READABLE | Interest::WRITABLE)?;
            let (replies, waiting) = (Replies::default(), VecDeque::new());
            Ok(Connection { stream, replies, waiting, unsent: Vec::new(), first: 0 })
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    let batches = (0..o.commands.len()).map(|first| Batch::new(&o.commands, first, o.pipeline));
    let mut load = Load {
        o,
        poll,
        connections,
        batches: batches.collect::<Result<_, _>>().map_err(std::io::Error::other)?,
        numbers: Numbers::new(o.seed, o.keys),
        scratch: Vec::new(),
        input: vec![0; READ],
        requested: 0,
        answered: 0,
        latency: Histogram::default(),
        longest: Duration::ZERO,
        late: Histogram::default(),
        latest: Duration::ZERO,
    };
    let ended = Arc::new(AtomicBool::new(false));
    if o.until_eof {
        let ended = ended.clone();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            ended.store(true, Ordering::Relaxed);
        });
    }
    load.measure(&ended)
}

impl Load<'_> {
    /// Warms up, then measures.
    fn measure(&mut self, ended: &AtomicBool) -> std::io::Result<Value> {
        if self.o.count.is_none() && !self.o.warmup.is_zero() {
            self.drive(self.o.warmup, ended)?;
            self.latency = Histogram::default();
            self.longest = Duration::ZERO;
            self.late = Histogram::default();
            self.latest = Duration::ZERO;
        }
        let (cpu, answered, begun) = (self.cpu_ns(), self.answered, Instant::now());
        self.drive(if self.o.count.is_some() { Duration::MAX } else { self.o.measured }, ended)?;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = self.cpu_ns().zip(cpu).map(|(after, before)| after.saturating_sub(before));
        let ops = self.answered - answered;
        if self.o.open {
            self.drain()?;
        }
        let us = |h: &Histogram, percent| h.percentile(percent) as f64 / 1000.0;
        let errors: u64 = self.connections.iter().map(|c| c.replies.errors).sum();
        let first_error = self.connections.iter().find_map(|c| c.replies.first_error.clone());
        Ok(json!({
            "ops": ops, "seconds": seconds, "rate": ops as f64 / seconds,
            "cpu_us_per_op": cpu.map(|ns| ns as f64 / 1000.0 / ops.max(1) as f64),
            "p50_us": us(&self.latency, 50.0), "p99_us": us(&self.latency, 99.0), "p999_us": us(&self.latency, 99.9),
            "max_us": self.longest.as_micros() as u64,
            "late_p999_us": us(&self.late, 99.9), "late_max_us": self.latest.as_micros() as u64,
            "errors": errors, "first_error": first_error,
        }))
    }

    /// Sends and receives for a time, until all commands have been answered, or until it is to end.
    fn drive(&mut self, time: Duration, ended: &AtomicBool) -> std::io::Result<()> {
        let begun = Instant::now();
        if self.o.open {
            return self.drive_open(begun, time, ended);
        }
        let mut events = Events::with_capacity(self.o.clients);
        let idle: Vec<usize> =
            (0..self.connections.len()).filter(|&i| self.connections[i].waiting.is_empty()).collect();
        for i in idle {
            self.request(i, Instant::now())?;
        }
        loop {
            self.poll(&mut events, Some(SILENCE))?;
            if events.is_empty() {
                return Err(std::io::Error::other(format!("no reply for {SILENCE:?}")));
            }
            for event in &events {
                let i = event.token().0;
                if event.is_writable() {
                    self.connections[i].flush()?;
                }
                self.receive(i)?;
                if self.connections[i].waiting.is_empty() {
                    self.request(i, Instant::now())?;
                }
            }
            let enough = self.o.count.is_some_and(|n| self.answered >= n);
            if enough || begun.elapsed() >= time || ended.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    fn drive_open(&mut self, begun: Instant, time: Duration, ended: &AtomicBool) -> std::io::Result<()> {
        let mut events = Events::with_capacity(self.o.clients);
        let spin = self.o.rate >= SPIN_RATE;
        let mut sent = 0u64;
        loop {
            let now = Instant::now();
            if now - begun >= time || ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            let due = begun + Duration::from_secs_f64(sent as f64 / self.o.rate);
            if now >= due {
                let late = now - due;
                self.late.add(late);
                self.latest = self.latest.max(late);
                let i = (sent % self.connections.len() as u64) as usize;
                self.request(i, if spin { due } else { now })?;
                sent += 1;
            }
            self.poll(
                &mut events,
                Some(if spin { Duration::ZERO } else { due.saturating_duration_since(now) }),
            )?;
            for event in &events {
                let i = event.token().0;
                if event.is_writable() {
                    self.connections[i].flush()?;
                }
                self.receive(i)?;
            }
        }
    }

    /// Waits for the replies that are still to come.
    fn drain(&mut self) -> std::io::Result<()> {
        let mut events = Events::with_capacity(self.o.clients);
        let begun = Instant::now();
        while self.connections.iter().any(|c| !c.waiting.is_empty()) {
            if begun.elapsed() > DRAIN {
                return Err(std::io::Error::other(format!("replies are missing after {DRAIN:?}")));
            }
            self.poll(&mut events, Some(Duration::from_millis(10)))?;
            for i in 0..self.connections.len() {
                self.connections[i].flush()?;
                self.receive(i)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> std::io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }

    /// Sends a connection's next batch, unless all have been sent.
    fn request(&mut self, i: usize, since: Instant) -> std::io::Result<()> {
        if self.o.count.is_some_and(|n| self.requested >= n) {
            return Ok(());
        }
        let c = &mut self.connections[i];
        self.scratch.clear();
        self.batches[c.first].write(&mut self.numbers, &mut self.scratch);
        c.first = (c.first + self.o.pipeline) % self.batches.len();
        c.waiting.push_back((since, self.o.pipeline));
        self.requested += self.o.pipeline as u64;
        c.send(&self.scratch)
    }

    fn receive(&mut self, i: usize) -> std::io::Result<()> {
        let c = &mut self.connections[i];
        loop {
            let n = match c.stream.read(&mut self.input) {
                Ok(0) => return Err(std::io::Error::other("the server closed a connection")),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let mut complete = c.replies.feed(&self.input[..n]).map_err(std::io::Error::other)?;
            self.answered += complete as u64;
            let now = Instant::now();
            while complete > 0 {
                let Some(front) = c.waiting.front_mut() else {
                    return Err(std::io::Error::other("a reply to no request"));
                };
                let taken = front.1.min(complete);
                front.1 -= taken;
                complete -= taken;
                if front.1 == 0 {
                    let took = now - front.0;
                    self.latency.add(took);
                    self.longest = self.longest.max(took);
                    c.waiting.pop_front();
                }
            }
            if n < self.input.len() {
                return Ok(());
            }
        }
    }

    /// Processor time of the server so far, all threads, nanoseconds.
    fn cpu_ns(&self) -> Option<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.o.pid?)).ok()?;
        let of = |task: std::fs::DirEntry| -> Option<u64> {
            std::fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
        };
        Some(tasks.flatten().filter_map(of).sum())
    }
}
