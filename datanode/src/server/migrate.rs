//! `MIGRATE`: keys are moved to another server without holding up this one. Its client waits, as do writes to the keys
//! that are on their way; everything else goes on.
//!
//! A key is removed here only after the other server has confirmed it, and only if nothing has changed it meanwhile
//! (a blocked client that is served, or a script, can touch keys that it did not name): then it stays, and the client
//! is told. A client that leaves, or a change of role, ends the migration; keys may then be in both places, never in none.

use super::Server;
use super::client::{Blocked, Blocking};
use crate::command::{Args, Event, Flags, Group, Keys, Spec};
use crate::io::{Action, ConnId, ConnectError, Io, LinkToken, Peer};
use crate::rdb::dump;
use crate::rdb::encode::ValueWriter;
use crate::resp::encode_command;
use crate::resp::reader::{self, Value};
use crate::resp::writer::Reply;
use crate::server::dispatch::Origin;

/// Limit for the silence of the other side where the command gives none, milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 1000;
/// Longest limit that counts, milliseconds: a day.
const MAX_TIMEOUT_MS: u64 = 86_400_000;
/// Connections kept for further migrations (Redis' MIGRATE_SOCKET_CACHE_ITEMS).
const MAX_KEPT: usize = 64;
/// How long they are kept, milliseconds (Redis' MIGRATE_SOCKET_CACHE_TTL).
const KEEP_MS: u64 = 10_000;
/// What a client is told where no connection came about, in Redis' words.
const NOT_CONNECTED: &str = "IOERR error or timeout connecting to the client";

/// What a client asks for.
pub struct Request {
    /// The other server.
    pub host: String,
    /// Its port; 0 stands for what is none.
    pub port: u16,
    /// The database there.
    pub db: i64,
    /// How long it may be silent.
    pub timeout_ms: u64,
    /// Keys are not removed here.
    pub copy: bool,
    /// Keys that are there are replaced.
    pub replace: bool,
    /// The arguments of AUTH, if it is needed.
    pub auth: Vec<Vec<u8>>,
    /// Keys that exist.
    pub keys: Vec<Vec<u8>>,
}

enum Stage {
    Connecting(LinkToken),
    Asking {
        link: ConnId,
        /// It has served before, and may have been closed meanwhile.
        reused: bool,
        /// Replies that come before those to the keys.
        first: usize,
    },
    /// It is over; what is left to do waits for the end of a pause.
    Ended,
}

struct Moving {
    key: Vec<u8>,
    changed: bool,
}

struct Migration {
    client: ConnId,
    db: usize,
    request: Request,
    keys: Vec<Moving>,
    stage: Stage,
    /// Replies to keys so far, and which keys have arrived.
    answered: usize,
    arrived: Vec<usize>,
    /// Password or database were refused: keys that are taken nevertheless have gone elsewhere.
    astray: bool,
    /// The reply to the client, unless all went well.
    failure: Option<String>,
    /// Bytes that had not left when it was last looked at, and the monotonic millisecond at which it is given up.
    unsent: usize,
    deadline_ms: u64,
}

struct Kept {
    host: String,
    port: u16,
    link: ConnId,
    /// The database selected there.
    db: i64,
    until_ms: u64,
}

/// Migrations under way, and connections for the next ones.
#[derive(Default)]
pub struct Migrations {
    running: Vec<Migration>,
    kept: Vec<Kept>,
}

impl Migrations {
    /// Nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Number of connections that are kept (`migrate_cached_sockets`).
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// A key has been changed.
    pub fn touched(&mut self, db: usize, key: &[u8]) {
        for m in self.running.iter_mut().filter(|m| m.db == db) {
            m.keys.iter_mut().filter(|k| k.key == key).for_each(|k| k.changed = true);
        }
    }

    /// Databases have been emptied or exchanged.
    pub fn touched_in(&mut self, dbs: &[usize]) {
        for m in self.running.iter_mut().filter(|m| dbs.contains(&m.db)) {
            m.keys.iter_mut().for_each(|k| k.changed = true);
        }
    }

