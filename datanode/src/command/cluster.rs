//! CLUSTER and its kin, answered from the shard map: there is no cluster bus, the authority owns the topology
//! (<https://redis.io/docs/latest/commands/?group=cluster>).

use super::{Ctx, Error, Flags, Group, Result, Spec, help};
use crate::managed::slots::{endpoint, served_slots};
use crate::resp::parse::parse_i64;
use crate::server::Server;
use crate::shardmap::{MAX_SLOT, NodeAddr, Shard, ShardMap};
use crate::store::slot::key_slot;

const READ: Flags = Flags::STALE;
const ASK: Flags = Flags(Flags::ADMIN.0 | Flags::STALE.0);
const CHANGE: Flags = Flags(Flags::ADMIN.0 | Flags::STALE.0 | Flags::NO_ASYNC_LOADING.0);
const FAST: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0);
/// Distance of a node's cluster bus port from its port, as CLUSTER NODES shows it; nothing listens there.
const BUS_OFFSET: u32 = 10_000;

const fn sub(name: &'static str, arity: i32, handler: super::Handler, summary: &'static str) -> Spec {
    Spec::new(Group::Cluster, name, arity, handler).flags(READ).doc("3.0.0", summary)
}

/// A subcommand that changes the topology: that is the authority's.
const fn change(name: &'static str, arity: i32, summary: &'static str) -> Spec {
    sub(name, arity, topology_is_the_maps, summary).flags(CHANGE)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Cluster, "cluster", -2, cluster_help)
        .doc("3.0.0", "A container for Redis Cluster commands.")
        .subcommands(&[
            sub("cluster|slots", 2, slots, "Returns the mapping of cluster slots to nodes."),
            sub("cluster|shards", 2, shards, "Returns the mapping of cluster slots to shards.")
                .doc("7.0.0", "Returns the mapping of cluster slots to shards."),
            sub("cluster|nodes", 2, nodes, "Returns the cluster configuration for a node."),
            sub("cluster|info", 2, info, "Returns information about the state of a node."),
            sub("cluster|myid", 2, myid, "Returns the ID of a node."),
            sub("cluster|myshardid", 2, myshardid, "Returns the shard ID of a node.")
                .doc("7.2.0", "Returns the shard ID of a node."),
            sub("cluster|keyslot", 3, keyslot, "Returns the hash slot for a key."),
            sub("cluster|countkeysinslot", 3, countkeysinslot, "Returns the number of keys in a hash slot."),
            sub("cluster|getkeysinslot", 4, getkeysinslot, "Returns the key names in a hash slot."),
            sub("cluster|replicas", 3, replicas, "Lists the replica nodes of a master node.")
                .flags(ASK)
                .doc("5.0.0", "Lists the replica nodes of a master node."),
            sub("cluster|slaves", 3, replicas, "Lists the replica nodes of a master node.").flags(ASK),
            sub("cluster|links", 2, links, "Returns a list of all TCP links to and from peer nodes.")
                .doc("7.0.0", "Returns a list of all TCP links to and from peer nodes."),
            sub(
                "cluster|count-failure-reports",
                3,
                count_failure_reports,
                "Returns the number of active failure reports active for a node.",
            )
            .flags(ASK),
            sub("cluster|help", 2, cluster_help, "Show helpful text about the different subcommands")
                .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
                .doc("5.0.0", "Show helpful text about the different subcommands"),
            change("cluster|meet", -4, "Forces a node to handshake with another node."),
            change("cluster|addslots", -3, "Assigns new hash slots to a node."),
            change("cluster|addslotsrange", -4, "Assigns new hash slot ranges to a node.")
                .doc("7.0.0", "Assigns new hash slot ranges to a node."),
            change("cluster|delslots", -3, "Sets hash slots as unbound for a node."),
            change("cluster|delslotsrange", -4, "Sets hash slot ranges as unbound for a node.")
                .doc("7.0.0", "Sets hash slot ranges as unbound for a node."),
            change("cluster|setslot", -4, "Binds a hash slot to a node."),
            change("cluster|flushslots", 2, "Deletes all slots information from a node."),
            change("cluster|forget", 3, "Removes a node from the nodes table."),
            change("cluster|replicate", 3, "Configure a node as replica of a master node."),
            change("cluster|failover", -2, "Forces a replica to perform a manual failover of its master."),
            change("cluster|reset", -2, "Resets a node.")
                .flags(Flags(Flags::ADMIN.0 | Flags::STALE.0 | Flags::NOSCRIPT.0)),
            change("cluster|bumpepoch", 2, "Advances the cluster config epoch."),
            change("cluster|set-config-epoch", 3, "Sets the configuration epoch for a new node."),
            sub(
                "cluster|saveconfig",
                2,
                saveconfig,
                "Forces a node to save the cluster configuration to disk.",
            )
            .flags(CHANGE),
        ]),
    Spec::new(Group::Cluster, "readonly", 1, readonly)
        .flags(FAST)
        .doc("3.0.0", "Enables read-only queries for a connection to a Redis Cluster replica node."),
    Spec::new(Group::Cluster, "readwrite", 1, readwrite)
        .flags(FAST)
        .doc("3.0.0", "Enables read-write queries for a connection to a Redis Cluster replica node."),
    Spec::new(Group::Cluster, "asking", 1, asking)
        .flags(Flags::FAST)
        .doc("3.0.0", "Signals that a cluster client is following an -ASK redirect."),
];

