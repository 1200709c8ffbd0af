//! Listening sockets.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::io::Peer;

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("Could not create server TCP listening socket {address}: {error}")]
pub struct ListenError {
    address: String,
    error: std::io::Error,
}

/// The server's listening sockets.
pub struct Listeners {
    hosts: Vec<String>,
    sockets: Vec<TcpListener>,
    first_token: usize,
}

impl Listeners {
    /// Binds `port` on each host, as in the `bind` directive: `*` and `::*` mean all addresses, a leading `-` lets an
    /// address be missing on this machine. Port 0 listens nowhere.
    pub fn bind(hosts: &[String], port: u16) -> Result<Self, ListenError> {
        let sockets = if port == 0 { Vec::new() } else { bind_all(hosts, port)? };
        Ok(Listeners { hosts: hosts.to_vec(), sockets, first_token: 0 })
    }

    pub(super) fn register(&mut self, registry: &Registry, first_token: usize) -> std::io::Result<()> {
        self.first_token = first_token;
        for (i, socket) in self.sockets.iter_mut().enumerate() {
            registry.register(socket, Token(first_token + i), Interest::READABLE)?;
        }
        Ok(())
    }

    /// One waiting connection; `None` when there is none.
    pub(super) fn accept(&self, token: usize) -> std::io::Result<Option<(TcpStream, Peer)>> {
        let Some(listener) = self.sockets.get(token.wrapping_sub(self.first_token)) else { return Ok(None) };
        match listener.accept() {
            Ok((stream, remote)) => {
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
                Ok(Some((stream, Peer { remote: remote.to_string(), local })))
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Has the next poll report a listener again whose queue was not emptied.
    pub(super) fn again(&mut self, token: usize, registry: &Registry) {
        if let Some(listener) = self.sockets.get_mut(token.wrapping_sub(self.first_token)) {
            let _ = registry.reregister(listener, Token(token), Interest::READABLE);
        }
    }

    /// Moves to another port; the old one stays where the new one can't be had.
    pub(super) fn rebind(
        &mut self,
        port: u16,
        registry: &Registry,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut sockets = bind_all(&self.hosts, port)?;
        for old in &mut self.sockets {
            registry.deregister(old)?;
        }
        std::mem::swap(&mut self.sockets, &mut sockets);
        self.register(registry, self.first_token)?;
        Ok(())
    }
}

fn bind_all(hosts: &[String], port: u16) -> Result<Vec<TcpListener>, ListenError> {
    let mut sockets = Vec::new();
    for host in hosts {
        let (optional, name) = match host.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, host.as_str()),
        };
        let name = match name {
            "*" => "0.0.0.0",
            "::*" => "::",
            other => other,
        };
        match bind_one(name, port) {
            Ok(socket) => sockets.push(socket),
            Err(e) if optional => tracing::debug!("not listening on {name}:{port}: {e}"),
            // `bind * -::*` on a machine without IPv6, or where [::] already covers IPv4.
            Err(e) => return Err(ListenError { address: format!("{name}:{port}"), error: e }),
        }
    }
    Ok(sockets)
}

fn bind_one(name: &str, port: u16) -> std::io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = (name, port).to_socket_addrs()?.collect();
    let first = addresses.first().ok_or_else(|| std::io::Error::from(ErrorKind::AddrNotAvailable))?;
    TcpListener::bind(*first)
}
