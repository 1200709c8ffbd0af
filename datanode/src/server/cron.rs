//! What happens by itself: once per tick, and what of it only every 100 ms or every second.

use super::Server;
use crate::command::Event;
use crate::io::Io;
use crate::system::watchdog;

/// Longest time between ticks, milliseconds; less only where `hz` asks for more of them.
const TICK_MS: u64 = 10;
/// Keys removed per tick and `active-expire-effort` because their time is up; more are due at once only after a burst.
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
            _ => (1000 / u64::from(self.config.hz)).min(TICK_MS),
        }
    }

    pub(super) fn run_cron(&mut self, io: &mut Io) {
        watchdog::beat();
        let now = io.now.mono_ms();
        self.now_s = io.now.unix_ms / 1000;
        self.access_clock.advance(io.now, &self.config);
        self.expire_cycle(io);
        self.snapshot_cron(io);
        self.link_cron(io);
        self.failover_cron(io);
        self.managed_cron(io);
        if !self.debug.pause_cron {
            self.shutdown_cron(io);
        }
        self.migration_cron(io);
        self.check_blocked(io);
        self.resume_clients(io);
        self.make_room(io);
        self.cron.taking_back = super::alloc::take_back(TAKEN_BACK_PER_TICK);
        if now >= self.cron.tenth + 100 {
            self.cron.tenth = now;
            self.refresh_memory();
            if !self.debug.pause_cron {
                self.persist_cron(io);
            }
            self.free_garbage(io);
            self.limit_tracking();
            self.send_invalidations(io);
            self.shrink_buffers();
            self.recount_clients(io);
        }
        if now >= self.cron.second + 1000 {
            self.cron.second = now;
            let sent = io.take_sent();
            self.stats.writes += sent.writes;
            self.stats.output_bytes += sent.bytes;
            self.stats.threaded_reads += sent.threaded_reads;
            self.stats.threaded_writes += sent.threaded_writes;
            self.stats.sample(now);
            self.check_soft_output_limits(io);
            if !self.debug.pause_cron {
                self.replica_cron(io);
                self.close_idle_clients(io);
            }
            self.reload_password();
            self.publish_metrics(io);
        }
    }

    /// The little that goes on while a script waits: the data must not change.
    pub(super) fn run_cron_in_script(&mut self, io: &mut Io) {
        self.shutdown_cron(io);
        let now = io.now.mono_ms();
        if now >= self.cron.second + 1000 {
            self.cron.second = now;
            self.publish_metrics(io);
        }
    }

    /// Removes keys whose time is up, and says so to replicas and the append-only file. Only a master does that.
    fn expire_cycle(&mut self, io: &mut Io) {
        if !self.active_expire
            || self.debug.pause_cron
            || !self.is_master()
            || self.loading
            || self.paused(io.now)
        {
            return;
        }
        let most = EXPIRES_PER_TICK * self.config.active_expire_effort as usize;
        let due = self.keyspace.expired_keys(io.now.unix_ms, most);
        if due.is_empty() {
            return;
        }
        let (started, began) = (std::time::Instant::now(), self.latency_start());
        self.stats.expire_cycle_cut_short += u64::from(due.len() == most);
        for (db, key) in due {
            self.expire_now(db, &key);
            self.after_unit(io);
        }
        self.stats.expire_cycle_us += started.elapsed().as_micros() as u64;
        self.latency_end("expire-cycle", began);
    }

    /// Removes a key whose time is up. That is no change of the command during which it is found: a command that only
    /// reads must not be repeated because of it.
    pub(crate) fn expire_now(&mut self, db: usize, key: &[u8]) {
        let began = self.latency_start();
        let Some(entry) = self.keyspace.remove(db, key) else { return };
        self.stats.expired_keys += 1;
        let name: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        self.add_effect(db, &[name, key], super::dispatch::Origin::Client);
        self.key_changed(db, key, None);
        self.events.push((Event::Expired, "expired", db, key.into()));
        let (_, value, _) = entry.into_parts();
        self.signal_gone(db, key, &value);
        self.discard(value, self.config.lazyfree_lazy_expire);
        self.latency_end("expire-del", began);
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

    /// `oom-score-adj`: the role may have changed.
    pub(super) fn adjust_oom_score(&mut self) {
        let replica = !self.is_master();
        if let Err(e) = self.oom.apply(&self.config, replica) {
            tracing::warn!("Unable to write oom_score_adj: {e}");
        }
    }

    /// Takes a changed `password-file` over. Clients that are connected stay connected, as with `CONFIG SET requirepass`.
    fn reload_password(&mut self) {
        match self.config.reload_password(&*self.disk) {
            Ok(true) => {
                self.update_default_password();
                tracing::info!("The password file has changed: the new password is in force");
            }
            Ok(false) => {}
            Err(e) => tracing::warn!("{e}; the old password stays in force"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::server::testing::Bench;
    use crate::store::str::Str;
    use crate::store::value::Value;

    #[test]
    fn effort_says_how_many_keys_expire_at_once() {
        for effort in [1, 10] {
            let mut b = Bench::new(Config { active_expire_effort: effort, ..Config::default() });
            for i in 0..5000 {
                let at = Some(b.io.now.unix_ms + 5);
                b.server.keyspace.insert(0, i.to_string().as_bytes(), Value::Str(Str::new(b"v")), at);
            }
            b.pass(10);
            assert_eq!(b.server.keyspace.len(0), 5000 - EXPIRES_PER_TICK * effort as usize);
        }
    }

    #[test]
    fn ticks_come_as_often_as_asked_for_but_not_seldom() {
        for (hz, ms) in [(1, 10), (10, 10), (100, 10), (200, 5), (500, 2)] {
            let b = Bench::new(Config { hz, ..Config::default() });
            assert_eq!(b.server.tick_interval(), ms, "{hz}");
        }
    }
}
