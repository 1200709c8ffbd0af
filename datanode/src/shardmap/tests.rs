use super::*;
use crate::rng::Rng;

fn addr(s: &str) -> NodeAddr {
    s.parse().unwrap()
}

fn example() -> ShardMap {
    ShardMap {
        name: "orders".into(),
        generation: 3,
        settled: true,
        quorum: 2,
        down_after_ms: 1000,
        failover_timeout_ms: 10_000,
        grace_ms: 30_000,
        parallel_syncs: 1,
        write_ack_replicas: 1,
        write_ack_fsync: false,
        sentinels: (0..3).map(|i| addr(&format!("s{i}:26379"))).collect(),
        shards: vec![Shard {
            index: 0,
            slots: vec![[0, 16383]],
            members: (0..3).map(|i| addr(&format!("n{i}:6379"))).collect(),
            joining: Vec::new(),
            leaving: Vec::new(),
            epoch: 4,
            master: Some(addr("n1:6379")),
            dataset: Some("3f".repeat(20)),
            founded_at: 1,
            accept_loss: 0,
        }],
        former: BTreeMap::new(),
    }
}

/// The documented form, field by field.
#[test]
fn json_is_as_documented() {
    let json: serde_json::Value = serde_json::from_str(&example().to_json()).unwrap();
    let documented = serde_json::json!({
        "name": "orders", "generation": 3, "settled": true, "quorum": 2,
        "downAfterMs": 1000, "failoverTimeoutMs": 10000, "graceMs": 30000, "parallelSyncs": 1,
        "writeAckReplicas": 1, "sentinels": ["s0:26379", "s1:26379", "s2:26379"],
        "shards": [{"index": 0, "slots": [[0, 16383]], "members": ["n0:6379", "n1:6379", "n2:6379"],
            "epoch": 4, "master": "n1:6379", "dataset": "3f".repeat(20), "foundedAt": 1, "acceptLoss": 0}]
    });
    assert_eq!(json, documented);
    assert_eq!(ShardMap::from_json(documented.to_string().as_bytes()).unwrap(), example());
}

/// Whoever does not know the field takes the map, and passes it on without: that must not undo it.
#[test]
fn joining_and_leaving_members_outlive_maps_without_the_fields() {
    let without = example();
    let mut with = example();
    with.shards[0].leaving = vec![addr("n2:6379")];
    with.validate().unwrap();
    assert_eq!(ShardMap::from_json(with.to_json().as_bytes()).unwrap(), with);
    let mut joins = example();
    joins.shards[0].joining = vec![addr("n2:6379")];
    for with in [&with, &joins] {
        for (mut one, other) in [(with.clone(), without.clone()), (without.clone(), with.clone())] {
            one.merge(&other);
            assert_eq!(one, *with);
        }
        let shard = &with.shards[0];
        assert_eq!(shard.counting().collect::<Vec<_>>(), [&addr("n0:6379"), &addr("n1:6379")]);
    }
    assert_eq!((with.shards[0].electors().count(), joins.shards[0].electors().count()), (3, 2));
    with.shards[0].leaving = vec![addr("n1:6379"), addr("n2:6379")];
    assert!(
        with.validate().unwrap_err().0.contains("writeAckReplicas 1 needs more than shard 0's 1 members")
    );
    with.shards[0].leaving = vec![addr("n9:6379")];
    assert!(with.validate().unwrap_err().0.contains("n9:6379 is joining or leaving, and is no member"));
}

/// Whoever does not know the field takes the map, and passes it on without: that must not undo it.
#[test]
fn disks_that_are_waited_for_outlive_maps_without_the_field() {
    let (without, with) = (example(), ShardMap { write_ack_fsync: true, ..example() });
    assert!(with.to_json().contains("\"writeAckFsync\":true"));
    assert_eq!(ShardMap::from_json(with.to_json().as_bytes()).unwrap(), with);
    for (mut one, other) in [(with.clone(), without.clone()), (without.clone(), with.clone())] {
        one.merge(&other);
        assert_eq!(one, with);
    }
    let mut later = with.clone();
    assert!(later.merge(&ShardMap { generation: 4, ..without }) && !later.write_ack_fsync);
}

