//! Server-assisted client side caching (<https://redis.io/docs/latest/develop/reference/client-side-caching/>): who
//! may have read which key, and what they are told when it changes. A key is known by its name alone: databases are
//! not told apart.
//!
//! Commands do not send invalidations themselves. What they change is collected and leaves behind the running unit, so
//! that nothing is pushed into the middle of a reply; broadcasts leave once per loop.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{Clients, ReplyMode};
use super::{JobKind, Server};
use crate::command::{Args, Flags, Spec};
use crate::io::{ConnId, Io, Lane};
use crate::resp::writer::Reply;
use crate::store::dict::{Dict, Entry, HashSeed};

/// The channel by which a RESP2 connection gets other connections' invalidations.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys given up at once where more are tracked than `tracking-table-max-keys`; a multiple of it where that has not
/// been enough in the rounds before.
const LIMIT_EFFORT: u64 = 100;
/// A table with more keys is freed in the background.
const LAZY_KEYS: usize = 1000;

/// Which keys a client is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those it has read.
    Reads,
    /// Those it has read right behind `CLIENT CACHING YES`.
    OptIn,
    /// Those it has read, but not right behind `CLIENT CACHING NO`.
    OptOut,
    /// All that begin with one of its prefixes.
    Broadcast,
}

/// Where a client's invalidations go instead of to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The other client's `CLIENT ID`.
    pub id: u64,
    /// Its connection.
    pub conn: ConnId,
}

/// `CLIENT TRACKING ON`: what one client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackingState {
    /// Which keys.
    pub mode: Mode,
    /// Not what it changes itself.
    pub noloop: bool,
    /// Where invalidations go instead.
    pub redirect: Option<Redirect>,
    /// That connection is gone.
    pub broken: bool,
    /// `CLIENT CACHING` was said for the next command.
    pub caching: bool,
    /// Under [`Mode::Broadcast`]: beginnings of keys.
    pub prefixes: BTreeSet<Vec<u8>>,
}

/// A key that clients may have in their caches.
struct Tracked {
    key: Box<[u8]>,
    /// Ascending.
    readers: Vec<ConnId>,
}

impl Entry for Box<Tracked> {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

/// Keys that begin alike.
#[derive(Default)]
struct Prefix {
    clients: BTreeSet<ConnId>,
    /// What has changed since the last broadcast, and who did it last.
    changed: BTreeMap<Box<[u8]>, Option<ConnId>>,
}

/// Who is to be told about which keys.
pub struct Tracking {
    seed: HashSeed,
    /// Clients that track something.
    clients: usize,
    keys: Dict<Box<Tracked>>,
    /// Sum of all keys' readers.
    items: usize,
    prefixes: BTreeMap<Vec<u8>, Prefix>,
    /// Client and key; no key: everything.
    outbox: Vec<(ConnId, Option<Box<[u8]>>)>,
    /// For the client that is being served: goes out behind its reply.
    own: Vec<u8>,
    /// Rounds in a row that did not get the table below its limit.
    rounds_over_limit: u64,
}

impl Tracking {
    /// Nobody tracks anything.
    pub fn new(seed: HashSeed) -> Tracking {
        Tracking {
            seed,
            clients: 0,
            keys: Dict::new(seed),
            items: 0,
            prefixes: BTreeMap::new(),
            outbox: Vec::new(),
            own: Vec::new(),
            rounds_over_limit: 0,
        }
    }

    /// Number of clients that track something.
    pub fn clients(&self) -> usize {
        self.clients
    }

    /// Number of keys that clients may have in their caches.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Sum of these keys' readers.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Number of prefixes that somebody listens to.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    fn remember(&mut self, key: &[u8], reader: ConnId) {
        let make = || Box::new(Tracked { key: key.into(), readers: Vec::new() });
        let readers = &mut self.keys.find_or_insert_with(key, make).0.readers;
        if let Err(at) = readers.binary_search(&reader) {
            readers.insert(at, reader);
            self.items += 1;
        }
    }

    fn changed(&mut self, key: &[u8], by: Option<ConnId>) {
        for (prefix, listeners) in &mut self.prefixes {
            if key.starts_with(prefix) {
                listeners.changed.insert(key.into(), by);
            }
        }
    }

    /// Has those who have read a key told, but for `except`, and forgets them: they have to read it again.
    fn invalidate(&mut self, clients: &Clients, key: &[u8], current: Option<ConnId>) {
        let Some(tracked) = self.keys.remove(key) else { return };
        self.items -= tracked.readers.len();
        for &reader in &tracked.readers {
            let Some(state) = clients.get(reader).and_then(|c| c.tracking.as_deref()) else { continue };
            // It may have changed its mode since.
            if state.mode != Mode::Broadcast && !(state.noloop && current == Some(reader)) {
                self.outbox.push((reader, Some(key.into())));
            }
        }
    }
}

