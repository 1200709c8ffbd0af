//! Listening sockets: TCP on the addresses of `bind`, and a Unix socket.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::stream::Stream;
use crate::config::Config;
use crate::io::{Listen, Peer};

/// Distance of the Unix socket's token from the first: more than there may be addresses.
const UNIX: usize = 32;

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("Failed listening on {address}, aborting: {error}")]
pub struct ListenError {
    address: String,
    error: std::io::Error,
}

/// What holds for every listening socket.
#[derive(Debug, Clone, Copy)]
struct Options {
    backlog: i32,
    /// `SO_MARK`; 0: none.
    mark: u32,
}

/// The server's listening sockets. The Unix socket's file goes with them.
pub struct Listeners {
    hosts: Vec<String>,
    port: u16,
    options: Options,
    sockets: Vec<TcpListener>,
    unix: Option<(UnixListener, PathBuf)>,
    first_token: usize,
    registry: Option<Registry>,
}

impl Listeners {
    /// Listens as the configuration says. In `bind`, `*` and `::*` mean all addresses, a leading `-` lets an address be
    /// missing on this machine. Port 0 listens on no TCP address.
    pub fn bind(config: &Config) -> Result<Self, ListenError> {
        let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
        let options = Options { backlog, mark: config.socket_mark_id };
        let sockets = bind_all(&config.bind, config.port, options)?;
        let unix = match config.unixsocket.as_str() {
            "" => None,
            path => {
                let path = config.dir.join(path);
                let socket = bind_unix(&path, config.unixsocketperm, options)
                    .map_err(|error| ListenError { address: path.to_string_lossy().into_owned(), error })?;
                Some((socket, path))
            }
        };
        let (hosts, port) = (config.bind.clone(), config.port);
        Ok(Listeners { hosts, port, options, sockets, unix, first_token: 0, registry: None })
    }

    pub(super) fn register(&mut self, registry: &Registry, first_token: usize) -> std::io::Result<()> {
        self.first_token = first_token;
        self.registry = Some(registry.try_clone()?);
        if let Some((socket, _)) = &mut self.unix {
            registry.register(socket, Token(first_token + UNIX), Interest::READABLE)?;
        }
        self.register_tcp()
    }

    fn register_tcp(&mut self) -> std::io::Result<()> {
        let Some(registry) = &self.registry else { return Ok(()) };
        for (i, socket) in self.sockets.iter_mut().enumerate() {
            registry.register(socket, Token(self.first_token + i), Interest::READABLE)?;
        }
        Ok(())
    }

    /// One waiting connection; `None` when there is none.
    pub(super) fn accept(&self, token: usize) -> std::io::Result<Option<(Stream, Peer)>> {
        let accepted = match (token.wrapping_sub(self.first_token), &self.unix) {
            (UNIX, Some((listener, path))) => listener.accept().map(|(stream, _)| {
                // As Redis shows it: the path in the place of an address, and a port that means nothing.
                let name = format!("{}:0", path.display());
                (Stream::Unix(stream), Peer { remote: name.clone(), local: name, unix: true })
            }),
            (i, _) => {
                let Some(listener) = self.sockets.get(i) else { return Ok(None) };
                listener.accept().map(|(stream, remote)| {
                    let _ = stream.set_nodelay(true);
                    let local = stream.local_addr().map(|a| a.to_string()).unwrap_or_default();
                    (Stream::Tcp(stream), Peer { remote: remote.to_string(), local, unix: false })
                })
            }
        };
        match accepted {
            Ok(found) => Ok(Some(found)),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Has the next poll report a listener again whose queue was not emptied.
    pub(super) fn again(&mut self, token: usize) {
        let Some(registry) = &self.registry else { return };
        let i = token.wrapping_sub(self.first_token);
        let _ = match (&mut self.unix, self.sockets.get_mut(i)) {
            (Some((listener, _)), _) if i == UNIX => {
                registry.reregister(listener, Token(token), Interest::READABLE)
            }
            (_, Some(listener)) => registry.reregister(listener, Token(token), Interest::READABLE),
            _ => Ok(()),
        };
    }

    /// Listens on other addresses, or another port; the old ones stay where the new ones can't be had.
    fn move_to(&mut self, hosts: &[String], port: u16) -> Result<(), Box<dyn std::error::Error>> {
        if port != self.port {
            let new = bind_all(hosts, port, self.options)?;
            self.replace(new)?;
        } else {
            // An address and a wildcard that covers it exclude each other: the old ones have to go first.
            self.replace(Vec::new())?;
            match bind_all(hosts, port, self.options) {
                Ok(new) => self.replace(new)?,
                Err(e) => {
                    let old = bind_all(&self.hosts, self.port, self.options)?;
                    self.replace(old)?;
                    return Err(e.into());
                }
            }
        }
        (self.hosts, self.port) = (hosts.to_vec(), port);
        Ok(())
    }

    /// Listens no more on TCP addresses.
    pub(super) fn close(&mut self) -> std::io::Result<()> {
        self.replace(Vec::new())
    }

    fn replace(&mut self, sockets: Vec<TcpListener>) -> std::io::Result<()> {
        if let Some(registry) = &self.registry {
            self.sockets.iter_mut().try_for_each(|old| registry.deregister(old))?;
        }
        self.sockets = sockets;
        self.register_tcp()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.unix {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The sockets in the hands of both the loop, which accepts, and the core, which may move them.
pub(super) type Shared = Rc<RefCell<Listeners>>;

impl Listen for Shared {
    fn listen(&mut self, hosts: &[String], port: u16) -> Result<(), String> {
        self.borrow_mut().move_to(hosts, port).map_err(|e| e.to_string())
    }
}

fn bind_all(hosts: &[String], port: u16, options: Options) -> Result<Vec<TcpListener>, ListenError> {
    let mut sockets = Vec::new();
    for host in hosts.iter().filter(|_| port != 0) {
        let (optional, name) = match host.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, host.as_str()),
        };
        let name = match name {
            "*" => "0.0.0.0",
            "::*" => "::",
            other => other,
        };
        match bind_one(name, port, options) {
            Ok(socket) => sockets.push(socket),
            Err(e) if optional && is_missing(&e) => tracing::debug!("not listening on {name}:{port}: {e}"),
            Err(error) => return Err(ListenError { address: format!("port {port} (TCP) of {name}"), error }),
        }
    }
    Ok(sockets)
}

/// The machine has no such address, or not that family of addresses.
fn is_missing(e: &std::io::Error) -> bool {
    let codes = [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT, libc::ESOCKTNOSUPPORT];
    matches!(e.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported)
        || e.raw_os_error().is_some_and(|code| codes.contains(&code) || code == libc::EPFNOSUPPORT)
}

fn bind_one(name: &str, port: u16, options: Options) -> std::io::Result<TcpListener> {
    let mut addresses = (name, port).to_socket_addrs()?;
    let address: SocketAddr =
        addresses.next().ok_or_else(|| std::io::Error::from(ErrorKind::AddrNotAvailable))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    mark(&socket, options.mark)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Marks a socket's packets, for the system's routing and filters.
pub(super) fn mark(socket: &Socket, mark: u32) -> std::io::Result<()> {
    if mark == 0 { Ok(()) } else { socket.set_mark(mark) }
}

/// A socket in the file system. One that a dead process has left behind is replaced, any other file is not.
fn bind_unix(path: &Path, mode: u32, options: Options) -> std::io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(std::io::Error::new(ErrorKind::AlreadyExists, "the file is there and no socket"));
        }
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    if mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(options.backlog)?;
    Ok(UnixListener::from_std(socket.into()))
}
