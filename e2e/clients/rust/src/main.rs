//! Drives redis-rs and fred through the usual work: `PROGRAM JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…`, see
//! ../../README.md.

mod follow;
mod fred_rs;
mod redis_rs;

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Any client's error, or what was not as it should be.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// What a piece of work ends with.
pub type Outcome<T = ()> = Result<T, Error>;

/// Where to go, and how.
pub struct Options {
    /// 2 or 3: of RESP.
    pub protocol: u8,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    /// Of servers and sentinels.
    pub password: String,
    /// `host:port`.
    pub addresses: Vec<String>,
}

/// Says that a part of the work is done, and well.
pub fn checked(name: &str) {
    println!("{}", serde_json::json!({"checked": name}));
}

/// Fails unless both are the same.
pub fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Outcome {
    if found == wanted { Ok(()) } else { Err(format!("wanted {wanted:?}, found {found:?}").into()) }
}

/// Waits until the probe says so.
pub fn until(what: &str, mut probe: impl FnMut() -> Outcome<bool>) -> Outcome {
    let end = Instant::now() + Duration::from_secs(10);
    while !probe()? {
        if Instant::now() > end {
            return Err(format!("not reached: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn run(mut args: std::env::Args) -> Outcome {
    let mut next = |what: &str| args.nth(0).ok_or(format!("no {what} was given"));
    let _program = next("program")?;
    let (job, client) = (next("job")?, next("client")?);
    let (protocol, mode, password) = (next("protocol")?.parse()?, next("mode")?, next("password")?);
    let options = Options { protocol, mode, password, addresses: args.collect() };
    match (client.as_str(), job.as_str()) {
        ("redis-rs", "work") => redis_rs::work(&options),
        ("redis-rs", "follow") => follow::follow(&mut redis_rs::follower(&options)?),
        ("fred", "work") => fred_rs::work(&options),
        ("fred", "follow") => follow::follow(&mut fred_rs::follower(&options)?),
        _ => Err(format!("no such client or job: {client} {job}").into()),
    }
}

fn main() -> ExitCode {
    match run(std::env::args()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
