//! The driver of a [`Service`] on a real machine: one epoll loop on the calling thread, threads for background
//! jobs, short-lived threads for name resolution and connecting, and a thread that waits for signals.

mod connect;
pub mod http;
mod listen;
mod spin;
mod stream;
mod transfer;
mod worker;

use std::any::Any;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGABRT, SIGINT, SIGTERM};

use crate::io::{Action, ConnId, Driver, Gone, Io, JobId, LinkToken, Now, Peer, Service, Signal};
use crate::system::crash;
use connect::ConnectResult;
pub use listen::{ListenError, Listeners};
use stream::Stream;
use transfer::{Crew, End, READ_CHUNK, Transfer, Work};

/// Tokens below this one are not connections.
const FIRST_CONN_TOKEN: usize = 64;
const WAKER: Token = Token(0);
/// So many connections are read from before the first of them is served, for each thread that reads.
const READ_AHEAD: usize = 32;
/// So many connections' output is written at once, for each thread that writes.
const WRITE_TOGETHER: usize = 256;
/// Buffers that connections read into in turn are kept up to this capacity, bytes.
const LENT_CAPACITY: usize = 2 * READ_CHUNK;
/// Replies of so many bytes are sent before more requests are served.
const MUCH_OUTPUT: usize = 512 * 1024;
const EVENTS_PER_POLL: usize = 1024;
/// Accept at most this many connections per listener and loop (as Redis' MAX_ACCEPTS_PER_CALL).
const ACCEPTS_PER_LOOP: usize = 1000;
/// How long output is still delivered after the core asked to exit.
const EXIT_FLUSH: Duration = Duration::from_millis(1000);

/// What other threads tell the loop.
enum Message {
    Connected(LinkToken, ConnectResult),
    JobDone(JobId, std::io::Result<u64>),
    Signal(Signal),
}

struct Socket {
    id: ConnId,
    stream: Stream,
    /// The kernel's send buffer is full: wait for a writable event.
    blocked: bool,
    /// The core wants it closed once what may leave has left.
    closing: bool,
    /// The kernel may hold more to read although no further event will say so.
    unread: bool,
    /// The peer has closed: no further event will come, so it is read from until nothing is left.
    ended: bool,
}

impl Socket {
    fn new(id: ConnId, stream: Stream) -> Socket {
        Socket { id, stream, blocked: false, closing: false, unread: false, ended: false }
    }
}

/// Threads that read from and write to connections.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    /// How many, with the one that runs the service.
    pub count: usize,
    /// The others read, too, and do not only write.
    pub reads: bool,
}

impl Default for Threads {
    /// Only the one that runs the service.
    fn default() -> Self {
        Threads { count: 1, reads: false }
    }
}

/// Runs the service until it asks to exit; returns its exit code. `io` may hold actions asked for during start-up. First
/// `begin` is called, which may have others served while it takes its time; its error is what nothing is run for.
pub fn run<S: Service>(
    service: &mut S,
    listeners: Listeners,
    io: Io,
    threads: Threads,
    begin: impl FnOnce(&mut S, &mut Io) -> Result<(), String>,
) -> Result<i32, String> {
    let failed = |e: std::io::Error| format!("the event loop failed: {e}");
    let mut place = Some(Box::new(Loop::new(listeners, io, threads).map_err(failed)?));
    let mut begun = Ok(());
    lend(&mut place, |io| begun = begin(service, io));
    if let Err(text) = begun {
        // Perhaps it was asked to end.
        held(&mut place).settle(service);
        return held(&mut place).exit.map(|(code, _)| code).ok_or(text);
    }
    loop {
        if let Some(code) = round(&mut place, service, true).map_err(failed)? {
            return Ok(code);
        }
    }
}

/// Starts the program anew in this process, by the name and with the arguments it was started with. Its sockets are
/// closed by that; if it fails there is nothing left to go on with.
fn restart(after: Duration) -> ! {
    std::thread::sleep(after);
    let (name, words) = crate::system::COMMAND_LINE.split_first().unzip();
    let (name, words) = (name.cloned().unwrap_or_default(), words.unwrap_or_default());
    let error = match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program).arg0(name).args(words).exec(),
        Err(e) => e,
    };
    tracing::error!("The program could not be started anew: {error}");
    std::process::exit(1);
}

