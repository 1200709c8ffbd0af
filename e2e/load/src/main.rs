//! A load generator for servers that speak the Redis protocol, for `e2e/bench`: one thread, commands from templates, and
//! what came of it as one line of JSON.
//!
//! `closed`: each connection sends its pipeline, waits for all replies, and sends again: finds the peak rate.
//! `open`: requests leave at fixed times whether or not replies have come, so a server that stalls is not spared the
//! requests that it would have had to serve meanwhile. From [`run::SPIN_RATE`] on the generator spins, and latency counts
//! from the time at which a request was due; below, from the time at which it left.

mod replies;
mod run;
mod template;

use std::io::Write;
use std::time::Duration;

const USAGE: &str = "usage: load closed|open --port PORT --command WORDS [--command WORDS]… [options]
  --clients N      connections (50)
  --pipeline N     commands that a connection sends at once (1)
  --seconds S      how long it is measured (1)
  --warmup S       how long it runs before that (0.2)
  --count N        end after so many commands, instead of after a time; nothing is warmed up
  --rate N         open: requests a second (1000)
  --keys N         random numbers are below N (1000000)
  --seed N         where random numbers begin (1)
  --pid PID        tell how much processor time this process took
  --until-eof      end earlier, when standard input does
In WORDS, {r} is a random number and {i} counts from 0, both as twelve digits; {v:N} is a value of N bytes; '_' in a word
stands for a blank where it is doubled.";

/// What is asked for.
pub struct Options {
    open: bool,
    port: u16,
    commands: Vec<String>,
    clients: usize,
    pipeline: usize,
    measured: Duration,
    warmup: Duration,
    count: Option<u64>,
    rate: f64,
    keys: u64,
    seed: u64,
    pid: Option<u32>,
    until_eof: bool,
}

fn main() {
    let result = options(std::env::args().skip(1)).and_then(|o| run::run(&o).map_err(|e| e.to_string()));
    match result {
        Ok(report) => {
            // Nobody reads it any more: nothing to be done about it.
            let _ = writeln!(std::io::stdout(), "{report}");
        }
        Err(text) => {
            eprintln!("{text}");
            std::process::exit(1);
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let open = match words.next().as_deref() {
        Some("open") => true,
        Some("closed") => false,
        _ => return Err(USAGE.into()),
    };
    let mut o = Options {
        open,
        port: 0,
        commands: Vec::new(),
        clients: 50,
        pipeline: 1,
        measured: Duration::from_secs(1),
        warmup: Duration::from_millis(200),
        count: None,
        rate: 1000.0,
        keys: 1_000_000,
        seed: 1,
        pid: None,
        until_eof: false,
    };
    while let Some(word) = words.next() {
        if word == "--until-eof" {
            o.until_eof = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
        let wrong = || format!("{word} {value}: not valid");
        let seconds =
            || value.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok()).ok_or_else(wrong);
        match word.as_str() {
            "--port" => o.port = value.parse().map_err(|_| wrong())?,
            "--command" => o.commands.push(value),
            "--clients" => o.clients = value.parse().ok().filter(|&n| n > 0).ok_or_else(wrong)?,
            "--pipeline" => o.pipeline = value.parse().ok().filter(|&n| n > 0).ok_or_else(wrong)?,
            "--seconds" => o.measured = seconds()?,
            "--warmup" => o.warmup = seconds()?,
            "--count" => o.count = Some(value.parse().map_err(|_| wrong())?),
            "--rate" => o.rate = value.parse().ok().filter(|&r: &f64| r > 0.0).ok_or_else(wrong)?,
            "--keys" => o.keys = value.parse().ok().filter(|&n| n > 0).ok_or_else(wrong)?,
            "--seed" => o.seed = value.parse().map_err(|_| wrong())?,
            "--pid" => o.pid = Some(value.parse().map_err(|_| wrong())?),
            _ => return Err(format!("{word}: unknown option\n{USAGE}")),
        }
    }
    if o.port == 0 || o.commands.is_empty() {
        return Err(USAGE.into());
    }
    Ok(o)
}
