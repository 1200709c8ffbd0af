//! Commands sent and replies printed, as a session goes on: redirections, transactions, subscriptions.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::connection::{Connection, Failure};
use super::options::Options;
use super::show::{self, Form};
use crate::resp::reader::Value;

/// Redirections followed for one command before it is given up.
const MAX_REDIRECTIONS: u32 = 16;
/// A command that took longer has its time printed for people.
const SLOW: Duration = Duration::from_millis(500);
/// Commands whose reply is a text for people, printed as it is, with the word that must follow.
const TEXTS: &[(&str, &[&str])] = &[
    ("info", &[]),
    ("lolwut", &[]),
    ("debug", &["htstats", "htstats-key", "client-eviction"]),
    ("memory", &["malloc-stats", "doctor"]),
    ("cluster", &["nodes", "info"]),
    ("client", &["list", "info"]),
    ("latency", &["graph", "doctor"]),
];

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A reply that is no error.
    Fine,
    /// An error reply.
    Error,
}

/// A session with a server.
pub struct Session {
    /// What the command line said; host, port and database as they are now.
    pub options: Options,
    /// None while there is no connection.
    pub connection: Option<Connection>,
    /// Within MULTI.
    pub transaction: bool,
    /// What arguments follow is shown while one types.
    pub hints: bool,
    /// Lines are typed by a person.
    pub interactive: bool,
    form: Form,
    show_pushes: bool,
}

impl Session {
    /// A session that is not connected yet.
    pub fn new(options: Options) -> Session {
        let show_pushes = options.show_pushes.unwrap_or_else(|| std::io::stdout().is_terminal());
        let form = options.form();
        Session {
            options,
            connection: None,
            transaction: false,
            hints: true,
            interactive: false,
            form,
            show_pushes,
        }
    }

    /// The connection, made where there is none.
    pub fn connected(&mut self) -> Result<&mut Connection, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.transaction = false;
                Connection::establish(&self.options)?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Sends one command and prints its reply. A connection that broke is made anew once, where a person types.
    pub fn run(&mut self, words: &[Vec<u8>]) -> Result<Outcome, Failure> {
        match self.attempt(words) {
            Err(Failure::Broken(_)) if self.interactive => {
                self.connection = None;
                self.attempt(words)
            }
            other => other,
        }
        .inspect_err(|_| self.connection = None)
    }

    fn attempt(&mut self, words: &[Vec<u8>]) -> Result<Outcome, Failure> {
        let begun = Instant::now();
        let name = words[0].to_ascii_lowercase();
        self.connected()?.command(words)?;
        if matches!(&name[..], b"monitor" | b"subscribe" | b"psubscribe" | b"ssubscribe" | b"sync" | b"psync")
        {
            return self.listen();
        }
        let reply = self.awaited(words)?;
        self.follow(&name, words, &reply);
        self.print(&reply, is_text(words))?;
        let took = begun.elapsed();
        if self.form == Form::Pretty && took >= SLOW {
            println!("({:.2}s)", took.as_secs_f64());
        }
        Ok(if matches!(reply, Value::Error(_)) { Outcome::Error } else { Outcome::Fine })
    }

    /// The reply to the command just sent, after redirections.
    fn awaited(&mut self, words: &[Vec<u8>]) -> Result<Value, Failure> {
        let mut redirections = 0;
        loop {
            let reply = self.connected()?.reply()?;
            match &reply {
                Value::Push(_) if self.show_pushes => self.print(&reply, false)?,
                Value::Push(_) => {}
                Value::Error(text) if self.options.cluster && redirections < MAX_REDIRECTIONS => {
                    let Some((ask, slot, host, port)) = redirection(text) else { return Ok(reply) };
                    redirections += 1;
                    if self.interactive || self.form == Form::Pretty {
                        println!("-> Redirected to slot [{slot}] located at {host}:{port}");
                    }
                    // An empty host means: the one that answered.
                    if !host.is_empty() {
                        self.options.host = host.to_owned();
                    }
                    self.options.port = port;
                    self.connection = None;
                    let connection = self.connected()?;
                    if ask {
                        connection.ask(&["ASKING"])?;
                    }
                    connection.command(words)?;
                }
                _ => return Ok(reply),
            }
        }
    }

