//! The border between the synchronous core and whatever drives it (the epoll shell in `net`, or a simulator).
//!
//! The core never touches a socket, a clock or a thread. It is called through [`Service`] with an [`Io`] that holds
//! the connections' buffers, the time, and the list of actions it asks for; the driver carries those out afterwards.

use std::any::Any;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time of one call into the core. While the call lasts it moves only from one command to the next ([`Io::catch_up`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Monotonic microseconds since an arbitrary start; for intervals, timeouts and leases.
    pub mono_us: u64,
    /// Wall clock, milliseconds since the Unix epoch; for expiry and what people read.
    pub unix_ms: i64,
}

impl Now {
    /// Monotonic milliseconds.
    pub fn mono_ms(self) -> u64 {
        self.mono_us / 1000
    }
}

/// A connection's name. Never reused while the process lives, so a late event cannot hit a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl ConnId {
    fn new(slot: usize, serial: u32) -> Self {
        ConnId((u64::from(serial) << 32) | slot as u64)
    }

    /// The index of the connection's place in the driver's tables.
    pub fn slot(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// Buffers of one connection.
#[derive(Debug, Default)]
pub struct Conn {
    /// Bytes received and not consumed yet. The core removes what it has used.
    pub input: Vec<u8>,
    /// Bytes to send.
    pub output: Output,
    serial: u32,
    open: bool,
    dirty: bool,
}

/// Output buffers are kept up to this capacity, bytes: as large as a client's fixed buffer is in Redis. A connection may have
/// thousands of others beside it.
const KEEP_CAPACITY: usize = 16 * 1024;

impl Conn {
    /// Gives its buffers back: nothing more is wanted of it.
    pub fn discard(&mut self) {
        self.input = Vec::new();
        self.output = Output::default();
    }
}

/// What is to be sent on a connection, in order. Bytes beyond [`Output::hold`] stay until they are released: so a
/// reply can be written now and leave once its write is durable.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// Absolute stream positions count from the connection's first byte; `base` is the position of `bytes[0]`.
    base: u64,
    hold: Option<u64>,
}

impl Output {
    /// The buffer to append to.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes bytes over; where none are waiting the buffer itself, and one of the same size is left in its place.
    pub fn append(&mut self, bytes: &mut Vec<u8>) {
        /// More than this is rather made when it is needed, bytes.
        const LEFT: usize = 1 << 20;
        if self.bytes.is_empty() && bytes.len() > KEEP_CAPACITY {
            self.bytes = std::mem::take(bytes);
        } else {
            self.bytes.extend_from_slice(bytes);
            bytes.clear();
        }
        if bytes.capacity() == 0 || bytes.capacity() > LEFT {
            *bytes = Vec::with_capacity(self.bytes.len().min(LEFT));
        }
    }

    /// Bytes not sent yet, held ones included.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Position in the stream of the first byte that has not been sent.
    pub fn unsent_from(&self) -> u64 {
        self.base + self.sent as u64
    }

    /// Bytes that it takes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Position in the stream right behind the last byte written.
    pub fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Lets nothing at or beyond stream position `at` leave; `None` lets everything leave.
    pub fn set_hold(&mut self, at: Option<u64>) {
        self.hold = at;
    }

    /// The bytes that may leave now.
    pub fn sendable(&self) -> &[u8] {
        let end = match self.hold {
            Some(at) => (at.saturating_sub(self.base) as usize).clamp(self.sent, self.bytes.len()),
            None => self.bytes.len(),
        };
        &self.bytes[self.sent..end]
    }

    /// Says that `n` bytes of [`Output::sendable`] have left.
    pub fn consume(&mut self, n: usize) {
        self.sent += n;
        if self.sent == self.bytes.len() {
            self.base += self.sent as u64;
            self.sent = 0;
            if self.bytes.capacity() > KEEP_CAPACITY {
                self.bytes = Vec::new();
            } else {
                self.bytes.clear();
            }
        } else if self.sent > KEEP_CAPACITY && self.sent * 2 > self.bytes.len() {
            self.bytes.drain(..self.sent);
            self.base += self.sent as u64;
            self.sent = 0;
        }
    }
}

/// Names an outgoing connection attempt until it has a [`ConnId`]; chosen by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkToken(pub u64);

/// Names a background job; chosen by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// The background threads: what is done on one does not wait for what is done on another. The jobs of each run one after
/// another in the order they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Syncs of the append-only file, for which clients may be waiting.
    Sync,
    /// Files that are written or removed as a whole; the programs of a sentinel.
    Files,
    /// Freeing memory.
    Free,
}

