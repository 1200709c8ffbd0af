//! What this node is: a master, a replica, or (under a shard map) nobody yet; and what follows for commands.

use super::Server;
use crate::command::{Args, Error, Event, Flags, Spec};
use crate::io::{ConnId, Io};
use crate::server::dispatch::Origin;
use crate::server::pubsub::Receivers;

impl Server {
    /// It takes writes (or would, if other conditions allowed it).
    pub fn is_master(&self) -> bool {
        self.repl.link.is_none() && self.managed.as_ref().is_none_or(|m| m.is_master())
    }

    /// Why writes of clients are refused, where the role is the reason.
    pub(super) fn role_refuses_writes(&self, now: crate::io::Now) -> Option<Error> {
        if let Some(managed) = &self.managed
            && !managed.holds_lease(now)
        {
            return Some(managed.refusal());
        }
        let readonly = self.repl.link.is_some() && self.config.replica_read_only;
        readonly.then(|| "READONLY You can't write against a read only replica.".into())
    }

    /// Writes of clients wait, for whatever reason.
    pub fn paused(&self, now: crate::io::Now) -> bool {
        self.pause.until_ms.max(self.client_pause.until_ms) > now.mono_ms()
    }

    /// True if a client's command has to wait for the end of a pause.
    pub(super) fn must_pause(&self, io: &Io, conn: ConnId, spec: &Spec, args: Args<'_>) -> bool {
        let now = io.now.mono_ms();
        let pauses = [self.pause, self.client_pause];
        if pauses.iter().all(|p| p.until_ms <= now) {
            return false;
        }
        let all = pauses.iter().any(|p| p.until_ms > now && p.all);
        let replica = self.clients.get(conn).is_some_and(|c| c.replica.is_some());
        let control = matches!(
            spec.name,
            "client|pause" | "client|unpause" | "replicaset" | "info" | "ping" | "replconf"
        ) || spec.name.starts_with("replicaset|");
        !replica && !control && (all || self.may_replicate(conn, spec, args))
    }

    /// A command that writes or may have others do so: a transaction if one of its commands is such, a script unless it says
    /// that it is not.
    pub(super) fn may_replicate(&self, conn: ConnId, spec: &Spec, args: Args<'_>) -> bool {
        if spec.name == "exec" {
            let multi = self.clients.get(conn).and_then(|c| c.multi.as_ref());
            return multi.is_some_and(|m| m.may_replicate);
        }
        self.flags_of(spec, args).any(Flags::WRITE | Flags::MAY_REPLICATE)
    }

    /// A command's flags; of one that runs a script which says what it needs, those that follow from that.
    pub(super) fn flags_of(&self, spec: &Spec, args: Args<'_>) -> Flags {
        use crate::script::Flags as Said;
        if !spec.flags.any(Flags::MAY_REPLICATE) {
            return spec.flags;
        }
        let Some(said) = self.scripting.declared(spec.name, args) else { return spec.flags };
        let depends = Flags::WRITE | Flags::MAY_REPLICATE | Flags::DENYOOM | Flags::STALE;
        let mut flags = Flags(spec.flags.0 & !depends.0);
        for (applies, flag) in [
            (!said.any(Said::NO_WRITES), Flags::WRITE),
            (!said.any(Said::NO_WRITES.with(Said::ALLOW_OOM)), Flags::DENYOOM),
            (said.any(Said::ALLOW_STALE), Flags::STALE),
        ] {
            flags = if applies { flags | flag } else { flags };
        }
        flags
    }

    /// Adds an effect where somebody keeps or follows effects.
    pub fn add_effect<A: AsRef<[u8]>>(&mut self, db: usize, args: &[A], origin: Origin) {
        if self.propagates(origin) {
            self.effects.add(db, args);
        }
    }

    /// In cluster mode: the keys must be of one slot, and that slot ours.
    pub(crate) fn redirect(
        &mut self,
        conn: ConnId,
        spec: &'static Spec,
        args: Args<'_>,
    ) -> Result<(), Error> {
        if !self.config.cluster_enabled {
            return Ok(());
        }
        crate::managed::slots::redirect(self, conn, spec, args)
    }

    /// A key has been made: an event for those who ask for it (`n`).
    pub fn note_new(&mut self, db: usize, key: &[u8]) {
        if self.config.notify_keyspace_events.has(Event::New.letter()) {
            self.events.push((Event::New, "new", db, key.into()));
        }
    }

    /// Publishes the events that arose where nothing could be published.
    pub fn announce_pending(&mut self, io: &mut Io) {
        for (class, event, db, key) in std::mem::take(&mut self.events) {
            self.notify(io, class, event, db, &key);
        }
    }

    /// Publishes a keyspace event to those who listen (`notify-keyspace-events`).
    pub fn notify(&mut self, io: &mut Io, class: Event, event: &str, db: usize, key: &[u8]) {
        let wanted = self.config.notify_keyspace_events;
        if !wanted.has(class.letter()) {
            return;
        }
        let mut out = Receivers { io, clients: &self.clients, own: None };
        if wanted.has(b'K') {
            let mut channel = format!("__keyspace@{db}__:").into_bytes();
            channel.extend_from_slice(key);
            self.pubsub.publish(&mut out, &channel, event.as_bytes());
        }
        if wanted.has(b'E') {
            let channel = format!("__keyevent@{db}__:{event}");
            self.pubsub.publish(&mut out, channel.as_bytes(), key);
        }
    }
}
