//! The role labels by which Services choose, and what is to be said of members that are not well.

use datanode::shardmap::{NodeAddr, NodeRole, Shard, ShardState};

use super::{Action, Plan};
use crate::crd::desired::pod_of;
use crate::snapshot::{Failure, Record, Snapshot};

/// Sets the role labels: a pod is master only while it says so itself at the map's epoch.
pub(super) fn labels(s: &Snapshot, record: &Record, plan: &mut Plan) {
    for shard in &record.map.shards {
        // Take the label from the old one before the new one gets it.
        let mut set = Vec::new();
        for member in &shard.members {
            let Some(pod) = s.pod(member) else { continue };
            let role = role(s, shard, member, pod.role.as_deref());
            if pod.role.as_deref() != role {
                set.push((role == Some("master"), pod_of(member.as_str()).to_owned(), pod.uid.clone(), role));
            }
        }
        set.sort();
        for (master, pod, uid, role) in set {
            if master {
                plan.news("MasterLabelled", format!("{pod} takes the writes of shard {}", shard.index));
            }
            plan.actions.push(Action::Label { pod, uid, role });
        }
    }
}

fn role(s: &Snapshot, shard: &Shard, member: &NodeAddr, present: Option<&str>) -> Option<&'static str> {
    let is_master = shard.master.as_ref() == Some(member);
    match s.status(member) {
        Some(status) if status.map_epoch >= shard.epoch => match status.role {
            NodeRole::Master if is_master && status.writable => Some("master"),
            NodeRole::Replica => Some("replica"),
            _ => None,
        },
        Some(_) => None,
        // Whether it can serve is for its readiness probe to say; only a master's label is never left on another.
        None => match present {
            Some("master") if is_master => Some("master"),
            Some("replica") if !is_master => Some("replica"),
            _ => None,
        },
    }
}

/// Says what is wrong with members and sentinels.
pub(super) fn examine(s: &Snapshot, record: &Record, plan: &mut Plan) {
    for shard in &record.map.shards {
        match s.master(shard) {
            None => {
                plan.progressing("NoMaster", format!("shard {} has no master that takes writes", shard.index))
            }
            Some(master) if master.fenced => {
                plan.degraded(
                    "MasterFenced",
                    format!(
                        "{} is master and takes no writes: it does not hear of a majority of the sentinels",
                        pod_of(master.node.as_str())
                    ),
                );
            }
            Some(master) if !master.writable => {
                plan.degraded(
                    "MasterNotWritable",
                    format!("{} is master and does not take writes", pod_of(master.node.as_str())),
                );
            }
            Some(_) => {}
        }
        for member in &shard.members {
            examine_member(s, shard, member, plan);
        }
    }
    for sentinel in &record.map.sentinels {
        let Some(probe) = s.sentinels.get(sentinel) else { continue };
        let name = pod_of(sentinel.as_str());
        match &probe.answer {
            Err(failure) => trouble(s, sentinel, failure, plan),
            Ok(answer) => {
                for view in answer.status.shards.iter().filter(|view| view.state == ShardState::AtRisk) {
                    plan.at_risk("ElectionUnsafe", format!("{name}, shard {}: {}", view.index, view.reason));
                }
            }
        }
    }
    plan.findings.at_risk.dedup();
}

fn examine_member(s: &Snapshot, shard: &Shard, member: &NodeAddr, plan: &mut Plan) {
    let name = pod_of(member.as_str());
    let Some(probe) = s.members.get(member) else { return };
    let status = match &probe.answer {
        Ok(answer) => &answer.status,
        Err(failure) => return trouble(s, member, failure, plan),
    };
    if let Some(error) = &status.restore_error {
        plan.degraded("RestoreFailed", format!("{name} cannot load its data: {error}"));
    }
    if let Some(error) = &status.disk_error {
        plan.degraded("DiskError", format!("{name} cannot write its disk: {error}"));
    }
    if let (Some(theirs), Some(ours)) = (&status.dataset, &shard.dataset)
        && theirs != ours
    {
        plan.degraded("ForeignDataset", format!("{name} holds another dataset, {theirs}"));
    }
    if status.loading {
        plan.progressing("Loading", format!("{name} loads its data"));
    } else if shard.master.as_ref() != Some(member) && !s.in_sync(shard, member) {
        plan.progressing("Syncing", format!("{name} is not in sync with its master yet"));
    }
}

/// A pod that does not answer: while it starts that is no trouble yet.
fn trouble(s: &Snapshot, place: &NodeAddr, failure: &Failure, plan: &mut Plan) {
    let name = pod_of(place.as_str());
    if let Some(why) = s.pod(place).and_then(|pod| pod.trouble.as_ref()) {
        return plan.degraded("PodFailing", format!("{name}: {why}"));
    }
    match failure {
        Failure::Error(text) if failure.is_about_the_password() => {
            plan.degraded(
                "WrongPassword",
                format!("{name} does not accept the password of the Secret {}: {text}", s.desired.secret),
            );
        }
        Failure::Error(text) => plan.degraded("MemberFails", format!("{name} answers {text}")),
        _ if s.pod(place).is_none_or(|pod| !pod.ready) => {
            plan.progressing("Starting", format!("{name} {failure}"))
        }
        // Since when is the condition's to say: a text that changed with time would be news again and again.
        failure => plan.degraded("MemberUnreachable", format!("{name} {failure}")),
    }
}
