//! Failover. The state is shared by both modes; the classic procedure is here, step by step as Redis Sentinel's: elect a
//! leader, choose a replica, promote it, point the others at it, publish the new configuration.

use super::Sentinel;
use super::instance::{Channel, Expect, InstId, Reconf};
use super::settings::Crash;
use super::vote::DESYNC_MS;
use crate::io::Io;

/// A replica that has answered a ping longer ago is not chosen, milliseconds.
const RECENT_PING_MS: u64 = 5000;
const INFO_AGE_DOWN_MS: u64 = 5000;
const INFO_AGE_MS: u64 = 30_000;

/// Where a failover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Step {
    #[default]
    None,
    /// Waiting for votes.
    WaitStart,
    SelectReplica,
    SendPromotion,
    WaitPromotion,
    ReconfReplicas,
    /// Managed: waiting for the old master to hand over.
    Handover,
    /// Managed: collecting promises.
    Promises,
    /// Managed: the new map is being told to a majority of sentinels.
    Spread,
}

impl Step {
    /// Redis' word for it.
    pub fn word(self) -> &'static str {
        match self {
            Step::None => "none",
            Step::WaitStart => "wait_start",
            Step::SelectReplica | Step::Handover => "select_slave",
            Step::SendPromotion | Step::Promises => "send_slaveof_noone",
            Step::WaitPromotion | Step::Spread => "wait_promotion",
            Step::ReconfReplicas => "reconf_slaves",
        }
    }
}

/// A failover attempt.
#[derive(Debug, Clone, Default)]
pub(super) struct Failover {
    pub step: Step,
    /// When the step was entered, milliseconds.
    pub since_ms: u64,
    pub epoch: u64,
    pub started_ms: u64,
    /// Last time this sentinel started one, or voted for another's: the next attempt counts from it.
    pub held_back_ms: u64,
    /// Asked for by a person: no down master and no votes are needed.
    pub forced: bool,
    pub promoted: Option<InstId>,
    /// Managed: no attempt before this time; 0 where none is wished for.
    pub not_before_ms: u64,
}

impl Failover {
    pub fn active(&self) -> bool {
        self.step != Step::None
    }

    pub fn enter(&mut self, step: Step, now: u64) {
        self.step = step;
        self.since_ms = now;
    }

    /// Back to normal; when the last attempt was stays known.
    pub fn end(&mut self) {
        *self = Failover {
            held_back_ms: self.held_back_ms,
            not_before_ms: self.not_before_ms,
            ..Failover::default()
        };
    }
}