/// What is sent behind the kind of a message: keys, or null for all.
fn write_keys<'a>(reply: &mut Reply<'_>, keys: Option<impl ExactSizeIterator<Item = &'a [u8]>>) {
    match keys {
        Some(keys) => {
            reply.array(keys.len());
            keys.for_each(|key| reply.bulk(key));
        }
        None => reply.null(),
    }
}

/// The message by which a client learns of invalid keys, and the connection it goes to.
fn message<'a>(
    clients: &mut Clients,
    conn: ConnId,
    keys: Option<impl ExactSizeIterator<Item = &'a [u8]>>,
) -> Option<(ConnId, Vec<u8>)> {
    let client = clients.get(conn)?;
    let redirect = client.tracking.as_deref()?.redirect;
    let (proto, mut out) = (client.proto, Vec::new());
    let Some(target) = redirect.map_or(Some(client), |r| clients.get(r.conn)) else {
        let id = redirect.map_or(0, |r| r.id);
        if let Some(state) = clients.get_mut(conn).and_then(|c| c.tracking.as_deref_mut()) {
            state.broken = true;
        }
        if proto < 3 {
            return None;
        }
        let mut reply = Reply { out: &mut out, proto };
        reply.push(2);
        reply.bulk(b"tracking-redir-broken");
        reply.int(id as i64);
        return Some((conn, out));
    };
    let mut reply = Reply { out: &mut out, proto: target.proto };
    if target.proto >= 3 {
        reply.push(2);
        reply.bulk(b"invalidate");
    } else if redirect.is_some() && target.subscribed() {
        reply.array(3);
        reply.bulk(b"message");
        reply.bulk(CHANNEL);
    } else {
        // RESP2 has no way to say anything to a connection that has not asked.
        return None;
    }
    write_keys(&mut reply, keys);
    Some((target.conn, out))
}

impl Server {
    /// A key was changed: transactions that watch it will fail, and clients that may have it in their caches are told.
    /// `by`: the client that changed it; none where its time was up or it was evicted.
    #[inline]
    pub(crate) fn key_changed(&mut self, db: usize, key: &[u8], by: Option<ConnId>) {
        self.touch_watched(db, key);
        let t = &mut self.tracking;
        if !t.keys.is_empty() || !t.prefixes.is_empty() {
            t.changed(key, by);
            t.invalidate(&self.clients, key, self.serving);
        }
    }

    /// All data is gone: whoever tracks anything is told so.
    pub(crate) fn all_keys_changed(&mut self, io: &mut Io) {
        if self.tracking.clients > 0 {
            let who = self.clients.iter().filter(|c| c.tracking.is_some()).map(|c| (c.conn, None));
            self.tracking.outbox.extend(who);
        }
        if self.tracking.keys.is_empty() {
            return;
        }
        let old = std::mem::replace(&mut self.tracking.keys, Dict::new(self.tracking.seed));
        self.tracking.items = 0;
        if old.len() > LAZY_KEYS {
            self.background(io, Lane::Free, JobKind::Quiet, move || {
                drop(old);
                Ok(0)
            });
        }
    }

    /// Remembers the keys that a client has just read by a command, if it tracks what it reads. Cheap where nobody
    /// does.
    #[inline]
    pub(crate) fn track_reads(&mut self, conn: ConnId, spec: &Spec, args: Args<'_>) {
        if self.tracking.clients > 0
            && spec.flags.any(Flags::READONLY)
            // The channels of shards are found as keys are.
            && !spec.flags.any(Flags::PUBSUB)
            // A script counts if it reads something, whether or not it may write.
            && !matches!(spec.name, "eval_ro" | "evalsha_ro" | "fcall_ro")
        {
            self.remember_reads(conn, spec, args);
        }
    }

    /// A script has called a command: if that reads, it counts as a read of all keys that the script was given, by `outer`.
    pub(crate) fn track_script(&mut self, conn: ConnId, called: &Spec, outer: &Spec, args: Args<'_>) {
        if self.tracking.clients > 0 && called.flags.any(Flags::READONLY) {
            self.remember_reads(conn, outer, args);
        }
    }

