//! Whether a user may run a command.

use super::commands::{Channels, uses};
use super::rules::Access;
use super::{Selector, User};
use crate::command::{Args, Error, Flags, Spec};
use crate::glob::glob_match;

/// Why a user may not run a command. The later ones say more, where several selectors deny it for different reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// No selector allows the command.
    Command,
    /// The key at this index is not allowed.
    Key(usize),
    /// The channel at this index is not allowed.
    Channel(usize),
}

impl Denied {
    /// The error that the caller gets.
    pub fn error(self, spec: &Spec) -> Error {
        const WHAT: &str = "NOPERM this user has no permissions to";
        Error::Text(match self {
            Denied::Command => format!("{WHAT} run the '{}' command", spec.name).into(),
            Denied::Key(_) => format!("{WHAT} access one of the keys used as arguments").into(),
            Denied::Channel(_) => format!("{WHAT} access one of the channels used as arguments").into(),
        })
    }

    /// The error of a command that was allowed when it was queued, and is not any more.
    pub fn error_in_exec(self) -> Error {
        let why = match self {
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        Error::Text(
            format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                 command is no longer allowed for the following reason: {why}"
            )
            .into(),
        )
    }

    /// The error of a command that a script calls.
    pub fn error_in_script(self) -> Error {
        Error::err(match self {
            Denied::Command => "The user executing the script can't run this command or subcommand",
            Denied::Key(_) => {
                "The user executing the script can't access at least one of the keys mentioned in the command arguments"
            }
            Denied::Channel(_) => {
                "The user executing the script can't publish to the channel mentioned in the command"
            }
        })
    }

    /// What `ACL DRYRUN` says.
    pub fn dry_run(self, spec: &Spec, args: Args<'_>) -> Vec<u8> {
        let named = |i: usize, what: &str| {
            [b"This user has no permissions to access the '", args.at(i), b"' ", what.as_bytes()].concat()
        };
        match self {
            Denied::Command => {
                format!("This user has no permissions to run the '{}' command", spec.name).into_bytes()
            }
            Denied::Key(i) => named(i, "key"),
            Denied::Channel(i) => named(i, "channel"),
        }
    }
}

impl User {
    /// Whether it may run a command with these arguments.
    pub fn may_run(&self, spec: &Spec, args: Args<'_>) -> Result<(), Denied> {
        if self.is_unrestricted() {
            return Ok(());
        }
        let mut worst = Denied::Command;
        for selector in self.selectors() {
            match selector.may_run(spec, args) {
                Ok(()) => return Ok(()),
                Err(denied) => worst = worst.max(denied),
            }
        }
        Err(worst)
    }

    /// Whether it may run the command with these arguments and read any key in it, whatever its name.
    pub fn may_read_all(&self, spec: &Spec, args: Args<'_>) -> bool {
        self.is_unrestricted()
            || self.selectors().iter().any(|s| s.reads_all_keys() && s.may_run(spec, args).is_ok())
    }
}

/// Whether a channel is among those allowed; a pattern to be subscribed to must be one of them literally.
pub fn may_use_channel<P: AsRef<[u8]>>(allowed: &[P], channel: &[u8], is_pattern: bool) -> bool {
    allowed.iter().map(AsRef::as_ref).any(|pattern| match is_pattern {
        true => pattern == channel,
        false => glob_match(pattern, channel, false),
    })
}

impl Selector {
    fn may_run(&self, spec: &Spec, args: Args<'_>) -> Result<(), Denied> {
        let free = self.all_commands || spec.flags.any(Flags::NO_AUTH);
        if !free && !self.commands.has(spec) && !self.may_run_with_first_arg(spec, args) {
            return Err(Denied::Command);
        }
        let uses = uses(spec);
        if uses.keys && !self.all_keys {
            for (n, i) in spec.key_positions(&args).enumerate() {
                if !self.may_use_key(args.at(i), uses.access(spec, args, n)) {
                    return Err(Denied::Key(i));
                }
            }
        }
        if uses.channels != Channels::None && !self.all_channels {
            let last = if uses.channels == Channels::One { 1 } else { args.len() - 1 };
            for i in 1..=last {
                if !may_use_channel(&self.channels, args.at(i), uses.channels == Channels::Patterns) {
                    return Err(Denied::Channel(i));
                }
            }
        }
        Ok(())
    }

    fn may_run_with_first_arg(&self, spec: &Spec, args: Args<'_>) -> bool {
        let Some(given) = args.get(1) else { return false };
        self.first_args.get(&spec.id).is_some_and(|words| words.iter().any(|w| w.eq_ignore_ascii_case(given)))
    }

    fn may_use_key(&self, key: &[u8], access: Access) -> bool {
        self.patterns.iter().any(|(had, pattern)| had.covers(access) && glob_match(pattern, key, false))
    }

    fn reads_all_keys(&self) -> bool {
        self.all_keys || self.patterns.iter().any(|(access, pattern)| access.read && pattern == b"*")
    }
}
