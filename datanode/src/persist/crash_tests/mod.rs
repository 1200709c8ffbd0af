//! The whole core on a disk that crashes at every single write, sync and rename, and what it finds when it is started
//! again. The claims: it starts; what it has is what it had after some command, whole transactions only; everything is
//! there that its settings promise; and it goes on from there as if nothing had happened.
//!
//! A scenario runs once. The disk keeps what it was like in the midst of each call ([`machine`]), so each of these moments
//! can be the last one. `CRASH_ROUNDS` multiplies seeds and outcomes, `CRASH_SEED` repeats one seed.

mod errors;
mod machine;
mod scenario;
mod state;

use machine::{Crash, Machine, config, empty_disk};
use scenario::{Mix, play};
use state::State;

use crate::config::Config;
use crate::config::types::{Fsync, Guard, SavePoint};
use crate::disk_fake::{FakeDisk, Fault, Survives};
use crate::rng::Rng;
use crate::server::testing::Bench;

/// What is found after each crash, in so many ways beside nothing and everything.
const OUTCOMES: u64 = 3;
/// In one of so many outcomes the new start may crash, too, and what it goes on with is looked at.
const LOOK_ON_ONE_IN: u64 = 12;

fn rounds() -> u64 {
    std::env::var("CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Seeds to try: more by `CRASH_ROUNDS`, or that of `CRASH_SEED`.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("CRASH_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count * rounds()).collect(),
    }
}

/// The states up to a crash, to be compared with what is found.
struct Expected<'a> {
    states: &'a [std::rc::Rc<State>],
    oldest: usize,
    now_ms: i64,
}

impl Expected<'_> {
    /// The index of the newest state that is the one that was found.
    fn find(&self, found: &State) -> Result<usize, String> {
        let is = |state: &std::rc::Rc<State>| state.is_as(found, self.now_ms);
        match self.states.iter().rposition(is) {
            Some(i) if i >= self.oldest => Ok(i),
            Some(i) => Err(format!("state {i} was found, older than {}", self.oldest)),
            None => {
                let last = &self.states[self.states.len() - 1];
                Err(format!("no state was ever so; found / last:\n{}", found.difference(last)))
            }
        }
    }
}

/// Every crash of a machine's book, with several outcomes each.
fn check(machine: &mut Machine, rng: &mut Rng, context: &str) {
    let last = machine.crash_now();
    let mut crashes = std::mem::take(&mut machine.book.crashes);
    crashes.push(last);
    for crash in &crashes {
        check_crash(machine, crash, OUTCOMES, rng, context);
    }
}

/// One crash, with nothing, everything, and so many times something of what was not synced.
fn check_crash(machine: &Machine, crash: &Crash, outcomes: u64, rng: &mut Rng, context: &str) {
    let count = outcomes * rounds();
    let mut outcomes = vec![Survives::Nothing, Survives::Everything];
    outcomes.extend((0..count).map(|_| Survives::Some(rng.next_u64())));
    for survives in outcomes {
        let look_on = rng.below(LOOK_ON_ONE_IN) == 0;
        for (config, oldest) in &crash.restarts {
            let states = &machine.book.states[..crash.states];
            let expected = Expected { states, oldest: *oldest, now_ms: crash.now.unix_ms };
            if let Err(e) = restart(crash, config, survives, &expected, look_on.then_some(&mut *rng)) {
                let log = machine.book.log.join("\n");
                panic!(
                    "{context}: {} at {} ms, {survives:?}, restarted with appendonly {}: {e}\n{log}",
                    crash.what,
                    crash.now.mono_ms(),
                    config.appendonly
                );
            }
        }
    }
}

/// Starts again after a crash; `look_on`: goes on from there, and crashes again.
fn restart(
    crash: &Crash,
    config: &Config,
    survives: Survives,
    expected: &Expected<'_>,
    look_on: Option<&mut Rng>,
) -> Result<(), String> {
    let found = crash.disk.after_crash(survives);
    if look_on.is_some() {
        found.keep_moments();
    }
    let before = listing(&found);
    let machine = Machine::start(config.clone(), found, Some(crash.now))
        .map_err(|e| format!("does not start: {e}\n{before}"))?;
    expected.find(&machine.book.states[0]).map_err(|e| format!("{e}\n{before}"))?;
    match look_on {
        Some(rng) => go_on(machine, config, expected, rng),
        None => Ok(()),
    }
}

