//! The status of a resource, from a snapshot and what was found: pure.

use datanode::shardmap::{NodeRole, Shard};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::crd::desired::pod_of;
use crate::crd::status::{MemberStatus, RedisReplicaSetStatus, ShardStatus};
use crate::decide::Findings;
use crate::snapshot::Snapshot;

/// Longest message of a condition, in characters.
const MAX_MESSAGE: usize = 1_000;

type Finding = (&'static str, String);

/// The status to write. Conditions of `before` keep their time of change where their status has not changed.
pub fn status(
    s: &Snapshot,
    findings: &Findings,
    generation: Option<i64>,
    before: Option<&RedisReplicaSetStatus>,
) -> RedisReplicaSetStatus {
    let map = s.record.as_ref().map(|record| &record.map);
    let shards: Vec<ShardStatus> = map.iter().flat_map(|map| &map.shards).map(|one| shard(s, one)).collect();
    let masters =
        shards.iter().flat_map(|shard| &shard.members).filter(|m| m.role == "master" && m.ready).count();
    let replicas =
        shards.iter().flat_map(|shard| &shard.members).filter(|m| m.role == "replica" && m.ready).count();
    let sentinels = s.sentinels.values().filter(|probe| probe.answer.is_ok()).count();
    let (wanted_masters, wanted_sentinels) = (s.desired.masters as usize, s.desired.sentinels as usize);
    let wanted_replicas = wanted_masters * s.desired.replicas as usize;
    let complete = masters == wanted_masters && replicas == wanted_replicas && sentinels == wanted_sentinels;

    let first = |found: &[Finding]| found.first().cloned();
    let ready = match (
        complete,
        first(&findings.at_risk),
        first(&findings.degraded),
        first(&findings.progressing),
    ) {
        (true, None, None, None) => (
            true,
            (
                "AllMembersReady",
                format!("{masters} masters, {replicas} replicas in sync, {sentinels} sentinels"),
            ),
        ),
        (_, Some(found), _, _) | (_, None, Some(found), _) | (_, None, None, Some(found)) => (false, found),
        (false, None, None, None) => (
            false,
            (
                "Incomplete",
                format!(
                    "{masters}/{wanted_masters} masters, {replicas}/{wanted_replicas} replicas, {sentinels}/{wanted_sentinels} sentinels"
                ),
            ),
        ),
    };
    let conditions = vec![
        ("Ready", ready.0, ready.1),
        about("Progressing", &findings.progressing, "Settled", "nothing is being changed"),
        about("Degraded", &findings.degraded, "AsExpected", "nothing is wrong"),
        about("DataAtRisk", &findings.at_risk, "Safe", "no decision about data is waiting for a person"),
    ];
    RedisReplicaSetStatus {
        observed_generation: generation,
        conditions: conditions.into_iter().map(|one| condition(one, generation, before, s.now_ms)).collect(),
        masters_ready: format!("{masters}/{wanted_masters}"),
        replicas_ready: format!("{replicas}/{wanted_replicas}"),
        sentinels_ready: format!("{sentinels}/{wanted_sentinels}"),
        master: shards.iter().filter_map(|shard| shard.master.clone()).collect::<Vec<_>>().join(","),
        map_generation: map.map_or(0, |map| map.generation),
        shards,
    }
}

/// The status of a resource that cannot be worked on, all else as it was.
pub fn refused(
    reason: &'static str,
    message: &str,
    generation: Option<i64>,
    before: Option<&RedisReplicaSetStatus>,
    now_ms: u64,
) -> RedisReplicaSetStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = generation;
    let found: Finding = (reason, message.to_owned());
    for one in [("Ready", false, found.clone()), ("Degraded", true, found)] {
        let next = condition(one, generation, before, now_ms);
        status.conditions.retain(|known| known.type_ != next.type_);
        status.conditions.push(next);
    }
    status
}

/// Whether two statuses differ in more than how far the stream has come.
pub fn differs(one: &RedisReplicaSetStatus, other: &RedisReplicaSetStatus) -> bool {
    let still = |status: &RedisReplicaSetStatus| {
        let mut status = status.clone();
        for member in status.shards.iter_mut().flat_map(|shard| &mut shard.members) {
            (member.offset, member.lag) = (None, None);
        }
        status
    };
    still(one) != still(other)
}

fn shard(s: &Snapshot, shard: &Shard) -> ShardStatus {
    let master_offset = s.master(shard).map(|master| master.offset);
    let members = shard.members.iter().map(|member| {
        let name = pod_of(member.as_str()).to_owned();
        let answer = s.members.get(member).map(|probe| &probe.answer);
        let status = match answer {
            Some(Ok(answer)) => &answer.status,
            Some(Err(failure)) => {
                let message = Some(failure.to_string());
                return MemberStatus { name, role: "unknown".into(), message, ..MemberStatus::default() };
            }
            None => return MemberStatus { name, role: "unknown".into(), ..MemberStatus::default() },
        };
        let is_master = shard.master.as_ref() == Some(member);
        MemberStatus {
            name,
            role: match status.role {
                NodeRole::Master => "master",
                NodeRole::Replica => "replica",
                NodeRole::Nobody => "nobody",
            }
            .into(),
            ready: if is_master {
                s.master(shard).is_some_and(|master| master.writable)
            } else {
                s.in_sync(shard, member)
            },
            offset: Some(status.offset),
            lag: master_offset.map(|offset| offset.saturating_sub(status.offset)),
            dataset: status.dataset.clone().filter(|dataset| Some(dataset) != shard.dataset.as_ref()),
            message: status.restore_error.clone().or_else(|| status.disk_error.clone()),
        }
    });
    ShardStatus {
        index: shard.index,
        slots: shard
            .slots
            .iter()
            .map(|[first, last]| format!("{first}-{last}"))
            .collect::<Vec<_>>()
            .join(","),
        master: shard.master.as_ref().map(|master| pod_of(master.as_str()).to_owned()),
        epoch: shard.epoch,
        dataset: shard.dataset.clone(),
        members: members.collect(),
    }
}

fn about(
    kind: &'static str,
    found: &[Finding],
    calm: &'static str,
    words: &str,
) -> (&'static str, bool, Finding) {
    match found.first() {
        None => (kind, false, (calm, words.to_owned())),
        Some((reason, _)) => {
            let all: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
            (kind, true, (reason, all.join("; ")))
        }
    }
}

fn condition(
    (kind, holds, (reason, message)): (&'static str, bool, Finding),
    generation: Option<i64>,
    before: Option<&RedisReplicaSetStatus>,
    now_ms: u64,
) -> Condition {
    let status = if holds { "True" } else { "False" };
    let known = before.and_then(|before| before.conditions.iter().find(|known| known.type_ == kind));
    let now = Timestamp::from_second((now_ms / 1_000) as i64).unwrap_or_default();
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(MAX_MESSAGE).collect(),
        observed_generation: generation,
        last_transition_time: match known {
            Some(known) if known.status == status => known.last_transition_time.clone(),
            _ => Time(now),
        },
    }
}
