use super::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Clone, Debug, PartialEq)]
struct Pair {
    key: Vec<u8>,
    value: u64,
}

impl Entry for Box<Pair> {
    fn key(&self) -> &[u8] {
        &self.key
    }
}

fn key(i: usize) -> Vec<u8> {
    format!("key:{i}").into_bytes()
}

fn pair(i: usize, value: u64) -> Box<Pair> {
    Box::new(Pair { key: key(i), value })
}

fn dict() -> Dict<Box<Pair>> {
    Dict::new(HashSeed::repeatable(7))
}

/// Structure: counters are right, chains dense enough, every entry where its hash says.
fn check(d: &Dict<Box<Pair>>) {
    let (mut len, mut overflow) = (0, 0);
    assert_eq!(d.buckets, d.segments.iter().map(Vec::len).sum::<usize>());
    for i in 0..d.buckets {
        for (depth, b) in Chain(Some(d.bucket(i))).enumerate() {
            overflow += usize::from(depth > 0);
            assert!(depth < d.longest);
            assert!(depth == 0 || b.entries.iter().any(Option::is_some), "empty overflow bucket");
            for (slot, e) in b.entries.iter().enumerate() {
                assert_eq!(e.is_none(), b.meta[slot] == 0);
                if let Some(e) = e {
                    len += 1;
                    let hash = d.seed.hash(e.key());
                    assert_eq!((d.address(hash), tag_of(hash)), (i, b.meta[slot]));
                }
            }
        }
    }
    assert_eq!((len, overflow), (d.len, d.overflow));
}

#[test]
fn room_is_made_beforehand() {
    let mut d = dict();
    d.reserve(10_000);
    let buckets = d.buckets();
    for i in 0..10_000 {
        assert!(d.insert(pair(i, 1)).is_none());
    }
    check(&d);
    assert_eq!(d.buckets(), buckets);
    d.reserve(100_000);
    assert_eq!((d.buckets(), d.len()), (buckets, 10_000));
    assert!((0..10_000).all(|i| d.contains(&key(i))));
    // Too much room goes again.
    let mut d = dict();
    d.reserve(10_000);
    for i in 0..2000 {
        d.insert(pair(i, 1));
        d.remove(&key(i));
    }
    check(&d);
    assert!(d.buckets() < buckets);
}

#[test]
fn a_bucket_is_a_cache_line() {
    assert_eq!(size_of::<Bucket<Box<Pair>>>(), 64);
}

#[test]
fn behaves_like_a_hash_map() {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let mut d = dict();
        let mut model: HashMap<Vec<u8>, u64> = HashMap::new();
        for step in 0..30_000 {
            // The table grows to thousands of entries and shrinks again.
            let growing = step / 10_000 != 1;
            let i = rng.below(6000);
            match rng.below(if growing { 4 } else { 3 }) {
                0 if growing => {
                    let (e, made) = d.find_or_insert_with(&key(i), || pair(i, 1));
                    e.value += 1;
                    assert_eq!(made, !model.contains_key(&key(i)));
                    *model.entry(key(i)).or_insert(1) += 1;
                }
                0 | 1 => {
                    assert_eq!(d.remove(&key(i)).map(|e| e.value), model.remove(&key(i)));
                }
                2 => {
                    if let Some(e) = d.find_mut(&key(i)) {
                        e.value += 10;
                        *model.get_mut(&key(i)).unwrap() += 10;
                    }
                }
                _ => {
                    let v = rng.next_u64();
                    assert_eq!(d.insert(pair(i, v)).map(|e| e.value), model.insert(key(i), v));
                }
            }
            assert_eq!(d.len(), model.len());
            let i = rng.below(6000);
            assert_eq!(d.find(&key(i)).map(|e| e.value), model.get(&key(i)).copied());
            if step % 3000 == 0 {
                check(&d);
            }
        }
        check(&d);
        let all: HashMap<Vec<u8>, u64> = d.iter().map(|e| (e.key.clone(), e.value)).collect();
        assert_eq!(all, model);
        for k in model.keys() {
            assert!(d.remove(k).is_some());
        }
        check(&d);
        assert_eq!((d.len(), d.buckets(), d.overflow), (0, 1, 0));
    }
}

#[test]
fn growth_spans_segments_and_memory_is_given_back() {
    let mut d = dict();
    for i in 0..60_000 {
        assert!(d.insert(pair(i, 0)).is_none());
    }
    assert!(d.segments.len() > 5);
    check(&d);
    let per_entry = d.bytes() as f64 / 60_000.0;
    assert!(per_entry < 22.0, "{per_entry} bytes per entry");
    for i in 0..60_000 {
        assert!(d.remove(&key(i)).is_some());
    }
    assert!(d.bytes() < 2000, "{}", d.bytes());
    let mut remains = {
        for i in 0..10_000 {
            d.insert(pair(i, 0));
        }
        d.into_remains()
    };
    let mut steps = 0;
    while !remains.free_some(100) {
        steps += 1;
        assert!(!remains.is_empty() && remains.len() <= 10_000 - steps * 100);
    }
    assert!((50..=100).contains(&steps), "{steps}");
}

