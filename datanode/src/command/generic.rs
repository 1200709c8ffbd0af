//! Commands of the family `generic`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
