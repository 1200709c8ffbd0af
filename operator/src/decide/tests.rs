//! Decisions in a small world that obeys them: whatever is asked for is reached, and then nothing more is done.

use std::collections::{BTreeMap, BTreeSet};

use datanode::shardmap::{NodeAddr, NodeRole, NodeStatus, SentinelStatus, Shard, ShardMap};
use serde_json::{Value, json};

use super::*;
use crate::crd::desired::{Desired, pod_of, tests::desired};
use crate::render::{Kind, Settings, TEMPLATE};
use crate::snapshot::{Answer, Existing, Failure, Failures, PodView, Probe, SetView};

/// Steps in which every change must have been reached.
const ENOUGH: usize = 200;
/// Time of a step, milliseconds.
const STEP_MS: u64 = 500;

/// A member's process, as far as the operator sees it.
struct Node {
    up: bool,
    silent_since_ms: u64,
    status: NodeStatus,
    map: Option<ShardMap>,
    /// The epoch at which it was master in an earlier life.
    was_master: u64,
}

struct World {
    now_ms: u64,
    desired: Desired,
    settings: Settings,
    secret: Secret,
    objects: BTreeMap<(Kind, String), Existing>,
    sets: BTreeMap<String, SetView>,
    templates: BTreeMap<String, String>,
    pods: BTreeMap<String, PodView>,
    config: Option<BTreeMap<String, String>>,
    record: Option<Record>,
    version: u64,
    nodes: BTreeMap<NodeAddr, Node>,
    /// The map the sentinels agree on.
    sentinel_map: Option<ShardMap>,
    sentinels_up: bool,
    promises: BTreeMap<u32, Vec<NodeStatus>>,
    failures: Failures,
    claims: BTreeMap<String, u64>,
    last_disruption_ms: u64,
    refuse_config: bool,
    fail_handover: bool,
    runs: u64,
    /// Since when nobody accepts the password of the Secret.
    locked_since_ms: Option<u64>,
    reasons: BTreeSet<&'static str>,
    deleted: Vec<String>,
}

impl World {
    fn new(spec: Value) -> Self {
        Self {
            now_ms: 1_000_000,
            desired: desired(spec),
            settings: Settings { image: "datanode:1".into(), pull_policy: "Never".into() },
            secret: Secret::Absent,
            objects: BTreeMap::new(),
            sets: BTreeMap::new(),
            templates: BTreeMap::new(),
            pods: BTreeMap::new(),
            config: None,
            record: None,
            version: 0,
            nodes: BTreeMap::new(),
            sentinel_map: None,
            sentinels_up: true,
            promises: BTreeMap::new(),
            failures: Failures::default(),
            claims: BTreeMap::new(),
            last_disruption_ms: 0,
            refuse_config: false,
            fail_handover: false,
            runs: 0,
            locked_since_ms: None,
            reasons: BTreeSet::new(),
            deleted: Vec::new(),
        }
    }

    /// A world in which this spec has been reached.
    fn reached(spec: Value) -> Self {
        let mut world = Self::new(spec);
        world.settle();
        world
    }

    fn snapshot(&self) -> Snapshot {
        let members = self.nodes.iter().map(|(at, node)| {
            let answer = match node.up && self.pods.contains_key(pod_of(at.as_str())) {
                true => Ok(Answer { status: node.status.clone(), map: node.map.clone() }),
                false if !self.pods.contains_key(pod_of(at.as_str())) => Err(Failure::Absent),
                false => Err(Failure::Silent),
            };
            let silent_since_ms = if node.up { self.now_ms } else { node.silent_since_ms };
            match self.locked_since_ms {
                Some(silent_since_ms) if answer.is_ok() => {
                    let answer = Err(Failure::Error("WRONGPASS invalid username-password pair".into()));
                    (at.clone(), Probe { answer, silent_since_ms })
                }
                _ => (at.clone(), Probe { answer, silent_since_ms }),
            }
        });
        let sentinels = (0..self.desired.sentinels).map(|ordinal| {
            let at: NodeAddr = self.desired.sentinel(ordinal).parse().unwrap();
            let status = SentinelStatus {
                node: at.clone(),
                run_id: "s".into(),
                generation: self.sentinel_map.as_ref().map_or(0, |map| map.generation),
                shards: Vec::new(),
            };
            let there = self.sentinels_up && self.pods.contains_key(pod_of(at.as_str()));
            let answer = if there {
                Ok(Answer { status, map: self.sentinel_map.clone() })
            } else {
                Err(Failure::Absent)
            };
            (at, Probe { answer, silent_since_ms: self.now_ms })
        });
        Snapshot {
            now_ms: self.now_ms,
            desired: self.desired.clone(),
            settings: self.settings.clone(),
            secret: self.secret,
            objects: self.objects.clone(),
            sets: self.sets.clone(),
            pods: self.pods.clone(),
            claims: self.claims.clone(),
            config: self.config.clone(),
            record: self.record.clone(),
            members: members.collect(),
            sentinels: sentinels.collect(),
            promises: self.promises.clone(),
            failures: self.failures.clone(),
            last_disruption_ms: self.last_disruption_ms,
            fresh_dataset: "ab".repeat(20),
        }
    }

