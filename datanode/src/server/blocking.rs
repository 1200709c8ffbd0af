//! Clients that wait: for elements in a key, for replicas, for a pause to end. And keys that are watched.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::Server;
use super::client::{Blocked, Blocking, Watched};
use crate::command::{Error, Group, OwnedArgs, Spec, table};
use crate::io::{ConnId, Io};
use crate::resp::writer::Reply;
use crate::server::dispatch::Origin;
use crate::store::value::ValueRef;

/// What a client is told whose `SHUTDOWN` did not end the process.
pub const SHUTDOWN_FAILED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// What a client is told whose `WAITAOF` asks for the local file while none is kept.
pub const WAITAOF_WITHOUT_AOF: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

/// What a `WAITAOF` waits for.
#[derive(Debug, Clone, Copy)]
pub struct AofWait {
    /// The local file has to have it.
    pub local: bool,
    /// So many replicas' files have to have it.
    pub replicas: usize,
    /// Replication offset behind the client's last write.
    pub offset: u64,
    /// What the local log had been fed behind the client's last write.
    pub mark: u64,
}

/// How many append-only files have what a client wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AofAcks {
    local: bool,
    replicas: usize,
}

impl AofWait {
    /// Enough files have it.
    pub fn is_met_by(&self, acks: AofAcks) -> bool {
        acks.local >= self.local && acks.replicas >= self.replicas
    }
}

