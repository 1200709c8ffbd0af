//! ConfigMap `NAME-config`: redis.conf and sentinel.conf.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Kind, Object, labels, object};
use crate::crd::desired::{Desired, REDIS_PORT, SENTINEL_PORT};

/// Directives that Redis reads only when it starts (those that `CONFIG SET` refuses as immutable).
pub const RESTART_DIRECTIVES: &[&str] = &[
    "always-show-logo",
    "aof_rewrite_cpulist",
    "bgsave_cpulist",
    "bio_cpulist",
    "databases",
    "disable-thp",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "io-threads",
    "io-threads-do-reads",
    "rdbchecksum",
    "server_cpulist",
    "set-proc-title",
    "socket-mark-id",
    "supervised",
    "syslog-enabled",
    "syslog-facility",
    "syslog-ident",
    "tcp-backlog",
];

/// The directives that a running member can be told.
pub fn live_directives(directives: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    directives
        .iter()
        .filter(|(name, _)| !RESTART_DIRECTIVES.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

pub(super) fn config(desired: &Desired, directives: &BTreeMap<String, String>) -> Object {
    let common = "dir /data\nmanaged yes\npassword-file /etc/redis-auth/password\nmetrics-port 9121\nlog-format json\n";
    let mut redis = format!("port {REDIS_PORT}\n{common}");
    if desired.masters > 1 {
        redis.push_str("cluster-enabled yes\ncluster-preferred-endpoint-type hostname\n");
        // A shard that is gone takes its own slots with it, not those of the others.
        redis.push_str("cluster-require-full-coverage no\n");
    }
    for (name, value) in directives {
        let value = if value.is_empty() { "\"\"" } else { value };
        redis.push_str(&format!("{name} {value}\n"));
    }
    let sentinel = format!(
        "port {SENTINEL_PORT}\n{common}sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n"
    );
    object(
        desired,
        Kind::ConfigMap,
        desired.config_name(),
        &labels(desired, "config"),
        json!({"data": {
            "redis.conf": redis,
            "sentinel.conf": sentinel,
            // The directives alone, by which the operator sees what has changed.
            "directives.json": json!(directives).to_string(),
        }}),
    )
}
