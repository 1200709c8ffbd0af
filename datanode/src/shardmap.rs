//! The shard map: the authority's statement of shards, hash slots, members, and the master and epoch of each; and the
//! answers of `REPLICASET STATUS`. All of it travels as JSON (`docs/architecture.md`).
//!
//! Contract: merging is commutative, associative and idempotent, so maps may arrive late, twice and in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mutation::{self, Mutation};

/// Highest hash slot.
pub const MAX_SLOT: u16 = 16383;
/// Most shards of one map.
pub const MAX_SHARDS: usize = 1000;
/// Most members of one shard.
pub const MAX_MEMBERS: usize = 64;
/// Most sentinels of one map.
pub const MAX_SENTINELS: usize = 63;
/// Most slot ranges of one shard.
pub const MAX_RANGES: usize = 16384;
/// Longest name of a map, and longest host name, in bytes.
pub const MAX_NAME: usize = 253;
/// Largest epoch and generation: what JSON numbers carry exactly.
pub const MAX_EPOCH: u64 = (1 << 53) - 1;
/// A lease as a part of `downAfter`.
const LEASE_PERCENT: u64 = 80;
/// How much faster one machine's monotonic clock may run than another's.
const CLOCK_DRIFT_PERCENT: u64 = 10;
/// Longest interval of a map, in milliseconds (a day).
pub const MAX_INTERVAL_MS: u64 = 86_400_000;

/// A node's address, `host:port`; the host is a DNS name or an IP address (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeAddr(String);

impl NodeAddr {
    /// Builds an address; brackets are put around a bare IPv6 address.
    pub fn new(host: &str, port: u16) -> Result<Self, MapError> {
        let text = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        text.try_into()
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(h, _)| h);
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.0.rsplit_once(':').and_then(|(_, p)| p.parse().ok()).unwrap_or(0)
    }

    /// `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The node's 40 hex digits of id, as CLUSTER NODES shows it: SHA-1 of the address, so it outlives the process.
    pub fn node_id(&self) -> String {
        sha1_smol::Sha1::from(self.0.as_bytes()).digest().to_string()
    }
}

impl TryFrom<String> for NodeAddr {
    type Error = MapError;

    fn try_from(text: String) -> Result<Self, MapError> {
        let bad = || MapError(format!("not an address of the form host:port: {text:?}"));
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let bare = match host.strip_prefix('[') {
            Some(h) => h.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'%');
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        if bare.is_empty() || bare.len() > MAX_NAME || !bare.bytes().all(plain) || !digits {
            return Err(bad());
        }
        match port.parse::<u16>() {
            Ok(p) if p > 0 => Ok(NodeAddr(text)),
            _ => Err(bad()),
        }
    }
}

impl std::str::FromStr for NodeAddr {
    type Err = MapError;

    fn from_str(s: &str) -> Result<Self, MapError> {
        s.to_owned().try_into()
    }
}

impl From<NodeAddr> for String {
    fn from(a: NodeAddr) -> String {
        a.0
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a map or an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MapError(pub String);

/// Who is master of a shard, as the authority has decided it. Ordered: the larger one wins a merge. Epoch comes first;
/// the rest of the order makes a founded shard win over an unfounded one of the same epoch, and ties definite.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// 0 until somebody has been master.
    pub epoch: u64,
    /// 40 hex digits, once founded.
    pub dataset: Option<String>,
    /// The master.
    pub master: Option<NodeAddr>,
    /// The epoch at which the dataset was founded; 0 where none was, or where kept volumes were adopted.
    pub founded_at: u64,
}

/// One shard: its place in the topology and its authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shard {
    /// Number of the shard, from 0.
    pub index: u32,
    /// Ranges of hash slots, both ends included.
    pub slots: Vec<[u16; 2]>,
    /// All members, by ordinal.
    pub members: Vec<NodeAddr>,
    /// Those of them that have not had everything yet: elections do not ask them, and what they acknowledge does not count.
    // Here and not at the end, so that it wins over the same topology without it: see `merge`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joining: Vec<NodeAddr>,
    /// Those of them that are to leave: elections still ask them, but what they acknowledge does not count any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<NodeAddr>,
    /// See [`Authority::epoch`].
    pub epoch: u64,
    /// See [`Authority::master`].
    pub master: Option<NodeAddr>,
    /// See [`Authority::dataset`].
    pub dataset: Option<String>,
    /// See [`Authority::founded_at`].
    pub founded_at: u64,
    /// 0, or the epoch up to which a person has accepted that data may be missing.
    pub accept_loss: u64,
}

