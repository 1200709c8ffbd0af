//! Commands of the family `lists`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