/// A seed that nobody can guess, from the system's source of randomness.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library keys its hasher from the system's randomness.
    std::hash::RandomState::new().build_hasher().finish()
}

struct Loop {
    poll: Poll,
    listeners: listen::Shared,
    sockets: Vec<Option<Socket>>,
    io: Io,
    started: Instant,
    inbox: mpsc::Receiver<Message>,
    connector: connect::Connector,
    workers: worker::Workers,
    /// Slots with `unread` set.
    unread: Vec<usize>,
    /// What the last poll has filled.
    polled: Events,
    spin: spin::Spin,
    crew: Crew,
    /// The crew reads, too.
    together: bool,
    /// What the crew is to do, or has done.
    transfers: Vec<Transfer>,
    /// Slots of connections that have something to read.
    readable: VecDeque<usize>,
    /// Connections that have been read from and not been served yet.
    arrived: VecDeque<ConnId>,
    /// Input buffers for whoever has none. Most connections have nothing left over once they have been served, and give
    /// theirs back: so those that are idle hold none, and the others share a few that stay in the processor's cache.
    lent: Vec<Vec<u8>>,
    next_tick: Instant,
    /// The exit code the core has asked for, and when.
    exit: Option<(i32, Instant)>,
}

/// The loop, except while the core has it in its hands.
type Held = Option<Box<Loop>>;

fn held(place: &mut Held) -> &mut Loop {
    place.as_deref_mut().expect("the loop is back when a call has ended")
}

/// Calls the core with the loop in its hands: a long script has sockets served meanwhile.
fn lend(place: &mut Held, call: impl FnOnce(&mut Io)) {
    let Some(mut own) = place.take() else { return };
    let mut io = std::mem::take(&mut own.io);
    io.lend_driver(own);
    call(&mut io);
    let own = io.take_driver().map(|driver| driver.into_any().downcast::<Loop>());
    if let Some(Ok(mut own)) = own {
        own.io = io;
        *place = Some(own);
    }
}

impl Driver for Loop {
    fn turn(mut self: Box<Self>, service: &mut dyn Service, io: &mut Io) -> Box<dyn Driver> {
        std::mem::swap(&mut self.io, io);
        let mut place = Some(self);
        if let Err(e) = round(&mut place, service, false) {
            tracing::error!("the event loop failed in the midst of a call: {e}");
        }
        let mut own = place.expect("the loop is back when a call has ended");
        std::mem::swap(&mut own.io, io);
        own
    }