impl Shard {
    /// The authority's part.
    pub fn authority(&self) -> Authority {
        Authority {
            epoch: self.epoch,
            dataset: self.dataset.clone(),
            master: self.master.clone(),
            founded_at: self.founded_at,
        }
    }

    /// Replaces the authority's part.
    pub fn set_authority(&mut self, a: Authority) {
        self.epoch = a.epoch;
        self.dataset = a.dataset;
        self.master = a.master;
        self.founded_at = a.founded_at;
    }

    /// True if the node is a member.
    pub fn has_member(&self, node: &NodeAddr) -> bool {
        self.members.contains(node)
    }

    /// True if what the node acknowledges counts.
    pub fn counts(&self, node: &NodeAddr) -> bool {
        self.has_member(node) && !self.joining.contains(node) && !self.leaving.contains(node)
    }

    /// The members whose acknowledgements count.
    pub fn counting(&self) -> impl Iterator<Item = &NodeAddr> {
        self.members.iter().filter(|m| self.counts(m))
    }

    /// The members that an election asks: those whose acknowledgements count, or did.
    pub fn electors(&self) -> impl Iterator<Item = &NodeAddr> {
        let joins = |m: &NodeAddr| self.joining.contains(m) && !mutation::active(Mutation::JoiningAsked);
        let leaves = |m: &NodeAddr| self.leaving.contains(m) && mutation::active(Mutation::LeavingNotAsked);
        self.members.iter().filter(move |m| !joins(m) && !leaves(m))
    }

    /// Its master is no member any more: it was elected while it was being removed.
    pub fn master_is_gone(&self) -> bool {
        self.master.as_ref().is_some_and(|master| !self.has_member(master))
    }

    /// Number of hash slots.
    pub fn slot_count(&self) -> usize {
        self.slots.iter().map(|&[a, b]| usize::from(b) + 1 - usize::from(a)).sum()
    }
}

/// The map. Everything but the shards' authority is topology and belongs to the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardMap {
    /// The RedisReplicaSet's name.
    pub name: String,
    /// Revision of the topology; only the operator raises it.
    pub generation: u64,
    /// False while `write_ack_replicas` is being changed.
    pub settled: bool,
    /// Sentinels that must see a master down before it is failed over.
    pub quorum: u32,
    /// Silence after which a node counts as down, milliseconds.
    pub down_after_ms: u64,
    /// Limit of one failover attempt, milliseconds.
    pub failover_timeout_ms: u64,
    /// How long an election waits for members that may hold more data, milliseconds.
    pub grace_ms: u64,
    /// Replicas that may resynchronize at once.
    pub parallel_syncs: u32,
    /// Replicas that must have acknowledged a write before its client hears of it.
    pub write_ack_replicas: u32,
    /// They, and the master, must have it on disk. Left out: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write_ack_fsync: bool,
    /// All sentinels; none where the operator is the authority.
    pub sentinels: Vec<NodeAddr>,
    /// All shards, by index.
    pub shards: Vec<Shard>,
    /// Authority of shards that the present topology does not list, by index: should one come back, its epochs go on
    /// and its lineage is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former: BTreeMap<u32, Authority>,
}

impl ShardMap {
    /// Reads and validates a map.
    pub fn from_json(json: &[u8]) -> Result<Self, MapError> {
        let map: ShardMap =
            serde_json::from_slice(json).map_err(|e| MapError(format!("not a shard map: {e}")))?;
        map.validate()?;
        Ok(map)
    }