/// What is started again crashes at each moment of its start; and if it does not, it goes on as always.
fn go_on(
    mut machine: Machine,
    config: &Config,
    expected: &Expected<'_>,
    rng: &mut Rng,
) -> Result<(), String> {
    for moment in machine.disk.take_moments() {
        for survives in [Survives::Nothing, Survives::Everything, Survives::Some(rng.next_u64())] {
            let found = moment.disk.after_crash(survives);
            let again = Machine::start(config.clone(), found, Some(machine.bench.io.now))
                .map_err(|e| format!("does not start after a second crash at {:?}: {e}", moment.call))?;
            expected.find(&again.book.states[0]).map_err(|e| format!("after a second crash: {e}"))?;
        }
    }
    machine.send(&["REPLICAOF", "NO", "ONE"]);
    machine.send(&["CONFIG", "SET", "appendfsync", "always"]);
    machine.send(&["CONFIG", "SET", "appendonly", "yes"]);
    machine.pass(200);
    machine.settle();
    machine.pass(200);
    machine.settle();
    let reply = machine.send(&["SET", "behind", "it"]);
    if reply != "+OK\r\n" {
        return Err(format!("goes on with {reply}"));
    }
    let left = machine.temporary_files();
    if !left.is_empty() {
        return Err(format!("{left:?} is left"));
    }
    let state = State::of(&machine.bench.server);
    let config = Config { appendonly: true, ..config.clone() };
    let found = machine.disk.after_crash(Survives::Nothing);
    let now = machine.bench.io.now;
    let again =
        Machine::start(config, found, Some(now)).map_err(|e| format!("does not start a third time: {e}"))?;
    match again.book.states[0].is_as(&state, now.unix_ms) {
        true => Ok(()),
        false => {
            Err(format!("what was written behind it is lost:\n{}", again.book.states[0].difference(&state)))
        }
    }
}

fn listing(disk: &FakeDisk) -> String {
    use crate::disk::Disk;
    let root = std::path::Path::new(machine::DIR);
    let mut text = String::new();
    for dir in [root.to_owned(), root.join("appendonlydir")] {
        for name in disk.list(&dir).unwrap_or_default() {
            let path = dir.join(name);
            if let Ok(bytes) = crate::disk::read(disk, &path) {
                let tail = &bytes[bytes.len().saturating_sub(60)..];
                text += &format!("  {} {} …{}\n", path.display(), bytes.len(), tail.escape_ascii());
            }
        }
    }
    text
}

/// A server with these settings, before anything has happened.
fn machine(settings: impl FnOnce(&mut Config)) -> Machine {
    let config = config(|c| {
        c.enable_debug_command = Guard::Yes;
        settings(c);
    });
    let disk = empty_disk();
    disk.keep_moments();
    Machine::start(config, disk, None).unwrap()
}

/// Plays a scenario and lets it crash everywhere.
fn crash_everywhere(name: &str, count: u64, settings: impl Fn(&mut Config, u64), mix: Mix) {
    for seed in seeds(count) {
        let mut rng = Rng::new(seed);
        let mut machine = machine(|c| settings(c, seed));
        play(&mut machine, &mut rng, mix);
        check(&mut machine, &mut rng, &format!("{name}, CRASH_SEED={seed}"));
    }
}

const OPERATOR: &[&str] = &[
    "BGSAVE",
    "BGSAVE SCHEDULE",
    "SAVE",
    "BGREWRITEAOF",
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly no",
    "CONFIG SET save 1_1",
    "CONFIG SET aof-use-rdb-preamble no",
    "CONFIG SET aof-use-rdb-preamble yes",
    "CONFIG SET aof-timestamp-enabled yes",
    "CONFIG SET appendfsync always",
    "DEBUG RELOAD",
    "DEBUG LOADAOF",
];

