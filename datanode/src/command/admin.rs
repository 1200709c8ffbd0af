//! Commands of the family `admin`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
