use super::super::str::Str;
use super::super::value::ValueRef;
use super::*;
use std::collections::{BTreeMap, HashMap};

fn text(s: &str) -> Value {
    Value::Str(Str::new(s.as_bytes()))
}

fn shown(e: &KeyEntry) -> String {
    match e.value() {
        ValueRef::Str(s) => String::from_utf8(s.to_bytes().into_owned()).unwrap(),
        v => v.type_name().into(),
    }
}

fn keyspace() -> Keyspace {
    Keyspace::new(4, HashSeed::repeatable(1))
}

#[test]
fn expired_keys_are_invisible_but_there() {
    let mut ks = keyspace();
    assert!(ks.insert(0, b"a", text("1"), Some(100)).is_none());
    assert!(ks.insert(0, b"b", text("2"), None).is_none());
    assert!(ks.lookup(0, b"a", 100).is_some());
    assert!(ks.lookup(0, b"a", 101).is_none());
    assert!(ks.lookup_write(0, b"a", 101).is_none());
    assert!(ks.lookup_write(0, b"a", SEE_ALL).is_some());
    assert!(ks.peek(0, b"a").unwrap().is_expired(101));
    assert_eq!((ks.len(0), ks.expires(0), ks.next_expiry()), (2, 1, Some(100)));
    assert_eq!(ks.expired_keys(100, 9), []);
    assert_eq!(ks.expired_keys(101, 9), [(0, b"a".to_vec())]);
    // What replaces it is fresh, without its expiry.
    let (e, made) = ks.get_or_insert(0, b"a", 101, || text("new"));
    assert!(made && shown(e) == "new" && e.expire_at().is_none());
    assert_eq!((ks.len(0), ks.expires(0), ks.next_expiry()), (2, 0, None));
    let (e, made) = ks.get_or_insert(0, b"a", 101, || text("other"));
    assert!(!made && shown(e) == "new");
}

#[test]
fn flush_and_swap() {
    let mut ks = keyspace();
    for i in 0..100 {
        ks.insert(1, format!("k{i}").as_bytes(), text("v"), Some(5));
    }
    ks.swap(1, 2);
    assert_eq!((ks.len(1), ks.len(2), ks.expires(2)), (0, 100, 100));
    assert_eq!(ks.flush_all(), 100);
    assert!(ks.is_empty() && ks.expires(2) == 0 && ks.expired_keys(10, 9).is_empty());
    let garbage = ks.take_garbage();
    assert_eq!(garbage.iter().map(|g| g.len()).sum::<usize>(), 100);
    assert!(ks.take_garbage().is_empty());
}

#[test]
fn choices_for_eviction() {
    let mut ks = keyspace();
    for i in 0..1000 {
        ks.insert(0, format!("k{i}").as_bytes(), text("v"), (i % 100 == 0).then_some(1000 + i));
    }
    let mut rng = Rng::new(1);
    let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..2000 {
        let e = ks.random_volatile(0, &mut rng).unwrap();
        assert!(e.expire_at().is_some());
        *seen.entry(e.key().to_vec()).or_default() += 1;
    }
    assert_eq!(seen.len(), 10, "{seen:?}");
    assert_eq!(ks.soonest(0).unwrap().key(), b"k0");
    assert_eq!(ks.avg_ttl_ms(0, 400), 1050);
    // All keys but one have expired.
    for i in 1..1000 {
        ks.set_expire(0, format!("k{i}").as_bytes(), Some(1));
    }
    ks.set_expire(0, b"k0", None);
    assert!(ks.random(1, &mut rng).is_none());
    for i in 0..990 {
        ks.remove(0, format!("k{}", i + 1).as_bytes()).unwrap();
    }
    assert!(ks.random(0, &mut rng).is_some());
    assert!(ks.memory_estimate(0, &mut rng, 20) > 10 * 32);
}

#[test]
fn slots() {
    let mut ks = keyspace();
    for i in 0..500 {
        ks.insert(0, format!("{{t{}}}{i}", i % 5).as_bytes(), text(""), None);
    }
    let slot = key_slot(b"t3");
    assert_eq!(ks.count_in_slot(slot), 100);
    assert_eq!(ks.keys_in_slot(slot, 7).len(), 7);
    assert!(ks.keys_in_slot(slot, 7).iter().all(|k| k.starts_with(b"{t3}")));
}

type Content = BTreeMap<(usize, Vec<u8>), (String, Option<i64>)>;

/// Those given, and the one that is being given in parts.
#[derive(Default)]
struct Recorder(Content, Option<(Vec<u8>, String)>);

impl SnapshotSink for Recorder {
    /// As if a value were large.
    fn in_parts(&self, e: &KeyEntry) -> bool {
        e.key().len().is_multiple_of(2)
    }

    fn part(&mut self, db: usize, e: &KeyEntry, from: usize) -> Option<usize> {
        const PARTS: usize = 4;
        let is = (e.key().to_vec(), shown(e));
        let was = self.1.take();
        assert_eq!(was.is_some(), from > 0);
        assert!(was.is_none_or(|was| was == is), "another one, or changed in between");
        if from + 1 < PARTS {
            self.1 = Some(is);
            return Some(from + 1);
        }
        self.entry(db, e);
        None
    }

