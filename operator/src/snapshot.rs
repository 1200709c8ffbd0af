//! Everything a decision is made from, as it was observed at one moment: API objects, answers of members, and what the
//! operator has written down of its intentions. Plain data; the clock's time is in it.

use std::collections::BTreeMap;

use datanode::shardmap::{NodeAddr, NodeRole, NodeStatus, SentinelStatus, Shard, ShardMap};
use serde::{Deserialize, Serialize};

use crate::crd::desired::{Desired, pod_of};
use crate::render::{Kind, Settings};

/// One moment of one resource.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Unix time, milliseconds.
    pub now_ms: u64,
    /// What is asked for.
    pub desired: Desired,
    /// What the operator was installed with.
    pub settings: Settings,
    /// The Secret with the password.
    pub secret: Secret,
    /// Objects the operator applies, as they are.
    pub objects: BTreeMap<(Kind, String), Existing>,
    /// StatefulSets, by name.
    pub sets: BTreeMap<String, SetView>,
    /// Pods, by name.
    pub pods: BTreeMap<String, PodView>,
    /// Volume claims of data pods, by name: their size in bytes.
    pub claims: BTreeMap<String, u64>,
    /// Directives in the ConfigMap, which pods start with.
    pub config: Option<BTreeMap<String, String>>,
    /// The shard map and the operator's intentions; None: never written, or lost.
    pub record: Option<Record>,
    /// What each member answered.
    pub members: BTreeMap<NodeAddr, Probe<NodeStatus>>,
    /// What each sentinel answered.
    pub sentinels: BTreeMap<NodeAddr, Probe<SentinelStatus>>,
    /// Answers to the promises asked for, by shard.
    pub promises: BTreeMap<u32, Vec<NodeStatus>>,
    /// What the last attempts at something said, where they failed.
    pub failures: Failures,
    /// When the last disruptive action was carried out, Unix milliseconds; 0 if none is remembered.
    pub last_disruption_ms: u64,
    /// 40 hex digits drawn at random for a dataset that may have to be founded.
    pub fresh_dataset: String,
}

/// The Secret with the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// There is none.
    Absent,
    /// There is one, but without the key `password`.
    Empty,
    /// There is a password.
    Usable,
}

/// An object that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its annotation [`crate::render::APPLIED`].
    pub hash: Option<String>,
    /// It belongs to somebody else: it must not be touched.
    pub foreign: bool,
    /// It was long ago that it was applied: apply it again, should somebody have changed it.
    pub stale: bool,
}

/// A StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetView {
    /// Pods it is to have.
    pub pods: u32,
    /// Size in its claim template.
    pub claim: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// Its identity.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// It passes its readiness probe.
    pub ready: bool,
    /// Its role label.
    pub role: Option<String>,
    /// Hash of the template it was made from.
    pub template: Option<String>,
    /// What its process was last told at run time: hash of the directives and run id.
    pub config: Option<String>,
    /// What keeps it from running, in words.
    pub trouble: Option<String>,
}

/// What asking a member or sentinel came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe<T> {
    /// Its answer, or why there is none.
    pub answer: Result<Answer<T>, Failure>,
    /// Since when it has not answered, Unix milliseconds; when it did just now, that time.
    pub silent_since_ms: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// Its STATUS.
    pub status: T,
    /// The map it knows.
    pub map: Option<ShardMap>,
}

/// Why there is no answer. Absent, unreachable and dead are different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no such pod, or it has no address yet.
    #[error("has no running pod")]
    Absent,
    /// Its host answered that nobody listens: the process is dead.
    #[error("refuses connections")]
    Refused,
    /// Nothing was heard in time.
    #[error("does not answer")]
    Silent,
    /// It answered with an error.
    #[error("answers {0}")]
    Error(String),
}

impl Failure {
    /// It is alive, and does not accept the password of the Secret.
    pub fn is_about_the_password(&self) -> bool {
        matches!(self, Failure::Error(text) if text.contains("WRONGPASS") || text.contains("NOAUTH"))
    }
}

/// The last failures of actions, which a later decision takes into account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// A member refused directives: hash of them, and its words.
    pub config: Option<(String, String)>,
    /// A planned move could not be made: epoch, and why.
    pub handover: Option<(u64, String)>,
    /// Claims that could not grow, and why.
    pub claims: BTreeMap<String, String>,
}

/// What the operator keeps in the ConfigMap `NAME-map`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The shard map.
    pub map: ShardMap,
    /// Elections that have begun, by shard: only without sentinels.
    #[serde(default)]
    pub elections: BTreeMap<u32, ElectionRecord>,
    /// What the members that stay must have before the map is settled, by shard.
    #[serde(default)]
    pub marks: BTreeMap<u32, Mark>,
    /// Version of the ConfigMap that this was read from; a later one refuses our write.
    #[serde(skip)]
    pub resource_version: Option<String>,
}

/// An election that has begun: written down before the first promise is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionRecord {
    /// The epoch that is being decided.
    pub epoch: u64,
    /// When it began, Unix milliseconds.
    pub started_ms: u64,
    /// A planned move to this member.
    #[serde(default)]
    pub preferred: Option<NodeAddr>,
}

/// A place in a master's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Epoch of the master.
    pub epoch: u64,
    /// Offset in its stream.
    pub offset: u64,
    /// Generation of the map it had then.
    pub generation: u64,
}

impl Snapshot {
    /// The STATUS of a member that answers.
    pub fn status(&self, member: &NodeAddr) -> Option<&NodeStatus> {
        self.members.get(member)?.answer.as_ref().ok().map(|answer| &answer.status)
    }

    /// The pod of a member or sentinel.
    pub fn pod(&self, place: &NodeAddr) -> Option<&PodView> {
        self.pods.get(pod_of(place.as_str()))
    }

    /// The shard's master, where it says so itself at the map's epoch.
    pub fn master<'a>(&'a self, shard: &Shard) -> Option<&'a NodeStatus> {
        let status = self.status(shard.master.as_ref()?)?;
        (status.role == NodeRole::Master && status.map_epoch == shard.epoch).then_some(status)
    }

    /// Whether a member is a replica of the map's master and has caught up with it.
    pub fn in_sync(&self, shard: &Shard, member: &NodeAddr) -> bool {
        self.status(member).is_some_and(|status| {
            status.role == NodeRole::Replica
                && status.map_epoch == shard.epoch
                && status.epoch == shard.epoch
                && status.link_up
                && !status.syncing
                && !status.loading
                && status.master_host == shard.master
        })
    }

    /// How long a member has not answered, milliseconds.
    pub fn silence_ms<T>(&self, probe: &Probe<T>) -> u64 {
        self.now_ms.saturating_sub(probe.silent_since_ms)
    }
}
