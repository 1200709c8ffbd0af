//! Commands of the family `cluster`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
