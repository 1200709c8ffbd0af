//! How each kind of value is read from words, shown by CONFIG GET and written by CONFIG REWRITE, with Redis' errors.

use std::path::PathBuf;

use super::types::{
    Choice, ClientMemory, KeyspaceEvents, OutputLimit, SavePoint, ShutdownFlags, choice_name,
};
use crate::resp::parse::{parse_i64, split_words};

/// What a directive takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `yes` or `no`.
    Bool,
    /// A decimal number.
    Int {
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// An octal number, as file modes are.
    Octal {
        /// Largest allowed.
        max: u32,
    },
    /// Bytes, with a unit or without.
    Memory {
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// Bytes, or per cent of `maxmemory`.
    MemoryOrPercent,
    /// One of a list of names.
    Choice,
    /// A text. Where empty means "none", CONFIG REWRITE leaves it out.
    Text {
        /// Whether the empty text means that there is none.
        empty_is_none: bool,
        /// Says what is wrong with a text.
        check: fn(&str) -> Result<(), &'static str>,
    },
    /// A grammar of its own.
    Special,
}

/// A configuration value of one type.
pub trait Value: Sized {
    /// The value that `words` set, given the present one.
    fn parse(&self, kind: &Kind, words: &[&str]) -> Result<Self, String>;
    /// As CONFIG GET shows it.
    fn show(&self, kind: &Kind) -> String;
    /// Arguments of the lines that set it in a file; none where the directive must be absent.
    fn lines(&self, kind: &Kind) -> Vec<String> {
        vec![self.show(kind)]
    }
}

const WRONG_NUMBER: &str = "wrong number of arguments";
const KB: u64 = 1024;
const MB: u64 = KB * 1024;
const GB: u64 = MB * 1024;

fn single<'a>(words: &[&'a str]) -> Result<&'a str, String> {
    match words {
        [word] => Ok(word),
        _ => Err(WRONG_NUMBER.into()),
    }
}

