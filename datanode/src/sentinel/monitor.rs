//! The timer: connecting, pings, INFO, and what follows from silence: SDOWN (this sentinel sees it down), ODOWN (a
//! quorum does), and TILT (this sentinel's own clock can't be trusted, so it only watches).

use super::Sentinel;
use super::instance::{Channel, Expect, InstId, Kind};
use crate::io::Io;
use crate::resp::reader::Value;
use crate::shardmap::NodeRole;

/// Managed: interval of questions to the master, which carry its lease, as a fraction of `downAfter`.
pub(super) const FEED_FRACTION: u64 = 10;
/// Managed: interval of pings as a fraction of `downAfter`, and its bounds, milliseconds.
pub(super) const PING_FRACTION: u64 = 4;
pub(super) const PING_MANAGED_MS: std::ops::RangeInclusive<u64> = 20..=1000;
const INFO_FAILOVER_PERIOD_MS: u64 = 1000;
/// How long a living host must have refused connections, and how often, until that is evidence of death.
const REFUSED_MS: u64 = 100;
pub(super) const REFUSED_TIMES: u32 = 3;

impl Sentinel {
    pub(super) fn timer(&mut self, io: &mut Io) {
        if self.terminating {
            return;
        }
        if !std::mem::replace(&mut self.announced, true) && self.managed.is_none() {
            for name in self.masters.keys().cloned().collect::<Vec<_>>() {
                self.say_monitored(io, &name);
            }
        }
        self.check_tilt(io);
        for id in self.insts.keys().copied().collect::<Vec<_>>() {
            self.reconnect(io, id);
            self.periodic(io, id);
        }
        if !self.tilt() {
            for id in self.insts.keys().copied().collect::<Vec<_>>() {
                self.check_sdown(io, id);
            }
            for name in self.masters.keys().cloned().collect::<Vec<_>>() {
                self.check_odown(io, &name);
                if self.managed.is_some() {
                    self.drive_shard(io, &name);
                } else {
                    self.drive_failover(io, &name);
                }
            }
        }
        self.managed_timer(io);
        self.run_scripts(io);
    }

    fn check_tilt(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        let late = self.last_tick_ms != 0 && now.saturating_sub(self.last_tick_ms) > self.timing.tilt_trigger;
        self.last_tick_ms = now;
        if late {
            self.tilt_since_ms = Some(now);
            self.tell(io, "+tilt", "#tilt mode entered", None);
        } else if self.tilt_since_ms.is_some_and(|t| now - t > self.tilt_period()) {
            self.tilt_since_ms = None;
            self.tell(io, "-tilt", "#tilt mode exited", None);
        }
    }

    /// Under the shard map promises make a wrong suspicion harmless: it is enough to listen again for a moment.
    fn tilt_period(&self) -> u64 {
        let longest = self.insts.values().map(|i| i.down_after_ms).max().unwrap_or(0);
        let period = self.timing.tilt_period;
        if self.managed.is_some() { (2 * longest).min(period) } else { period }
    }

    pub(super) fn ping(&mut self, io: &mut Io, id: InstId) {
        if self.send(io, id, Channel::Command, Expect::Ping, &["PING"])
            && let Some(i) = self.insts.get_mut(&id)
        {
            i.last_ping_ms = io.now.mono_ms();
            if i.unanswered_ping_ms == 0 {
                i.unanswered_ping_ms = i.last_ping_ms;
            }
        }
    }

    pub(super) fn pong(&mut self, io: &mut Io, id: InstId, value: &Value) {
        let Some(i) = self.insts.get_mut(&id) else { return };
        let now = io.now.mono_ms();
        i.last_pong_ms = now;
        let well = match value {
            Value::Simple(s) if s == "PONG" => {
                // It has come up, and is not only loading.
                i.rebooted_ms = 0;
                true
            }
            Value::Error(e) => e.starts_with("LOADING") || e.starts_with("MASTERDOWN"),
            _ => false,
        };
        if well {
            i.last_ok_ms = now;
            i.unanswered_ping_ms = 0;
        } else if let Value::Error(e) = value {
            tracing::debug!("{} answers a ping with {e}", i.addr);
        }
    }

