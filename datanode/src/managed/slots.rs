//! Hash slots: which commands this node may serve in cluster mode.

use crate::command::{Args, Error, Spec};
use crate::io::ConnId;
use crate::server::Server;

/// Refuses a command whose keys are not of one slot, or of a slot that another shard serves.
pub fn redirect(_server: &Server, _conn: ConnId, _spec: &'static Spec, _args: Args<'_>) -> Result<(), Error> {
    Ok(())
}
