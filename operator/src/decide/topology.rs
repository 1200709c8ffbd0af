//! The map's topology: what the operator alone writes, as a new generation, and offers to everyone.
//!
//! Every change of members is two steps. Who joins does not count until it has everything: no election asks it, and what it
//! acknowledges is not enough for anything. Who leaves is still asked by elections, but what it acknowledges does not count
//! any more; once those who stay have all that the master had when it stopped counting the others, these are no members any
//! more, and their pods are removed. A change of `writeAckReplicas` is two steps as well: the map is unsettled meanwhile, and
//! an election asks everybody. Sentinels come and go one at a time, each change known to a majority before the next one.

use datanode::shardmap::{NodeAddr, NodeRole, NodeStatus, Shard, ShardMap};

use super::{Action, Plan};
use crate::snapshot::{Mark, Record, Snapshot};

/// What should be written down now: the newest map anyone knows, with the topology that is asked for. None: it cannot
/// be known yet.
pub(super) fn record(s: &Snapshot, plan: &mut Plan) -> Option<Record> {
    let mut record = match &s.record {
        Some(record) => record.clone(),
        None => Record {
            map: recover(s, plan)?,
            elections: Default::default(),
            marks: Default::default(),
            resource_version: None,
        },
    };
    let before: Vec<Shard> = record.map.shards.clone();
    for seen in maps(s) {
        record.map.merge(seen);
    }
    if s.record.is_some() && s.desired.sentinels > 0 {
        for shard in &record.map.shards {
            tell_of_failover(before.iter().find(|old| old.index == shard.index), shard, plan);
        }
    }
    settle(s, &mut record, plan);
    let wanted = wanted(s, &record);
    if wanted.sentinels.len() != s.desired.sentinels as usize {
        let (now, then) = (wanted.sentinels.len(), s.desired.sentinels);
        plan.progressing(
            "Settling",
            format!("sentinels are being changed one by one: {now}, to become {then}"),
        );
    }
    if wanted != topology(&record.map) {
        let generation = record.map.generation + 1;
        let settled = settled_after(&record.map, &wanted);
        let mut next = wanted;
        next.generation = generation;
        next.settled = settled;
        if s.record.is_some() {
            plan.news("TopologyChanged", describe(&record.map, &next));
        }
        record.map.merge(&next);
    }
    let map = &record.map;
    record
        .elections
        .retain(|index, election| map.shard(*index).is_some_and(|shard| shard.epoch < election.epoch));
    if s.desired.sentinels == 0 {
        super::authority::begin(s, &mut record, plan);
    }
    Some(record)
}

/// Offers the map to everyone who answers and knows another one, and to members that have not found their role in it
/// yet. Sentinels first: members hear of a generation only once a majority of the sentinels knows it, for a failover must
/// not be decided by rules that the members no longer follow.
pub(super) fn offer(s: &Snapshot, record: &Record, plan: &mut Plan) {
    let known = |seen: &Option<ShardMap>| seen.as_ref() == Some(&record.map);
    let sentinels =
        s.sentinels.iter().filter(|(_, probe)| probe.answer.as_ref().is_ok_and(|a| !known(&a.map)));
    let decided = is_decided(s, &record.map);
    let members = s.members.iter().filter(|(at, probe)| {
        probe.answer.as_ref().is_ok_and(|answer| {
            (decided || knows(&answer.map, &record.map))
                && (!known(&answer.map) || waits_for_role(record, at, &answer.status))
        })
    });
    let to: Vec<&NodeAddr> = sentinels.map(|(to, _)| to).chain(members.map(|(to, _)| to)).collect();
    for to in to {
        plan.actions.push(Action::Offer { to: to.clone(), map: Box::new(record.map.clone()) });
    }
}

/// Whether whoever has seen this map knows the other one's generation.
fn knows(seen: &Option<ShardMap>, map: &ShardMap) -> bool {
    seen.as_ref().is_some_and(|seen| seen.generation >= map.generation)
}

/// Whether a majority of the map's sentinels knows its generation, where there are any.
fn is_decided(s: &Snapshot, map: &ShardMap) -> bool {
    let aware = map.sentinels.iter().filter(|at| {
        s.sentinels.get(*at).is_some_and(|probe| probe.answer.as_ref().is_ok_and(|a| knows(&a.map, map)))
    });
    map.sentinels.is_empty() || aware.count() >= map.majority()
}

/// Whether a member that was started again could be a replica by now. (The map's master could not: it takes an election.)
fn waits_for_role(record: &Record, member: &NodeAddr, status: &NodeStatus) -> bool {
    let master = record.map.shard_of(member).and_then(|shard| shard.master.as_ref());
    status.role == NodeRole::Nobody && !status.loading && master.is_some_and(|master| master != member)
}

