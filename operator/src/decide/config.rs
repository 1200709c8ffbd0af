//! Configuration of what runs already.
//!
//! A change is told to the members first, and written down for pods to start with only when those who answer have
//! taken it: what a member refuses would keep it from starting. Where nobody answers it is written at once, for it may
//! be the cure.

use std::collections::BTreeMap;

use datanode::shardmap::{NodeAddr, NodeStatus};
use serde_json::json;

use super::{Action, Plan};
use crate::crd::desired::pod_of;
use crate::render::{hash, live_directives};
use crate::snapshot::{Record, Snapshot};

type Directives = BTreeMap<String, String>;

/// The directives to write into the ConfigMap now: those asked for, or the former ones while members are being told.
pub(super) fn to_write<'a>(s: &'a Snapshot, record: &Record) -> Option<&'a Directives> {
    match &s.config {
        Some(written) if live_directives(written) != live_directives(&s.desired.directives) => {
            Some(if untold(s, record).is_empty() { &s.desired.directives } else { written })
        }
        _ => Some(&s.desired.directives),
    }
}

/// Tells the members that have not been told.
pub(super) fn configure(s: &Snapshot, record: &Record, plan: &mut Plan) {
    let directives = live_directives(&s.desired.directives);
    let hash = hash_of(&directives);
    if let Some((refused, why)) = &s.failures.config
        && *refused == hash
    {
        return plan.degraded("ConfigRefused", format!("{why}; the former configuration stays"));
    }
    for (member, status) in untold(s, record) {
        let Some(pod) = s.pod(&member) else { continue };
        plan.actions.push(Action::Configure {
            pod: (pod_of(member.as_str()).to_owned(), pod.uid.clone()),
            member,
            directives: directives.clone(),
            hash: hash.clone(),
            run_id: status.run_id.clone(),
        });
    }
}

/// Note on a pod that this process was told these directives.
pub fn note(hash: &str, run_id: &str) -> String {
    format!("{hash}/{run_id}")
}

fn hash_of(directives: &Directives) -> String {
    hash(&json!(directives).to_string())
}

fn untold<'a>(s: &'a Snapshot, record: &Record) -> Vec<(NodeAddr, &'a NodeStatus)> {
    let hash = hash_of(&live_directives(&s.desired.directives));
    let members = record.map.shards.iter().flat_map(|shard| &shard.members);
    members
        .filter_map(|member| Some((member.clone(), s.status(member)?)))
        .filter(|(member, status)| {
            let told = s.pod(member).and_then(|pod| pod.config.as_ref());
            !status.loading && told != Some(&note(&hash, &status.run_id))
        })
        .collect()
}