#[test]
fn addresses() {
    let a = addr("orders-0-0.orders-nodes.ns.svc.cluster.local:6379");
    assert_eq!((a.host(), a.port()), ("orders-0-0.orders-nodes.ns.svc.cluster.local", 6379));
    let six = NodeAddr::new("fd00::1", 6379).unwrap();
    assert_eq!((six.as_str(), six.host(), six.port()), ("[fd00::1]:6379", "fd00::1", 6379));
    // Checked with sha1sum.
    assert_eq!(addr("a:1").node_id(), "de89bfaf06245091a7873290a793604612302247");
    for bad in ["", "a", "a:", ":1", "a:0", "a:65536", "a:x", "a b:1", "::1:1", "[::1:1", "a:+1", "a\r\n:1"] {
        assert!(bad.parse::<NodeAddr>().is_err(), "{bad:?}");
    }
}

#[test]
fn invalid_maps_are_refused_with_what_is_wrong() {
    type Spoil = fn(&mut ShardMap);
    let cases: Vec<(&str, Spoil)> = vec![
        ("name", |m| m.name = "a b".into()),
        ("downAfterMs 0", |m| m.down_after_ms = 0),
        ("graceMs", |m| m.grace_ms = MAX_INTERVAL_MS + 1),
        ("quorum 4 of 3", |m| m.quorum = 4),
        ("quorum 0 of 3", |m| m.quorum = 0),
        ("parallelSyncs", |m| m.parallel_syncs = 0),
        ("0 shards", |m| m.shards.clear()),
        ("generation", |m| m.generation = u64::MAX),
        ("0 members", |m| m.shards[0].members.clear()),
        ("n0:6379 is listed twice", |m| m.shards[0].members[1] = addr("n0:6379")),
        ("n0:6379 is listed twice", |m| m.sentinels[0] = addr("n0:6379")),
        ("shard 0 is listed twice", |m| m.shards.push(m.shards[0].clone())),
        ("shard 0 is listed twice", |m| {
            m.former.insert(0, Authority::default());
        }),
        ("writeAckReplicas 3", |m| m.write_ack_replicas = 3),
        ("[5, 4]", |m| m.shards[0].slots = vec![[5, 4]]),
        ("[0, 16384]", |m| m.shards[0].slots = vec![[0, 16384]]),
        ("slot 7 is listed twice", |m| m.shards[0].slots = vec![[0, 7], [7, 9]]),
        ("contradict", |m| m.shards[0].master = None),
        ("contradict", |m| {
            m.shards[0].epoch = 0;
            m.shards[0].founded_at = 0;
        }),
        ("founded at", |m| m.shards[0].founded_at = 5),
        ("epoch", |m| m.shards[0].epoch = u64::MAX),
        ("not 40 hex", |m| m.shards[0].dataset = Some("zz".into())),
    ];
    example().validate().unwrap();
    for (expected, spoil) in cases {
        let mut m = example();
        spoil(&mut m);
        let text = m.validate().unwrap_err().to_string();
        assert!(text.contains(expected), "{text:?} should contain {expected:?}");
        let mut known = Some(example());
        assert!(ShardMap::offer(&mut known, m).is_err());
        assert_eq!(known, Some(example()), "a refused offer changes nothing");
    }
    let mut other = example();
    other.name = "else".into();
    assert!(ShardMap::offer(&mut Some(example()), other).unwrap_err().to_string().contains("belongs to"));
}

#[test]
fn topology_and_authority_merge_apart() {
    let mut a = example();
    let mut b = example();
    a.generation = 4;
    a.shards[0].members.push(addr("n3:6379"));
    b.shards[0].epoch = 5;
    b.shards[0].master = Some(addr("n2:6379"));
    assert!(a.merge(&b));
    assert_eq!((a.generation, a.shards[0].members.len()), (4, 4));
    assert_eq!((a.shards[0].epoch, a.shards[0].master.clone()), (5, Some(addr("n2:6379"))));
    assert!(!a.merge(&b));
    // Founded wins over unfounded at the same epoch.
    let mut unfounded = a.clone();
    unfounded.shards[0].dataset = None;
    assert!(!a.clone().merge(&unfounded));
    assert!(unfounded.merge(&a) && unfounded == a);
}

#[test]
fn a_shard_that_comes_back_keeps_its_epoch_and_lineage() {
    let mut m = example();
    let mut without = example();
    without.generation = 4;
    without.shards[0].index = 1;
    let mut again = example();
    again.generation = 5;
    again.shards[0].set_authority(Authority::default());
    m.merge(&without);
    assert_eq!(m.former[&0].epoch, 4);
    m = ShardMap::from_json(m.to_json().as_bytes()).unwrap();
    m.merge(&again);
    assert_eq!(m.shards[0].authority(), example().shards[0].authority());
}

