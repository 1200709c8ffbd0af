//! CONFIG GET and CONFIG SET.

use super::types::Guard;
use super::{Config, DIRECTIVES, Directive, find, refuse};
use crate::disk::Disk;
use crate::glob::glob_match;

/// What CONFIG SET must know about the moment it runs in.
pub struct SetContext<'a> {
    /// Data is being loaded.
    pub loading: bool,
    /// The client is on the same machine.
    pub local_client: bool,
    /// Where directories are looked up.
    pub disk: &'a dyn Disk,
}

/// What CONFIG SET makes: the new configuration and the directives that differ, by their name (not alias).
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The whole new configuration.
    pub config: Config,
    /// What differs, in the order given.
    pub names: Vec<&'static str>,
}

/// The error text of a CONFIG SET that was right but could not be applied.
pub fn apply_failed(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

/// Whether the value of this directive must not appear in logs.
pub fn is_sensitive(name: &str) -> bool {
    super::find(name).is_some_and(|d| d.flags.sensitive)
}

impl Config {
    /// CONFIG GET: names and values that match any of the patterns, in any case. A name without pattern characters is
    /// answered as it was written.
    pub fn get(&self, patterns: &[&str]) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, directive: &Directive| {
            if !found.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
                found.push((name.into(), directive.show(self)));
            }
        };
        for pattern in patterns {
            if !pattern.contains(['*', '?', '[']) {
                if let Some(directive) = find(pattern) {
                    add(pattern, directive);
                }
                continue;
            }
            for directive in DIRECTIVES.iter().filter(|d| !d.flags.hidden) {
                for name in directive.names().filter(|n| glob_match(pattern.as_bytes(), n.as_bytes(), true)) {
                    add(name, directive);
                }
            }
        }
        found
    }

    /// CONFIG SET: all pairs are right, or the error text of the first that is not.
    pub fn set(&self, pairs: &[(&[u8], &[u8])], context: &SetContext<'_>) -> Result<Change, String> {
        let mut found: Vec<(&'static str, &Directive)> = Vec::with_capacity(pairs.len());
        for (given, value) in pairs {
            let given = String::from_utf8_lossy(given);
            let Some((name, directive)) = named(&given) else {
                return Err(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                    given
                ));
            };
            let flags = directive.flags;
            let stays = flags.own && directive.show(self).as_bytes() == *value;
            if flags.immutable && !stays {
                return Err(apply_failed(&given, "can't set immutable config"));
            }
            if flags.protected && !self.may_set_protected(context) {
                return Err(apply_failed(&given, "can't set protected config"));
            }
            if flags.deny_loading && context.loading {
                return Err("LOADING Redis is loading the dataset in memory".into());
            }
            if found.iter().any(|(n, _)| *n == name) {
                return Err(apply_failed(&given, "duplicate parameter"));
            }
            found.push((name, directive));
        }
        let mut config = self.clone();
        for ((name, directive), (_, value)) in found.iter().zip(pairs) {
            let failed = |reason: &str| apply_failed(name, reason);
            let value = std::str::from_utf8(value).map_err(|_| failed("argument is not UTF-8 text"))?;
            let words: Vec<&str> = match value {
                "" if directive.flags.list => Vec::new(),
                _ if directive.flags.list => value.split(' ').collect(),
                _ => vec![value],
            };
            directive.assign(&mut config, &words, context.disk).map_err(|reason| failed(&reason))?;
        }
        // The command is to blame only for what it has brought about.
        if let Some((name, reason)) = refuse::contradiction(&config)
            && refuse::contradiction(self).is_none()
        {
            return Err(apply_failed(name, reason));
        }
        let mut names: Vec<&str> = Vec::new();
        for (_, directive) in found {
            if directive.show(self) != directive.show(&config) && !names.contains(&directive.name) {
                names.push(directive.name);
            }
        }
        Ok(Change { config, names })
    }

    fn may_set_protected(&self, context: &SetContext<'_>) -> bool {
        match self.enable_protected_configs {
            Guard::Yes => true,
            Guard::Local => context.local_client,
            Guard::No => false,
        }
    }
}

/// A directive, and the one of its names that was meant.
fn named(given: &str) -> Option<(&'static str, &'static Directive)> {
    let directive = find(given)?;
    let name = directive.names().find(|n| n.eq_ignore_ascii_case(given))?;
    Some((name, directive))
}
