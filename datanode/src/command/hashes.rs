//! Commands of the family `hashes`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
