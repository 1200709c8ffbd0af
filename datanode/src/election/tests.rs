use super::*;
use crate::shardmap::NodeRole;
use std::collections::BTreeMap;

const FRESH: &str = "ffffffffffffffffffffffffffffffffffffffff";
const GRACE: u64 = 30_000;
const DOWN_AFTER: u64 = 1000;
const EPOCH: u64 = 5;

fn node(i: usize) -> NodeAddr {
    format!("n{i}:6379").parse().unwrap()
}

fn dataset(c: char) -> String {
    c.to_string().repeat(40)
}

/// A map of one shard with `n` members, founded, master 0 at epoch 4.
fn map(n: usize, acks: u32) -> ShardMap {
    ShardMap {
        name: "m".into(),
        generation: 1,
        settled: true,
        quorum: 2,
        down_after_ms: DOWN_AFTER,
        failover_timeout_ms: 10_000,
        grace_ms: GRACE,
        parallel_syncs: 1,
        write_ack_replicas: acks,
        write_ack_fsync: false,
        sentinels: vec![],
        shards: vec![Shard {
            index: 0,
            slots: vec![[0, 16383]],
            members: (0..n).map(node).collect(),
            joining: Vec::new(),
            leaving: Vec::new(),
            epoch: 4,
            master: Some(node(0)),
            dataset: Some(dataset('a')),
            founded_at: 1,
            accept_loss: 0,
        }],
        former: BTreeMap::new(),
    }
}

fn unfounded(n: usize) -> ShardMap {
    let mut m = map(n, 1);
    m.shards[0].set_authority(Default::default());
    m
}

/// An intact member that holds dataset `a`, with the promise of [`EPOCH`].
fn holder(i: usize, epoch: u64, offset: u64) -> NodeStatus {
    NodeStatus {
        node: node(i),
        shard: 0,
        role: NodeRole::Replica,
        epoch,
        offset,
        dataset: Some(dataset('a')),
        promised: EPOCH,
        map_epoch: 4,
        generation: 1,
        run_id: String::new(),
        started_at_ms: 0,
        intact: true,
        loading: false,
        link_up: false,
        syncing: false,
        lag_ms: 0,
        master_host: None,
        writable: false,
        keys: 0,
        used_memory: 0,
        disk_error: None,
        restore_error: None,
        token: 0,
        fenced: false,
        replicas: vec![],
    }
}

fn empty(i: usize) -> NodeStatus {
    NodeStatus { dataset: None, intact: false, ..holder(i, 0, 0) }
}

fn restarted(s: NodeStatus) -> NodeStatus {
    NodeStatus { intact: false, ..s }
}

fn at<'a>(map: &'a ShardMap, promises: &'a [NodeStatus], now_ms: u64) -> Election<'a> {
    Election {
        map,
        shard: &map.shards[0],
        epoch: EPOCH,
        promises,
        absent: &[],
        started_ms: 0,
        now_ms,
        preferred: None,
        fresh_dataset: FRESH,
    }
}

#[derive(Debug, PartialEq)]
enum Short {
    Wait,
    Risk,
    Master(usize),
    Founds(usize),
}

fn short(d: Decision) -> Short {
    match d {
        Decision::Wait(_) => Short::Wait,
        Decision::AtRisk(_) => Short::Risk,
        Decision::Elect(e) => {
            assert_eq!(e.epoch, EPOCH);
            let i = (0..9).find(|i| node(*i) == e.master).unwrap();
            if e.founded {
                assert_eq!(e.dataset, FRESH);
                Short::Founds(i)
            } else {
                Short::Master(i)
            }
        }
    }
}

fn run(map: &ShardMap, promises: &[NodeStatus], now_ms: u64) -> Short {
    short(decide(&at(map, promises, now_ms)))
}