/// Maps that members and sentinels know, of this resource.
fn maps(s: &Snapshot) -> impl Iterator<Item = &ShardMap> {
    let members = s.members.values().filter_map(|probe| probe.answer.as_ref().ok()?.map.as_ref());
    let sentinels = s.sentinels.values().filter_map(|probe| probe.answer.as_ref().ok()?.map.as_ref());
    members.chain(sentinels).filter(|map| map.name == s.desired.name)
}

/// The map to begin with where none is written down. That there is no record does not make an instance new: where
/// StatefulSets exist, the map is learned from those who follow it.
fn recover(s: &Snapshot, plan: &mut Plan) -> Option<ShardMap> {
    let mut first = topology_of(s, |_, _| s.desired.members_per_shard());
    first.generation = 1;
    first.settled = true;
    if s.sets.is_empty() {
        return Some(first);
    }
    let answered = s.sentinels.values().filter(|probe| probe.answer.is_ok()).count();
    let heard = if s.desired.sentinels > 0 {
        answered > s.desired.sentinels as usize / 2
    } else {
        s.members.values().all(|probe| probe.answer.is_ok())
    };
    if !heard {
        let who = if s.desired.sentinels > 0 { "a majority of the sentinels" } else { "every member" };
        plan.degraded(
            "MapLost",
            format!(
                "the ConfigMap {} is gone; waiting for {who} to learn the shard map from",
                s.desired.map_name()
            ),
        );
        return None;
    }
    plan.warn(
        "MapRecovered",
        format!("the ConfigMap {} was gone; the shard map is what the members know", s.desired.map_name()),
    );
    Some(first)
}

/// The topology that should be next, at the generation and settledness of the present one.
fn wanted(s: &Snapshot, record: &Record) -> ShardMap {
    let present = &record.map;
    let wanted = s.desired.members_per_shard() as usize;
    let founded = |shard: &&Shard| shard.dataset.is_some();
    let mut next = topology_of(s, |index, count| {
        present.shard(index).filter(founded).map_or(count, |shard| count.max(shard.members.len() as u32))
    });
    for shard in &mut next.shards {
        let Some(before) = present.shard(shard.index).filter(founded) else { continue };
        let joins = |m: &&NodeAddr| !before.has_member(m) || before.joining.contains(m);
        shard.joining = shard.members.iter().filter(joins).cloned().collect();
        let to_leave: Vec<NodeAddr> = shard.members.iter().skip(wanted).cloned().collect();
        // A master that is to leave hands over first.
        if !before.master.as_ref().is_some_and(|master| to_leave.contains(master)) {
            shard.leaving = to_leave;
        }
    }
    let fewest = next.shards.iter().map(|shard| shard.counting().count()).min().unwrap_or(1) as u32;
    next.write_ack_replicas = next.write_ack_replicas.min(fewest.saturating_sub(1));
    next.sentinels = next_sentinels(&present.sentinels, next.sentinels, is_decided(s, present));
    next.quorum = next.quorum.min(next.sentinels.len() as u32);
    next.generation = present.generation;
    next.settled = present.settled;
    next
}

/// The sentinels that there should be next. They change one at a time, and only once a majority of them knows who they are:
/// so any two majorities that could elect share a sentinel, which has one vote an epoch, and votes for nobody who knows an
/// older map than it does. (Changes of one server: D. Ongaro, "Consensus: bridging theory and practice", 2014, §4.1.) The
/// first and the last ones come and go together: where there are none, the operator decides.
fn next_sentinels(now: &[NodeAddr], wanted: Vec<NodeAddr>, decided: bool) -> Vec<NodeAddr> {
    if now.is_empty() || wanted.is_empty() {
        return wanted;
    }
    let mut next = now.to_vec();
    if decided {
        match wanted.iter().find(|at| !now.contains(at)) {
            Some(one) => next.push(one.clone()),
            None => {
                if let Some(last) = now.iter().rposition(|at| !wanted.contains(at)) {
                    next.remove(last);
                }
            }
        }
    }
    next
}

fn topology_of(s: &Snapshot, members: impl Fn(u32, u32) -> u32) -> ShardMap {
    let desired = &s.desired;
    let ms = |span: std::time::Duration| span.as_millis() as u64;
    let address = |text: String| {
        NodeAddr::try_from(text).expect("names that the API server has accepted make an address")
    };
    ShardMap {
        name: desired.name.clone(),
        generation: 0,
        settled: true,
        quorum: desired.quorum,
        down_after_ms: ms(desired.down_after),
        failover_timeout_ms: ms(desired.failover_timeout),
        grace_ms: ms(desired.grace),
        parallel_syncs: desired.parallel_syncs,
        write_ack_replicas: desired.write_ack_replicas,
        write_ack_fsync: desired.write_ack_fsync,
        sentinels: (0..desired.sentinels).map(|ordinal| address(desired.sentinel(ordinal))).collect(),
        shards: (0..desired.masters)
            .map(|index| {
                let (first, last) = desired.slots(index);
                let count = members(index, desired.members_per_shard());
                Shard {
                    index,
                    slots: vec![[first, last]],
                    members: (0..count).map(|ordinal| address(desired.member(index, ordinal))).collect(),
                    joining: Vec::new(),
                    leaving: Vec::new(),
                    epoch: 0,
                    master: None,
                    dataset: None,
                    founded_at: 0,
                    accept_loss: desired.accept_loss,
                }
            })
            .collect(),
        former: Default::default(),
    }
}