impl Lane {
    /// All there are.
    pub const ALL: [Lane; 3] = [Lane::Sync, Lane::Files, Lane::Free];

    /// The name of its thread.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Sync => "bio-sync",
            Lane::Files => "bio-files",
            Lane::Free => "bio-free",
        }
    }
}

/// Work for a background thread.
pub type Job = Box<dyn FnOnce() -> std::io::Result<u64> + Send>;

/// What the core asks its driver to do.
pub enum Action {
    /// Resolve and connect; answered by [`Service::connected`] within `timeout_ms`.
    Connect {
        /// Given back in the answer.
        token: LinkToken,
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Limit for name resolution and connecting together.
        timeout_ms: u64,
    },
    /// Close after what may leave has been handed to the socket (`flush`), or at once.
    Close {
        /// Which connection.
        conn: ConnId,
        /// Try to send pending output first.
        flush: bool,
    },
    /// Run a job in the background; answered by [`Service::job_done`].
    Run(Lane, JobId, Job),
    /// Set an option of a connection.
    Tune {
        /// Which connection.
        conn: ConnId,
        /// The option.
        tuning: Tuning,
    },
    /// Start the program anew in this process, as it was started, after a while. Nothing is sent any more.
    Restart {
        /// Milliseconds to wait before.
        after_ms: u64,
    },
    /// End the process with this code once all output has been flushed.
    Exit(i32),
}

/// An option of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tuning {
    /// Send at once what there is to send, instead of waiting for more.
    NoDelay(bool),
    /// Probe an idle peer after so many seconds; 0: never.
    KeepAlive(u32),
}

/// What holds for connections to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Our own address; empty: the system's choice.
    pub source: String,
    /// Mark of their packets; 0: none.
    pub mark: u32,
}

/// Where the driver listens for clients. Changed at once, so that the core can say whether it worked.
pub trait Listen {
    /// Listens on these addresses and this port instead; if that fails everything stays as it was.
    fn listen(&mut self, hosts: &[String], port: u16) -> Result<(), String>;
}

/// How a person or a supervisor asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT
    Interrupt,
    /// SIGTERM
    Terminate,
}

/// Why a connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The peer closed it in order.
    Eof,
    /// Reset or another error of the transport.
    Error,
    /// The core asked for it.
    Asked,
}

/// Why an outgoing connection could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    /// A living host refused it: evidence that the process is dead.
    Refused,
    /// No answer in time, no route, or any other transport error: only suspicion.
    Unreachable(String),
    /// The name does not resolve.
    Unresolved(String),
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConnectError::Refused => write!(f, "Connection refused"),
            ConnectError::Unreachable(e) => write!(f, "{e}"),
            ConnectError::Unresolved(e) => write!(f, "name resolution failed: {e}"),
        }
    }
}

/// Everything the core may use during a call.
#[derive(Default)]
pub struct Io {
    /// The time of this call.
    pub now: Now,
    /// When the clocks were read for it; none where time is made up.
    read_at: Option<Instant>,
    conns: Vec<Conn>,
    free: Vec<usize>,
    dirty: VecDeque<ConnId>,
    actions: VecDeque<Action>,
    sent: Sent,
    /// How connections to others are made.
    pub outgoing: Outgoing,
    listeners: Option<Box<dyn Listen>>,
    driver: Option<Box<dyn Driver>>,
}

/// What has been handed to the transport.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sent {
    /// Calls of the transport.
    pub writes: u64,
    /// Bytes.
    pub bytes: u64,
    /// Connections that were read from, or written to, together with other threads.
    pub threaded_reads: u64,
    /// See `threaded_reads`.
    pub threaded_writes: u64,
}

