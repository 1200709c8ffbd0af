//! Commands of the family `transactions`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
