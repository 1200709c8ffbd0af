//! All commands, gathered from the families, and looked up by name.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use super::{Args, Error, Spec};
use crate::config::Mode;

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
    super::geo::COMMANDS,
    super::hyperloglog::COMMANDS,
    super::streams::COMMANDS,
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
    super::migrate::COMMANDS,
    super::slowlog::COMMANDS,
    super::latency::COMMANDS,
    super::replication::COMMANDS,
    super::cluster::COMMANDS,
    super::managed::COMMANDS,
    super::sentinel::COMMANDS,
];

/// More commands than this, subcommands included, cannot be.
pub const MAX_COMMANDS: usize = 512;
/// Longest name of a command.
const MAX_NAME: usize = 64;
/// Redis shows at most this many bytes of an unknown command's arguments.
const SHOWN_ARGUMENTS: usize = 128;

/// What a sentinel serves.
const OF_A_SENTINEL: [&str; 16] = [
    "acl",
    "auth",
    "client",
    "command",
    "hello",
    "info",
    "ping",
    "psubscribe",
    "publish",
    "punsubscribe",
    "replicaset",
    "role",
    SENTINEL,
    "shutdown",
    "subscribe",
    "unsubscribe",
];
/// What nobody else serves.
const SENTINEL: &str = "sentinel";

static MODE: OnceLock<Mode> = OnceLock::new();

/// Says which program's commands there are. To be called once, before the first command is looked up; else there are all.
pub fn serve_as(mode: Mode) {
    // Whoever came first keeps it: a process is one program.
    let _ = MODE.set(mode);
}

fn is_served(spec: &Spec) -> bool {
    match MODE.get() {
        None => true,
        Some(Mode::Server) => spec.name != SENTINEL,
        Some(Mode::Sentinel) => {
            OF_A_SENTINEL.contains(&spec.name.split('|').next().unwrap_or_default()) && !is_of_7_2(spec)
        }
    }
}

/// Redis 7.0 does not have it: a sentinel, which clients and other sentinels take for one of Redis 7.0, has not either.
fn is_of_7_2(spec: &Spec) -> bool {
    spec.since.starts_with("7.2")
}

static TABLE: LazyLock<HashMap<&'static [u8], &'static Spec, foldhash::fast::FixedState>> =
    LazyLock::new(|| {
        let mut table = HashMap::default();
        let mut next_id = 0;
        for spec in FAMILIES.iter().flat_map(|f| f.iter()).filter(|s| is_served(s)) {
            let spec: &'static Spec = Box::leak(Box::new(numbered(spec, &mut next_id)));
            let clash = table.insert(spec.name.as_bytes(), spec);
            assert!(clash.is_none(), "two commands are called {}", spec.name);
        }
        table
    });

/// A command and its subcommands with their ids.
fn numbered(spec: &Spec, next_id: &mut u16) -> Spec {
    let id = *next_id;
    assert!(usize::from(id) < MAX_COMMANDS, "too many commands");
    *next_id += 1;
    let mut spec = Spec { id, ..*spec };
    if !spec.subcommands.is_empty() {
        let served = spec.subcommands.iter().filter(|s| is_served(s));
        let subcommands: Vec<Spec> = served.map(|s| numbered(s, next_id)).collect();
        spec.subcommands = Vec::leak(subcommands);
    }
    spec
}

/// The commands by the names that clients use, where `rename-command` has changed some.
static RENAMED: OnceLock<HashMap<Vec<u8>, &'static Spec>> = OnceLock::new();

/// Takes over `rename-command`: pairs of the old name and the new one, in order; an empty new name takes a command away.
/// To be called once, before the first command.
pub fn rename(pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    let mut names: HashMap<Vec<u8>, &'static Spec> =
        TABLE.iter().map(|(name, spec)| (name.to_vec(), *spec)).collect();
    for (old, new) in pairs {
        if let Some(spec) = names.remove(old.as_bytes())
            && !new.is_empty()
        {
            names.insert(new.clone().into_bytes(), spec);
        }
    }
    // Whoever came first keeps it: the process has one configuration.
    let _ = RENAMED.set(names);
}

/// All top-level commands that are served.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    let renamed = RENAMED.get().into_iter().flat_map(HashMap::values);
    let own = TABLE.values().filter(|_| RENAMED.get().is_none());
    renamed.chain(own).copied()
}

/// A top-level command by the name that clients use, in lower case.
pub fn named(name: &str) -> Option<&'static Spec> {
    get(name.as_bytes())
}

fn get(name: &[u8]) -> Option<&'static Spec> {
    match RENAMED.get() {
        None => TABLE.get(name),
        Some(names) => names.get(name),
    }
    .copied()
}

fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0u8; MAX_NAME];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    get(lower)
}

/// All top-level commands, under whatever names they are served.
pub fn originals() -> impl Iterator<Item = &'static Spec> {
    TABLE.values().copied()
}

/// A command by its full name in any case, `container|subcommand` for a subcommand: the name that rules of access have for
/// it, under whatever name it is served.
pub fn original(name: &[u8]) -> Option<&'static Spec> {
    let name = name.to_ascii_lowercase();
    let mut parts = name.splitn(2, |&b| b == b'|');
    let spec = parts.next().and_then(|name| TABLE.get(name)).copied()?;
    parts.next().map_or(Some(spec), |word| subcommand(spec, word))
}

/// The subcommand of a container that `word` names.
pub fn subcommand(container: &'static Spec, word: &[u8]) -> Option<&'static Spec> {
    container.subcommands.iter().find(|s| {
        let own = s.name.rsplit('|').next().unwrap_or(s.name);
        own.as_bytes().eq_ignore_ascii_case(word)
    })
}

/// The command that was found last: the next one is often the same.
#[derive(Default, Clone, Copy)]
pub struct Last(Option<&'static Spec>);

impl Last {
    /// The command that `args` calls, arity checked.
    pub fn find(&mut self, args: Args<'_>) -> Result<&'static Spec, Error> {
        if let Some(spec) = self.0
            && args.is(0, spec.name)
            && spec.arity_fits(args.len())
        {
            return Ok(spec);
        }
        let spec = find(args)?;
        // Of a subcommand the first word does not tell all.
        let by_name = spec.subcommands.is_empty() && args.is(0, spec.name);
        self.0 = by_name.then_some(spec);
        Ok(spec)
    }
}

/// The command that `args` calls, arity checked.
pub fn find(args: Args<'_>) -> Result<&'static Spec, Error> {
    let spec = called(args)?;
    if spec.arity_fits(args.len()) { Ok(spec) } else { Err(Error::Arity(spec.name)) }
}

/// The command that `args` calls, whatever their number.
pub fn called(args: Args<'_>) -> Result<&'static Spec, Error> {
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
    Ok(spec)
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
