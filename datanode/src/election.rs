//! Who becomes master of a shard: one pure function, [`decide`], for the sentinels' leader and for the operator where
//! there are no sentinels.
//!
//! Contract: with `writeAckReplicas` ≥ 1 it elects only a member that holds every acknowledged write, as far as the
//! promises can prove it; what it cannot prove it waits for, up to the map's grace period, and then reports.

use crate::mutation::{self, Mutation};
use crate::shardmap::{NodeAddr, NodeStatus, Shard, ShardMap};

/// What is known about one election.
#[derive(Debug, Clone)]
pub struct Election<'a> {
    /// The map, for its rules (`settled`, `writeAckReplicas`, intervals).
    pub map: &'a ShardMap,
    /// The shard's entry in it.
    pub shard: &'a Shard,
    /// The epoch that is being decided: larger than the shard's, and the one the members were asked to promise.
    pub epoch: u64,
    /// Answers to PROMISE, at most one of each member, the newest.
    pub promises: &'a [NodeStatus],
    /// Members that are known to be unable to answer now (connection refused): not waited for where `downAfter`
    /// would be waited for.
    pub absent: &'a [NodeAddr],
    /// When the promises were first asked for, milliseconds of any clock.
    pub started_ms: u64,
    /// The same clock now.
    pub now_ms: u64,
    /// A planned move: this member is elected if nobody is ahead of it.
    pub preferred: Option<&'a NodeAddr>,
    /// The id of the dataset that may have to be founded: 40 hex digits, drawn for this election.
    pub fresh_dataset: &'a str,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask again later; the reason says what is waited for.
    Wait(String),
    /// Publish this.
    Elect(Elected),
    /// It cannot be proven that nothing is lost. Keep asking: a missing member may come, or a person may accept it.
    AtRisk(String),
}

/// The result of an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elected {
    /// The new master.
    pub master: NodeAddr,
    /// Its epoch.
    pub epoch: u64,
    /// The dataset it holds or founds.
    pub dataset: String,
    /// The dataset is new: `foundedAt` becomes the epoch.
    pub founded: bool,
}

impl Elected {
    /// Enters the result into a shard.
    pub fn apply(&self, shard: &mut Shard) {
        shard.epoch = self.epoch;
        shard.master = Some(self.master.clone());
        if self.founded {
            shard.founded_at = self.epoch;
        }
        shard.dataset = Some(self.dataset.clone());
    }
}

/// Decides an election.
pub fn decide(e: &Election<'_>) -> Decision {
    let promised: Vec<&NodeStatus> = e
        .promises
        .iter()
        .filter(|p| p.promised == e.epoch && !p.loading && e.shard.electors().any(|m| *m == p.node))
        .collect();
    if e.shard.dataset.is_none() { e.found(&promised) } else { e.succeed(&promised) }
}

