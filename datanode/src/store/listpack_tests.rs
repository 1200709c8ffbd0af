use super::super::num::IntBuf;
use super::super::rng::Rng;
use super::*;

fn hex(s: &str) -> Vec<u8> {
    (0..s.len() / 2).map(|i| u8::from_str_radix(&s[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn pack(items: &[&str]) -> Listpack {
    let mut lp = Listpack::new();
    items.iter().for_each(|s| lp.push_back(Elem::Bytes(s.as_bytes())));
    lp
}

fn texts(lp: &Listpack) -> Vec<Vec<u8>> {
    lp.iter().map(|e| e.to_bytes().into_owned()).collect()
}

/// The listpacks inside DUMP payloads of redis-server 7.0 (RPUSH, HSET).
#[test]
fn has_the_bytes_that_redis_writes() {
    let numbers = [
        "a",
        "b",
        "1",
        "-5",
        "200",
        "5000",
        "-40000",
        "100000",
        "3000000000",
        "9223372036854775807",
        "12345678901234567890",
    ];
    let lp = pack(&numbers);
    let want = "4d0000000b008161028162020101dffb02c0c802f1881303f2c063ff04f2a0860104f4005ed0b20000000009f4\
                ffffffffffffff7f0994313233343536373839303132333435363738393015ff";
    assert_eq!(lp.as_bytes(), hex(want));

    let long = [String::from_utf8(vec![b'x'; 100]).unwrap(), String::from_utf8(vec![b'y'; 5000]).unwrap()];
    let lp = pack(&[&long[0], &long[1]]);
    let mut want = hex("fd1300000200e064");
    want.extend([b'x'; 100]);
    want.extend(hex("66f088130000"));
    want.extend([b'y'; 5000]);
    want.extend(hex("278dff"));
    assert_eq!(lp.as_bytes(), want);

    let lp = pack(&["f", "v", "n", "127", "m", "128"]);
    assert_eq!(lp.as_bytes(), hex("180000000600816602817602816e027f01816d02c08002ff"));
}

#[test]
fn every_integer_width_survives() {
    let mut lp = Listpack::new();
    let mut all = vec![];
    for bits in 0..64 {
        for delta in -2i64..=2 {
            let n = (1i64 << bits).wrapping_add(delta);
            all.extend([n, n.wrapping_neg()]);
        }
    }
    for &n in &all {
        lp.push_back(Elem::Int(n));
    }
    validate(lp.as_bytes()).unwrap();
    for (i, e) in lp.iter().enumerate() {
        assert!(matches!(e, Elem::Int(n) if n == all[i]), "{e:?} {}", all[i]);
    }
    assert_eq!(lp.iter().rev().count(), all.len());
}

#[test]
fn every_string_length_survives() {
    let mut sizes = vec![0, 1, 63, 64, 125, 126, 127, 128, 4095, 4096, 16376, 16377, 16378, 16379, 16380];
    sizes.extend([16381, 16382, 16383, 16384, 16385, 2097140, 2097145, 2097150, 2097155]);
    let mut lp = Listpack::new();
    for &n in &sizes {
        lp.push_back(Elem::Bytes(&vec![b'z'; n]));
    }
    validate(lp.as_bytes()).unwrap();
    assert!(lp.iter().map(|e| e.len()).eq(sizes.iter().copied()));
    assert!(lp.iter().rev().map(|e| e.len()).eq(sizes.iter().rev().copied()));
}

fn random_item(rng: &mut Rng) -> Vec<u8> {
    match rng.below(4) {
        0 => IntBuf::new().format((rng.next_u64() >> rng.below(64)) as i64).to_vec(),
        1 => IntBuf::new().format(-(rng.below(9000) as i64)).to_vec(),
        2 => vec![b'a' + rng.below(26) as u8; rng.below(8)],
        _ => vec![b'0' + rng.below(10) as u8; rng.below(200)],
    }
}

#[test]
fn behaves_like_a_vec() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let (mut lp, mut model): (Listpack, Vec<Vec<u8>>) = (Listpack::new(), vec![]);
        for _ in 0..400 {
            let item = random_item(&mut rng);
            let e = Elem::Bytes(&item);
            let i = rng.below(model.len());
            let pos = lp.seek(i as i64);
            assert_eq!(pos.is_some(), i < model.len());
            match (rng.below(8), pos) {
                (0, _) => {
                    lp.push_back(e);
                    model.push(item);
                }
                (1, _) => {
                    lp.push_front(e);
                    model.insert(0, item);
                }
                (2, Some(p)) if rng.one_in(2) => {
                    let second = random_item(&mut rng);
                    lp.insert_pair_before(p, e, Elem::Bytes(&second));
                    model.splice(i..i, [item, second]);
                }
                (2, Some(p)) => {
                    lp.insert_before(p, e);
                    model.insert(i, item);
                }
                (3, Some(p)) => {
                    let at = lp.insert_after(p, e);
                    assert!(lp.get(at).eq_bytes(&item));
                    model.insert(i + 1, item);
                }
                (4, Some(p)) => {
                    lp.replace(p, e);
                    model[i] = item;
                }
                (5, Some(p)) if rng.one_in(2) => {
                    let n = rng.below(4);
                    let next = lp.remove(p, n);
                    model.drain(i..(i + n).min(model.len()));
                    assert_eq!(next.map(|p| lp.get(p).to_bytes().into_owned()), model.get(i).cloned());
                }
                (6, Some(p)) if rng.one_in(10) => {
                    let tail = lp.split_off(p);
                    assert_eq!(texts(&tail), model[i..]);
                    assert_eq!(texts(&lp), model[..i]);
                    validate(tail.as_bytes()).unwrap();
                    validate(lp.as_bytes()).unwrap();
                    if rng.one_in(2) {
                        lp.append(tail.iter());
                    } else {
                        let mut all = tail;
                        all.prepend(lp.iter());
                        lp = all;
                    }
                }
                _ => {}
            }
            validate(lp.as_bytes()).unwrap();
            assert_eq!(lp.len(), model.len());
        }
        assert_eq!(texts(&lp), model);
        let backwards: Vec<_> = lp.iter().rev().map(|e| e.to_bytes().into_owned()).collect();
        assert!(backwards.iter().eq(model.iter().rev()));
        let n = model.len() as i64;
        for i in -n - 2..n + 2 {
            let want = model.get(if i < 0 { i + n } else { i } as usize);
            assert_eq!(lp.seek(i).map(|p| lp.get(p).to_bytes().into_owned()).as_ref(), want);
        }
        for item in &model {
            let at = lp.find(lp.first(), item, 1).unwrap();
            let index = model.iter().position(|m| m == item).unwrap() as i64;
            assert_eq!(Some(at), lp.seek(index));
        }
        assert_eq!(lp.find(lp.first(), b"not in there", 1), None);
    }
}

#[test]
fn finds_an_integer_that_was_stored_as_text() {
    let lp = Listpack::from_bytes(hex("0d0000000200813502817802ff")).unwrap();
    assert_eq!((lp.find(lp.first(), b"5", 1), lp.find(lp.first(), b"x", 1)), (lp.first(), lp.last()));
}

#[test]
fn counts_beyond_what_the_header_can_say() {
    let mut lp = Listpack::new();
    for i in 0..70_000 {
        lp.push_back(Elem::Int(i % 100));
    }
    assert_eq!((lp.stated_count(), lp.len()), (COUNT_UNKNOWN, 70_000));
    let mut at_once = Listpack::new();
    at_once.append((0..70_000).map(|i| Elem::Int(i % 100)));
    assert_eq!(at_once, lp);
    validate(lp.as_bytes()).unwrap();
    let pos = lp.seek(69_999).unwrap();
    assert_eq!(Some(pos), lp.seek(-1));
    let tail = lp.split_off(lp.seek(10).unwrap());
    assert_eq!((lp.len(), lp.stated_count(), tail.len()), (10, 10, 69_990));
}

/// Whatever passes `validate` can be used without a panic; nearly everything that was damaged does not pass.
#[test]
fn hostile_bytes_are_refused_or_harmless() {
    let mut rng = Rng::new(11);
    let mut refused = 0;
    const ROUNDS: usize = 30_000;
    for _ in 0..ROUNDS {
        let mut lp = Listpack::new();
        for _ in 0..rng.below(12) {
            lp.push_back(Elem::Bytes(&random_item(&mut rng)));
        }
        let mut bytes = lp.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.next_u64() as u8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if bytes.len() > 4 && rng.one_in(2) {
            let total = bytes.len() as u32;
            bytes[..4].copy_from_slice(&total.to_le_bytes());
        }
        match Listpack::from_bytes(bytes) {
            Err(_) => refused += 1,
            Ok(mut lp) => {
                assert_eq!(lp.iter().count(), lp.len());
                assert_eq!(lp.iter().rev().count(), lp.len());
                lp.push_back(Elem::Int(1));
                validate(lp.as_bytes()).unwrap();
            }
        }
    }
    assert!(refused > ROUNDS / 2, "{refused}");
    assert!(validate(&[]).is_err());
    assert!(validate(&[7, 0, 0, 0, 0, 0, 0xff]).is_ok());
}

#[test]
fn an_element_twice_is_found() {
    let seed = super::super::dict::HashSeed::repeatable(1);
    let mut lp = Listpack::new();
    for i in 0..200i64 {
        lp.push_back(Elem::Int(i * 1000));
        lp.push_back(Elem::Int(7));
    }
    assert!(!lp.has_twice(seed), "only every second counts");
    lp.push_back(Elem::Bytes(b"x"));
    lp.push_back(Elem::Int(7));
    assert!(!lp.has_twice(seed));
    lp.push_back(Elem::Bytes(b"3000"));
    assert!(lp.has_twice(seed));
}
