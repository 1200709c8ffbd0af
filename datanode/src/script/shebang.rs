//! The first line of a script or library, `#!lua …`: what it is called, and what it is allowed to do.

use crate::command::Error;
use crate::resp::parse::split_words;

/// What a script says it needs, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

#[allow(missing_docs)]
impl Flags {
    pub const NO_WRITES: Flags = Flags(1);
    pub const ALLOW_OOM: Flags = Flags(2);
    pub const ALLOW_STALE: Flags = Flags(4);
    pub const NO_CLUSTER: Flags = Flags(8);
    pub const ALLOW_CROSS_SLOT: Flags = Flags(16);
    /// A script without such a line: it may do what scripts always could.
    pub const COMPATIBLE: Flags = Flags(32);

    /// Flags by name.
    pub const NAMES: [(Flags, &'static str); 5] = [
        (Flags::NO_WRITES, "no-writes"),
        (Flags::ALLOW_OOM, "allow-oom"),
        (Flags::ALLOW_STALE, "allow-stale"),
        (Flags::NO_CLUSTER, "no-cluster"),
        (Flags::ALLOW_CROSS_SLOT, "allow-cross-slot-keys"),
    ];

    /// The flag of this name.
    pub fn named(name: &[u8]) -> Option<Flags> {
        Flags::NAMES.iter().find(|(_, n)| n.as_bytes() == name).map(|(f, _)| *f)
    }

    /// True if any of `other` is set.
    pub fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// These and `other`.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Names of those that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        Flags::NAMES.into_iter().filter(move |(f, _)| self.any(*f)).map(|(_, name)| name)
    }
}

/// The first line, and the rest with the end of line in front: lines keep their numbers.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&b| b == b'\n')?;
    Some(text.split_at(end))
}

/// Flags and program of a script.
pub fn of_script(text: &[u8]) -> Result<(Flags, &[u8]), Error> {
    if !text.starts_with(b"#!") {
        return Ok((Flags::COMPATIBLE, text));
    }
    let invalid = || Error::err("Invalid script shebang");
    let (line, body) = split(text).ok_or_else(invalid)?;
    let words = split_words(line).ok_or_else(invalid)?;
    let show = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let mut flags = Flags::default();
    for (i, word) in words.iter().enumerate() {
        if i == 0 {
            if !word.eq_ignore_ascii_case(b"#!lua") {
                return Err(Error::err(format_args!("Unexpected engine in script shebang: {}", show(word))));
            }
            continue;
        }
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(Error::err(format_args!("Unknown lua shebang option: {}", show(word))));
        };
        for name in list.split(|&b| b == b',').filter(|_| !list.is_empty()) {
            let unknown = || Error::err(format_args!("Unexpected flag in script shebang: {}", show(name)));
            flags = flags.with(Flags::named(name).ok_or_else(unknown)?);
        }
    }
    Ok((flags, body))
}

/// Name and program of a library.
pub fn of_library(text: &[u8]) -> Result<(String, &[u8]), Error> {
    if !text.starts_with(b"#!") {
        return Err(Error::err("Missing library metadata"));
    }
    let invalid = || Error::err("Invalid library metadata");
    let (line, body) = split(text).ok_or_else(invalid)?;
    let words = split_words(line).ok_or_else(invalid)?;
    let (first, rest) = words.split_first().ok_or_else(invalid)?;
    let engine = first.strip_prefix(b"#!").ok_or_else(invalid)?;
    let mut name = None;
    for word in rest {
        let Some(value) = word.strip_prefix(b"name=") else {
            let shown = String::from_utf8_lossy(word);
            return Err(Error::err(format_args!("Invalid metadata value given: {shown}")));
        };
        if name.replace(value).is_some() {
            return Err(Error::err("Invalid metadata value, name argument was given multiple times"));
        }
    }
    let Some(name) = name else { return Err(Error::err("Library name was not given")) };
    let name = valid_name(name)?;
    if !engine.eq_ignore_ascii_case(b"lua") {
        let shown = String::from_utf8_lossy(engine);
        return Err(Error::err(format_args!("Engine '{shown}' not found")));
    }
    Ok((name, body))
}

/// The name of a library or function.
pub fn valid_name(name: &[u8]) -> Result<String, Error> {
    let fits = !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let wrong = "Library names can only contain letters, numbers, or underscores(_) and must be at least one \
                 character long";
    fits.then(|| String::from_utf8_lossy(name).into_owned()).ok_or_else(|| Error::err(wrong))
}