    /// One look: decides, carries out, lets time pass.
    fn step(&mut self) -> Plan {
        let snapshot = self.snapshot();
        let plan = decide(&snapshot);
        assert!(
            plan.actions.iter().filter(|action| action.is_disruptive()).count() <= 1,
            "{:?}",
            plan.actions
        );
        for note in &plan.notes {
            self.reasons.insert(note.reason);
        }
        for action in &plan.actions {
            if !self.carry_out(action) {
                break;
            }
        }
        self.live();
        self.now_ms += STEP_MS;
        plan
    }

    /// Steps until a look finds nothing to do and nothing to say, for longer than any pause.
    fn settle(&mut self) -> usize {
        let mut calm = 0;
        for step in 0..ENOUGH {
            let plan = self.step();
            calm = if plan.actions.is_empty() && plan.findings == Findings::default() { calm + 1 } else { 0 };
            if calm > 12 {
                return step;
            }
        }
        panic!("not reached: {:#?}", decide(&self.snapshot()));
    }

    fn carry_out(&mut self, action: &Action) -> bool {
        if action.is_disruptive() {
            self.last_disruption_ms = self.now_ms;
        }
        match action {
            Action::CreateSecret => self.secret = Secret::Usable,
            Action::Apply(object) => self.apply(object),
            Action::SaveRecord(record) => {
                assert_eq!(
                    record.resource_version,
                    self.record.as_ref().and_then(|r| r.resource_version.clone())
                );
                if let Some(known) = &self.record {
                    let mut merged = known.map.clone();
                    merged.merge(&record.map);
                    assert_eq!(merged, record.map, "a record never goes back");
                }
                record.map.validate().unwrap();
                self.version += 1;
                let mut record = (**record).clone();
                record.resource_version = Some(self.version.to_string());
                self.promises.retain(|shard, _| record.elections.contains_key(shard));
                self.record = Some(record);
            }
            Action::Offer { to, map } => match self.nodes.get_mut(to) {
                Some(node) => node.take(map, to),
                None => merge(&mut self.sentinel_map, map),
            },
            Action::Label { pod, uid, role } => {
                let pod = self.pods.get_mut(pod).unwrap();
                assert_eq!(pod.uid, *uid);
                pod.role = role.map(str::to_owned);
            }
            Action::Configure { pod, hash, run_id, .. } => {
                if self.refuse_config {
                    self.failures.config =
                        Some((hash.clone(), "orders-0-0 refuses the configuration: ERR no".into()));
                    return false;
                }
                self.pods.get_mut(&pod.0).unwrap().config = Some(config_note(hash, run_id));
            }
            Action::AskPromises { shard, epoch, members } => {
                assert_eq!(
                    self.record.as_ref().unwrap().elections[shard].epoch,
                    *epoch,
                    "written down first"
                );
                for member in members {
                    let node = self.nodes.get_mut(member).unwrap();
                    if node.up && node.status.promised <= *epoch {
                        node.status.promised = *epoch;
                        // Whoever promises a later epoch steps down, and waits for its map.
                        if node.status.map_epoch < *epoch {
                            node.status.role = NodeRole::Nobody;
                        }
                        let promises = self.promises.entry(*shard).or_default();
                        promises.retain(|promise| promise.node != *member);
                        promises.push(node.status.clone());
                    }
                }
            }
            Action::Handover { epoch, .. } => {
                if self.fail_handover {
                    self.failures.handover = Some((*epoch, "orders-0-1 did not catch up".into()));
                    return false;
                }
            }
            Action::Switchover { shard, to, .. } => self.promote(*shard, to.clone()),
            Action::DeletePod { pod, uid } => {
                assert_eq!(self.pods[pod].uid, *uid);
                self.deleted.push(pod.clone());
                self.restart(pod);
            }
            Action::GrowClaim { claim, .. } => {
                self.claims.insert(claim.clone(), self.desired.volume.as_ref().unwrap().bytes);
            }
        }
        true
    }

