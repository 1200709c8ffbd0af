//! `daemonize`: the program starts itself again without a terminal, and the first process ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// First argument of the process in the background.
pub const DETACHED: &str = "--detached";

/// Starts the program again with the same arguments, in the background. What was read from standard input is given on.
pub fn start_detached(program: &str, args: &[String], stdin: Option<&[u8]>) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("Can't go to the background: {e}");
    let mut child = Command::new(std::env::current_exe().map_err(fail)?)
        .arg0(program)
        .arg(DETACHED)
        .args(args)
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(fail)?;
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        pipe.write_all(text).map_err(fail)?;
    }
    Ok(())
}

/// Leaves the session of the process that started this one.
pub fn leave_session() {
    // It fails only where the process leads its session already.
    let _ = rustix::process::setsid();
}
