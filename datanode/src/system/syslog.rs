//! `syslog-enabled`: messages to the system's log, as RFC 3164 has them; the receiver adds time and host.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::types::SyslogFacility;

/// Where the system's log listens.
pub const SOCKET: &str = "/dev/log";

/// The system's log.
pub struct Syslog {
    socket: PathBuf,
    ident: String,
    facility: u8,
}

impl Syslog {
    /// Messages of `ident` to the log that listens at `socket`.
    pub fn new(socket: &Path, ident: &str, facility: SyslogFacility) -> Syslog {
        use SyslogFacility::{Local0, Local1, Local2, Local3, Local4, Local5, Local6, Local7, User};
        let facility = match facility {
            User => 1,
            Local0 => 16,
            Local1 => 17,
            Local2 => 18,
            Local3 => 19,
            Local4 => 20,
            Local5 => 21,
            Local6 => 22,
            Local7 => 23,
        };
        Syslog { socket: socket.into(), ident: ident.into(), facility }
    }
}

/// One message.
pub struct Message<'a> {
    log: &'a Syslog,
    severity: u8,
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = Message<'a>;

    fn make_writer(&'a self) -> Message<'a> {
        Message { log: self, severity: severity(Level::INFO) }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Message<'a> {
        Message { log: self, severity: severity(*meta.level()) }
    }
}

/// As Redis' levels are sent: notices for people are notices, debug and verbose messages are less.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR | Level::WARN => 4,
        Level::INFO => 5,
        Level::DEBUG | Level::TRACE => 7,
    }
}

impl Write for Message<'_> {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let priority = self.log.facility * 8 + self.severity;
        let mut message = format!("<{priority}>{}[{}]: ", self.log.ident, std::process::id()).into_bytes();
        message.extend_from_slice(text.trim_ascii_end());
        // Where nobody listens the message is lost here, and still in the log file or on standard output.
        let _ = UnixDatagram::unbound().and_then(|s| s.send_to(&message, &self.log.socket));
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_priority_name_and_process() {
        let path = std::env::temp_dir().join(format!("syslog-test-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&path).unwrap();
        let log = Syslog::new(&path, "me", SyslogFacility::Local3);
        let mut message = Message { log: &log, severity: severity(Level::WARN) };
        message.write_all(b"hello\n").unwrap();
        let mut got = [0; 100];
        let n = receiver.recv(&mut got).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(got[..n], *format!("<156>me[{}]: hello", std::process::id()).as_bytes());
    }
}
