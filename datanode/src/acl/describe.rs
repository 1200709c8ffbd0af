//! Users and selectors as rules that make them again: what `ACL LIST`, `ACL GETUSER` and files show.
//!
//! Which commands are allowed is kept as a set, not as the rules that made it. The rules shown are found anew as Redis
//! 7.0 finds them: all or no commands first, then categories as long as one fits better than not, then what is left.

use super::commands::{self, Known};
use super::selector::CommandSet;
use super::{Selector, User};
use crate::command::facts::CATEGORIES;
use crate::config::value::quote;

impl Selector {
    /// The rules about keys.
    pub fn key_rules(&self) -> Vec<Vec<u8>> {
        if self.all_keys {
            return vec![b"~*".to_vec()];
        }
        self.patterns.iter().map(|(access, p)| [access.prefix().as_bytes(), p].concat()).collect()
    }

    /// The rules about channels.
    pub fn channel_rules(&self) -> Vec<Vec<u8>> {
        if self.all_channels {
            return vec![b"&*".to_vec()];
        }
        self.channels.iter().map(|p| [b"&", p.as_slice()].concat()).collect()
    }

    /// The rules about commands; the first is about all of them.
    pub fn command_rules(&self) -> Vec<Vec<u8>> {
        let adds = !self.future_commands;
        let sign = |allow: bool| if allow { '+' } else { '-' };
        let mut rules = vec![format!("{}@all", sign(!adds)).into_bytes()];
        // What the rules so far allow; and what is wanted, without what they have already settled.
        let mut reached = CommandSet::default();
        let mut wanted = self.commands.clone();
        commands::all().for_each(|known| reached.put(known.spec, !adds));
        for category in categories(&mut wanted, adds) {
            rules.push(format!("{}{}", sign(adds), CATEGORIES[category]).into_bytes());
            commands::in_category(category).for_each(|spec| reached.put_all(spec, adds));
        }
        for Known { spec, .. } in commands::all() {
            let allowed = self.commands.has(spec);
            if allowed != reached.has(spec) {
                rules.push(format!("{}{}", sign(allowed), spec.name).into_bytes());
                reached.put_all(spec, allowed);
            }
            for word in self.first_args.get(&spec.id).filter(|_| !allowed).into_iter().flatten() {
                rules.push([b"+", spec.name.as_bytes(), b"|", word].concat());
            }
        }
        rules
    }

    fn rules(&self) -> Vec<Vec<u8>> {
        let mut rules = self.key_rules();
        if !self.all_channels {
            rules.push(b"resetchannels".to_vec());
        }
        rules.extend(self.channel_rules());
        rules.extend(self.command_rules());
        rules
    }
}

/// The categories that say most of the difference between `wanted` and nothing (`adds`) or everything, best first. Each
/// is taken out of what is wanted before the next one is looked for.
fn categories(wanted: &mut CommandSet, adds: bool) -> Vec<usize> {
    let mut found = Vec::new();
    loop {
        let mut best: Option<(usize, usize, usize)> = None;
        for category in (0..CATEGORIES.len()).filter(|c| !found.contains(c)) {
            let members = commands::all().filter(|k| !k.extra && k.is_in(category));
            let (mut same, mut different) = (0, 0);
            for known in members {
                *(if wanted.has(known.spec) == adds { &mut same } else { &mut different }) += 1;
            }
            let better =
                best.is_none_or(|(_, least, most)| different < least || (different == least && same > most));
            if same > different && better {
                best = Some((category, different, same));
            }
        }
        let Some((category, ..)) = best else { return found };
        commands::in_category(category).for_each(|spec| wanted.put_all(spec, !adds));
        found.push(category);
    }
}

impl User {
    /// The rules that make this user of a new one, each selector as one. In a selector a word may need quotes, which it
    /// is read with everywhere.
    pub fn rules(&self) -> Vec<Vec<u8>> {
        let mut rules: Vec<Vec<u8>> = self.flags().into_iter().map(|f| f.as_bytes().to_vec()).collect();
        rules.extend(self.passwords().map(|hash| format!("#{hash}").into_bytes()));
        let (own, others) = self.selectors().split_at(1);
        rules.extend(own.iter().flat_map(Selector::rules));
        for selector in others {
            let words: Vec<String> = selector.rules().into_iter().map(quoted).collect();
            rules.push(format!("({})", words.join(" ")).into_bytes());
        }
        rules
    }

    /// `user NAME RULES` as `ACL LIST` and ACL files have it.
    pub fn line(&self) -> Vec<u8> {
        [b"user", self.name.as_slice(), &self.rules().join(&b' ')].join(&b' ')
    }

    /// `user NAME RULES` as configuration files have it: with quotes where they are needed.
    pub fn config_line(&self) -> String {
        let words = [self.name.clone()].into_iter().chain(self.rules()).map(quoted);
        words.fold("user".to_owned(), |line, word| line + " " + &word)
    }
}

/// A word as a configuration file has it. Where no quotes are needed there are none, as Redis writes it.
fn quoted(word: Vec<u8>) -> String {
    let plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\'' | b'\\');
    match String::from_utf8(word) {
        Ok(text) if !text.is_empty() && text.bytes().all(plain) => text,
        Ok(text) => quote(text.as_bytes()),
        Err(e) => quote(e.as_bytes()),
    }
}
