//! Elections where there are no sentinels: the operator is the authority.
//!
//! The epoch is written down before a promise is asked for, the result before it is offered; so an operator that was
//! restarted in between, or another one that took over, goes on with the same election.

use datanode::election::{self, Decision, Election};
use datanode::shardmap::{NodeAddr, NodeRole, NodeStatus, Shard};

use super::{Action, Plan, roll};
use crate::crd::desired::pod_of;
use crate::snapshot::{ElectionRecord, Failure, Record, Snapshot};

/// A process that refuses connections is dead, but it may be one that is just starting: so long it is waited for.
const REFUSED_MS: u64 = 300;

/// Begins the elections that are needed, gives up planned moves that failed, and raises the epoch of an election where
/// a member has promised a later one.
pub(super) fn begin(s: &Snapshot, record: &mut Record, plan: &mut Plan) {
    if let Some((epoch, why)) = &s.failures.handover {
        record.elections.retain(|index, election| {
            let failed = election.preferred.is_some() && election.epoch == *epoch;
            if failed {
                plan.warn("SwitchoverFailed", format!("shard {index}: {why}; its master goes on"));
            }
            !failed
        });
    }
    let planned = roll::wanted_move(s, record);
    for shard in &record.map.shards {
        let promised =
            shard.members.iter().filter_map(|m| s.status(m)).map(|status| status.promised).max().unwrap_or(0);
        // Nor is the epoch of a planned move that failed used again: its failure is remembered by it.
        let failed = s.failures.handover.as_ref().map_or(0, |(epoch, _)| *epoch);
        let next = shard.epoch.max(promised).max(failed) + 1;
        if let Some(election) = record.elections.get_mut(&shard.index) {
            if promised > election.epoch {
                election.epoch = next;
            }
            // A master that has promised this very epoch has stepped down as planned.
            let stepped_down = shard
                .master
                .as_ref()
                .and_then(|master| s.status(master))
                .is_some_and(|status| status.promised == election.epoch);
            if election.preferred.is_some() && !stepped_down && master_lost(s, shard).is_some() {
                // What was planned is overtaken: now it is a failover.
                election.preferred = None;
            }
            continue;
        }
        let preferred = planned.as_ref().filter(|(index, _)| *index == shard.index).map(|(_, to)| to.clone());
        let why = match (&preferred, master_lost(s, shard)) {
            (_, Some(why)) => why,
            (Some(to), None) => format!("planned move to {}", pod_of(to.as_str())),
            (None, None) => continue,
        };
        plan.news("ElectionStarted", format!("shard {}, epoch {next}: {why}", shard.index));
        record.elections.insert(shard.index, ElectionRecord { epoch: next, started_ms: s.now_ms, preferred });
    }
}

/// Carries the elections on.
pub(super) fn elect(s: &Snapshot, record: &Record, plan: &mut Plan) {
    let mut next = record.clone();
    for (index, election) in &record.elections {
        let Some(shard) = record.map.shard(*index) else { continue };
        // What a process has promised says nothing of the one that was started after it: it may hold less.
        let still = |p: &&NodeStatus| s.status(&p.node).is_none_or(|now| now.run_id == p.run_id);
        let promises: Vec<NodeStatus> =
            s.promises.get(index).into_iter().flatten().filter(still).cloned().collect();
        let current = promises.iter().filter(|p| p.promised == election.epoch).count();
        let ask: Vec<NodeAddr> = shard
            .members
            .iter()
            .filter(|member| s.status(member).is_some())
            .filter(|member| {
                !promises.iter().any(|p| p.node == **member && p.promised == election.epoch && !p.loading)
            })
            .cloned()
            .collect();
        if let (Some(to), 0, Some(master)) = (&election.preferred, current, &shard.master) {
            plan.progressing(
                "SwitchingOver",
                format!("shard {index}: {} is to take over", pod_of(to.as_str())),
            );
            plan.actions.push(Action::Handover {
                shard: *index,
                master: master.clone(),
                to: to.clone(),
                epoch: election.epoch,
                timeout_ms: record.map.failover_timeout_ms,
            });
            plan.actions.push(Action::AskPromises { shard: *index, epoch: election.epoch, members: ask });
            continue;
        }
        let absent: Vec<NodeAddr> = shard
            .members
            .iter()
            .filter(|member| {
                s.members
                    .get(*member)
                    .is_none_or(|probe| matches!(probe.answer, Err(Failure::Absent | Failure::Refused)))
            })
            .cloned()
            .collect();
        // Shards are founded in one moment: each needs an id of its own.
        let fresh = format!("{}{index:04x}", &s.fresh_dataset[..36]);
        let decision = election::decide(&Election {
            map: &record.map,
            shard,
            epoch: election.epoch,
            promises: &promises,
            absent: &absent,
            started_ms: election.started_ms,
            now_ms: s.now_ms,
            preferred: election.preferred.as_ref(),
            fresh_dataset: &fresh,
        });
        match decision {
            Decision::Elect(elected) => {
                let name = pod_of(elected.master.as_str()).to_owned();
                if elected.founded {
                    plan.news(
                        "DatasetFounded",
                        format!("{name} founds the dataset of shard {index} at epoch {}", elected.epoch),
                    );
                } else {
                    let offset = promises.iter().find(|p| p.node == elected.master).map_or(0, |p| p.offset);
                    plan.news(
                        "Promoted",
                        format!(
                            "{name} is master of shard {index} at epoch {}, offset {offset}",
                            elected.epoch
                        ),
                    );
                }
                if let Some(shard) = next.map.shard_mut(*index) {
                    elected.apply(shard);
                }
                next.elections.remove(index);
            }
            Decision::Wait(reason) => {
                plan.progressing("Electing", format!("shard {index}, epoch {}: {reason}", election.epoch));
                ask_again(plan, *index, election.epoch, ask);
            }
            Decision::AtRisk(reason) => {
                plan.at_risk("ElectionUnsafe", format!("shard {index}: {reason}"));
                ask_again(plan, *index, election.epoch, ask);
            }
        }
    }
    if next != *record {
        plan.actions.push(Action::SaveRecord(Box::new(next)));
    }
}

fn ask_again(plan: &mut Plan, shard: u32, epoch: u64, members: Vec<NodeAddr>) {
    if !members.is_empty() {
        plan.actions.push(Action::AskPromises { shard, epoch, members });
    }
}

/// Why the shard needs another master, if it does.
fn master_lost(s: &Snapshot, shard: &Shard) -> Option<String> {
    let Some(master) = &shard.master else {
        let anyone = shard.members.iter().any(|member| s.status(member).is_some());
        return anyone.then(|| "it has no master yet".to_owned());
    };
    let name = pod_of(master.as_str());
    let Some(probe) = s.members.get(master) else { return Some(format!("{name} is no member any more")) };
    let silent = s.silence_ms(probe);
    let limit = s.desired.down_after.as_millis() as u64;
    match &probe.answer {
        // It knows that it was chosen and yet is not master: it was started again since.
        Ok(answer) => (answer.status.map_epoch >= shard.epoch && answer.status.role != NodeRole::Master)
            .then(|| format!("{name} was restarted")),
        Err(Failure::Refused) => {
            (silent >= REFUSED_MS.min(limit)).then(|| format!("{name} is dead: it refuses connections"))
        }
        Err(Failure::Absent) if s.pod(master).is_none_or(|pod| pod.deleting) => {
            Some(format!("{name} is gone"))
        }
        // The others will not be told anything with this password either.
        Err(failure) if failure.is_about_the_password() => None,
        Err(failure) => (silent >= limit).then(|| format!("{name} {failure} for {silent} ms")),
    }
}
