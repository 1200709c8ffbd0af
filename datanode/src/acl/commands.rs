//! What rules and checks need to know of each command: its categories, how it uses its keys, where its channels are.
//! All of it follows from the table of commands and is worked out once.

use std::sync::LazyLock;

use super::rules::Access;
use crate::command::{Args, Spec, facts, table};

/// A command and its categories.
pub(super) struct Known {
    pub spec: &'static Spec,
    /// A bit for each of [`facts::CATEGORIES`].
    categories: u32,
    /// Redis 7.0 does not have it: rules do without it where that makes them what Redis would write.
    pub extra: bool,
}

/// All commands by name, each container before its subcommands.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut all: Vec<&Spec> =
        table::originals().flat_map(|s| std::iter::once(s).chain(s.subcommands)).collect();
    all.sort_by_key(|spec| spec.name.split('|').collect::<Vec<_>>());
    let known = |spec: &'static Spec| {
        let has = facts::categories(spec);
        let bit = |(i, name): (usize, &&str)| u32::from(has.contains(name)) << i;
        let categories = facts::CATEGORIES.iter().enumerate().map(bit).sum();
        let extra = spec.since.starts_with("7.2") || spec.name.starts_with("replicaset");
        Known { spec, categories, extra }
    };
    all.into_iter().map(known).collect()
});

/// All commands by name, each container before its subcommands.
pub(super) fn all() -> impl Iterator<Item = &'static Known> {
    KNOWN.iter()
}

/// Index in [`facts::CATEGORIES`] of a category given without its `@`, in any case.
pub fn category_named(name: &[u8]) -> Option<usize> {
    facts::CATEGORIES.iter().position(|c| c.as_bytes()[1..].eq_ignore_ascii_case(name))
}

/// The commands of a category.
pub fn in_category(category: usize) -> impl Iterator<Item = &'static Spec> {
    all().filter(move |known| known.is_in(category)).map(|known| known.spec)
}

impl Known {
    pub fn is_in(&self, category: usize) -> bool {
        self.categories & (1 << category) != 0
    }
}

/// Which arguments are channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    None,
    /// The first.
    One,
    /// All.
    All,
    /// All, and they are patterns.
    Patterns,
}

/// How a command uses keys and channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uses {
    /// It has keys.
    pub keys: bool,
    first: Access,
    others: Access,
    /// Other arguments tell how the key is used.
    varies: bool,
    pub channels: Channels,
}

static USES: LazyLock<Vec<Uses>> = LazyLock::new(|| {
    let nothing = Uses {
        keys: false,
        first: Access::default(),
        others: Access::default(),
        varies: false,
        channels: Channels::None,
    };
    let mut uses = vec![nothing; table::MAX_COMMANDS];
    for known in all() {
        let spec = known.spec;
        let flags = |n| facts::usual_key_flags(spec, n);
        uses[usize::from(spec.id)] = Uses {
            keys: (spec.keys.first > 0 || spec.find_keys.is_some()) && !flags(0).contains(&"not_key"),
            first: access(flags(0)),
            others: access(flags(1)),
            varies: flags(0).contains(&"variable_flags"),
            channels: match spec.name {
                "publish" | "spublish" => Channels::One,
                "subscribe" | "ssubscribe" => Channels::All,
                "psubscribe" => Channels::Patterns,
                _ => Channels::None,
            },
        };
    }
    uses
});

fn access(flags: &[&str]) -> Access {
    let has = |flag| flags.contains(&flag);
    Access { read: has("access"), write: has("insert") || has("update") || has("delete") }
}

/// How a command uses keys and channels.
pub(super) fn uses(spec: &Spec) -> &'static Uses {
    &USES[usize::from(spec.id)]
}

impl Uses {
    /// How it uses its key number `n`, from 0.
    pub fn access(&self, spec: &Spec, args: Args<'_>, n: usize) -> Access {
        match n {
            _ if self.varies => access(facts::key_flags(spec, args, n)),
            0 => self.first,
            _ => self.others,
        }
    }
}