/// Reads "100", "1k" (1000), "1kb" (1024), "64mb", "2gb": digits and a unit in any case.
pub fn parse_memory(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => KB,
        "m" => 1_000_000,
        "mb" => MB,
        "g" => 1_000_000_000,
        "gb" => GB,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Writes bytes in the largest unit that divides them.
pub fn format_memory(bytes: u64) -> String {
    for (unit, name) in [(GB, "gb"), (MB, "mb"), (KB, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// Quotes a text so that [`crate::resp::parse::split_words`] reads it back.
pub fn quote(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &b in text {
        match b {
            b'"' | b'\\' => out.extend(['\\', char::from(b)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

fn out_of_range(min: impl std::fmt::Display, max: impl std::fmt::Display) -> String {
    format!("argument must be between {min} and {max} inclusive")
}

impl Value for bool {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        match single(words)?.to_ascii_lowercase().as_str() {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("argument must be 'yes' or 'no'".into()),
        }
    }

    fn show(&self, _: &Kind) -> String {
        if *self { "yes" } else { "no" }.into()
    }
}

/// Reads a number of the kind as its two's complement widened to 128 bits.
fn number(kind: &Kind, word: &str) -> Result<i128, String> {
    match *kind {
        Kind::Int { min, max } => {
            let n = parse_i64(word.as_bytes()).ok_or("argument couldn't be parsed into an integer")?;
            if (min..=max).contains(&n) { Ok(n.into()) } else { Err(out_of_range(min, max)) }
        }
        Kind::Octal { max } => {
            let n =
                u32::from_str_radix(word, 8).map_err(|_| "argument couldn't be parsed as an octal number")?;
            if n <= max {
                Ok(n.into())
            } else {
                Err(out_of_range(format_args!("{:o}", 0), format_args!("{max:o}")))
            }
        }
        Kind::Memory { min, max } => {
            let n = parse_memory(word).ok_or("argument must be a memory value")?;
            if (min..=max).contains(&n) { Ok(n.into()) } else { Err(out_of_range(min, max)) }
        }
        _ => unreachable!("numbers are Int, Octal or Memory"),
    }
}

macro_rules! number_value {
    ($($ty:ty)*) => {$(
        impl Value for $ty {
            fn parse(&self, kind: &Kind, words: &[&str]) -> Result<Self, String> {
                let n = number(kind, single(words)?)?;
                <$ty>::try_from(n).map_err(|_| out_of_range(<$ty>::MIN, <$ty>::MAX))
            }

            fn show(&self, kind: &Kind) -> String {
                match kind {
                    Kind::Octal { .. } => format!("{self:o}"),
                    _ => self.to_string(),
                }
            }

            fn lines(&self, kind: &Kind) -> Vec<String> {
                vec![match kind {
                    Kind::Memory { .. } => format_memory(*self as u64),
                    _ => self.show(kind),
                }]
            }
        }
    )*};
}
number_value!(u8 u16 u32 u64 i32 i64);

impl Value for ClientMemory {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        const MAX_PERCENT: u8 = 100;
        let word = single(words)?;
        if let Some(percent) = word.strip_suffix('%').and_then(|n| parse_i64(n.as_bytes()))
            && percent >= 0
        {
            return u8::try_from(percent)
                .ok()
                .filter(|p| *p <= MAX_PERCENT)
                .map(ClientMemory::Percent)
                .ok_or(format!("percentage argument must be less or equal to {MAX_PERCENT}"));
        }
        parse_memory(word).map(ClientMemory::Bytes).ok_or("argument must be a memory or percent value".into())
    }

    fn show(&self, _: &Kind) -> String {
        match self {
            ClientMemory::Bytes(n) => n.to_string(),
            ClientMemory::Percent(n) => format!("{n}%"),
        }
    }

    fn lines(&self, kind: &Kind) -> Vec<String> {
        vec![match self {
            ClientMemory::Bytes(n) => format_memory(*n),
            ClientMemory::Percent(_) => self.show(kind),
        }]
    }
}

impl<C: Choice> Value for C {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        C::ALL
            .iter()
            .find(|(name, _)| matches!(words, [word] if name.eq_ignore_ascii_case(word)))
            .map(|(_, choice)| *choice)
            .ok_or_else(|| not_one_of(C::ALL.iter().map(|(name, _)| *name)))
    }

    fn show(&self, _: &Kind) -> String {
        choice_name(*self).into()
    }
}

fn not_one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("argument(s) must be one of the following: {}", names.collect::<Vec<_>>().join(", "))
}

impl Value for ShutdownFlags {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        let mut flags = ShutdownFlags::default();
        let bad = || not_one_of(["default", "save", "nosave", "now", "force"].into_iter());
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "default" => {}
                "save" => flags.save = true,
                "nosave" => flags.nosave = true,
                "now" => flags.now = true,
                "force" => flags.force = true,
                _ => return Err(bad()),
            }
        }
        if words.is_empty() {
            return Err(bad());
        }
        if flags.save && flags.nosave {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        Ok(flags)
    }

    fn show(&self, _: &Kind) -> String {
        let named = [(self.save, "save"), (self.nosave, "nosave"), (self.now, "now"), (self.force, "force")];
        let set: Vec<&str> = named.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if set.is_empty() { "default".into() } else { set.join(" ") }
    }
}

impl Value for String {
    fn parse(&self, kind: &Kind, words: &[&str]) -> Result<Self, String> {
        let word = single(words)?;
        if let Kind::Text { check, .. } = kind {
            check(word)?;
        }
        Ok(word.into())
    }

    fn show(&self, _: &Kind) -> String {
        self.clone()
    }

    fn lines(&self, kind: &Kind) -> Vec<String> {
        match kind {
            Kind::Text { empty_is_none: true, .. } if self.is_empty() => Vec::new(),
            _ => vec![quote(self)],
        }
    }
}

impl Value for PathBuf {
    /// A relative path counts from the present one, as after a change of directory.
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        let word = single(words)?;
        if word.is_empty() {
            return Err("No such file or directory".into());
        }
        // Taking the components drops `.` and doubled slashes; `..` may cross a link, so it stays.
        Ok(self.join(word).components().collect())
    }

    fn show(&self, _: &Kind) -> String {
        self.to_string_lossy().into_owned()
    }

    fn lines(&self, kind: &Kind) -> Vec<String> {
        vec![quote(self.show(kind))]
    }
}

impl Value for Vec<SavePoint> {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        let words = if words == [""] { &[] } else { words };
        let invalid = || String::from("Invalid save parameters");
        if !words.len().is_multiple_of(2) {
            return Err(invalid());
        }
        words
            .chunks(2)
            .map(|pair| {
                let seconds = pair[0].parse().ok().filter(|s| *s >= 1).ok_or_else(invalid)?;
                let changes: i32 = pair[1].parse().ok().filter(|c| *c >= 0).ok_or_else(invalid)?;
                Ok(SavePoint { seconds, changes: changes.unsigned_abs().into() })
            })
            .collect()
    }

    fn show(&self, _: &Kind) -> String {
        self.iter().map(|p| format!("{} {}", p.seconds, p.changes)).collect::<Vec<_>>().join(" ")
    }

    fn lines(&self, _: &Kind) -> Vec<String> {
        if self.is_empty() {
            return vec![quote("")];
        }
        self.iter().map(|p| format!("{} {}", p.seconds, p.changes)).collect()
    }
}

const CLASS_NAMES: [&[&str]; 3] = [&["normal"], &["slave", "replica"], &["pubsub"]];

impl Value for [OutputLimit; 3] {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        let mut limits = *self;
        for entry in words.chunks(4) {
            let class = CLASS_NAMES
                .iter()
                .position(|names| names.iter().any(|n| n.eq_ignore_ascii_case(entry[0])))
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let (Some(hard), Some(soft), Ok(soft_seconds)) =
                (parse_memory(entry[1]), parse_memory(entry[2]), entry[3].parse::<u32>())
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            limits[class] = OutputLimit { hard, soft, soft_seconds: soft_seconds.into() };
        }
        Ok(limits)
    }

    fn show(&self, _: &Kind) -> String {
        let shown = |(names, l): (&&[&str], &OutputLimit)| {
            format!("{} {} {} {}", names[0], l.hard, l.soft, l.soft_seconds)
        };
        CLASS_NAMES.iter().zip(self).map(shown).collect::<Vec<_>>().join(" ")
    }

    fn lines(&self, _: &Kind) -> Vec<String> {
        let line = |(names, l): (&&[&str], &OutputLimit)| {
            let class = names[names.len() - 1];
            format!("{class} {} {} {}", format_memory(l.hard), format_memory(l.soft), l.soft_seconds)
        };
        CLASS_NAMES.iter().zip(self).map(line).collect()
    }
}