#[test]
fn founding() {
    let m = unfounded(3);
    let b = |i| NodeStatus { dataset: Some(dataset('b')), ..holder(i, 1, 1) };
    let broken = |i| NodeStatus { restore_error: Some("bad checksum".into()), ..empty(i) };
    let late = GRACE * 10;
    for (promises, now, expected) in [
        (vec![], 0, Short::Wait),
        (vec![empty(0), empty(1)], late, Short::Wait),
        (vec![empty(2), empty(1), empty(0)], 0, Short::Founds(0)),
        // Kept volumes: the most advanced one is adopted.
        (vec![empty(0), holder(1, 3, 10), holder(2, 3, 11)], 0, Short::Master(2)),
        (vec![empty(0), holder(1, 4, 10), holder(2, 3, 11)], 0, Short::Master(1)),
        (vec![holder(1, 3, 10), holder(2, 3, 11)], late, Short::Wait),
        (vec![holder(0, 1, 1), b(1), empty(2)], late, Short::Risk),
        (vec![empty(0), broken(1), empty(2)], late, Short::Risk),
        // A promise for another epoch, of a stranger, or of a node that is still loading does not count.
        (vec![empty(0), empty(1), NodeStatus { promised: 4, ..empty(2) }], 0, Short::Wait),
        (vec![empty(0), empty(1), empty(7)], 0, Short::Wait),
        (vec![empty(0), empty(1), NodeStatus { loading: true, ..empty(2) }], 0, Short::Wait),
    ] {
        assert_eq!(run(&m, &promises, now), expected, "{promises:?}");
    }
    let Decision::Elect(e) = decide(&at(&m, &[empty(0), holder(1, 3, 10), empty(2)], 0)) else { panic!() };
    assert_eq!((e.dataset.clone(), e.founded), (dataset('a'), false));
    let mut shard = m.shards[0].clone();
    e.apply(&mut shard);
    assert_eq!((shard.epoch, shard.founded_at, shard.master), (EPOCH, 0, Some(node(1))));

    let mut accepted = m.clone();
    accepted.shards[0].accept_loss = EPOCH;
    assert_eq!(run(&accepted, &[holder(0, 1, 1), b(1), empty(2)], 0), Short::Risk);
    assert_eq!(run(&accepted, &[holder(0, 2, 1), b(1), empty(2)], GRACE), Short::Master(0));
    assert_eq!(run(&accepted, &[empty(1), empty(2)], GRACE), Short::Founds(1));
    assert_eq!(run(&accepted, &[], GRACE), Short::Wait);
}

#[test]
fn succession_with_acknowledged_writes() {
    let m = map(3, 1);
    let lost = NodeStatus { restore_error: Some("truncated".into()), ..holder(2, 4, 99) };
    let foreign = NodeStatus { dataset: Some(dataset('b')), ..holder(2, 9, 99) };
    for (promises, now, expected) in [
        (vec![], 0, Short::Wait),
        (vec![holder(1, 4, 10)], GRACE - 1, Short::Wait),
        (vec![holder(1, 4, 10)], GRACE, Short::Risk),
        (vec![holder(1, 4, 10), holder(2, 4, 11)], 0, Short::Master(2)),
        (vec![holder(1, 4, 10), holder(2, 4, 10)], 0, Short::Master(1)),
        // The present master wins a tie, and returns without one if it is ahead.
        (vec![holder(2, 4, 10), holder(1, 4, 10), holder(0, 4, 10)], 0, Short::Master(0)),
        (vec![restarted(holder(0, 4, 12)), holder(1, 4, 11), holder(2, 4, 10)], 0, Short::Master(0)),
        (vec![restarted(holder(0, 4, 9)), holder(1, 4, 11), holder(2, 4, 10)], 0, Short::Master(1)),
        // The master itself, never restarted, has all it acknowledged; not so one of an older epoch.
        (vec![holder(0, 4, 1)], 0, Short::Master(0)),
        (vec![holder(0, 4, 1), empty(1), empty(2)], 0, Short::Master(0)),
        (vec![restarted(holder(0, 4, 1)), empty(1), empty(2)], 0, Short::Risk),
        (vec![holder(0, 3, 1)], 0, Short::Wait),
        // The epoch outweighs the offset.
        (vec![holder(1, 3, 1000), holder(2, 4, 1)], 0, Short::Master(2)),
        // A wiped master, an unreadable copy and a foreign one do not count at all.
        (vec![empty(0), holder(1, 4, 11)], GRACE - 1, Short::Wait),
        (vec![empty(0), holder(1, 4, 11)], GRACE, Short::Risk),
        (vec![empty(0), holder(1, 4, 11), holder(2, 4, 1)], 0, Short::Master(1)),
        (vec![empty(0), empty(1), holder(2, 4, 11)], 0, Short::Risk),
        (vec![empty(0), empty(1), empty(2)], GRACE, Short::Risk),
        (vec![holder(1, 4, 1), lost], GRACE, Short::Risk),
        (vec![holder(1, 4, 1), foreign], GRACE, Short::Risk),
        // Members that were restarted prove nothing, unless all of them answer.
        (vec![restarted(holder(1, 4, 10)), restarted(holder(2, 4, 11))], GRACE - 1, Short::Wait),
        (vec![restarted(holder(1, 4, 10)), holder(2, 4, 11)], GRACE - 1, Short::Wait),
        (vec![restarted(holder(1, 4, 10)), restarted(holder(2, 4, 11))], GRACE, Short::Risk),
        (
            vec![restarted(holder(0, 4, 12)), restarted(holder(1, 4, 10)), restarted(holder(2, 4, 11))],
            0,
            Short::Master(0),
        ),
        (vec![holder(1, 4, 10), NodeStatus { promised: 6, ..holder(2, 4, 11) }], 0, Short::Wait),
    ] {
        assert_eq!(run(&m, &promises, now), expected, "{promises:?} at {now}");
    }
    // W = 2: any single member will do, for each holds every acknowledged write.
    assert_eq!(run(&map(3, 2), &[holder(2, 4, 10)], 0), Short::Master(2));
}

