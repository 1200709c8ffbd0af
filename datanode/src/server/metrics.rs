//! Figures for `/metrics`, and what `/livez` and `/readyz` answer: written by the loop, read by the HTTP thread.

use crate::io::Io;
use crate::server::Server;

/// What the HTTP thread shows.
#[derive(Debug, Default)]
pub struct Board {}

impl Server {
    pub(crate) fn publish_metrics(&mut self, _io: &mut Io) {}
}
