//! All commands, gathered from the families, and looked up by name.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Args, Error, Spec};

/// Every family's commands.
const FAMILIES: &[&[Spec]] = &[
    super::connection::COMMANDS,
    super::generic::COMMANDS,
    super::expiry::COMMANDS,
    super::strings::COMMANDS,
    super::bitmaps::COMMANDS,
    super::hashes::COMMANDS,
    super::lists::COMMANDS,
    super::sets::COMMANDS,
    super::zsets::COMMANDS,
    super::pubsub::COMMANDS,
    super::transactions::COMMANDS,
    super::scripting::COMMANDS,
    super::functions::COMMANDS,
    super::admin::COMMANDS,
    super::persistence::COMMANDS,
    super::acl::COMMANDS,
    super::config::COMMANDS,
    super::debug::COMMANDS,
    super::introspection::COMMANDS,
    super::memory::COMMANDS,
    super::slowlog::COMMANDS,
    super::replication::COMMANDS,
    super::cluster::COMMANDS,
    super::managed::COMMANDS,
];

/// Longest name of a command.
const MAX_NAME: usize = 64;
/// Redis shows at most this many bytes of an unknown command's arguments.
const SHOWN_ARGUMENTS: usize = 128;

static TABLE: LazyLock<HashMap<&'static [u8], &'static Spec, foldhash::fast::FixedState>> =
    LazyLock::new(|| {
        let mut table = HashMap::default();
        for spec in FAMILIES.iter().flat_map(|f| f.iter()) {
            let clash = table.insert(spec.name.as_bytes(), spec);
            assert!(clash.is_none(), "two commands are called {}", spec.name);
        }
        table
    });

/// All top-level commands.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    TABLE.values().copied()
}

/// A top-level command by its name in lower case.
pub fn named(name: &str) -> Option<&'static Spec> {
    TABLE.get(name.as_bytes()).copied()
}

fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0u8; MAX_NAME];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    TABLE.get(&*lower).copied()
}

/// The subcommand of a container that `word` names.
pub fn subcommand(container: &'static Spec, word: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|s| {
        let own = s.name.rsplit('|').next().unwrap_or(s.name);
        own.as_bytes().eq_ignore_ascii_case(word)
    })
}

/// The command that `args` calls, arity checked.
pub fn find(args: Args<'_>) -> Result<&'static Spec, Error> {
    let mut spec = lookup(args.at(0)).ok_or_else(|| unknown(args))?;
    if !spec.subcommands.is_empty() {
        match args.get(1) {
            // COMMAND alone is a command, too.
            None => {}
            Some(word) => match subcommand(spec, word) {
                Some(sub) => spec = sub,
                None => {
                    return Err(Error::err(format_args!(
                        "unknown subcommand '{}'. Try {} HELP.",
                        String::from_utf8_lossy(&word[..word.len().min(SHOWN_ARGUMENTS)]),
                        spec.name.to_ascii_uppercase()
                    )));
                }
            },
        }
    }
    if spec.arity_fits(args.len()) { Ok(spec) } else { Err(Error::Arity(spec.name)) }
}

fn unknown(args: Args<'_>) -> Error {
    // Up to the first NUL, as Redis does.
    let show = |b: &[u8]| {
        let end = b.iter().position(|&c| c == 0).unwrap_or(b.len());
        String::from_utf8_lossy(&b[..end.min(SHOWN_ARGUMENTS)]).into_owned()
    };
    let mut shown = String::new();
    for a in args.from(1) {
        if shown.len() >= SHOWN_ARGUMENTS {
            break;
        }
        let left = SHOWN_ARGUMENTS - shown.len();
        let text = show(a);
        shown.push_str(&format!("'{}' ", text.chars().take(left).collect::<String>()));
    }
    Error::err(format_args!("unknown command '{}', with args beginning with: {shown}", show(args.at(0))))
}

/// What browsers begin with that have been made to send a request here: `POST …` or `Host: …`.
pub fn is_http(args: Args<'_>) -> bool {
    args.is(0, "post") || args.is(0, "host:")
}

/// Commands that are executed at once inside MULTI instead of being queued.
pub fn runs_inside_multi(name: &str) -> bool {
    matches!(name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Commands that a RESP2 client may send while it is subscribed.
pub fn allowed_while_subscribed(name: &str) -> bool {
    matches!(
        name,
        "ping"
            | "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "quit"
            | "reset"
    )
}
