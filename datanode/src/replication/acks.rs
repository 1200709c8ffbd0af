//! Acknowledged writes: the reply to a write is held until as many replicas as are asked for have it, in memory or on
//! disk (`write-ack-replicas`, `write-ack-fsync`; under a shard map `writeAckReplicas`, `writeAckFsync`).
//!
//! Contract: a held reply leaves only once the rule is fulfilled for its write and all before it on the same connection.
//! Whoever stops being master closes the connections that still wait: their outcome is unknown, never a false OK.

use super::ReplicaState;
use crate::config::types::Fsync;
use crate::io::{ConnId, Io};
use crate::mutation::{self, Mutation};
use crate::server::Server;
use crate::server::client::Hold;

/// What a write must have reached before its reply leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteAcks {
    /// Replicas that have acknowledged it.
    pub replicas: usize,
    /// They have it on disk (`FACK`), and so has the master.
    pub fsync: bool,
}

impl WriteAcks {
    /// Replies are held at all.
    pub fn holds(self) -> bool {
        self.replicas > 0 || self.fsync
    }
}

/// What the reply that has been held longest waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldFor {
    /// How long it has been held, milliseconds.
    pub ms: u64,
    /// Replicas that are missing.
    pub replicas: usize,
    /// The own file lacks it.
    pub own_fsync: bool,
}

impl Server {
    /// The rule in force: the shard map's, else the configuration's. It counts on a master; a replica's own only tells
    /// how soon it syncs.
    pub fn write_acks(&self) -> WriteAcks {
        match &self.managed {
            Some(_) if mutation::active(Mutation::ReplyBeforeAck) => WriteAcks::default(),
            Some(m) if mutation::active(Mutation::DisksNotAwaited) => {
                WriteAcks { fsync: false, ..m.write_acks() }
            }
            Some(m) => m.write_acks(),
            None => {
                let c = &self.config;
                WriteAcks { replicas: c.write_ack_replicas as usize, fsync: c.write_ack_fsync }
            }
        }
    }

    /// Replies to writes are held here and now.
    pub(crate) fn holds_replies(&self) -> bool {
        self.write_acks().holds() && self.is_master()
    }

    /// The rule has changed: what waits is looked at anew, and the stream is counted while anybody must acknowledge it.
    pub(crate) fn write_acks_changed(&mut self) {
        self.repl.acks_changed = true;
        self.repl.always_counts = self.managed.is_some() || self.write_acks().replicas > 0;
        if self.repl.always_counts {
            self.repl.ensure_backlog(&self.config);
        }
        self.ask_for_acks();
    }

    /// Members of a shard map acknowledge by themselves; other replicas are asked, with what is sent next.
    pub(crate) fn ask_for_acks(&mut self) {
        self.repl.wants_acks |= self.managed.is_none() && !self.held.is_empty();
    }

