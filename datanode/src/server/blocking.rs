//! Clients that wait: for elements in a key, for replicas, for a pause to end. And keys that are watched.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::Server;
use super::client::{Blocked, Blocking};
use crate::command::{Args, Group, table};
use crate::io::{ConnId, Io};
use crate::resp::writer::Reply;
use crate::server::dispatch::Origin;
use crate::store::value::ValueRef;

/// What a client is told whose `SHUTDOWN` did not end the process.
pub const SHUTDOWN_FAILED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

type DbKey = (usize, Box<[u8]>);

/// Who waits for which key, first come first served.
#[derive(Default)]
pub struct BlockedKeys {
    waiting: HashMap<DbKey, VecDeque<ConnId>>,
}

impl BlockedKeys {
    /// True if nobody waits for anything.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn add(&mut self, key: DbKey, conn: ConnId) {
        let queue = self.waiting.entry(key).or_default();
        if !queue.contains(&conn) {
            queue.push_back(conn);
        }
    }

    fn remove(&mut self, key: &DbKey, conn: ConnId) {
        if let Some(queue) = self.waiting.get_mut(key) {
            queue.retain(|&c| c != conn);
            if queue.is_empty() {
                self.waiting.remove(key);
            }
        }
    }
}

/// Who watches which key (`WATCH`).
#[derive(Default)]
pub struct Watches {
    by_key: HashMap<DbKey, Vec<ConnId>>,
}

impl Server {
    /// Blocks a client until one of the keys gets an element; its command is then run again.
    pub fn block_on_keys(
        &mut self,
        conn: ConnId,
        keys: Vec<(usize, Box<[u8]>)>,
        args: Args<'_>,
        deadline_ms: u64,
    ) {
        for key in &keys {
            self.blocked_keys.add(key.clone(), conn);
        }
        self.block(conn, Blocked::Keys { keys, command: args.to_owned() }, deadline_ms);
    }

