//! `MONITOR`: every command as a line to those who watch; and what must not be shown, there or in the slow log.

use super::Server;
use super::dispatch::Origin;
use crate::command::{Args, Spec};
use crate::config::{self, value::quote};
use crate::io::{ConnId, Io};

/// Stands for an argument that must not be shown.
pub const REDACTED: &[u8] = b"(redacted)";

/// Whether argument `i` is a secret.
pub fn is_secret(spec: &Spec, args: Args<'_>, i: usize) -> bool {
    match spec.name {
        "auth" => i > 0,
        "acl|setuser" => i > 1,
        "hello" => (i.saturating_sub(2)..i).any(|k| k >= 2 && args.is(k, "auth")),
        "migrate" => (i.saturating_sub(2)..i)
            .any(|k| k > 5 && (args.is(k, "auth2") || (args.is(k, "auth") && i == k + 1))),
        "config|set" => {
            i >= 3 && i % 2 == 1 && config::is_sensitive(&String::from_utf8_lossy(args.at(i - 1)))
        }
        _ => false,
    }
}

impl Server {
    /// Shows a command to those who watch.
    pub(crate) fn show_to_monitors(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        db: usize,
        spec: &Spec,
        args: Args<'_>,
        origin: Origin,
    ) {
        if origin == Origin::Aof {
            return;
        }
        let peer = match self.clients.get(conn) {
            Some(_) if self.in_script() => "lua".into(),
            Some(client) => client.peer.remote.clone(),
            None => self.repl.link.as_ref().map(|l| format!("{}:{}", l.host, l.port)).unwrap_or_default(),
        };
        let now = io.now.unix_ms;
        let mut line = format!("+{}.{:06} [{db} {peer}]", now / 1000, now % 1000 * 1000);
        for (i, arg) in args.iter().enumerate() {
            line.push(' ');
            line.push_str(&quote(if is_secret(spec, args, i) { REDACTED } else { arg }));
        }
        line.push_str("\r\n");
        for &monitor in self.monitors.iter().filter(|&&m| self.serving != Some(m)) {
            io.send(monitor, line.as_bytes());
        }
        // One that watches its own commands sees them behind its replies.
        if self.serving.is_some_and(|conn| self.monitors.contains(&conn)) {
            self.tell_silent(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{OwnedArgs, table};
    use crate::config::Config;
    use crate::server::testing::Bench;

    fn secrets(line: &str) -> Vec<usize> {
        let owned = OwnedArgs::collect(line.split(' '));
        let args = owned.as_args();
        let spec = table::find(args).unwrap();
        (0..args.len()).filter(|&i| is_secret(spec, args, i)).collect()
    }

    #[test]
    fn who_watches_is_answered_first() {
        let mut b = Bench::new(Config::default());
        let c = b.connect();
        let all = b.send(c, "SET a 1\r\nMONITOR\r\nSET k v\r\nGET k");
        let lines: Vec<&str> =
            all.split("\r\n").map(|l| l.split_once('"').map_or(l, |(_, words)| words)).collect();
        assert_eq!(lines, ["+OK", "+OK", "+OK", "SET\" \"k\" \"v\"", "$1", "v", "GET\" \"k\"", ""]);
    }

    #[test]
    fn passwords_are_secrets() {
        assert_eq!(secrets("AUTH u p"), [1, 2]);
        assert_eq!(secrets("HELLO 3 AUTH u p SETNAME n"), [3, 4]);
        assert_eq!(secrets("HELLO 3 SETNAME auth"), [0usize; 0]);
        assert_eq!(secrets("CONFIG SET requirepass a maxmemory 1 masterauth b"), [3, 7]);
        assert_eq!(secrets("ACL SETUSER u >p on"), [2, 3, 4]);
        assert_eq!(secrets("ACL GETUSER u"), [0usize; 0]);
        assert_eq!(secrets("GET auth"), [0usize; 0]);
    }
}