    /// The map as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a map has only string keys and finite numbers")
    }

    /// Takes an offered map into `known`: validates it, refuses one of another name, merges. True if `known` changed.
    pub fn offer(known: &mut Option<ShardMap>, offered: ShardMap) -> Result<bool, MapError> {
        offered.validate()?;
        match known {
            None => {
                *known = Some(offered);
                Ok(true)
            }
            Some(map) if map.name != offered.name => Err(MapError(format!(
                "the offered map is of {:?}, this node belongs to {:?}",
                offered.name, map.name
            ))),
            Some(map) => Ok(map.merge(&offered)),
        }
    }

    /// Merges another map of the same name: topology from the larger generation, each shard's authority from the
    /// larger epoch, whatever shards the topology lists. True if this map changed.
    pub fn merge(&mut self, other: &ShardMap) -> bool {
        let mut authorities = self.authorities();
        for (index, theirs) in other.authorities() {
            let ours = authorities.entry(index).or_default();
            if theirs > *ours {
                *ours = theirs;
            }
        }
        // Two topologies of one generation are the operator's mistake; a definite order keeps the merge commutative.
        let newer = match other.generation.cmp(&self.generation) {
            std::cmp::Ordering::Equal => other.topology().to_json() > self.topology().to_json(),
            order => order.is_gt(),
        };
        let mut merged = if newer { other.topology() } else { self.topology() };
        for shard in &mut merged.shards {
            if let Some(a) = authorities.remove(&shard.index) {
                shard.set_authority(a);
            }
        }
        authorities.retain(|_, a| *a != Authority::default());
        merged.former = authorities;
        let changed = merged != *self;
        *self = merged;
        changed
    }

    fn authorities(&self) -> BTreeMap<u32, Authority> {
        let mut all = self.former.clone();
        all.extend(self.shards.iter().map(|s| (s.index, s.authority())));
        all
    }

    fn topology(&self) -> ShardMap {
        let mut t = self.clone();
        t.former.clear();
        for s in &mut t.shards {
            s.set_authority(Authority::default());
        }
        t
    }

    /// Checks bounds and consistency; says what is wrong.
    pub fn validate(&self) -> Result<(), MapError> {
        let fail = |text: String| Err(MapError(format!("invalid shard map: {text}")));
        if self.name.is_empty()
            || self.name.len() > MAX_NAME
            || self.name.bytes().any(|b| b <= b' ' || b == 127)
        {
            return fail(format!("name {:?} must be 1 to {MAX_NAME} bytes without blanks", self.name));
        }
        if self.generation > MAX_EPOCH {
            return fail(format!("generation {} is too large", self.generation));
        }
        for (what, ms) in [
            ("downAfterMs", self.down_after_ms),
            ("failoverTimeoutMs", self.failover_timeout_ms),
            ("graceMs", self.grace_ms),
        ] {
            if ms == 0 || ms > MAX_INTERVAL_MS {
                return fail(format!("{what} {ms} must be within 1 and {MAX_INTERVAL_MS}"));
            }
        }
        if self.sentinels.len() > MAX_SENTINELS {
            return fail(format!("{} sentinels, at most {MAX_SENTINELS}", self.sentinels.len()));
        }
        if !self.sentinels.is_empty() && !(1..=self.sentinels.len()).contains(&(self.quorum as usize)) {
            return fail(format!("quorum {} of {} sentinels", self.quorum, self.sentinels.len()));
        }
        if self.parallel_syncs == 0 {
            return fail("parallelSyncs must be at least 1".into());
        }
        if self.shards.is_empty() || self.shards.len() > MAX_SHARDS || self.former.len() > MAX_SHARDS {
            return fail(format!("{} shards, must be 1 to {MAX_SHARDS}", self.shards.len()));
        }
        let mut nodes = BTreeSet::new();
        let mut indexes = BTreeSet::new();
        let mut slots = vec![false; usize::from(MAX_SLOT) + 1];
        if let Some(twice) = self.sentinels.iter().find(|s| !nodes.insert(*s)) {
            return fail(format!("{twice} is listed twice"));
        }
        for s in &self.shards {
            let n = s.index;
            if !indexes.insert(n) || self.former.contains_key(&n) {
                return fail(format!("shard {n} is listed twice"));
            }
            if s.members.is_empty() || s.members.len() > MAX_MEMBERS {
                return fail(format!(
                    "shard {n} has {} members, must be 1 to {MAX_MEMBERS}",
                    s.members.len()
                ));
            }
            if let Some(stranger) = s.joining.iter().chain(&s.leaving).find(|m| !s.has_member(m)) {
                return fail(format!("shard {n}: {stranger} is joining or leaving, and is no member"));
            }
            let counting = s.counting().count();
            if self.write_ack_replicas as usize >= counting {
                let w = self.write_ack_replicas;
                return fail(format!("writeAckReplicas {w} needs more than shard {n}'s {counting} members"));
            }
            if let Some(twice) = s.members.iter().find(|m| !nodes.insert(*m)) {
                return fail(format!("{twice} is listed twice"));
            }
            if s.slots.len() > MAX_RANGES {
                return fail(format!("shard {n} has {} slot ranges", s.slots.len()));
            }
            for &[from, to] in &s.slots {
                if from > to || to > MAX_SLOT {
                    return fail(format!("shard {n}: [{from}, {to}] is not a range of slots"));
                }
                for slot in from..=to {
                    if std::mem::replace(&mut slots[usize::from(slot)], true) {
                        return fail(format!("slot {slot} is listed twice"));
                    }
                }
            }
            if s.accept_loss > MAX_EPOCH {
                return fail(format!("shard {n}: acceptLoss {} is too large", s.accept_loss));
            }
        }
        for (n, a) in self.authorities() {
            if let Err(text) = a.validate() {
                return fail(format!("shard {n}: {text}"));
            }
        }
        Ok(())
    }

    /// How long a token that a majority of sentinels has echoed lets its master take writes, milliseconds by the master's
    /// clock; none where there are no sentinels that could feed it.
    pub fn lease_ms(&self) -> Option<u64> {
        (!self.sentinels.is_empty()).then_some(self.down_after_ms * LEASE_PERCENT / 100)
    }

    /// After so long, by any clock, a lease that was fed has run out by its master's clock. Shorter than `downAfter`:
    /// whoever has been silent for that long holds no lease any more.
    pub fn lease_over_ms(&self) -> u64 {
        self.lease_ms().map_or(0, |ms| ms * (100 + CLOCK_DRIFT_PERCENT) / 100 + 1)
    }

    /// Sentinels that make a majority.
    pub fn majority(&self) -> usize {
        self.sentinels.len() / 2 + 1
    }

    /// The shard with this index.
    pub fn shard(&self, index: u32) -> Option<&Shard> {
        self.shards.iter().find(|s| s.index == index)
    }

    /// The shard with this index.
    pub fn shard_mut(&mut self, index: u32) -> Option<&mut Shard> {
        self.shards.iter_mut().find(|s| s.index == index)
    }

    /// The shard a node is a member of.
    pub fn shard_of(&self, node: &NodeAddr) -> Option<&Shard> {
        self.shards.iter().find(|s| s.has_member(node))
    }

    /// The shard that owns a hash slot.
    pub fn owner_of(&self, slot: u16) -> Option<&Shard> {
        self.shards.iter().find(|s| s.slots.iter().any(|&[a, b]| (a..=b).contains(&slot)))
    }

    /// A shard's Sentinel master name: the map's name where there is one shard, else `NAME-INDEX`.
    pub fn master_name(&self, index: u32) -> String {
        if self.shards.len() == 1 { self.name.clone() } else { format!("{}-{index}", self.name) }
    }

    /// The shard with this Sentinel master name.
    pub fn shard_named(&self, master_name: &str) -> Option<&Shard> {
        self.shards.iter().find(|s| self.master_name(s.index) == master_name)
    }
}

