//! Commands of the family `expiry`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
