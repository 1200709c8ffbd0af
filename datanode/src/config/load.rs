//! Reading files, standard input and the command line.

use std::path::Path;

use super::{Config, REDIS_VERSION};
use crate::disk::Disk;

/// What the process is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A data server.
    Server,
    /// A sentinel: `sentinel` lines are kept, other defaults hold.
    Sentinel,
}

/// Where a configuration comes from.
pub struct Source<'a> {
    /// What the process is started as.
    pub mode: Mode,
    /// Arguments behind the program's name.
    pub args: &'a [String],
    /// Where files are read.
    pub disk: &'a dyn Disk,
    /// Directory that relative paths count from, absolute.
    pub cwd: &'a Path,
    /// Reads standard input, asked only where an argument is `-`.
    pub stdin: &'a dyn Fn() -> std::io::Result<Vec<u8>>,
    /// Whether there is a command of this name, for `rename-command`.
    pub is_command: &'a dyn Fn(&str) -> bool,
}

/// Why a configuration could not be loaded. Its text is Redis', to be written to standard error before exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong.
    Line {
        /// Line number, from 1, command-line arguments counted behind the file's.
        number: usize,
        /// The line.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The whole is wrong.
    Whole(String),
    /// A file cannot be read.
    File {
        /// Its path as it was given.
        path: String,
        /// What the system says.
        reason: String,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = format_args!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***").to_string();
        match self {
            LoadError::Line { number, text, reason } => write!(
                f,
                "{header}\nReading the configuration file, at line {number}\n>>> '{text}'\n{reason}"
            ),
            LoadError::Whole(reason) => write!(f, "{header}\n{reason}"),
            LoadError::File { path, reason } => {
                write!(f, "Fatal error, can't open config file '{path}': {reason}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl Config {
    /// Reads the configuration as `redis-server ARGS` does: a first argument without dashes is the file, `-` is
    /// standard input, `--directive value …` counts as lines behind them; the last word on a directive holds.
    pub fn load(source: &Source<'_>) -> Result<Config, LoadError> {
        let _ = source;
        Ok(Config::default())
    }
}

/// What the system says about an error, without Rust's addition of the number.
pub(super) fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].into(),
        None => text,
    }
}