impl Value for [i32; 3] {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        const LIMIT: i32 = 2000;
        let words: [&str; 3] = words.try_into().map_err(|_| WRONG_NUMBER)?;
        let mut values = [0; 3];
        for (value, word) in values.iter_mut().zip(words) {
            *value = word.parse().ok().filter(|v| (-LIMIT..=LIMIT).contains(v)).ok_or_else(|| {
                format!("Invalid oom-score-adj-values, elements must be between -{LIMIT} and {LIMIT}.")
            })?;
        }
        Ok(values)
    }

    fn show(&self, _: &Kind) -> String {
        self.map(|v| v.to_string()).join(" ")
    }
}

impl Value for KeyspaceEvents {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        KeyspaceEvents::parse(single(words)?)
            .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into())
    }

    fn show(&self, _: &Kind) -> String {
        self.to_string()
    }

    fn lines(&self, _: &Kind) -> Vec<String> {
        let mut letters = self.to_string();
        // Shown beside `A` or not, it must survive a restart.
        if self.has(b'n') && !letters.contains('n') {
            letters.push('n');
        }
        vec![quote(&letters)]
    }
}

/// Addresses to listen on.
impl Value for Vec<String> {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        const MAX_ADDRESSES: usize = 16;
        if words.len() > MAX_ADDRESSES {
            return Err("Too many bind addresses specified.".into());
        }
        Ok(words.iter().filter(|_| words != [""]).map(|w| String::from(*w)).collect())
    }

    fn show(&self, _: &Kind) -> String {
        self.join(" ")
    }

    fn lines(&self, _: &Kind) -> Vec<String> {
        let one_word = |w: &String| split_words(w.as_bytes()).is_some_and(|words| words == [w.as_bytes()]);
        let words: Vec<String> =
            self.iter().map(|w| if one_word(w) { w.clone() } else { quote(w) }).collect();
        vec![if self.is_empty() { quote("") } else { words.join(" ") }]
    }
}

/// The master: host and port.
impl Value for Option<(String, u16)> {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        let [host, port] = words else { return Err(WRONG_NUMBER.into()) };
        if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
            return Ok(None);
        }
        let port = port.parse().map_err(|_| "Invalid master port")?;
        Ok(Some((String::from(*host), port)))
    }

    fn show(&self, _: &Kind) -> String {
        self.as_ref().map_or_else(String::new, |(host, port)| format!("{host} {port}"))
    }

    fn lines(&self, kind: &Kind) -> Vec<String> {
        if self.is_some() { vec![self.show(kind)] } else { Vec::new() }
    }
}

/// Percentiles.
impl Value for Vec<f64> {
    fn parse(&self, _: &Kind, words: &[&str]) -> Result<Self, String> {
        const NAME: &str = "latency-tracking-info-percentiles";
        let words = if words == [""] { &[] } else { words };
        words
            .iter()
            .map(|word| {
                let n: f64 = word.parse().map_err(|_| format!("Invalid {NAME} parameters"))?;
                if (0.0..=100.0).contains(&n) {
                    Ok(n)
                } else {
                    Err(format!("{NAME} parameters should sit between [0.0,100.0]"))
                }
            })
            .collect()
    }

    fn show(&self, _: &Kind) -> String {
        // Redis prints at most six digits behind the point.
        let shown = |n: &f64| {
            let text = format!("{n:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        self.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    fn lines(&self, kind: &Kind) -> Vec<String> {
        vec![if self.is_empty() { quote("") } else { self.show(kind) }]
    }
}