    /// Keeps what later prompts and connections need.
    fn follow(&mut self, name: &[u8], words: &[Vec<u8>], reply: &Value) {
        if matches!(reply, Value::Error(_)) {
            // A transaction that is refused is over.
            self.transaction &= name != b"exec";
            return;
        }
        let text = |i: usize| words.get(i).map(|w| String::from_utf8_lossy(w).into_owned());
        match (name, words.len()) {
            (b"select", 2) => {
                if let Some(db) = text(1).and_then(|db| db.parse().ok()) {
                    self.options.db = db;
                }
            }
            (b"auth", 2) => (self.options.user, self.options.password) = (None, text(1)),
            (b"auth", 3) => (self.options.user, self.options.password) = (text(1), text(2)),
            (b"hello", 2..) => self.options.protocol = text(1).and_then(|v| v.parse().ok()),
            (b"multi", 1) => self.transaction = true,
            (b"exec" | b"discard", 1) => self.transaction = false,
            (b"reset", 1) => {
                (self.transaction, self.options.db, self.options.protocol) = (false, 0, None);
            }
            _ => {}
        }
    }

    /// Prints what comes until the connection ends: the client has no more to say.
    fn listen(&mut self) -> Result<Outcome, Failure> {
        if self.form == Form::Pretty {
            println!("Reading messages... (press Ctrl-C to quit)");
        }
        loop {
            let message = self.connected()?.reply()?;
            self.print(&message, false)?;
            if matches!(message, Value::Error(_)) {
                return Ok(Outcome::Error);
            }
        }
    }

    fn print(&self, reply: &Value, text: bool) -> Result<(), Failure> {
        let form = match (text, self.form) {
            (true, Form::Pretty) => Form::Raw,
            (_, form) => form,
        };
        let mut out = show::text(reply, form, &self.options.within);
        // With -e an error is told where errors belong.
        let told = matches!(reply, Value::Error(_)) && self.options.exit_error;
        match form {
            Form::Pretty => {}
            Form::Raw if told || (text && out.ends_with(b"\n")) => {}
            Form::Raw => out.extend_from_slice(&self.options.between),
            _ => out.push(b'\n'),
        }
        if told {
            return std::io::stderr().write_all(&out).map_err(unwritten);
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(unwritten)
    }
}

fn unwritten(e: std::io::Error) -> Failure {
    Failure::Broken(format!("the reply cannot be printed: {e}"))
}

fn is_text(words: &[Vec<u8>]) -> bool {
    let word =
        |i: usize| words.get(i).map(|w| String::from_utf8_lossy(w).to_ascii_lowercase()).unwrap_or_default();
    let name = word(0);
    TEXTS.iter().any(|(command, seconds)| {
        *command == name && (seconds.is_empty() || seconds.contains(&word(1).as_str()))
    })
}

/// `MOVED slot host:port` or `ASK slot host:port`: whether it is ASK, slot, host, port.
fn redirection(error: &str) -> Option<(bool, u16, &str, u16)> {
    let mut words = error.split(' ');
    let ask = match words.next()? {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let slot = words.next()?.parse().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    Some((ask, slot, host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_read() {
        assert_eq!(redirection("MOVED 3999 127.0.0.1:6381"), Some((false, 3999, "127.0.0.1", 6381)));
        assert_eq!(redirection("ASK 1 a.b:7"), Some((true, 1, "a.b", 7)));
        assert_eq!(redirection("MOVED 5 :7"), Some((false, 5, "", 7)));
        for other in ["ERR MOVED", "MOVED", "MOVED x y:1", "ASK 1 host"] {
            assert_eq!(redirection(other), None);
        }
    }

    #[test]
    fn texts_for_people() {
        let words = |line: &str| line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        assert!(is_text(&words("INFO")) && is_text(&words("client LIST type normal")));
        assert!(!is_text(&words("client id")) && !is_text(&words("get info")));
    }
}
