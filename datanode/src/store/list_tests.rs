use super::super::dict::HashSeed;
use super::super::listpack::validate;
use super::super::rng::Rng;
use super::*;

fn limits(size: i64) -> Limits {
    Limits { list_max_listpack_size: size, ..Limits::new(HashSeed::repeatable(0)) }
}

fn texts<'a>(items: impl Iterator<Item = Elem<'a>>) -> Vec<Vec<u8>> {
    items.map(|e| e.to_bytes().into_owned()).collect()
}

/// Counts are right, no node is empty, none is larger than allowed.
fn check(list: &List, limits: &Limits) {
    let lens = list.nodes().map(|n| match n {
        NodeRef::Packed(lp) => lp.len(),
        NodeRef::Plain(_) => 1,
    });
    assert_eq!(list.len(), lens.sum::<usize>());
    // One word as soon as one listpack is all there is.
    let packed = list.nodes().all(|n| matches!(n, NodeRef::Packed(_)));
    assert_eq!(matches!(list.0.get(), Size::Small(_)), packed && list.nodes().len() < 2);
    for node in list.nodes() {
        match node {
            NodeRef::Packed(lp) => {
                validate(lp.as_bytes()).unwrap();
                assert!(!lp.is_empty());
                assert!(lp.byte_len() <= limits.list_node_bytes() + 10 + 7, "{}", lp.byte_len());
                assert!(lp.len() <= limits.list_node_len());
            }
            NodeRef::Plain(b) => assert!(b.len() > limits.list_node_bytes()),
        }
    }
}

fn item(rng: &mut Rng) -> Vec<u8> {
    match rng.below(40) {
        0 => vec![b'L'; 4000 + rng.below(300)],
        1 => vec![b'M'; rng.below(3000)],
        _ => rng.below(30).to_string().into_bytes(),
    }
}

#[test]
fn behaves_like_a_queue() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let limits = limits(if seed % 2 == 0 { -1 } else { 5 });
        let (mut list, mut model): (List, VecDeque<Vec<u8>>) = (List::new(), VecDeque::new());
        for step in 0..1500 {
            let e = item(&mut rng);
            let n = model.len();
            let i = rng.below(n);
            match rng.below(24) {
                0..5 => {
                    list.push(&limits, End::Front, &e);
                    model.push_front(e);
                }
                5..9 => {
                    list.push(&limits, End::Back, &e);
                    model.push_back(e);
                }
                9 => {
                    let several = [e, item(&mut rng), item(&mut rng)];
                    let end = if rng.one_in(2) { End::Front } else { End::Back };
                    list.push_all(&limits, end, several.iter().map(Vec::as_slice));
                    for e in several {
                        match end {
                            End::Front => model.push_front(e),
                            End::Back => model.push_back(e),
                        }
                    }
                }
                10 | 11 => {
                    let got = list.pop(End::Front, |e| e.to_bytes().into_owned());
                    assert_eq!(got, model.pop_front());
                }
                12 | 13 => {
                    let got = list.pop(End::Back, |e| e.to_bytes().into_owned());
                    assert_eq!(got, model.pop_back());
                }
                14..18 => {
                    list.insert(&limits, i, &e);
                    model.insert(i, e);
                }
                18..20 => {
                    assert_eq!(list.set(&limits, i, &e), i < n);
                    if i < n {
                        model[i] = e;
                    }
                }
                20 => {
                    let count = rng.below(5) as i64 - 2;
                    let hits: Vec<usize> = (0..n).filter(|&i| model[i] == e).collect();
                    let most = if count == 0 { n } else { count.unsigned_abs() as usize }.min(hits.len());
                    let gone = if count < 0 { &hits[hits.len() - most..] } else { &hits[..most] };
                    gone.iter().rev().for_each(|&i| drop(model.remove(i)));
                    assert_eq!(list.remove_equal(&e, count), most);
                }
                21 if rng.one_in(4) => {
                    let to = i + rng.below(20);
                    list.remove_range(i..to);
                    model.drain(i.min(n)..to.min(n));
                }
                22 if rng.one_in(30) => {
                    let to = i + rng.below(n + 5);
                    list.retain_range(i..to);
                    model.truncate(to);
                    model.drain(..i.min(model.len()));
                }
                _ => {
                    let to = i + rng.below(40);
                    let want: Vec<_> = model.range(i.min(n)..to.min(n)).cloned().collect();
                    assert_eq!(texts(list.range(i..to)), want);
                    assert_eq!(list.get(i).map(|e| e.to_bytes().into_owned()).as_ref(), model.get(i));
                }
            }
            assert_eq!(list.len(), model.len());
            if step % 50 == 0 {
                check(&list, &limits);
                assert_eq!(texts(list.iter()), Vec::from(model.clone()));
                assert!(texts(list.iter().rev()).iter().eq(model.iter().rev()));
            }
        }
        let mut copy = List::new();
        for node in list.nodes() {
            copy.push_node(match node {
                NodeRef::Packed(lp) => Node::Packed(lp.clone()),
                NodeRef::Plain(b) => Node::Plain(b.into()),
            });
        }
        copy.push_node(Node::Packed(Listpack::new()));
        assert_eq!(texts(copy.iter()), Vec::from(model));
        check(&copy, &limits);
    }
}

#[test]
fn indexes_count_from_both_ends() {
    let mut list = List::new();
    (0..5).for_each(|i| list.push(&limits(-2), End::Back, &[b'a' + i]));
    let at = |i| list.index(i);
    assert_eq!(
        (at(0), at(4), at(5), at(-1), at(-5), at(-6)),
        (Some(0), Some(4), None, Some(4), Some(0), None)
    );
    assert_eq!((at(i64::MIN), at(i64::MAX)), (None, None));
    assert_eq!(list.encoding(), "quicklist");
    let reversed: usize = 3;
    list.retain_range(reversed..1);
    assert!(list.is_empty() && list.peek(End::Back).is_none());
}