impl Io {
    /// Says what time it is (driver only).
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
        self.read_at = Some(Instant::now());
    }

    /// A command has ended at `at`: the next one sees the time go on, by whole milliseconds.
    pub fn catch_up(&mut self, at: Instant) {
        let Some(read_at) = &mut self.read_at else { return };
        let passed = at.saturating_duration_since(*read_at).as_millis() as u64;
        if passed > 0 {
            *read_at += Duration::from_millis(passed);
            self.now.mono_us += passed * 1000;
            self.now.unix_ms = self.now.unix_ms.saturating_add_unsigned(passed);
        }
    }

    /// Registers a new connection (driver only).
    pub fn open(&mut self) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(Conn::default());
            self.conns.len() - 1
        });
        let c = &mut self.conns[slot];
        c.serial = c.serial.wrapping_add(1);
        c.open = true;
        ConnId::new(slot, c.serial)
    }

    /// Forgets a connection and frees its buffers (driver only).
    pub fn release(&mut self, id: ConnId) {
        if let Some(c) = self.conn(id) {
            let serial = c.serial;
            *c = Conn { serial, ..Conn::default() };
            self.free.push(id.slot());
        }
    }

    /// The connection's buffers; `None` once it is gone.
    pub fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let serial = (id.0 >> 32) as u32;
        self.conns.get_mut(id.slot()).filter(|c| c.open && c.serial == serial)
    }

    /// Appends to a connection's output and has it flushed after this call. Nothing happens if it is gone.
    pub fn send(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(c) = self.conn(id) {
            c.output.bytes().extend_from_slice(bytes);
            self.flush(id);
        }
    }

    /// Has the connection's sendable output written after this call.
    pub fn flush(&mut self, id: ConnId) {
        if let Some(c) = self.conn(id)
            && !c.dirty
        {
            c.dirty = true;
            self.dirty.push_back(id);
        }
    }

    /// Connections whose output has grown and not been written since.
    pub fn dirty(&self) -> impl Iterator<Item = ConnId> {
        self.dirty.iter().copied()
    }

    /// Counts bytes handed to the transport (driver only).
    pub fn note_sent(&mut self, bytes: usize) {
        self.sent.writes += u64::from(bytes > 0);
        self.sent.bytes += bytes as u64;
    }

    /// Counts connections that other threads helped to read from and write to (driver only).
    pub fn note_threaded(&mut self, reads: usize, writes: usize) {
        self.sent.threaded_reads += reads as u64;
        self.sent.threaded_writes += writes as u64;
    }

    /// What has been handed to the transport since the last call.
    pub fn take_sent(&mut self) -> Sent {
        std::mem::take(&mut self.sent)
    }

    /// Next connection to be flushed (driver only).
    pub fn next_dirty(&mut self) -> Option<ConnId> {
        let id = self.dirty.pop_front()?;
        if let Some(c) = self.conn(id) {
            c.dirty = false;
        }
        Some(id)
    }

    /// Next action to carry out (driver only).
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Says who listens for clients (driver only).
    pub fn set_listeners(&mut self, listeners: Box<dyn Listen>) {
        self.listeners = Some(listeners);
    }

    /// Listens on other addresses, or another port; see [`Listen`].
    pub fn listen(&mut self, hosts: &[String], port: u16) -> Result<(), String> {
        self.listeners.as_mut().map_or(Ok(()), |l| l.listen(hosts, port))
    }

    /// Gives the core what serves sockets for the time of a call, so that it can have them served in its midst.
    pub fn lend_driver(&mut self, driver: Box<dyn Driver>) {
        self.driver = Some(driver);
    }

    /// Takes it, to be called or given back.
    pub fn take_driver(&mut self) -> Option<Box<dyn Driver>> {
        self.driver.take()
    }

    /// Closes a connection without sending what is left, and has the peer notice that at once, however long the present
    /// call will take.
    pub fn hang_up(&mut self, conn: ConnId) {
        if let Some(driver) = &mut self.driver {
            driver.hang_up(conn);
        }
        self.close(conn, false);
    }

    /// Asks for an action.
    pub fn ask(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Asks to close a connection.
    pub fn close(&mut self, conn: ConnId, flush: bool) {
        self.ask(Action::Close { conn, flush });
    }
}

