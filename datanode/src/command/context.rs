//! What a command's function works with: its arguments, the keys, the reply, and how it is repeated elsewhere.

use super::{Args, Error, OwnedArgs, Result, Spec};
use crate::io::{ConnId, Io};
use crate::resp::writer::Reply;
use crate::server::Server;
use crate::server::dispatch::Origin;
use crate::store::hash::Hash;
use crate::store::keyspace::{KeyEntry, SEE_ALL};
use crate::store::limits::Limits;
use crate::store::list::List;
use crate::store::set::Set;
use crate::store::str::Str;
use crate::store::stream::Stream;
use crate::store::value::{Value, ValueMut, ValueRef};
use crate::store::zset::ZSet;

/// How a command reaches replicas and the append-only file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// As it came, if it changed anything.
    IfDirty,
    /// As it came, in any case.
    Always,
    /// As it came, to replicas only: a published message changes no data.
    Message,
    /// It has added its own effects ([`Ctx::propagate`]), or there are none.
    Done,
}

/// Classes of keyspace events, as `notify-keyspace-events` names them
/// (<https://redis.io/docs/latest/develop/use/keyspace-notifications/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Event {
    Generic,
    String,
    List,
    Set,
    Hash,
    ZSet,
    Stream,
    Expired,
    Evicted,
    New,
}

impl Event {
    /// Its letter in `notify-keyspace-events`.
    pub fn letter(self) -> u8 {
        match self {
            Event::Generic => b'g',
            Event::String => b'$',
            Event::List => b'l',
            Event::Set => b's',
            Event::Hash => b'h',
            Event::ZSet => b'z',
            Event::Stream => b't',
            Event::Expired => b'x',
            Event::Evicted => b'e',
            Event::New => b'n',
        }
    }
}

/// The environment of one execution.
pub struct Ctx<'a> {
    /// The keys of the client's database, and the server behind them.
    pub keys: Keys<'a>,
    /// Connections.
    pub io: &'a mut Io,
    /// Who called; not a client where the origin is our master or the append-only file.
    pub conn: ConnId,
    /// The arguments; index 0 is the name as it was written.
    pub args: Args<'a>,
    /// The reply.
    pub reply: Reply<'a>,
    /// The command.
    pub spec: &'static Spec,
    /// How it is repeated elsewhere.
    pub propagation: Propagation,
}

impl<'a> Ctx<'a> {
    /// The server.
    pub fn server(&mut self) -> &mut Server {
        self.keys.server
    }

    /// The calling client; `None` where the origin is no client.
    pub fn client(&mut self) -> Option<&mut crate::server::client::Client> {
        self.keys.server.clients.get_mut(self.conn)
    }

    /// Whether the caller may read keys whose names are found only as the command runs.
    pub fn may_read_all(&self) -> bool {
        let client = self.keys.server.clients.get(self.conn);
        client.is_none_or(|c| c.user.may_read_all(self.spec, self.args))
    }

    /// Shows the command to those who watch now, not once it has ended.
    pub fn show_to_monitors(&mut self) {
        let keys = &mut self.keys;
        if !keys.server.monitors.is_empty() {
            keys.server.show_to_monitors(self.io, self.conn, keys.db, self.spec, self.args, keys.origin);
        }
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.io.now.unix_ms
    }

    /// Argument `i` as an integer.
    pub fn int(&self, i: usize) -> Result<i64> {
        crate::resp::parse::parse_i64(self.args.at(i)).ok_or(Error::NotInteger)
    }

    /// Argument `i` as an integer within bounds.
    pub fn int_in(&self, i: usize, range: std::ops::RangeInclusive<i64>) -> Result<i64> {
        let n = self.int(i)?;
        if range.contains(&n) {
            return Ok(n);
        }
        let (least, most) = range.into_inner();
        Err(Error::err(format_args!("value is out of range, value must between {least} and {most}")))
    }

    /// The count of `NAME key [count]`, as the commands that pop take it; `surplus` is the error for further arguments.
    pub fn pop_count(&self, surplus: Error) -> Result<Option<usize>> {
        match self.args.len() {
            2 => Ok(None),
            3 => {
                let n = self.int(2).ok().and_then(|n| usize::try_from(n).ok());
                n.map(Some).ok_or_else(|| "ERR value is out of range, must be positive".into())
            }
            _ => Err(surplus),
        }
    }

