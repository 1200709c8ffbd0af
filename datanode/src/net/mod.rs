//! The driver of a [`Service`] on a real machine: one epoll loop on the calling thread, a worker thread for background
//! jobs, short-lived threads for name resolution and connecting, and a thread that waits for signals.

mod connect;
pub mod http;
mod listen;
mod stream;
mod worker;

use std::any::Any;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::io::{Action, ConnId, Driver, Gone, Io, JobId, LinkToken, Now, Peer, Service, Signal};
use connect::ConnectResult;
pub use listen::{ListenError, Listeners};
use stream::Stream;

/// Tokens below this one are not connections.
const FIRST_CONN_TOKEN: usize = 64;
const WAKER: Token = Token(0);
/// Read at most this much from one connection before others get their turn, bytes.
const READ_CHUNK: usize = 64 * 1024;
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
}

/// Runs the service until it asks to exit; returns its exit code. `io` may hold actions asked for during start-up.
pub fn run(service: &mut dyn Service, listeners: Listeners, io: Io) -> std::io::Result<i32> {
    Loop::new(listeners, io)?.run(service)
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
    worker: worker::Worker,
    /// Slots with `unread` set.
    unread: Vec<usize>,
    /// What the last poll has filled.
    polled: Events,
    /// Events that have not been handled yet.
    events: VecDeque<Event>,
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
            tracing::error!("the event loop failed during a script: {e}");
        }
        let mut own = place.expect("the loop is back when a call has ended");
        std::mem::swap(&mut own.io, io);
        own
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// One round: what is due, output, then input. `waits`: for events, as long as nothing is due. The exit code once the
/// core has asked to exit and its output has left.
fn round(place: &mut Held, service: &mut dyn Service, waits: bool) -> std::io::Result<Option<i32>> {
    let me = held(place);
    me.io.now = me.now();
    if Instant::now() >= me.next_tick {
        lend(place, |io| service.tick(io));
        held(place).next_tick = Instant::now() + Duration::from_millis(service.tick_ms());
    }
    let stale: Vec<usize> = std::mem::take(&mut held(place).unread);
    for slot in stale {
        read(place, service, slot, false);
    }
    let me = held(place);
    service.before_sleep(&mut me.io);
    me.settle(service);
    if let Some((code, since)) = me.exit
        && (since.elapsed() > EXIT_FLUSH || !me.output_pending())
    {
        return Ok(Some(code));
    }
    let wait = if waits && me.unread.is_empty() && me.events.is_empty() {
        me.next_tick.saturating_duration_since(Instant::now())
    } else {
        Duration::ZERO
    };
    let mut polled = std::mem::replace(&mut me.polled, Events::with_capacity(0));
    let outcome = me.poll.poll(&mut polled, Some(wait));
    me.events.extend(polled.iter().cloned());
    me.polled = polled;
    match outcome {
        Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(None),
        other => other?,
    }
    me.io.now = me.now();
    // One by one: what a long script keeps waiting is taken by the rounds in its midst.
    while let Some(event) = held(place).events.pop_front() {
        let me = held(place);
        match event.token() {
            WAKER => me.messages(service),
            Token(t) if t < FIRST_CONN_TOKEN => me.accept(service, t),
            Token(t) => {
                let slot = t - FIRST_CONN_TOKEN;
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    read(place, service, slot, event.is_read_closed() || event.is_error());
                }
                let me = held(place);
                if event.is_writable()
                    && let Some(Some(s)) = me.sockets.get_mut(slot)
                {
                    s.blocked = false;
                    me.io.flush(s.id);
                }
            }
        }
    }
    Ok(None)
}

/// Reads once; the rest, if there is any, comes after the others had their turn. `to_end`: the peer has closed, so no
/// further event will come.
fn read(place: &mut Held, service: &mut dyn Service, slot: usize, to_end: bool) {
    if let Some(id) = held(place).read(service, slot, to_end) {
        lend(place, |io| service.received(io, id));
    }
}

impl Loop {
    fn new(mut listeners: Listeners, mut io: Io) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let waker = std::sync::Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (outbox, inbox) = mpsc::channel();
        let post = worker::Post::new(outbox, waker);
        let mut signals =
            signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])?;
        let on_signal = post.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for number in signals.forever() {
                let interrupt = number == signal_hook::consts::SIGINT;
                let signal = if interrupt { Signal::Interrupt } else { Signal::Terminate };
                on_signal.send(Message::Signal(signal));
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
            worker: worker::Worker::start(post)?,
            unread: Vec::new(),
            polled: Events::with_capacity(EVENTS_PER_POLL),
            events: VecDeque::new(),
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

    fn run(self, service: &mut dyn Service) -> std::io::Result<i32> {
        let mut held = Some(Box::new(self));
        loop {
            if let Some(code) = round(&mut held, service, true)? {
                return Ok(code);
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
        self.sockets[id.slot()] = Some(Socket { id, stream, blocked: false, closing: false, unread: false });
        Ok(id)
    }

    /// Reads once; the connection, if something has come.
    fn read(&mut self, service: &mut dyn Service, slot: usize, to_end: bool) -> Option<ConnId> {
        let Some(Some(socket)) = self.sockets.get_mut(slot) else { return None };
        socket.unread = false;
        if socket.closing {
            return None;
        }
        let id = socket.id;
        let conn = self.io.conn(id)?;
        let filled = conn.input.len();
        conn.input.resize(filled + READ_CHUNK, 0);
        let result = socket.stream.read(&mut conn.input[filled..]);
        conn.input.truncate(filled + result.as_ref().copied().unwrap_or(0));
        match result {
            Ok(0) => self.gone(service, id, Gone::Eof),
            Ok(n) => {
                if n == READ_CHUNK || to_end {
                    socket.unread = true;
                    self.unread.push(slot);
                }
                return Some(id);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                socket.unread = true;
                self.unread.push(slot);
            }
            Err(_) => self.gone(service, id, Gone::Error),
        }
        None
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
                    Action::Run(id, job) => self.worker.run(id, job),
                    Action::Tune { conn, tuning } => {
                        let socket = self.sockets.get(conn.slot()).and_then(Option::as_ref);
                        if let Some(socket) = socket.filter(|s| s.id == conn)
                            && let Err(e) = socket.stream.tune(tuning)
                        {
                            tracing::warn!("Could not set {tuning:?} on a connection: {e}");
                        }
                    }
                    Action::Restart { after_ms } => restart(Duration::from_millis(after_ms)),
                    Action::Exit(code) => self.exit = Some((code, Instant::now())),
                }
            } else if let Some(id) = self.io.next_dirty() {
                self.write(service, id);
            } else {
                return;
            }
        }
    }

    fn write(&mut self, service: &mut dyn Service, id: ConnId) {
        let Some(Some(socket)) = self.sockets.get_mut(id.slot()) else { return };
        if socket.id != id || socket.blocked {
            return;
        }
        let Some(conn) = self.io.conn(id) else { return };
        let mut sent = 0;
        while !conn.output.sendable().is_empty() {
            match socket.stream.write(conn.output.sendable()) {
                Ok(n) => {
                    conn.output.consume(n);
                    sent += n;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    self.io.note_sent(sent);
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.gone(service, id, Gone::Error),
            }
        }
        self.io.note_sent(sent);
        if socket.closing {
            self.gone(service, id, Gone::Asked);
        } else if sent > 0 {
            service.drained(&mut self.io, id);
        }
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
