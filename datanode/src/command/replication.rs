//! Commands of the family `replication`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
