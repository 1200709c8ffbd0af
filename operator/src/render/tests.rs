use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::crd::desired::tests::desired;

fn settings() -> Settings {
    Settings { image: "datanode:1".into(), pull_policy: "IfNotPresent".into() }
}

fn fresh(pods: u32) -> Shape {
    Shape { pods, claim: None }
}

/// Reads a body as Kubernetes' type and writes it again: a field that the type does not have would be missing.
fn typed<T: DeserializeOwned + Serialize>(body: &Value) {
    let read: T = serde_json::from_value(body.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&read).unwrap(), body);
}

#[test]
fn every_field_is_one_that_kubernetes_knows() {
    for spec in [json!({}), json!({"masters": 3, "resources": {"limits": {"memory": "1Gi"}}})] {
        let desired = desired(spec);
        for object in surroundings(&desired) {
            match object.kind {
                Kind::Service => typed::<Service>(&object.body),
                Kind::PodDisruptionBudget => typed::<PodDisruptionBudget>(&object.body),
                kind => panic!("{kind:?}"),
            }
        }
        typed::<ConfigMap>(&config(&desired, &desired.directives).body);
        typed::<ConfigMap>(&record(&desired, &BTreeMap::new()));
        typed::<Secret>(&secret(&desired, "p"));
        for set in [shard(&desired, &settings(), 0, &fresh(3)), sentinels(&desired, &settings(), &fresh(3))] {
            // A Quantity of Kubernetes is text or a number, and is written as text.
            typed::<StatefulSet>(&set.object.body);
        }
    }
}

#[test]
fn a_shards_stateful_set() {
    let set = shard(&desired(json!({"masters": 3})), &settings(), 2, &fresh(3)).object;
    let at = |pointer: &str| set.body.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(set.name, "orders-2");
    assert_eq!(at("/spec/updateStrategy"), json!({"type": "OnDelete"}));
    assert_eq!(at("/spec/podManagementPolicy"), "Parallel");
    assert_eq!(at("/spec/serviceName"), "orders-nodes");
    assert_eq!(at("/spec/replicas"), 3);
    assert_eq!(at("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted"), "Retain");
    assert_eq!(at("/spec/volumeClaimTemplates/0/spec/resources/requests/storage"), "1Gi");
    assert_eq!(at("/spec/template/metadata/labels/redis.replicaset.dev~1shard"), "2");
    assert_eq!(at("/metadata/ownerReferences/0/controller"), true);
    let pod = at("/spec/template/spec");
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(
        pod["containers"][0]["args"],
        json!([
            "server",
            "/etc/redis/redis.conf",
            "--replica-announce-ip",
            "$(POD_NAME).orders-nodes.$(POD_NAMESPACE).svc.cluster.local",
            "--managed-shard",
            "2"
        ])
    );
}

#[test]
fn a_claim_template_keeps_the_size_it_was_made_with() {
    let grown = desired(json!({"persistence": {"storage": {"size": "5Gi"}}}));
    let set = shard(&grown, &settings(), 0, &Shape { pods: 3, claim: Some("1Gi".into()) });
    assert_eq!(
        set.object.body["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"],
        "1Gi"
    );
}

#[test]
fn nothing_to_keep_no_volume() {
    let set = shard(
        &desired(json!({"persistence": {"rdb": {"save": []}, "aof": {"enabled": false}}})),
        &settings(),
        0,
        &fresh(3),
    );
    assert!(set.object.body["spec"].get("volumeClaimTemplates").is_none());
    let volumes = set.object.body["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["name"] == "data" && volume.get("emptyDir").is_some()));
}

#[test]
fn only_what_needs_a_restart_changes_the_template() {
    let template = |spec: Value| shard(&desired(spec), &settings(), 0, &fresh(3)).template;
    let plain = template(json!({}));
    assert_eq!(plain, template(json!({"config": {"maxmemory": "1gb"}})), "changed at run time");
    assert_eq!(plain, template(json!({"replicas": 4})));
    assert_ne!(plain, template(json!({"config": {"databases": 4}})));
    assert_ne!(plain, template(json!({"image": "other"})));
    assert_ne!(plain, template(json!({"resources": {"limits": {"cpu": "1"}}})));
}

#[test]
fn redis_conf() {
    let desired = desired(json!({
        "masters": 3,
        "resources": {"limits": {"memory": "1Gi"}},
        "persistence": {"rdb": {"save": []}},
        "config": {"hz": 50},
    }));
    let object = config(&desired, &desired.directives);
    let text = object.body["data"]["redis.conf"].as_str().unwrap();
    for line in [
        "port 6379",
        "dir /data",
        "managed yes",
        "password-file /etc/redis-auth/password",
        "cluster-enabled yes",
        "cluster-preferred-endpoint-type hostname",
        "maxmemory 805306368",
        "hz 50",
        "save \"\"",
        "appendonly yes",
        "auto-aof-rewrite-min-size 67108864",
        "min-replicas-to-write 1",
        "min-replicas-max-lag 10",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn services_choose_by_role_and_nodes_are_known_before_they_are_ready() {
    let objects = surroundings(&desired(json!({})));
    let by_name = |name: &str| objects.iter().find(|o| o.name == name && o.kind == Kind::Service).unwrap();
    assert_eq!(by_name("orders").body["spec"]["selector"][ROLE], "master");
    assert_eq!(by_name("orders-replicas").body["spec"]["selector"][ROLE], "replica");
    assert_eq!(by_name("orders-nodes").body["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(by_name("orders-nodes").body["spec"]["clusterIP"], "None");
    assert_eq!(by_name("orders-sentinel").body["spec"]["ports"][0]["port"], 26379);
    assert_eq!(objects.iter().filter(|o| o.kind == Kind::PodDisruptionBudget).count(), 2);
    let without = surroundings(&desired(json!({"sentinels": 0})));
    assert!(without.iter().all(|object| !object.name.contains("sentinel")));
}
