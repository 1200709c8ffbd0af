//! The custom resource `RedisReplicaSet` as a person writes it.
//!
//! These types are the one source of the CRD: [`definition`] turns them, together with the rules of [`rules`],
//! into what is checked in under `crds/`. What a person left out is filled in by [`desired`], never here twice.

// Each printer column has its own name and path; the lint takes the columns of one attribute for one another.
#![allow(clippy::duplicated_attributes)]

pub mod definition;
pub mod desired;
pub mod rules;
pub mod status;
pub mod units;

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use status::RedisReplicaSetStatus;

/// API group of the resource, and prefix of our labels and annotations.
pub const GROUP: &str = "redis.replicaset.dev";

/// What a RedisReplicaSet is to be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "redis.replicaset.dev",
    version = "v1alpha1",
    kind = "RedisReplicaSet",
    namespaced,
    derive = "PartialEq",
    status = "RedisReplicaSetStatus",
    shortname = "rrs",
    category = "all",
    doc = "A Redis deployment that is kept alive: its masters, their replicas, the sentinels that watch them, and their data.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Masters",
        type_ = "string",
        json_path = ".status.mastersReady",
        description = "Masters that take writes, of those asked for"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".status.replicasReady",
        description = "Replicas in sync, of those asked for"
    ),
    printcolumn(
        name = "Sentinels",
        type_ = "string",
        json_path = ".status.sentinelsReady",
        description = "Sentinels that answer, of those asked for"
    ),
    printcolumn(
        name = "Master",
        type_ = "string",
        json_path = ".status.master",
        description = "The pod that takes writes"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(
        name = "At risk",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='DataAtRisk')].status",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RedisReplicaSetSpec {
    /// Number of masters. With 1 there is one keyspace; with more the 16384 hash slots are spread over them and
    /// clients speak the Redis Cluster protocol. Cannot be changed later.
    #[serde(default = "defaults::masters")]
    #[schemars(range(min = 1, max = 100))]
    pub masters: u32,

    /// Number of replicas of each master.
    #[serde(default = "defaults::replicas")]
    #[schemars(range(min = 0, max = 9))]
    pub replicas: u32,

    /// Number of sentinels, which agree by majority who is master: 0, or an odd number from 3. With 0 the operator
    /// decides failovers itself, so that there is none while it is down. Cannot be changed from 0 or to 0 later.
    #[serde(default = "defaults::sentinels")]
    #[schemars(range(min = 0, max = 9))]
    pub sentinels: u32,

    /// How data is kept on disk.
    #[serde(default)]
    pub persistence: Persistence,

    /// How many copies a write must have.
    #[serde(default)]
    pub durability: Durability,

    /// When and how another master is chosen.
    #[serde(default)]
    pub failover: Failover,

    /// The password of clients and members.
    #[serde(default)]
    pub auth: Auth,

    /// Directives of redis.conf, by name in lower case, such as `maxmemory: 256mb`. Write yes and no in quotes.
    /// Directives that this resource has fields for, or that the operator sets, are refused. Changes are applied to
    /// running members where Redis can change them at run time, otherwise by an ordered restart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub config: BTreeMap<String, ConfigValue>,

    /// CPU and memory of each data pod. With a memory limit `maxmemory` defaults to three quarters of it.
    #[serde(default)]
    pub resources: Resources,

    /// Image of the data pods and sentinels, instead of the one the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// On which nodes the pods may run.
    #[serde(default)]
    pub scheduling: Scheduling,
}

/// How data is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// Snapshots of the whole dataset (dump.rdb).
    #[serde(default)]
    pub rdb: Rdb,

    /// The log of every write (appendonlydir).
    #[serde(default)]
    pub aof: Aof,

    /// The volume of each data pod. Left out, it has 1Gi of the default storage class; with RDB and AOF both off
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
}

/// Snapshots of the whole dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rdb {
    /// When to take a snapshot: each entry is "SECONDS CHANGES", after so many seconds if so many keys have changed.
    /// An empty list turns snapshots off.
    #[serde(default = "defaults::save")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    pub save: Vec<String>,

    /// Compress strings in snapshots (LZF).
    #[serde(default = "defaults::on")]
    pub compression: bool,

    /// End snapshots with a checksum, and verify it when loading.
    #[serde(default = "defaults::on")]
    pub checksum: bool,
}

/// The log of every write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aof {
    /// Keep the log.
    #[serde(default = "defaults::on")]
    pub enabled: bool,

    /// When the log is forced to disk: `always` before the reply, `everysec` once a second, `"no"` (in quotes)
    /// when the kernel likes.
    #[serde(default)]
    pub fsync: Fsync,

    /// Rewrite the log when it has grown by this much since the last rewrite, in percent; 0 never.
    #[serde(default = "defaults::rewrite_percentage")]
    #[schemars(range(min = 0, max = 100000))]
    pub rewrite_percentage: u32,

    /// Do not rewrite a log smaller than this, such as 64Mi.
    #[serde(default = "defaults::rewrite_min_size")]
    #[schemars(length(min = 1, max = 32))]
    pub rewrite_min_size: String,

    /// Begin a rewritten log with a snapshot, which loads faster.
    #[serde(default = "defaults::on")]
    pub rdb_preamble: bool,
}

/// When the append-only log is forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Before each reply.
    Always,
    /// Once a second.
    #[default]
    Everysec,
    /// When the kernel likes.
    No,
}

