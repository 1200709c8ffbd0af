use super::*;
use crate::store::dict::HashSeed;
use crate::store::limits::Limits;
use crate::store::listpack::Listpack;
use crate::store::rng::Rng;
use crate::store::stream_group::Pending;
use crate::store::stream_id::StreamId;
use crate::store::stream_log::{Keep, NewId, fits};
use crate::store::stream_node::{Entry, Node};

type Fields = Vec<Vec<u8>>;

fn limits(bytes: usize, entries: u64) -> Limits {
    Limits {
        stream_node_max_bytes: bytes,
        stream_node_max_entries: entries,
        ..Limits::new(HashSeed::repeatable(1))
    }
}

fn append(log: &mut Log, limits: &Limits, id: StreamId, fields: &Fields) {
    log.append(limits, id, fields.iter().map(Vec::as_slice));
}

fn fields(entry: &Entry<'_>) -> Fields {
    entry.fields().flat_map(|(n, v)| [n.to_bytes().into_owned(), v.to_bytes().into_owned()]).collect()
}

fn shown<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<(StreamId, Fields)> {
    entries.map(|e| (e.id, fields(&e))).collect()
}

/// Names that are often the same and sometimes not, values of all encodings.
fn random_fields(rng: &mut Rng) -> Fields {
    let names = [&b"a"[..], b"b", b"", b"12345", b"a longer name than the others"];
    let number = if rng.one_in(4) { 1 + rng.below(4) } else { 2 };
    let mut fields = Vec::new();
    for i in 0..number {
        let name = if rng.one_in(5) { names[rng.below(names.len())] } else { names[i] };
        fields.push(name.to_vec());
        fields.push(match rng.below(4) {
            0 => ((rng.next_u64() >> rng.below(64)) as i64).to_string().into_bytes(),
            1 => vec![b'x'; rng.below(100)],
            2 => vec![0xff; rng.below(3)],
            _ => b"value".to_vec(),
        });
    }
    fields
}

/// Against a map that knows nothing of nodes; and what goes into a file comes back.
#[test]
fn as_a_map_would() {
    for (seed, bytes, entries) in
        [(1, 4096, 100), (2, 200, 100), (3, 4096, 3), (4, 0, 0), (5, 1, 1), (6, 300, 7)]
    {
        let (mut rng, limits) = (Rng::new(seed), limits(bytes, entries));
        let (mut log, mut model) = (Log::default(), BTreeMap::<StreamId, Fields>::new());
        let mut last = StreamId::MIN;
        for step in 0..1500u64 {
            let most_ms = last.ms as usize + 2;
            let some = move |rng: &mut Rng| StreamId::new(rng.below(most_ms) as u64, rng.below(3) as u64);
            match rng.below(10) {
                0..=6 => {
                    let wanted = match rng.below(3) {
                        0 => NewId::Auto,
                        1 => NewId::Ms(last.ms + rng.below(2) as u64),
                        _ => NewId::Exact(some(&mut rng)),
                    };
                    let Some(id) = log.new_id(wanted, step / 3) else { continue };
                    assert!(id > last);
                    last = id;
                    let new = random_fields(&mut rng);
                    append(&mut log, &limits, id, &new);
                    model.insert(id, new);
                }
                7 | 8 => {
                    for _ in 0..3 {
                        let id = some(&mut rng);
                        assert_eq!(log.delete(id), model.remove(&id).is_some());
                    }
                }
                _ => {
                    let (keep, whole) = match rng.below(4) {
                        0 => (Keep::From(some(&mut rng)), rng.one_in(2)),
                        _ => (Keep::Newest(rng.below(1 + 2 * model.len()) as u64), rng.one_in(2)),
                    };
                    let before = model.len();
                    let removed = log.trim(keep, whole, 0);
                    let goes = |(n, id): (usize, &StreamId)| match keep {
                        Keep::Newest(keep) => (before - n) as u64 > keep,
                        Keep::From(first) => *id < first,
                    };
                    let most = model.keys().enumerate().take_while(|&x| goes(x)).count() as u64;
                    assert!(
                        if whole { removed <= most } else { removed == most },
                        "{keep:?} {removed} {most}"
                    );
                    (0..removed).for_each(|_| drop(model.pop_first()));
                }
            }
            let totals = log.totals();
            assert_eq!((totals.len, totals.last_id), (model.len() as u64, last));
            assert_eq!(totals.first_id, model.keys().next().copied().unwrap_or_default());
            assert_eq!(log.last_entry_id(), model.keys().last().copied());
            let (from, to) = (some(&mut rng), some(&mut rng));
            let within = |id: &StreamId| from <= *id && *id <= to;
            let mut want: Vec<_> =
                model.iter().filter(|(id, _)| within(id)).map(|(id, f)| (*id, f.clone())).collect();
            assert_eq!(shown(log.range(from, to)), want);
            want.reverse();
            assert_eq!(shown(log.range_rev(from, to)), want);
            assert_eq!(log.get(from).map(|e| fields(&e)), model.get(&from).cloned());
        }
        let mut copy = Log::default();
        for (own, node) in log.nodes() {
            copy.push_node(own, Listpack::from_bytes(node.as_bytes()).unwrap()).unwrap();
        }
        copy.finish(*log.totals()).unwrap();
        assert_eq!(copy.totals(), log.totals());
        assert_eq!(
            shown(copy.range(StreamId::MIN, StreamId::MAX)),
            shown(log.range(StreamId::MIN, StreamId::MAX))
        );
    }
}

