//! Pods of datanodes and sentinels: one container each, as locked down as Kubernetes allows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{DATANODE, RESTART_DIRECTIVES, SENTINEL, Settings, hash};
use crate::crd::desired::{Desired, REDIS_PORT, SENTINEL_PORT};

/// User and group of the processes, and group of the volumes.
const USER: i64 = 65532;
/// Time a pod has to hand over its master role and to write its data before it is killed.
const GRACE_SECONDS: i64 = 60;
/// Failed start-up probes, a second apart, before a pod is restarted: loading a large dataset takes its time.
const STARTUP_FAILURES: u32 = 3600;
/// Annotation of a data pod with the hash of the directives that it reads only when it starts.
const RESTART_HASH: &str = "REDIS_RESTART_CONFIG";

pub(super) fn datanode(
    desired: &Desired,
    settings: &Settings,
    shard: u32,
    spread: &BTreeMap<String, String>,
) -> Value {
    let restart: BTreeMap<_, _> =
        desired.directives.iter().filter(|(name, _)| RESTART_DIRECTIVES.contains(&name.as_str())).collect();
    let mut container = container(
        desired,
        settings,
        DATANODE,
        "redis",
        REDIS_PORT,
        &[
            "server",
            "/etc/redis/redis.conf",
            "--replica-announce-ip",
            &format!("$(POD_NAME).{}.$(POD_NAMESPACE).svc.cluster.local", desired.nodes_name()),
            "--managed-shard",
            &shard.to_string(),
        ],
    );
    if !restart.is_empty() {
        let environment = container["env"].as_array_mut().expect("made above");
        environment.push(json!({"name": RESTART_HASH, "value": hash(&json!(restart).to_string())}));
    }
    if desired.resources != Default::default() {
        container["resources"] = json!(desired.resources);
    }
    pod(desired, container, spread, desired.volume.is_none())
}

pub(super) fn sentinel(desired: &Desired, settings: &Settings, spread: &BTreeMap<String, String>) -> Value {
    let host = format!("$(POD_NAME).{}.$(POD_NAMESPACE).svc.cluster.local", desired.nodes_name());
    let arguments = ["sentinel", "/etc/redis/sentinel.conf", "--sentinel", "announce-ip", &host];
    let mut container = container(desired, settings, SENTINEL, "sentinel", SENTINEL_PORT, &arguments);
    container["resources"] =
        json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}});
    pod(desired, container, spread, false)
}

fn container(
    desired: &Desired,
    settings: &Settings,
    name: &str,
    port_name: &str,
    port: u16,
    arguments: &[&str],
) -> Value {
    let field = |path: &str| json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}});
    let probe = |path: &str, period: u32, timeout: u32, failures: u32| {
        json!({
            "httpGet": {"path": path, "port": "metrics", "scheme": "HTTP"},
            "periodSeconds": period,
            "timeoutSeconds": timeout,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": name,
        "image": desired.image.as_ref().unwrap_or(&settings.image),
        "imagePullPolicy": settings.pull_policy,
        "args": arguments,
        "env": [
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")},
            // So that `kubectl exec POD -- redis-cli` needs no password typed.
            {"name": "REDISCLI_AUTH_FILE", "value": "/etc/redis-auth/password"},
        ],
        "ports": [
            {"name": port_name, "containerPort": port, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9121, "protocol": "TCP"},
        ],
        "startupProbe": probe("/livez", 1, 2, STARTUP_FAILURES),
        "livenessProbe": probe("/livez", 5, 5, 6),
        "readinessProbe": probe("/readyz", 1, 2, 2),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        // What a process that cannot start said last is what the status shows.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/etc/redis", "readOnly": true},
            {"name": "auth", "mountPath": "/etc/redis-auth", "readOnly": true},
        ],
    })
}

fn pod(desired: &Desired, container: Value, spread: &BTreeMap<String, String>, ephemeral: bool) -> Value {
    let scheduling = &desired.scheduling;
    let mut volumes = vec![
        json!({"name": "config", "configMap": {"name": desired.config_name()}}),
        json!({"name": "auth", "secret": {
            "secretName": desired.secret,
            "items": [{"key": "password", "path": "password"}],
        }}),
    ];
    if ephemeral {
        volumes.push(json!({"name": "data", "emptyDir": {}}));
    }
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            // Without it every start of a pod walks the whole volume.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
        "affinity": match &scheduling.affinity {
            Some(affinity) => json!(affinity),
            None => json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": spread},
                },
            }]}}),
        },
    });
    if !scheduling.node_selector.is_empty() {
        spec["nodeSelector"] = json!(scheduling.node_selector);
    }
    if !scheduling.tolerations.is_empty() {
        spec["tolerations"] = json!(scheduling.tolerations);
    }
    if !scheduling.topology_spread_constraints.is_empty() {
        spec["topologySpreadConstraints"] = json!(scheduling.topology_spread_constraints);
    } else if scheduling.affinity.is_none() {
        // A preference can be outweighed by others, and a local volume then keeps two members on one node for ever: no
        // node gets a second member before each usable one has its first.
        spec["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": spread},
        }]);
    }
    spec
}
