//! What a resource asks for, with everything filled in that a person left out: the one place where defaults that
//! depend on other fields are worked out, and where a resource the rules let through is checked once more.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use thiserror::Error;

use super::rules::{MAX_NAME, OWNED_DIRECTIVES};
use super::units::{self, UnitError};
use super::{GROUP, RedisReplicaSet, Resources, Scheduling, WhenDeleted};

/// Port of a datanode's clients.
pub const REDIS_PORT: u16 = 6379;
/// Port of a sentinel's clients.
pub const SENTINEL_PORT: u16 = 26379;
/// Hash slots of Redis Cluster.
pub const SLOTS: u32 = 16384;
/// Annotation by which a person accepts that data may be missing: the epoch up to which they do.
pub const ACCEPT_DATA_LOSS: &str = "redis.replicaset.dev/accept-data-loss";

/// How long an election waits for members that are missing before it says that data is at risk.
const GRACE: Duration = Duration::from_secs(30);
/// Share of the memory limit that `maxmemory` defaults to, in percent: the rest is for buffers and snapshots.
const MAXMEMORY_PERCENT: u64 = 75;
/// Size of each volume where none is asked for.
const DEFAULT_VOLUME: &str = "1Gi";

/// A resource that no sensible deployment can be made of.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// A field that does not parse.
    #[error("{field}: {source}")]
    Unit {
        /// Path of the field.
        field: &'static str,
        /// What is wrong with it.
        source: UnitError,
    },
    /// A field that contradicts another, or is out of range.
    #[error("{0}")]
    Rule(String),
}

/// The volume of each data pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// As the claim writes it.
    pub size: String,
    /// Of the size, in bytes.
    pub bytes: u64,
    /// None: the cluster's default.
    pub storage_class: Option<String>,
    /// Whether the claims go with the resource.
    pub when_deleted: WhenDeleted,
}

/// What is to be, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Name of the resource.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Makes whatever is made for the resource go with it.
    pub owner: OwnerReference,
    /// Number of shards.
    pub masters: u32,
    /// Replicas of each master.
    pub replicas: u32,
    /// Number of sentinels.
    pub sentinels: u32,
    /// Sentinels that must agree that a master is down.
    pub quorum: u32,
    /// Silence after which a member is taken for down.
    pub down_after: Duration,
    /// Time for one failover.
    pub failover_timeout: Duration,
    /// Time an election waits for missing members.
    pub grace: Duration,
    /// Replicas that load a new master's dataset at the same time.
    pub parallel_syncs: u32,
    /// Replicas that must have a write before it is answered.
    pub write_ack_replicas: u32,
    /// They, and the master, must have it on disk.
    pub write_ack_fsync: bool,
    /// The volume of each data pod; None: nothing is kept.
    pub volume: Option<Volume>,
    /// Epoch up to which a person has accepted that data may be missing; 0: none.
    pub accept_loss: u64,
    /// Directives of redis.conf that the resource decides, all of them.
    pub directives: BTreeMap<String, String>,
    /// Secret with the password.
    pub secret: String,
    /// Image of the pods, where the resource names one.
    pub image: Option<String>,
    /// CPU and memory of a data pod.
    pub resources: Resources,
    /// Where pods may run.
    pub scheduling: Scheduling,
}

