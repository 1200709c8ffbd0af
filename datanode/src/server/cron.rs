//! What happens by itself: once per tick, and what of it only every 100 ms or every second.

use super::Server;
use crate::command::Event;
use crate::io::Io;
use crate::system::watchdog;

/// Longest time between ticks, milliseconds; less only where `hz` asks for more of them.
const TICK_MS: u64 = 10;
/// Keys removed per tick and `active-expire-effort` because their time is up; more are due at once only after a burst.
const EXPIRES_PER_TICK: usize = 200;
/// Keys of its own that a replica looks at per tick.
const OWN_EXPIRIES_PER_TICK: usize = 64;
/// Objects taken back per tick that other threads have freed: a few tenths of a millisecond's work.
const TAKEN_BACK_PER_TICK: usize = 2000;
/// Time between ticks while there are more of them, milliseconds.
const TAKING_BACK_MS: u64 = 1;

/// Time between looks whether a snapshot that waits can go on, milliseconds.
const IDLING_MS: u64 = 1;

/// When things were last done, monotonic milliseconds.
#[derive(Debug, Default)]
pub struct Cron {
    tenth: u64,
    second: u64,
    /// Which of a replica's own keys are looked at next: those from this one on.
    own_expiry_at: Option<(usize, Box<[u8]>)>,
    /// There are objects to be taken back that other threads have freed.
    taking_back: bool,
}

impl Server {
    /// Milliseconds until the next tick at the latest.
    pub(super) fn tick_interval(&self) -> u64 {
        match (self.keyspace.in_snapshot(), self.cron.taking_back) {
            (true, _) if self.snapshot_idles() => IDLING_MS,
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
        self.shutdown_cron(io);
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

    /// The little that goes on in the midst of a script, or while files are loaded: the data must not change.
    pub(super) fn run_cron_in_midst(&mut self, io: &mut Io) {
        watchdog::beat();
        self.now_s = io.now.unix_ms / 1000;
        self.shutdown_cron(io);
        self.greet_while_loading(io);
        let now = io.now.mono_ms();
        if now >= self.cron.second + 1000 {
            self.cron.second = now;
            self.publish_metrics(io);
        }
    }

    /// Removes keys whose time is up, and says so to replicas and the append-only file. Only a master does that.
    fn expire_cycle(&mut self, io: &mut Io) {
        if !self.active_expire || self.debug.pause_cron || self.loading || self.paused(io.now) {
            return;
        }
        if !self.is_master() {
            return self.expire_own(io);
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

    /// Removes keys whose time is up from a replica that clients write to: of what they made its master says nothing.
    fn expire_own(&mut self, io: &mut Io) {
        let Some(first) = self.own_expires.first() else { return };
        let last = self.cron.own_expiry_at.take().unwrap_or_else(|| first.clone());
        let next: Vec<_> = self.own_expires.range(last..).take(OWN_EXPIRIES_PER_TICK + 1).cloned().collect();
        for at in next.iter().take(OWN_EXPIRIES_PER_TICK) {
            let entry = self.keyspace.peek(at.0, &at.1).filter(|e| e.expire_at().is_some());
            match entry.map(|e| e.is_expired(io.now.unix_ms)) {
                Some(false) => continue,
                Some(true) => {
                    self.expire_now(at.0, &at.1);
                    self.after_unit(io);
                }
                None => {}
            }
            self.own_expires.remove(at);
        }
        self.cron.own_expiry_at = next.into_iter().nth(OWN_EXPIRIES_PER_TICK);
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
    fn a_replica_expires_what_its_clients_made_and_nothing_else() {
        const OWN: usize = 5 * OWN_EXPIRIES_PER_TICK / 2;
        let mut b = Bench::new(Config { replica_read_only: false, ..Config::default() });
        let c = b.connect();
        for i in 0..OWN {
            b.send(c, &format!("SET theirs{i} v PX 50"));
        }
        assert!(b.server.own_expires.is_empty(), "a master expires everything");
        b.send(c, "REPLICAOF 127.0.0.1 1");
        for i in 0..OWN {
            b.send(c, &format!("SET own{i} v PX 50"));
            b.send(c, &format!("EXPIRE own{i} 1000"));
            b.send(c, &format!("PEXPIRE own{i} 50"));
        }
        b.send(c, "SET kept v PX 50");
        b.send(c, "PERSIST kept");
        b.send(c, "SET later v EX 1000");
        assert_eq!(b.server.own_expires.len(), OWN + 2, "a key counts once");
        b.pass(60);
        for _ in 0..OWN.div_ceil(OWN_EXPIRIES_PER_TICK) {
            b.pass(10);
        }
        assert_eq!(b.server.keyspace.len(0), OWN + 2);
        assert_eq!(b.server.stats.expired_keys, OWN as u64);
        assert_eq!(b.server.own_expires.iter().map(|(_, key)| &**key).collect::<Vec<_>>(), [b"later"]);
        b.send(c, "REPLICAOF NO ONE");
        assert!(b.server.own_expires.is_empty());
    }

    #[test]
    fn ticks_come_as_often_as_asked_for_but_not_seldom() {
        for (hz, ms) in [(1, 10), (10, 10), (100, 10), (200, 5), (500, 2)] {
            let b = Bench::new(Config { hz, ..Config::default() });
            assert_eq!(b.server.tick_interval(), ms, "{hz}");
        }
    }
}