/// The volume of each data pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Size of each volume, such as 1Gi. It can grow where the storage class can, but never shrink.
    #[serde(default = "defaults::storage_size")]
    #[schemars(length(min = 1, max = 32))]
    pub size: String,

    /// Storage class of the volumes; the cluster's default where left out. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,

    /// What becomes of the volumes when the resource is deleted: `Retain` keeps them, and a new resource of the same
    /// name takes them over with their data; `Delete` removes them.
    #[serde(default)]
    pub when_deleted: WhenDeleted,
}

/// What becomes of the volumes when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenDeleted {
    /// They stay.
    #[default]
    Retain,
    /// They are removed.
    Delete,
}

/// How many copies a write must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Durability {
    /// A write is answered only when this many replicas have it. Left out: 1 with two or more replicas, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub write_ack_replicas: Option<u32>,

    /// A write is answered only when it is on the disks of its master and of `writeAckReplicas` replicas: then not even a
    /// loss of power of all machines at once loses it. Needs the AOF, and `writeAckReplicas` of at least 1.
    #[serde(default)]
    pub write_ack_fsync: bool,

    /// A master refuses writes while fewer replicas than this are in sync. Left out: 1 with two or more replicas,
    /// else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub min_replicas_to_write: Option<u32>,

    /// A replica counts as in sync if it was heard of within this time.
    #[serde(default = "defaults::max_lag")]
    #[schemars(length(min = 1, max = 32))]
    pub min_replicas_max_lag: DurationText,
}

/// When and how another master is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// A member that has not answered for this long is taken for down.
    #[serde(default = "defaults::down_after")]
    #[schemars(length(min = 1, max = 32))]
    pub down_after: DurationText,

    /// So many sentinels must find a master down before a failover begins. Left out: a majority of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub quorum: Option<u32>,

    /// A failover that has not ended after this long is tried again.
    #[serde(default = "defaults::failover_timeout")]
    #[schemars(length(min = 1, max = 32))]
    pub timeout: DurationText,

    /// So many replicas load the new master's dataset at the same time after a failover.
    #[serde(default = "defaults::parallel_syncs")]
    #[schemars(range(min = 1, max = 9))]
    pub parallel_syncs: u32,
}

/// The password of clients and members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Secret whose key `password` is the password. Left out: NAME-auth. Where that one does not exist it is made
    /// with a random password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// CPU and memory of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is reserved, by resource: `cpu`, `memory`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,

    /// What is never exceeded, by resource: `cpu`, `memory`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// On which nodes the pods may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,

    /// Affinity of the pods, instead of the default: the members of a shard, and the sentinels, keep off each
    /// other's nodes where they can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,

    /// How the pods are spread over zones or other domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
}

/// A time span as text, such as `500ms`, `10s` or `1m30s`; see [`units::duration`].
pub type DurationText = String;

/// The value of a redis.conf directive: text on one line, or a whole number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConfigValue {
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl std::fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for ConfigValue {
    fn schema_name() -> Cow<'static, str> {
        "ConfigValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Value of the directive, on one line.",
            "x-kubernetes-int-or-string": true,
            "maxLength": 512,
            "pattern": "^[^\\r\\n\\x00]*$",
        })
    }
}

fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "description": "An amount, such as 500m or 256Mi.",
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^[0-9]+(\.[0-9]{1,9})?([KMGTPE]i|[numkMGTPE]|[eE]-?[0-9]{1,2})?$",
            "x-kubernetes-int-or-string": true,
        },
    })
}

impl Default for Rdb {
    fn default() -> Self {
        Self { save: defaults::save(), compression: true, checksum: true }
    }
}

impl Default for Aof {
    fn default() -> Self {
        Self {
            enabled: true,
            fsync: Fsync::Everysec,
            rewrite_percentage: defaults::rewrite_percentage(),
            rewrite_min_size: defaults::rewrite_min_size(),
            rdb_preamble: true,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: defaults::storage_size(), storage_class_name: None, when_deleted: WhenDeleted::Retain }
    }
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            write_ack_replicas: None,
            write_ack_fsync: false,
            min_replicas_to_write: None,
            min_replicas_max_lag: defaults::max_lag(),
        }
    }
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            down_after: defaults::down_after(),
            quorum: None,
            timeout: defaults::failover_timeout(),
            parallel_syncs: defaults::parallel_syncs(),
        }
    }
}

/// What a person gets who leaves a field out.
mod defaults {
    pub fn masters() -> u32 {
        1
    }
    pub fn replicas() -> u32 {
        2
    }
    pub fn sentinels() -> u32 {
        3
    }
    pub fn on() -> bool {
        true
    }
    pub fn save() -> Vec<String> {
        ["900 1", "300 10", "60 10000"].map(String::from).to_vec()
    }
    pub fn rewrite_percentage() -> u32 {
        100
    }
    pub fn rewrite_min_size() -> String {
        "64Mi".into()
    }
    pub fn storage_size() -> String {
        "1Gi".into()
    }
    pub fn max_lag() -> String {
        "10s".into()
    }
    pub fn down_after() -> String {
        "1s".into()
    }
    pub fn failover_timeout() -> String {
        "10s".into()
    }
    pub fn parallel_syncs() -> u32 {
        1
    }
}