/// Snapshots take their time in every other run, so that commands come between.
fn slow_snapshots(c: &mut Config, seed: u64) {
    c.rdb_key_save_delay = if seed.is_multiple_of(2) { 0 } else { 15_000 };
}

#[test]
fn under_always_nothing_that_was_answered_is_lost() {
    let settings = |c: &mut Config, seed: u64| {
        c.appendonly = true;
        c.appendfsync = Fsync::Always;
        c.save = vec![SavePoint { seconds: 2, changes: 5 }];
        slow_snapshots(c, seed);
    };
    crash_everywhere("always", 4, settings, Mix { steps: 60, operator_one_in: 8, operator: OPERATOR });
}

#[test]
fn under_everysec_at_most_the_last_second_is_lost() {
    let settings = |c: &mut Config, seed: u64| {
        c.appendonly = true;
        c.auto_aof_rewrite_min_size = 2000;
        c.no_appendfsync_on_rewrite = seed.is_multiple_of(3);
        slow_snapshots(c, seed);
    };
    crash_everywhere("everysec", 4, settings, Mix { steps: 70, operator_one_in: 10, operator: OPERATOR });
}

#[test]
fn without_syncs_what_is_left_is_a_state_that_was() {
    let settings = |c: &mut Config, seed: u64| {
        c.appendonly = true;
        c.appendfsync = Fsync::No;
        slow_snapshots(c, seed);
    };
    crash_everywhere("no", 2, settings, Mix { steps: 50, operator_one_in: 6, operator: OPERATOR });
}

#[test]
fn a_snapshot_that_was_saved_stays_until_the_next_one_is_whole() {
    let settings = |c: &mut Config, seed: u64| {
        c.save = vec![SavePoint { seconds: 1, changes: 1 }];
        slow_snapshots(c, seed);
    };
    const OPERATOR: &[&str] =
        &["BGSAVE", "BGSAVE SCHEDULE", "SAVE", "BGREWRITEAOF", "DEBUG RELOAD", "FLUSHALL"];
    crash_everywhere("snapshots", 4, settings, Mix { steps: 60, operator_one_in: 6, operator: OPERATOR });
}

#[test]
fn switching_the_log_on_and_off_leaves_no_gap() {
    let settings = |c: &mut Config, seed: u64| {
        c.appendonly = seed.is_multiple_of(2);
        c.appendfsync = Fsync::Always;
        slow_snapshots(c, seed / 2);
    };
    const OPERATOR: &[&str] = &[
        "CONFIG SET appendonly yes",
        "CONFIG SET appendonly yes",
        "CONFIG SET appendonly no",
        "CONFIG SET appendfsync everysec",
        "CONFIG SET appendfsync always",
        "CONFIG SET save 1_1",
        "CONFIG SET save ",
        "BGREWRITEAOF",
        "BGSAVE",
    ];
    crash_everywhere("switching", 6, settings, Mix { steps: 50, operator_one_in: 4, operator: OPERATOR });
}

#[test]
fn several_lives_and_orderly_ends() {
    for seed in seeds(3) {
        let mut rng = Rng::new(seed);
        let mut machine = machine(|c| {
            c.appendonly = !seed.is_multiple_of(3);
            c.save = vec![SavePoint { seconds: 1, changes: 1 }];
            slow_snapshots(c, seed);
        });
        for life in 0..3 {
            play(&mut machine, &mut rng, Mix { steps: 20, operator_one_in: 6, operator: OPERATOR });
            machine.send(&["SHUTDOWN"]);
            machine.pass(20);
            if machine.exited != Some(0) {
                // The log's first base is on its way.
                machine.settle();
                machine.pass(3000);
                machine.settle();
                machine.send(&["SHUTDOWN"]);
            }
            assert_eq!(machine.exited, Some(0), "life {life}:\n{}", machine.book.log.join("\n"));
            machine.ended();
            machine = machine.again().unwrap();
        }
        check(&mut machine, &mut rng, &format!("lives, CRASH_SEED={seed}"));
    }
}