fn cluster_mode(ctx: &Ctx<'_>) -> Result {
    if ctx.keys.server.config.cluster_enabled {
        Ok(())
    } else {
        Err("ERR This instance has cluster support disabled".into())
    }
}

/// The newest map of a node in cluster mode.
fn the_map(ctx: &Ctx<'_>) -> Result<ShardMap> {
    cluster_mode(ctx)?;
    ctx.keys
        .server
        .managed
        .as_ref()
        .and_then(|m| m.map())
        .cloned()
        .ok_or_else(|| "CLUSTERDOWN No shard map has arrived yet".into())
}

/// Subcommands that would change the topology.
fn topology_is_the_maps(ctx: &mut Ctx<'_>) -> Result {
    the_map(ctx)?;
    Err("ERR the topology is owned by the shard map's authority: change the RedisReplicaSet instead".into())
}

fn node_or(ctx: &Ctx<'_>) -> Option<NodeAddr> {
    ctx.keys.server.managed.as_ref().map(|m| m.node.clone())
}

/// The master first, then the others in the map's order.
fn members(shard: &Shard) -> Vec<&NodeAddr> {
    let master = shard.master.iter();
    master.chain(shard.members.iter().filter(|m| Some(*m) != shard.master.as_ref())).collect()
}

/// `CLUSTER SLOTS`
fn slots(ctx: &mut Ctx<'_>) -> Result {
    let map = the_map(ctx)?;
    let served: Vec<&Shard> = map.shards.iter().filter(|s| s.master.is_some()).collect();
    ctx.reply.array(served.iter().map(|s| s.slots.len()).sum());
    for shard in served {
        for [from, to] in &shard.slots {
            let nodes = members(shard);
            ctx.reply.array(2 + nodes.len());
            ctx.reply.int(i64::from(*from));
            ctx.reply.int(i64::from(*to));
            for node in nodes {
                let name = endpoint(ctx.keys.server, node);
                ctx.reply.array(4);
                ctx.reply.bulk(name.as_bytes());
                ctx.reply.int(i64::from(node.port()));
                ctx.reply.bulk(node.node_id().as_bytes());
                ctx.reply.array(0);
            }
        }
    }
    Ok(())
}

/// `CLUSTER SHARDS`
fn shards(ctx: &mut Ctx<'_>) -> Result {
    let map = the_map(ctx)?;
    let me = node_or(ctx);
    ctx.reply.array(map.shards.len());
    for shard in &map.shards {
        ctx.reply.map(2);
        ctx.reply.bulk(b"slots");
        ctx.reply.array(shard.slots.len() * 2);
        for [from, to] in &shard.slots {
            ctx.reply.int(i64::from(*from));
            ctx.reply.int(i64::from(*to));
        }
        ctx.reply.bulk(b"nodes");
        let nodes = members(shard);
        ctx.reply.array(nodes.len());
        for node in nodes {
            let is_master = shard.master.as_ref() == Some(node);
            let offset = offset_of(ctx.keys.server, node, me.as_ref());
            let name = endpoint(ctx.keys.server, node);
            ctx.reply.map(7);
            for (field, value) in [("id", node.node_id()), ("endpoint", name), ("ip", node.host().into())] {
                ctx.reply.bulk(field.as_bytes());
                ctx.reply.bulk(value.as_bytes());
            }
            ctx.reply.bulk(b"port");
            ctx.reply.int(i64::from(node.port()));
            ctx.reply.bulk(b"role");
            ctx.reply.bulk(if is_master { b"master" } else { b"replica" });
            ctx.reply.bulk(b"replication-offset");
            ctx.reply.int(offset as i64);
            ctx.reply.bulk(b"health");
            ctx.reply.bulk(b"online");
        }
    }
    Ok(())
}

