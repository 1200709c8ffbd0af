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
