//! Planned moves under the shard map: what was asked for is tried until another member is master, or its time is over.
//!
//! Contract: a move that was accepted ends within the shard's `failoverTimeoutMs` (but for an election that has begun to
//! collect promises, which is finished), with another master or with the event `-switchover-failed` and its reason, which
//! `REPLICASET STATUS` goes on to show until the shard's next epoch. Votes that did not come in time, lost connections and
//! an election that stays with the old master are tried again. A handover that has paused writes in vain is not.

use super::Sentinel;
use super::failover::Step;
use crate::io::Io;
use crate::shardmap::{NodeAddr, NodeRole, Shard};

/// A planned move that was accepted.
pub(super) struct Planned {
    to: Option<NodeAddr>,
    from: NodeAddr,
    /// The shard's, when it was accepted or last tried.
    epoch: u64,
    until_ms: u64,
    /// How the last attempt ended, or why the move was given up.
    why: String,
    failed: bool,
}

impl Sentinel {
    fn planned_mut(&mut self, name: &str) -> Option<&mut Planned> {
        self.managed.as_mut()?.planned.get_mut(name)
    }

    fn planned(&self, name: &str) -> Option<&Planned> {
        self.managed.as_ref()?.planned.get(name)
    }

    /// A move of this shard is under way, or waits to be tried again: how the last attempt ended.
    pub(super) fn move_pending(&self, name: &str) -> Option<&str> {
        self.planned(name).filter(|p| !p.failed).map(|p| p.why.as_str())
    }

    /// Why the last move of this shard was given up.
    pub(super) fn move_failed(&self, name: &str) -> Option<&str> {
        self.planned(name).filter(|p| p.failed).map(|p| p.why.as_str())
    }

    /// Accepts a planned move; `Err` is the reply's error text.
    pub(super) fn start_planned(
        &mut self,
        io: &mut Io,
        name: &str,
        to: Option<&NodeAddr>,
    ) -> Result<(), String> {
        let Some(shard) = self.shard_named(name).cloned() else {
            return Err("ERR No such master with that name".into());
        };
        let Some(m) = self.masters.get(name) else { return Err("ERR No such master with that name".into()) };
        if m.failover.active() || self.move_pending(name).is_some() {
            return Err("INPROG Failover already in progress".into());
        }
        if self.tilt() {
            return Err("ERR this sentinel is in TILT mode and decides nothing: ask another one".into());
        }
        let until_ms = io.now.mono_ms() + m.opt.failover_timeout_ms;
        let target = self.target(name, &shard, to)?;
        let Some(from) = shard.master.clone() else { return Err("ERR the shard has no master yet".into()) };
        let planned = Planned {
            to: to.cloned(),
            from,
            epoch: shard.epoch,
            until_ms,
            why: String::new(),
            failed: false,
        };
        if let Some(g) = &mut self.managed {
            g.planned.insert(name.to_owned(), planned);
        }
        self.begin(io, name, Some(target), true);
        Ok(())
    }

    /// Who would take over now; `Err` is the reply's error text.
    fn target(&self, name: &str, shard: &Shard, to: Option<&NodeAddr>) -> Result<NodeAddr, String> {
        if !self.may_vote() {
            return Err("NOQUORUM this sentinel may not vote before it has learned from a majority".into());
        }
        let Some(master) = &shard.master else { return Err("ERR the shard has no master yet".into()) };
        if self.master_inst(name).is_none_or(|i| !i.command.up() || i.sdown()) {
            return Err(format!("ERR the master {master} does not answer: it can't hand over"));
        }
        if let Some(to) = to {
            if !shard.has_member(to) {
                return Err(format!("ERR {to} is not a member of shard {}", shard.index));
            }
            if to == master {
                return Err(format!("ERR {to} is the master already"));
            }
            if !shard.counts(to) {
                return Err(format!("ERR {to} is joining or leaving shard {}", shard.index));
            }
        }
        let none = || "NOGOODSLAVE No suitable replica to promote".into();
        self.best_target(name, shard, to).ok_or_else(none)
    }