impl Desired {
    /// Works out what `resource` asks for.
    ///
    /// # Errors
    /// [`Refused`] where it contradicts itself: the API server's rules let no such resource through, but one may be
    /// older than the rules.
    pub fn of(resource: &RedisReplicaSet) -> Result<Self, Refused> {
        let spec = &resource.spec;
        let name = resource.name_any();
        if name.len() > MAX_NAME {
            return Err(Refused::Rule(format!("metadata.name must have at most {MAX_NAME} characters")));
        }
        if spec.masters == 0 || spec.masters > 100 {
            return Err(Refused::Rule("masters must be from 1 to 100".into()));
        }
        if spec.sentinels != 0 && (spec.sentinels < 3 || spec.sentinels.is_multiple_of(2)) {
            return Err(Refused::Rule("sentinels must be 0 or an odd number of at least 3".into()));
        }
        let quorum =
            spec.failover.quorum.unwrap_or(if spec.sentinels == 0 { 0 } else { spec.sentinels / 2 + 1 });
        if quorum > spec.sentinels {
            return Err(Refused::Rule("failover.quorum must not be larger than sentinels".into()));
        }
        let usual = u32::from(spec.replicas >= 2);
        let write_ack_replicas = spec.durability.write_ack_replicas.unwrap_or(usual);
        let min_replicas = spec.durability.min_replicas_to_write.unwrap_or(usual);
        if write_ack_replicas.max(min_replicas) > spec.replicas {
            return Err(Refused::Rule(
                "durability.writeAckReplicas and minReplicasToWrite must not be larger than replicas".into(),
            ));
        }
        let write_ack_fsync = spec.durability.write_ack_fsync;
        if write_ack_fsync && (write_ack_replicas == 0 || !spec.persistence.aof.enabled) {
            return Err(Refused::Rule(
                "durability.writeAckFsync needs writeAckReplicas of at least 1, and persistence.aof.enabled"
                    .into(),
            ));
        }
        if let Some(owned) =
            spec.config.keys().find(|key| OWNED_DIRECTIVES.contains(&key.to_lowercase().as_str()))
        {
            return Err(Refused::Rule(format!("config may not set {owned}: the operator sets it")));
        }
        if let Some(key) = spec.config.keys().find(|key| {
            !key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        }) {
            return Err(Refused::Rule(format!("{key:?} in config is not a directive in lower case")));
        }
        let secret = spec.auth.secret_name.clone().unwrap_or_else(|| format!("{name}-auth"));
        Ok(Self {
            namespace: resource.namespace().unwrap_or_default(),
            owner: resource
                .controller_owner_ref(&())
                .ok_or_else(|| Refused::Rule("the resource has no name or no uid".into()))?,
            masters: spec.masters,
            replicas: spec.replicas,
            sentinels: spec.sentinels,
            quorum,
            down_after: unit("failover.downAfter", units::duration(&spec.failover.down_after))?,
            failover_timeout: unit("failover.timeout", units::duration(&spec.failover.timeout))?,
            grace: GRACE,
            parallel_syncs: spec.failover.parallel_syncs,
            write_ack_replicas,
            write_ack_fsync,
            volume: volume(spec)?,
            accept_loss: match resource.annotations().get(ACCEPT_DATA_LOSS) {
                None => 0,
                Some(text) => text.parse().map_err(|_| {
                    Refused::Rule(format!(
                        "annotation {ACCEPT_DATA_LOSS} must be an epoch, a whole number, not {text:?}"
                    ))
                })?,
            },
            directives: directives(spec, min_replicas)?,
            secret,
            image: spec.image.clone(),
            resources: spec.resources.clone(),
            scheduling: spec.scheduling.clone(),
            name,
        })
    }

    /// Name of a shard's StatefulSet.
    pub fn shard_name(&self, shard: u32) -> String {
        format!("{}-{shard}", self.name)
    }

    /// Name of the sentinels' StatefulSet, Service and PodDisruptionBudget.
    pub fn sentinel_name(&self) -> String {
        format!("{}-sentinel", self.name)
    }

    /// Name of the headless Service that gives each member its name.
    pub fn nodes_name(&self) -> String {
        format!("{}-nodes", self.name)
    }

    /// Name of the ConfigMap with the configuration files.
    pub fn config_name(&self) -> String {
        format!("{}-config", self.name)
    }

    /// Name of the ConfigMap with the shard map.
    pub fn map_name(&self) -> String {
        format!("{}-map", self.name)
    }

    /// Members of each shard.
    pub fn members_per_shard(&self) -> u32 {
        1 + self.replicas
    }