    /// Migrations whose keys are going to be removed here.
    fn removing(&self) -> impl Iterator<Item = &Migration> {
        self.running.iter().filter(|m| !m.request.copy)
    }

    fn moves(&self, key: &[u8]) -> bool {
        self.removing().any(|m| m.keys.iter().any(|k| k.key == key))
    }

    fn asking(&self, conn: ConnId) -> Option<usize> {
        self.running.iter().position(|m| matches!(m.stage, Stage::Asking { link, .. } if link == conn))
    }

    /// The connection is one of these.
    pub fn owns(&self, conn: ConnId) -> bool {
        self.asking(conn).is_some() || self.kept.iter().any(|k| k.link == conn)
    }
}

impl Server {
    /// Starts to move keys for a client, which waits from now on.
    pub fn migrate(&mut self, io: &mut Io, client: ConnId, db: usize, mut request: Request) {
        request.timeout_ms = request.timeout_ms.clamp(1, MAX_TIMEOUT_MS);
        let keys = request.keys.drain(..).map(|key| Moving { key, changed: false }).collect();
        self.block(client, Blocked::Migrate, 0);
        let at = self.migrations.running.len();
        self.migrations.running.push(Migration {
            client,
            db,
            request,
            keys,
            stage: Stage::Ended,
            answered: 0,
            arrived: Vec::new(),
            astray: false,
            failure: None,
            unsent: 0,
            deadline_ms: 0,
        });
        let r = &self.migrations.running[at].request;
        match self.migrations.kept.iter().position(|k| k.host == r.host && k.port == r.port) {
            Some(i) => {
                let kept = self.migrations.kept.swap_remove(i);
                self.migration_asks(io, at, kept.link, Some(kept.db));
            }
            None => self.migration_connects(io, at),
        }
    }

    /// True if a client's command has to wait until keys that it may change have arrived elsewhere.
    pub(super) fn must_wait_for_migration(&self, conn: ConnId, spec: &Spec, args: Args<'_>) -> bool {
        if self.migrations.is_empty()
            || self.migrations.removing().next().is_none()
            || spec.group == Group::PubSub
        {
            return false;
        }
        if spec.name == "exec" {
            return self
                .clients
                .get(conn)
                .and_then(|c| c.multi.as_ref())
                .is_some_and(|m| m.some.any(Flags::WRITE));
        }
        if !spec.flags.any(Flags::WRITE | Flags::MAY_REPLICATE) {
            return false;
        }
        let keys = spec.key_indexes(&args);
        keys.is_empty() || keys.iter().any(|&i| self.migrations.moves(args.at(i)))
    }

    fn migration_connects(&mut self, io: &mut Io, at: usize) {
        self.next_token += 1;
        let token = LinkToken(self.next_token);
        let m = &mut self.migrations.running[at];
        m.stage = Stage::Connecting(token);
        // The driver keeps the limit; this one is behind it.
        m.deadline_ms = io.now.mono_ms() + 2 * m.request.timeout_ms;
        let (host, port, timeout_ms) = (m.request.host.clone(), m.request.port, m.request.timeout_ms);
        io.ask(Action::Connect { token, host, port, timeout_ms });
    }

    /// Sends everything; `selected`: the database selected there, if the connection has been used before.
    fn migration_asks(&mut self, io: &mut Io, at: usize, link: ConnId, selected: Option<i64>) {
        let mut out = Vec::new();
        let mut writer = ValueWriter::new(self.config.rdbcompression);
        let name: &[u8] = if self.config.cluster_enabled { b"RESTORE-ASKING" } else { b"RESTORE" };
        let m = &mut self.migrations.running[at];
        let mut first = 0;
        if !m.request.auth.is_empty() {
            let words: Vec<&[u8]> =
                std::iter::once(&b"AUTH"[..]).chain(m.request.auth.iter().map(Vec::as_slice)).collect();
            encode_command(&mut out, &words);
            first += 1;
        }
        if selected.unwrap_or(0) != m.request.db {
            encode_command(&mut out, &[b"SELECT", m.request.db.to_string().as_bytes()]);
            first += 1;
        }
        let (keyspace, db) = (&self.keyspace, m.db);
        // What has expired on the way here need not travel.
        m.keys.retain(|k| keyspace.lookup(db, &k.key, io.now.unix_ms).is_some());
        for moving in &mut m.keys {
            moving.changed = false;
            let Some(entry) = keyspace.peek(db, &moving.key) else { continue };
            let ttl = entry.expire_at().map_or(0, |at| (at - io.now.unix_ms).max(1)).to_string();
            let payload = dump::encode(&mut writer, entry.value());
            let mut words = vec![name, &moving.key, ttl.as_bytes(), &payload];
            if m.request.replace {
                words.push(b"REPLACE");
            }
            encode_command(&mut out, &words);
        }
        m.stage = Stage::Asking { link, reused: selected.is_some(), first };
        m.deadline_ms = io.now.mono_ms() + m.request.timeout_ms;
        m.unsent = 0;
        io.send(link, &out);
        if m.keys.is_empty() {
            self.migration_ends(io, at, None);
        }
    }

