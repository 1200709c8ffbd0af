//! Which objects must be applied, and with how many pods.

use super::{Action, Plan};
use crate::render::{self, Kind, Object, Set, Shape};
use crate::snapshot::{Record, Snapshot};

/// Applies what is not there as it should be.
pub(super) fn apply(s: &Snapshot, record: &Record, plan: &mut Plan) {
    for object in render::surroundings(&s.desired) {
        ensure(s, object, plan);
    }
    if let Some(directives) = super::config::to_write(s, record) {
        ensure(s, render::config(&s.desired, directives), plan);
    }
    for (_, set) in sets(s, record) {
        ensure(s, set.object, plan);
    }
}

/// The StatefulSets as they should be now, by name.
pub(super) fn sets(s: &Snapshot, record: &Record) -> Vec<(String, Set)> {
    let desired = &s.desired;
    let shape = |name: &String, wanted: u32| {
        let present = s.sets.get(name);
        let pods = match present {
            // Pods leave only when nothing is being changed any more.
            Some(set) if super::topology::changes(&record.map) => set.pods.max(wanted),
            _ => wanted,
        };
        Shape { pods, claim: present.and_then(|set| set.claim.clone()) }
    };
    let mut all: Vec<(String, Set)> = (0..desired.masters)
        .map(|shard| {
            let name = desired.shard_name(shard);
            let members = record.map.shard(shard).map_or(0, |shard| shard.members.len() as u32);
            let shape = shape(&name, members.max(desired.members_per_shard()));
            (name, render::shard(desired, &s.settings, shard, &shape))
        })
        .collect();
    if desired.sentinels > 0 {
        let name = desired.sentinel_name();
        let shape = shape(&name, desired.sentinels.max(record.map.sentinels.len() as u32));
        all.push((name, render::sentinels(desired, &s.settings, &shape)));
    }
    all
}

/// Lets the claims grow that are smaller than asked for.
pub(super) fn grow(s: &Snapshot, plan: &mut Plan) {
    let Some(volume) = &s.desired.volume else { return };
    for (claim, bytes) in &s.claims {
        if *bytes >= volume.bytes {
            continue;
        }
        match s.failures.claims.get(claim) {
            Some(why) => {
                plan.degraded("VolumeCannotGrow", format!("{claim} cannot grow to {}: {why}", volume.size))
            }
            None => {
                plan.news("VolumeGrows", format!("{claim} grows to {}", volume.size));
                plan.actions.push(Action::GrowClaim { claim: claim.clone(), size: volume.size.clone() });
            }
        }
    }
}

fn ensure(s: &Snapshot, object: Object, plan: &mut Plan) {
    let at = (object.kind, object.name.clone());
    match s.objects.get(&at) {
        Some(existing) if existing.foreign => {
            let (kind, name) = (object.kind.name(), object.name);
            plan.degraded(
                "NameTaken",
                format!("the {kind} {name} belongs to somebody else; it is not touched"),
            );
        }
        Some(existing) if existing.hash.as_ref() == Some(&object.hash) && !existing.stale => {}
        existing => {
            if existing.is_none() && object.kind == Kind::StatefulSet {
                plan.news("Created", format!("made the StatefulSet {}", object.name));
            }
            plan.actions.push(Action::Apply(Box::new(object)));
        }
    }
}
