//! A blocking connection to a server: one command out, one reply in.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::options::Options;
use crate::resp::encode_command;
use crate::resp::reader::{self, Value};

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;
/// Time in which a connection must come about.
const CONNECT: Duration = Duration::from_secs(15);

trait Stream: Read + Write {
    fn limit(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn limit(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)?;
        self.set_write_timeout(timeout)
    }
}

impl Stream for UnixStream {
    fn limit(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)?;
        self.set_write_timeout(timeout)
    }
}

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not come about: the place, and why.
    #[error("Could not connect to Redis at {0}: {1}")]
    Connect(String, String),
    /// It broke.
    #[error("Error: {0}")]
    Broken(String),
    /// The server refused the session, such as its password; the connection is there.
    #[error("{0}")]
    Refused(String),
}

/// A connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    used: usize,
    /// The server has closed its side.
    ended: bool,
}

impl Connection {
    /// Connects, without a word to the server.
    pub fn open(options: &Options) -> Result<Connection, Failure> {
        let failed = |place: &str, e: io::Error| Failure::Connect(place.into(), reason(&e));
        let stream: Box<dyn Stream> = match &options.socket {
            Some(path) => Box::new(UnixStream::connect(path).map_err(|e| failed(path, e))?),
            None => {
                let place = format!("{}:{}", options.host, options.port);
                Box::new(tcp(&options.host, options.port).map_err(|e| failed(&place, e))?)
            }
        };
        Ok(Connection { stream, received: Vec::new(), used: 0, ended: false })
    }

    /// Connects, authenticates, chooses protocol and database. What the server refuses is said on standard error and the
    /// session goes on, as with redis-cli; `Refused` only where that would be wrong.
    pub fn establish(options: &Options) -> Result<Connection, Failure> {
        let mut connection = Connection::open(options)?;
        let said = |connection: &mut Connection, what: &str, words: &[&[u8]]| -> Result<(), Failure> {
            if let Value::Error(text) = connection.call(words)? {
                eprintln!("{what} failed: {text}");
            }
            Ok(())
        };
        if let Some(password) = &options.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(options.user.iter().map(|user| user.as_bytes()));
            words.push(password.as_bytes());
            said(&mut connection, "AUTH", &words)?;
        }
        if let Some(version) = options.protocol {
            said(&mut connection, &format!("HELLO {version}"), &[b"HELLO", version.to_string().as_bytes()])?;
        }
        if options.db != 0 {
            let db = options.db.to_string();
            said(&mut connection, &format!("SELECT {db}"), &[b"SELECT", db.as_bytes()])?;
        }
        Ok(connection)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).map_err(|e| broken(&e))
    }

    /// Sends a command.
    pub fn command<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        encode_command(&mut bytes, words);
        self.send(&bytes)
    }

    /// Sends a command; its reply. Push messages in between are left out.
    pub fn call<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Result<Value, Failure> {
        self.command(words)?;
        self.answer()
    }

    /// As `call`; an error reply is a failure.
    pub fn ask<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Result<Value, Failure> {
        match self.call(words)? {
            Value::Error(text) => Err(Failure::Refused(format!("Error: {text}"))),
            reply => Ok(reply),
        }
    }

    /// Sends all commands at once; their replies.
    pub fn pipeline(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<Value>, Failure> {
        let mut bytes = Vec::new();
        commands.iter().for_each(|words| encode_command(&mut bytes, words));
        self.send(&bytes)?;
        commands.iter().map(|_| self.answer()).collect()
    }

    /// The next reply that is no push message.
    fn answer(&mut self) -> Result<Value, Failure> {
        loop {
            match self.reply()? {
                Value::Push(_) => {}
                reply => return Ok(reply),
            }
        }
    }

    /// Waits for the next reply or message.
    pub fn reply(&mut self) -> Result<Value, Failure> {
        loop {
            if let Some(value) = self.received_reply()? {
                return Ok(value);
            }
            if !self.fill()? {
                return Err(Failure::Broken("Server closed the connection".into()));
            }
        }
    }

    /// A reply that has arrived already.
    pub fn received_reply(&mut self) -> Result<Option<Value>, Failure> {
        let read = reader::read(&self.received[self.used..]).map_err(|e| Failure::Broken(e.to_string()))?;
        let Some((value, length)) = read else { return Ok(None) };
        self.used += length;
        Ok(Some(value))
    }

    /// Waits for more bytes; false at the end of the stream, or after the read timeout.
    pub fn fill(&mut self) -> Result<bool, Failure> {
        self.received.drain(..self.used);
        self.used = 0;
        let length = self.received.len();
        self.received.resize(length + CHUNK, 0);
        let read = loop {
            match self.stream.read(&mut self.received[length..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.received.truncate(length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(n) => {
                self.ended = n == 0;
                Ok(n > 0)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(broken(&e)),
        }
    }

    /// What has arrived and was not read as a reply. Waits for more where there is nothing; empty at the end.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        if self.used == self.received.len() {
            self.fill()?;
        }
        let bytes = self.received.split_off(self.used);
        self.received.clear();
        self.used = 0;
        Ok(bytes)
    }

    /// Puts bytes back before what will arrive next.
    pub fn give_back(&mut self, bytes: Vec<u8>) {
        let rest = self.received.split_off(self.used);
        self.received = bytes;
        self.received.extend_from_slice(&rest);
        self.used = 0;
    }

    /// Hands on the replies that have arrived, after waiting for some as long as the limit allows.
    pub fn take_replies(&mut self, each: &mut dyn FnMut(Value)) -> Result<(), Failure> {
        let length = self.received.len() - self.used;
        let more = self.fill()?;
        if !more && self.ended {
            return Err(Failure::Broken("Server closed the connection".into()));
        }
        if self.received.len() > length {
            while let Some(reply) = self.received_reply()? {
                each(reply);
            }
        }
        Ok(())
    }

    /// Sends bytes, and hands on the replies that arrive meanwhile: a server that cannot send its replies may read no
    /// further. Needs a limit.
    pub fn send_while(&mut self, bytes: &[u8], mut each: impl FnMut(Value)) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    self.take_replies(&mut each)?;
                }
                Err(e) => return Err(broken(&e)),
            }
        }
        while let Some(reply) = self.received_reply()? {
            each(reply);
        }
        Ok(())
    }

    /// The longest a read or write waits; none: for ever.
    pub fn limit(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        self.stream.limit(timeout).map_err(|e| broken(&e))
    }
}

fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address for this name");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn broken(e: &io::Error) -> Failure {
    Failure::Broken(match e.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "Server closed the connection".into(),
        _ => reason(e),
    })
}

/// The error without its number.
fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