impl AofAcks {
    /// The reply of `WAITAOF`.
    pub fn reply(self, reply: &mut Reply<'_>) {
        reply.array(2);
        reply.int(i64::from(self.local));
        reply.int(self.replicas as i64);
    }
}

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
        spec: &'static Spec,
        command: OwnedArgs,
        deadline_ms: u64,
    ) {
        for key in &keys {
            self.blocked_keys.add(key.clone(), conn);
        }
        self.block(conn, Blocked::Keys { keys, spec, command }, deadline_ms);
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

    /// Says that a value is no more in its place: those who wait for a stream on behalf of a group are told.
    pub fn signal_gone<'a>(&mut self, db: usize, key: &[u8], value: impl Into<ValueRef<'a>>) {
        if matches!(value.into(), ValueRef::Stream(_)) {
            self.signal_ready(db, key);
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
        self.unblock_where(io, SHUTDOWN_FAILED, |on| matches!(on, Blocked::Shutdown));
    }

    /// Runs the commands of those who wait for a key again, in the order in which they came.
    pub(super) fn serve_blocked_on(&mut self, io: &mut Io, db: usize, key: &[u8]) {
        let dbkey: DbKey = (db, key.into());
        let waiting: Vec<ConnId> =
            self.blocked_keys.waiting.get(&dbkey).map(|q| q.iter().copied().collect()).unwrap_or_default();
        for conn in waiting {
            let held = self.keyspace.peek(db, key).and_then(|e| match e.value() {
                ValueRef::List(_) => Some(Group::List),
                ValueRef::ZSet(_) => Some(Group::SortedSet),
                ValueRef::Stream(_) => Some(Group::Stream),
                _ => None,
            });
            // When all is taken the others keep their places, as do those who wait for another type. But who reads a
            // stream in a group is told that it is gone.
            let concerned = |b: &Blocking| match &b.on {
                Blocked::Keys { spec, .. } => held == Some(spec.group) || spec.name == "xreadgroup",
                _ => false,
            };
            let blocked = self.clients.get_mut(conn).and_then(|c| c.blocked.take_if(|b| concerned(b)));
            let Some(Blocking { on: Blocked::Keys { keys, spec, command }, deadline_ms }) = blocked else {
                continue;
            };
            self.blocked_clients -= 1;
            let (before, mark_before) = (self.repl.offset(), self.persist.log_mark());
            let mut out = Vec::new();
            self.woken_by = Some(key.into());
            self.call(io, conn, spec, command.as_args(), Origin::Client, &mut out);
            self.woken_by = None;
            self.release_effects();
            if let Some(again) = self.clients.get_mut(conn).and_then(|c| c.blocked.as_mut()) {
                // Still nothing for it: it has kept its places, and keeps its first deadline.
                again.deadline_ms = deadline_ms;
                continue;
            }
            keys.iter().for_each(|key| self.blocked_keys.remove(key, conn));
            self.deliver(io, conn, (before, mark_before), out);
        }
    }

    /// Sends a late reply, held like any other, and goes on with what the client has sent meanwhile. `before`: the
    /// stream's offset and the log's mark before the command.
    pub(super) fn deliver(&mut self, io: &mut Io, conn: ConnId, before: (u64, u64), mut out: Vec<u8>) {
        let (offset, mark) = (self.repl.offset(), self.persist.log_mark());
        let (offset_before, mark_before) = before;
        if mark != mark_before
            && let Some(client) = self.clients.get_mut(conn)
        {
            client.log_mark = mark;
        }
        if offset != offset_before
            && let Some(client) = self.clients.get_mut(conn)
        {
            client.write_offset = offset;
        }
        if (offset != offset_before || mark > mark_before) && self.holds_replies() {
            self.hold_reply(io, conn, 0, &mut out);
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
                Blocked::WaitAof(wanted) => late || wanted.is_met_by(self.aof_acks(wanted)),
                Blocked::Handover { member, offset } => late || self.member_has(member, *offset),
                Blocked::Keys { .. } => late,
                Blocked::Shutdown | Blocked::Migrate | Blocked::Left => false,
                // With a migration under way they wait for its end.
                Blocked::Paused(_) => !paused && self.migrations.is_empty(),
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
            Blocked::WaitAof(wanted) => self.aof_acks(&wanted).reply(&mut reply),
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
            // They are answered by the migration itself, and by the one behind this server.
            Blocked::Migrate | Blocked::Left => {}
            Blocked::Paused(command) => {
                let args = command.as_args();
                self.request(io, conn, table::find(args).ok(), args, &mut out);
            }
        }
        io.send(conn, &out);
        self.resume.push(conn);
    }

    /// Runs the commands that wait for a pause or for a migration, one of which has ended. They may have to wait again.
    pub(super) fn release_paused(&mut self, io: &mut Io) {
        if self.paused(io.now) {
            return;
        }
        let waits = |b: &Blocking| matches!(b.on, Blocked::Paused(_));
        let conns: Vec<ConnId> =
            self.clients.iter().filter(|c| c.blocked.as_ref().is_some_and(waits)).map(|c| c.conn).collect();
        for conn in conns {
            self.unblock_as_late(io, conn);
        }
    }

    /// Ends a client's waiting with an error.
    pub fn unblock_with_error(&mut self, io: &mut Io, conn: ConnId, error: &str) {
        self.unblock(conn);
        self.stats.count_error(Error::code_of(error));
        let mut out = Vec::new();
        Reply { out: &mut out, proto: 2 }.error(error);
        io.send(conn, &out);
        self.resume.push(conn);
    }

    /// Serves what clients sent while they waited.
    pub(crate) fn resume_clients(&mut self, io: &mut Io) {
        while let Some(conn) = self.resume.pop() {
            if self.repl.link_conn() == Some(conn) {
                self.link_received(io);
            } else {
                self.serve(io, conn);
            }
        }
    }

    /// Replies an error to every client that waits for a key or for replicas: this node is no master any more.
    pub fn unblock_all(&mut self, io: &mut Io, error: &str) {
        self.unblock_where(io, error, Blocked::ends_with_role);
    }

    /// The append-only file has been switched off: replies an error to those who wait for it.
    pub(crate) fn unblock_waits_for_log(&mut self, io: &mut Io) {
        self.unblock_where(io, WAITAOF_WITHOUT_AOF, |on| matches!(on, Blocked::WaitAof(w) if w.local));
    }

    fn unblock_where(&mut self, io: &mut Io, error: &str, which: impl Fn(&Blocked) -> bool) {
        let blocked = self.clients.iter().filter(|c| c.blocked.as_ref().is_some_and(|b| which(&b.on)));
        let conns: Vec<ConnId> = blocked.map(|c| c.conn).collect();
        for conn in conns {
            self.unblock_with_error(io, conn, error);
        }
    }

    /// How many append-only files have what a client wrote, ours and the replicas'.
    pub(crate) fn aof_acks(&self, wanted: &AofWait) -> AofAcks {
        let replicas =
            self.repl.online(&self.clients).filter(|r| r.acked_durable.is_some_and(|o| o >= wanted.offset));
        AofAcks { local: self.persist.is_durable(wanted.mark), replicas: replicas.count() }
    }

    /// Watches a key for a client.
    pub fn watch(&mut self, conn: ConnId, db: usize, key: &[u8], now_ms: i64) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        if client.watched.iter().any(|w| w.db == db && *w.key == *key) {
            return;
        }
        let stale = self.keyspace.peek(db, key).is_some_and(|e| e.is_expired(now_ms));
        client.watched.push(Watched { db, key: key.into(), stale });
        self.watches.by_key.entry((db, key.into())).or_default().push(conn);
    }

    /// Whether a transaction of this client may not be executed: a key that it watches was changed, or its time has come.
    pub fn watch_is_broken(&self, conn: ConnId, now_ms: i64) -> bool {
        let expired = |w: &Watched| self.keyspace.peek(w.db, &w.key).is_some_and(|e| e.is_expired(now_ms));
        let client = self.clients.get(conn);
        client.is_some_and(|c| c.watch_broken || c.watched.iter().any(|w| !w.stale && expired(w)))
    }

    /// Forgets all of a client's watches.
    pub fn unwatch_all(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.watch_broken = false;
        for Watched { db, key, .. } in std::mem::take(&mut client.watched) {
            let key = (db, key);
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
        if !self.migrations.is_empty() {
            self.migrations.touched(db, key);
        }
        if self.watches.by_key.is_empty() {
            return;
        }
        let gone = self.keyspace.peek(db, key).is_none();
        for conn in self.watches.by_key.get(&(db, Box::from(key))).into_iter().flatten() {
            let Some(client) = self.clients.get_mut(*conn) else { continue };
            let stale = client.watched.iter_mut().find(|w| w.stale && w.db == db && *w.key == *key);
            match stale {
                // Its time had been up before: to the one who watches nothing has changed.
                Some(watched) if gone => watched.stale = false,
                _ => client.watch_broken = true,
            }
        }
    }

    /// All data has been replaced by our master's: every transaction that watches something will fail.
    pub fn touch_all_watched(&mut self) {
        for client in self.clients.iter_mut() {
            client.watch_broken |= !client.watched.is_empty();
        }
    }

    /// What is in database `db` is about to give way to what is in `successor`, or to nothing: transactions that watch one
    /// of its keys will fail, unless the key is in neither, one whose time is up counting as away.
    pub fn touch_watched_in(&mut self, db: usize, successor: Option<usize>, now_ms: i64) {
        self.migrations.touched_in(&[db]);
        let keyspace = &self.keyspace;
        for client in self.clients.iter_mut() {
            for watched in client.watched.iter_mut().filter(|w| w.db == db) {
                let is = keyspace.peek(db, &watched.key).is_some() && !watched.stale;
                let next = successor.and_then(|db| keyspace.peek(db, &watched.key));
                let next_stale = next.is_some_and(|e| e.is_expired(now_ms));
                watched.stale = !is && next_stale;
                client.watch_broken |= is || next.is_some() && !next_stale;
            }
        }
    }
}
