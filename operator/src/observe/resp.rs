//! A small client of the Redis protocol: one connection per question, every step bounded in time.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use datanode::resp::{encode_command, reader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::snapshot::Failure;

pub use datanode::resp::reader::Value;

/// Time for connecting and for the answers of ordinary commands.
pub const PROBE: Duration = Duration::from_secs(1);
/// Largest answer that is read, bytes: the map of a hundred shards is some hundred kilobytes.
const MAX_ANSWER: usize = 8 << 20;

/// Sends commands in one go and reads an answer to each.
///
/// # Errors
/// [`Failure`] where the server does not answer all of them within `limit`, or does not accept the password. An error
/// that a command is answered with is a [`Value::Error`], not a failure.
pub async fn call(
    at: SocketAddr,
    password: &str,
    commands: &[&[&str]],
    limit: Duration,
) -> Result<Vec<Value>, Failure> {
    let deadline = Instant::now() + limit;
    let mut connection = Connection::open(at, password, deadline).await?;
    let mut request = Vec::new();
    for command in commands {
        encode_command(&mut request, command);
    }
    connection.send(&request, deadline).await?;
    let mut answers = Vec::with_capacity(commands.len());
    for _ in commands {
        answers.push(connection.receive(deadline).await?);
    }
    Ok(answers)
}

/// Calls `heard` for every message of a channel until the connection ends.
///
/// # Errors
/// [`Failure`] always, when the connection has ended.
pub async fn subscribe(
    at: SocketAddr,
    password: &str,
    channel: &str,
    heard: impl Fn(),
) -> Result<(), Failure> {
    let deadline = Instant::now() + PROBE;
    let mut connection = Connection::open(at, password, deadline).await?;
    let mut request = Vec::new();
    encode_command(&mut request, &["SUBSCRIBE", channel]);
    connection.send(&request, deadline).await?;
    if let Value::Error(text) = connection.receive(deadline).await? {
        return Err(Failure::Error(text));
    }
    loop {
        connection.next().await?;
        heard();
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(at: SocketAddr, password: &str, deadline: Instant) -> Result<Self, Failure> {
        let stream = match timeout_at(deadline, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return Err(Failure::Refused),
            Ok(Err(_)) | Err(_) => return Err(Failure::Silent),
        };
        let _ = stream.set_nodelay(true);
        let mut connection = Self { stream, buffer: Vec::new() };
        let mut request = Vec::new();
        encode_command(&mut request, &["AUTH", password]);
        connection.send(&request, deadline).await?;
        match connection.receive(deadline).await? {
            Value::Error(text) => Err(Failure::Error(text)),
            _ => Ok(connection),
        }
    }

    async fn send(&mut self, request: &[u8], deadline: Instant) -> Result<(), Failure> {
        match timeout_at(deadline, self.stream.write_all(request)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::Silent),
        }
    }

    async fn receive(&mut self, deadline: Instant) -> Result<Value, Failure> {
        timeout(deadline.saturating_duration_since(Instant::now()), self.next())
            .await
            .unwrap_or(Err(Failure::Silent))
    }

    async fn next(&mut self) -> Result<Value, Failure> {
        loop {
            match reader::read(&self.buffer) {
                Ok(Some((value, length))) => {
                    self.buffer.drain(..length);
                    return Ok(value);
                }
                Ok(None) if self.buffer.len() > MAX_ANSWER => {
                    return Err(Failure::Error("too long an answer".into()));
                }
                Ok(None) => {}
                Err(error) => return Err(Failure::Error(error.to_string())),
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Failure::Silent),
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn server(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            // Keep the connection until the client ends it.
            let _ = stream.read(&mut request).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        at
    }

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn answers_in_order_and_errors_of_commands_are_answers() {
        let at = server(b"+OK\r\n$2\r\nhi\r\n-ERR no\r\n").await;
        let answers = call(at, "p", &[&["A"], &["B"]], SHORT).await.unwrap();
        assert_eq!(answers, [Value::Bulk(b"hi".to_vec()), Value::Error("ERR no".into())]);
    }

    #[tokio::test]
    async fn a_wrong_password_is_a_failure_with_its_words() {
        let at = server(b"-WRONGPASS no such user\r\n").await;
        let failure = call(at, "p", &[&["A"]], SHORT).await.unwrap_err();
        assert_eq!(failure, Failure::Error("WRONGPASS no such user".into()));
    }

    #[tokio::test]
    async fn silence_is_not_refusal() {
        let silent = server(b"+OK\r\n").await;
        assert_eq!(call(silent, "p", &[&["A"]], SHORT).await.unwrap_err(), Failure::Silent);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(call(nobody, "p", &[&["A"]], SHORT).await.unwrap_err(), Failure::Refused);
    }
}