    fn hang_up(&mut self, conn: ConnId) {
        if let Some(Some(socket)) = self.sockets.get(conn.slot())
            && socket.id == conn
        {
            socket.stream.hang_up();
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// One round: what is due, output, then input. `waits`: for events, as long as nothing is due. The exit code once the
/// core has asked to exit and its output has left.
fn round(place: &mut Held, service: &mut dyn Service, waits: bool) -> std::io::Result<Option<i32>> {
    let me = held(place);
    let now = me.now();
    me.io.set_now(now);
    if Instant::now() >= me.next_tick {
        lend(place, |io| service.tick(io));
        held(place).next_tick = Instant::now() + Duration::from_millis(service.tick_ms());
    }
    let me = held(place);
    me.readable.extend(me.unread.drain(..));
    read(place, service);
    let me = held(place);
    service.before_sleep(&mut me.io);
    me.settle(service);
    if let Some((code, since)) = me.exit
        && (since.elapsed() > EXIT_FLUSH || !me.output_pending())
    {
        return Ok(Some(code));
    }
    let idle = me.unread.is_empty() && me.readable.is_empty() && me.arrived.is_empty();
    let wait =
        if waits && idle { me.next_tick.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
    let mut polled = std::mem::replace(&mut me.polled, Events::with_capacity(0));
    let outcome = me.wait(&mut polled, wait);
    let now = me.now();
    me.io.set_now(now);
    if outcome.is_ok() {
        me.take_events(service, &polled);
    }
    me.polled = polled;
    match outcome {
        Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
        _ => read(place, service),
    }
    Ok(None)
}

/// Reads from all that are readable, and has them served, so many at a time. The rest of what one has comes after the
/// others had their turn. What a long script keeps waiting is taken by the rounds in its midst. Ends early once there is
/// much to be sent: while that is still in the processor's cache.
fn read(place: &mut Held, service: &mut dyn Service) {
    let mut unsent = 0;
    loop {
        while let Some(id) = held(place).arrived.pop_front() {
            lend(place, |io| service.received(io, id));
            let me = held(place);
            me.take_back(id);
            unsent += me.io.conn(id).map_or(0, |conn| conn.output.pending());
            if unsent > MUCH_OUTPUT {
                return;
            }
        }
        if held(place).readable.is_empty() {
            return;
        }
        held(place).read_some(service);
    }
}

impl Loop {
    fn new(mut listeners: Listeners, mut io: Io, threads: Threads) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let waker = std::sync::Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (outbox, inbox) = mpsc::channel();
        let post = worker::Post::new(outbox, waker);
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGABRT])?;
        let on_signal = post.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for number in signals.forever() {
                match number {
                    SIGABRT => {
                        crash::report("by signal: 6", &crash::threads());
                        let _ = signal_hook::low_level::emulate_default_handler(SIGABRT);
                    }
                    SIGINT => on_signal.send(Message::Signal(Signal::Interrupt)),
                    _ => on_signal.send(Message::Signal(Signal::Terminate)),
                }
            }
        })?;
        listeners.register(poll.registry(), WAKER.0 + 1)?;
        let listeners = listen::Shared::new(listeners.into());
        io.set_listeners(Box::new(listeners.clone()));
        Ok(Loop {
            poll,
            listeners,
            sockets: Vec::new(),
            io,
            started: Instant::now(),
            inbox,
            connector: connect::Connector::new(post.clone()),
            workers: worker::Workers::start(&post)?,
            unread: Vec::new(),
            polled: Events::with_capacity(EVENTS_PER_POLL),
            spin: spin::Spin::default(),
            crew: Crew::new(threads.count)?,
            together: threads.reads,
            transfers: Vec::new(),
            readable: VecDeque::new(),
            arrived: VecDeque::new(),
            lent: Vec::new(),
            next_tick: Instant::now(),
            exit: None,
        })
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The monotonic clock starts at 1 s so that "never" can be written as 0.
        let mono_us = 1_000_000 + self.started.elapsed().as_micros() as u64;
        Now { mono_us, unix_ms: unix.as_millis() as i64 }
    }

    /// Waits for events.
    fn wait(&mut self, events: &mut Events, most: Duration) -> std::io::Result<()> {
        if !most.is_zero() && self.spin.tries() {
            let begun = Instant::now();
            while begun.elapsed() < spin::LONGEST.min(most) {
                self.poll.poll(events, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    self.spin.note(true);
                    return Ok(());
                }
            }
            self.spin.note(false);
        }
        self.poll.poll(events, Some(most))
    }

    /// Notes what events say; what there is to read is read later.
    fn take_events(&mut self, service: &mut dyn Service, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => self.messages(service),
                Token(t) if t < FIRST_CONN_TOKEN => self.accept(service, t),
                Token(t) => {
                    let slot = t - FIRST_CONN_TOKEN;
                    let Some(Some(s)) = self.sockets.get_mut(slot) else { continue };
                    let ended = event.is_read_closed() || event.is_error();
                    s.ended |= ended;
                    if event.is_readable() || ended {
                        self.readable.push_back(slot);
                    }
                    if event.is_writable() && s.blocked {
                        s.blocked = false;
                        self.io.flush(s.id);
                    }
                }
            }
        }
    }

    fn messages(&mut self, service: &mut dyn Service) {
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Signal(signal) => service.terminate(&mut self.io, signal),
                Message::JobDone(id, result) => service.job_done(&mut self.io, id, result),
                Message::Connected(token, Err(e)) => service.connected(&mut self.io, token, Err(e)),
                Message::Connected(token, Ok(stream)) => {
                    let peer = peer_of(&stream);
                    let _ = stream.set_nodelay(true);
                    let result = match self.add(Stream::Tcp(mio::net::TcpStream::from_std(stream))) {
                        Ok(id) => Ok((id, peer)),
                        Err(e) => Err(crate::io::ConnectError::Unreachable(e.to_string())),
                    };
                    service.connected(&mut self.io, token, result);
                }
            }
        }
    }

    fn accept(&mut self, service: &mut dyn Service, token: usize) {
        for _ in 0..ACCEPTS_PER_LOOP {
            let accepted = self.listeners.borrow().accept(token);
            match accepted {
                Ok(Some((stream, peer))) => match self.add(stream) {
                    Ok(id) => service.accepted(&mut self.io, id, peer),
                    Err(e) => tracing::warn!("Could not register a client connection: {e}"),
                },
                Ok(None) => return,
                Err(e) => {
                    tracing::warn!("Accepting client connection: {e}");
                    return;
                }
            }
        }
        self.listeners.borrow_mut().again(token);
    }

    fn add(&mut self, mut stream: Stream) -> std::io::Result<ConnId> {
        let id = self.io.open();
        let token = Token(FIRST_CONN_TOKEN + id.slot());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = self.poll.registry().register(&mut stream, token, interest) {
            self.io.release(id);
            return Err(e);
        }
        if self.sockets.len() <= id.slot() {
            self.sockets.resize_with(id.slot() + 1, || None);
        }
        self.sockets[id.slot()] = Some(Socket::new(id, stream));
        Ok(id)
    }

    /// Reads from the first that are readable, once from each.
    fn read_some(&mut self, service: &mut dyn Service) {
        for _ in 0..READ_AHEAD * self.crew.threads() {
            let Some(slot) = self.readable.pop_front() else { break };
            self.begin_read(slot);
        }
        let shared = self.crew.carry_out(&mut self.transfers, self.together);
        let gone = self.end_reads(shared);
        for (id, why) in gone {
            self.gone(service, id, why);
        }
        if self.arrived.len() > 1 {
            service.arrived(&mut self.io, self.arrived.make_contiguous());
        }
    }

    fn begin_read(&mut self, slot: usize) {
        let Some(place) = self.sockets.get_mut(slot) else { return };
        let Some(mut socket) = place.take_if(|s| !s.closing) else { return };
        socket.unread = false;
        let input = self.io.conn(socket.id).map(|conn| std::mem::take(&mut conn.input)).unwrap_or_default();
        let input = if input.capacity() == 0 { self.lent.pop().unwrap_or(input) } else { input };
        self.transfers.push(Transfer::read(socket, input));
    }

    /// Puts everything back where it was, and notes who is to be served; those whose connection has ended, and why.
    fn end_reads(&mut self, shared: bool) -> Vec<(ConnId, Gone)> {
        let mut gone = Vec::new();
        self.io.note_threaded(if shared { self.transfers.len() } else { 0 }, 0);
        let mut transfers = std::mem::take(&mut self.transfers);
        for Transfer { mut socket, work } in transfers.drain(..) {
            let Work::Read { into, most, result } = work else { continue };
            let (id, slot) = (socket.id, socket.id.slot());
            if let Some(conn) = self.io.conn(id) {
                conn.input = into;
            }
            socket.unread = match result {
                Ok(0) => {
                    gone.push((id, Gone::Eof));
                    false
                }
                Ok(n) => {
                    self.arrived.push_back(id);
                    socket.ended || n >= most
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.take_back(id);
                    false
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => true,
                Err(_) => {
                    gone.push((id, Gone::Error));
                    false
                }
            };
            if socket.unread {
                self.unread.push(slot);
            }
            self.sockets[slot] = Some(socket);
        }
        self.transfers = transfers;
        gone
    }

    /// Takes a connection's input buffer, if there is nothing in it.
    fn take_back(&mut self, id: ConnId) {
        if let Some(conn) = self.io.conn(id)
            && conn.input.is_empty()
            && conn.input.capacity() > 0
        {
            let buffer = std::mem::take(&mut conn.input);
            if buffer.capacity() <= LENT_CAPACITY && self.lent.len() < READ_AHEAD {
                self.lent.push(buffer);
            }
        }
    }

    /// Carries out actions and writes output until neither asks for more.
    fn settle(&mut self, service: &mut dyn Service) {
        loop {
            if let Some(action) = self.io.next_action() {
                match action {
                    Action::Connect { token, host, port, timeout_ms } => {
                        let outgoing = self.io.outgoing.clone();
                        self.connector.start(token, host, port, outgoing, Duration::from_millis(timeout_ms));
                    }
                    Action::Close { conn, flush } => {
                        if flush && let Some(Some(s)) = self.sockets.get_mut(conn.slot()) {
                            if s.id == conn {
                                s.closing = true;
                                self.io.flush(conn);
                            }
                        } else {
                            self.gone(service, conn, Gone::Asked);
                        }
                    }
                    Action::Run(lane, id, job) => self.workers.run(lane, id, job),
                    Action::Tune { conn, tuning } => {
                        let socket = self.sockets.get(conn.slot()).and_then(Option::as_ref);
                        if let Some(socket) = socket.filter(|s| s.id == conn)
                            && let Err(e) = socket.stream.tune(tuning)
                        {
                            tracing::warn!("Could not set {tuning:?} on a connection: {e}");
                        }
                    }
                    Action::Restart { after_ms } => restart(Duration::from_millis(after_ms)),
                    Action::Exit(code) => {
                        // Whoever sees its connection close finds that nobody listens any more.
                        if let Err(e) = self.listeners.borrow_mut().close() {
                            tracing::warn!("Could not stop listening: {e}");
                        }
                        self.exit = Some((code, Instant::now()));
                    }
                }
            } else if !self.write(service) {
                return;
            }
        }
    }

    /// Writes what may leave on connections whose output has grown; false if there are none.
    fn write(&mut self, service: &mut dyn Service) -> bool {
        let mut ended = Vec::new();
        let mut found = false;
        while self.transfers.len() < WRITE_TOGETHER * self.crew.threads()
            && let Some(id) = self.io.next_dirty()
        {
            found = true;
            self.begin_write(id, &mut ended);
        }
        let shared = self.crew.carry_out(&mut self.transfers, true);
        self.end_writes(shared, &mut ended);
        for (id, end) in ended {
            match end {
                End::Broken => self.gone(service, id, Gone::Error),
                End::Complete if self.is_closing(id) => self.gone(service, id, Gone::Asked),
                End::Complete => service.drained(&mut self.io, id),
                End::Full => {}
            }
        }
        found
    }

    fn begin_write(&mut self, id: ConnId, ended: &mut Vec<(ConnId, End)>) {
        let Some(place) = self.sockets.get_mut(id.slot()) else { return };
        let Some(conn) = self.io.conn(id) else { return };
        if conn.output.sendable().is_empty() {
            if place.as_ref().is_some_and(|s| s.id == id && s.closing && !s.blocked) {
                ended.push((id, End::Complete));
            }
        } else if let Some(socket) = place.take_if(|s| s.id == id && !s.blocked) {
            self.transfers.push(Transfer::write(socket, std::mem::take(&mut conn.output)));
        }
    }

    /// Puts everything back where it was, and adds to `ended` how each ended.
    fn end_writes(&mut self, shared: bool, ended: &mut Vec<(ConnId, End)>) {
        self.io.note_threaded(0, if shared { self.transfers.len() } else { 0 });
        for Transfer { mut socket, work } in self.transfers.drain(..) {
            let Work::Write { from, sent, end } = work else { continue };
            let id = socket.id;
            if let Some(conn) = self.io.conn(id) {
                conn.output = from;
            }
            self.io.note_sent(sent);
            socket.blocked = end == End::Full;
            ended.push((id, end));
            self.sockets[id.slot()] = Some(socket);
        }
    }

    fn is_closing(&self, id: ConnId) -> bool {
        self.sockets.get(id.slot()).and_then(Option::as_ref).is_some_and(|s| s.id == id && s.closing)
    }

    fn gone(&mut self, service: &mut dyn Service, id: ConnId, why: Gone) {
        let Some(place) = self.sockets.get_mut(id.slot()) else { return };
        if place.as_ref().is_none_or(|s| s.id != id) {
            return;
        }
        if let Some(mut socket) = place.take() {
            let _ = self.poll.registry().deregister(&mut socket.stream);
        }
        service.closed(&mut self.io, id, why);
        self.io.release(id);
    }

    fn output_pending(&mut self) -> bool {
        let io = &mut self.io;
        self.sockets
            .iter()
            .flatten()
            .any(|s| s.blocked && io.conn(s.id).is_some_and(|c| !c.output.sendable().is_empty()))
    }
}

fn peer_of(stream: &std::net::TcpStream) -> Peer {
    let text = |a: std::io::Result<std::net::SocketAddr>| a.map(|a| a.to_string()).unwrap_or_default();
    Peer { remote: text(stream.peer_addr()), local: text(stream.local_addr()), unix: false }
}
