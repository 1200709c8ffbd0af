//! Requests made from templates: encoded once, and only their numbers written anew for each use.

use datanode::resp::encode_command;
use datanode::store::rng::Rng;

/// Digits of every number that is filled in.
const DIGITS: usize = 12;
/// Marks of places for numbers, which no other argument holds.
const RANDOM: &[u8] = b"\0random num\0";
const COUNTED: &[u8] = b"\0count numb\0";

/// What is written into a place of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Random,
    Counted,
}

/// Where numbers come from.
pub struct Numbers {
    rng: Rng,
    below: u64,
    next: u64,
}

impl Numbers {
    /// Random numbers below `below`, from a seed; counted ones from 0.
    pub fn new(seed: u64, below: u64) -> Numbers {
        Numbers { rng: Rng::new(seed), below, next: 0 }
    }

    fn take(&mut self, number: Number) -> u64 {
        match number {
            Number::Random => self.rng.below(self.below as usize) as u64,
            Number::Counted => {
                self.next += 1;
                self.next - 1
            }
        }
    }
}

/// Several requests to be sent at once.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    places: Vec<(usize, Number)>,
}

impl Batch {
    /// `count` requests, which go round the commands from the one with index `first` on.
    pub fn new(commands: &[String], first: usize, count: usize) -> Result<Batch, String> {
        let mut batch = Batch::default();
        for command in commands.iter().cycle().skip(first).take(count) {
            batch.push(command)?;
        }
        Ok(batch)
    }

    fn push(&mut self, command: &str) -> Result<(), String> {
        // A mark stands for each number, and is found again in the encoded request.
        let words: Vec<Vec<u8>> = command.split_ascii_whitespace().map(word).collect::<Result<_, _>>()?;
        let start = self.bytes.len();
        encode_command(&mut self.bytes, &words);
        let mut at = start;
        while at + DIGITS <= self.bytes.len() {
            let number = match &self.bytes[at..at + DIGITS] {
                RANDOM => Number::Random,
                COUNTED => Number::Counted,
                _ => {
                    at += 1;
                    continue;
                }
            };
            self.bytes[at..at + DIGITS].fill(b'0');
            self.places.push((at, number));
            at += DIGITS;
        }
        Ok(())
    }

    /// Appends the requests with their next numbers.
    pub fn write(&self, numbers: &mut Numbers, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for &(at, number) in &self.places {
            let mut n = numbers.take(number);
            let mut digits = out[start + at..start + at + DIGITS].iter_mut().rev();
            // The zeros in front are there already.
            while n > 0
                && let Some(digit) = digits.next()
            {
                *digit = b'0' + (n % 10) as u8;
                n /= 10;
            }
        }
    }
}

/// A word of a command with its marks and values filled in.
fn word(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or_else(|| format!("{text}: no closing brace"))?;
        out.extend_from_slice(before.replace("__", " ").as_bytes());
        match (name, name.strip_prefix("v:").map(str::parse::<usize>)) {
            ("r", _) => out.extend_from_slice(RANDOM),
            ("i", _) => out.extend_from_slice(COUNTED),
            (_, Some(Ok(n))) => out.extend((0..n).map(|i| b'a' + (i % 26) as u8)),
            _ => return Err(format!("{text}: {{{name}}} is unknown")),
        }
        rest = behind;
    }
    out.extend_from_slice(rest.replace("__", " ").as_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_values_are_filled_in() {
        let commands = ["SET k{i} {v:3}".to_owned(), "EVAL return__1 0".to_owned()];
        let batch = Batch::new(&commands, 1, 3).unwrap();
        let (mut numbers, mut out) = (Numbers::new(1, 1), Vec::new());
        batch.write(&mut numbers, &mut out);
        out.clear();
        batch.write(&mut numbers, &mut out);
        let text = String::from_utf8(out).unwrap().replace("\r\n", " ");
        let eval = "*3 $4 EVAL $8 return 1 $1 0 ";
        assert_eq!(text, format!("{eval}*3 $3 SET $13 k000000000001 $3 abc {eval}"));
        assert!(Batch::new(&["GET {q}".to_owned()], 0, 1).is_err());
    }
}
