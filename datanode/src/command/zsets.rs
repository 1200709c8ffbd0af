//! Commands of the family `zsets`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