    /// True if the attempt was ours.
    pub(super) fn migration_connected(
        &mut self,
        io: &mut Io,
        token: LinkToken,
        result: &Result<(ConnId, Peer), ConnectError>,
    ) -> bool {
        let mut running = self.migrations.running.iter();
        let Some(at) = running.position(|m| matches!(m.stage, Stage::Connecting(t) if t == token)) else {
            return false;
        };
        match result {
            Ok((conn, _)) => self.migration_asks(io, at, *conn, None),
            Err(e) => {
                tracing::info!("MIGRATE: no connection: {e}");
                // Redis hears of a refusal only when it writes.
                let text = match e {
                    ConnectError::Refused => "IOERR error or timeout writing to target instance",
                    _ => NOT_CONNECTED,
                };
                self.migration_ends(io, at, Some(text.into()));
            }
        }
        true
    }

    /// Replies of the other server.
    pub(super) fn migration_received(&mut self, io: &mut Io, conn: ConnId) {
        loop {
            let Some(at) = self.migrations.asking(conn) else {
                // Nothing is expected on a kept connection.
                return io.close(conn, false);
            };
            let Some(c) = io.conn(conn) else { return };
            let value = match reader::read(&c.input) {
                Ok(Some((value, used))) => {
                    c.input.drain(..used);
                    value
                }
                Ok(None) => return,
                Err(_) => return self.migration_broken(io, at),
            };
            let m = &mut self.migrations.running[at];
            m.deadline_ms = io.now.mono_ms() + m.request.timeout_ms;
            let Stage::Asking { first, reused, .. } = &mut m.stage else { return };
            *reused = false;
            let error = match &value {
                Value::Error(e) => Some(format!("ERR Target instance replied with error: {e}")),
                _ => None,
            };
            let ok = error.is_none();
            m.failure = m.failure.take().or(error);
            if *first > 0 {
                *first -= 1;
                m.astray |= !ok;
                continue;
            }
            if ok && !m.astray {
                m.arrived.push(m.answered);
            }
            m.answered += 1;
            if m.answered == m.keys.len() {
                let failure = m.failure.take();
                return self.migration_ends(io, at, failure);
            }
        }
    }

    /// True if the connection was ours.
    pub(super) fn migration_closed(&mut self, io: &mut Io, conn: ConnId) -> bool {
        if let Some(at) = self.migrations.asking(conn) {
            self.migration_broken(io, at);
            return true;
        }
        let before = self.migrations.kept.len();
        self.migrations.kept.retain(|k| k.link != conn);
        before != self.migrations.kept.len()
    }

    /// The connection failed. One that was kept from an earlier migration may just have been too old: then once more.
    fn migration_broken(&mut self, io: &mut Io, at: usize) {
        let m = &mut self.migrations.running[at];
        let Stage::Asking { link, reused, .. } = m.stage else { return };
        let unsent = io.conn(link).is_some_and(|c| c.output.pending() > 0);
        io.close(link, false);
        if reused {
            return self.migration_connects(io, at);
        }
        let doing = if unsent { "writing" } else { "reading" };
        let text = format!("IOERR error or timeout {doing} to target instance");
        let failure = m.failure.take().unwrap_or(text);
        m.stage = Stage::Ended;
        self.migration_ends(io, at, Some(failure));
    }