#[test]
fn a_full_resync_is_there_whole_or_not_at_all() {
    for seed in seeds(3) {
        let mut rng = Rng::new(seed);
        let mut machine = machine(|c| {
            c.appendonly = !seed.is_multiple_of(3);
            c.appendfsync = Fsync::Always;
            c.save = vec![SavePoint { seconds: 1, changes: 1 }];
        });
        play(&mut machine, &mut rng, Mix { steps: 15, operator_one_in: 6, operator: OPERATOR });
        machine.settle();
        let mut master = Bench::new(config(|c| c.repl_diskless_sync_delay = 0));
        let client = master.connect();
        for i in 0..30 {
            master.send(client, &format!("SET master{i} {}", "v".repeat(i * 20)));
        }
        machine.master = Some(master);
        for round in 0..2 {
            machine.send(&["REPLICAOF", "127.0.0.1", "1"]);
            machine.pass(1000);
            for i in 0..8 {
                if let Some(master) = &mut machine.master {
                    master.send(client, &format!("RPUSH list{round} {i}"));
                }
                machine.pass(20 + rng.below(300));
            }
            let info = machine.send(&["INFO", "replication"]);
            assert!(info.contains("master_link_status:up"), "{info}\n{}", machine.book.log.join("\n"));
            machine.send(&["REPLICAOF", "NO", "ONE"]);
            play(&mut machine, &mut rng, Mix { steps: 10, operator_one_in: 6, operator: OPERATOR });
        }
        check(&mut machine, &mut rng, &format!("resync, CRASH_SEED={seed}"));
    }
}

#[test]
fn a_background_save_that_was_overtaken_does_not_end_in_the_newer_ones_place() {
    let mut machine = machine(|c| c.save = vec![SavePoint { seconds: 3600, changes: 1000 }]);
    machine.send(&["SET", "a", "old"]);
    assert_eq!(machine.send(&["BGSAVE"]), "+Background saving started\r\n");
    // It is walked to its end, and what is left to be done waits for the worker.
    machine.pass(30);
    assert!(machine.bench.server.saving());
    machine.send(&["SET", "a", "new"]);
    assert_eq!(machine.send(&["DEBUG", "RELOAD"]), "+OK\r\n");
    machine.settle();
    assert!(machine.bench.server.persist.last_bgsave_ok && !machine.bench.server.saving());
    let newest = State::of(&machine.bench.server);
    let crash = machine.crash_now();
    for survives in [Survives::Nothing, Survives::Everything] {
        let found = crash.disk.after_crash(survives);
        let again = Machine::start(crash.restarts[0].0.clone(), found, Some(crash.now)).unwrap();
        assert_eq!(*again.book.states[0], newest);
    }
}

#[test]
fn when_every_write_is_to_be_synced_what_was_written_before_is_too() {
    for policy in [Fsync::No, Fsync::Everysec] {
        let mut machine = machine(|c| {
            c.appendonly = true;
            c.appendfsync = policy;
        });
        machine.send(&["SET", "a", "1"]);
        assert_eq!(machine.send(&["CONFIG", "SET", "appendfsync", "always"]), "+OK\r\n");
        let found = machine.disk.after_crash(Survives::Nothing);
        let again = Machine::start(machine.bench.server.config.clone(), found, None).unwrap();
        assert_eq!(*again.book.states[0], State::of(&machine.bench.server));
    }
}

#[test]
fn a_log_that_cannot_be_synced_is_switched_off_all_the_same() {
    let mut machine = machine(|c| c.appendonly = true);
    machine.send(&["SET", "a", "1"]);
    machine.disk.set_fault(Fault::BrokenFrom(0));
    assert_eq!(machine.send(&["CONFIG", "SET", "appendonly", "no"]), "+OK\r\n");
    assert_eq!(machine.send(&["SET", "a", "2"]), "+OK\r\n");
    // Whoever asks hears what is so: nothing is logged any more.
    assert_eq!(machine.send(&["CONFIG", "GET", "appendonly"]), "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n");
}