/// A peer's address as text, `ip:port`, and our own end of the connection.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// Remote address.
    pub remote: String,
    /// Local address.
    pub local: String,
    /// It came through a Unix socket: the addresses are its path.
    pub unix: bool,
}

/// Whatever drives a [`Service`], as the service itself can call it in the midst of a long call.
pub trait Driver {
    /// One round as always, but without waiting for anything: events in, output out. Returns itself.
    fn turn(self: Box<Self>, service: &mut dyn Service, io: &mut Io) -> Box<dyn Driver>;

    /// Ends a connection for its peer at once, without waiting for the end of the call. The core hears of it later.
    fn hang_up(&mut self, conn: ConnId);

    /// Itself, to be given back to its owner.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A synchronous server: events in, effects out through [`Io`].
pub trait Service {
    /// A client connected.
    fn accepted(&mut self, io: &mut Io, conn: ConnId, peer: Peer);
    /// Several connections have something new; [`Service::received`] follows for each, at once and in this order. A hint: to
    /// look at all of them first.
    fn arrived(&mut self, _io: &mut Io, _conns: &[ConnId]) {}
    /// Bytes were appended to `io.conn(conn).input`.
    fn received(&mut self, io: &mut Io, conn: ConnId);
    /// All of a connection's sendable output has been handed to the transport.
    fn drained(&mut self, io: &mut Io, conn: ConnId);
    /// The connection is gone; its buffers are released after this call.
    fn closed(&mut self, io: &mut Io, conn: ConnId, why: Gone);
    /// Answer to [`Action::Connect`].
    fn connected(&mut self, io: &mut Io, token: LinkToken, result: Result<(ConnId, Peer), ConnectError>);
    /// Answer to [`Action::Run`].
    fn job_done(&mut self, io: &mut Io, job: JobId, result: std::io::Result<u64>);
    /// Called at least every [`Service::tick_ms`].
    fn tick(&mut self, io: &mut Io);
    /// Called after each batch of events, before output is written: make durable, release replies.
    fn before_sleep(&mut self, io: &mut Io);
    /// Longest time between ticks, in milliseconds; 0 while there is work waiting (a snapshot being walked).
    fn tick_ms(&self) -> u64;
    /// A signal to end has arrived.
    fn terminate(&mut self, io: &mut Io, signal: Signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_by_whole_milliseconds_but_not_where_it_is_made_up() {
        let start = Now { mono_us: 1_000_500, unix_ms: 70_000 };
        let mut io = Io { now: start, ..Io::default() };
        io.catch_up(Instant::now() + Duration::from_secs(9));
        assert_eq!(io.now, start);
        io.set_now(start);
        let read_at = io.read_at.unwrap();
        let mut at = |micros: u64| {
            io.catch_up(read_at + Duration::from_micros(micros));
            (io.now.mono_us, io.now.unix_ms)
        };
        assert_eq!(at(999), (1_000_500, 70_000));
        assert_eq!(at(1_700), (1_001_500, 70_001));
        assert_eq!(at(2_100), (1_002_500, 70_002), "what is left over counts the next time");
        assert_eq!(at(50), (1_002_500, 70_002));
    }

    #[test]
    fn what_is_appended_leaves_in_order_whether_its_buffer_is_taken_or_not() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        let mut sent = Vec::new();
        let mut buffer = Vec::new();
        for (n, length) in [3, 100_000, 5, 200_000, 2 << 20, 7].into_iter().enumerate() {
            buffer.resize(length, n as u8);
            expected.extend_from_slice(&buffer);
            output.append(&mut buffer);
            assert!(buffer.is_empty() && buffer.capacity() <= 2 << 20);
            if n % 2 == 1 {
                let part = output.sendable()[..output.pending() - 1].to_vec();
                output.consume(part.len());
                sent.extend(part);
            }
        }
        sent.extend_from_slice(output.sendable());
        output.consume(output.pending());
        assert!(sent == expected);
        assert_eq!(output.end(), expected.len() as u64);
    }
}