impl Sentinel {
    /// The classic state machine of one master.
    pub(super) fn drive_failover(&mut self, io: &mut Io, name: &str) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let due =
            m.failover.held_back_ms == 0 || now >= m.failover.held_back_ms + 2 * m.opt.failover_timeout_ms;
        let mut force = false;
        if m.odown_since_ms.is_some() && !m.failover.active() && due {
            self.start_failover(io, name, false);
            force = true;
        }
        self.ask_peers(io, name, force);
        let Some(m) = self.masters.get(name) else { return };
        let (step, since, timeout) = (m.failover.step, m.failover.since_ms, m.opt.failover_timeout_ms);
        let late = now.saturating_sub(since) > timeout;
        match step {
            Step::WaitStart => self.wait_start(io, name),
            Step::SelectReplica => self.select_replica(io, name),
            Step::SendPromotion => self.send_promotion(io, name, late),
            Step::WaitPromotion if late => self.abort_failover(io, name, "-failover-abort-slave-timeout"),
            Step::ReconfReplicas => self.reconf_replicas(io, name, late),
            _ => {}
        }
    }

    pub(super) fn start_failover(&mut self, io: &mut Io, name: &str, forced: bool) {
        let now = io.now.mono_ms();
        self.current_epoch += 1;
        let epoch = self.current_epoch;
        let jitter = self.rng.below(DESYNC_MS);
        let Some(m) = self.masters.get_mut(name) else { return };
        m.failover = Failover {
            step: Step::WaitStart,
            since_ms: now,
            epoch,
            started_ms: now,
            held_back_ms: now + jitter,
            forced,
            promoted: None,
            not_before_ms: 0,
        };
        self.save_or_warn();
        self.tell(io, "+new-epoch", &epoch.to_string(), Some(name));
        self.event_of(io, "+try-failover", name, "");
    }

    pub(super) fn abort_failover(&mut self, io: &mut Io, name: &str, why: &str) {
        self.event_of(io, why, name, "");
        let Some(m) = self.masters.get_mut(name) else { return };
        m.failover.end();
        for id in self.members(name) {
            if let Some(i) = self.insts.get_mut(&id) {
                i.promoted = false;
                i.reconf = Reconf::None;
            }
        }
    }

    fn enter(&mut self, io: &mut Io, name: &str, step: Step) {
        if let Some(m) = self.masters.get_mut(name) {
            m.failover.enter(step, io.now.mono_ms());
        }
    }

    fn wait_start(&mut self, io: &mut Io, name: &str) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let (epoch, started, forced) = (m.failover.epoch, m.failover.started_ms, m.failover.forced);
        let limit = self.timing.election_timeout.min(m.opt.failover_timeout_ms);
        let leads = self.leader(io, name, epoch).as_deref() == Some(self.myid.as_str());
        if leads || forced {
            self.event_of(io, "+elected-leader", name, "");
            if self.crashes_now(io, Crash::AfterElection) {
                return;
            }
            self.enter(io, name, Step::SelectReplica);
            self.event_of(io, "+failover-state-select-slave", name, "");
        } else if now.saturating_sub(started) > limit {
            self.abort_failover(io, name, "-failover-abort-not-elected");
        }
    }

    fn select_replica(&mut self, io: &mut Io, name: &str) {
        let Some(id) = self.best_replica(name, io.now.mono_ms()) else {
            return self.abort_failover(io, name, "-failover-abort-no-good-slave");
        };
        if let Some(i) = self.insts.get_mut(&id) {
            i.promoted = true;
        }
        if let Some(m) = self.masters.get_mut(name) {
            m.failover.promoted = Some(id);
        }
        self.event(io, "+selected-slave", id, "");
        self.enter(io, name, Step::SendPromotion);
        self.event(io, "+failover-state-send-slaveof-noone", id, "");
    }

    /// The replica to promote: well, recently heard, not long cut off; by priority, offset, run id.
    pub(super) fn best_replica(&self, name: &str, now: u64) -> Option<InstId> {
        let m = self.masters.get(name)?;
        let down_since = self.master_inst(name).and_then(|i| i.sdown_since_ms);
        let info_age = if down_since.is_some() { INFO_AGE_DOWN_MS } else { INFO_AGE_MS };
        let cut_off = m.opt.down_after_ms * 10 + down_since.map_or(0, |t| now.saturating_sub(t));
        m.replicas
            .iter()
            .filter_map(|id| Some((id, self.insts.get(id)?)))
            .filter(|(_, i)| {
                !i.sdown()
                    && i.command.up()
                    && now.saturating_sub(i.last_ok_ms) <= RECENT_PING_MS
                    && i.info.priority != 0
                    && i.info_ms != 0
                    && now.saturating_sub(i.info_ms) <= info_age
                    && i.info.master_link_down_ms <= cut_off
            })
            .min_by_key(|(_, i)| (i.info.priority, std::cmp::Reverse(i.info.offset), i.run_id.clone()))
            .map(|(id, _)| *id)
    }

    fn send_promotion(&mut self, io: &mut Io, name: &str, late: bool) {
        let Some(id) = self.masters.get(name).and_then(|m| m.failover.promoted) else { return };
        if self.reconfigure(io, id, "NO", "ONE") {
            self.event(io, "+failover-state-wait-promotion", id, "");
            self.enter(io, name, Step::WaitPromotion);
        } else if late {
            self.abort_failover(io, name, "-failover-abort-slave-timeout");
        }
    }

    /// Points a node at the master, or at `target`.
    pub(super) fn send_replicaof(
        &mut self,
        io: &mut Io,
        name: &str,
        id: InstId,
        target: Option<InstId>,
    ) -> bool {
        let target = target.or_else(|| self.masters.get(name)?.inst);
        let Some(t) = target.and_then(|t| self.insts.get(&t)) else { return false };
        let (host, port) =
            (t.host_for_clients(self.cfg.announce_hostnames).to_owned(), t.addr.port().to_string());
        self.reconfigure(io, id, &host, &port)
    }

    /// One transaction, so that the node is never left half way: role, its configuration file, its clients sent away to
    /// find the master again.
    fn reconfigure(&mut self, io: &mut Io, id: InstId, host: &str, port: &str) -> bool {
        let steps: [&[&str]; 6] = [
            &["MULTI"],
            &["SLAVEOF", host, port],
            &["CONFIG", "REWRITE"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "KILL", "TYPE", "pubsub"],
            &["EXEC"],
        ];
        steps.iter().all(|words| self.send(io, id, Channel::Command, Expect::Ignore, words))
    }

    /// The chosen replica has become master.
    pub(super) fn promoted(&mut self, io: &mut Io, name: &str, id: InstId) {
        let Some(m) = self.masters.get_mut(name) else { return };
        m.opt.config_epoch = m.failover.epoch;
        self.enter(io, name, Step::ReconfReplicas);
        self.save_or_warn();
        self.event(io, "+promoted-slave", id, "");
        if self.crashes_now(io, Crash::AfterPromotion) {
            return;
        }
        self.event_of(io, "+failover-state-reconf-slaves", name, "");
        let names = self.names();
        let place =
            |i: Option<&super::Instance>| i.map(|i| (i.host_for_clients(names).to_owned(), i.addr.port()));
        if let (Some(from), Some(to)) = (place(self.master_inst(name)), place(self.insts.get(&id))) {
            self.reconfig_script(io, name, "leader", (&from.0, from.1), (&to.0, to.1));
        }
        self.hello_soon(name);
    }

    /// The master as it is announced: the promoted replica once it has been promoted.
    pub(super) fn current_master(&self, name: &str) -> Option<InstId> {
        let m = self.masters.get(name)?;
        if m.failover.step == Step::ReconfReplicas { m.failover.promoted } else { m.inst }
    }

    fn reconf_replicas(&mut self, io: &mut Io, name: &str, late: bool) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let Some(promoted) = m.failover.promoted else { return };
        let limit = m.opt.parallel_syncs as usize;
        let others: Vec<InstId> = m.replicas.iter().copied().filter(|r| *r != promoted).collect();
        let state = |s: &Self, id: &InstId| s.insts.get(id).map_or(Reconf::Done, |i| i.reconf);
        let mut busy =
            others.iter().filter(|id| matches!(state(self, id), Reconf::Sent | Reconf::InProgress)).count();
        for id in &others {
            let Some(i) = self.insts.get(id) else { continue };
            let stuck =
                i.reconf == Reconf::Sent && now - i.reconf_sent_ms > self.timing.replica_reconf_timeout;
            let next = i.reconf == Reconf::None && busy < limit && i.command.up();
            if stuck {
                self.event(io, "-slave-reconf-sent-timeout", *id, "");
                self.set_reconf(*id, Reconf::Done);
            } else if next && self.send_replicaof(io, name, *id, Some(promoted)) {
                if let Some(i) = self.insts.get_mut(id) {
                    i.reconf = Reconf::Sent;
                    i.reconf_sent_ms = now;
                }
                busy += 1;
                self.event(io, "+slave-reconf-sent", *id, "");
            }
        }
        if self.insts.get(&promoted).is_none_or(|p| p.sdown()) {
            return;
        }
        let open = others
            .iter()
            .filter(|id| state(self, id) != Reconf::Done && self.insts.get(id).is_some_and(|i| !i.sdown()))
            .count();
        if open > 0 && !late {
            return;
        }
        if late && open > 0 {
            self.event_of(io, "+failover-end-for-timeout", name, "");
            for id in others.iter().filter(|id| matches!(state(self, id), Reconf::None)).collect::<Vec<_>>() {
                if self.send_replicaof(io, name, *id, Some(promoted)) {
                    self.event(io, "+slave-reconf-sent-be", *id, "");
                }
            }
        }
        self.event_of(io, "+failover-end", name, "");
        if let Some(addr) = self.insts.get(&promoted).map(|i| i.addr.clone()) {
            self.switch_master(io, name, &addr, "leader");
            self.save_or_warn();
        }
    }
}