/// The offset of a node, where this one can know it: its own, and its replicas'.
fn offset_of(server: &Server, node: &NodeAddr, me: Option<&NodeAddr>) -> u64 {
    if me == Some(node) {
        return server.repl.offset();
    }
    server.repl.online(&server.clients).find(|r| r.address().as_ref() == Some(node)).map_or(0, |r| r.acked)
}

/// One line of CLUSTER NODES.
fn node_line(shard: &Shard, node: &NodeAddr, me: Option<&NodeAddr>) -> String {
    let is_master = shard.master.as_ref() == Some(node);
    let mut flags = Vec::new();
    if me == Some(node) {
        flags.push("myself");
    }
    flags.push(if is_master { "master" } else { "slave" });
    let master = match &shard.master {
        Some(m) if !is_master => m.node_id(),
        _ => "-".into(),
    };
    let bus = u32::from(node.port()) + BUS_OFFSET;
    let mut line = format!(
        "{} {}:{}@{bus},{} {} {master} 0 0 {} connected",
        node.node_id(),
        node.host(),
        node.port(),
        node.host(),
        flags.join(","),
        shard.epoch
    );
    if is_master {
        for [from, to] in &shard.slots {
            line += &if from == to { format!(" {from}") } else { format!(" {from}-{to}") };
        }
    }
    line
}

/// `CLUSTER NODES`
fn nodes(ctx: &mut Ctx<'_>) -> Result {
    let map = the_map(ctx)?;
    let me = node_or(ctx);
    let mut text = String::new();
    for shard in &map.shards {
        for node in members(shard) {
            text += &node_line(shard, node, me.as_ref());
            text.push('\n');
        }
    }
    ctx.reply.verbatim(&text);
    Ok(())
}

/// `CLUSTER REPLICAS node-id`
fn replicas(ctx: &mut Ctx<'_>) -> Result {
    let map = the_map(ctx)?;
    let me = node_or(ctx);
    let id = String::from_utf8_lossy(ctx.args.at(2)).into_owned();
    let shard = map.shards.iter().find(|s| s.members.iter().any(|m| m.node_id() == id));
    let Some(shard) = shard else { return Err(Error::err(format_args!("Unknown node {id}"))) };
    let Some(master) = shard.master.as_ref().filter(|m| m.node_id() == id) else {
        return Err(Error::err("The specified node is not a master"));
    };
    let lines: Vec<String> =
        shard.members.iter().filter(|m| *m != master).map(|m| node_line(shard, m, me.as_ref())).collect();
    ctx.reply.array(lines.len());
    for line in lines {
        ctx.reply.bulk(line.as_bytes());
    }
    Ok(())
}

/// `CLUSTER INFO`
fn info(ctx: &mut Ctx<'_>) -> Result {
    let map = the_map(ctx)?;
    let all: usize = map.shards.iter().map(Shard::slot_count).sum();
    let served = served_slots(&map);
    let state = if served == usize::from(MAX_SLOT) + 1 { "ok" } else { "fail" };
    let nodes: usize = map.shards.iter().map(|s| s.members.len()).sum();
    let epoch = map.shards.iter().map(|s| s.epoch).max().unwrap_or(0);
    let own = ctx.keys.server.managed.as_ref().and_then(|m| m.own_shard()).map_or(0, |s| s.epoch);
    let text = format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{all}\r\ncluster_slots_ok:{served}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\ncluster_known_nodes:{nodes}\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{own}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
        all - served,
        map.shards.len()
    );
    ctx.reply.verbatim(&text);
    Ok(())
}

/// `CLUSTER MYID`
fn myid(ctx: &mut Ctx<'_>) -> Result {
    cluster_mode(ctx)?;
    let id = node_or(ctx).map(|n| n.node_id()).unwrap_or_default();
    ctx.reply.bulk(id.as_bytes());
    Ok(())
}

/// `CLUSTER MYSHARDID`: the id of the shard's first member stands for the shard.
fn myshardid(ctx: &mut Ctx<'_>) -> Result {
    let map = the_map(ctx)?;
    let index = ctx.keys.server.config.managed_shard;
    let id = map.shard(index).and_then(|s| s.members.first()).map(NodeAddr::node_id).unwrap_or_default();
    ctx.reply.bulk(id.as_bytes());
    Ok(())
}

