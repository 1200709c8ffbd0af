//! Streams to and from a server: `--rdb`, `--replica`, `--pipe`.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::connection::{Connection, Failure};
use super::options::Options;
use super::show::{self, Form};
use crate::disk::{self, Disk, RealDisk};
use crate::resp::encode_command;
use crate::resp::reader::Value;

/// Length of the mark after a dataset whose size is not known beforehand.
const MARK: usize = 40;
/// Bytes of standard input sent at a time.
const CHUNK: usize = 16 * 1024;
/// Longest wait for more input or replies before the other is looked at.
const TURN: Duration = Duration::from_millis(10);

/// How the dataset of a SYNC ends.
enum End {
    After(u64),
    Mark(Vec<u8>),
}

fn broken(text: impl std::fmt::Display) -> Failure {
    Failure::Broken(text.to_string())
}

/// Asks to be sent the dataset, with what the server must know of us before.
fn synchronize(connection: &mut Connection, told: &[&[&str]]) -> Result<End, Failure> {
    for words in told {
        eprintln!("sending {}", words.join(" "));
        if let Value::Error(text) = connection.call(words)? {
            eprintln!("{} error: {text}", words.join(" "));
            if words.contains(&"rdb-filter-only") {
                return Err(Failure::Refused("the server cannot leave the keys out".into()));
            }
        }
    }
    connection.send(b"SYNC\r\n")?;
    // Empty lines keep the connection alive while the server prepares.
    let mut line = Vec::new();
    loop {
        let bytes = connection.bytes()?;
        if bytes.is_empty() {
            return Err(broken("Server closed the connection"));
        }
        line.extend_from_slice(&bytes);
        let blank = line.iter().take_while(|b| **b == b'\n').count();
        line.drain(..blank);
        let Some(end) = line.windows(2).position(|w| w == b"\r\n") else { continue };
        let rest = line.split_off(end + 2);
        connection.give_back(rest);
        let head = String::from_utf8_lossy(&line[..end]).into_owned();
        return match (head.strip_prefix("$EOF:"), head.strip_prefix('$').and_then(|n| n.parse().ok())) {
            (Some(mark), _) if mark.len() == MARK => Ok(End::Mark(mark.as_bytes().to_vec())),
            (_, Some(length)) => Ok(End::After(length)),
            _ => Err(Failure::Refused(format!("SYNC with master failed: {head}"))),
        };
    }
}

