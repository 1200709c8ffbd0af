//! Commands of the family `managed`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