    fn apply(&mut self, object: &Object) {
        let existing = Existing { hash: Some(object.hash.clone()), foreign: false, stale: false };
        self.objects.insert((object.kind, object.name.clone()), existing);
        if object.kind == Kind::ConfigMap {
            let text = object.body["data"]["directives.json"].as_str().unwrap();
            self.config = Some(serde_json::from_str(text).unwrap());
        }
        if object.kind != Kind::StatefulSet {
            return;
        }
        let spec = &object.body["spec"];
        let pods = spec["replicas"].as_u64().unwrap() as u32;
        let size = spec.pointer("/volumeClaimTemplates/0/spec/resources/requests/storage");
        let claim = size.map(|size| size.as_str().unwrap().to_owned());
        if let Some(known) = self.sets.get(&object.name) {
            assert_eq!(known.claim, claim, "claim templates cannot be changed");
        }
        self.sets.insert(object.name.clone(), SetView { pods, claim });
        let template = spec["template"]["metadata"]["annotations"][TEMPLATE].as_str().unwrap();
        self.templates.insert(object.name.clone(), template.to_owned());
        let prefix = format!("{}-", object.name);
        self.pods.retain(|name, _| match name.strip_prefix(&prefix).and_then(|o| o.parse::<u32>().ok()) {
            Some(ordinal) => ordinal < pods,
            None => true,
        });
        for ordinal in 0..pods {
            let name = format!("{}-{ordinal}", object.name);
            if !self.pods.contains_key(&name) {
                self.restart(&name);
            }
        }
    }

    /// Makes a pod, or makes it again: a new process on the same volume.
    fn restart(&mut self, pod: &str) {
        self.runs += 1;
        let set = pod.rsplit_once('-').unwrap().0;
        let view = PodView {
            uid: format!("uid-{}", self.runs),
            ready: true,
            template: Some(self.templates[set].clone()),
            ..PodView::default()
        };
        self.pods.insert(pod.to_owned(), view);
        if set.ends_with("sentinel") {
            return;
        }
        let (_, shard) = set.rsplit_once('-').unwrap();
        let (shard, ordinal) = (shard.parse().unwrap(), pod.rsplit_once('-').unwrap().1.parse().unwrap());
        let at: NodeAddr = self.desired.member(shard, ordinal).parse().unwrap();
        let node = self.nodes.entry(at.clone()).or_insert_with(|| Node::new(at, shard));
        if node.status.role == NodeRole::Master {
            node.was_master = node.status.epoch;
        }
        node.up = true;
        node.status.role = NodeRole::Nobody;
        node.status.run_id = format!("run-{}", self.runs);
        node.status.writable = false;
        // It waits to be told its role: what it has kept of the map may be old.
    }

    /// The sentinels make somebody master.
    fn promote(&mut self, shard: u32, to: NodeAddr) {
        let map = self.sentinel_map.as_mut().unwrap();
        let shard = map.shard_mut(shard).unwrap();
        shard.epoch += 1;
        shard.master = Some(to);
        if shard.dataset.is_none() {
            shard.dataset = Some("cd".repeat(20));
            shard.founded_at = shard.epoch;
        }
    }

    /// Sentinels decide and tell, masters write, replicas follow.
    fn live(&mut self) {
        if self.sentinels_up && self.desired.sentinels > 0 {
            let shards: Vec<Shard> = self.sentinel_map.iter().flat_map(|map| map.shards.clone()).collect();
            for shard in shards {
                let fine = |at: &NodeAddr| self.nodes.get(at).is_some_and(|node| node.up);
                let master = shard.master.as_ref().and_then(|at| self.nodes.get(at));
                let serves = master.is_some_and(|n| n.up && n.status.role == NodeRole::Master);
                let aware = master.is_some_and(|n| !n.up || n.status.map_epoch >= shard.epoch);
                let found = shard.master.is_none() && shard.members.iter().all(&fine);
                if found || (shard.master.is_some() && !serves && aware) {
                    let best = shard
                        .members
                        .iter()
                        .filter(|at| fine(at))
                        .max_by_key(|at| self.nodes[*at].status.offset);
                    if let Some(best) = best.cloned() {
                        self.promote(shard.index, best);
                    }
                }
            }
            if let Some(map) = self.sentinel_map.clone() {
                for (at, node) in self.nodes.iter_mut().filter(|(_, node)| node.up) {
                    node.take(&map, at);
                }
            }
        }
        let masters: Vec<(NodeAddr, NodeStatus)> = self
            .nodes
            .iter_mut()
            .filter(|(_, node)| node.up && node.status.role == NodeRole::Master)
            .map(|(at, node)| {
                node.status.offset += 10;
                (at.clone(), node.status.clone())
            })
            .collect();
        for node in self.nodes.values_mut().filter(|node| node.up && node.status.role == NodeRole::Replica) {
            let master = masters.iter().find(|(at, _)| Some(at) == node.status.master_host.as_ref());
            node.status.link_up = master.is_some();
            if let Some((_, master)) = master {
                node.status.offset = master.offset;
                node.status.epoch = master.epoch;
                node.status.dataset = master.dataset.clone();
            }
        }
    }