#[test]
fn succession_without_acknowledged_writes() {
    let m = map(3, 0);
    assert_eq!(run(&m, &[holder(1, 4, 10)], 0), Short::Wait);
    assert_eq!(run(&m, &[holder(1, 4, 10)], DOWN_AFTER), Short::Master(1));
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 9), holder(0, 4, 8)], 0), Short::Master(1));
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 9), empty(0)], 0), Short::Master(1));
    let promises = [holder(1, 4, 10), holder(2, 4, 9)];
    assert_eq!(short(decide(&Election { absent: &[node(0)], ..at(&m, &promises, 0) })), Short::Master(1));
    assert_eq!(short(decide(&Election { absent: &[node(0)], ..at(&m, &promises[..1], 0) })), Short::Wait);
    assert_eq!(run(&m, &[empty(0)], GRACE), Short::Risk);
    // All restarted: the missing one may hold more.
    assert_eq!(run(&m, &[restarted(holder(1, 4, 10))], GRACE - 1), Short::Wait);
    assert_eq!(run(&m, &[restarted(holder(1, 4, 10))], GRACE), Short::Master(1));
    // A single member simply comes back.
    assert_eq!(run(&map(1, 0), &[restarted(holder(0, 4, 10))], 0), Short::Master(0));
    assert_eq!(run(&map(1, 0), &[empty(0)], 0), Short::Risk);
}

#[test]
fn while_members_change_all_must_answer() {
    let mut m = map(3, 1);
    m.settled = false;
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 11)], GRACE - 1), Short::Wait);
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 11)], GRACE), Short::Risk);
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 11), empty(0)], 0), Short::Master(2));
}

/// A write may be on the master and on one who is to leave alone.
#[test]
fn who_is_to_leave_is_still_asked() {
    let mut m = map(3, 1);
    m.shards[0].leaving = vec![node(2)];
    assert_eq!(run(&m, &[holder(1, 4, 10)], GRACE), Short::Risk);
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 11)], 0), Short::Master(2));
    assert_eq!(run(&m, &[holder(1, 4, 10), empty(0)], GRACE), Short::Risk);
    // Of equals one that stays.
    m.shards[0].leaving = vec![node(1)];
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 10)], 0), Short::Master(2));
}

/// It has nothing yet that the others do not have, and may be empty.
#[test]
fn who_is_joining_is_not_asked() {
    let mut m = map(3, 1);
    m.shards[0].joining = vec![node(2)];
    assert_eq!(run(&m, &[holder(1, 4, 10)], 0), Short::Master(1));
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(2, 4, 11)], 0), Short::Master(1));
    assert_eq!(run(&m, &[holder(2, 4, 11)], GRACE), Short::Risk);
}

/// It was elected just before it was removed: what it has acknowledged is on one of those who are left.
#[test]
fn after_a_master_that_is_no_member_all_must_answer() {
    let mut m = map(2, 1);
    assert_eq!(run(&m, &[holder(1, 4, 10)], 0), Short::Master(1));
    m.shards[0].master = Some(node(7));
    assert_eq!(run(&m, &[holder(1, 4, 10)], GRACE), Short::Risk);
    assert_eq!(run(&m, &[holder(1, 4, 10), holder(0, 4, 11)], 0), Short::Master(0));
}

#[test]
fn loss_accepted_by_a_person() {
    let mut m = map(3, 1);
    for (accept, expected) in
        [(EPOCH - 1, Short::Risk), (EPOCH, Short::Master(1)), (EPOCH + 1, Short::Master(1))]
    {
        m.shards[0].accept_loss = accept;
        assert_eq!(run(&m, &[holder(1, 4, 10)], GRACE), expected);
        assert_eq!(run(&m, &[holder(1, 4, 10)], GRACE - 1), Short::Wait);
    }
    // All volumes gone: a new dataset, once everybody has confirmed that.
    assert_eq!(run(&m, &[empty(0), empty(1), empty(2)], 0), Short::Founds(0));
    assert_eq!(run(&m, &[empty(0), empty(1)], GRACE), Short::Risk);
}