    /// Argument `i` as a finite or infinite double.
    pub fn float(&self, i: usize) -> Result<f64> {
        super::parse_float(self.args.at(i)).ok_or(Error::NotFloat)
    }

    /// Adds an effect to be repeated instead of the command as it came.
    pub fn propagate<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        self.propagation = Propagation::Done;
        let db = self.keys.db;
        self.keys.server.add_effect(db, args, self.keys.origin);
    }

    /// Has the caller wait for one of `keys`; its command is run again when one gets an element. Inside a
    /// transaction nothing can wait: `false`, and the command replies at once that there is nothing.
    pub fn block_on_keys(&mut self, keys: Vec<Box<[u8]>>, deadline_ms: u64) -> bool {
        self.block_on_keys_with(keys, deadline_ms, self.args.to_owned())
    }

    /// The same with other arguments for the time when the command is run again.
    pub fn block_on_keys_with(&mut self, keys: Vec<Box<[u8]>>, deadline_ms: u64, command: OwnedArgs) -> bool {
        if self.keys.origin != Origin::Client
            || self.keys.server.in_exec
            || self.keys.server.in_script()
            || self.keys.server.clients.get(self.conn).is_none()
        {
            return false;
        }
        let db = self.keys.db;
        let keys = keys.into_iter().map(|k| (db, k)).collect();
        self.keys.server.block_on_keys(self.conn, keys, self.spec, command, deadline_ms);
        true
    }

    /// Monotonic milliseconds of a deadline given in seconds from now; 0 seconds: none (0). What a signed 64-bit count
    /// of milliseconds cannot hold counts as negative, as in Redis 7.0.
    pub fn deadline(&self, seconds: f64) -> Result<u64> {
        let ms = (seconds * 1000.0).ceil();
        if !(0.0..i64::MAX as f64).contains(&ms) {
            return Err("ERR timeout is negative".into());
        }
        Ok(if ms == 0.0 { 0 } else { self.io.now.mono_ms() + ms as u64 })
    }
}

/// The keys of one database as a command sees them: expired ones are gone, changes are counted, watched and announced.
pub struct Keys<'a> {
    /// The server.
    pub server: &'a mut Server,
    /// The database.
    pub db: usize,
    /// Who wants the command.
    pub origin: Origin,
    /// Unix milliseconds; before all expiries where an expired key must still be seen (our master decides).
    pub now_ms: i64,
}

macro_rules! typed {
    ($($read:ident $write:ident $make:ident $variant:ident $type:ty, $new:expr;)*) => {$(
        #[doc = concat!("The ", stringify!($variant), " at `key`, to be read.")]
        pub fn $read(&mut self, key: &[u8]) -> Result<Option<&$type>> {
            match self.find(key).map(|e| e.value()) {
                None => Ok(None),
                Some(ValueRef::$variant(v)) => Ok(Some(v)),
                Some(_) => Err(Error::WrongType),
            }
        }

        #[doc = concat!("The ", stringify!($variant), " at `key`, to be changed. Say afterwards what happened: ",
            "[`Keys::modified`], and [`Keys::remove_if_empty`] where it may have become empty.")]
        pub fn $write(&mut self, key: &[u8]) -> Result<Option<&mut $type>> {
            match self.find_mut(key).map(|e| e.value_mut()) {
                None => Ok(None),
                Some(ValueMut::$variant(v)) => Ok(Some(v)),
                Some(_) => Err(Error::WrongType),
            }
        }

        #[doc = concat!("The ", stringify!($variant), " at `key`, made where there is none; never leave it empty.")]
        pub fn $make(&mut self, key: &[u8]) -> Result<&mut $type> {
            self.expire_if_due(key);
            if self.server.config.notify_keyspace_events.has(Event::New.letter())
                && self.server.keyspace.lookup(self.db, key, self.now_ms).is_none()
            {
                self.server.note_new(self.db, key);
            }
            let server = &mut *self.server;
            let (entry, made) = server.keyspace.get_or_insert(self.db, key, self.now_ms, || $new);
            entry.access().set(match made {
                true => server.access_clock.fresh(&server.config),
                false => server.access_clock.touched(entry.access().get(), &mut server.rng, &server.config),
            });
            match entry.value_mut() {
                ValueMut::$variant(v) => Ok(v),
                _ => Err(Error::WrongType),
            }
        }
    )*};
}