    /// The replica that is best prepared to take over.
    fn best_target(&self, name: &str, shard: &Shard, to: Option<&NodeAddr>) -> Option<NodeAddr> {
        shard
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| {
                Some(*m) != shard.master.as_ref() && shard.counts(m) && to.is_none_or(|t| t == *m)
            })
            .filter_map(|(ordinal, m)| {
                let i = self.member_at(name, m.host(), m.port()).and_then(|id| self.insts.get(&id))?;
                let s = i.status.as_ref()?;
                let good = !i.sdown()
                    && i.command.up()
                    && s.role == NodeRole::Replica
                    && s.link_up
                    && !s.syncing
                    && !s.loading
                    && s.disk_error.is_none()
                    && s.dataset == shard.dataset;
                good.then_some(((s.epoch, s.offset, std::cmp::Reverse(ordinal)), m))
            })
            .max()
            .map(|(_, m)| m.clone())
    }

    /// Tries a move again that has not come about yet, where nothing else is to be done for the shard.
    pub(super) fn retry_planned(&mut self, io: &mut Io, name: &str, shard: &Shard) {
        let now = io.now.mono_ms();
        let due = self.masters.get(name).is_some_and(|m| m.failover.not_before_ms <= now);
        // One that has come about is ended with the next look.
        let open = |p: &&Planned| due && !p.failed && shard.master.as_ref() == Some(&p.from);
        let Some(to) = self.planned(name).filter(open).map(|p| p.to.clone()) else { return };
        match self.target(name, shard, to.as_ref()) {
            Ok(target) => self.begin(io, name, Some(target), true),
            Err(why) => self.note_of_move(name, &why),
        }
    }

    /// Ends moves that are done, or whose time is over. Also in TILT mode: whoever asked is told in time.
    pub(super) fn end_planned(&mut self, io: &mut Io) {
        let names: Vec<String> = self.managed.iter().flat_map(|g| g.planned.keys().cloned()).collect();
        for name in names {
            let Some(shard) = self.shard_named(&name).cloned() else {
                self.forget_move(&name);
                continue;
            };
            let Some(p) = self.planned_mut(&name) else { continue };
            let moved = shard.master.as_ref() != Some(&p.from);
            let gone_on = shard.epoch != p.epoch;
            if moved || (gone_on && p.failed) {
                self.forget_move(&name);
                continue;
            }
            if gone_on {
                // It was elected again: the one who was to take over did not promise in time.
                p.epoch = shard.epoch;
                p.why = format!("{} was elected again", p.from);
            }
            let over = !p.failed && p.until_ms <= io.now.mono_ms();
            let step = self.masters.get(&name).map_or(Step::None, |m| m.failover.step);
            if over && !matches!(step, Step::Promises | Step::Spread) {
                let why = self.move_pending(&name).filter(|why| !why.is_empty()).unwrap_or("no time is left");
                let why = why.to_owned();
                if step != Step::None {
                    self.give_up(io, &name, "-failover-abort-slave-timeout", "#switchover");
                }
                self.give_up_move(io, &name, &why);
            }
        }
    }

    fn forget_move(&mut self, name: &str) {
        if let Some(g) = &mut self.managed {
            g.planned.remove(name);
        }
    }

    /// Notes how an attempt ended.
    pub(super) fn note_of_move(&mut self, name: &str, why: &str) {
        if let Some(p) = self.planned_mut(name).filter(|p| !p.failed) {
            p.why = why.trim_start_matches('#').to_owned();
        }
    }

    /// Gives a move up: the master goes on.
    pub(super) fn give_up_move(&mut self, io: &mut Io, name: &str, why: &str) {
        let Some(p) = self.planned_mut(name).filter(|p| !p.failed) else { return };
        p.failed = true;
        p.why = why.trim_start_matches('#').to_owned();
        let told = format!("#{}", p.why);
        self.event_of(io, "-switchover-failed", name, &told);
    }
}
