//! A connection of either kind, TCP or Unix, as the loop drives it.

use std::io::{Result, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use crate::io::Tuning;

/// Probes without an answer after which a connection counts as dead (as in Redis).
const PROBES: u32 = 3;

/// A connected socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Sets an option of TCP; a Unix socket needs none of them.
    pub(super) fn tune(&self, tuning: Tuning) -> Result<()> {
        let Stream::Tcp(stream) = self else { return Ok(()) };
        match tuning {
            Tuning::NoDelay(on) => stream.set_nodelay(on),
            Tuning::KeepAlive(0) => SockRef::from(stream).set_keepalive(false),
            Tuning::KeepAlive(seconds) => {
                // Dead peers are found after twice the time: the probes follow each other within it.
                let between = Duration::from_secs(u64::from(seconds / PROBES).max(1));
                let keepalive = TcpKeepalive::new()
                    .with_time(Duration::from_secs(seconds.into()))
                    .with_interval(between)
                    .with_retries(PROBES);
                SockRef::from(stream).set_tcp_keepalive(&keepalive)
            }
        }
    }

    /// Ends the connection in both directions; it is still to be closed.
    pub(super) fn hang_up(&self) {
        // It may have ended already.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(s) => s,
            Stream::Unix(s) => s,
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Stream::Tcp(s) => s.as_raw_fd(),
            Stream::Unix(s) => s.as_raw_fd(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        match self {
            Stream::Tcp(s) => s.write(buf),
            Stream::Unix(s) => s.write(buf),
        }
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> Result<()> {
        self.source().deregister(registry)
    }
}