#[test]
fn nodes_keep_to_their_limits() {
    let nodes = |bytes, entries, value: usize| {
        let (limits, mut log) = (limits(bytes, entries), Log::default());
        for i in 1..=100 {
            append(&mut log, &limits, StreamId::new(i, 0), &vec![b"f".to_vec(), vec![b'v'; value]]);
        }
        log.nodes().len()
    };
    assert_eq!(nodes(4096, 100, 10), 1);
    assert_eq!(nodes(4096, 30, 10), 4);
    assert_eq!(nodes(4096, 0, 10), 1);
    assert_eq!(nodes(100, 0, 200), 100);
    assert_eq!(nodes(0, 0, 2000), 1);
    // About 4096 bytes with 200 and some each.
    assert!((5..8).contains(&nodes(4096, 0, 200)));
    assert!(fits([&b"a"[..], b"b"].into_iter()));
}

/// Whatever passes the check can be gone over in both directions, changed, and checked again.
#[test]
fn damaged_nodes_do_no_harm() {
    let mut rng = Rng::new(11);
    let limits = limits(4096, 100);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..4000 {
        let (mut log, own) = (Log::default(), StreamId::new(100, 5));
        for i in 0..1 + rng.below(8) as u64 {
            append(&mut log, &limits, StreamId::new(100 + i, 5), &random_fields(&mut rng));
        }
        (round % 2 == 0).then(|| log.delete(StreamId::new(101, 5)));
        let mut bytes = log.nodes().next().unwrap().1.as_bytes().to_vec();
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len());
            bytes[at] = match rng.below(3) {
                0 => rng.next_u64() as u8,
                1 => bytes[at] ^ 1 << rng.below(8),
                _ => bytes[at].wrapping_add(1),
            };
        }
        let node = Listpack::from_bytes(bytes).and_then(|lp| Node::from_listpack(own, lp));
        let Ok((mut node, last)) = node else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let forward = shown(node.entries(own));
        let mut backward = shown(node.entries_rev(own));
        backward.reverse();
        assert_eq!(forward, backward);
        assert_eq!(node.last_id(own), last);
        assert!(forward.is_sorted_by(|a, b| a.0 < b.0));
        let (live, deleted) = node.counts();
        assert_eq!(node.delete_front(own, |_, n| n == live / 2), live / 2);
        let rest = forward.iter().filter(|(id, _)| node.delete(own, *id)).count() as u64;
        assert_eq!((rest, node.counts()), (live - live / 2, (0, live + deleted)));
        let bytes = node.as_bytes().to_vec();
        assert!(Node::from_listpack(own, Listpack::from_bytes(bytes).unwrap()).is_ok());
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} {refused}");
}