    /// Why nothing could ever be acknowledged here.
    pub(crate) fn ack_refusal(&self) -> Option<&'static str> {
        (self.write_acks().fsync && !self.persist.aof_on()).then_some(
            "MISCONF Writes are to be acknowledged when they are on disk (writeAckFsync), but there is no append-only \
             file: appendonly is no",
        )
    }

    /// Lets the reply at `out[start..]` leave only once all that has been written until now has been acknowledged.
    pub(crate) fn hold_reply(&mut self, io: &mut Io, conn: ConnId, start: usize, out: &mut Vec<u8>) {
        let (offset, mark) = (self.repl.offset(), self.persist.log_mark());
        let since_ms = io.now.mono_ms();
        let (Some(c), Some(client)) = (io.conn(conn), self.clients.get_mut(conn)) else { return };
        c.output.bytes().extend_from_slice(&out[..start]);
        let at = c.output.end();
        c.output.bytes().extend_from_slice(&out[start..]);
        out.clear();
        if client.holds.is_empty() {
            c.output.set_hold(Some(at));
            self.held.push(conn);
        }
        client.holds.push_back(Hold { at, offset, mark, since_ms });
        io.flush(conn);
        self.ask_for_acks();
    }

    /// Offsets that replicas have acknowledged, the largest first: with `fsync` as far as they have it on disk.
    fn acknowledged(&self, fsync: bool) -> Vec<u64> {
        let counted = self.repl.online(&self.clients).filter(|r| self.counts_as_member(r));
        let mut offsets: Vec<u64> =
            counted.filter_map(|r| if fsync { r.acked_durable } else { Some(r.acked) }).collect();
        offsets.sort_unstable_by(|a, b| b.cmp(a));
        offsets
    }

    /// The offset up to which replies may leave: enough replicas have acknowledged it, and our own log has been written.
    pub fn acknowledged_offset(&self) -> u64 {
        let WriteAcks { replicas, fsync } = self.write_acks();
        if replicas == 0 {
            return u64::MAX;
        }
        let kept = match &self.managed {
            Some(m) if m.is_oversealed() => 0,
            _ => self.persist.handed_over(self.repl.offset()),
        };
        self.acknowledged(fsync).get(replicas - 1).copied().unwrap_or(0).min(kept)
    }

    /// Under a shard map only its members' acknowledgements count.
    fn counts_as_member(&self, replica: &ReplicaState) -> bool {
        match &self.managed {
            Some(m) => replica.admitted && replica.address().is_some_and(|a| m.counts(&a)),
            None => true,
        }
    }

    /// Lets replies leave whose writes have been acknowledged, and ends WAITs; true if clients went on with what they had
    /// sent meanwhile.
    pub(crate) fn release_holds(&mut self, io: &mut Io) -> bool {
        if !std::mem::take(&mut self.repl.acks_changed) {
            return false;
        }
        if !self.held.is_empty() {
            let (reached, fsync) = (self.acknowledged_offset(), self.write_acks().fsync);
            let persist = &self.persist;
            let clients = &mut self.clients;
            self.held.retain(|&conn| {
                let (Some(client), Some(c)) = (clients.get_mut(conn), io.conn(conn)) else {
                    return false;
                };
                let before = client.holds.len();
                let kept = |h: &Hold| h.offset <= reached && (!fsync || persist.is_durable(h.mark));
                while client.holds.front().is_some_and(kept) {
                    client.holds.pop_front();
                }
                let next = client.holds.front().map(|h| h.at);
                c.output.set_hold(next);
                if client.holds.len() != before {
                    io.flush(conn);
                }
                next.is_some()
            });
        }
        self.check_blocked(io);
        let go_on = !self.resume.is_empty();
        self.resume_clients(io);
        go_on
    }

    /// This node is going to follow another master: who waits for acknowledgements gets none from it.
    pub(crate) fn drop_held(&mut self, io: &mut Io) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            tracing::warn!("No longer master: closing {} connections with unacknowledged writes", held.len());
        }
        for conn in held {
            self.close_client(io, conn, false);
        }
    }

    /// Where replies wait for disks, the append-only file is synced as soon as there is something to sync, not once a
    /// second: in the background, and what comes meanwhile together afterwards.
    pub(crate) fn sync_awaited(&mut self, io: &mut Io) {
        if self.write_acks().fsync && self.config.appendfsync != Fsync::Always && self.persist.may_sync() {
            self.sync_log_in_background(io);
        }
    }

    /// Number of replies that are held.
    pub fn held_replies(&self) -> usize {
        self.held.iter().filter_map(|&conn| self.clients.get(conn)).map(|c| c.holds.len()).sum()
    }

    /// What the reply that has been held longest waits for.
    pub fn held_for(&self, io: &Io) -> Option<HeldFor> {
        let WriteAcks { replicas, fsync } = self.write_acks();
        let oldest = self.held.iter().filter_map(|&conn| self.clients.get(conn)?.holds.front());
        let oldest = oldest.min_by_key(|h| h.since_ms)?;
        let have = self.acknowledged(fsync).iter().filter(|&&offset| offset >= oldest.offset).count();
        Some(HeldFor {
            ms: io.now.mono_ms().saturating_sub(oldest.since_ms),
            replicas: replicas.saturating_sub(have),
            own_fsync: fsync && !self.persist.is_durable(oldest.mark),
        })
    }
}

#[cfg(test)]
#[path = "acks_tests.rs"]
mod tests;