#[test]
fn a_founding_that_failed_is_repeated() {
    let mut m = map(3, 1);
    m.shards[0].founded_at = 4;
    assert_eq!(run(&m, &[empty(0), empty(1), empty(2)], 0), Short::Founds(0));
    assert_eq!(run(&m, &[empty(0), empty(1)], GRACE), Short::Risk);
    assert_eq!(run(&m, &[empty(0), empty(1), holder(2, 4, 1)], 0), Short::Risk);
}

#[test]
fn risk_names_what_is_missing() {
    let m = map(4, 1);
    let foreign = NodeStatus { dataset: Some(dataset('b')), ..holder(2, 9, 99) };
    let broken = NodeStatus { restore_error: Some("x".into()), ..holder(1, 4, 1) };
    let Decision::AtRisk(text) = decide(&at(&m, &[empty(0), broken, foreign], GRACE)) else { panic!() };
    assert_eq!(
        text,
        "epoch 5: 0 of 4 members hold the dataset, 3 are needed; missing: n3:6379; files cannot be loaded: n1:6379; \
         empty: n0:6379; another dataset: n2:6379"
    );
}

#[test]
fn planned_move() {
    let m = map(3, 1);
    let planned = |promises: &[NodeStatus], target: usize| {
        short(decide(&Election { preferred: Some(&node(target)), ..at(&m, promises, 0) }))
    };
    let all = [holder(0, 4, 10), holder(1, 4, 10), holder(2, 4, 9)];
    assert_eq!(planned(&all, 1), Short::Master(1));
    // Behind: it must not win; the present master goes on at the new epoch.
    assert_eq!(planned(&all, 2), Short::Master(0));
    assert_eq!(planned(&[holder(0, 4, 10), holder(2, 4, 9)], 1), Short::Wait);
    assert_eq!(planned(&[holder(0, 4, 10), holder(1, 4, 10)], 1), Short::Master(1));
}

/// What may have happened to a member when the election runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Alive,
    Silent,
    /// Restarted with all it had.
    Restarted,
    /// Restarted, and its last write was not on disk.
    LostTail,
    Wiped,
}

const FATES: [Fate; 5] = [Fate::Alive, Fate::Silent, Fate::Restarted, Fate::LostTail, Fate::Wiped];

/// Every combination of members that hold an acknowledged write and of what befell them since. The elected one must hold
/// the write if any copy of it is left anywhere.
#[test]
fn an_acknowledged_write_is_never_left_behind() {
    let mut elections = 0;
    for n in 1..=4usize {
        for acks in 0..n {
            let m = map(n, acks as u32);
            for holders in 0..1u32 << (n - 1) {
                // Member 0 is the master and has every write.
                let has = |i: usize| i == 0 || holders & (1 << (i - 1)) != 0;
                if (1..n).filter(|i| has(*i)).count() < acks {
                    continue;
                }
                for combination in 0..FATES.len().pow(n as u32) {
                    let fate = |i: usize| FATES[combination / FATES.len().pow(i as u32) % FATES.len()];
                    let still = |i: usize| has(i) && !matches!(fate(i), Fate::LostTail | Fate::Wiped);
                    let promises: Vec<NodeStatus> = (0..n)
                        .filter(|i| fate(*i) != Fate::Silent)
                        .map(|i| match fate(i) {
                            Fate::Wiped => empty(i),
                            Fate::LostTail => restarted(holder(i, 4, 5)),
                            f => NodeStatus {
                                intact: f == Fate::Alive,
                                ..holder(i, 4, if has(i) { 10 } else { 5 })
                            },
                        })
                        .collect();
                    for now in [0, GRACE] {
                        let outcome = run(&m, &promises, now);
                        let Short::Master(winner) = outcome else {
                            assert!(!matches!(outcome, Short::Founds(_)));
                            continue;
                        };
                        elections += 1;
                        assert!(!matches!(fate(winner), Fate::Silent | Fate::Wiped));
                        let left = (0..n).any(still);
                        if acks > 0 && left {
                            let fates: Vec<Fate> = (0..n).map(fate).collect();
                            assert!(
                                still(winner),
                                "n {n} acks {acks} holders {holders:b} {fates:?} -> {winner}"
                            );
                        }
                    }
                }
            }
        }
    }
    assert!(elections > 1000, "{elections}");
}
