//! What was denied (`ACL LOG`): the latest first, the same again counted.

use std::collections::VecDeque;

/// Entries that are looked through for one to be counted up.
const SEARCHED: usize = 10;
/// How old an entry may be to be counted up, milliseconds.
const GROUPED_MS: i64 = 60_000;
/// Bytes of a key, channel or user name that an entry keeps at most.
const MAX_TEXT: usize = 4096;

/// Why something was denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
    /// User or password.
    Auth,
}

impl Reason {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// By itself.
    TopLevel,
    /// In a transaction.
    Multi,
    /// By a script.
    Lua,
}

impl Context {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How often it happened.
    pub count: u64,
    /// Why it was denied.
    pub reason: Reason,
    /// Where it was wanted.
    pub context: Context,
    /// The command, key or channel; of a failed login the command as it was written.
    pub object: Vec<u8>,
    /// The user.
    pub username: Vec<u8>,
    /// Unix milliseconds of the last time.
    pub at_ms: i64,
    /// The last client, as `CLIENT LIST` describes it.
    pub client: String,
}

/// The log.
#[derive(Debug, Default)]
pub struct AclLog {
    entries: VecDeque<Entry>,
}

impl AclLog {
    /// Adds an entry, or counts one up that says the same; `max_len` are kept (`acllog-max-len`).
    pub fn add(&mut self, mut new: Entry, max_len: u64) {
        new.object.truncate(MAX_TEXT);
        new.username.truncate(MAX_TEXT);
        let same = |old: &Entry| {
            (old.reason, old.context) == (new.reason, new.context)
                && (old.at_ms - new.at_ms).abs() <= GROUPED_MS
                && old.object == new.object
                && old.username == new.username
        };
        let known = self.entries.iter().take(SEARCHED).position(same).and_then(|i| self.entries.remove(i));
        let counted = known.is_some();
        new.count += known.map_or(0, |old| old.count);
        self.entries.push_front(new);
        if !counted {
            self.entries.truncate(usize::try_from(max_len).unwrap_or(usize::MAX));
        }
    }

    /// The entries, the latest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
