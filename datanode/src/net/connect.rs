//! Outgoing connections: resolving a name may block for seconds, so each attempt has a thread of its own.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::Message;
use super::worker::Post;
use crate::io::{ConnectError, LinkToken, Outgoing};

pub(super) type ConnectResult = Result<TcpStream, ConnectError>;

/// Attempts under way at once; more are answered with an error instead of piling up threads.
const MAX_ATTEMPTS: usize = 128;
const STACK: usize = 256 * 1024;

pub(super) struct Connector {
    post: Post,
    running: Arc<AtomicUsize>,
}

impl Connector {
    pub(super) fn new(post: Post) -> Self {
        Connector { post, running: Arc::default() }
    }

    pub(super) fn start(
        &self,
        token: LinkToken,
        host: String,
        port: u16,
        outgoing: Outgoing,
        timeout: Duration,
    ) {
        let fail = |text: &str| {
            self.post.send(Message::Connected(token, Err(ConnectError::Unreachable(text.into()))));
        };
        if self.running.fetch_add(1, Ordering::Relaxed) >= MAX_ATTEMPTS {
            self.running.fetch_sub(1, Ordering::Relaxed);
            return fail("too many connection attempts at once");
        }
        let (post, running) = (self.post.clone(), self.running.clone());
        let attempt = move || {
            let result = connect(&host, port, &outgoing, timeout);
            running.fetch_sub(1, Ordering::Relaxed);
            post.send(Message::Connected(token, result));
        };
        let builder = std::thread::Builder::new().name("connect".into()).stack_size(STACK);
        if let Err(e) = builder.spawn(attempt) {
            self.running.fetch_sub(1, Ordering::Relaxed);
            fail(&format!("no thread for the connection attempt: {e}"));
        }
    }
}

fn connect(host: &str, port: u16, outgoing: &Outgoing, timeout: Duration) -> ConnectResult {
    let deadline = Instant::now() + timeout;
    let addresses = (host, port).to_socket_addrs().map_err(|e| ConnectError::Unresolved(e.to_string()))?;
    let mut last = ConnectError::Unresolved(format!("{host} has no address"));
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match connect_one(address, outgoing, left) {
            Ok(stream) => {
                return stream
                    .set_nonblocking(true)
                    .map(|()| stream)
                    .map_err(|e| ConnectError::Unreachable(e.to_string()));
            }
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => last = ConnectError::Refused,
            Err(e) => last = ConnectError::Unreachable(e.to_string()),
        }
    }
    Err(last)
}

fn connect_one(to: SocketAddr, outgoing: &Outgoing, timeout: Duration) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    super::listen::mark(&socket, outgoing.mark)?;
    if !outgoing.source.is_empty() {
        // A connection from another address is better than none, as in Redis.
        let from = outgoing.source.parse::<IpAddr>().map_err(|e| std::io::Error::other(e.to_string()));
        if let Err(e) = from.and_then(|ip| socket.bind(&SocketAddr::new(ip, 0).into())) {
            tracing::warn!("Could not bind to the source address {}: {e}", outgoing.source);
        }
    }
    socket.connect_timeout(&to.into(), timeout)?;
    Ok(socket.into())
}
