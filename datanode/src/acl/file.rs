//! Users in files: `user` lines of redis.conf, and the file that `aclfile` names.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use super::{Acl, DEFAULT_USER, RuleError, User, join_selectors, opens_channels};
use crate::config::{Config, os_text};
use crate::disk::{self, Disk};

/// Why a configuration with `user` lines and `aclfile` is refused.
pub const BOTH: &str = "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
                        invalid. This setup is very likely to lead to configuration errors and security holes, please \
                        define either an ACL file or declare users directly in your redis.conf, but not both.";
const UNMATCHED: &str = "Unmatched parenthesis in selector definition";
const NOT_LOADED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What is wrong with a `user` line of redis.conf (the words behind `user`), given those before it. Commands that do not
/// exist are only found at the start, as in Redis.
pub fn check_line(words: &[Vec<u8>], before: &[Vec<Vec<u8>>]) -> Result<(), String> {
    let wrong = |word: &[u8], why: &str| Err(format!("Error in user declaration '{}': {why}", text(word)));
    let Some((name, rules)) = words.split_first() else { return wrong(b"user", "it has no name") };
    if before.iter().any(|other| other.first() == Some(name)) {
        return wrong(name, &RuleError::Duplicate.to_string());
    }
    let rules = match join_selectors(rules.iter().map(Vec::as_slice)) {
        Ok(rules) => rules,
        Err(open) => return wrong(open, UNMATCHED),
    };
    let mut user = User::new(name, false);
    for rule in &rules {
        match user.apply(rule, false) {
            Ok(()) | Err(RuleError::Unknown) => {}
            Err(e) => return wrong(rule, &e.to_string()),
        }
    }
    Ok(())
}

/// The users of `user` lines.
pub(super) fn configured(lines: &[Vec<Vec<u8>>], all_channels: bool) -> Result<Vec<User>, String> {
    let fatal = |why: String| Err(format!("{why}\nCritical error while loading ACLs. Exiting."));
    let mut users = Vec::new();
    for words in lines {
        let Some((name, rules)) = words.split_first() else { continue };
        if !User::is_name(name) {
            return fatal("Spaces not allowed in ACL usernames".into());
        }
        let mut user = User::new(name, all_channels);
        // The default user is there already, and is reset by its line.
        let first = (name == DEFAULT_USER).then_some(&b"reset"[..]);
        let rules = join_selectors(first.into_iter().chain(rules.iter().map(Vec::as_slice)));
        for rule in rules.map_err(|_| UNMATCHED.to_owned())? {
            if let Err(e) = user.apply(&rule, all_channels) {
                return fatal(format!(
                    "Error loading ACL rule '{}' for the user named '{}': {e}",
                    text(&rule),
                    text(name)
                ));
            }
        }
        if !user.is_enabled() {
            tracing::info!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is not \
                 a configuration error.",
                text(name)
            );
        }
        users.push(user);
    }
    Ok(users)
}

fn path(config: &Config) -> PathBuf {
    config.dir.join(&config.aclfile)
}

/// The users of the ACL file; or all that is wrong with it, in one line.
pub fn load(config: &Config, disk: &dyn Disk) -> Result<Vec<User>, String> {
    let name = &config.aclfile;
    let content = disk::read(disk, &path(config))
        .map_err(|e| format!("Error loading ACLs, opening file '{name}': {}", os_text(&e)))?;
    parse(&content, name, opens_channels(config))
}

/// Users as lines of text; `name` is the file's in errors.
pub(super) fn parse(content: &[u8], name: &str, all_channels: bool) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    let mut errors = String::new();
    for (number, line) in content.split(|&b| b == b'\n').enumerate() {
        let place = format!("{name}:{}", number + 1);
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
        let [b"user", user, rules @ ..] = words.as_slice() else {
            errors += &format!("{place} should start with user keyword followed by the username. ");
            continue;
        };
        if !User::is_name(user) {
            errors += &format!("'{place}: username '{}' contains invalid characters. ", text(user));
            continue;
        }
        if users.iter().any(|known| known.name == *user) {
            errors += &format!("WARNING: Duplicate user '{}' found on line {}. ", text(user), number + 1);
            continue;
        }
        let mut made = User::new(user, all_channels);
        match join_selectors(rules.iter().copied()) {
            Ok(rules) => errors += &apply_all(&mut made, &rules, &place, all_channels),
            Err(_) => errors += &format!("{place}: {UNMATCHED}."),
        }
        users.push(made);
    }
    if errors.is_empty() { Ok(users) } else { Err(errors + NOT_LOADED) }
}

/// What is wrong with the rules of one line. Of errors other than unknown commands only the first is told: it may be the
/// cause of the others, and the rule may be a secret.
fn apply_all(user: &mut User, rules: &[Cow<'_, [u8]>], place: &str, all_channels: bool) -> String {
    let mut errors = String::new();
    let mut told = false;
    for rule in rules {
        let rule = rule.trim_ascii();
        match user.apply(rule, all_channels) {
            Ok(()) => {}
            Err(e @ RuleError::Unknown) => {
                errors += &format!("{place}: Error in applying operation '{}': {e}. ", text(rule));
            }
            Err(e) if !std::mem::replace(&mut told, true) => errors += &format!("{place}: {e}. "),
            Err(_) => {}
        }
    }
    errors
}

/// Writes all users into the ACL file: the old one stays until the new one is whole and durable.
pub fn save(acl: &Acl, config: &Config, disk: &dyn Disk) -> io::Result<()> {
    let content: Vec<u8> = acl.users().flat_map(|user| [user.line(), b"\n".to_vec()]).flatten().collect();
    disk::replace(disk, &path(config), &content)
}
