//! Hash slots: which commands this node may serve in cluster mode
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>). The shard map says whose a slot is.

use crate::command::{Args, Error, Flags, Spec};
use crate::config::types::EndpointType;
use crate::io::ConnId;
use crate::server::Server;
use crate::shardmap::{NodeAddr, ShardMap};
use crate::store::slot::{SLOTS, key_slot};

/// Refuses a command whose keys are not of one slot, or of a slot that another shard serves.
pub fn redirect(server: &Server, conn: ConnId, spec: &'static Spec, args: Args<'_>) -> Result<(), Error> {
    let client = server.clients.get(conn);
    if spec.name == "exec" {
        let queue = client.and_then(|c| c.multi.as_ref()).map(|m| m.queue.as_slice()).unwrap_or_default();
        let mut slot = None;
        for (queued, command) in queue {
            same_slot(queued, command.as_args(), &mut slot)?;
        }
        let writes = client.and_then(|c| c.multi.as_ref()).is_some_and(|m| m.some.any(Flags::WRITE));
        return serve(server, conn, slot, Access { writes, channel: false });
    }
    let mut slot = None;
    same_slot(spec, args, &mut slot)?;
    let writes = spec.flags.any(Flags::WRITE | Flags::MAY_REPLICATE);
    serve(server, conn, slot, Access { writes, channel: spec.flags.any(Flags::PUBSUB) })
}

fn same_slot(spec: &Spec, args: Args<'_>, slot: &mut Option<u16>) -> Result<(), Error> {
    for i in spec.key_indexes(&args) {
        let of_key = key_slot(args.at(i));
        if *slot.get_or_insert(of_key) != of_key {
            return Err("CROSSSLOT Keys in request don't hash to the same slot".into());
        }
    }
    Ok(())
}

/// What a command does with a slot.
#[derive(Clone, Copy)]
struct Access {
    writes: bool,
    /// It uses a shard's channel.
    channel: bool,
}

const DOWN: &str = "CLUSTERDOWN The cluster is down";

/// While a slot of the cluster is not served by anybody, the others may not be either (`cluster-require-full-coverage`
/// and the directives that make exceptions to it).
fn check_coverage(server: &Server, map: Option<&ShardMap>, access: Access) -> Result<(), Error> {
    let config = &server.config;
    if !config.cluster_require_full_coverage || map.is_some_and(|m| served_slots(m) == usize::from(SLOTS)) {
        return Ok(());
    }
    let allowed = match access.channel {
        true => config.cluster_allow_pubsubshard_when_down,
        false => config.cluster_allow_reads_when_down,
    };
    match (allowed, access) {
        (false, _) => Err(DOWN.into()),
        (true, Access { writes: true, channel: false }) => {
            Err("CLUSTERDOWN The cluster is down and only accepts read commands".into())
        }
        (true, _) => Ok(()),
    }
}

fn serve(server: &Server, conn: ConnId, slot: Option<u16>, access: Access) -> Result<(), Error> {
    let Some(slot) = slot else { return Ok(()) };
    let Some(managed) = &server.managed else { return Ok(()) };
    let owner = managed.map().and_then(|m| m.owner_of(slot));
    let Some(owner) = owner else {
        return Err("CLUSTERDOWN Hash slot not served".into());
    };
    check_coverage(server, managed.map(), access)?;
    let writes = access.writes;
    let mine = owner.index == managed.shard;
    if mine && managed.is_master() {
        return Ok(());
    }
    let readonly = server.clients.get(conn).is_some_and(|c| c.readonly);
    // A shard's channel is every member's.
    if mine && ((readonly && !writes) || access.channel) && !managed.is_nobody() {
        return Ok(());
    }
    match &owner.master {
        Some(master) if *master != managed.node => Err(moved(server, slot, master)),
        // The map's master that waits for an election (or nobody at all): there is nowhere to go to.
        _ if mine && !writes && server.config.cluster_allow_reads_when_down => Ok(()),
        _ => Err(DOWN.into()),
    }
}

fn moved(server: &Server, slot: u16, to: &NodeAddr) -> Error {
    Error::Text(format!("MOVED {slot} {}:{}", endpoint(server, to), to.port()).into())
}

/// How clients are told of a node (`cluster-preferred-endpoint-type`). Members are known by name; an address is only
/// known where it is the name.
pub fn endpoint(server: &Server, node: &NodeAddr) -> String {
    match server.config.cluster_preferred_endpoint_type {
        EndpointType::UnknownEndpoint => "?".into(),
        EndpointType::Hostname | EndpointType::Ip => node.host().to_owned(),
    }
}

/// Number of slots that some shard with a master serves.
pub fn served_slots(map: &ShardMap) -> usize {
    map.shards.iter().filter(|s| s.master.is_some()).map(|s| s.slot_count()).sum()
}