    fn kill(&mut self, pod: &str) {
        let now = self.now_ms;
        let node = self.nodes.iter_mut().find(|(at, _)| pod_of(at.as_str()) == pod).unwrap().1;
        node.up = false;
        node.silent_since_ms = now;
        node.was_master = node.status.epoch;
        self.pods.get_mut(pod).unwrap().ready = false;
    }

    fn map(&self) -> &ShardMap {
        &self.record.as_ref().unwrap().map
    }

    fn master(&self, shard: u32) -> String {
        pod_of(self.map().shard(shard).unwrap().master.as_ref().unwrap().as_str()).to_owned()
    }

    fn labelled(&self, role: &str) -> Vec<&str> {
        self.pods
            .iter()
            .filter(|(_, pod)| pod.role.as_deref() == Some(role))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    fn change(&mut self, spec: Value) {
        self.desired = desired(spec);
        self.failures = Failures::default();
    }
}

impl Node {
    fn new(at: NodeAddr, shard: u32) -> Self {
        let status = json!({
            "node": at, "shard": shard, "role": "nobody", "epoch": 0, "offset": 0, "dataset": null, "promised": 0,
            "mapEpoch": 0, "generation": 0, "runId": "", "startedAtMs": 0, "intact": true, "loading": false,
            "linkUp": false, "syncing": false, "lagMs": 0, "masterHost": null, "writable": false, "keys": 0,
            "usedMemory": 0, "diskError": null, "restoreError": null, "replicas": []
        });
        let status = serde_json::from_value(status).unwrap();
        Self { up: true, silent_since_ms: 0, status, map: None, was_master: 0 }
    }