    /// Blocks a client.
    pub fn block(&mut self, conn: ConnId, on: Blocked, deadline_ms: u64) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.blocked = Some(Blocking { on, deadline_ms });
            self.blocked_clients += 1;
        }
    }

    /// Ends a client's waiting without a reply.
    pub fn unblock(&mut self, conn: ConnId) -> Option<Blocking> {
        let blocking = self.clients.get_mut(conn)?.blocked.take()?;
        self.blocked_clients -= 1;
        if let Blocked::Keys { keys, .. } = &blocking.on {
            for key in keys {
                self.blocked_keys.remove(key, conn);
            }
        }
        Some(blocking)
    }

    /// Says that a key may have something for clients that wait for it.
    pub fn signal_ready(&mut self, db: usize, key: &[u8]) {
        if self.blocked_keys.is_empty() {
            return;
        }
        let key: DbKey = (db, key.into());
        if self.blocked_keys.waiting.contains_key(&key) && !self.ready_keys.contains(&key) {
            self.ready_keys.push_back(key);
        }
    }

    /// Says that any key of these databases may have something for clients that wait for it.
    pub fn signal_databases(&mut self, dbs: &[usize]) {
        let keys: Vec<DbKey> =
            self.blocked_keys.waiting.keys().filter(|(db, _)| dbs.contains(db)).cloned().collect();
        for (db, key) in keys {
            self.signal_ready(db, &key);
        }
    }

    /// Tells the clients that wait for a shutdown that it is not going to happen.
    pub(super) fn shutdown_failed(&mut self, io: &mut Io) {
        let waits = |b: &Blocking| matches!(b.on, Blocked::Shutdown);
        let conns: Vec<ConnId> =
            self.clients.iter().filter(|c| c.blocked.as_ref().is_some_and(waits)).map(|c| c.conn).collect();
        for conn in conns {
            self.unblock_with_error(io, conn, SHUTDOWN_FAILED);
        }
    }

    /// Runs the commands of those who wait for a key again, in the order in which they came.
    pub(super) fn serve_blocked_on(&mut self, io: &mut Io, db: usize, key: &[u8]) {
        let dbkey: DbKey = (db, key.into());
        let waiting: Vec<ConnId> =
            self.blocked_keys.waiting.get(&dbkey).map(|q| q.iter().copied().collect()).unwrap_or_default();
        for conn in waiting {
            // When all is taken the others keep their places, as do those who wait for another type.
            let Some(held) = self.keyspace.peek(db, key).map(|e| match e.value() {
                ValueRef::List(_) => Some(Group::List),
                ValueRef::ZSet(_) => Some(Group::SortedSet),
                _ => None,
            }) else {
                break;
            };
            let Some(Blocking { on: Blocked::Keys { command, .. }, .. }) =
                self.clients.get(conn).and_then(|c| c.blocked.as_ref())
            else {
                continue;
            };
            let Some(spec) = table::find(command.as_args()).ok().filter(|spec| held == Some(spec.group))
            else {
                continue;
            };
            let Some(Blocking { on: Blocked::Keys { command, .. }, deadline_ms }) = self.unblock(conn) else {
                continue;
            };
            let before = self.repl.offset();
            let mut out = Vec::new();
            self.call(io, conn, spec, command.as_args(), Origin::Client, &mut out);
            self.release_effects();
            if let Some(again) = self.clients.get_mut(conn).and_then(|c| c.blocked.as_mut()) {
                // Still nothing for it: it keeps its place, and its first deadline.
                again.deadline_ms = deadline_ms;
                continue;
            }
            self.deliver(io, conn, before, out);
        }
    }

    /// Sends a late reply, held like any other, and goes on with what the client has sent meanwhile.
    fn deliver(&mut self, io: &mut Io, conn: ConnId, offset_before: u64, mut out: Vec<u8>) {
        let offset = self.repl.offset();
        if offset != offset_before {
            if let Some(client) = self.clients.get_mut(conn) {
                client.write_offset = offset;
            }
            if self.write_ack_replicas() > 0 {
                self.hold_reply(io, conn, 0, offset, &mut out);
            }
        }
        io.send(conn, &out);
        self.resume.push(conn);
    }

    /// Ends the waiting of clients whose deadline has passed, of `WAIT`s that are fulfilled, and of paused ones.
    pub(crate) fn check_blocked(&mut self, io: &mut Io) {
        if self.blocked_clients == 0 {
            return;
        }
        let now = io.now.mono_ms();
        let paused = self.paused(io.now);
        let conns: Vec<ConnId> =
            self.clients.iter().filter(|c| c.blocked.is_some()).map(|c| c.conn).collect();
        for conn in conns {
            let Some(blocking) = self.clients.get(conn).and_then(|c| c.blocked.as_ref()) else { continue };
            let late = blocking.deadline_ms != 0 && blocking.deadline_ms <= now;
            let ends = match &blocking.on {
                Blocked::Wait { offset, replicas } => {
                    late || self.repl.acked_by(&self.clients, *offset) >= *replicas
                }
                Blocked::Handover { member, offset } => late || self.member_has(member, *offset),
                Blocked::Keys { .. } => late,
                Blocked::Shutdown => false,
                Blocked::Paused(_) => !paused,
            };
            if ends {
                self.unblock_as_late(io, conn);
            }
        }
    }

    /// Ends a client's waiting with the reply it gets at its deadline; a paused command is run.
    pub fn unblock_as_late(&mut self, io: &mut Io, conn: ConnId) {
        let Some(blocking) = self.unblock(conn) else { return };
        let mut out = Vec::new();
        let proto = self.clients.get(conn).map_or(2, |c| c.proto);
        let mut reply = Reply { out: &mut out, proto };
        match blocking.on {
            Blocked::Wait { offset, .. } => reply.int(self.repl.acked_by(&self.clients, offset) as i64),
            // Those that move an element too, though within a transaction they answer a plain null.
            Blocked::Keys { .. } => reply.null_array(),
            Blocked::Handover { member, offset } if self.member_has(&member, offset) => {
                reply.bulk(self.status_json(io).as_bytes());
            }
            Blocked::Handover { .. } => {
                reply.error("HANDOVER the member did not catch up in time");
                self.handover_failed();
            }
            Blocked::Shutdown => reply.error(SHUTDOWN_FAILED),
            Blocked::Paused(command) => self.request(io, conn, command.as_args(), &mut out),
        }
        io.send(conn, &out);
        self.resume.push(conn);
    }

    /// Ends a client's waiting with an error.
    pub fn unblock_with_error(&mut self, io: &mut Io, conn: ConnId, error: &str) {
        self.unblock(conn);
        let mut out = Vec::new();
        Reply { out: &mut out, proto: 2 }.error(error);
        io.send(conn, &out);
        self.resume.push(conn);
    }

    /// Serves what clients sent while they waited.
    pub(crate) fn resume_clients(&mut self, io: &mut Io) {
        while let Some(conn) = self.resume.pop() {
            self.serve(io, conn);
        }
    }

    /// Replies an error to every client that waits for a key: this node is no master any more.
    pub fn unblock_all(&mut self, io: &mut Io, error: &str) {
        let conns: Vec<ConnId> = self
            .clients
            .iter()
            .filter(|c| {
                matches!(c.blocked, Some(Blocking { on: Blocked::Keys { .. } | Blocked::Wait { .. }, .. }))
            })
            .map(|c| c.conn)
            .collect();
        for conn in conns {
            self.unblock_with_error(io, conn, error);
        }
    }

    /// Watches a key for a client.
    pub fn watch(&mut self, conn: ConnId, db: usize, key: &[u8]) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let dbkey: DbKey = (db, key.into());
        if !client.watched.contains(&dbkey) {
            client.watched.push(dbkey.clone());
            self.watches.by_key.entry(dbkey).or_default().push(conn);
        }
    }

    /// Forgets all of a client's watches.
    pub fn unwatch_all(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.watch_broken = false;
        for key in std::mem::take(&mut client.watched) {
            if let Some(conns) = self.watches.by_key.get_mut(&key) {
                conns.retain(|&c| c != conn);
                if conns.is_empty() {
                    self.watches.by_key.remove(&key);
                }
            }
        }
    }

    /// A key was changed: transactions that watch it will fail.
    pub fn touch_watched(&mut self, db: usize, key: &[u8]) {
        if self.watches.by_key.is_empty() {
            return;
        }
        for conn in self.watches.by_key.get(&(db, Box::from(key))).into_iter().flatten() {
            if let Some(client) = self.clients.get_mut(*conn) {
                client.watch_broken = true;
            }
        }
    }

    /// All data has been replaced by our master's: every transaction that watches something will fail.
    pub fn touch_all_watched(&mut self) {
        for client in self.clients.iter_mut() {
            client.watch_broken |= !client.watched.is_empty();
        }
    }

    /// Databases are about to be emptied, or exchanged with each other: transactions that watch one of their keys will
    /// fail, unless the key is in none of them and so stays away.
    pub fn touch_watched_in(&mut self, dbs: &[usize]) {
        let keyspace = &self.keyspace;
        let changes =
            |(db, key): &DbKey| dbs.contains(db) && dbs.iter().any(|&db| keyspace.peek(db, key).is_some());
        for client in self.clients.iter_mut() {
            client.watch_broken |= client.watched.iter().any(changes);
        }
    }
}
