//! What is disruptive, one thing at a time: moving a master, replacing pods made from an old template.
//!
//! Pods that do not work are replaced first: they have nothing to lose, and a bad change must be revertible. Otherwise
//! all must be well; then replicas, then the master moves, then the former master, shard after shard.

use datanode::shardmap::{NodeAddr, Shard};

use super::{Action, DISRUPTION_PAUSE_MS, Plan, objects};
use crate::crd::desired::pod_of;
use crate::snapshot::{PodView, Record, Snapshot};

/// The next disruptive action, where there is one and nothing forbids it.
pub(super) fn next(s: &Snapshot, record: &Record, plan: &mut Plan) {
    let outdated = outdated(s, record);
    let shortage = shortage(s, record);
    let planned = wanted_move(s, record);
    if outdated.is_empty() && planned.is_none() && !leaving_master(record, s) {
        return;
    }
    if !outdated.is_empty() {
        let names: Vec<&str> = outdated.iter().map(|(name, _)| name.as_str()).collect();
        plan.progressing("Rolling", format!("to be made again: {}", names.join(", ")));
    }
    if plan.actions.iter().any(Action::is_disruptive) || paused(s) {
        return;
    }
    if let Some((name, pod)) = outdated.iter().find(|(_, pod)| !pod.ready && !pod.deleting) {
        return replace(plan, name, pod, "it does not work, and its template has changed");
    }
    if let Some(what) = shortage {
        return plan.progressing("WaitingToRoll", format!("nothing is taken down while {what}"));
    }
    if let Some((shard, to)) = planned {
        if s.desired.sentinels > 0 {
            let Some(sentinel) =
                s.sentinels.iter().find(|(_, probe)| probe.answer.is_ok()).map(|(at, _)| at.clone())
            else {
                return;
            };
            plan.progressing(
                "SwitchingOver",
                format!("shard {shard}: {} is to take over", pod_of(to.as_str())),
            );
            plan.news(
                "SwitchoverAsked",
                format!("the sentinels are asked to make {} master of shard {shard}", pod_of(to.as_str())),
            );
            plan.actions.push(Action::Switchover { sentinel, shard, to });
        }
        return;
    }
    let master = |name: &String| {
        record
            .map
            .shards
            .iter()
            .any(|shard| shard.master.as_ref().is_some_and(|m| pod_of(m.as_str()) == name))
    };
    // A master goes only where there is nobody to take over from it.
    let choice = outdated
        .iter()
        .find(|(name, _)| !master(name))
        .or_else(|| outdated.first().filter(|_| s.desired.replicas == 0));
    if let Some((name, pod)) = choice {
        replace(plan, name, pod, "its template has changed");
    }
}

/// The planned move that is due: a master that is to leave, or the last of its shard with an old template. Only while
/// all is well.
pub(super) fn wanted_move(s: &Snapshot, record: &Record) -> Option<(u32, NodeAddr)> {
    if shortage(s, record).is_some() || paused(s) || !record.elections.is_empty() {
        return None;
    }
    let outdated = outdated(s, record);
    let old = |member: &NodeAddr| outdated.iter().any(|(name, _)| *name == pod_of(member.as_str()));
    record.map.shards.iter().find_map(|shard| {
        let master = shard.master.as_ref()?;
        let last = old(master) && !shard.members.iter().any(|member| member != master && old(member));
        if !leaves(s, shard, master) && !last {
            return None;
        }
        let stays =
            |member: &&NodeAddr| *member != master && !leaves(s, shard, member) && s.in_sync(shard, member);
        let best = shard.members.iter().filter(stays).max_by_key(|member| {
            let ordinal = shard.members.iter().position(|m| m == *member).unwrap_or(0);
            (s.status(member).map(|status| status.offset), std::cmp::Reverse(ordinal))
        })?;
        Some((shard.index, best.clone()))
    })
}

fn leaving_master(record: &Record, s: &Snapshot) -> bool {
    record.map.shards.iter().any(|shard| shard.master.as_ref().is_some_and(|master| leaves(s, shard, master)))
}

fn leaves(s: &Snapshot, shard: &Shard, member: &NodeAddr) -> bool {
    shard
        .members
        .iter()
        .position(|m| m == member)
        .is_some_and(|ordinal| ordinal as u32 >= s.desired.members_per_shard())
}

fn paused(s: &Snapshot) -> bool {
    s.now_ms.saturating_sub(s.last_disruption_ms) < DISRUPTION_PAUSE_MS
}

/// Pods that were made from another template than the present one, by name.
fn outdated<'a>(s: &'a Snapshot, record: &Record) -> Vec<(&'a String, &'a PodView)> {
    let mut all = Vec::new();
    for (name, set) in objects::sets(s, record) {
        let prefix = format!("{name}-");
        all.extend(s.pods.iter().filter(|(pod, view)| {
            let ours =
                pod.strip_prefix(&prefix).is_some_and(|ordinal| ordinal.bytes().all(|b| b.is_ascii_digit()));
            ours && view.template.as_ref() != Some(&set.template)
        }));
    }
    all
}

/// What is missing, if anything: then nothing is to be taken down.
fn shortage(s: &Snapshot, record: &Record) -> Option<String> {
    let map = &record.map;
    if super::topology::changes(map) {
        return Some("members are being changed".into());
    }
    if let Some((name, _)) = s.pods.iter().find(|(_, pod)| pod.deleting) {
        return Some(format!("{name} is being deleted"));
    }
    for shard in &map.shards {
        let Some(master) = s.master(shard) else {
            return Some(format!("shard {} has no master", shard.index));
        };
        for member in shard.members.iter().filter(|member| **member != master.node) {
            if !s.in_sync(shard, member) {
                return Some(format!("{} is not in sync", pod_of(member.as_str())));
            }
        }
    }
    map.sentinels
        .iter()
        .find(|sentinel| s.sentinels.get(*sentinel).is_none_or(|probe| probe.answer.is_err()))
        .map(|sentinel| format!("{} does not answer", pod_of(sentinel.as_str())))
}

fn replace(plan: &mut Plan, name: &str, pod: &PodView, why: &str) {
    plan.news("PodReplaced", format!("{name} is made again: {why}"));
    plan.actions.push(Action::DeletePod { pod: name.to_owned(), uid: pod.uid.clone() });
}
