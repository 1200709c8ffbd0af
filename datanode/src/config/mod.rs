//! The data server's configuration: redis.conf of Redis 7.0 and a few directives of our own.
//!
//! [`Config`] is plain data. [`Config::load`] reads it from files and the command line, [`Config::get`] and
//! [`Config::set`] are CONFIG GET and CONFIG SET, [`Config::rewrite`] is CONFIG REWRITE. Setting makes a new
//! configuration and touches nothing else: the caller applies the difference and then takes it, or drops it.

mod load;
mod refuse;
mod rewrite;
mod set;
mod table;
#[cfg(test)]
mod tests;
pub mod types;
pub mod value;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::disk::{self, Disk};

pub(crate) use load::os_text;
pub use load::{LoadError, Mode, Source};
pub use rewrite::{Foreign, RewriteError, Rewritten};
pub use set::{Change, SetContext, apply_failed, is_sensitive};
pub use table::{Config, DIRECTIVES, Directive, Flags, find};

/// The version of Redis whose behaviour this is, as INFO and error messages name it.
pub const REDIS_VERSION: &str = "7.0.15";

impl Config {
    /// Reads `password-file` again: its content without the newline at the end becomes `requirepass` and
    /// `masterauth`. Says whether that changed anything; without a `password-file` it never does.
    pub fn reload_password(&mut self, disk: &dyn Disk) -> Result<bool, String> {
        if self.password_file.is_empty() {
            return Ok(false);
        }
        let path = self.dir.join(&self.password_file);
        let fail = |what: String| format!("Can't read the password file '{}': {what}", path.display());
        let bytes = disk::read(disk, &path).map_err(|e| fail(load::os_text(&e)))?;
        let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8 text".into()))?;
        let password = text.trim_end_matches(['\n', '\r']);
        // An empty password would open the server to everybody: a Secret that is being filled must not do that.
        if password.is_empty() {
            return Err(fail("it is empty".into()));
        }
        let changed = self.requirepass != password || self.masterauth != password;
        self.requirepass = password.into();
        self.masterauth = password.into();
        Ok(changed)
    }
}

/// What configuration files hold besides directives with a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra {
    /// Absolute path of the file the server was started with.
    pub config_file: Option<PathBuf>,
    /// Directives that an included file sets: CONFIG REWRITE must say them even where they are at their default again.
    pub included: BTreeSet<&'static str>,
    /// `rename-command`: old name, new name; an empty new name removes the command.
    pub rename_commands: Vec<(String, String)>,
    /// `user` lines: the words behind `user`.
    pub users: Vec<Vec<Vec<u8>>>,
    /// It is a sentinel's.
    pub of_sentinel: bool,
    /// `sentinel` lines, in sentinel mode.
    pub sentinel: Vec<SentinelLine>,
}

/// One `sentinel` line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelLine {
    /// Line number, from 1, for error messages.
    pub number: usize,
    /// The line as it stands.
    pub text: String,
    /// The words behind `sentinel`.
    pub words: Vec<String>,
}
