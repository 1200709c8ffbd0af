//! The rules of the API that a schema alone cannot say, as CEL that the API server evaluates at apply.
//!
//! Kept in one table, apart from the types, so that all of them can be read, and tested, at once.

use std::sync::LazyLock;

/// A validation rule at a place of the schema.
pub struct Rule {
    /// JSON pointer into the schema, from the resource's root.
    pub at: &'static str,
    /// Path from there to the field that is to blame, where it is not the place itself.
    pub field: Option<&'static str>,
    /// CEL expression that must hold.
    pub rule: String,
    /// What the person who wrote the resource is told.
    pub message: String,
}

/// Longest name of a resource: `NAME-sentinel` and `NAME-99` must leave room for the 11 characters that a
/// StatefulSet's revision label adds to its name, within the 63 of a label.
pub const MAX_NAME: usize = 43;

/// Directives that the operator sets itself, or that have a field in the resource.
pub const OWNED_DIRECTIVES: &[&str] = &[
    "aclfile",
    "aof-use-rdb-preamble",
    "appenddirname",
    "appendfilename",
    "appendfsync",
    "appendonly",
    "auto-aof-rewrite-min-size",
    "auto-aof-rewrite-percentage",
    "bind",
    "cluster-announce-bus-port",
    "cluster-announce-hostname",
    "cluster-announce-ip",
    "cluster-announce-port",
    "cluster-config-file",
    "cluster-enabled",
    "cluster-port",
    "cluster-preferred-endpoint-type",
    "daemonize",
    "dbfilename",
    "dir",
    "include",
    "loadmodule",
    "logfile",
    "managed",
    "managed-shard",
    "masterauth",
    "masteruser",
    "metrics-port",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "min-slaves-max-lag",
    "min-slaves-to-write",
    "password-file",
    "pidfile",
    "port",
    "protected-mode",
    "rdbchecksum",
    "rdbcompression",
    "rename-command",
    "replica-announce-ip",
    "replica-announce-port",
    "replicaof",
    "requirepass",
    "save",
    "sentinel",
    "sentinel-announce-ip",
    "slave-announce-ip",
    "slave-announce-port",
    "slaveof",
    "tls-port",
    "unixsocket",
    "unixsocketperm",
    "user",
    "write-ack-fsync",
    "write-ack-replicas",
];

/// Directives whose value is an amount of memory as redis.conf writes it.
const MEMORY_DIRECTIVES: &[&str] =
    &["client-query-buffer-limit", "maxmemory", "proto-max-bulk-len", "repl-backlog-size"];

const DURATION: &str = "^([0-9]{1,9}(ms|s|m|h)){1,4}$";

