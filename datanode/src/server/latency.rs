//! What took `latency-monitor-threshold` milliseconds or longer
//! (<https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Server;

/// Samples kept of each event.
const SAMPLES: usize = 160;
/// Columns and rows of a graph.
const COLUMNS: usize = 80;
const ROWS: usize = 4;
/// Characters of a column's top within a row, from low to high; what is below the top is filled.
const TOPS: [char; 3] = ['_', 'o', '#'];
const FILL: char = '|';

/// One sample: unix seconds, and the longest latency within that second, milliseconds.
pub type Sample = (i64, u64);

/// Samples of one event.
#[derive(Debug, Default, Clone)]
pub struct Event {
    samples: VecDeque<Sample>,
    /// The longest ever, milliseconds.
    pub max: u64,
}

/// A summary of an event's samples.
#[derive(Debug, PartialEq)]
pub struct Summary {
    /// Number of samples.
    pub samples: usize,
    /// Mean, milliseconds.
    pub mean: u64,
    /// Mean distance from the mean, milliseconds.
    pub deviation: u64,
    /// Seconds from one sample to the next.
    pub period: f64,
}

impl Event {
    fn add(&mut self, second: i64, ms: u64) {
        self.max = self.max.max(ms);
        if let Some(last) = self.samples.back_mut().filter(|(at, _)| *at == second) {
            last.1 = last.1.max(ms);
            return;
        }
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((second, ms));
    }

    /// Its samples, the oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> {
        self.samples.iter().copied()
    }

    /// What its samples say together.
    pub fn summary(&self, now_s: i64) -> Summary {
        let n = self.samples.len().max(1) as u64;
        let mean = self.samples.iter().map(|s| s.1).sum::<u64>() / n;
        let deviation = self.samples.iter().map(|s| s.1.abs_diff(mean)).sum::<u64>() / n;
        let since = self.samples.front().map_or(0, |s| (now_s - s.0).max(1));
        Summary { samples: self.samples.len(), mean, deviation, period: since as f64 / n as f64 }
    }

    /// Its samples as columns, each with its age below it.
    pub fn graph(&self, name: &str, now_s: i64) -> String {
        let values = || self.samples.iter().map(|s| s.1);
        let (low, high) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
        let mut out = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", self.max);
        out.push_str(&"-".repeat(COLUMNS));
        out.push('\n');
        let samples: Vec<Sample> = self.samples().collect();
        for (i, columns) in samples.chunks(COLUMNS).enumerate() {
            if i > 0 {
                out.push('\n');
            }
            chart(&mut out, columns, low, high, now_s);
        }
        out
    }
}

fn chart(out: &mut String, columns: &[Sample], low: u64, high: u64, now_s: i64) {
    let steps = (TOPS.len() * ROWS) as u64;
    let step = |ms: u64| ((ms - low) * steps / (high - low).max(1)).min(steps - 1) as usize;
    for row in (0..ROWS).rev() {
        for &(_, ms) in columns {
            let top = step(ms);
            out.push(match row.cmp(&(top / TOPS.len())) {
                std::cmp::Ordering::Less => FILL,
                std::cmp::Ordering::Equal => TOPS[top % TOPS.len()],
                std::cmp::Ordering::Greater => ' ',
            });
        }
        out.push('\n');
    }
    out.push_str(&" ".repeat(columns.len()));
    out.push('\n');
    let ages: Vec<String> = columns.iter().map(|(at, _)| age(now_s - at)).collect();
    for line in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        out.extend(ages.iter().map(|age| age.chars().nth(line).unwrap_or(' ')));
        out.push('\n');
    }
}

/// Seconds in the largest unit that fits.
fn age(seconds: i64) -> String {
    match seconds {
        i64::MIN..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// All events that have been seen.
#[derive(Debug, Default)]
pub struct Latency {
    events: BTreeMap<&'static str, Event>,
}

impl Latency {
    /// The events, by name.
    pub fn events(&self) -> impl ExactSizeIterator<Item = (&'static str, &Event)> {
        self.events.iter().map(|(name, event)| (*name, event))
    }

    /// The event of this name.
    pub fn event(&self, name: &[u8]) -> Option<(&'static str, &Event)> {
        self.events().find(|(own, _)| own.as_bytes() == name)
    }

    /// Forgets an event; false if there is none.
    pub fn reset(&mut self, name: &[u8]) -> bool {
        let before = self.events.len();
        self.events.retain(|own, _| own.as_bytes() != name);
        self.events.len() < before
    }

    /// Forgets all events; how many there were.
    pub fn reset_all(&mut self) -> usize {
        std::mem::take(&mut self.events).len()
    }
}

impl Server {
    /// The beginning of something whose time may be recorded; `None` where nothing is.
    #[inline]
    pub(crate) fn latency_start(&self) -> Option<Instant> {
        (self.config.latency_monitor_threshold > 0).then(Instant::now)
    }

    /// The end of it: recorded where it took long enough.
    #[inline]
    pub(crate) fn latency_end(&mut self, event: &'static str, began: Option<Instant>) {
        if let Some(began) = began {
            self.latency_sample(event, began.elapsed().as_millis() as u64);
        }
    }

    /// Records how long something took, if that is long enough.
    #[inline]
    pub(crate) fn latency_sample(&mut self, event: &'static str, ms: u64) {
        let threshold = self.config.latency_monitor_threshold;
        if threshold > 0 && ms >= threshold {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.latency.events.entry(event).or_default().add(now.as_secs() as i64, ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_oldest_go() {
        let mut event = Event::default();
        event.add(1, 5);
        event.add(1, 9);
        event.add(1, 7);
        assert_eq!(event.samples().collect::<Vec<_>>(), [(1, 9)]);
        (2..=200).for_each(|second| event.add(second, 1));
        assert_eq!((event.samples().len(), event.max), (SAMPLES, 9));
    }

    #[test]
    fn a_graph_shows_what_redis_shows() {
        let mut event = Event::default();
        for (at, ms) in [(0, 50), (1, 21), (2, 100), (3, 20)] {
            event.add(at, ms);
        }
        let graph = event.graph("command", 4);
        let (head, chart) = graph.split_once('\n').unwrap();
        assert_eq!(head, "command - high 100 ms, low 20 ms (all time high 100 ms)");
        assert_eq!(chart, format!("{}\n  # \n  | \no | \n|_|_\n    \n4321\nssss\n", "-".repeat(80)));
        assert_eq!(event.summary(4), Summary { samples: 4, mean: 47, deviation: 27, period: 1.0 });
    }
}
