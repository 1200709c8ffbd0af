//! Services: `NAME` for writes, `NAME-replicas` for reads, `NAME-sentinel`, and `NAME-nodes`, which gives every member
//! the name by which it is known.

use serde_json::{Value, json};

use super::{DATANODE, Kind, Object, ROLE, SENTINEL, labels, object, selector};
use crate::crd::desired::{Desired, REDIS_PORT, SENTINEL_PORT};

pub(super) fn all(desired: &Desired) -> Vec<Object> {
    let redis = json!({"name": "redis", "port": REDIS_PORT, "targetPort": "redis", "protocol": "TCP"});
    let by_role = |role: &str| {
        let mut chosen = selector(desired, DATANODE);
        chosen.insert(ROLE.into(), role.into());
        json!({"type": "ClusterIP", "selector": chosen, "ports": [redis]})
    };
    let service = |name: String, component: &str, spec: Value| {
        object(desired, Kind::Service, name, &labels(desired, component), json!({"spec": spec}))
    };
    // Members find each other, and datanodes the sentinels, before they are ready.
    let nodes = json!({
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": {super::NAME: desired.name},
        "ports": [redis],
    });
    let mut services = vec![
        service(desired.nodes_name(), "nodes", nodes),
        service(desired.name.clone(), "writes", by_role("master")),
        service(format!("{}-replicas", desired.name), "reads", by_role("replica")),
    ];
    if desired.sentinels > 0 {
        services.push(service(
            desired.sentinel_name(),
            SENTINEL,
            json!({
                "type": "ClusterIP",
                "selector": selector(desired, SENTINEL),
                "ports": [{"name": "sentinel", "port": SENTINEL_PORT, "targetPort": "sentinel", "protocol": "TCP"}],
            }),
        ));
    }
    services
}
