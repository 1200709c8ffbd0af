//! One set of permissions: commands, keys and channels. A user has one of its own and may have more.

use std::collections::BTreeMap;

use super::RuleError;
use super::commands;
use super::rules::{Access, has_blanks, key_pattern};
use crate::command::{Spec, table};

const WORDS: usize = table::MAX_COMMANDS.div_ceil(64);

/// Commands by their [`Spec::id`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct CommandSet([u64; WORDS]);

impl CommandSet {
    #[inline]
    pub fn has(&self, spec: &Spec) -> bool {
        self.0[usize::from(spec.id) / 64] & (1 << (spec.id % 64)) != 0
    }

    pub fn put(&mut self, spec: &Spec, allow: bool) {
        let (word, bit) = (&mut self.0[usize::from(spec.id) / 64], 1 << (spec.id % 64));
        if allow { *word |= bit } else { *word &= !bit }
    }

    /// A command with its subcommands.
    pub fn put_all(&mut self, spec: &Spec, allow: bool) {
        self.put(spec, allow);
        spec.subcommands.iter().for_each(|sub| self.put(sub, allow));
    }
}

/// What is allowed together. A command may run if one selector allows all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    pub(super) all_keys: bool,
    pub(super) all_channels: bool,
    /// Every command is allowed, so that `commands` need not be asked.
    pub(super) all_commands: bool,
    /// It began with all commands: those that are added later, too.
    pub(super) future_commands: bool,
    pub(super) commands: CommandSet,
    /// Commands that are allowed with some first arguments only, by id.
    pub(super) first_args: BTreeMap<u16, Vec<Vec<u8>>>,
    pub(super) patterns: Vec<(Access, Vec<u8>)>,
    pub(super) channels: Vec<Vec<u8>>,
}

impl Selector {
    /// One that allows nothing, but `all_channels` where that is the default.
    pub fn new(all_channels: bool) -> Selector {
        Selector { all_channels, ..Selector::default() }
    }

    /// Everything is allowed.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Changes it by one rule. After an error it may be half changed.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.set_keys(true),
            b"resetkeys" => self.set_keys(false),
            b"allchannels" | b"&*" => self.set_channels(true),
            b"resetchannels" => self.set_channels(false),
            b"allcommands" | b"+@all" => self.set_commands(true),
            b"nocommands" | b"-@all" => self.set_commands(false),
            _ => match rule {
                [b'~' | b'%', ..] => return self.add_keys(rule),
                [b'&', pattern @ ..] => return self.add_channels(pattern),
                [sign @ (b'+' | b'-'), b'@', category @ ..] => {
                    let category = commands::category_named(category).ok_or(RuleError::Unknown)?;
                    commands::in_category(category).for_each(|spec| self.allow(spec, *sign == b'+'));
                }
                [b'+', name @ ..] => return self.allow_command(name),
                [b'-', name @ ..] => self.allow(table::original(name).ok_or(RuleError::Unknown)?, false),
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    fn set_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.patterns.clear();
    }

    fn set_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_commands(&mut self, all: bool) {
        self.all_commands = all;
        self.future_commands = all;
        self.commands = CommandSet(if all { [u64::MAX; WORDS] } else { [0; WORDS] });
        self.first_args.clear();
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        let (access, pattern) = key_pattern(rule)?;
        match self.patterns.iter_mut().find(|(_, known)| known == pattern) {
            Some((had, _)) => *had = had.and(access),
            None => self.patterns.push((access, pattern.to_vec())),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_blanks(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// Allows or forbids a command, a container with all that is in it.
    fn allow(&mut self, spec: &Spec, allow: bool) {
        self.commands.put_all(spec, allow);
        self.first_args.remove(&spec.id);
        self.all_commands &= allow;
    }

    /// `+command`, `+container|subcommand`, `+command|first-argument`
    fn allow_command(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|&b| b == b'|') else {
            self.allow(table::original(name).ok_or(RuleError::Unknown)?, true);
            return Ok(());
        };
        let (command, word) = (&name[..bar], &name[bar + 1..]);
        let spec = table::original(command).ok_or(RuleError::Unknown)?;
        if spec.name.contains('|') {
            return Err(RuleError::FirstArgument);
        }
        if word.is_empty() {
            return Err(RuleError::Syntax);
        }
        if !spec.subcommands.is_empty() {
            self.allow(table::subcommand(spec, word).ok_or(RuleError::Unknown)?, true);
            return Ok(());
        }
        tracing::warn!(
            "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of ACL and may get \
             disabled in the future (offender: +{})",
            String::from_utf8_lossy(name)
        );
        let words = self.first_args.entry(spec.id).or_default();
        if !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            words.push(word.to_vec());
        }
        Ok(())
    }
}