/// Hands the dataset's bytes on, until its end; the number of bytes.
fn dataset(
    connection: &mut Connection,
    end: &End,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<u64, Failure> {
    let (mut length, mut held) = (0, Vec::new());
    loop {
        if matches!(end, End::After(total) if *total == length) {
            return Ok(length);
        }
        let bytes = connection.bytes()?;
        if bytes.is_empty() {
            return Err(broken("the connection ended before the dataset did"));
        }
        match end {
            End::After(total) => {
                let take = bytes.len().min(usize::try_from(total - length).unwrap_or(usize::MAX));
                each(&bytes[..take]).map_err(broken)?;
                length += take as u64;
                connection.give_back(bytes[take..].to_vec());
            }
            End::Mark(mark) => {
                held.extend_from_slice(&bytes);
                let ended = held.windows(mark.len()).position(|w| w == mark);
                // What could be the beginning of the mark is kept back.
                let safe = ended.unwrap_or(held.len().saturating_sub(mark.len() - 1));
                each(&held[..safe]).map_err(broken)?;
                length += safe as u64;
                held.drain(..safe);
                if ended.is_some() {
                    connection.give_back(held.split_off(mark.len()));
                    return Ok(length);
                }
            }
        }
    }
}

/// `--rdb` and `--functions-rdb`
pub fn rdb(connection: &mut Connection, file: &str, functions: bool) -> Result<(), Failure> {
    let mut told: Vec<&[&str]> = vec![&["REPLCONF", "capa", "eof"], &["REPLCONF", "rdb-only", "1"]];
    if functions {
        told.push(&["REPLCONF", "rdb-filter-only", "functions"]);
    }
    let end = synchronize(connection, &told)?;
    match &end {
        End::After(length) => eprintln!("SYNC sent to master, writing {length} bytes to '{file}'"),
        End::Mark(_) => {
            eprintln!("SYNC sent to master, writing bytes of bulk transfer until EOF marker to '{file}'");
        }
    }
    let written = |e| broken(format!("Error writing to '{file}': {e}"));
    let length = if file == "-" {
        let mut out = std::io::stdout().lock();
        let length = dataset(connection, &end, |bytes| out.write_all(bytes))?;
        out.flush().map_err(written)?;
        length
    } else {
        // Beside its place until it is whole: an older backup is not lost to a broken transfer.
        let partial = format!("{file}.partial");
        let copied = RealDisk
            .create(Path::new(&partial))
            .map_err(|e| broken(format!("Error opening '{partial}': {e}")))
            .and_then(|out| {
                let length = dataset(connection, &end, |bytes| out.append(bytes))?;
                disk::publish(&RealDisk, &*out, Path::new(&partial), Path::new(file)).map_err(written)?;
                Ok(length)
            });
        copied.inspect_err(|_| {
            // It may not even have been made.
            let _ = RealDisk.remove(Path::new(&partial));
        })?
    };
    match end {
        End::After(_) => eprintln!("Transfer finished with success."),
        End::Mark(_) => eprintln!("Transfer finished with success after {length} bytes"),
    }
    Ok(())
}

/// `--replica`: prints the stream of commands that a replica is sent, until the connection ends.
pub fn replica(connection: &mut Connection) -> Result<(), Failure> {
    let end = synchronize(connection, &[])?;
    let length = dataset(connection, &end, |_| Ok(()))?;
    eprintln!("SYNC with master, {length} bytes of the dataset left out");
    loop {
        let mut line = show::text(&connection.reply()?, Form::Csv, b"");
        line.push(b'\n');
        std::io::stdout().write_all(&line).map_err(broken)?;
    }
}

/// What has come back in `--pipe`.
#[derive(Default)]
struct Tally {
    replies: u64,
    errors: u64,
    done: bool,
}

impl Tally {
    fn count(&mut self, reply: Value, last: &str) {
        if reply.text().as_deref() == Some(last) {
            self.done = true;
            println!("Last reply received from server.");
            return;
        }
        self.replies += 1;
        if let Value::Error(text) = reply {
            eprintln!("{text}");
            self.errors += 1;
        }
    }
}

/// `--pipe`: standard input as it is to the server, replies counted; true if none is an error.
pub fn pipe(connection: &mut Connection, options: &Options, last: &str) -> Result<bool, Failure> {
    let mut tally = Tally::default();
    let mut input = std::io::stdin().lock();
    let mut chunk = vec![0; CHUNK];
    connection.limit(Some(TURN))?;
    loop {
        let n = input.read(&mut chunk).map_err(|e| broken(format!("cannot read standard input: {e}")))?;
        if n == 0 {
            break;
        }
        connection.send_while(&chunk[..n], |reply| tally.count(reply, last))?;
    }
    println!("All data transferred. Waiting for the last reply...");
    let mut end = b"\r\n".to_vec();
    encode_command(&mut end, &["ECHO", last]);
    connection.send_while(&end, |reply| tally.count(reply, last))?;
    let mut heard = Instant::now();
    while !tally.done {
        let before = tally.replies;
        connection.take_replies(&mut |reply| tally.count(reply, last))?;
        if tally.replies != before {
            heard = Instant::now();
        } else if !options.pipe_timeout.is_zero() && heard.elapsed() > options.pipe_timeout {
            eprintln!("No replies for {} seconds: exiting.", options.pipe_timeout.as_secs());
            tally.errors += 1;
            break;
        }
    }
    println!("errors: {}, replies: {}", tally.errors, tally.replies);
    Ok(tally.errors == 0)
}
