//! The objects that make up a RedisReplicaSet, as the operator applies them.
//!
//! Pure: the same [`Desired`] and [`Shape`] give the same objects, byte for byte, so that a hash of an object says
//! whether it must be applied again. One file per kind.

mod configmap;
mod pdb;
mod pod;
mod secret;
mod services;
mod statefulset;

pub use configmap::{RESTART_DIRECTIVES, live_directives};
pub use secret::secret;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::crd::desired::{Desired, key};

/// Field manager of everything the operator applies.
pub const MANAGER: &str = "redis-replicaset-operator";
/// Annotation with the hash of an object as it was applied.
pub const APPLIED: &str = "redis.replicaset.dev/applied";
/// Annotation of a pod with the hash of the template it was made from.
pub const TEMPLATE: &str = "redis.replicaset.dev/template";
/// Label of a pod with its role, by which the Services choose.
pub const ROLE: &str = "redis.replicaset.dev/role";
/// Label of every object with the name of its resource.
pub const NAME: &str = "redis.replicaset.dev/name";
/// Label of a data pod with the index of its shard.
pub const SHARD: &str = "redis.replicaset.dev/shard";
/// Value of the label `app.kubernetes.io/component` of data pods.
pub const DATANODE: &str = "datanode";
/// Value of the label `app.kubernetes.io/component` of sentinels.
pub const SENTINEL: &str = "sentinel";

/// The kinds of objects the operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// v1 ConfigMap.
    ConfigMap,
    /// v1 Service.
    Service,
    /// policy/v1 PodDisruptionBudget.
    PodDisruptionBudget,
    /// apps/v1 StatefulSet.
    StatefulSet,
}

impl Kind {
    /// API version of the kind.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Service => "v1",
            Self::PodDisruptionBudget => "policy/v1",
            Self::StatefulSet => "apps/v1",
        }
    }

    /// Name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::StatefulSet => "StatefulSet",
        }
    }
}

/// One object, ready to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Hash of it, as the annotation [`APPLIED`] carries it.
    pub hash: String,
    /// All of it.
    pub body: Value,
}

/// What the operator was installed with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Image of datanodes and sentinels.
    pub image: String,
    /// When a node pulls the image.
    pub pull_policy: String,
}

/// What of a StatefulSet depends on what is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pods it is to have now: more than asked for while members leave in order.
    pub pods: u32,
    /// Size in its claim template, which cannot be changed once it is made.
    pub claim: Option<String>,
}

/// Pods of a StatefulSet and the hash of the template they should be made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The StatefulSet.
    pub object: Object,
    /// Hash of its pods' template.
    pub template: String,
}

/// A shard's StatefulSet.
pub fn shard(desired: &Desired, settings: &Settings, shard: u32, shape: &Shape) -> Set {
    statefulset::shard(desired, settings, shard, shape)
}

/// The sentinels' StatefulSet.
pub fn sentinels(desired: &Desired, settings: &Settings, shape: &Shape) -> Set {
    statefulset::sentinels(desired, settings, shape)
}

/// The Services and PodDisruptionBudgets.
pub fn surroundings(desired: &Desired) -> Vec<Object> {
    let mut objects = services::all(desired);
    objects.extend(pdb::all(desired));
    objects
}

/// The ConfigMap with the configuration files, for these directives.
pub fn config(desired: &Desired, directives: &BTreeMap<String, String>) -> Object {
    configmap::config(desired, directives)
}

/// A short hash that is the same in every process (FNV-1a, 64 bits).
pub fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Labels that choose the pods of a component.
fn selector(desired: &Desired, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/component".into(), component.into()),
        ("app.kubernetes.io/instance".into(), desired.name.clone()),
        (NAME.into(), desired.name.clone()),
    ])
}

/// Labels of an object.
fn labels(desired: &Desired, component: &str) -> BTreeMap<String, String> {
    let mut labels = selector(desired, component);
    labels.insert("app.kubernetes.io/name".into(), "redis-replicaset".into());
    labels.insert("app.kubernetes.io/managed-by".into(), MANAGER.into());
    labels
}

/// Puts name, owner, labels and hash to the rest of an object.
fn object(
    desired: &Desired,
    kind: Kind,
    name: String,
    labels: &BTreeMap<String, String>,
    rest: Value,
) -> Object {
    let mut body = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.name(),
        "metadata": {
            "name": name,
            "namespace": desired.namespace,
            "labels": labels,
            "ownerReferences": [desired.owner],
        },
    });
    if let (Value::Object(body), Value::Object(rest)) = (&mut body, rest) {
        body.extend(rest);
    }
    let hash = hash(&body.to_string());
    body["metadata"]["annotations"] = json!({APPLIED: hash});
    Object { kind, name, hash, body }
}

/// Metadata of an object that is created, not applied.
fn metadata(desired: &Desired, name: &str, component: &str) -> Value {
    json!({
        "name": name,
        "namespace": desired.namespace,
        "labels": labels(desired, component),
        "ownerReferences": [desired.owner],
    })
}

/// The ConfigMap that keeps the shard map and what the operator is about to do.
pub fn record(desired: &Desired, data: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(desired, &desired.map_name(), "map"),
        "data": data,
    })
}

/// Label of a data pod with its shard.
fn shard_label(shard: u32) -> (String, String) {
    (key("shard"), shard.to_string())
}

#[cfg(test)]
mod tests;
