//! What happens by itself: once per tick, and what of it only every 100 ms or every second.

use super::Server;
use crate::command::Event;
use crate::io::Io;

/// Longest time between ticks, milliseconds.
const TICK_MS: u64 = 10;
/// Keys removed per tick because their time is up; more are due at once only after a burst.
const EXPIRES_PER_TICK: usize = 200;
/// Objects taken back per tick that other threads have freed: a few tenths of a millisecond's work.
const TAKEN_BACK_PER_TICK: usize = 2000;
/// Time between ticks while there are more of them, milliseconds.
const TAKING_BACK_MS: u64 = 1;

/// When things were last done, monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Cron {
    tenth: u64,
    second: u64,
    /// There are objects to be taken back that other threads have freed.
    taking_back: bool,
}

impl Server {
    /// Milliseconds until the next tick at the latest.
    pub(super) fn tick_interval(&self) -> u64 {
        match (self.keyspace.in_snapshot(), self.cron.taking_back) {
            (true, _) => 0,
            (_, true) => TAKING_BACK_MS,
            _ => TICK_MS,
        }
    }

    pub(super) fn run_cron(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        self.now_s = io.now.unix_ms / 1000;
        self.access_clock.advance(io.now, &self.config);
        self.expire_cycle(io);
        self.snapshot_cron(io);
        self.link_cron(io);
        self.managed_cron(io);
        self.shutdown_cron(io);
        self.check_blocked(io);
        self.resume_clients(io);
        self.make_room(io);
        self.cron.taking_back = super::alloc::take_back(TAKEN_BACK_PER_TICK);
        if now >= self.cron.tenth + 100 {
            self.cron.tenth = now;
            self.refresh_memory();
            self.persist_cron(io);
            self.free_garbage(io);
        }
        if now >= self.cron.second + 1000 {
            self.cron.second = now;
            let sent = io.take_sent();
            self.stats.writes += sent.writes;
            self.stats.output_bytes += sent.bytes;
            self.stats.sample(now);
            self.check_soft_output_limits(io);
            self.replica_cron(io);
            self.close_idle_clients(io);
            self.reload_password();
            self.publish_metrics(io);
        }
    }

    /// Removes keys whose time is up, and says so to replicas and the append-only file. Only a master does that.
    fn expire_cycle(&mut self, io: &mut Io) {
        if !self.active_expire || !self.is_master() || self.loading || self.paused(io.now) {
            return;
        }
        for (db, key) in self.keyspace.expired_keys(io.now.unix_ms, EXPIRES_PER_TICK) {
            self.expire_now(db, &key);
            self.after_unit(io);
        }
    }

    /// Removes a key whose time is up. That is no change of the command during which it is found: a command that only
    /// reads must not be repeated because of it.
    pub(crate) fn expire_now(&mut self, db: usize, key: &[u8]) {
        let Some(entry) = self.keyspace.remove(db, key) else { return };
        self.stats.expired_keys += 1;
        let name: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        self.add_effect(db, &[name, key], super::dispatch::Origin::Client);
        self.touch_watched(db, key);
        self.events.push((Event::Expired, "expired", db, key.into()));
        let (_, value, _) = entry.into_parts();
        self.discard(value, self.config.lazyfree_lazy_expire);
    }

    /// `timeout`: closes clients that have been idle too long.
    fn close_idle_clients(&mut self, io: &mut Io) {
        let limit = u64::from(self.config.timeout) * 1000;
        if limit == 0 {
            return;
        }
        let now = io.now.mono_ms();
        let idle: Vec<_> = self
            .clients
            .iter()
            .filter(|c| {
                !c.is_replica() && c.blocked.is_none() && !c.subscribed() && now > c.last_active_ms + limit
            })
            .map(|c| c.conn)
            .collect();
        for conn in idle {
            tracing::debug!("Closing idle client");
            self.close_client(io, conn, false);
        }
    }

    /// Takes a changed `password-file` over. Clients that are connected stay connected, as with `CONFIG SET requirepass`.
    fn reload_password(&mut self) {
        match self.config.reload_password(&*self.disk) {
            Ok(true) => tracing::info!("The password file has changed: the new password is in force"),
            Ok(false) => {}
            Err(e) => tracing::warn!("{e}; the old password stays in force"),
        }
    }
}