    fn remember_reads(&mut self, conn: ConnId, spec: &Spec, args: Args<'_>) {
        let Some(state) = self.clients.get(conn).and_then(|c| c.tracking.as_deref()) else { return };
        let wanted = match state.mode {
            Mode::Reads => true,
            Mode::OptIn => state.caching,
            Mode::OptOut => !state.caching,
            Mode::Broadcast => false,
        };
        if wanted {
            for i in spec.key_indexes(&args) {
                self.tracking.remember(args.at(i), conn);
            }
        }
    }

    /// Begins to track for a client, or changes how; `state` has been checked. Prefixes add to those it has.
    pub fn track(&mut self, conn: ConnId, state: TrackingState) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let prefixes = client.tracking.take().map(|old| old.prefixes);
        self.tracking.clients += usize::from(prefixes.is_none());
        for prefix in &state.prefixes {
            self.tracking.prefixes.entry(prefix.clone()).or_default().clients.insert(conn);
        }
        let prefixes = prefixes.into_iter().flatten().chain(state.prefixes).collect();
        client.tracking = Some(Box::new(TrackingState { prefixes, ..state }));
    }

    /// Ends tracking for a client. What it has read stays in the table until it changes.
    pub fn untrack(&mut self, conn: ConnId) {
        let Some(state) = self.clients.get_mut(conn).and_then(|c| c.tracking.take()) else { return };
        self.tracking.clients -= 1;
        for prefix in state.prefixes {
            if let Some(listeners) = self.tracking.prefixes.get_mut(&prefix) {
                listeners.clients.remove(&conn);
                if listeners.clients.is_empty() {
                    self.tracking.prefixes.remove(&prefix);
                }
            }
        }
    }

    /// Gives keys up where more are tracked than `tracking-table-max-keys`: their readers are told that they changed.
    pub(super) fn limit_tracking(&mut self) {
        let most = self.config.tracking_table_max_keys;
        let t = &mut self.tracking;
        if most == 0 || t.clients == 0 {
            return;
        }
        for _ in 0..LIMIT_EFFORT.saturating_mul(t.rounds_over_limit + 1) {
            if t.keys.len() as u64 <= most {
                break;
            }
            let Some(key) = t.keys.random(&mut self.rng).map(|e| e.key.clone()) else { break };
            t.invalidate(&self.clients, &key, self.serving);
        }
        t.rounds_over_limit = if t.keys.len() as u64 > most { t.rounds_over_limit + 1 } else { 0 };
    }

    /// Sends what has come up. What goes to the client that is being served is kept until its reply is complete.
    #[inline]
    pub(super) fn send_invalidations(&mut self, io: &mut Io) {
        if !self.tracking.outbox.is_empty() {
            self.empty_outbox(io);
        }
    }

    fn empty_outbox(&mut self, io: &mut Io) {
        for (conn, key) in std::mem::take(&mut self.tracking.outbox) {
            let keys = key.as_deref().map(std::iter::once);
            match message(&mut self.clients, conn, keys) {
                Some((target, text)) if self.serving == Some(target) => self.tracking.own.extend(text),
                Some((target, text)) => io.send(target, &text),
                None => {}
            }
        }
    }

    /// Tells the client that is being served before its command runs; behind it, where its reply is not sent.
    #[inline]
    pub(super) fn push_before_reply(&mut self, conn: ConnId, out: &mut Vec<u8>) {
        if !self.tracking.own.is_empty()
            && self.clients.get(conn).is_some_and(|c| c.reply_mode == ReplyMode::On)
        {
            out.append(&mut self.tracking.own);
        }
    }

    /// Says something that is no reply to the client that is being served: behind its reply, and even if it wants none.
    pub(crate) fn tell_silent(&mut self, message: &[u8]) {
        self.tracking.own.extend_from_slice(message);
    }

    /// What the client that is being served has to be told.
    #[inline]
    pub(super) fn own_invalidations(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tracking.own)
    }

    /// Once per loop: tells those who listen to prefixes what has changed.
    pub(super) fn broadcast_invalidations(&mut self, io: &mut Io) {
        self.send_invalidations(io);
        for listeners in self.tracking.prefixes.values_mut().filter(|l| !l.changed.is_empty()) {
            let changed = std::mem::take(&mut listeners.changed);
            for &conn in &listeners.clients {
                let noloop =
                    self.clients.get(conn).and_then(|c| c.tracking.as_deref()).is_some_and(|t| t.noloop);
                let others = changed.iter().filter(|(_, by)| !noloop || **by != Some(conn));
                let keys: Vec<&[u8]> = others.map(|(key, _)| &**key).collect();
                if keys.is_empty() {
                    continue;
                }
                if let Some((target, text)) = message(&mut self.clients, conn, Some(keys.into_iter())) {
                    io.send(target, &text);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "tracking_tests.rs"]
mod tests;
