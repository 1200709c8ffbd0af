//! Hash slots: which commands this node may serve in cluster mode
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>). The shard map says whose a slot is.

use crate::command::{Args, Error, Flags, Spec};
use crate::config::types::EndpointType;
use crate::io::ConnId;
use crate::server::Server;
use crate::shardmap::{NodeAddr, ShardMap};
use crate::store::slot::key_slot;

/// Refuses a command whose keys are not of one slot, or of a slot that another shard serves.
pub fn redirect(server: &Server, conn: ConnId, spec: &'static Spec, args: Args<'_>) -> Result<(), Error> {
    let client = server.clients.get(conn);
    if spec.name == "exec" {
        let queue = client.and_then(|c| c.multi.as_ref()).map(|m| m.queue.as_slice()).unwrap_or_default();
        let mut slot = None;
        for (queued, command) in queue {
            same_slot(queued, command.as_args(), &mut slot)?;
        }
        let writes = client.and_then(|c| c.multi.as_ref()).is_some_and(|m| m.writes);
        return serve(server, conn, slot, writes);
    }
    let mut slot = None;
    same_slot(spec, args, &mut slot)?;
    serve(server, conn, slot, spec.flags.any(Flags::WRITE | Flags::MAY_REPLICATE))
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

fn serve(server: &Server, conn: ConnId, slot: Option<u16>, writes: bool) -> Result<(), Error> {
    let Some(slot) = slot else { return Ok(()) };
    let Some(managed) = &server.managed else { return Ok(()) };
    let owner = managed.map().and_then(|m| m.owner_of(slot));
    let Some(owner) = owner else {
        return Err("CLUSTERDOWN Hash slot not served".into());
    };
    let mine = owner.index == managed.shard;
    if mine && managed.is_master() {
        return Ok(());
    }
    let readonly = server.clients.get(conn).is_some_and(|c| c.readonly);
    if mine && readonly && !writes && !managed.is_nobody() {
        return Ok(());
    }
    match &owner.master {
        Some(master) if *master != managed.node => Err(moved(server, slot, master)),
        // The map's master that waits for an election (or nobody at all): there is nowhere to go to.
        _ => Err("CLUSTERDOWN The cluster is down".into()),
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
