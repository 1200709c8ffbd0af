//! Simulates deployments: the cores of the data server, the sentinel and the operator in one process, in virtual time.
//! Each seed gives one deployment, faults upon it, and peace afterwards; see `docs/simulation.md`.

mod actor;
mod claims;
mod message;
mod operator;
mod scenario;
mod story;
mod world;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datanode::mutation::{self, Mutation};
use world::{Outcome, World};

const USAGE: &str = "usage: simulator [--seeds N] [--from SEED] [--seconds S] [--threads N] [--check]
                                             --check: runs each seed twice, which must be the same
       simulator --replay SEED [--mutation NAME]   shows one run step by step
       simulator --mutations [--seeds N]           each mistake must be found within so many seeds
";

/// Seeds in which a deliberate mistake must be found.
const MUTATION_SEEDS: u64 = 3000;

struct Options {
    seeds: u64,
    from: u64,
    seconds: u64,
    threads: usize,
    replay: Option<u64>,
    mutation: Option<Mutation>,
    mutations: bool,
    check: bool,
}

fn options() -> Result<Options, String> {
    let mut o = Options {
        seeds: 0,
        from: 1,
        seconds: u64::MAX,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        replay: None,
        mutation: None,
        mutations: false,
        check: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--mutations" => {
                o.mutations = true;
                continue;
            }
            "--check" => {
                o.check = true;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name} needs a number, not {value}"));
        match name.as_str() {
            "--seeds" => o.seeds = number()?,
            "--from" => o.from = number()?,
            "--seconds" => o.seconds = number()?,
            "--threads" => o.threads = number()?.max(1) as usize,
            "--replay" => o.replay = Some(number()?),
            "--mutation" => {
                let known = Mutation::ALL.iter().find(|m| format!("{m:?}").eq_ignore_ascii_case(&value));
                o.mutation = Some(*known.ok_or_else(|| format!("no mutation {value}: {:?}", Mutation::ALL))?);
            }
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(o)
}

fn main() -> ExitCode {
    let mut o = match options() {
        Ok(o) => o,
        Err(wrong) => {
            eprint!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = o.replay {
        return replay(seed, o.mutation);
    }
    std::panic::set_hook(Box::new(|_| {}));
    if o.mutations {
        o.seeds = if o.seeds == 0 { MUTATION_SEEDS } else { o.seeds };
        return mutations(&o);
    }
    o.seeds = if o.seeds == 0 { 2000 } else { o.seeds };
    let begun = Instant::now();
    let found = search(&o, o.mutation);
    println!(
        "{} runs, {:.1} simulated hours, {} writes, {} of them acknowledged, {} epochs; {:.0} s",
        found.runs,
        found.total.simulated_us as f64 / 3.6e9,
        found.total.writes.0,
        found.total.writes.1,
        found.total.epochs,
        begun.elapsed().as_secs_f64()
    );
    match found.failure {
        None => ExitCode::SUCCESS,
        Some((seed, why)) => {
            println!("seed {seed}: {why}");
            println!("step by step: simulator --replay {seed}");
            ExitCode::FAILURE
        }
    }
}

fn replay(seed: u64, mutation: Option<Mutation>) -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .init();
    match one(seed, mutation, true) {
        Ok(outcome) => {
            println!("seed {seed}: fine, {outcome:?}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("seed {seed}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, mutation: Option<Mutation>, verbose: bool) -> Result<Outcome, String> {
    mutation::activate(mutation);
    let run = catch_unwind(AssertUnwindSafe(|| World::new(seed, verbose).run()));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        Err(format!("a core panics: {text}"))
    })
}

/// Runs a seed two times: nothing but the seed may make a difference.
fn twice(seed: u64, mutation: Option<Mutation>) -> Result<Outcome, String> {
    let (first, again) = (one(seed, mutation, false)?, one(seed, mutation, false)?);
    if first.trace == again.trace { Ok(first) } else { Err(format!("not repeatable: {first:?}, {again:?}")) }
}

#[derive(Default)]
struct Found {
    runs: u64,
    total: Outcome,
    failure: Option<(u64, String)>,
}

/// Runs seeds on all threads, up to the first that fails.
fn search(o: &Options, mutation: Option<Mutation>) -> Found {
    let (next, stop) = (AtomicU64::new(o.from), AtomicBool::new(false));
    let found = Mutex::new(Found::default());
    let end = Instant::now().checked_add(Duration::from_secs(o.seconds));
    std::thread::scope(|s| {
        for _ in 0..o.threads {
            s.spawn(|| {
                while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= o.from + o.seeds {
                        return;
                    }
                    let outcome = if o.check { twice(seed, mutation) } else { one(seed, mutation, false) };
                    let mut found = found.lock().unwrap_or_else(|e| e.into_inner());
                    found.runs += 1;
                    match outcome {
                        Ok(outcome) => found.total.add(&outcome),
                        Err(why) => {
                            stop.store(true, Ordering::Relaxed);
                            // Of several the first seed, so that the same one is named each time.
                            if found.failure.as_ref().is_none_or(|(first, _)| seed < *first) {
                                found.failure = Some((seed, why));
                            }
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(|e| e.into_inner())
}

/// Shows that mistakes are found.
fn mutations(o: &Options) -> ExitCode {
    let mut missed = Vec::new();
    for &mutation in Mutation::ALL.iter().filter(|m| o.mutation.is_none_or(|only| only == **m)) {
        let begun = Instant::now();
        let found = search(o, Some(mutation));
        let seconds = begun.elapsed().as_secs_f64();
        match found.failure {
            Some((seed, why)) => {
                let line = why.lines().next().unwrap_or_default();
                println!("{mutation:?}: found by seed {seed}, {seconds:.1} s: {line}");
            }
            None => {
                println!("{mutation:?}: NOT FOUND in {} runs, {seconds:.1} s", found.runs);
                missed.push(mutation);
            }
        }
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ran before on the thread, or runs beside it, makes no difference.
    #[test]
    fn the_same_seed_gives_the_same_run() {
        let trace = |seed| one(seed, None, false).map(|outcome| outcome.trace);
        let first = [1, 3].map(trace);
        let beside = std::thread::spawn(move || [3, 2, 1].map(trace));
        let again = [2, 1, 3].map(trace);
        let beside = beside.join().unwrap();
        assert!(first.iter().all(Result::is_ok), "{first:?}");
        assert_eq!([&first[0], &first[1]], [&again[1], &again[2]]);
        assert_eq!([&beside[2], &beside[0]], [&again[1], &again[2]]);
        assert_ne!(again[0], again[1]);
    }
}