/// `CLUSTER KEYSLOT key`
fn keyslot(ctx: &mut Ctx<'_>) -> Result {
    cluster_mode(ctx)?;
    let slot = key_slot(ctx.args.at(2));
    ctx.reply.int(i64::from(slot));
    Ok(())
}

fn slot_argument(ctx: &Ctx<'_>) -> Result<u16> {
    parse_i64(ctx.args.at(2))
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n <= MAX_SLOT)
        .ok_or_else(|| "ERR Invalid slot".into())
}

/// `CLUSTER COUNTKEYSINSLOT slot`
fn countkeysinslot(ctx: &mut Ctx<'_>) -> Result {
    the_map(ctx)?;
    let slot = slot_argument(ctx)?;
    let n = ctx.keys.server.keyspace.count_in_slot(slot);
    ctx.reply.int(n as i64);
    Ok(())
}

/// `CLUSTER GETKEYSINSLOT slot count`
fn getkeysinslot(ctx: &mut Ctx<'_>) -> Result {
    the_map(ctx)?;
    let slot = slot_argument(ctx)?;
    let count = usize::try_from(ctx.int(3)?).map_err(|_| Error::err("Invalid number of keys"))?;
    let keys = ctx.keys.server.keyspace.keys_in_slot(slot, count);
    ctx.reply.array(keys.len());
    for key in keys {
        ctx.reply.bulk(&key);
    }
    Ok(())
}

/// `CLUSTER LINKS`: there is no bus, so there are no links.
fn links(ctx: &mut Ctx<'_>) -> Result {
    the_map(ctx)?;
    ctx.reply.array(0);
    Ok(())
}

/// `CLUSTER COUNT-FAILURE-REPORTS node-id`: nodes do not report each other, the authority watches them.
fn count_failure_reports(ctx: &mut Ctx<'_>) -> Result {
    the_map(ctx)?;
    ctx.reply.int(0);
    Ok(())
}

/// `CLUSTER SAVECONFIG`: the map is durable before it is acted on.
fn saveconfig(ctx: &mut Ctx<'_>) -> Result {
    the_map(ctx)?;
    ctx.reply.ok();
    Ok(())
}

fn set_readonly(ctx: &mut Ctx<'_>, on: bool) -> Result {
    cluster_mode(ctx)?;
    if let Some(client) = ctx.client() {
        client.readonly = on;
    }
    ctx.reply.ok();
    Ok(())
}

/// `READONLY`
fn readonly(ctx: &mut Ctx<'_>) -> Result {
    set_readonly(ctx, true)
}

/// `READWRITE`
fn readwrite(ctx: &mut Ctx<'_>) -> Result {
    set_readonly(ctx, false)
}

/// `ASKING`: slots do not migrate yet, so nothing follows from it.
fn asking(ctx: &mut Ctx<'_>) -> Result {
    cluster_mode(ctx)?;
    if let Some(client) = ctx.client() {
        client.asking = true;
    }
    ctx.reply.ok();
    Ok(())
}

/// `CLUSTER HELP`
fn cluster_help(ctx: &mut Ctx<'_>) -> Result {
    cluster_mode(ctx)?;
    help(
        ctx,
        "CLUSTER",
        &[
            ("COUNT-FAILURE-REPORTS <node-id>", "Always 0: the shard map's authority watches the nodes."),
            ("COUNTKEYSINSLOT <slot>", "Number of keys in a slot."),
            ("GETKEYSINSLOT <slot> <count>", "Names of keys in a slot."),
            ("INFO", "State of the cluster."),
            ("KEYSLOT <key>", "The slot of a key."),
            ("LINKS", "Links of the cluster bus: there are none."),
            ("MYID", "This node's id."),
            ("MYSHARDID", "The id of this node's shard."),
            ("NODES", "All nodes, a line each."),
            ("REPLICAS <node-id>", "The replicas of a master."),
            ("SAVECONFIG", "Nothing to do: the shard map is on disk before it is acted on."),
            ("SHARDS", "Slots and nodes of each shard."),
            ("SLOTS", "Ranges of slots with their nodes."),
            (
                "ADDSLOTS, ADDSLOTSRANGE, BUMPEPOCH, DELSLOTS, DELSLOTSRANGE, FAILOVER, FLUSHSLOTS, FORGET, MEET, \
                 REPLICATE, RESET, SET-CONFIG-EPOCH, SETSLOT",
                "Refused: the topology is the shard map's.",
            ),
        ],
    )
}