    /// No more replies are expected: removes what has arrived, keeps the connection where it is good, answers.
    fn migration_ends(&mut self, io: &mut Io, at: usize, failure: Option<String>) {
        let m = &mut self.migrations.running[at];
        if let Stage::Asking { link, .. } = m.stage {
            if failure.is_none() && self.migrations.kept.len() < MAX_KEPT {
                self.migrations.kept.push(Kept {
                    host: m.request.host.clone(),
                    port: m.request.port,
                    link,
                    db: m.request.db,
                    until_ms: io.now.mono_ms() + KEEP_MS,
                });
            } else {
                io.close(link, false);
            }
        }
        m.stage = Stage::Ended;
        m.failure = failure;
        if !self.paused(io.now) {
            self.migration_settles(io, at);
        }
    }

    /// The data may change: removes what has arrived, answers, and lets the writes go on that had to wait.
    fn migration_settles(&mut self, io: &mut Io, at: usize) {
        let mut m = self.migrations.running.swap_remove(at);
        let before = (self.repl.offset(), self.persist.log_mark());
        let mut failure = m.failure.take();
        if !m.request.copy {
            let mut keys = Keys { server: self, db: m.db, origin: Origin::Client, now_ms: io.now.unix_ms };
            let mut removed: Vec<&[u8]> = vec![b"DEL"];
            for moving in m.arrived.iter().filter_map(|&i| m.keys.get(i)) {
                if moving.changed && keys.exists(&moving.key) {
                    failure.get_or_insert_with(|| {
                        "ERR a key was changed while it was migrated: it was kept, the target has an older state".into()
                    });
                } else if keys.delete(&moving.key, false) {
                    keys.modified(io, Event::Generic, "del", &moving.key);
                    removed.push(&moving.key);
                }
            }
            if removed.len() > 1 {
                self.add_effect(m.db, &removed, Origin::Client);
            }
        }
        self.after_unit(io);
        self.unblock(m.client);
        let mut out = Vec::new();
        let mut reply = Reply { out: &mut out, proto: 2 };
        match &failure {
            None => reply.ok(),
            Some(text) => {
                self.stats.count_error(text.split(' ').next().unwrap_or_default());
                reply.error(text);
            }
        }
        self.deliver(io, m.client, before, out);
        self.release_paused(io);
        self.resume_clients(io);
    }

    /// Ends what takes too long, what nobody waits for any more, and connections that were kept long enough. At every tick.
    pub(super) fn migration_cron(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        let mut at = 0;
        while at < self.migrations.running.len() {
            let m = &mut self.migrations.running[at];
            let waits = self.clients.get(m.client).and_then(|c| c.blocked.as_ref());
            if !matches!(waits, Some(Blocking { on: Blocked::Migrate, .. })) {
                if let Stage::Asking { link, .. } = m.stage {
                    io.close(link, false);
                }
                self.migrations.running.swap_remove(at);
                self.release_paused(io);
                continue;
            }
            let (before, paused) = (self.migrations.running.len(), self.paused(io.now));
            let m = &mut self.migrations.running[at];
            match m.stage {
                Stage::Ended if !paused => self.migration_settles(io, at),
                Stage::Ended => {}
                Stage::Connecting(_) if now >= m.deadline_ms => {
                    self.migration_ends(io, at, Some(NOT_CONNECTED.into()));
                }
                Stage::Connecting(_) => {}
                Stage::Asking { link, ref mut reused, .. } => {
                    let unsent = io.conn(link).map_or(0, |c| c.output.pending());
                    if unsent != std::mem::replace(&mut m.unsent, unsent) {
                        m.deadline_ms = now + m.request.timeout_ms;
                    } else if now >= m.deadline_ms {
                        // Silence is no sign of an old connection.
                        *reused = false;
                        self.migration_broken(io, at);
                    }
                }
            }
            at += usize::from(self.migrations.running.len() == before);
        }
        for kept in self.migrations.kept.extract_if(.., |k| k.until_ms <= now) {
            io.close(kept.link, false);
        }
    }
}
