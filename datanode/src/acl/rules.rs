//! Parts of rules that are no user's and no selector's own: what can be wrong with them, passwords, patterns of keys, and
//! selectors that were given in several words.

use std::borrow::Cow;

/// Why a rule was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleError {
    /// There is no such command or category.
    Unknown,
    /// It is no rule.
    Syntax,
    /// A pattern of keys where all keys are allowed already.
    KeysAfterAll,
    /// A pattern of channels where all channels are allowed already.
    ChannelsAfterAll,
    /// The password to be removed is not one of the user's.
    NoSuchPassword,
    /// Not a SHA-256 in lower case hexadecimal digits.
    BadHash,
    /// The same user twice in a file.
    Duplicate,
    /// A first argument of what is a subcommand.
    FirstArgument,
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                 Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::Duplicate => "Duplicate user found. A user can only be defined once in config files",
            RuleError::FirstArgument => "Allowing first-arg of a subcommand is not supported",
        })
    }
}

/// What may not be in names and patterns, so that files hold them without quotes: blanks and NUL.
pub fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|&b| b == 0 || b == 0x0b || b.is_ascii_whitespace())
}

/// How keys are used, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Access {
    /// What they hold is read.
    pub read: bool,
    /// They are changed.
    pub write: bool,
}

impl Access {
    pub const ALL: Access = Access { read: true, write: true };

    /// Whether it includes all of `other`.
    pub fn covers(self, other: Access) -> bool {
        (self.read || !other.read) && (self.write || !other.write)
    }

    pub fn and(self, other: Access) -> Access {
        Access { read: self.read || other.read, write: self.write || other.write }
    }

    /// What stands before a pattern with this access.
    pub fn prefix(self) -> &'static str {
        match (self.read, self.write) {
            (true, false) => "%R~",
            (false, true) => "%W~",
            _ => "~",
        }
    }
}

/// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`
pub(super) fn key_pattern(rule: &[u8]) -> Result<(Access, &[u8]), RuleError> {
    let (access, pattern) = match rule {
        [b'~', pattern @ ..] => (Access::ALL, pattern),
        [b'%', rest @ ..] => {
            let letters = rest.iter().position(|&b| b == b'~').unwrap_or(rest.len());
            let mut access = Access::default();
            for letter in &rest[..letters] {
                let place = match letter {
                    b'R' | b'r' => &mut access.read,
                    b'W' | b'w' => &mut access.write,
                    _ => return Err(RuleError::Syntax),
                };
                if std::mem::replace(place, true) {
                    return Err(RuleError::Syntax);
                }
            }
            if access == Access::default() {
                return Err(RuleError::Syntax);
            }
            (access, rest.get(letters + 1..).unwrap_or_default())
        }
        _ => return Err(RuleError::Syntax),
    };
    if has_blanks(pattern) { Err(RuleError::Syntax) } else { Ok((access, pattern)) }
}

/// A password's SHA-256, which is all that is kept of it.
pub(super) type Hash = [u8; 32];

/// The hash of a password.
pub(super) fn hash(password: &[u8]) -> Hash {
    hmac_sha256::Hash::hash(password)
}

/// A hash as 64 digits.
pub(super) fn parse_hash(digits: &[u8]) -> Result<Hash, RuleError> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(RuleError::BadHash),
    };
    let mut hash = Hash::default();
    if digits.len() != 2 * hash.len() {
        return Err(RuleError::BadHash);
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(hash)
}

/// A hash as it is shown.
pub(super) fn show_hash(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Rules with each selector in one piece: `(+get ~x)` may have come in two. The error is the piece that opens a
/// selector that nothing closes.
pub fn join_selectors<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Cow<'a, [u8]>>, &'a [u8]> {
    let mut joined = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        let closes = word.last() == Some(&b')');
        match &mut open {
            // A second one begins anew, as in Redis: the first is forgotten.
            _ if word.first() == Some(&b'(') && !closes => open = Some((word, word.to_vec())),
            None => joined.push(Cow::Borrowed(word)),
            Some((_, text)) => {
                text.push(b' ');
                text.extend_from_slice(word);
                if closes {
                    joined.extend(open.take().map(|(_, text)| Cow::Owned(text)));
                }
            }
        }
    }
    open.map_or(Ok(joined), |(first, _)| Err(first))
}
