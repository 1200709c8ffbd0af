//! Figures of a running server: `--stat`, `--latency`, `--intrinsic-latency`.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::connection::{Connection, Failure};
use super::options::Options;
use super::show::Form;

/// Rows of `--stat` below one heading.
const ROWS: u64 = 20;
const STAT_INTERVAL: Duration = Duration::from_secs(1);
/// Pause between two pings.
const SAMPLE: Duration = Duration::from_millis(10);
const LATENCY_INTERVAL: Duration = Duration::from_secs(1);
const HISTORY_INTERVAL: Duration = Duration::from_secs(15);
const CLEAR_LINE: &str = "\x1b[0G\x1b[2K";

fn interval(options: &Options, default: Duration) -> Duration {
    if options.interval.is_zero() { default } else { options.interval }
}

/// A figure of INFO in the units people read: `1.05M`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while size >= 1024.0 && units.len() > 0 {
        size /= 1024.0;
        unit = units.next();
    }
    format!("{size:.2}{}", unit.unwrap_or(&""))
}

/// `--stat`: a row for each interval, until it is ended.
pub fn stat(connection: &mut Connection, options: &Options) -> Result<(), Failure> {
    let pause = interval(options, STAT_INTERVAL);
    let mut requests = None;
    for row in 0u64.. {
        let info = connection.ask(&["INFO"])?.text().unwrap_or_default();
        let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let figure = |name: &str| fields.get(name).and_then(|v| v.trim().parse::<i64>().ok()).unwrap_or(0);
        if row % ROWS == 0 {
            println!("------- data ------ --------------------- load -------------------- - child -");
            println!("keys       mem      clients blocked requests            connections          ");
        }
        let keys: i64 = fields
            .iter()
            .filter(|(name, _)| name.strip_prefix("db").is_some_and(|n| n.parse::<u32>().is_ok()))
            .filter_map(|(_, text)| text.strip_prefix("keys=")?.split(',').next()?.parse::<i64>().ok())
            .sum();
        let now = figure("total_commands_processed");
        let done = format!("{now} (+{})", requests.map_or(0, |before| now - before));
        requests = Some(now);
        let child = match (figure("aof_rewrite_in_progress"), figure("rdb_bgsave_in_progress")) {
            (0, 0) => "",
            (_, 0) => "AOF",
            (0, _) => "SAVE",
            _ => "SAVE+AOF",
        };
        println!(
            "{keys:<11}{:<9}{:<8}{:<8}{done:<20}{:<12}{child}",
            human(figure("used_memory").max(0) as u64),
            figure("connected_clients"),
            figure("blocked_clients"),
            figure("total_connections_received")
        );
        // A reader of a pipe wants each row when it is there.
        let _ = std::io::stdout().flush();
        sleep(pause);
    }
    Ok(())
}

/// Round trips, in milliseconds as whole numbers.
#[derive(Default)]
struct Samples {
    count: u64,
    total: u64,
    min: u64,
    max: u64,
}

impl Samples {
    fn add(&mut self, ms: u64) {
        self.min = if self.count == 0 { ms } else { self.min.min(ms) };
        self.max = self.max.max(ms);
        self.total += ms;
        self.count += 1;
    }

    fn average(&self) -> f64 {
        self.total as f64 / self.count.max(1) as f64
    }

    fn text(&self) -> String {
        format!("min: {}, max: {}, avg: {:.2} ({} samples)", self.min, self.max, self.average(), self.count)
    }
}

/// `--latency` and `--latency-history`. On a terminal it goes on until it is ended; otherwise one interval is measured.
pub fn latency(connection: &mut Connection, options: &Options, history: bool) -> Result<(), Failure> {
    let range = interval(options, if history { HISTORY_INTERVAL } else { LATENCY_INTERVAL });
    let terminal = std::io::stdout().is_terminal() && options.form() == Form::Pretty;
    let (mut samples, mut begun) = (Samples::default(), Instant::now());
    loop {
        let sent = Instant::now();
        connection.ask(&["PING"])?;
        samples.add(sent.elapsed().as_millis() as u64);
        let over = begun.elapsed() > range;
        if terminal {
            print!("{CLEAR_LINE}{}", samples.text());
        } else if over {
            let Samples { min, max, count, .. } = samples;
            match options.form() {
                Form::Csv => println!("{min},{max},{:.2},{count}", samples.average()),
                Form::Json { .. } => {
                    println!(
                        "{{\"min\": {min}, \"max\": {max}, \"avg\": {:.2}, \"count\": {count}}}",
                        samples.average()
                    );
                }
                _ => println!("{min} {max} {:.2} {count}", samples.average()),
            }
            return Ok(());
        }
        if history && over {
            println!(" -- {:.2} seconds range", begun.elapsed().as_secs_f64());
            (samples, begun) = (Samples::default(), Instant::now());
        }
        let _ = std::io::stdout().flush();
        sleep(SAMPLE);
    }
}

/// Work of which each round's time is looked at: mixing numbers, which the compiler cannot leave out.
fn work(mut x: u64) -> u64 {
    for _ in 0..64 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// `--intrinsic-latency`: how long the machine itself keeps a busy process from running.
pub fn intrinsic(duration: Duration) {
    let (begun, mut rounds, mut max, mut state) = (Instant::now(), 0u64, Duration::ZERO, 1);
    while begun.elapsed() < duration {
        let round = Instant::now();
        state = std::hint::black_box(work(state));
        let took = round.elapsed();
        rounds += 1;
        if took > max {
            max = took;
            println!("Max latency so far: {} microseconds.", max.as_micros());
        }
    }
    let average = begun.elapsed().as_secs_f64() * 1e6 / rounds.max(1) as f64;
    println!(
        "\n{rounds} total runs (avg latency: {average:.4} microseconds / {:.2} nanoseconds per run).",
        average * 1e3
    );
    println!(
        "Worst run took {:.0}x longer than the average latency.",
        max.as_secs_f64() * 1e6 / average.max(1e-9)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        assert_eq!(human(1000), "1000B");
        assert_eq!(human(1_101_004), "1.05M");
        assert_eq!(human(3 << 40), "3.00T");
        assert_eq!(human(5000 << 40), "5000.00T");
    }

    #[test]
    fn samples_are_summed_up() {
        let mut samples = Samples::default();
        [2, 1, 6].into_iter().for_each(|ms| samples.add(ms));
        assert_eq!(samples.text(), "min: 1, max: 6, avg: 3.00 (3 samples)");
    }
}
