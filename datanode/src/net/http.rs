//! `/metrics`, `/livez` and `/readyz` over HTTP: one thread that shows what the loop has written on a [`Board`]. One
//! request at a time, bounded in size and time, so that it can neither use much memory nor be held up for long.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Without a sign of life from the loop for this long the process counts as dead.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);
/// Limit for receiving a whole request, and for each write of the answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest request head, bytes.
const MAX_REQUEST: usize = 8 * 1024;

/// What the loop says about itself; read by the HTTP thread.
pub struct Board(Mutex<State>);

struct State {
    /// When the loop last gave a sign of life; `None` while it is busy with loading, which may take any time.
    heartbeat: Option<Instant>,
    /// Whether the service may be used, or why not.
    ready: Result<(), String>,
    /// The figures, in Prometheus' text format.
    figures: String,
}

impl Default for Board {
    fn default() -> Self {
        let ready = Err("it is starting".into());
        Board(Mutex::new(State { heartbeat: None, ready, figures: String::new() }))
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while holding it left whole values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop lives: its readiness and figures as of now.
    pub fn publish(&self, ready: Result<(), String>, figures: String) {
        *self.state() = State { heartbeat: Some(Instant::now()), ready, figures };
    }

    /// The loop is going to be busy with loading for a while and gives no sign of life until the next
    /// [`Board::publish`].
    pub fn busy(&self, why: &str) {
        let mut state = self.state();
        state.heartbeat = None;
        state.ready = Err(why.into());
    }

    /// Status and body for a path.
    fn answer(&self, path: &str, now: Instant) -> (u16, String) {
        let state = self.state();
        let silence = state.heartbeat.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let lives = match silence > HEARTBEAT_LIMIT {
            true => Err(format!("no sign of life for {} seconds", silence.as_secs())),
            false => Ok(()),
        };
        let verdict = |result: Result<(), String>| match result {
            Ok(()) => (200, "ok\n".into()),
            Err(why) => (503, format!("{why}\n")),
        };
        match path {
            "/livez" => verdict(lives),
            "/readyz" => verdict(lives.and(state.ready.clone())),
            "/metrics" => (200, state.figures.clone()),
            _ => (404, "there are /metrics, /livez and /readyz\n".into()),
        }
    }
}

/// Serves a board on a port of all addresses, on a thread of its own, until the process ends.
pub fn serve(port: u16, board: Arc<Board>) -> std::io::Result<()> {
    // One socket for both families where there is IPv6.
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))?;
    run(listener, board)
}

fn run(listener: TcpListener, board: Arc<Board>) -> std::io::Result<()> {
    std::thread::Builder::new().name("http".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream {
                // A client that goes away or talks nonsense is its own affair.
                Ok(stream) => drop(handle(stream, &board)),
                // Out of descriptors, most likely: trying again at once would only spin.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    })?;
    Ok(())
}

fn handle(mut stream: TcpStream, board: &Board) -> std::io::Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    let (status, body) = match read_head(&mut stream)? {
        Head::Path(path) => board.answer(&path, Instant::now()),
        Head::NotGet => (405, "only GET is served\n".into()),
        Head::Invalid => (400, "this is no HTTP request\n".into()),
    };
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: \
         {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    // Closing with something unread would reset the connection before the answer has been read.
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut rest = [0; MAX_REQUEST];
    let _ = stream.read(&mut rest)?;
    Ok(())
}

enum Head {
    Path(String),
    NotGet,
    Invalid,
}

/// Reads up to the empty line behind the header. However slowly the bytes come, it takes no longer than [`TIMEOUT`].
fn read_head(stream: &mut TcpStream) -> std::io::Result<Head> {
    let deadline = Instant::now() + TIMEOUT;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > MAX_REQUEST {
            return Ok(Head::Invalid);
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => return Ok(Head::Invalid),
            n => head.extend_from_slice(&chunk[..n]),
        }
    }
    let line = String::from_utf8_lossy(head.split(|&b| b == b'\r').next().unwrap_or_default()).into_owned();
    let mut words = line.split(' ');
    Ok(match (words.next(), words.next(), words.next()) {
        (Some("GET" | "HEAD"), Some(target), Some(version)) if version.starts_with("HTTP/1.") => {
            Head::Path(target.split('?').next().unwrap_or_default().to_owned())
        }
        (Some(_), Some(_), Some(version)) if version.starts_with("HTTP/1.") => Head::NotGet,
        _ => Head::Invalid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_and_readiness_follow_the_heartbeat() {
        let board = Board::default();
        let now = Instant::now();
        assert_eq!(board.answer("/livez", now).0, 200, "while it starts");
        assert_eq!(board.answer("/readyz", now), (503, "it is starting\n".into()));
        board.publish(Ok(()), "redis_up 1\n".into());
        assert_eq!(board.answer("/readyz", Instant::now()).0, 200);
        assert_eq!(board.answer("/metrics", Instant::now()), (200, "redis_up 1\n".into()));
        let later = Instant::now() + HEARTBEAT_LIMIT + Duration::from_secs(1);
        assert_eq!(board.answer("/livez", later).0, 503);
        assert_eq!(board.answer("/readyz", later).0, 503);
        board.busy("it is loading");
        assert_eq!(board.answer("/livez", later).0, 200);
        assert_eq!(board.answer("/readyz", later), (503, "it is loading\n".into()));
        assert_eq!(board.answer("/else", later).0, 404);
    }

    fn ask(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn requests_are_answered_and_nonsense_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let board = Arc::new(Board::default());
        board.publish(Err("no master yet".into()), "redis_up 1\n".into());
        run(listener, board).unwrap();
        let text = ask(port, "GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nredis_up 1\n"), "{text}");
        assert!(ask(port, "GET /readyz HTTP/1.0\r\n\r\n").ends_with("no master yet\n"));
        assert!(ask(port, "POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
        assert!(ask(port, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
        // Somebody who says nothing holds the others up for a bounded time only.
        let started = Instant::now();
        let silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(ask(port, "GET /livez HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200"));
        assert!(started.elapsed() < TIMEOUT * 3);
        drop(silent);
    }
}
