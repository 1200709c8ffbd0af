//! Commands of the family `pubsub`.

use super::Spec;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[];
