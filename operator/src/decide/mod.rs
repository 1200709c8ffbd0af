//! What to do next: a pure function from a [`Snapshot`] to a [`Plan`].
//!
//! Contract: no client, no clock, no random number, no log. At most one disruptive action in a plan, and none while
//! anything else is amiss. What spans several steps is written down (`SaveRecord`) before its first step, and any
//! prefix of it can be continued by an operator that knows only the snapshot. Once a plan has had its effect, deciding
//! again gives no action.

mod authority;
mod config;
mod health;
mod objects;
mod roll;
mod topology;

use std::collections::BTreeMap;

use datanode::shardmap::{NodeAddr, ShardMap};

pub use config::note as config_note;

use crate::render::Object;
use crate::snapshot::{Record, Secret, Snapshot};

/// Pause between looks at a resource in which all is well, milliseconds.
const CALM_MS: u64 = 2_000;
/// Pause between looks while something is going on, milliseconds.
const BUSY_MS: u64 = 500;
/// Pause between looks during an election of the operator's own, milliseconds.
const ELECTION_MS: u64 = 150;
/// Least time between two disruptive actions, milliseconds.
const DISRUPTION_PAUSE_MS: u64 = 5_000;

/// One thing to do. Each is refused by the world if its precondition no longer holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the Secret with a random password, unless it exists by now.
    CreateSecret,
    /// Apply an object.
    Apply(Box<Object>),
    /// Write map and intentions, at the resource version they were read at.
    SaveRecord(Box<Record>),
    /// Tell a member or sentinel the map.
    Offer {
        /// To whom.
        to: NodeAddr,
        /// What.
        map: Box<ShardMap>,
    },
    /// Set the role label of a pod, if it still is that pod.
    Label {
        /// Name of the pod.
        pod: String,
        /// Its uid.
        uid: String,
        /// Its role; None takes the label away.
        role: Option<&'static str>,
    },
    /// Tell a running member its directives, and note on its pod that it was told.
    Configure {
        /// The member.
        member: NodeAddr,
        /// Its pod and the pod's uid.
        pod: (String, String),
        /// The directives.
        directives: BTreeMap<String, String>,
        /// Hash of them.
        hash: String,
        /// The process that was told.
        run_id: String,
    },
    /// Ask members of a shard for their promise of an epoch.
    AskPromises {
        /// The shard.
        shard: u32,
        /// The epoch.
        epoch: u64,
        /// Whom.
        members: Vec<NodeAddr>,
    },
    /// Let a master hand over to a member, ahead of the promises.
    Handover {
        /// The shard.
        shard: u32,
        /// Its master.
        master: NodeAddr,
        /// Who is to have the whole stream.
        to: NodeAddr,
        /// The epoch that is being decided.
        epoch: u64,
        /// How long the master may wait with writes paused.
        timeout_ms: u64,
    },
    /// Ask the sentinels for a planned move.
    Switchover {
        /// A sentinel.
        sentinel: NodeAddr,
        /// The shard.
        shard: u32,
        /// Who is to be master.
        to: NodeAddr,
    },
    /// Delete a pod, if it still is that pod, so that it is made again from the new template.
    DeletePod {
        /// Name of the pod.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Let a volume claim grow.
    GrowClaim {
        /// Its name.
        claim: String,
        /// Its new size.
        size: String,
    },
}

impl Action {
    /// Whether it brings the record, objects or members nearer to what is asked for.
    fn changes_objects(&self) -> bool {
        matches!(self, Self::SaveRecord(_) | Self::Apply { .. } | Self::Configure { .. })
    }

    /// Whether clients may notice it.
    pub fn is_disruptive(&self) -> bool {
        matches!(self, Self::Handover { .. } | Self::Switchover { .. } | Self::DeletePod { .. })
    }
}

/// Something a person should be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A warning, not just news.
    pub warning: bool,
    /// In CamelCase.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// What is to be said of the resource in its conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What the operator is about, in order of weight: reason and message.
    pub progressing: Vec<(&'static str, String)>,
    /// What is wrong.
    pub degraded: Vec<(&'static str, String)>,
    /// What only a person can decide.
    pub at_risk: Vec<(&'static str, String)>,
}

/// What to do, and what to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In this order, up to the first that fails.
    pub actions: Vec<Action>,
    /// To tell once the actions have been carried out.
    pub notes: Vec<Note>,
    /// For the status.
    pub findings: Findings,
    /// When to look again, milliseconds.
    pub requeue_ms: u64,
}

impl Plan {
    fn progressing(&mut self, reason: &'static str, message: impl Into<String>) {
        self.findings.progressing.push((reason, message.into()));
    }

    fn degraded(&mut self, reason: &'static str, message: impl Into<String>) {
        self.findings.degraded.push((reason, message.into()));
    }

    fn at_risk(&mut self, reason: &'static str, message: impl Into<String>) {
        self.findings.at_risk.push((reason, message.into()));
    }

    fn news(&mut self, reason: &'static str, message: impl Into<String>) {
        self.notes.push(Note { warning: false, reason, message: message.into() });
    }

    fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.notes.push(Note { warning: true, reason, message: message.into() });
    }
}

/// Decides.
pub fn decide(snapshot: &Snapshot) -> Plan {
    let mut plan = Plan::default();
    steps(snapshot, &mut plan);
    debug_assert!(plan.actions.iter().filter(|action| action.is_disruptive()).count() <= 1);
    // What follows from new objects is only seen once they are there: until then nothing counts as reached.
    if plan.findings.progressing.is_empty() && plan.actions.iter().any(Action::changes_objects) {
        plan.progressing("Applying", "objects and members are being told what is asked for");
    }
    let electing = snapshot.record.as_ref().is_some_and(|record| !record.elections.is_empty());
    plan.requeue_ms = match () {
        () if electing => ELECTION_MS,
        () if plan.findings != Findings::default() => BUSY_MS,
        () => CALM_MS,
    };
    if snapshot.desired.sentinels == 0 {
        // Without sentinels the operator is the one who notices that a master is down.
        let look = snapshot.desired.down_after.as_millis() as u64 / 3;
        plan.requeue_ms = plan.requeue_ms.min(look).max(ELECTION_MS);
    }
    plan
}

fn steps(s: &Snapshot, plan: &mut Plan) {
    match s.secret {
        Secret::Absent => {
            plan.progressing("CreatingPassword", "making a random password");
            plan.actions.push(Action::CreateSecret);
            plan.news(
                "PasswordCreated",
                format!("made the Secret {} with a random password", s.desired.secret),
            );
            return;
        }
        Secret::Empty => {
            let text = format!("the Secret {} has no key `password`: add it", s.desired.secret);
            return plan.degraded("PasswordMissing", text);
        }
        Secret::Usable => {}
    }
    // Intent first: nothing is offered, nor made, that is not written down.
    let Some(record) = topology::record(s, plan) else { return };
    if s.record.as_ref() != Some(&record) {
        plan.actions.push(Action::SaveRecord(Box::new(record)));
        return;
    }
    objects::apply(s, &record, plan);
    topology::offer(s, &record, plan);
    if s.desired.sentinels == 0 {
        authority::elect(s, &record, plan);
    }
    health::labels(s, &record, plan);
    config::configure(s, &record, plan);
    health::examine(s, &record, plan);
    roll::next(s, &record, plan);
    objects::grow(s, plan);
}

#[cfg(test)]
mod tests;