impl Authority {
    fn validate(&self) -> Result<(), String> {
        if self.epoch > MAX_EPOCH || self.founded_at > self.epoch {
            return Err(format!("epoch {}, founded at {}", self.epoch, self.founded_at));
        }
        if (self.epoch == 0) != self.master.is_none() {
            return Err(format!("epoch {} and master {:?} contradict each other", self.epoch, self.master));
        }
        match &self.dataset {
            Some(d) if !is_dataset_id(d) => Err(format!("dataset {d:?} is not 40 hex digits")),
            _ => Ok(()),
        }
    }
}

/// True for 40 lower-case hex digits.
pub fn is_dataset_id(s: &str) -> bool {
    s.len() == 40 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What a datanode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// It waits for a map that tells it its role.
    #[default]
    Nobody,
    /// It takes writes.
    Master,
    /// It follows a master.
    Replica,
}

/// Answer of `REPLICASET STATUS` and `REPLICASET PROMISE` of a datanode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// The node's address in the map.
    pub node: NodeAddr,
    /// Index of its shard.
    pub shard: u32,
    /// What it is now.
    pub role: NodeRole,
    /// Epoch of the master whose stream the data comes from.
    pub epoch: u64,
    /// Replication offset.
    pub offset: u64,
    /// The dataset it holds; none on an empty, unmarked volume.
    pub dataset: Option<String>,
    /// Largest epoch it has promised.
    pub promised: u64,
    /// Epoch of its shard in the map it knows.
    pub map_epoch: u64,
    /// Generation of the map it knows.
    pub generation: u64,
    /// 40 hex digits, new with each start of the process.
    pub run_id: String,
    /// Unix time of the process's start, milliseconds.
    pub started_at_ms: u64,
    /// It holds everything that it has acknowledged: its files were sealed when its process started, or since then it has
    /// been master, or has reached the end of its master's stream. Until then a restarted node may lack the last writes it
    /// has acknowledged, and an election does not rely on its acknowledgements.
    pub intact: bool,
    /// It is still reading its files; offset and epoch are not known yet.
    pub loading: bool,
    /// The link to its master is up.
    pub link_up: bool,
    /// A full resync is under way.
    pub syncing: bool,
    /// Milliseconds since it last heard of its master.
    pub lag_ms: u64,
    /// The master it follows.
    pub master_host: Option<NodeAddr>,
    /// It takes writes now.
    pub writable: bool,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of memory.
    pub used_memory: u64,
    /// Why its disk cannot be written.
    pub disk_error: Option<String>,
    /// Why its files could not be loaded.
    pub restore_error: Option<String>,
    /// Its own monotonic clock, milliseconds: what a sentinel echoes to extend its lease.
    #[serde(default)]
    pub token: u64,
    /// It is master, but its lease has run out.
    #[serde(default)]
    pub fenced: bool,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
}

