//! `--scan`, and the search for keys that are large, heavy or hot.

use std::io::Write;

use super::connection::{Connection, Failure};
use super::options::{By, Options};
use super::show::Form;
use crate::config::value::quote;
use crate::resp::reader::Value;

/// After so many SCAN calls the pause of `-i` is made.
const CALLS_PER_PAUSE: u64 = 100;

/// Walks over all keys; `each` gets those of one call, and how many have been seen before.
fn walk(
    connection: &mut Connection,
    options: &Options,
    mut each: impl FnMut(&mut Connection, Vec<Vec<u8>>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut cursor = b"0".to_vec();
    for calls in 1.. {
        let mut words: Vec<&[u8]> = vec![b"SCAN", &cursor];
        if let Some(pattern) = &options.pattern {
            words.extend([&b"MATCH"[..], pattern]);
        }
        let reply = connection.ask(&words)?;
        let Some([Value::Bulk(next), Value::Array(keys)]) = reply.items() else {
            return Err(Failure::Broken("SCAN has an unexpected reply".into()));
        };
        let keys = keys.iter().filter_map(|key| match key {
            Value::Bulk(key) => Some(key.clone()),
            _ => None,
        });
        each(connection, keys.collect())?;
        cursor = next.clone();
        if cursor == b"0" {
            break;
        }
        if calls % CALLS_PER_PAUSE == 0 {
            std::thread::sleep(options.interval);
        }
    }
    Ok(())
}

/// `--scan`
pub fn scan(connection: &mut Connection, options: &Options) -> Result<(), Failure> {
    let quoted = options.form() == Form::Pretty;
    walk(connection, options, |_, keys| {
        let mut out = std::io::stdout().lock();
        for key in keys {
            let line = if quoted { quote(&key).into_bytes() } else { key };
            if out.write_all(&line).and_then(|()| out.write_all(b"\n")).is_err() {
                return Err(Failure::Broken("the keys cannot be printed".into()));
            }
        }
        Ok(())
    })
}

/// A type of values, and what is known of its keys.
struct Kind {
    name: String,
    unit: &'static str,
    count: u64,
    total: u64,
    biggest: u64,
    key: Option<String>,
}

/// Name, command that tells the size, unit of the size.
const KINDS: [(&str, &str, &str); 6] = [
    ("list", "LLEN", "items"),
    ("hash", "HLEN", "fields"),
    ("string", "STRLEN", "bytes"),
    ("stream", "XLEN", "entries"),
    ("set", "SCARD", "members"),
    ("zset", "ZCARD", "members"),
];

/// `--bigkeys`, `--memkeys`, `--hotkeys`
pub fn search(connection: &mut Connection, options: &Options, by: By) -> Result<(), Failure> {
    let Value::Int(total) = connection.ask(&["DBSIZE"])? else {
        return Err(Failure::Broken("DBSIZE has an unexpected reply".into()));
    };
    let what = if by == By::Frequency { "hot" } else { "biggest" };
    println!("\n# Scanning the entire keyspace to find {what} keys as well as");
    println!("# average sizes per key type.  You can use -i 0.1 to sleep 0.1 sec");
    println!("# per 100 SCAN commands (not usually needed).\n");
    match by {
        By::Frequency => hottest(connection, options, total),
        _ => biggest(connection, options, by, total),
    }
}

fn percent(seen: u64, total: i64) -> f64 {
    (100.0 * seen as f64 / total.max(1) as f64).min(100.0)
}

fn biggest(connection: &mut Connection, options: &Options, by: By, total: i64) -> Result<(), Failure> {
    let mut kinds: Vec<Kind> = KINDS.iter().map(|(name, _, unit)| kind(name, unit)).collect();
    let (mut seen, mut length) = (0u64, 0u64);
    walk(connection, options, |connection, keys| {
        let types =
            connection.pipeline(&keys.iter().map(|key| vec![&b"TYPE"[..], key]).collect::<Vec<_>>())?;
        // A key that has gone since SCAN told of it has no type.
        let present: Vec<(Vec<u8>, String)> = keys
            .into_iter()
            .zip(types)
            .filter_map(|(key, kind)| Some((key, kind.text()?)))
            .filter(|(_, kind)| kind != "none")
            .collect();
        let samples = samples(by);
        let sizes = present.iter().map(|(key, name)| measure(by, &samples, key, name)).collect::<Vec<_>>();
        for ((key, name), size) in present.iter().zip(connection.pipeline(&sizes)?) {
            let at = kinds.iter().position(|kind| kind.name == *name).unwrap_or_else(|| {
                kinds.push(kind(name, "?"));
                kinds.len() - 1
            });
            let kind = &mut kinds[at];
            let Value::Int(size) = size else { continue };
            let size = size.max(0) as u64;
            let shown = percent(seen, total);
            seen += 1;
            length += key.len() as u64;
            kind.count += 1;
            kind.total += size;
            if size > kind.biggest {
                kind.biggest = size;
                let quoted = quote(key);
                println!(
                    "[{shown:05.2}%] Biggest {:<6} found so far '{quoted}' with {size} {}",
                    kind.name,
                    unit(by, kind)
                );
                kind.key = Some(quoted);
            }
        }
        Ok(())
    })?;
    println!("\n-------- summary -------\n");
    println!("Sampled {seen} keys in the keyspace!");
    let average = |total: u64, count: u64| if count == 0 { 0.0 } else { total as f64 / count as f64 };
    println!("Total key length in bytes is {length} (avg len {:.2})\n", average(length, seen));
    for kind in &kinds {
        if let Some(key) = &kind.key {
            println!("Biggest {:>6} found '{key}' has {} {}", kind.name, kind.biggest, unit(by, kind));
        }
    }
    println!();
    for kind in &kinds {
        println!(
            "{} {}s with {} {} ({:05.2}% of keys, avg size {:.2})",
            kind.count,
            kind.name,
            kind.total,
            unit(by, kind),
            if seen == 0 { 0.0 } else { 100.0 * kind.count as f64 / seen as f64 },
            average(kind.total, kind.count)
        );
    }
    Ok(())
}

fn kind(name: &str, unit: &'static str) -> Kind {
    Kind { name: name.into(), unit, count: 0, total: 0, biggest: 0, key: None }
}

/// The argument of MEMORY USAGE's SAMPLES.
fn samples(by: By) -> String {
    match by {
        By::Memory(samples) if samples > 0 => samples.to_string(),
        _ => String::new(),
    }
}

/// The command that tells the size of a key of this type. Of a type that nothing is known of it
/// is 1, the number of references.
fn measure<'a>(by: By, samples: &'a str, key: &'a [u8], name: &str) -> Vec<&'a [u8]> {
    if let By::Memory(_) = by {
        let mut words: Vec<&[u8]> = vec![b"MEMORY", b"USAGE", key];
        if !samples.is_empty() {
            words.extend([&b"SAMPLES"[..], samples.as_bytes()]);
        }
        return words;
    }
    match KINDS.iter().find(|(known, ..)| *known == name) {
        Some((_, command, _)) => vec![command.as_bytes(), key],
        None => vec![b"OBJECT", b"REFCOUNT", key],
    }
}

fn unit(by: By, kind: &Kind) -> &'static str {
    if matches!(by, By::Memory(_)) { "bytes" } else { kind.unit }
}

