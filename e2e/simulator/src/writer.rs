//! A client that writes, one write at a time, to whoever takes it, and remembers what was acknowledged.
//!
//! Each write has a number of its own and is sent once: where its outcome is unknown it stays unknown.

use std::cell::RefCell;
use std::rc::Rc;

use datanode::io::{Action, ConnId, ConnectError, Gone, Io, JobId, LinkToken, Peer, Service, Signal};
use datanode::resp::encode_command;
use datanode::resp::reader::{self, Value};
use datanode::rng::Rng;
use datanode::shardmap::NodeAddr;

/// How long a reply is waited for before another node is tried, milliseconds.
const PATIENCE_MS: u64 = 700;
/// Pause after a refusal, milliseconds.
const PAUSE_MS: u64 = 20;
/// Limit of an attempt to connect, milliseconds.
const CONNECT_MS: u64 = 500;

/// What a write does; each leaves something that can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `SET w:N N`
    Set,
    /// `SADD log N`
    Add,
    /// A transaction of two `SET`s.
    Transaction,
    /// A script that sets two keys.
    Script,
    /// `HSET hash:N f N` and a key beside it that expires soon.
    Hash,
}

const FORMS: [Form; 5] = [Form::Set, Form::Add, Form::Transaction, Form::Script, Form::Hash];

/// A write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Its number.
    pub id: u32,
    /// What it does.
    pub form: Form,
}

/// What all clients have seen.
#[derive(Debug, Default)]
pub struct History {
    /// Writes sent.
    pub sent: u32,
    /// Writes acknowledged, in the order in which the clients heard of it.
    pub acknowledged: Vec<Write>,
}

enum Stage {
    Idle { from_ms: u64 },
    Connecting(LinkToken),
    Ready(ConnId),
    Waiting { conn: ConnId, write: Write, replies: usize, since_ms: u64 },
}

/// The client.
pub struct Writer {
    nodes: Vec<NodeAddr>,
    next: usize,
    stage: Stage,
    tokens: u64,
    pause_ms: u64,
    rng: Rng,
    history: Rc<RefCell<History>>,
}

impl Writer {
    /// A client that knows these nodes and pauses so long between two writes.
    pub fn new(nodes: Vec<NodeAddr>, pause_ms: u64, seed: u64, history: Rc<RefCell<History>>) -> Writer {
        let mut rng = Rng::new(seed);
        let next = rng.below(nodes.len() as u64) as usize;
        Writer { nodes, next, stage: Stage::Idle { from_ms: 0 }, tokens: 0, pause_ms, rng, history }
    }

    /// Turns to the next node after a pause.
    fn turn_away(&mut self, io: &Io) {
        self.next = (self.next + 1) % self.nodes.len();
        self.stage = Stage::Idle { from_ms: io.now.mono_ms() + PAUSE_MS };
    }

    fn conn(&self) -> Option<ConnId> {
        match self.stage {
            Stage::Ready(conn) | Stage::Waiting { conn, .. } => Some(conn),
            Stage::Idle { .. } | Stage::Connecting(_) => None,
        }
    }

    fn write(&mut self, io: &mut Io, conn: ConnId) {
        let mut history = self.history.borrow_mut();
        history.sent += 1;
        let write = Write { id: history.sent, form: FORMS[self.rng.below(FORMS.len() as u64) as usize] };
        drop(history);
        let n = write.id.to_string();
        let key = |end: &str| format!("w:{n}{end}");
        let mut out = Vec::new();
        let replies = match write.form {
            Form::Set => {
                encode_command(&mut out, &["SET", &key(""), &n]);
                1
            }
            Form::Add => {
                encode_command(&mut out, &["SADD", "log", &n]);
                1
            }
            Form::Transaction => {
                encode_command(&mut out, &["MULTI"]);
                encode_command(&mut out, &["SET", &key(":a"), &n]);
                encode_command(&mut out, &["SET", &key(":b"), &n]);
                encode_command(&mut out, &["EXEC"]);
                4
            }
            Form::Script => {
                let script = "for i, k in ipairs(KEYS) do redis.call('SET', k, ARGV[1]) end return ARGV[1]";
                encode_command(&mut out, &["EVAL", script, "2", &key(":a"), &key(":b"), &n]);
                1
            }
            Form::Hash => {
                encode_command(&mut out, &["SET", "soon", &n, "PX", "50"]);
                encode_command(&mut out, &["HSET", &format!("hash:{n}"), "f", &n]);
                2
            }
        };
        io.send(conn, &out);
        self.stage = Stage::Waiting { conn, write, replies, since_ms: io.now.mono_ms() };
    }
}

impl Service for Writer {
    fn accepted(&mut self, io: &mut Io, conn: ConnId, _peer: Peer) {
        io.close(conn, false);
    }

    fn received(&mut self, io: &mut Io, conn: ConnId) {
        loop {
            let Some(c) = io.conn(conn) else { return };
            let Ok(Some(value)) = reader::take(&mut c.input, 1 << 16) else { return };
            let Stage::Waiting { replies, write, .. } = &mut self.stage else { return };
            if matches!(value, Value::Error(_) | Value::Null) {
                io.close(conn, false);
                return self.turn_away(io);
            }
            *replies -= 1;
            if *replies == 0 {
                self.history.borrow_mut().acknowledged.push(*write);
                self.stage = Stage::Ready(conn);
            }
        }
    }

    fn drained(&mut self, _io: &mut Io, _conn: ConnId) {}

    fn closed(&mut self, io: &mut Io, conn: ConnId, _why: Gone) {
        if self.conn() == Some(conn) {
            self.turn_away(io);
        }
    }

    fn connected(&mut self, io: &mut Io, token: LinkToken, result: Result<(ConnId, Peer), ConnectError>) {
        let ours = matches!(self.stage, Stage::Connecting(t) if t == token);
        match result {
            Ok((conn, _)) if ours => self.stage = Stage::Ready(conn),
            Ok((conn, _)) => io.close(conn, false),
            Err(_) if ours => self.turn_away(io),
            Err(_) => {}
        }
    }

    fn job_done(&mut self, _io: &mut Io, _job: JobId, _result: std::io::Result<u64>) {}

    fn tick(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        match self.stage {
            Stage::Idle { from_ms } if now >= from_ms => {
                self.tokens += 1;
                let token = LinkToken(self.tokens);
                self.stage = Stage::Connecting(token);
                let node = &self.nodes[self.next];
                io.ask(Action::Connect {
                    token,
                    host: node.host().to_owned(),
                    port: node.port(),
                    timeout_ms: CONNECT_MS,
                });
            }
            Stage::Ready(conn) => self.write(io, conn),
            Stage::Waiting { conn, since_ms, .. } if now >= since_ms + PATIENCE_MS => {
                io.close(conn, false);
                self.turn_away(io);
            }
            _ => {}
        }
    }

    fn before_sleep(&mut self, _io: &mut Io) {}

    fn tick_ms(&self) -> u64 {
        self.pause_ms
    }

    fn terminate(&mut self, _io: &mut Io, _signal: Signal) {}
}
