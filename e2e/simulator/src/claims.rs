//! What must hold at every moment of a run. The first thing that does not is kept, and ends it.

use std::collections::{BTreeMap, BTreeSet};

use datanode::io::Now;
use datanode::server::Server;
use datanode::shardmap::{NodeAddr, Shard};
use datanode::store::value::ValueRef;

use crate::writer::{Form, History, Write};

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Claims {
    /// Master and dataset of each epoch, as anybody said.
    masters: BTreeMap<u64, (Option<NodeAddr>, Option<String>)>,
    /// The sentinel that leads each epoch.
    leaders: BTreeMap<u64, usize>,
    /// The largest epoch at which a write was acknowledged.
    acknowledged_at: u64,
    /// Masters that have been seen taking writes: epoch and node.
    taken_up: BTreeSet<(u64, usize)>,
    /// So many acknowledged writes have been looked for when they were acknowledged.
    looked_for: usize,
    /// What was violated, and when, microseconds.
    pub violation: Option<String>,
}

impl Claims {
    /// How many masters there have been.
    pub fn epochs(&self) -> usize {
        self.masters.len()
    }

    /// The newest epoch that anybody has heard of.
    pub fn newest_epoch(&self) -> u64 {
        self.masters.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }

    /// Notes that something does not hold.
    pub fn violated(&mut self, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(what);
    }

    /// A map says who is master of an epoch: nobody may ever say otherwise.
    pub fn map_seen(&mut self, shard: &Shard, who: &str) {
        if shard.epoch == 0 {
            return;
        }
        let said = (shard.master.clone(), shard.dataset.clone());
        let first = self.masters.entry(shard.epoch).or_insert_with(|| said.clone());
        if *first != said {
            let first = first.clone();
            self.violated(|| {
                format!("two masters of epoch {}: {first:?}, and {said:?} says {who}", shard.epoch)
            });
        }
    }

    /// A sentinel asks for promises, as only the leader of an epoch does: it has the votes of a majority, and nobody else.
    pub fn led(&mut self, epoch: u64, sentinel: usize, name: &str) {
        let first = *self.leaders.entry(epoch).or_insert(sentinel);
        if first != sentinel {
            self.violated(|| format!("two leaders of epoch {epoch}: {name}, and machine {first} before"));
        }
    }

    /// A reply to a write leaves a node: it must be master. Where leases alone keep masters apart (`exclusive`), nobody of a
    /// later epoch may have answered before; else replicas may have acknowledged long ago what is answered late.
    pub fn write_answered(&mut self, name: &str, epoch: Option<u64>, exclusive: bool) {
        let Some(epoch) = epoch else {
            return self.violated(|| format!("{name} acknowledges a write, and is not master"));
        };
        if epoch < self.acknowledged_at && exclusive {
            let newer = self.acknowledged_at;
            self.violated(|| {
                format!("{name} acknowledges a write at epoch {epoch}, after one at epoch {newer}")
            });
        }
        self.acknowledged_at = self.acknowledged_at.max(epoch);
    }

    /// A node takes writes at an epoch: the first time it must have everything that was acknowledged.
    pub fn takes_writes(&mut self, name: &str, node: usize, epoch: u64, now: Now, seen: (&Server, &History)) {
        let (server, history) = seen;
        if !self.taken_up.insert((epoch, node)) {
            return;
        }
        if let Some(lost) = first_missing(server, now, history) {
            self.violated(|| {
                format!("{name} takes writes at epoch {epoch} without {lost:?}, which was acknowledged")
            });
        }
    }

    /// What has been acknowledged just now, by whoever, the newest master has.
    pub fn newly_acknowledged(&mut self, name: &str, now: Now, seen: (&Server, &History)) {
        let (server, history) = seen;
        let news = &history.acknowledged[self.looked_for..];
        self.looked_for = history.acknowledged.len();
        if let Some(lost) = news.iter().find(|write| !has(server, now, **write)) {
            self.violated(|| {
                format!("{lost:?} is acknowledged, and {name}, the newest master, does not have it")
            });
        }
    }
}

/// The first acknowledged write that a server does not have.
pub fn first_missing(server: &Server, now: Now, history: &History) -> Option<Write> {
    history.acknowledged.iter().copied().find(|write| !has(server, now, *write))
}

fn has(server: &Server, now: Now, write: Write) -> bool {
    let n = write.id.to_string();
    let find = |key: &str| server.keyspace.lookup(0, key.as_bytes(), now.unix_ms).is_some();
    match write.form {
        Form::Set => find(&format!("w:{n}")),
        Form::Transaction | Form::Script => find(&format!("w:{n}:a")) && find(&format!("w:{n}:b")),
        Form::Hash => find(&format!("hash:{n}")),
        Form::Add => match server.keyspace.lookup(0, b"log", now.unix_ms).map(|e| e.value()) {
            Some(ValueRef::Set(set)) => set.contains(n.as_bytes()),
            _ => false,
        },
    }
}
