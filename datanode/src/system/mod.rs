//! The process as the machine sees it: in the background or under a supervisor, its name, its standing with the
//! kernel, and what it leaves behind when it crashes. Everything here is what redis.conf asks for under the same name.

pub mod background;
pub mod crash;
pub mod kernel;
pub mod pidfile;
pub mod supervisor;
pub mod syslog;
pub mod title;
pub mod watchdog;

use std::ffi::OsString;
use std::sync::LazyLock;

/// The command line. To be read before a title takes its place in memory.
pub static COMMAND_LINE: LazyLock<Vec<OsString>> = LazyLock::new(|| std::env::args_os().collect());
