//! Every single call of the disk fails, once or for a while: nobody is told OK for what is not so, nothing is lost, and
//! once the disk is well again everything goes on by itself.

use super::machine::{Machine, temporary_files};
use super::{check_crash, machine, rounds};
use crate::config::Config;
use crate::config::types::{Fsync, SavePoint};
use crate::disk_fake::{Fault, Survives};
use crate::rng::Rng;

/// Commands, and what happens between: `pass` so many milliseconds, `job` for the oldest job, `settle` for all of them.
const STORY: &[&str] = &[
    "SET a 1",
    "RPUSH l x y",
    "pass 1200",
    "INCR n",
    "BGREWRITEAOF",
    "SET b 2",
    "job",
    "SET b 3",
    "pass 10",
    "SADD s m",
    "settle",
    "pass 10",
    "settle",
    "BGSAVE",
    "SET c 3",
    "settle",
    "CONFIG SET appendonly no",
    "INCR n",
    "CONFIG SET appendonly yes",
    "HSET h f v",
    "pass 50",
    "settle",
    "SET e 5",
    "pass 1200",
    "SAVE",
    "ZADD z 1 m",
    "DEBUG RELOAD",
    "INCR n",
    "BGREWRITEAOF",
    "FLUSHALL",
    "SET g 7",
    "pass 1200",
    "SET h 8",
];

/// Once the disk is well again, everything is after so long, milliseconds: a retry of a snapshot is five seconds after the
/// failure, and then it has to be written.
const HEALED_MS: u64 = 7000;

fn tell(machine: &mut Machine, context: &str) {
    for line in STORY {
        let words: Vec<_> = line.split(' ').collect();
        match (words[0], words.get(1)) {
            ("pass", Some(ms)) => machine.pass(ms.parse().unwrap()),
            ("job", _) => {
                machine.run_job(0);
            }
            ("settle", _) => machine.settle(),
            _ => {
                let before = machine.book.states.len();
                let reply = machine.send(&words);
                let unchanged = machine.book.states.len() == before;
                assert!(unchanged || !reply.starts_with('-'), "{context}: {line}: {reply} but changed");
                assert!(!reply.is_empty() || machine.exited.is_some(), "{context}: {line}: no answer");
            }
        }
    }
}

fn settings(c: &mut Config, policy: Option<Fsync>) {
    c.appendonly = policy.is_some();
    c.appendfsync = policy.unwrap_or(Fsync::Everysec);
    c.save = vec![SavePoint { seconds: 3600, changes: 1_000_000 }];
}

/// The disk is well again: so is the server. `once`: only one call had failed.
fn heal(machine: &mut Machine, once: bool, context: &str) {
    machine.disk.set_fault(Fault::None);
    machine.pass(HEALED_MS);
    machine.settle();
    let failed = |machine: &Machine, what: String| {
        panic!("{context}: {what}\n{}", machine.book.log.join("\n"));
    };
    for command in [["SET", "behind", "it"], ["INCRBY", "n", "7"]] {
        let reply = machine.send(&command);
        if !matches!(reply.as_bytes(), [b'+' | b':', ..]) {
            // Failed saves in the background refuse writes until one succeeds.
            assert!(reply.starts_with("-MISCONF Redis is configured to save RDB"), "{context}: {reply}");
        }
        machine.send(&["BGSAVE"]);
        machine.pass(HEALED_MS);
    }
    let reply = machine.send(&["SET", "behind", "it"]);
    if reply != "+OK\r\n" {
        failed(machine, format!("goes on with {reply}"));
    }
    machine.pass(1500);
    machine.settle();
    let info = machine.send(&["INFO", "persistence"]);
    for field in [
        "aof_last_write_status:ok",
        "rdb_last_bgsave_status:ok",
        "aof_rewrite_in_progress:0",
        "aof_rewrite_scheduled:0",
        "rdb_bgsave_in_progress:0",
        "aof_pending_bio_fsync:0",
        "aof_buffer_length:0",
    ] {
        // Some are only there with an append-only file.
        let name = &field[..=field.find(':').unwrap()];
        if info.lines().any(|line| line.starts_with(name) && line != field) {
            failed(machine, format!("{field} is not so:\n{info}"));
        }
    }
    if !once {
        // What could not even be removed is at the next attempt.
        machine.send(&["BGREWRITEAOF"]);
        machine.pass(500);
    }
    let left = machine.temporary_files();
    if !left.is_empty() {
        failed(machine, format!("{left:?} is left"));
    }
}