impl Keys<'_> {
    typed! {
        string string_mut string_or_new Str Str, Value::Str(Str::new(b""));
        list list_mut list_or_new List List, Value::List(Box::default());
        set set_mut set_or_new Set Set, Value::Set(Box::default());
        hash hash_mut hash_or_new Hash Hash, Value::Hash(Box::default());
        zset zset_mut zset_or_new ZSet ZSet, Value::ZSet(Box::default());
        stream stream_mut stream_or_new Stream Stream, Value::Stream(Box::default());
    }

    /// Looks at another database.
    pub fn in_db<R>(&mut self, db: usize, f: impl FnOnce(&mut Self) -> R) -> R {
        let own = std::mem::replace(&mut self.db, db);
        let result = f(self);
        self.db = own;
        result
    }

    /// The thresholds of encodings.
    pub fn limits(&self) -> Limits {
        self.server.limits.clone()
    }

    /// Whether a key is there, without counting as a use of it.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.expire_if_due(key);
        self.server.keyspace.lookup(self.db, key, self.now_ms).is_some()
    }

    /// A key to be looked at, without counting as a use of it (`OBJECT`, `TTL`, `TYPE`).
    pub fn peek(&mut self, key: &[u8]) -> Option<&KeyEntry> {
        self.expire_if_due(key);
        self.server.keyspace.lookup(self.db, key, self.now_ms)
    }

    /// A key to be read.
    pub fn find(&mut self, key: &[u8]) -> Option<&KeyEntry> {
        self.expire_if_due(key);
        let server = &mut *self.server;
        match server.keyspace.lookup(self.db, key, self.now_ms) {
            Some(e) => {
                server.stats.keyspace_hits += 1;
                if !server.no_touch {
                    e.access().set(server.access_clock.touched(
                        e.access().get(),
                        &mut server.rng,
                        &server.config,
                    ));
                }
                Some(e)
            }
            None => {
                server.stats.keyspace_misses += 1;
                None
            }
        }
    }

    /// A key to be changed.
    pub fn find_mut(&mut self, key: &[u8]) -> Option<&mut KeyEntry> {
        self.expire_if_due(key);
        let server = &mut *self.server;
        let e = server.keyspace.lookup_write(self.db, key, self.now_ms)?;
        if !server.no_touch {
            e.access().set(server.access_clock.touched(e.access().get(), &mut server.rng, &server.config));
        }
        Some(e)
    }

    /// Sets a key, whatever was there.
    pub fn put(&mut self, key: &[u8], value: Value, expire_at_ms: Option<i64>) {
        // What is overwritten may have expired. Looking costs time, so only where somebody wants to hear of it.
        if self.server.config.notify_keyspace_events.has(Event::Expired.letter()) {
            self.expire_if_due(key);
        }
        let old = self.server.keyspace.insert(self.db, key, value, expire_at_ms);
        self.note_expiry(key, expire_at_ms);
        if let Some(e) = self.server.keyspace.peek(self.db, key) {
            e.access().set(self.server.access_clock.fresh(&self.server.config));
        }
        if let Some(old) = old {
            self.server.signal_gone(self.db, key, &old);
            self.server.discard(old, self.server.config.lazyfree_lazy_server_del);
        } else {
            self.server.signal_ready(self.db, key);
            self.server.note_new(self.db, key);
        }
    }

    /// Sets a key after removing what was there: it counts as a new one, and clients may have waited for its type.
    pub fn put_anew(&mut self, key: &[u8], value: Value, expire_at_ms: Option<i64>) {
        self.delete(key, self.server.config.lazyfree_lazy_server_del);
        self.put(key, value, expire_at_ms);
    }

    /// Says how long a key has not been used (seconds), or how often it has been, where that is what keys are evicted by.
    pub fn set_access(&mut self, key: &[u8], idle: Option<u32>, frequency: Option<u8>) {
        let Some(e) = self.server.keyspace.peek(self.db, key) else { return };
        let stamp = self.server.access_clock.stamp(&self.server.config, idle, frequency);
        if let Some(stamp) = stamp {
            e.access().set(stamp);
        }
    }

    /// Removes a key; what it was, unless there was none.
    pub fn remove(&mut self, key: &[u8]) -> Option<KeyEntry> {
        self.expire_if_due(key);
        self.server.keyspace.lookup(self.db, key, self.now_ms)?;
        let entry = self.server.keyspace.remove(self.db, key)?;
        self.server.signal_gone(self.db, key, entry.value());
        Some(entry)
    }

    /// Removes a key and frees what it held, `lazy`: in the background if that is large. False if there was none.
    pub fn delete(&mut self, key: &[u8], lazy: bool) -> bool {
        let Some(entry) = self.remove(key) else { return false };
        self.server.discard(entry.into_parts().1, lazy);
        true
    }

    /// Removes a collection that has become empty, and announces it (`del`). True if it was.
    pub fn remove_if_empty(&mut self, io: &mut Io, key: &[u8]) -> bool {
        let empty = self.server.keyspace.peek(self.db, key).is_some_and(|e| e.value().is_void());
        if empty {
            self.server.keyspace.remove(self.db, key);
            self.notify(io, Event::Generic, "del", key);
        }
        empty
    }

    /// When a key expires, unix milliseconds.
    pub fn expire_at(&mut self, key: &[u8]) -> Option<i64> {
        self.peek(key).and_then(KeyEntry::expire_at)
    }

    /// Sets or takes away a key's expiry; false if there is no such key.
    pub fn set_expire(&mut self, key: &[u8], at_ms: Option<i64>) -> bool {
        self.note_expiry(key, at_ms);
        self.server.keyspace.set_expire(self.db, key, at_ms)
    }

    /// Where a client writes to a replica, the replica itself has to see to it that keys expire.
    fn note_expiry(&mut self, key: &[u8], at_ms: Option<i64>) {
        if at_ms.is_some() && self.origin == Origin::Client && !self.server.is_master() {
            self.server.own_expires.insert((self.db, key.into()));
        }
    }

    /// A key was changed: counts it, breaks transactions that watch it, has caches forget it, announces the event.
    pub fn modified(&mut self, io: &mut Io, class: Event, event: &str, key: &[u8]) {
        self.server.effects.dirty += 1;
        self.touched(key);
        self.notify(io, class, event, key);
    }

    /// Announces an event, where [`Keys::modified`] has already been called for the change.
    pub fn notify(&mut self, io: &mut Io, class: Event, event: &str, key: &[u8]) {
        // What was found to have expired on the way here went before.
        self.server.announce_pending(io);
        self.server.notify(io, class, event, self.db, key);
    }

    /// Breaks transactions that watch a key and has caches forget it, without counting a change or announcing an event.
    pub fn touched(&mut self, key: &[u8]) {
        let by = self.server.serving;
        self.server.key_changed(self.db, key, by);
    }

    /// Whether somebody keeps or follows the effects of what is being done.
    pub fn propagates(&self) -> bool {
        self.server.propagates(self.origin)
    }

    /// Counts further changes of the same command.
    pub fn dirty(&mut self, changes: u64) {
        self.server.effects.dirty += changes;
    }

    /// A key may have got something that blocked clients wait for.
    pub fn signal_ready(&mut self, key: &[u8]) {
        self.server.signal_ready(self.db, key);
    }

    /// Removes a key whose time is up. On a replica nothing is removed: its master says when.
    fn expire_if_due(&mut self, key: &[u8]) {
        if self.now_ms == SEE_ALL || self.server.keyspace.expires(self.db) == 0 {
            return;
        }
        let due = self.server.keyspace.peek(self.db, key).is_some_and(|e| e.is_expired(self.now_ms));
        if due && self.may_expire() {
            self.server.expire_now(self.db, key);
        }
    }

    fn may_expire(&self) -> bool {
        self.server.is_master() && !self.server.loading && !self.server.frozen
    }

    /// Removes a key whose time is up, and which a command has come across that was not about it: unlike the effects of
    /// other commands, several such removals are no transaction, unless the command itself is part of one.
    pub fn expire_in_passing(&mut self, key: &[u8]) {
        if self.may_expire() {
            self.expire_if_due(key);
            if !self.server.in_unit() {
                self.server.effects.loosen();
            }
        }
    }
}
