//! Rounds: inputs made from a seed, each tried with a limit on time and memory, and kept if it fails.
//!
//! | environment | meaning |
//! |---|---|
//! | `FUZZ_SEED` | seed of the mutations; 1 unless given, so that a run is like the one before |
//! | `FUZZ_ROUNDS` | inputs per fuzzer, instead of its own number |
//! | `FUZZ_SECONDS` | seconds per fuzzer, instead of a number of inputs |
//! | `FUZZ_REPLAY` | a file: the only input that is tried |

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datanode::rng::Rng;
use datanode::server::alloc::high_water;

/// One input may take so long. A debug build on a busy machine needs some hundredths of a second.
const INPUT_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether an input takes too long.
const WATCH: Duration = Duration::from_millis(500);
/// An input may have so many bytes allocated at once, whatever its size …
const MEMORY: u64 = 48 << 20;
/// … and so many times its size.
const MEMORY_PER_BYTE: u64 = 2048;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    Refused,
}

/// Makes an input from valid ones.
pub type Mutate<'a> = &'a dyn Fn(&mut Rng, &[Vec<u8>]) -> Vec<u8>;

/// A fuzzer.
pub struct Fuzzer<'a> {
    /// Its test's name.
    pub name: &'static str,
    /// Inputs, unless something else is asked for.
    pub rounds: u64,
    /// Valid inputs, tried before any other.
    pub corpus: Vec<Vec<u8>>,
    /// Makes an input from valid ones.
    pub mutate: Mutate<'a>,
    /// Tries an input.
    pub check: &'a mut dyn FnMut(&[u8]) -> Outcome,
}

impl Fuzzer<'_> {
    /// Tries inputs until one fails, or the last is through.
    pub fn run(mut self) {
        if let Some(path) = std::env::var_os("FUZZ_REPLAY") {
            let input =
                std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", Path::new(&path).display()));
            println!("{}: {:?}", self.name, (self.check)(&input));
            return;
        }
        let seed = number("FUZZ_SEED").unwrap_or(1);
        let rounds = number("FUZZ_ROUNDS").unwrap_or(self.rounds);
        let seconds = number("FUZZ_SECONDS");
        let kept = Kept::new(self.name);
        let (begun, mut taken, mut round) = (Instant::now(), 0, 0);
        for valid in std::mem::take(&mut self.corpus).iter().inspect(|_| round += 1) {
            let outcome = kept.while_trying(valid, || (self.check)(valid));
            assert_eq!(
                outcome,
                Outcome::Taken,
                "{}: a valid input is refused: {}",
                self.name,
                valid.escape_ascii()
            );
            self.corpus.push(valid.clone());
        }
        round = 0;
        while seconds.map_or(round < rounds, |s| begun.elapsed() < Duration::from_secs(s)) {
            // Each round has a generator of its own: what it tries does not depend on those before.
            let mut rng = Rng::new(Rng::new(seed).next_u64() ^ Rng::new(round).next_u64());
            let input = (self.mutate)(&mut rng, &self.corpus);
            let outcome = kept.while_trying(&input, || (self.check)(&input));
            taken += u64::from(outcome == Outcome::Taken);
            round += 1;
        }
        println!(
            "{}: {round} inputs, {taken} of them taken, {:.1} s",
            self.name,
            begun.elapsed().as_secs_f64()
        );
        assert!(taken > 0, "{}: no changed input was taken: nothing but refusing was tested", self.name);
        assert!(taken < round, "{}: no changed input was refused", self.name);
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The input that is being tried, in a file: it is there even if the process is killed.
struct Kept {
    name: &'static str,
    path: PathBuf,
    /// How many inputs were begun.
    count: Arc<AtomicU64>,
}

impl Kept {
    fn new(name: &'static str) -> Kept {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        let count = Arc::new(AtomicU64::new(1));
        let (watched, shown) = (Arc::downgrade(&count), path.clone());
        std::thread::spawn(move || {
            let (mut last, mut since) = (0, Instant::now());
            while let Some(count) = watched.upgrade() {
                let now = count.load(Ordering::Relaxed);
                drop(count);
                if now != last {
                    (last, since) = (now, Instant::now());
                }
                if since.elapsed() > INPUT_TIMEOUT {
                    eprintln!("{name}: an input takes more than {INPUT_TIMEOUT:?}: {}", shown.display());
                    std::process::abort();
                }
                std::thread::sleep(WATCH);
            }
        });
        Kept { name, path, count }
    }

    fn while_trying(&self, input: &[u8], check: impl FnOnce() -> Outcome) -> Outcome {
        self.count.fetch_add(1, Ordering::Relaxed);
        std::fs::write(&self.path, input).unwrap();
        let (outcome, most) = high_water::during(|| catch_unwind(AssertUnwindSafe(check)));
        match outcome {
            Ok(outcome) if most <= MEMORY + MEMORY_PER_BYTE * input.len() as u64 => outcome,
            Ok(_) => {
                self.say(input);
                panic!("{}: {most} bytes of memory for an input of {} bytes", self.name, input.len());
            }
            Err(panic) => {
                self.say(input);
                resume_unwind(panic);
            }
        }
    }

    fn say(&self, input: &[u8]) {
        let shown = &input[..input.len().min(4096)];
        eprintln!(
            "{}: the input that failed is {}: {}",
            self.name,
            self.path.display(),
            shown.escape_ascii()
        );
        let replay =
            format!("FUZZ_REPLAY={} cargo test -p datanode --test fuzz {}", self.path.display(), self.name);
        eprintln!("{}: to try it again: {replay}", self.name);
    }
}