impl Election<'_> {
    fn waited(&self, limit_ms: u64) -> bool {
        self.now_ms.saturating_sub(self.started_ms) >= limit_ms
    }

    /// N - W members are enough. Whoever is master and no member counts by an older map than this one, which has fewer
    /// members.
    fn settled(&self) -> bool {
        self.map.settled && !self.shard.master_is_gone()
    }

    fn loss_accepted(&self) -> bool {
        self.shard.accept_loss >= self.epoch
    }

    fn missing(&self, promised: &[&NodeStatus]) -> Vec<&NodeAddr> {
        self.shard.electors().filter(|m| !promised.iter().any(|p| p.node == **m)).collect()
    }

    /// The first master of a shard.
    fn found(&self, promised: &[&NodeStatus]) -> Decision {
        let missing = self.missing(promised);
        let accepted = self.loss_accepted() && self.waited(self.map.grace_ms) && !promised.is_empty();
        if !missing.is_empty() && !accepted {
            return Decision::Wait(format!("founding needs every member, missing: {}", list(&missing)));
        }
        if let Some(p) = promised.iter().find(|p| p.restore_error.is_some())
            && !accepted
        {
            let error = p.restore_error.as_deref().unwrap_or_default();
            return Decision::AtRisk(format!("{} holds data that cannot be loaded: {error}", p.node));
        }
        let holders: Vec<&NodeStatus> = promised.iter().copied().filter(|p| p.dataset.is_some()).collect();
        if let Some(first) = holders.first()
            && let Some(other) = holders.iter().find(|p| p.dataset != first.dataset)
            && !accepted
        {
            return Decision::AtRisk(format!(
                "{} holds dataset {}, {} holds dataset {}: which one is to be kept?",
                first.node,
                first.dataset.as_deref().unwrap_or_default(),
                other.node,
                other.dataset.as_deref().unwrap_or_default()
            ));
        }
        if !holders.is_empty() { self.elect(&holders) } else { self.found_new(promised) }
    }

    fn found_new(&self, promised: &[&NodeStatus]) -> Decision {
        let lowest = self.shard.members.iter().find(|m| promised.iter().any(|p| p.node == **m));
        match lowest {
            Some(master) => Decision::Elect(Elected {
                master: master.clone(),
                epoch: self.epoch,
                dataset: self.fresh_dataset.to_owned(),
                founded: true,
            }),
            None => Decision::Wait("nobody has promised yet".into()),
        }
    }

    /// The next master of a founded shard.
    fn succeed(&self, promised: &[&NodeStatus]) -> Decision {
        let members = self.shard.electors().count();
        let acks = self.map.write_ack_replicas as usize;
        let missing = self.missing(promised);
        let all = missing.is_empty();
        let holders: Vec<&NodeStatus> = promised
            .iter()
            .copied()
            .filter(|p| {
                let holds = p.dataset == self.shard.dataset || mutation::active(Mutation::EmptyVolumeElected);
                holds && p.restore_error.is_none()
            })
            .collect();
        let counts = |p: &&&NodeStatus| {
            let empty = p.dataset.is_none() && mutation::active(Mutation::EmptyVolumeElected);
            p.intact || empty || mutation::active(Mutation::RestartedCounts)
        };
        let intact = holders.iter().filter(counts).count();
        if let Some(target) = self.preferred
            && missing.contains(&target)
        {
            return Decision::Wait(format!("waiting for {target}, the target of the planned move"));
        }

        // How many holders prove that one of them has every acknowledged write: a write is on its master and on
        // `acks` replicas, so at most `members - acks - 1` members lack it.
        let single = acks == 0 || mutation::active(Mutation::OnePromiseEnough);
        let needed = if single { 1 } else { members.saturating_sub(acks).max(1) };
        // The present master, if it has not been restarted, holds by itself all that it has acknowledged.
        let master = holders.iter().any(|p| {
            counts(&p) && p.epoch == self.shard.epoch && self.shard.master.as_ref() == Some(&p.node)
        });
        let enough = master || (holders.len() >= needed && (self.settled() || all));

        // Members that were restarted may have lost what they had acknowledged. The others alone must suffice, or
        // all must be heard. Where nothing was promised to survive, those are waited for only so long.
        let unpromised = acks == 0 && self.waited(self.map.grace_ms);
        let remembered = master || intact >= needed || all || unpromised;
        if enough && remembered {
            // Nothing was promised to survive without acknowledgements; still, the one that is ahead may answer
            // within a moment.
            let heard =
                missing.iter().all(|m| self.absent.contains(m)) || self.waited(self.map.down_after_ms);
            if acks > 0 || heard || master {
                return self.elect(&holders);
            }
        }
        if !all && !self.waited(self.map.grace_ms) {
            return Decision::Wait(format!("waiting for promises of {}", list(&missing)));
        }
        let all_empty = all && promised.iter().all(|p| p.dataset.is_none() && p.restore_error.is_none());
        if all_empty && self.shard.founded_at == self.shard.epoch {
            // The founder was lost before it had founded anything, and there is no copy that could be left behind.
            return self.found_new(promised);
        }
        if self.loss_accepted() {
            if !holders.is_empty() {
                return self.elect(&holders);
            }
            if all_empty {
                return self.found_new(promised);
            }
        }
        Decision::AtRisk(self.risk(promised, &holders, needed))
    }

    fn risk(&self, promised: &[&NodeStatus], holders: &[&NodeStatus], needed: usize) -> String {
        let members = self.shard.electors().count();
        let mut text =
            format!("epoch {}: {} of {members} members hold the dataset", self.epoch, holders.len());
        if !self.settled() {
            text += ", all must answer while members or writeAckReplicas are being changed";
        } else {
            text += &format!(", {needed} are needed");
        }
        let missing = self.missing(promised);
        if !missing.is_empty() {
            text += &format!("; missing: {}", list(&missing));
        }
        let named = |filter: &dyn Fn(&NodeStatus) -> bool| -> Vec<&NodeAddr> {
            promised.iter().filter(|p| filter(p)).map(|p| &p.node).collect()
        };
        let restarted = named(&|p| !p.intact && holders.iter().any(|h| h.node == p.node));
        if !restarted.is_empty() {
            text += &format!("; restarted, may lack the last writes: {}", list(&restarted));
        }
        let broken = named(&|p| p.restore_error.is_some());
        if !broken.is_empty() {
            text += &format!("; files cannot be loaded: {}", list(&broken));
        }
        let empty = named(&|p| p.restore_error.is_none() && p.dataset.is_none());
        if !empty.is_empty() {
            text += &format!("; empty: {}", list(&empty));
        }
        let foreign = named(&|p| p.dataset.is_some() && p.dataset != self.shard.dataset);
        if !foreign.is_empty() {
            text += &format!("; another dataset: {}", list(&foreign));
        }
        text
    }

    /// The largest (epoch, offset); ties go to the preferred member, one that is not to leave, the present master, the
    /// lowest ordinal.
    fn elect(&self, holders: &[&NodeStatus]) -> Decision {
        let by_epoch = !mutation::active(Mutation::OffsetWithoutEpoch);
        let rank = |p: &NodeStatus| {
            let ordinal = self.shard.members.iter().position(|m| *m == p.node).unwrap_or(usize::MAX);
            (
                if by_epoch { p.epoch } else { 0 },
                p.offset,
                self.preferred == Some(&p.node),
                self.shard.counts(&p.node),
                self.shard.master.as_ref() == Some(&p.node),
                std::cmp::Reverse(ordinal),
            )
        };
        match holders.iter().max_by_key(|p| rank(p)) {
            Some(best) => Decision::Elect(Elected {
                master: best.node.clone(),
                epoch: self.epoch,
                dataset: best.dataset.clone().unwrap_or_default(),
                founded: false,
            }),
            None => Decision::Wait("nobody has promised yet".into()),
        }
    }
}

fn list(nodes: &[&NodeAddr]) -> String {
    nodes.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
