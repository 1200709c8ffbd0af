//! A user: whether and with which passwords one can log in as it, and its selectors.

use super::rules::{Hash, has_blanks, hash, parse_hash, show_hash};
use super::{DEFAULT_USER, RuleError, Selector};
use crate::resp::parse::split_words;

/// What happens to payloads of `RESTORE`; here they are checked in any case, but the flag is kept and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Check,
    Trust,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name; no blanks.
    pub name: Vec<u8>,
    enabled: bool,
    no_password: bool,
    payload: Option<Payload>,
    passwords: Vec<Hash>,
    /// What it may do; the first is the one that rules outside of parentheses change.
    selectors: Vec<Selector>,
    /// Some selector allows everything: nothing needs to be checked.
    unrestricted: bool,
}

impl User {
    /// A user that may do nothing, and cannot log in.
    pub fn new(name: &[u8], all_channels: bool) -> User {
        User {
            name: name.to_vec(),
            enabled: false,
            no_password: false,
            payload: None,
            passwords: Vec::new(),
            selectors: vec![Selector::new(all_channels)],
            unrestricted: false,
        }
    }

    /// The default user of a new server: it may do everything and needs no password.
    pub fn default_user() -> User {
        let mut user = User::new(DEFAULT_USER, false);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            let applied = user.apply(rule.as_bytes(), false);
            debug_assert_eq!(applied, Ok(()));
        }
        user
    }

    /// The same user with just this password, or (empty) needing none.
    pub(super) fn with_only_password(&self, password: &[u8]) -> User {
        User {
            no_password: password.is_empty(),
            passwords: if password.is_empty() { Vec::new() } else { vec![hash(password)] },
            ..self.clone()
        }
    }

    /// Nothing needs to be checked.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// One can log in as it.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Any password is right.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// What it may do; the first is its own.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Hashes of its passwords, as they are shown.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(show_hash)
    }

    /// Whether one may log in with this password. All are compared as a whole, so that the time it takes tells nothing.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = hash(password);
        let differs = |known: &Hash| known.iter().zip(&given).fold(0, |d, (a, b)| d | (a ^ b));
        let known = self.passwords.iter().fold(false, |found, known| found | (differs(known) == 0));
        self.enabled && (self.no_password || known)
    }

    /// Names of what is set, in the order in which Redis shows it.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.no_password {
            flags.push("nopass");
        }
        match self.payload {
            Some(Payload::Trust) => flags.push("skip-sanitize-payload"),
            Some(Payload::Check) => flags.push("sanitize-payload"),
            None => {}
        }
        flags
    }

    /// Changes it by one rule; `all_channels`: what new selectors begin with. After an error it may be half changed.
    pub fn apply(&mut self, rule: &[u8], all_channels: bool) -> Result<(), RuleError> {
        let result = self.change(rule, all_channels);
        self.unrestricted = self.selectors.iter().any(Selector::is_unrestricted);
        result
    }

    fn change(&mut self, rule: &[u8], all_channels: bool) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            b"skip-sanitize-payload" => self.payload = Some(Payload::Trust),
            b"sanitize-payload" => self.payload = Some(Payload::Check),
            b"nopass" => {
                self.no_password = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.no_password = false;
                self.passwords.clear();
            }
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => {
                let name = std::mem::take(&mut self.name);
                *self = User { payload: Some(Payload::Check), ..User::new(&name, all_channels) };
            }
            _ => match rule {
                [b'>', password @ ..] => self.add_password(hash(password)),
                [b'#', digits @ ..] => self.add_password(parse_hash(digits)?),
                [b'<', password @ ..] => return self.remove_password(&hash(password)),
                [b'!', digits @ ..] => return self.remove_password(&parse_hash(digits)?),
                [b'(', rules @ .., b')'] => {
                    let mut selector = Selector::new(all_channels);
                    // Where the quotes do not fit there are no rules, as in Redis.
                    for rule in split_words(rules).unwrap_or_default() {
                        selector.apply(&rule)?;
                    }
                    self.selectors.push(selector);
                }
                _ => return self.selectors[0].apply(rule),
            },
        }
        Ok(())
    }

    fn add_password(&mut self, hash: Hash) {
        self.no_password = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    fn remove_password(&mut self, hash: &Hash) -> Result<(), RuleError> {
        let place = self.passwords.iter().position(|known| known == hash).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(place);
        Ok(())
    }

    /// Patterns of the channels that it may use; `None`: all.
    pub fn channels(&self) -> Option<Vec<&[u8]>> {
        if self.selectors.iter().any(|s| s.all_channels) {
            return None;
        }
        Some(self.selectors.iter().flat_map(|s| &s.channels).map(Vec::as_slice).collect())
    }

    /// Whether a name can be a user's.
    pub fn is_name(name: &[u8]) -> bool {
        !has_blanks(name)
    }
}