/// A flag in a longer form than needed, which only others would write, moves what follows when it is changed.
#[test]
fn numbers_in_longer_forms() {
    let own = StreamId::new(1, 1);
    // Two entries of one field, `f` = `v`; both flags as numbers of 16 bits.
    let entry = |ms: u8| [&[0xf1, 2, 0, 3, ms, 1, 0, 1][..], &[0x81, b'v', 2, 4, 1]].concat();
    let body = [&[2, 1, 0, 1, 1, 1, 0x81, b'f', 2, 0, 1][..], &entry(0), &entry(1)].concat();
    let head = [&((body.len() + 7) as u32).to_le_bytes()[..], &15u16.to_le_bytes()].concat();
    let lp = Listpack::from_bytes([&head[..], &body, &[0xff]].concat()).unwrap();
    let (mut node, last) = Node::from_listpack(own, lp).unwrap();
    assert_eq!((last, node.counts()), (StreamId::new(2, 1), (2, 0)));
    assert_eq!(node.delete_front(own, |_, _| false), 2);
    assert_eq!(node.entries_rev(own).map(|e| e.is_live()).collect::<Vec<_>>(), [false, false]);
}

#[test]
fn groups_and_their_consumers_agree() {
    let mut rng = Rng::new(9);
    let mut group = Group::new(StreamId::MIN, None);
    let names = [&b"alice"[..], b"bob", b"", b"carol", b"zoe"];
    for step in 0..5000 {
        let (name, entry) = (names[rng.below(names.len())], StreamId::new(rng.below(50) as u64, 0));
        match rng.below(8) {
            0 => {
                let pending = group.find(name).map(|id| group.get(id).pending().len());
                assert_eq!(group.remove_consumer(name), pending);
                assert_eq!(group.find(name), None);
            }
            1..=5 => {
                let made = group.add_consumer(name, step);
                let consumer = made.or_else(|| group.find(name)).unwrap();
                assert_eq!(group.get(consumer).name(), name);
                let pending = Pending { consumer, delivered_ms: step, deliveries: 1 };
                group.set_pending(entry, pending);
                assert_eq!(group.pending(entry), Some(pending));
            }
            _ => {
                let before = group.pending(entry);
                assert_eq!(group.acknowledge(entry), before);
                assert_eq!(group.pending(entry), None);
            }
        }
        let mut all: Vec<_> =
            group.consumers().flat_map(|c| c.pending().iter().map(|(id, _)| (id, c.name()))).collect();
        all.sort();
        let of_group: Vec<_> =
            group.all_pending().iter().map(|(id, p)| (id, group.get(p.consumer).name())).collect();
        assert_eq!(all, of_group);
        assert!(group.consumers().map(|c| c.name()).is_sorted());
    }
}

#[test]
fn how_far_a_group_has_come() {
    let (limits, mut log) = (limits(4096, 100), Log::default());
    let id = |ms| StreamId::new(ms, 0);
    let mut group = Group::new(id(0), None);
    assert_eq!(lag(log.totals(), &group), Some(0));
    for ms in 1..=5 {
        append(&mut log, &limits, id(ms), &vec![b"f".to_vec(), b"v".to_vec()]);
    }
    assert_eq!(lag(log.totals(), &group), Some(5));
    assert!(advance(log.totals(), &mut group, id(1)));
    assert_eq!((group.entries_read, lag(log.totals(), &group)), (Some(1), Some(4)));
    // What is read again counts once.
    assert!(!advance(log.totals(), &mut group, id(1)));
    // Behind a deleted entry nothing is known, until its end is reached.
    log.delete(id(4));
    assert_eq!(lag(log.totals(), &group), None);
    assert!(advance(log.totals(), &mut group, id(2)));
    assert_eq!((group.entries_read, lag(log.totals(), &group)), (None, None));
    assert!(advance(log.totals(), &mut group, id(5)));
    assert_eq!((group.entries_read, lag(log.totals(), &group)), (Some(5), Some(0)));
}