    /// Sends what is due on an instance's links.
    fn periodic(&mut self, io: &mut Io, id: InstId) {
        let now = io.now.mono_ms();
        let managed = self.managed.is_some();
        let Some(i) = self.insts.get(&id) else { return };
        if !i.command.up() {
            return;
        }
        let ping_period = if managed {
            (i.down_after_ms / PING_FRACTION).clamp(*PING_MANAGED_MS.start(), *PING_MANAGED_MS.end())
        } else {
            i.down_after_ms.min(self.timing.ping_period)
        };
        let ping = now - i.last_pong_ms > ping_period && now - i.last_ping_ms > ping_period / 2;
        let publish = !managed && now - i.last_publish_ms > self.timing.publish_period;
        let urgent = i.kind == Kind::Replica
            && (i.info.master_link_down_ms > 0
                || self
                    .masters
                    .get(&i.group)
                    .is_some_and(|m| m.odown_since_ms.is_some() || m.failover.active()));
        let info_period = if urgent {
            self.timing.info_period.min(INFO_FAILOVER_PERIOD_MS)
        } else {
            self.timing.info_period
        };
        let asked = i.command.pending.contains(&Expect::Info);
        let info = !managed
            && i.kind != Kind::Sentinel
            && !asked
            && (i.info_ms == 0 || now - i.info_ms > info_period);
        if info {
            self.send(io, id, Channel::Command, Expect::Info, &["INFO"]);
        }
        if ping {
            self.ping(io, id);
        }
        if publish {
            self.say_hello(io, id);
        }
        self.drop_stuck_links(io, id);
    }

    /// Closes links that seem dead, so that new ones are tried.
    fn drop_stuck_links(&mut self, io: &mut Io, id: InstId) {
        let now = io.now.mono_ms();
        let managed = self.managed.is_some();
        let Some(i) = self.insts.get(&id) else { return };
        let half = i.down_after_ms / 2;
        let min_age = if managed { half.max(1) } else { self.timing.min_link_reconnect };
        if let Some(conn) = i.command.conn
            && now - i.command.connected_ms > min_age
            && i.unanswered_ping_ms != 0
            && now - i.unanswered_ping_ms > half
            && now - i.last_pong_ms > half
        {
            io.close(conn, false);
        }
        if !managed
            && let Some(conn) = i.second.conn
            && now - i.second.connected_ms > self.timing.min_link_reconnect
            && now - i.second.heard_ms > 3 * self.timing.publish_period
        {
            io.close(conn, false);
        }
    }

    fn check_sdown(&mut self, io: &mut Io, id: InstId) {
        let now = io.now.mono_ms();
        let Some(i) = self.insts.get(&id) else { return };
        let silence = if i.unanswered_ping_ms != 0 {
            now.saturating_sub(i.unanswered_ping_ms)
        } else if !i.command.up() {
            now.saturating_sub(i.last_ok_ms)
        } else {
            0
        };
        let reboot_limit = self.masters.get(&i.group).map_or(0, |m| m.opt.reboot_down_after_ms);
        let demoted = i.kind == Kind::Master
            && self.managed.is_none()
            && i.role_reported == Kind::Replica
            && now - i.role_reported_ms > i.down_after_ms + 2 * self.timing.info_period;
        let rebooted = i.kind == Kind::Master
            && i.rebooted_ms != 0
            && reboot_limit > 0
            && now - i.rebooted_ms > reboot_limit;
        let refused = self.managed.is_some()
            && i.command.refusals >= REFUSED_TIMES
            && i.command.refused_since_ms.is_some_and(|t| now - t >= REFUSED_MS);
        let down = silence > i.down_after_ms || demoted || rebooted || refused || self.lost_role(id);
        match (down, i.sdown()) {
            (true, false) => {
                if let Some(i) = self.insts.get_mut(&id) {
                    i.sdown_since_ms = Some(now);
                    i.last_down_ms = now;
                }
                self.event(io, "+sdown", id, "");
            }
            (false, true) => {
                if let Some(i) = self.insts.get_mut(&id) {
                    i.sdown_since_ms = None;
                }
                self.event(io, "-sdown", id, "");
            }
            _ => {}
        }
    }

    /// Managed: the map's master answers, but as nobody at the map's epoch: it was restarted and must be elected again.
    fn lost_role(&self, id: InstId) -> bool {
        let Some(i) = self.insts.get(&id).filter(|i| i.kind == Kind::Master) else { return false };
        let epoch = self.shard_named(&i.group).map(|s| s.epoch);
        i.status
            .as_ref()
            .is_some_and(|s| s.role == NodeRole::Nobody && Some(s.map_epoch) == epoch && !s.loading)
    }

    fn check_odown(&mut self, io: &mut Io, name: &str) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let Some(master) = m.inst.and_then(|id| self.insts.get(&id)) else { return };
        let agree = 1 + m.peers.values().filter(|p| p.master_down).count();
        let down = master.sdown() && agree >= m.opt.quorum as usize;
        let quorum = m.opt.quorum;
        let was = m.odown_since_ms.is_some();
        if down == was {
            return;
        }
        if let Some(m) = self.masters.get_mut(name) {
            m.odown_since_ms = down.then_some(now);
        }
        if down {
            self.event_of(io, "+odown", name, &format!("#quorum {agree}/{quorum}"));
        } else {
            self.event_of(io, "-odown", name, "");
        }
    }
}
