//! `supervised`: telling systemd (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>) or Upstart
//! how far the process is.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::config::types::Supervised;

/// Whoever started the process and waits for its word.
pub enum Supervisor {
    /// Nobody.
    Nobody,
    /// Systemd, which reads messages from this address.
    Systemd(SocketAddr),
    /// Upstart, which waits until the process stops itself.
    Upstart,
}

impl Supervisor {
    /// The one that the configuration names, as far as the environment knows it.
    pub fn find(asked: Supervised) -> Supervisor {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let systemd = || var("NOTIFY_SOCKET").and_then(|path| address(&path)).map(Supervisor::Systemd);
        let upstart = || var("UPSTART_JOB").map(|_| Supervisor::Upstart);
        let (found, missing) = match asked {
            Supervised::No => return Supervisor::Nobody,
            Supervised::Systemd => (systemd(), "systemd supervision requested, but NOTIFY_SOCKET not found"),
            Supervised::Upstart => (upstart(), "upstart supervision requested, but UPSTART_JOB not found"),
            Supervised::Auto => return upstart().or_else(systemd).unwrap_or(Supervisor::Nobody),
        };
        if found.is_none() {
            tracing::warn!("{missing}");
        }
        found.unwrap_or(Supervisor::Nobody)
    }

    /// The process serves clients; `follows`: what a master has.
    pub fn ready(&self, follows: bool) {
        match self {
            Supervisor::Nobody => {}
            Supervisor::Systemd(_) => {
                self.say(if follows {
                    "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA sync\n"
                } else {
                    "STATUS=Ready to accept connections\n"
                });
                self.say("READY=1\n");
            }
            Supervisor::Upstart => {
                let me = rustix::process::getpid();
                if let Err(e) = rustix::process::kill_process(me, rustix::process::Signal::STOP) {
                    tracing::warn!("Could not stop for upstart: {e}");
                }
            }
        }
    }

    /// The process is about to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1\n");
    }

    fn say(&self, text: &str) {
        let Supervisor::Systemd(address) = self else { return };
        let sent = UnixDatagram::unbound().and_then(|s| s.send_to_addr(text.as_bytes(), address));
        if let Err(e) = sent {
            tracing::warn!("Can't send sd_notify message: {e}");
        }
    }
}

/// A path, or a name that stands in no file system (`@name`).
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(text).ok(),
    }
}