    fn take(&mut self, map: &ShardMap, me: &NodeAddr) {
        merge(&mut self.map, map);
        let map = self.map.as_ref().unwrap();
        self.status.generation = map.generation;
        let Some(shard) = map.shard_of(me) else {
            self.status.role = NodeRole::Nobody;
            self.status.writable = false;
            return;
        };
        self.status.map_epoch = shard.epoch;
        self.status.master_host = shard.master.clone();
        self.status.promised = self.status.promised.max(shard.epoch);
        if shard.master.as_ref() == Some(me) {
            if shard.epoch > self.was_master {
                self.status.role = NodeRole::Master;
                self.status.epoch = shard.epoch;
                self.status.dataset = shard.dataset.clone();
                self.status.writable = true;
            }
        } else if shard.master.is_some() {
            self.status.role = NodeRole::Replica;
            self.status.writable = false;
        }
    }
}

fn merge(known: &mut Option<ShardMap>, map: &ShardMap) {
    match known {
        Some(known) => _ = known.merge(map),
        None => *known = Some(map.clone()),
    }
}

#[test]
fn an_empty_spec_is_reached_and_then_left_alone() {
    for (spec, masters, replicas) in [
        (json!({}), 1, 2),
        (json!({"sentinels": 0}), 1, 2),
        (json!({"sentinels": 0, "replicas": 0}), 1, 0),
        (json!({"masters": 3, "replicas": 1}), 3, 3),
        (json!({"masters": 3, "replicas": 1, "sentinels": 0}), 3, 3),
    ] {
        let world = World::reached(spec.clone());
        assert_eq!(world.labelled("master").len(), masters, "{spec}");
        assert_eq!(world.labelled("replica").len(), replicas, "{spec}");
        assert_eq!(world.map().generation, 1, "{spec}");
        assert!(world.deleted.is_empty(), "{spec}");
        let ids: BTreeSet<_> =
            world.map().shards.iter().map(|shard| shard.dataset.clone().unwrap()).collect();
        assert!(
            world.desired.sentinels > 0 || ids.len() == masters,
            "each shard has an id of its own: {spec}"
        );
    }
}

#[test]
fn without_a_password_nothing_is_made() {
    let mut world = World::new(json!({}));
    world.secret = Secret::Empty;
    let plan = world.step();
    assert!(plan.actions.is_empty());
    assert_eq!(plan.findings.degraded[0].0, "PasswordMissing");
}

#[test]
fn intent_is_written_before_anything_is_made() {
    let mut world = World::new(json!({}));
    world.step();
    let plan = world.step();
    assert!(matches!(plan.actions[..], [Action::SaveRecord(_)]), "{:?}", plan.actions);
}

#[test]
fn the_operator_replaces_a_master_that_is_silent_for_long_enough() {
    let mut world = World::reached(json!({"sentinels": 0, "failover": {"downAfter": "2s"}}));
    let (old, epoch) = (world.master(0), world.map().shards[0].epoch);
    world.kill(&old);
    for _ in 0..3 {
        world.step();
        assert_eq!(world.map().shards[0].epoch, epoch, "silence is only suspicion");
    }
    for _ in 0..8 {
        world.step();
    }
    assert_ne!(world.master(0), old);
    assert_eq!(world.labelled("master"), [world.master(0)]);
    world.restart(&old);
    world.settle();
    assert!(world.labelled("replica").contains(&old.as_str()), "the old master comes back as a replica");
    assert!(world.reasons.contains("ElectionStarted") && world.reasons.contains("Promoted"));
}

#[test]
fn a_wrong_password_is_no_reason_to_replace_a_master() {
    let mut world = World::reached(json!({"sentinels": 0}));
    let epoch = world.map().shards[0].epoch;
    world.locked_since_ms = Some(world.now_ms);
    for _ in 0..30 {
        world.step();
    }
    assert_eq!(world.map().shards[0].epoch, epoch);
    assert!(world.record.as_ref().unwrap().elections.is_empty());
    world.locked_since_ms = None;
    world.settle();
    assert_eq!(world.map().shards[0].epoch, epoch);
}

#[test]
fn a_restarted_master_does_not_just_go_on() {
    let mut world = World::reached(json!({"sentinels": 0}));
    let (old, epoch) = (world.master(0), world.map().shards[0].epoch);
    world.restart(&old);
    world.settle();
    assert_eq!(world.map().shards[0].epoch, epoch + 1);
}

#[test]
fn an_operator_that_was_restarted_goes_on_with_the_election() {
    let mut world = World::reached(json!({"sentinels": 0}));
    let old = world.master(0);
    world.kill(&old);
    while world.record.as_ref().unwrap().elections.is_empty() {
        world.step();
    }
    let epoch = world.record.as_ref().unwrap().elections[&0].epoch;
    world.promises.clear();
    world.restart(&old);
    world.settle();
    assert_eq!(world.map().shards[0].epoch, epoch, "no epoch is decided twice, none is skipped");
}

#[test]
fn a_promise_of_a_process_that_has_been_restarted_since_does_not_count() {
    let mut world = World::reached(json!({"sentinels": 0}));
    let old = world.master(0);
    world.kill(&old);
    while world.record.as_ref().unwrap().elections.is_empty() {
        world.step();
    }
    let epoch = world.record.as_ref().unwrap().elections[&0].epoch;
    let others: Vec<NodeAddr> =
        world.nodes.keys().filter(|node| pod_of(node.as_str()) != old).cloned().collect();
    for node in &others {
        let status = &mut world.nodes.get_mut(node).unwrap().status;
        status.promised = epoch;
        status.role = NodeRole::Nobody;
        world.promises.entry(0).or_default().push(status.clone());
    }
    let elects = |plan: &Plan| {
        let decided = |action: &Action| matches!(action, Action::SaveRecord(record) if record.map.shard(0).unwrap().epoch == epoch);
        plan.actions.iter().any(decided)
    };
    assert!(elects(&decide(&world.snapshot())), "both promises are enough");
    world.nodes.get_mut(&others[0]).unwrap().status.run_id = "another process".into();
    let plan = decide(&world.snapshot());
    assert!(!elects(&plan), "one of them was given by a process that is no more");
    let asked = |action: &Action| matches!(action, Action::AskPromises { members, .. } if members.contains(&others[0]));
    assert!(plan.actions.iter().any(asked), "the new one is asked: {:?}", plan.actions);
}

#[test]
fn what_cannot_be_proven_safe_is_left_to_a_person() {
    let mut world = World::reached(json!({"sentinels": 0}));
    // Two of three are gone: a write that was acknowledged may be on those two alone.
    let master = world.master(0);
    let replica = world.labelled("replica")[0].to_owned();
    world.kill(&master);
    world.kill(&replica);
    let mut plan = world.step();
    for _ in 0..80 {
        plan = world.step();
    }
    assert_eq!(plan.findings.at_risk[0].0, "ElectionUnsafe", "{:?}", plan.findings);
    assert_eq!(world.master(0), master, "nobody was promoted");
    world.desired.accept_loss = 1_000;
    for _ in 0..20 {
        world.step();
    }
    assert_ne!(world.master(0), master, "a person has accepted the loss");
}

#[test]
fn the_sentinels_decision_is_followed_never_undone() {
    let mut world = World::reached(json!({}));
    let (old, epoch) = (world.master(0), world.map().shards[0].epoch);
    // The operator does not look while this happens.
    world.kill(&old);
    world.live();
    world.live();
    world.restart(&old);
    world.settle();
    assert_ne!(world.master(0), old);
    assert_eq!(world.map().shards[0].epoch, epoch + 1);
    assert_eq!(world.labelled("master"), [world.master(0)]);
    assert!(world.reasons.contains("FailoverSeen"));
}

#[test]
fn a_lost_record_is_learned_from_those_who_follow_it() {
    for spec in [json!({}), json!({"sentinels": 0})] {
        let mut world = World::reached(spec);
        let (before, mut kept) = (world.map().clone(), world.record.take());
        world.settle();
        assert_eq!(world.map(), &before, "nothing is founded anew");
        // Where they cannot be asked, nothing is guessed.
        kept = world.record.take().or(kept);
        world.sentinels_up = false;
        world.nodes.values_mut().for_each(|node| node.up = false);
        let plan = world.step();
        assert!(plan.actions.is_empty(), "{:?}", plan.actions);
        assert_eq!(plan.findings.degraded[0].0, "MapLost");
        assert!(kept.is_some());
    }
}

#[test]
fn kept_volumes_are_taken_over_with_their_lineage() {
    let mut world = World::reached(json!({}));
    let dataset = world.map().shards[0].dataset.clone();
    // The resource is deleted, its volumes stay; a new one of that name is made.
    (world.record, world.config, world.sentinel_map) = (None, None, None);
    world.objects.clear();
    world.sets.clear();
    world.pods.clear();
    world.settle();
    assert_eq!(world.map().shards[0].dataset, dataset);
}

#[test]
fn more_replicas_and_fewer() {
    for sentinels in [3, 0] {
        let spec = |replicas: u32| json!({"sentinels": sentinels, "replicas": replicas});
        let mut world = World::reached(spec(2));
        world.change(spec(3));
        world.settle();
        assert_eq!(world.labelled("replica").len(), 3);
        assert_eq!(world.map().generation, 3, "it counts once it has everything");
        // Somebody who is to leave is master.
        let last: NodeAddr = world.desired.member(0, 3).parse().unwrap();
        let master = world.master(0);
        if sentinels > 0 {
            world.promote(0, last);
            world.settle();
            assert_eq!(world.master(0), "orders-0-3");
        } else {
            for pod in [master.as_str(), "orders-0-1", "orders-0-2"] {
                world.nodes.iter_mut().find(|(at, _)| pod_of(at.as_str()) == pod).unwrap().1.status.offset =
                    0;
            }
            world.nodes.get_mut(&last).unwrap().status.offset = 1 << 40;
            world.kill(&master);
            for _ in 0..10 {
                world.step();
            }
            world.restart(&master);
            world.settle();
            assert_eq!(world.master(0), "orders-0-3");
        }
        let offset = world.nodes[&world.map().shards[0].master.clone().unwrap()].status.offset;
        world.change(spec(1));
        // No pod goes while the map is not settled without it.
        for _ in 0..ENOUGH {
            world.step();
            assert!(
                world.map().shards[0].members.len() == 4
                    || world.sets["orders-0"].pods == 4
                    || world.map().settled
            );
        }
        world.settle();
        assert_eq!(world.sets["orders-0"].pods, 2);
        assert_eq!(world.map().shards[0].members.len(), 2);
        assert_eq!(world.map().write_ack_replicas, 0);
        assert!(world.map().settled);
        let master = world.map().shards[0].master.clone().unwrap();
        assert!(world.nodes[&master].status.offset >= offset, "nothing is lost");
    }
}

#[test]
fn members_hear_of_a_topology_after_a_majority_of_the_sentinels() {
    let mut world = World::reached(json!({}));
    let known = |world: &World| -> BTreeSet<u64> {
        world.nodes.values().map(|node| node.map.as_ref().unwrap().generation).collect()
    };
    world.sentinels_up = false;
    world.change(json!({"durability": {"writeAckReplicas": 2}}));
    for _ in 0..ENOUGH {
        world.step();
    }
    assert_eq!((world.map().generation, known(&world)), (2, BTreeSet::from([1])));
    world.sentinels_up = true;
    world.settle();
    assert_eq!(
        (world.map().write_ack_replicas, known(&world)),
        (2, BTreeSet::from([world.map().generation]))
    );
}

#[test]
fn disks_to_be_waited_for_are_a_step_of_the_map() {
    let mut world = World::reached(json!({}));
    for (generation, fsync) in [(2, true), (3, false)] {
        world.change(json!({"durability": {"writeAckFsync": fsync}}));
        world.settle();
        let map = world.map();
        assert_eq!((map.generation, map.settled, map.write_ack_fsync), (generation, true, fsync));
    }
}

#[test]
fn members_that_stay_must_have_everything_before_others_leave() {
    let mut world = World::reached(json!({"replicas": 3}));
    world.change(json!({"replicas": 1}));
    // A master that is to leave hands over first.
    for _ in 0..ENOUGH {
        if !world.map().shards[0].leaving.is_empty() {
            break;
        }
        world.step();
    }
    let shard = world.map().shards[0].clone();
    assert_eq!((shard.members.len(), &shard.leaving[..]), (4, &shard.members[2..]));
    let stays = shard.counting().find(|m| Some(*m) != shard.master.as_ref());
    let stays = pod_of(stays.unwrap().as_str()).to_owned();
    world.kill(&stays);
    for _ in 0..30 {
        let plan = world.step();
        assert!(plan.findings.progressing.iter().any(|(reason, _)| *reason == "Settling"));
    }
    let shard = &world.map().shards[0];
    assert_eq!((shard.members.len(), shard.leaving.len(), world.sets["orders-0"].pods), (4, 2, 4));
    world.restart(&stays);
    world.settle();
    let shard = &world.map().shards[0];
    assert_eq!((shard.members.len(), shard.leaving.len(), world.sets["orders-0"].pods), (2, 0, 2));
}

#[test]
fn sentinels_come_and_go_one_at_a_time() {
    let mut world = World::reached(json!({}));
    for (wanted, steps) in [(5, [3, 4, 5]), (3, [5, 4, 3])] {
        world.sentinels_up = false;
        world.change(json!({"sentinels": wanted}));
        for _ in 0..ENOUGH {
            world.step();
        }
        let mut seen = vec![world.map().sentinels.len()];
        assert_eq!(seen, steps[..1], "not before a majority knows who they are");
        world.sentinels_up = true;
        for _ in 0..ENOUGH {
            world.step();
            let there = world.map().sentinels.len();
            assert!(world.sets["orders-sentinel"].pods as usize >= there);
            if seen.last() != Some(&there) {
                seen.push(there);
            }
        }
        assert_eq!(seen, steps);
        world.settle();
        assert_eq!((world.map().sentinels.len(), world.map().quorum), (wanted, wanted as u32 / 2 + 1));
        assert_eq!(world.sets["orders-sentinel"].pods as usize, wanted);
    }
    assert!(world.deleted.is_empty());
}

#[test]
fn a_changed_configuration_is_told_and_then_written() {
    let mut world = World::reached(json!({}));
    world.change(json!({"config": {"maxmemory": "256mb"}}));
    let first = world.step();
    assert_eq!(first.actions.iter().filter(|action| matches!(action, Action::Configure { .. })).count(), 3);
    assert!(
        !world.config.as_ref().unwrap().contains_key("maxmemory"),
        "not before the members have taken it"
    );
    world.settle();
    assert_eq!(world.config.as_ref().unwrap()["maxmemory"], "256mb");
    assert!(world.deleted.is_empty(), "nothing was restarted");
}

#[test]
fn a_configuration_that_is_refused_is_not_written() {
    let mut world = World::reached(json!({}));
    world.refuse_config = true;
    world.change(json!({"config": {"no-such-directive": "1"}}));
    for _ in 0..10 {
        world.step();
    }
    let plan = world.step();
    assert_eq!(plan.findings.degraded[0].0, "ConfigRefused");
    assert!(plan.actions.is_empty(), "not tried again and again: {:?}", plan.actions);
    assert!(!world.config.as_ref().unwrap().contains_key("no-such-directive"));
    world.refuse_config = false;
    world.change(json!({}));
    world.settle();
}

#[test]
fn a_process_that_was_started_again_is_told_again() {
    let mut world = World::reached(json!({}));
    let replica = world.labelled("replica")[0].to_owned();
    let pod = world.pods[&replica].clone();
    world.restart(&replica);
    // The container was started again, not the pod.
    world.pods.insert(replica.clone(), pod.clone());
    world.settle();
    assert_ne!(world.pods[&replica].config, pod.config);
}

#[test]
fn a_roll_takes_replicas_first_and_the_master_last() {
    for sentinels in [3, 0] {
        let mut world = World::reached(json!({"sentinels": sentinels}));
        let master = world.master(0);
        world.change(json!({"sentinels": sentinels, "config": {"databases": 4}}));
        while world.deleted.iter().filter(|pod| !pod.contains("sentinel")).count() < 3 {
            let plan = world.step();
            assert!(!plan.findings.progressing.is_empty(), "it is not done yet: {plan:?}");
        }
        world.settle();
        let data: Vec<&String> = world.deleted.iter().filter(|pod| !pod.contains("sentinel")).collect();
        assert_eq!(data.len(), 3, "{:?}", world.deleted);
        assert_eq!(*data[2], master, "the former master last");
        assert_ne!(world.master(0), master, "it handed over first");
    }
}

#[test]
fn nothing_is_taken_down_while_something_is_missing() {
    let mut world = World::reached(json!({}));
    let replica = world.labelled("replica")[1].to_owned();
    world.kill(&replica);
    world.pods.get_mut(&replica).unwrap().ready = true;
    world.change(json!({"image": "other"}));
    for _ in 0..30 {
        world.step();
    }
    assert!(world.deleted.is_empty(), "{:?}", world.deleted);
    world.restart(&replica);
    world.settle();
    assert!(!world.deleted.is_empty());
}

#[test]
fn a_bad_change_can_be_reverted() {
    let mut world = World::reached(json!({}));
    world.change(json!({"image": "broken"}));
    while world.deleted.is_empty() {
        world.step();
    }
    let broken = world.deleted[0].clone();
    if !broken.contains("sentinel") {
        world.kill(&broken);
    }
    world.pods.get_mut(&broken).unwrap().ready = false;
    world.change(json!({}));
    world.settle();
    assert_eq!(world.deleted.iter().filter(|pod| **pod == broken).count(), 2, "{:?}", world.deleted);
}

#[test]
fn a_planned_move_that_fails_is_given_up() {
    let mut world = World::reached(json!({"sentinels": 0, "replicas": 1}));
    let (master, epoch) = (world.master(0), world.map().shards[0].epoch);
    world.fail_handover = true;
    world.change(json!({"sentinels": 0, "replicas": 1, "image": "other"}));
    for _ in 0..60 {
        world.step();
    }
    assert!(world.reasons.contains("SwitchoverFailed"));
    assert_eq!((world.master(0), world.map().shards[0].epoch), (master, epoch));
    assert!(world.nodes.values().all(|node| node.status.promised <= epoch), "nobody was asked for a promise");
    world.fail_handover = false;
    world.settle();
    assert!(world.map().shards[0].epoch > epoch, "it is tried again");
}

#[test]
fn volumes_grow_and_say_so_when_they_cannot() {
    let mut world = World::reached(json!({}));
    world.claims = (0..3).map(|ordinal| (format!("data-orders-0-{ordinal}"), 1 << 30)).collect();
    world.change(json!({"persistence": {"storage": {"size": "2Gi"}}}));
    world.failures.claims.insert("data-orders-0-1".into(), "the class cannot expand".into());
    for _ in 0..10 {
        world.step();
    }
    assert_eq!(world.claims["data-orders-0-0"], 2 << 30);
    let plan = world.step();
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(plan.findings.degraded[0].0, "VolumeCannotGrow");
}

#[test]
fn what_belongs_to_somebody_else_is_not_touched() {
    let mut world = World::new(json!({}));
    let foreign = Existing { hash: None, foreign: true, stale: true };
    world.objects.insert((Kind::Service, "orders".into()), foreign);
    for _ in 0..20 {
        let plan = world.step();
        assert!(
            !plan
                .actions
                .iter()
                .any(|a| matches!(a, Action::Apply(o) if o.kind == Kind::Service && o.name == "orders"))
        );
    }
    assert_eq!(world.step().findings.degraded[0].0, "NameTaken");
}