/// The map without what belongs to the authority.
fn topology(map: &ShardMap) -> ShardMap {
    let mut topology = map.clone();
    topology.former.clear();
    for shard in &mut topology.shards {
        shard.set_authority(Default::default());
    }
    topology
}

/// Whether the next topology is settled from the start. It is where only members change: a write that was acknowledged is
/// on as many members as before, all of which are asked, and whoever does not hold the dataset does not count in an
/// election. Nothing is at stake before the first dataset.
fn settled_after(present: &ShardMap, next: &ShardMap) -> bool {
    let founded = present.shards.iter().any(|shard| shard.dataset.is_some());
    !founded || (present.settled && present.write_ack_replicas == next.write_ack_replicas)
}

/// Whether members are joining or leaving, or what writes wait for is being changed.
pub(super) fn changes(map: &ShardMap) -> bool {
    !map.settled || map.shards.iter().any(|shard| !shard.joining.is_empty() || !shard.leaving.is_empty())
}

/// Ends a change once all who stay have what the master had when it had heard of it: the map is settled then, those who have
/// joined count, and those who leave are no members any more.
fn settle(s: &Snapshot, record: &mut Record, plan: &mut Plan) {
    if !changes(&record.map) {
        record.marks.clear();
        return;
    }
    let generation = record.map.generation;
    let mut waiting = Vec::new();
    for shard in &record.map.shards {
        if shard.dataset.is_none() {
            continue;
        }
        let Some(master) = s.master(shard).filter(|master| master.generation >= generation) else {
            waiting.push(format!("the master of shard {}", shard.index));
            continue;
        };
        let mark = record.marks.entry(shard.index).or_insert(Mark {
            epoch: shard.epoch,
            offset: master.offset,
            generation,
        });
        if mark.epoch != shard.epoch || mark.generation != generation {
            *mark = Mark { epoch: shard.epoch, offset: master.offset, generation };
        }
        let followers = shard.members.iter().filter(|member| Some(*member) != shard.master.as_ref());
        for member in followers.filter(|member| !shard.leaving.contains(member)) {
            let reached = s
                .status(member)
                .is_some_and(|status| status.generation >= generation && status.offset >= mark.offset);
            if !reached || !s.in_sync(shard, member) {
                waiting.push(member.host().split('.').next().unwrap_or_default().to_owned());
            }
        }
    }
    if waiting.is_empty() {
        record.map.settled = true;
        record.map.generation += 1;
        for shard in &mut record.map.shards {
            shard.joining.clear();
            let leaving = std::mem::take(&mut shard.leaving);
            shard.members.retain(|member| !leaving.contains(member));
        }
        record.marks.clear();
        plan.news("TopologySettled", "the members that stay have all the data");
    } else {
        plan.progressing(
            "Settling",
            format!("members are being changed; waiting for {}", waiting.join(", ")),
        );
    }
}

fn tell_of_failover(old: Option<&Shard>, new: &Shard, plan: &mut Plan) {
    let pod =
        |shard: &Shard| shard.master.as_ref().map(|m| crate::crd::desired::pod_of(m.as_str()).to_owned());
    let Some(old) = old.filter(|old| old.epoch < new.epoch) else { return };
    let now = pod(new).unwrap_or_default();
    match pod(old) {
        None => plan
            .news("MasterElected", format!("{now} is master of shard {} at epoch {}", new.index, new.epoch)),
        Some(before) => plan.news(
            "FailoverSeen",
            format!(
                "the sentinels made {now} master of shard {} at epoch {}, in place of {before}",
                new.index, new.epoch
            ),
        ),
    }
}

fn describe(old: &ShardMap, new: &ShardMap) -> String {
    let acknowledgement = |map: &ShardMap| {
        format!("{} replicas{}", map.write_ack_replicas, if map.write_ack_fsync { "' disks" } else { "" })
    };
    let to_be = |shard: &Shard| shard.members.len() - shard.leaving.len();
    let members = |map: &ShardMap| map.shards.iter().map(to_be).max().unwrap_or(0);
    format!(
        "generation {}: {} members a shard (was {}), {} sentinels (was {}), writes wait for {} (was {})",
        new.generation,
        members(new),
        members(old),
        new.sentinels.len(),
        old.sentinels.len(),
        acknowledgement(new),
        acknowledgement(old)
    )
}