/// Every rule, in the order of the fields.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let text = |at, rule: &str, message: &str| Rule {
        at,
        field: None,
        rule: rule.into(),
        message: message.to_owned(),
    };
    let blame = |at, field, rule: &str, message: &str| Rule { field: Some(field), ..text(at, rule, message) };
    let volume_size = |of: &str| format!("(has({of}.storage) ? {of}.storage.size : '1Gi')");
    let class = |of: &str| {
        format!(
            "(has({of}.storage) && has({of}.storage.storageClassName) ? {of}.storage.storageClassName : '')"
        )
    };
    let persistent = |of: &str| format!("({of}.aof.enabled || size({of}.rdb.save) > 0)");
    let span = |least: &str, most: &str| {
        format!(
            "self.matches('{DURATION}') && duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
        )
    };
    let list = |names: &[&str]| {
        format!("[{}]", names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", "))
    };

    vec![
        Rule {
            at: "",
            field: None,
            rule: format!("size(self.metadata.name) <= {MAX_NAME} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"),
            message: "metadata.name must have at most 43 characters, begin with a letter and hold only lower-case letters, digits and dashes: the names of Services and pods are made from it".into(),
        },
        text(
            "",
            "!self.metadata.name.matches('-(sentinel|replicas|nodes)$')",
            "metadata.name must not end in -sentinel, -replicas or -nodes: another RedisReplicaSet's Services could have that name",
        ),
        text(
            "/properties/spec/properties/masters",
            "self == oldSelf",
            "masters cannot be changed: moving hash slots between masters is not offered yet; create a new RedisReplicaSet and move the data",
        ),
        text(
            "/properties/spec/properties/sentinels",
            "self == 0 || (self >= 3 && self % 2 == 1)",
            "sentinels must be 0 (the operator decides failovers) or an odd number of at least 3: 1 or 2 cannot outlive the loss of one, and an even number outlives no more losses than one fewer",
        ),
        text(
            "/properties/spec/properties/sentinels",
            "(self == 0) == (oldSelf == 0)",
            "sentinels cannot be changed from 0 or to 0: who decides failovers, the operator or the sentinels, is fixed when the resource is made",
        ),
        blame(
            "/properties/spec",
            ".failover.quorum",
            "!has(self.failover.quorum) || self.failover.quorum <= self.sentinels",
            "quorum must not be larger than sentinels: no failover could ever begin",
        ),
        blame(
            "/properties/spec",
            ".durability.writeAckReplicas",
            "!has(self.durability.writeAckReplicas) || self.durability.writeAckReplicas <= self.replicas",
            "writeAckReplicas must not be larger than replicas: no write would ever be answered",
        ),
        blame(
            "/properties/spec",
            ".durability.writeAckFsync",
            "!self.durability.writeAckFsync || (has(self.durability.writeAckReplicas) ? self.durability.writeAckReplicas > 0 : self.replicas >= 2)",
            "writeAckFsync needs writeAckReplicas of at least 1 (left out it is 1 with two or more replicas, else 0): there would be no replica whose disk could be waited for",
        ),
        blame(
            "/properties/spec",
            ".durability.writeAckFsync",
            "!self.durability.writeAckFsync || self.persistence.aof.enabled",
            "writeAckFsync needs persistence.aof.enabled: without the AOF no write would ever be on a disk",
        ),
        blame(
            "/properties/spec",
            ".durability.minReplicasToWrite",
            "!has(self.durability.minReplicasToWrite) || self.durability.minReplicasToWrite <= self.replicas",
            "minReplicasToWrite must not be larger than replicas: every write would be refused",
        ),
        text(
            "/properties/spec/properties/persistence/properties/rdb/properties/save",
            "self.all(s, s.matches('^[1-9][0-9]{0,8} [0-9]{1,9}$'))",
            "each entry of save must be two numbers, seconds and changes, such as \"900 1\"; to turn snapshots off write an empty list",
        ),
        text(
            "/properties/spec/properties/persistence/properties/aof/properties/rewriteMinSize",
            "isQuantity(self) && quantity(self).isInteger() && !quantity(self).isLessThan(quantity('0'))",
            "rewriteMinSize must be an amount of memory such as 64Mi",
        ),
        text(
            "/properties/spec/properties/persistence/properties/storage/properties/size",
            "isQuantity(self) && quantity(self).isGreaterThan(quantity('0'))",
            "size must be an amount of storage larger than zero, such as 1Gi",
        ),
        Rule {
            at: "/properties/spec/properties/persistence",
            field: Some(".storage"),
            rule: format!("!has(self.storage) || {}", persistent("self")),
            message: "storage asks for a volume, but RDB (rdb.save) and AOF (aof.enabled) are both off, so nothing would be kept on it: turn one on or leave storage out".into(),
        },
        Rule {
            at: "/properties/spec/properties/persistence",
            field: Some(".storage"),
            rule: format!("{} == {}", persistent("self"), persistent("oldSelf")),
            message: "RDB and AOF cannot both be turned off, nor on again from off, once the resource exists: its pods would lose or gain their volume; create a new RedisReplicaSet".into(),
        },
        Rule {
            at: "/properties/spec/properties/persistence",
            field: Some(".storage"),
            rule: {
                let (new, old) = (volume_size("self"), volume_size("oldSelf"));
                format!("!isQuantity({new}) || !isQuantity({old}) || quantity({new}).compareTo(quantity({old})) >= 0")
            },
            message: "storage.size must not become smaller (left out it is 1Gi): volumes cannot shrink".into(),
        },
        Rule {
            at: "/properties/spec/properties/persistence",
            field: Some(".storage"),
            rule: format!("{} == {}", class("self"), class("oldSelf")),
            message: "storage.storageClassName cannot be changed once the resource exists: a volume stays in the class it was made in".into(),
        },
        Rule {
            at: "/properties/spec/properties/durability/properties/minReplicasMaxLag",
            field: None,
            rule: span("1s", "1h"),
            message: "minReplicasMaxLag must be a duration from 1s to 1h, such as 10s or 1m30s".into(),
        },
        Rule {
            at: "/properties/spec/properties/failover/properties/downAfter",
            field: None,
            rule: span("200ms", "1h"),
            message: "downAfter must be a duration from 200ms to 1h, such as 500ms, 1s or 1m30s".into(),
        },
        Rule {
            at: "/properties/spec/properties/failover/properties/timeout",
            field: None,
            rule: span("1s", "24h"),
            message: "timeout must be a duration from 1s to 24h, such as 10s or 3m".into(),
        },
        Rule {
            at: "/properties/spec/properties/config",
            field: None,
            rule: format!("!{}.exists(k, k in self)", list(OWNED_DIRECTIVES)),
            message: format!(
                "config may not set directives that have a field of their own or that the operator sets: {}",
                OWNED_DIRECTIVES.join(", ")
            ),
        },
        Rule {
            at: "/properties/spec/properties/config",
            field: None,
            rule: format!(
                "{}.all(k, !(k in self) || string(self[k]).matches('(?i)^[0-9]{{1,18}}(b|k|kb|m|mb|g|gb)?$'))",
                list(MEMORY_DIRECTIVES)
            ),
            message: format!(
                "{} must be an amount of memory as redis.conf writes it, such as 256mb or 1gb",
                MEMORY_DIRECTIVES.join(", ")
            ),
        },
        text(
            "/properties/spec/properties/config",
            "self.all(k, size(k) <= 64 && k.matches('^[a-z][a-z0-9_-]*$'))",
            "the names in config must be directives of redis.conf in lower case, such as maxmemory-policy",
        ),
    ]
});