#[test]
fn scan_misses_nothing_that_stays() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut d = dict();
        let mut present: BTreeSet<usize> = BTreeSet::new();
        for i in 0..rng.below(3000) {
            d.insert(pair(i, 0));
            present.insert(i);
        }
        let mut stayed = present.clone();
        let mut seen: BTreeSet<usize> = BTreeSet::new();
        let (mut cursor, mut calls) = (0, 0);
        let grow = rng.one_in(2);
        loop {
            let before = cursor;
            cursor = d.scan(cursor, &mut |e| {
                seen.insert(std::str::from_utf8(&e.key[4..]).unwrap().parse().unwrap());
            });
            calls += 1;
            assert!(cursor < 1 << CURSOR_BITS);
            assert!(cursor == 0 || cursor > before, "a scan comes to an end");
            if cursor == 0 {
                break;
            }
            for _ in 0..rng.below(12) {
                let i = rng.below(4000);
                if rng.below(10) < if grow { 8 } else { 2 } {
                    d.insert(pair(i, 1));
                    present.insert(i);
                } else {
                    d.remove(&key(i));
                    present.remove(&i);
                    stayed.remove(&i);
                }
            }
        }
        assert!(stayed.is_subset(&seen), "missed {:?} in {calls} calls", stayed.difference(&seen));
    }
}

#[test]
fn position_tells_what_a_scan_has_passed() {
    let mut d = dict();
    for i in 0..1000 {
        d.insert(pair(i, 0));
    }
    let mut cursor = 0;
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        cursor = d.scan(cursor, &mut |e| {
            seen.insert(e.key.clone());
        });
    }
    for i in 0..1000 {
        assert_eq!(seen.contains(&key(i)), d.position(&key(i)) < cursor);
    }
}

#[test]
fn random_is_fair() {
    let mut d = dict();
    for i in 0..1000 {
        d.insert(pair(i, 0));
    }
    for n in [1000, 40] {
        for i in n..1000 {
            d.remove(&key(i));
        }
        let mut rng = Rng::new(3);
        let mut hits: HashMap<Vec<u8>, u32> = HashMap::new();
        for _ in 0..n * 200 {
            *hits.entry(d.random(&mut rng).unwrap().key.clone()).or_default() += 1;
        }
        assert_eq!(hits.len(), n);
        assert!(hits.values().all(|&h| (120..290).contains(&h)), "{:?}", hits.values().max());
    }
    assert!(dict().random(&mut Rng::new(1)).is_none());
}

/// The heart of snapshots: whatever happens meanwhile, a walk yields exactly the table as it was when it began.
#[test]
fn a_walk_is_a_snapshot() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut d = dict();
        for i in 0..rng.below(2500) {
            d.insert(pair(i, rng.next_u64()));
        }
        for round in 0..3 {
            let expected: BTreeMap<Vec<u8>, u64> = d.iter().map(|e| (e.key.clone(), e.value)).collect();
            let mut seen: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
            // Boxes are what the table holds.
            #[allow(clippy::borrowed_box)]
            let mut sink = |e: &Box<Pair>| {
                assert!(seen.insert(e.key.clone(), e.value).is_none(), "given twice");
            };
            d.begin_walk();
            let bias = rng.below(10);
            // The last round is abandoned half way, which must not disturb the next.
            let give_up = round == 1;
            let mut steps = 0;
            while !d.walk(rng.below(4), &mut sink) {
                steps += 1;
                if give_up && steps > 20 {
                    break;
                }
                for _ in 0..rng.below(30) {
                    let i = rng.below(4000);
                    d.touch(&key(i), &mut sink);
                    match rng.below(12) {
                        0 => {
                            if let Some(e) = d.find_mut(&key(i)) {
                                e.value = 0;
                            }
                        }
                        1 => d.find_or_insert_with(&key(i), || pair(i, 9)).0.value += 1,
                        n if n < bias + 2 => drop(d.insert(pair(i, 5))),
                        _ => drop(d.remove(&key(i))),
                    }
                }
            }
            if !give_up {
                assert_eq!(seen, expected);
                assert!(!d.is_walking());
            }
            check(&d);
        }
    }
}

/// Stamps are bytes: they come round again, and must not be taken for those of the walk under way.
#[test]
fn any_number_of_walks_can_be_given_up() {
    let mut rng = Rng::new(5);
    let mut d = dict();
    for i in 0..600 {
        d.insert(pair(i, 1));
    }
    for round in 0..1200 {
        d.begin_walk();
        let mut seen = BTreeMap::new();
        #[allow(clippy::borrowed_box)]
        let mut sink = |e: &Box<Pair>| assert!(seen.insert(e.key.clone(), e.value).is_none());
        let expected: BTreeMap<Vec<u8>, u64> = d.iter().map(|e| (e.key.clone(), e.value)).collect();
        let done = d.walk(rng.below(20), &mut sink);
        for _ in 0..3 {
            let i = rng.below(900);
            d.touch(&key(i), &mut sink);
            if rng.one_in(2) {
                d.insert(pair(i, round));
            } else {
                d.remove(&key(i));
            }
        }
        if round % 300 == 299 {
            assert!(done || d.walk(usize::MAX, &mut sink));
            assert_eq!(seen, expected);
        }
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "without touch")]
fn a_change_without_touch_is_caught() {
    let mut d = dict();
    d.insert(pair(1, 1));
    d.begin_walk();
    d.find_mut(&key(1));
}