    /// The name by which a pod is known, which outlives its address.
    pub fn host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc.cluster.local", self.nodes_name(), self.namespace)
    }

    /// Where a data pod serves clients, as the shard map names it.
    pub fn member(&self, shard: u32, ordinal: u32) -> String {
        format!("{}:{REDIS_PORT}", self.host(&format!("{}-{ordinal}", self.shard_name(shard))))
    }

    /// Where a sentinel serves clients, as the shard map names it.
    pub fn sentinel(&self, ordinal: u32) -> String {
        format!("{}:{SENTINEL_PORT}", self.host(&format!("{}-{ordinal}", self.sentinel_name())))
    }

    /// Hash slots of a shard, first and last: spread evenly, each bound rounded to the nearest slot as redis-cli does
    /// when it makes a cluster.
    pub fn slots(&self, shard: u32) -> (u16, u16) {
        let bound = |shard: u32| (2 * SLOTS * shard + self.masters) / (2 * self.masters);
        (bound(shard) as u16, (bound(shard + 1) - 1) as u16)
    }
}

/// Pod of a member or sentinel, from its place in the shard map.
pub fn pod_of(place: &str) -> &str {
    place.split(['.', ':']).next().unwrap_or(place)
}

/// Key of one of our labels or annotations.
pub fn key(name: &str) -> String {
    format!("{GROUP}/{name}")
}

fn unit<T>(field: &'static str, value: Result<T, UnitError>) -> Result<T, Refused> {
    value.map_err(|source| Refused::Unit { field, source })
}

fn volume(spec: &super::RedisReplicaSetSpec) -> Result<Option<Volume>, Refused> {
    if !spec.persistence.aof.enabled && spec.persistence.rdb.save.is_empty() {
        return match spec.persistence.storage {
            None => Ok(None),
            Some(_) => Err(Refused::Rule("storage asks for a volume, but RDB and AOF are both off".into())),
        };
    }
    let storage = spec
        .persistence
        .storage
        .clone()
        .unwrap_or_else(|| super::Storage { size: DEFAULT_VOLUME.into(), ..super::Storage::default() });
    Ok(Some(Volume {
        bytes: unit("persistence.storage.size", units::quantity(&storage.size))?,
        size: storage.size,
        storage_class: storage.storage_class_name,
        when_deleted: storage.when_deleted,
    }))
}

/// What redis.conf says, by directive.
fn directives(
    spec: &super::RedisReplicaSetSpec,
    min_replicas: u32,
) -> Result<BTreeMap<String, String>, Refused> {
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    let (rdb, aof) = (&spec.persistence.rdb, &spec.persistence.aof);
    let save = rdb.save.join(" ");
    let rewrite_min = unit("persistence.aof.rewriteMinSize", units::quantity(&aof.rewrite_min_size))?;
    let max_lag =
        unit("durability.minReplicasMaxLag", units::duration(&spec.durability.min_replicas_max_lag))?;
    let fsync = match aof.fsync {
        super::Fsync::Always => "always",
        super::Fsync::Everysec => "everysec",
        super::Fsync::No => "no",
    };
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        all.insert(name.to_owned(), value);
    };
    if let Some(limit) = spec.resources.limits.get("memory") {
        let bytes = unit("resources.limits.memory", units::quantity(&limit.0))?;
        put("maxmemory", (u128::from(bytes) * u128::from(MAXMEMORY_PERCENT) / 100).to_string());
    }
    for (name, value) in &spec.config {
        put(name, value.to_string());
    }
    put("save", save);
    put("rdbcompression", yes(rdb.compression));
    put("rdbchecksum", yes(rdb.checksum));
    put("appendonly", yes(aof.enabled));
    put("appendfsync", fsync.to_owned());
    put("auto-aof-rewrite-percentage", aof.rewrite_percentage.to_string());
    put("auto-aof-rewrite-min-size", rewrite_min.to_string());
    put("aof-use-rdb-preamble", yes(aof.rdb_preamble));
    put("min-replicas-to-write", min_replicas.to_string());
    put("min-replicas-max-lag", max_lag.as_secs().max(1).to_string());
    Ok(all)
}