/// A replica as its master sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Its address in the map.
    pub node: NodeAddr,
    /// The offset it has acknowledged.
    pub offset: u64,
    /// Milliseconds since its last acknowledgement.
    pub lag_ms: u64,
    /// It receives the stream.
    pub online: bool,
}

/// Answer of `REPLICASET STATUS` of a sentinel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentinelStatus {
    /// The sentinel's address in the map.
    pub node: NodeAddr,
    /// 40 hex digits: its `myid`.
    pub run_id: String,
    /// Generation of the map it knows; 0 without one.
    pub generation: u64,
    /// Its view of every shard.
    pub shards: Vec<ShardView>,
}

/// A sentinel's view of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardView {
    /// Index of the shard.
    pub index: u32,
    /// Condition of the shard.
    pub state: ShardState,
    /// What a person should know about the state; empty where all is well.
    pub reason: String,
    /// Epoch in the map.
    pub epoch: u64,
    /// Master in the map.
    pub master: Option<NodeAddr>,
    /// Its members.
    pub members: Vec<MemberView>,
    /// Sentinels that answer, this one included.
    pub sentinels_reachable: u32,
}

/// Condition of a shard as a sentinel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShardState {
    /// The master answers.
    Ok,
    /// This sentinel sees it down.
    Sdown,
    /// A quorum sees it down.
    Odown,
    /// An election is under way.
    Electing,
    /// A planned move is under way.
    Switchover,
    /// An election cannot prove that nothing is lost.
    AtRisk,
    /// Nobody has been master yet.
    Unfounded,
}

/// A sentinel's view of a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its address.
    pub node: NodeAddr,
    /// It answers pings.
    pub reachable: bool,
    /// Milliseconds since its last valid answer.
    pub last_seen_ms: u64,
    /// Its last STATUS.
    pub status: Option<NodeStatus>,
}

#[cfg(test)]
mod tests;
