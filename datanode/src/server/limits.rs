//! `client-output-buffer-limit`: clients that do not take what they asked for are closed before they take the memory.

use super::Server;
use super::client::Client;
use crate::config::Config;
use crate::config::types::{CLASS_NORMAL, CLASS_PUBSUB, CLASS_REPLICA, OutputLimit};
use crate::io::{ConnId, Io};

/// Whenever there are so many bytes of replies to a client they are handed over, and its limit is looked at.
pub(super) const PIECE: usize = 1 << 20;

/// The bound that applies to a client.
fn limit_of(client: &Client, config: &Config) -> OutputLimit {
    let limits = &config.client_output_buffer_limit;
    if !client.is_replica() {
        return limits[if client.subscribed() { CLASS_PUBSUB } else { CLASS_NORMAL }];
    }
    // A bound below the backlog's size would throw replicas out that the backlog could still serve.
    let atleast = |bytes: u64| if bytes == 0 { 0 } else { bytes.max(config.repl_backlog_size) };
    let limit = limits[CLASS_REPLICA];
    OutputLimit { hard: atleast(limit.hard), soft: atleast(limit.soft), ..limit }
}

/// Whether unsent output of this size ends a connection; keeps the time since which it has been over the soft limit.
fn exceeds(limit: OutputLimit, unsent: u64, now_ms: u64, over_since_ms: &mut u64) -> bool {
    if limit.soft == 0 || unsent < limit.soft {
        *over_since_ms = 0;
    } else if *over_since_ms == 0 {
        *over_since_ms = now_ms;
    }
    let hard = limit.hard > 0 && unsent >= limit.hard;
    let soft = *over_since_ms > 0 && now_ms > *over_since_ms + limit.soft_seconds * 1000;
    hard || soft
}

impl Server {
    /// Bytes that may be added to a client's output before it is closed for their number, whatever follows.
    pub(crate) fn output_allowance(&self, io: &mut Io, conn: ConnId) -> usize {
        let Some(client) = self.clients.get(conn) else { return usize::MAX };
        let hard = limit_of(client, &self.config).hard as usize;
        let unsent = io.conn(conn).map_or(0, |c| c.output.pending());
        if hard == 0 { usize::MAX } else { hard.saturating_sub(unsent) }
    }

    /// Closes clients whose unsent output is over their limits. Only those whose output has grown since the last call
    /// are looked at.
    pub(super) fn check_output_limits(&mut self, io: &mut Io) {
        let grown: Vec<ConnId> = io.dirty().collect();
        for conn in grown {
            self.check_output_limit(io, conn);
        }
    }

    /// Once a second: those that have been over the soft limit, and replicas whose stream queues up behind a snapshot.
    pub(super) fn check_soft_output_limits(&mut self, io: &mut Io) {
        let over = self.clients.iter().filter(|c| c.over_soft_limit_ms > 0).map(|c| c.conn);
        let conns: Vec<ConnId> = over.chain(self.repl.replicas.iter().copied()).collect();
        for conn in conns {
            self.check_output_limit(io, conn);
        }
    }

    /// Hands over what the requests of a client have been answered so far, if that is much: one that is over its limit is
    /// closed before it is answered further.
    pub(super) fn hand_over(&mut self, io: &mut Io, conn: ConnId, out: &mut Vec<u8>) {
        if out.len() < PIECE {
            return;
        }
        if let Some(c) = io.conn(conn) {
            c.output.append(out);
            io.flush(conn);
        }
        out.clear();
        self.check_output_limit(io, conn);
    }

    /// Whether a transaction's replies so far are over the client's limit: then it gets none, and is closed.
    pub(crate) fn drops_replies(&mut self, io: &mut Io, conn: ConnId, replies: usize) -> bool {
        let allowed = self.output_allowance(io, conn);
        let Some(client) = self.clients.get(conn) else { return true };
        if !client.closing && replies < allowed {
            return false;
        }
        if !client.closing {
            let peer = &client.peer.remote;
            tracing::warn!(
                "Client {peer} scheduled to be closed ASAP for overcoming of output buffer limits in a transaction."
            );
            self.stats.clients_closed_by_output += 1;
            self.close_client(io, conn, false);
        }
        true
    }

    /// Closes a client whose unsent output is over its limit.
    pub(super) fn check_output_limit(&mut self, io: &mut Io, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let unsent = io.conn(conn).map_or(0, |c| c.output.pending());
        let queued = client.replica.as_ref().map_or(0, |r| r.queued(self.repl.offset()));
        let limit = limit_of(client, &self.config);
        let unsent = unsent as u64 + queued;
        if !client.closing && exceeds(limit, unsent, io.now.mono_ms(), &mut client.over_soft_limit_ms) {
            tracing::warn!(
                "Client {} scheduled to be closed ASAP for overcoming of output buffer limits ({unsent} bytes unsent).",
                client.peer.remote
            );
            self.stats.clients_closed_by_output += 1;
            self.drop_client(io, conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_acts_at_once_and_the_soft_one_after_its_time() {
        let limit = OutputLimit { hard: 100, soft: 50, soft_seconds: 2 };
        let mut since = 0;
        assert!(exceeds(limit, 100, 1000, &mut since));
        since = 0;
        assert!(!exceeds(limit, 60, 1000, &mut since));
        assert!(!exceeds(limit, 60, 3000, &mut since));
        assert!(!exceeds(limit, 49, 3500, &mut since));
        assert!(!exceeds(limit, 60, 4000, &mut since));
        assert!(exceeds(limit, 60, 6001, &mut since));
        let none = OutputLimit { hard: 0, soft: 0, soft_seconds: 0 };
        assert!(!exceeds(none, u64::MAX, 9000, &mut since));
    }
}
