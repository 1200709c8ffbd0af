//! `pidfile`: holds the process id while the process lives.

use std::path::PathBuf;

use crate::config::Config;

/// Where it is written by a process in the background that was given no other place.
const DEFAULT: &str = "/var/run/redis.pid";

/// The file; removed with this value.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it where it is asked for. That it cannot be written ends nothing, as in Redis.
    pub fn write(config: &Config) -> Option<PidFile> {
        let path = match config.pidfile.as_str() {
            "" if !config.daemonize => return None,
            "" => DEFAULT.into(),
            path => config.dir.join(path),
        };
        match std::fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(PidFile(path)),
            Err(e) => {
                tracing::warn!("Failed to write PID file {}: {e}", path.display());
                None
            }
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        tracing::info!("Removing the pid file.");
        // It may be gone already; nobody needs it any more.
        let _ = std::fs::remove_file(&self.0);
    }
}