#[test]
fn lookups() {
    let mut m = example();
    assert_eq!(m.master_name(0), "orders");
    assert_eq!(m.shard_named("orders").unwrap().index, 0);
    m.shards[0].slots = vec![[0, 8191]];
    m.shards.push(Shard {
        index: 1,
        slots: vec![[8192, 16383]],
        members: vec![addr("x:1"), addr("y:1")],
        joining: Vec::new(),
        leaving: Vec::new(),
        epoch: 0,
        master: None,
        dataset: None,
        founded_at: 0,
        accept_loss: 0,
    });
    m.validate().unwrap();
    assert_eq!(m.master_name(1), "orders-1");
    assert_eq!(m.shard_named("orders-1").unwrap().index, 1);
    assert!(m.shard_named("orders").is_none());
    assert_eq!(m.owner_of(8191).unwrap().index, 0);
    assert_eq!(m.owner_of(8192).unwrap().index, 1);
    assert_eq!(m.shard_of(&addr("y:1")).unwrap().index, 1);
    assert!(m.shard_of(&addr("z:1")).is_none());
    assert_eq!(m.shards[1].slot_count(), 8192);
}

fn random_map(rng: &mut Rng) -> ShardMap {
    let mut m = example();
    m.generation = rng.below(4);
    m.down_after_ms = 1 + rng.below(2);
    m.settled = rng.below(2) == 0;
    let template = m.shards[0].clone();
    m.shards.clear();
    for index in 0..3 {
        let epoch = rng.below(4);
        let authority = Authority {
            epoch,
            dataset: (rng.below(2) == 0).then(|| "ab".repeat(20)),
            master: (epoch > 0).then(|| addr(&format!("n{}:1", rng.below(3)))),
            founded_at: rng.below(epoch + 1),
        };
        match rng.below(3) {
            0 => {}
            1 if authority != Authority::default() => {
                m.former.insert(index, authority);
            }
            _ => {
                let mut s = Shard { index, slots: vec![], ..template.clone() };
                s.members = (0..3).map(|i| addr(&format!("n{index}{i}:1"))).collect();
                s.set_authority(authority);
                m.shards.push(s);
            }
        }
    }
    m
}

#[test]
fn merge_is_commutative_associative_and_idempotent() {
    let merged = |a: &ShardMap, b: &ShardMap| {
        let mut m = a.clone();
        let changed = m.merge(b);
        assert_eq!(changed, m != *a);
        m
    };
    let mut rng = Rng::new(1);
    for _ in 0..20_000 {
        let (a, b, c) = (random_map(&mut rng), random_map(&mut rng), random_map(&mut rng));
        assert_eq!(merged(&a, &a), a);
        assert_eq!(merged(&a, &b), merged(&b, &a));
        assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        assert_eq!(merged(&merged(&a, &b), &b), merged(&a, &b));
    }
}

#[test]
fn status_json_is_as_documented() {
    let status: NodeStatus = serde_json::from_value(serde_json::json!({
        "node": "n0:6379", "shard": 0, "role": "nobody", "epoch": 4, "offset": 1234, "dataset": null,
        "promised": 4, "mapEpoch": 4, "generation": 3, "runId": "ab", "startedAtMs": 1, "intact": false,
        "loading": false, "linkUp": true, "syncing": false, "lagMs": 12, "masterHost": null, "writable": true,
        "keys": 7, "usedMemory": 1000000, "diskError": null, "restoreError": "text",
        "replicas": [{"node": "n1:6379", "offset": 1234, "lagMs": 10, "online": true}]
    }))
    .unwrap();
    assert_eq!((status.role, status.replicas[0].offset), (NodeRole::Nobody, 1234));
    let view = SentinelStatus {
        node: addr("s0:26379"),
        run_id: "cd".into(),
        generation: 3,
        shards: vec![ShardView {
            index: 0,
            state: ShardState::AtRisk,
            reason: "n1 is missing".into(),
            epoch: 4,
            master: None,
            members: vec![MemberView {
                node: addr("n0:6379"),
                reachable: true,
                last_seen_ms: 10,
                status: None,
            }],
            sentinels_reachable: 3,
        }],
    };
    let json = serde_json::json!({"node": "s0:26379", "runId": "cd", "generation": 3, "shards": [{
        "index": 0, "state": "at-risk", "reason": "n1 is missing", "epoch": 4, "master": null,
        "members": [{"node": "n0:6379", "reachable": true, "lastSeenMs": 10, "status": null}],
        "sentinelsReachable": 3}]});
    assert_eq!(serde_json::to_value(&view).unwrap(), json);
}
