//! What the operator reports of a RedisReplicaSet: written only when something in it changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisReplicaSetStatus {
    /// Generation of the resource that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// `Ready`, `Progressing`, `Degraded` and `DataAtRisk`, each with a reason and a message to act on.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Masters that take writes, of those asked for, such as 1/1.
    #[serde(default)]
    pub masters_ready: String,

    /// Replicas that are in sync, of those asked for, such as 2/2.
    #[serde(default)]
    pub replicas_ready: String,

    /// Sentinels that answer, of those asked for, such as 3/3.
    #[serde(default)]
    pub sentinels_ready: String,

    /// The pod that takes writes; where there are several masters, all of them.
    #[serde(default)]
    pub master: String,

    /// Generation of the shard map's topology.
    #[serde(default)]
    pub map_generation: u64,

    /// The shards, by index.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub shards: Vec<ShardStatus>,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Index of the shard.
    pub index: u32,
    /// Hash slots it holds, such as 0-16383.
    pub slots: String,
    /// The pod that is master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Epoch of the master: grows with every change of it.
    pub epoch: u64,
    /// Lineage of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The members, by name.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub members: Vec<MemberStatus>,
}

/// One member of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Name of its pod.
    pub name: String,
    /// What it says it is: `master`, `replica`, `nobody`, or `unknown` where it does not answer.
    pub role: String,
    /// Whether it takes writes, or is a replica in sync.
    pub ready: bool,
    /// Bytes of the replication stream it has, when this was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes it is behind the master, when this was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Lineage of its data, where it is not that of the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
