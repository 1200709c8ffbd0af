//! Commands of the family `sets`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
