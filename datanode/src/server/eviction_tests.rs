use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::disk::RealDisk;
use crate::io::Now;
use crate::server::Origins;
use crate::store::str::Str;
use crate::store::value::Value;

const NOW: Now = Now { mono_us: 1_000_000, unix_ms: 1_700_000_000_000 };

fn server(policy: EvictionPolicy) -> Server {
    let config = Config { maxmemory_policy: policy, maxmemory_samples: 10, ..Config::default() };
    Server::new(config, Arc::new(RealDisk), 7, NOW, Origins::default()).unwrap()
}

/// Keys `0` to `n - 1` of database 1; `stamp` and `expiry` by their number.
fn fill(s: &mut Server, n: u32, stamp: impl Fn(u32) -> u32, expiry: impl Fn(u32) -> Option<i64>) {
    for i in 0..n {
        let key = i.to_string();
        s.keyspace.insert(1, key.as_bytes(), Value::Str(Str::new(b"v")), expiry(i));
        s.keyspace.peek(1, key.as_bytes()).unwrap().access().set(stamp(i));
    }
}

fn next(s: &mut Server) -> Option<u32> {
    let (db, key) = s.victim()?;
    assert_eq!(db, 1);
    s.evict_key(db, &key);
    Some(String::from_utf8(key).unwrap().parse().unwrap())
}

#[test]
fn nothing_goes_without_a_policy_or_an_expiry() {
    for policy in [
        EvictionPolicy::Noeviction,
        EvictionPolicy::VolatileLru,
        EvictionPolicy::VolatileLfu,
        EvictionPolicy::VolatileRandom,
        EvictionPolicy::VolatileTtl,
    ] {
        let mut s = server(policy);
        fill(&mut s, 50, |_| 0, |_| None);
        assert_eq!(next(&mut s), None, "{policy}");
        assert_eq!(s.keyspace.len(1), 50);
    }
}

#[test]
fn the_one_that_expires_soonest_goes_first() {
    let mut s = server(EvictionPolicy::VolatileTtl);
    fill(&mut s, 30, |_| 0, |i| (i >= 10).then(|| NOW.unix_ms + i64::from(i) * 1000));
    let gone: Vec<u32> = std::iter::from_fn(|| next(&mut s)).collect();
    assert_eq!(gone, (10..30).collect::<Vec<_>>());
}

#[test]
fn volatile_policies_leave_other_keys_alone() {
    for policy in [EvictionPolicy::VolatileLru, EvictionPolicy::VolatileLfu, EvictionPolicy::VolatileRandom] {
        let mut s = server(policy);
        fill(&mut s, 60, |_| 0, |i| (i % 3 == 0).then_some(NOW.unix_ms + 1000));
        let mut gone: Vec<u32> = std::iter::from_fn(|| next(&mut s)).collect();
        gone.sort_unstable();
        assert_eq!(gone, (0..60).step_by(3).collect::<Vec<_>>(), "{policy}");
        assert_eq!(s.stats.evicted_keys, 20);
    }
}

/// The sampled choice is good: of those that went first most are among the best.
#[test]
fn the_least_used_go_first() {
    let seconds = (NOW.unix_ms / 1000) as u32;
    let minutes = ((NOW.unix_ms / 60_000) as u32 & 0xffff) << 8;
    for policy in [EvictionPolicy::AllkeysLru, EvictionPolicy::AllkeysLfu] {
        let mut s = server(policy);
        let lfu = policy.is_lfu();
        fill(&mut s, 200, |i| if lfu { minutes | i } else { seconds - 1000 + i }, |_| None);
        let gone: Vec<u32> = (0..40).map(|_| next(&mut s).unwrap()).collect();
        let good = gone.iter().filter(|&&i| i < 80).count();
        assert!(good >= 36, "{policy}: {gone:?}");
        assert!(s.keyspace.peek(1, b"199").is_some());
    }
}

#[test]
fn evictions_are_told_to_replicas() {
    let mut s = server(EvictionPolicy::AllkeysRandom);
    s.repl.ensure_backlog(&Config::default());
    fill(&mut s, 3, |_| 0, |_| None);
    while next(&mut s).is_some() {
        s.release_effects();
    }
    let stream = String::from_utf8(s.repl.take_pending()).unwrap();
    assert_eq!(stream.matches("DEL").count(), 3);
    assert!(s.keyspace.is_empty());
}

#[test]
fn tenacity_says_how_much_is_done_at_once() {
    assert_eq!([0, 5, 10, 20, 100].map(keys_per_command), [1, 32, 64, 258, u64::MAX]);
}
