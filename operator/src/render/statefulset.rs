//! StatefulSets: one per shard, one of the sentinels. Pods are replaced only when the operator deletes them, so that
//! every roll has an order.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    DATANODE, Kind, SENTINEL, SHARD, Set, Settings, Shape, TEMPLATE, hash, labels, object, pod, selector,
    shard_label,
};
use crate::crd::WhenDeleted;
use crate::crd::desired::Desired;

/// Size of a sentinel's volume: it keeps a map and votes, some kilobytes.
const SENTINEL_VOLUME: &str = "64Mi";

pub(super) fn shard(desired: &Desired, settings: &Settings, shard: u32, shape: &Shape) -> Set {
    let own = BTreeMap::from([shard_label(shard)]);
    let (claim, policy) = match &desired.volume {
        None => (None, WhenDeleted::Retain),
        Some(volume) => {
            let size = shape.claim.as_ref().unwrap_or(&volume.size);
            (Some(claim(size, volume.storage_class.as_deref())), volume.when_deleted)
        }
    };
    let keep = match policy {
        WhenDeleted::Retain => json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
        // Pods may be scaled away by hand, or by mistake, with the data still wanted.
        WhenDeleted::Delete => json!({"whenDeleted": "Delete", "whenScaled": "Retain"}),
    };
    let spread = match_labels(desired, DATANODE, &own);
    let template = pod::datanode(desired, settings, shard, &spread);
    set(desired, desired.shard_name(shard), DATANODE, &own, shape.pods, template, claim, keep)
}

pub(super) fn sentinels(desired: &Desired, settings: &Settings, shape: &Shape) -> Set {
    let class = desired.volume.as_ref().and_then(|volume| volume.storage_class.as_deref());
    let size = shape.claim.as_deref().unwrap_or(SENTINEL_VOLUME);
    // A sentinel without its volume votes again only after it has learned from a majority: nothing is lost with it.
    let keep = json!({"whenDeleted": "Delete", "whenScaled": "Delete"});
    let own = BTreeMap::new();
    let template = pod::sentinel(desired, settings, &match_labels(desired, SENTINEL, &own));
    set(
        desired,
        desired.sentinel_name(),
        SENTINEL,
        &own,
        shape.pods,
        template,
        Some(claim(size, class)),
        keep,
    )
}

fn match_labels(
    desired: &Desired,
    component: &str,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut chosen = selector(desired, component);
    chosen.extend(own.clone());
    chosen
}

#[allow(clippy::too_many_arguments)]
fn set(
    desired: &Desired,
    name: String,
    component: &str,
    own: &BTreeMap<String, String>,
    pods: u32,
    pod: Value,
    claim: Option<Value>,
    keep: Value,
) -> Set {
    let mut all = labels(desired, component);
    all.extend(own.clone());
    let template = hash(&format!("{}{}", json!(all), pod));
    let mut spec = json!({
        "replicas": pods,
        "serviceName": desired.nodes_name(),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "persistentVolumeClaimRetentionPolicy": keep,
        "selector": {"matchLabels": match_labels(desired, component, own)},
        "template": {
            "metadata": {"labels": all, "annotations": {TEMPLATE: template}},
            "spec": pod,
        },
    });
    if let Some(mut claim) = claim {
        claim["metadata"]["labels"] = json!(match_labels(desired, component, own));
        spec["volumeClaimTemplates"] = json!([claim]);
    }
    debug_assert!(component == SENTINEL || own.contains_key(SHARD));
    Set { object: object(desired, Kind::StatefulSet, name, &all, json!({"spec": spec})), template }
}

fn claim(size: &str, class: Option<&str>) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": size}},
    });
    if let Some(class) = class {
        spec["storageClassName"] = json!(class);
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec})
}