fn fail_everywhere(name: &str, policy: Option<Fsync>) {
    let mut count = machine(|c| settings(c, policy));
    count.disk.set_fault(Fault::None);
    tell(&mut count, name);
    let calls = count.disk.changes();
    assert!(calls > 40, "{calls}");
    let mut rng = Rng::new(7);
    // A disk that stays broken is much the same from one call to the next.
    let lasting = if rounds() > 1 { 1 } else { 3 };
    for (fault, step) in [
        (Fault::FailAt as fn(u64) -> Fault, 1),
        (Fault::BreakAt, 1),
        (Fault::FullFrom, lasting),
        (Fault::BrokenFrom, lasting),
    ] {
        for n in (0..calls).step_by(step) {
            let context = format!("{name}, {:?}", fault(n));
            let mut machine = machine(|c| settings(c, policy));
            machine.disk.set_fault(fault(n));
            tell(&mut machine, &context);
            if let Some(code) = machine.exited {
                assert_eq!((code, policy), (1, Some(Fsync::Always)), "{context}");
            } else {
                heal(&mut machine, matches!(fault(n), Fault::FailAt(_) | Fault::BreakAt(_)), &context);
            }
            let last = machine.crash_now();
            check_crash(&machine, &last, 1, &mut rng, &context);
            let crashes = std::mem::take(&mut machine.book.crashes);
            if !crashes.is_empty() {
                let crash = &crashes[rng.below(crashes.len() as u64) as usize];
                check_crash(&machine, crash, 1, &mut rng, &context);
            }
        }
    }
}

#[test]
fn errors_under_always_end_the_process_or_nothing() {
    fail_everywhere("always", Some(Fsync::Always));
}

#[test]
fn errors_under_everysec_refuse_writes_until_the_disk_is_well() {
    fail_everywhere("everysec", Some(Fsync::Everysec));
}

#[test]
fn errors_of_snapshots_alone_refuse_writes_until_one_succeeds() {
    fail_everywhere("snapshots", None);
}

#[test]
fn a_start_on_a_failing_disk_spoils_nothing() {
    let mut rng = Rng::new(3);
    for policy in [None, Some(Fsync::Always)] {
        let mut first = machine(|c| settings(c, policy));
        tell(&mut first, "start");
        first.send(&["SAVE"]);
        // Torn at its end, so that the start has something to mend.
        let crash = first.crash_now();
        let (config, oldest) = crash.restarts[0].clone();
        for survives in [Survives::Everything, Survives::Some(rng.next_u64()), Survives::Nothing] {
            for fault in [Fault::FailAt, Fault::BreakAt, Fault::FullFrom, Fault::BrokenFrom] {
                for n in 0..12 {
                    let disk = first.disk.after_crash(survives);
                    disk.set_fault(fault(n));
                    let _ = Machine::start(config.clone(), disk.clone(), Some(crash.now));
                    let found = disk.after_crash(Survives::Some(rng.next_u64()));
                    let again = Machine::start(config.clone(), found, Some(crash.now)).unwrap();
                    let state = &again.book.states[0];
                    let known = &first.book.states[oldest..];
                    assert!(known.iter().any(|s| s.is_as(state, crash.now.unix_ms)), "{:?}", fault(n));
                    assert_eq!(temporary_files(&again.disk), Vec::<std::path::PathBuf>::new());
                }
            }
        }
    }
}