/// How many of the hottest keys are listed.
const HOTTEST: usize = 16;

fn hottest(connection: &mut Connection, options: &Options, total: i64) -> Result<(), Failure> {
    let mut hot: Vec<(i64, String)> = Vec::new();
    let mut seen = 0;
    walk(connection, options, |connection, keys| {
        let asked = keys.iter().map(|key| vec![&b"OBJECT"[..], b"FREQ", key]).collect::<Vec<_>>();
        for (key, frequency) in keys.iter().zip(connection.pipeline(&asked)?) {
            let frequency = match frequency {
                Value::Int(frequency) => frequency,
                Value::Error(text) => return Err(Failure::Refused(format!("Error: {text}"))),
                _ => continue,
            };
            let shown = percent(seen, total);
            seen += 1;
            let lowest = hot.last().map_or(0, |(least, _)| *least);
            if frequency > 0 && (hot.len() < HOTTEST || frequency > lowest) {
                let quoted = quote(key);
                println!("[{shown:05.2}%] Hot key '{quoted}' found so far with counter {frequency}");
                let at = hot.partition_point(|(other, _)| *other >= frequency);
                hot.insert(at, (frequency, quoted));
                hot.truncate(HOTTEST);
            }
        }
        Ok(())
    })?;
    println!("\n-------- summary -------\n\nSampled {seen} keys in the keyspace!");
    for (frequency, key) in hot {
        println!("hot key found with counter: {frequency}\tkeyname: {key}");
    }
    Ok(())
}
