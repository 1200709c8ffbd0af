use super::super::dict::HashSeed;
use super::super::listpack::validate;
use super::*;
use std::collections::BTreeMap;

fn limits() -> Limits {
    Limits::new(HashSeed::repeatable(0))
}

fn owned<'a>(items: impl Iterator<Item = (Elem<'a>, f64)>) -> Vec<(Vec<u8>, f64)> {
    items.map(|(m, s)| (m.to_bytes().into_owned(), s)).collect()
}

fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
    all.sort_by(|a, b| compare((a.1, &a.0), (b.1, &b.0)));
    all
}

fn score(rng: &mut Rng) -> f64 {
    match rng.below(8) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => rng.below(1000) as f64 / 8.0,
        3 => f64::from_bits(rng.next_u64() & !(0x7ff << 52) | (1000 + rng.below(60) as u64) << 52),
        _ => rng.below(20) as f64 - 10.0,
    }
}

/// The listpack inside the DUMP payload of redis-server 7.0 for ZADD with scores of every kind.
#[test]
fn has_the_bytes_that_redis_writes() {
    let mut z = ZSet::new();
    for (s, m) in [
        (-0.0, "a"),
        (1.5, "b"),
        (f64::INFINITY, "c"),
        (f64::NEG_INFINITY, "d"),
        (3.0, "e"),
        (1e20, "f"),
        (0.1, "g"),
        (123456789012.0, "h"),
        (1e17, "i"),
        (-4.5e18, "j"),
    ] {
        assert_eq!(z.insert(&limits(), m.as_bytes(), s), None);
    }
    let hex: String = z.as_listpack().unwrap().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "730000001400816402842d696e6605816a02f40000be8ed7c98cc109816102000181670293302e3130303030303030303030303030\
         3030311481620283312e35048165020301816802f4141a99be1c00000009816902f400008a5d78456301098166028531652b323006\
         81630283696e6604ff"
    );
}

#[test]
fn behaves_like_a_sorted_map() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let limits = limits();
        let (mut z, mut model) = (ZSet::new(), BTreeMap::new());
        let space = if seed % 2 == 0 { 100 } else { 1500 };
        for step in 0..4000 {
            let n = rng.below(space);
            let m = if n.is_multiple_of(3) { n.to_string() } else { format!("m{n}") }.into_bytes();
            match rng.below(10) {
                0..6 => {
                    let s = score(&mut rng);
                    assert_eq!(z.insert(&limits, &m, s), model.insert(m, s));
                }
                6..9 => assert_eq!(z.remove(&m), model.remove(&m)),
                _ if rng.one_in(20) => {
                    let from = rng.below(model.len() + 1);
                    let to = from + rng.below(10);
                    let mut gone = vec![];
                    let count =
                        z.remove_range(from..to, &mut |m, s| gone.push((m.to_bytes().into_owned(), s)));
                    let all = sorted(&model);
                    assert_eq!(gone, all[from..to.min(all.len())]);
                    assert_eq!(count, gone.len());
                    model.retain(|m, _| gone.iter().all(|g| g.0 != *m));
                }
                _ => {}
            }
            let probe = rng.below(space).to_string().into_bytes();
            assert_eq!((z.score(&probe), z.len()), (model.get(&probe).copied(), model.len()));
            if step % 200 == 0 {
                let all = sorted(&model);
                assert_eq!(owned(z.iter()), all);
                if let Some(lp) = z.as_listpack() {
                    validate(lp.as_bytes()).unwrap();
                }
                for _ in 0..20 {
                    let probe = rng.below(space).to_string().into_bytes();
                    assert_eq!(z.rank(&probe), all.iter().position(|(m, _)| *m == probe));
                    let (from, to) = (rng.below(all.len() + 1), rng.below(all.len() + 3));
                    let want = &all[from..to.min(all.len()).max(from)];
                    assert_eq!(owned(z.range(from..to)), want);
                    assert!(owned(z.range(from..to).rev()).iter().eq(want.iter().rev()));
                    let bound = |rng: &mut Rng| ScoreBound { score: score(rng), exclusive: rng.one_in(2) };
                    let (min, max) = (bound(&mut rng), bound(&mut rng));
                    let inside = |s: f64| {
                        (s > min.score || !min.exclusive && s == min.score)
                            && (s < max.score || !max.exclusive && s == max.score)
                    };
                    let want: Vec<_> = all.iter().filter(|(_, s)| inside(*s)).cloned().collect();
                    let ranks = z.by_score(min, max);
                    assert_eq!(ranks.len(), want.len());
                    assert_eq!(owned(z.range(ranks)), want);
                    let (m, s) = z.random(&mut rng).unwrap_or((Elem::Int(0), 0.0));
                    assert!(all.is_empty() || model[&*m.to_bytes()] == s);
                }
            }
        }
        assert_eq!(z.encoding(), if space == 100 { "listpack" } else { "skiplist" });
        let copy = z.clone();
        z.insert(&limits, b"only in one", 1.0);
        assert_eq!(owned(copy.iter()), sorted(&model));
        z.remove(b"only in one");
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = z.scan(cursor, &mut |m, s| {
                seen.insert(m.to_bytes().into_owned(), s);
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, model);
    }
}