    fn entry(&mut self, db: usize, e: &KeyEntry) {
        assert!(self.1.is_none(), "given between the parts of another");
        let twice = self.0.insert((db, e.key().to_vec()), (shown(e), e.expire_at()));
        assert!(twice.is_none(), "given twice: {db} {:?}", e.key());
    }
}

fn content(ks: &Keyspace) -> Content {
    (0..ks.databases())
        .flat_map(|db| ks.iter(db).map(move |e| ((db, e.key().to_vec()), (shown(e), e.expire_at()))))
        .collect()
}

/// One random change, made to the keyspace and to the model alike; the model also answers what reads must answer.
fn change(ks: &mut Keyspace, model: &mut Content, rng: &mut Rng, now: i64, space: usize) {
    let db = rng.below(3);
    let key = format!("key:{}", rng.below(space)).into_bytes();
    let at = (db, key.clone());
    let live = |m: &Content| m.get(&at).is_some_and(|(_, x)| x.is_none_or(|x| now <= x));
    match rng.below(200) {
        0..60 => {
            let (v, x) = (rng.next_u64().to_string(), rng.one_in(2).then(|| now + rng.below(50) as i64));
            let old = ks.insert(db, &key, text(&v), x);
            assert_eq!(old.is_some(), model.insert(at, (v, x)).is_some());
        }
        60..110 => {
            let old = ks.remove(db, &key).map(|e| (shown(&e), e.expire_at()));
            assert_eq!(old, model.remove(&at));
        }
        110..140 => {
            let e = ks.lookup_write(db, &key, now);
            assert_eq!(e.is_some(), live(model));
            if let Some(e) = e {
                e.replace(text("written"));
                model.get_mut(&at).unwrap().0 = "written".into();
            }
        }
        140..165 => {
            let x = rng.one_in(2).then(|| now + rng.below(50) as i64);
            assert_eq!(ks.set_expire(db, &key, x), model.contains_key(&at));
            model.entry(at).and_modify(|m| m.1 = x);
        }
        165..185 => {
            let (e, made) = ks.get_or_insert(db, &key, now, || text("made"));
            e.replace(text("got"));
            assert_eq!(made, !live(model));
            let x = if made { None } else { model[&at].1 };
            model.insert(at, ("got".into(), x));
        }
        185..198 => {
            for (db, key) in ks.expired_keys(now, 3) {
                let e = ks.remove(db, &key).unwrap();
                assert!(e.is_expired(now));
                assert!(model.remove(&(db, key)).unwrap().1.unwrap() < now);
            }
        }
        198 if rng.one_in(3) => {
            let had = ks.flush(db);
            assert_eq!(had, model.keys().filter(|k| k.0 == db).count());
            model.retain(|k, _| k.0 != db);
        }
        _ if rng.one_in(3) => {
            let other = rng.below(3);
            ks.swap(db, other);
            let swapped = |n| {
                if n == db {
                    other
                } else if n == other {
                    db
                } else {
                    n
                }
            };
            *model = std::mem::take(model).into_iter().map(|((n, k), v)| ((swapped(n), k), v)).collect();
        }
        _ => {}
    }
}

#[test]
fn a_snapshot_is_one_moment() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let (mut ks, mut model) = (keyspace(), Content::new());
        let space = 20 + rng.below(3000);
        let mut now = 1000;
        for _ in 0..rng.below(6000) {
            change(&mut ks, &mut model, &mut rng, now, space);
        }
        for round in 0..4 {
            let expected = content(&ks);
            assert_eq!(expected, model);
            ks.begin_snapshot(Box::new(Recorder::default())).unwrap();
            assert_eq!(ks.begin_snapshot(Box::new(Recorder::default())), Err(SnapshotInProgress));
            let mut steps = 0;
            let complete = loop {
                if ks.snapshot_step(1 + rng.below(3)) {
                    break true;
                }
                steps += 1;
                if round == 1 && steps > 15 {
                    break false;
                }
                now += rng.below(3) as i64;
                for _ in 0..rng.below(20) {
                    change(&mut ks, &mut model, &mut rng, now, space);
                }
                let sink: &mut dyn Any = ks.snapshot_sink().unwrap();
                assert!(sink.downcast_ref::<Recorder>().is_some());
            };
            let sink: Box<dyn Any> = ks.end_snapshot().unwrap();
            let got = sink.downcast::<Recorder>().unwrap().0;
            if complete {
                assert_eq!(got, expected);
            } else {
                assert!(got.iter().all(|(k, v)| expected.get(k) == Some(v)));
            }
            ks.take_garbage();
            assert_eq!(content(&ks), model);
            for db in 0..4 {
                let expiring = model.iter().filter(|(k, v)| k.0 == db && v.1.is_some());
                assert_eq!(ks.expires(db), expiring.clone().count());
                assert_eq!(
                    ks.soonest(db).and_then(|e| e.expire_at()),
                    expiring.map(|(_, v)| v.1.unwrap()).min()
                );
            }
        }
    }
}
