//! Writes through one client for as long as it is told to, and reads back what was acknowledged.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Outcome;

const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);
const IN_A_ROW: u32 = 100;
const LONGEST: Duration = Duration::from_secs(120);

/// A client object that lives through whatever happens.
pub trait Store {
    /// SET; `Ok` is an acknowledgement.
    fn set(&mut self, key: &str, value: &str) -> Outcome;
    /// GET.
    fn get(&mut self, key: &str) -> Outcome<Option<String>>;
}

/// See ../../README.md.
pub fn follow(store: &mut impl Store) -> Outcome {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let key = |n: usize| format!("follow:{}:{n}", std::process::id());
    let value = |n: usize| format!("value {n}");
    let (mut acknowledged, mut errors) = (Vec::new(), BTreeMap::<String, u32>::new());
    let (mut row, mut waiting, mut last, mut outage) = (0, true, None::<Instant>, Duration::ZERO);
    let deadline = Instant::now() + LONGEST;
    for n in 0.. {
        if Instant::now() > deadline {
            return Err(format!("nobody ended it; errors: {errors:?}").into());
        }
        match store.set(&key(n), &value(n)) {
            Ok(()) => {
                let now = Instant::now();
                outage = outage.max(last.map_or(Duration::ZERO, |then| now - then));
                last = Some(now);
                acknowledged.push(n);
                row += 1;
                std::thread::sleep(PAUSE);
            }
            Err(e) => {
                row = 0;
                *errors.entry(e.to_string().chars().take(80).collect()).or_default() += 1;
                std::thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
        if waiting && row >= IN_A_ROW {
            waiting = false;
            println!(
                "{}",
                serde_json::json!({"going": acknowledged.len(), "outage_ms": outage.as_millis() as u64})
            );
            outage = Duration::ZERO;
        }
        match lines.try_recv() {
            Ok(line) if line == "end" => break,
            Ok(line) if line == "mark" => outage = Duration::ZERO,
            Ok(_) => (waiting, row) = (true, 0),
            Err(_) => {}
        }
    }
    let mut missing = Vec::new();
    for n in &acknowledged {
        if store.get(&key(*n))? != Some(value(*n)) {
            missing.push(*n);
        }
    }
    println!(
        "{}",
        serde_json::json!({"acknowledged": acknowledged.len(), "missing": missing, "errors": errors})
    );
    Ok(())
}