#[test]
fn ranges_of_members() {
    for n in [100, 1000] {
        let limits = limits();
        let (mut z, mut model) = (ZSet::new(), BTreeMap::new());
        for i in 0..n {
            z.insert(&limits, (i * 2).to_string().as_bytes(), 0.0);
            model.insert((i * 2).to_string().into_bytes(), 0.0);
        }
        let all = sorted(&model);
        let mut rng = Rng::new(1);
        for _ in 0..500 {
            let (a, b) = (rng.below(2 * n).to_string(), rng.below(2 * n).to_string());
            let bound = |rng: &mut Rng, s| match rng.below(6) {
                0 => LexBound::Min,
                1 => LexBound::Max,
                2 | 3 => LexBound::Inclusive(s),
                _ => LexBound::Exclusive(s),
            };
            let min = bound(&mut rng, a.as_bytes());
            let max = bound(&mut rng, b.as_bytes());
            let inside = |m: &[u8]| {
                let from = match min {
                    LexBound::Min => true,
                    LexBound::Max => false,
                    LexBound::Inclusive(s) => m >= s,
                    LexBound::Exclusive(s) => m > s,
                };
                from && match max {
                    LexBound::Min => false,
                    LexBound::Max => true,
                    LexBound::Inclusive(s) => m <= s,
                    LexBound::Exclusive(s) => m < s,
                }
            };
            let want: Vec<_> = all.iter().filter(|(m, _)| inside(m)).cloned().collect();
            assert_eq!(owned(z.range(z.by_lex(min, max))), want);
        }
    }
}

#[test]
fn converts_where_redis_does() {
    let limits = limits();
    let mut z = ZSet::new();
    for i in 0..128 {
        z.insert(&limits, format!("{i}").as_bytes(), 1.0);
    }
    z.insert(&limits, b"5", 2.0);
    assert_eq!((z.encoding(), z.len()), ("listpack", 128));
    z.insert(&limits, b"128", 1.0);
    assert_eq!((z.encoding(), z.len(), z.rank(b"5")), ("skiplist", 129, Some(128)));
    let mut z = ZSet::new();
    z.insert(&limits, &[b'm'; 65], 1.0);
    assert_eq!(z.encoding(), "skiplist");
    // As in Redis, 0 and -0 are the same score: the first one stays.
    z.insert(&limits, b"zero", 0.0);
    assert_eq!(z.insert(&limits, b"zero", -0.0), Some(0.0));
    assert!(z.score(b"zero").is_some_and(|s| s.is_sign_positive()));
    // Nothing but the table and one place in the tree holds a member, whatever has happened.
    let Size::Large(t) = z.0.get_mut() else { panic!("it is a tree") };
    for i in 0..1000 {
        t.insert(format!("{}", i % 300).as_bytes(), f64::from(i * 7 % 100));
    }
    for i in 0..290 {
        t.remove(i.to_string().as_bytes());
    }
    assert!(t.members.iter().all(|m| Arc::strong_count(m) <= 4));
    assert_eq!(t.order.len(), t.members.len());
}

#[test]
fn listpacks_from_files_are_checked() {
    let limits = limits();
    let lp = |items: &[&str]| {
        let mut lp = Listpack::new();
        items.iter().for_each(|s| lp.push_back(Elem::Bytes(s.as_bytes())));
        lp
    };
    for bad in [&["a"][..], &["a", "x"], &["a", "nan"], &["a", "1", "a", "2"]] {
        assert!(ZSet::from_listpack(lp(bad), &limits).is_err(), "{bad:?}");
    }
    let z = ZSet::from_listpack(lp(&["b", "2", "a", "1.5", "c", "inf"]), &limits).unwrap();
    assert_eq!(owned(z.iter()), [(b"a".to_vec(), 1.5), (b"b".to_vec(), 2.0), (b"c".to_vec(), f64::INFINITY)]);
    let strict = Limits { zset_max_listpack_entries: 1, ..limits };
    let z = ZSet::from_listpack(lp(&["a", "1", "b", "2"]), &strict).unwrap();
    assert_eq!((z.encoding(), z.len()), ("skiplist", 2));
}