#[cfg(test)]
/// A resource for tests.
#[allow(missing_docs)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The resource `orders` in the namespace `shop` with this spec, defaults filled in as the API server does.
    pub fn resource(spec: Value) -> RedisReplicaSet {
        let metadata = json!({"name": "orders", "namespace": "shop", "uid": "u-1", "generation": 1});
        let object = json!({"apiVersion": "redis.replicaset.dev/v1alpha1", "kind": "RedisReplicaSet", "metadata": metadata, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    /// What that resource asks for.
    pub fn desired(spec: Value) -> Desired {
        Desired::of(&resource(spec)).unwrap()
    }

    #[test]
    fn an_empty_spec_is_complete() {
        let desired = desired(json!({}));
        assert_eq!((desired.masters, desired.replicas, desired.sentinels, desired.quorum), (1, 2, 3, 2));
        assert_eq!(desired.write_ack_replicas, 1);
        assert_eq!(desired.directives["min-replicas-to-write"], "1");
        assert_eq!(desired.directives["save"], "900 1 300 10 60 10000");
        assert_eq!(desired.down_after, Duration::from_secs(1));
        assert_eq!(desired.secret, "orders-auth");
        assert_eq!(desired.volume.as_ref().unwrap().bytes, 1 << 30);
        assert_eq!(desired.slots(0), (0, 16383));
    }

    #[test]
    fn fewer_replicas_ask_for_fewer_acknowledgements() {
        assert_eq!(desired(json!({"replicas": 1})).write_ack_replicas, 0);
        assert_eq!(desired(json!({"replicas": 0})).directives["min-replicas-to-write"], "0");
        assert_eq!(
            desired(json!({"replicas": 1, "durability": {"writeAckReplicas": 1}})).write_ack_replicas,
            1
        );
    }

    #[test]
    fn disks_are_waited_for_only_where_there_are_some() {
        let of = |spec| Desired::of(&resource(spec)).map(|d| (d.write_ack_replicas, d.write_ack_fsync));
        assert_eq!(of(json!({})).unwrap(), (1, false));
        assert_eq!(of(json!({"durability": {"writeAckFsync": true}})).unwrap(), (1, true));
        for spec in [
            json!({"replicas": 1, "durability": {"writeAckFsync": true}}),
            json!({"durability": {"writeAckFsync": true, "writeAckReplicas": 0}}),
            json!({"durability": {"writeAckFsync": true}, "persistence": {"aof": {"enabled": false}}}),
        ] {
            assert!(matches!(of(spec), Err(Refused::Rule(text)) if text.contains("writeAckFsync needs")));
        }
    }

    #[test]
    fn slots_are_spread_evenly() {
        let desired = desired(json!({"masters": 3}));
        assert_eq!(
            (0..3).map(|shard| desired.slots(shard)).collect::<Vec<_>>(),
            [(0, 5460), (5461, 10922), (10923, 16383)]
        );
    }

    #[test]
    fn what_the_rules_let_through_is_refused_here() {
        let table = [
            (json!({"masters": 0}), "masters"),
            (json!({"sentinels": 2}), "odd"),
            (json!({"failover": {"quorum": 5}}), "quorum"),
            (json!({"failover": {"downAfter": "soon"}}), "downAfter"),
            (json!({"replicas": 1, "durability": {"minReplicasToWrite": 2}}), "replicas"),
            (json!({"config": {"Port": 1}}), "Port"),
            (json!({"config": {"hz ": 1}}), "hz"),
            (json!({"persistence": {"storage": {"size": "x"}}}), "size"),
            (
                json!({"persistence": {"storage": {}, "rdb": {"save": []}, "aof": {"enabled": false}}}),
                "both off",
            ),
        ];
        for (spec, word) in table {
            let refused = Desired::of(&resource(spec.clone())).unwrap_err().to_string();
            assert!(refused.contains(word), "{spec}: {refused}");
        }
    }

    #[test]
    fn loss_is_accepted_by_annotation_only() {
        let mut resource = resource(json!({}));
        assert_eq!(Desired::of(&resource).unwrap().accept_loss, 0);
        resource.annotations_mut().insert(ACCEPT_DATA_LOSS.into(), "7".into());
        assert_eq!(Desired::of(&resource).unwrap().accept_loss, 7);
        resource.annotations_mut().insert(ACCEPT_DATA_LOSS.into(), "yes".into());
        assert!(Desired::of(&resource).is_err());
    }
}
