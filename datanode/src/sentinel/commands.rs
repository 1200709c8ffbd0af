//! The table of commands that a sentinel serves to clients, other sentinels and the operator.

use super::Sentinel;
use super::answers::VERSION;
use super::clients::MAX_CLIENTS;
use crate::io::{Action, ConnId, Io};
use crate::resp::writer::Reply;
use crate::server::process::cpu_times;
use crate::shardmap::{Authority, NodeAddr, ShardMap};

/// One request being served.
pub(super) struct Call<'a> {
    pub conn: ConnId,
    pub args: &'a [Vec<u8>],
    pub reply: Reply<'a>,
    /// Close the connection behind the reply.
    pub close: bool,
}

impl Call<'_> {
    /// An argument as text.
    pub fn word(&self, i: usize) -> String {
        self.args.get(i).map(|a| String::from_utf8_lossy(a).into_owned()).unwrap_or_default()
    }

    pub fn unknown_subcommand(&mut self) {
        let name = self.word(0).to_ascii_uppercase();
        let text = format!(
            "ERR unknown subcommand or wrong number of arguments for '{}'. Try {name} HELP.",
            self.word(1)
        );
        self.reply.error(&text);
    }
}

type Handler = fn(&mut Sentinel, &mut Io, &mut Call<'_>);

struct Command {
    name: &'static str,
    /// Number of words, the name included; negative: at least so many.
    arity: i32,
    run: Handler,
}

const COMMANDS: &[Command] = &[
    Command { name: "auth", arity: -2, run: |s, _, c| s.auth(c) },
    Command { name: "client", arity: -2, run: |s, io, c| s.client_command(io, c) },
    Command { name: "command", arity: -1, run: |_, _, c| command(c) },
    Command { name: "hello", arity: -1, run: |s, _, c| s.hello(c) },
    Command { name: "info", arity: -1, run: |s, io, c| s.info(io, c) },
    Command { name: "ping", arity: -1, run: ping },
    Command { name: "psubscribe", arity: -2, run: |s, _, c| s.subscribe(c, true) },
    Command { name: "publish", arity: 3, run: publish },
    Command { name: "punsubscribe", arity: -1, run: |s, _, c| s.unsubscribe(c, true) },
    Command { name: "quit", arity: -1, run: quit },
    Command { name: "replicaset", arity: -2, run: replicaset },
    Command { name: "reset", arity: 1, run: |s, _, c| s.reset_client(c) },
    Command { name: "role", arity: 1, run: role },
    Command { name: "sentinel", arity: -2, run: |s, io, c| s.sentinel_command(io, c) },
    Command { name: "shutdown", arity: -1, run: shutdown },
    Command { name: "subscribe", arity: -2, run: |s, _, c| s.subscribe(c, false) },
    Command { name: "unsubscribe", arity: -1, run: |s, _, c| s.unsubscribe(c, false) },
];

/// Served before the password has been given.
const WITHOUT_LOGIN: [&str; 4] = ["auth", "hello", "quit", "reset"];
/// Served to a RESP2 client that has subscribed.
const WHILE_SUBSCRIBED: [&str; 7] =
    ["ping", "psubscribe", "punsubscribe", "quit", "reset", "subscribe", "unsubscribe"];

impl Sentinel {
    pub(super) fn execute(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let name = call.word(0).to_ascii_lowercase();
        let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
            let shown: String = call.args[1..].iter().take(8).fold(String::new(), |text, a| {
                format!("{text}'{}' ", String::from_utf8_lossy(&a[..a.len().min(128)]))
            });
            let given: String = call.word(0).chars().take(128).collect();
            return call
                .reply
                .error(&format!("ERR unknown command '{given}', with args beginning with: {shown}"));
        };
        let words = call.args.len() as i32;
        if (command.arity > 0 && words != command.arity) || words < -command.arity {
            return call.reply.error(&format!("ERR wrong number of arguments for '{name}' command"));
        }
        let known = self.clients.get(&call.conn).is_some_and(|c| c.authenticated);
        if !known && !WITHOUT_LOGIN.contains(&command.name) {
            return call.reply.error("NOAUTH Authentication required.");
        }
        if self.only_pubsub(call.conn) && !WHILE_SUBSCRIBED.contains(&command.name) {
            return call.reply.error(&format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                 this context"
            ));
        }
        (command.run)(self, io, call);
    }
}

fn ping(s: &mut Sentinel, _io: &mut Io, call: &mut Call<'_>) {
    match call.args {
        [_] | [_, _] if s.only_pubsub(call.conn) => {
            call.reply.array(2);
            call.reply.bulk(b"pong");
            call.reply.bulk(call.args.get(1).map_or(b"", |a| a.as_slice()));
        }
        [_] => call.reply.simple("PONG"),
        [_, text] => call.reply.bulk(text),
        _ => call.reply.error("ERR wrong number of arguments for 'ping' command"),
    }
}

fn quit(_s: &mut Sentinel, _io: &mut Io, call: &mut Call<'_>) {
    call.reply.ok();
    call.close = true;
}

/// Other sentinels say hello so; nothing else may be published, for events are this sentinel's own (as Redis).
fn publish(s: &mut Sentinel, io: &mut Io, call: &mut Call<'_>) {
    if call.args[1] != super::HELLO_CHANNEL.as_bytes() {
        return call.reply.error("ERR Only HELLO messages are accepted by Sentinel instances.");
    }
    let text = call.word(2);
    s.process_hello(io, &text);
    call.reply.int(1);
}

fn role(s: &mut Sentinel, _io: &mut Io, call: &mut Call<'_>) {
    call.reply.array(2);
    call.reply.bulk(b"sentinel");
    call.reply.array(s.masters.len());
    for name in s.masters.keys() {
        call.reply.bulk(name.as_bytes());
    }
}

fn shutdown(s: &mut Sentinel, io: &mut Io, call: &mut Call<'_>) {
    s.terminating = true;
    s.save_if_unsaved();
    call.close = true;
    io.ask(Action::Exit(0));
}

fn command(call: &mut Call<'_>) {
    let r = &mut call.reply;
    match call.args.get(1).map(|a| a.to_ascii_lowercase()).as_deref() {
        Some(b"count") => r.int(COMMANDS.len() as i64),
        Some(b"docs") => r.map(0),
        Some(b"list") => {
            r.array(COMMANDS.len());
            for c in COMMANDS {
                r.bulk(c.name.as_bytes());
            }
        }
        None => {
            r.array(COMMANDS.len());
            for c in COMMANDS {
                r.array(10);
                r.bulk(c.name.as_bytes());
                r.int(i64::from(c.arity));
                r.set(0);
                for _ in 0..3 {
                    r.int(0);
                }
                r.set(0);
                for _ in 0..3 {
                    r.array(0);
                }
            }
        }
        Some(_) => call.unknown_subcommand(),
    }
}

fn replicaset(s: &mut Sentinel, io: &mut Io, call: &mut Call<'_>) {
    if s.managed.is_none() {
        return call.reply.error("ERR This instance is not managed by a shard map ('managed yes')");
    }
    let now = io.now.mono_ms();
    let sub = call.word(1).to_ascii_lowercase();
    match (sub.as_str(), call.args.len()) {
        ("map", 2) => answer_map(s, call),
        ("offer", 3) => {
            let learned = ShardMap::from_json(&call.args[2]).and_then(|map| s.learn(io, map));
            match learned {
                Ok(_) => answer_map(s, call),
                Err(e) => call.reply.error(&format!("ERR {e}")),
            }
        }
        ("status", 2) => match s.status(now).map(|v| serde_json::to_vec(&v)) {
            Some(Ok(json)) => call.reply.bulk(&json),
            Some(Err(e)) => call.reply.error(&format!("ERR {e}")),
            None => call.reply.null(),
        },
        ("epoch", 2) => {
            let fresh = s.managed.as_ref().is_some_and(|g| !g.may_vote);
            let accepted = serde_json::to_vec(&s.authorities()).unwrap_or_default();
            call.reply.array(4);
            call.reply.int(s.current_epoch as i64);
            call.reply.int(i64::from(fresh));
            call.reply.bulk(s.myid.as_bytes());
            call.reply.bulk(&accepted);
        }
        ("accept", 4) => {
            let authority =
                serde_json::from_slice::<Authority>(&call.args[3]).map_err(|e| format!("ERR {e}"));
            let shard = call.word(2).parse::<u32>().map_err(|e| format!("ERR {e}"));
            match shard.and_then(|shard| s.accept(shard, authority?)) {
                Ok(()) => call.reply.ok(),
                Err(text) => call.reply.error(&text),
            }
        }
        ("switchover", 3 | 5) => switchover(s, io, call),
        _ => call.unknown_subcommand(),
    }
}

fn answer_map(s: &Sentinel, call: &mut Call<'_>) {
    match s.map() {
        Some(map) => call.reply.bulk(map.to_json().as_bytes()),
        None => call.reply.null(),
    }
}

fn switchover(s: &mut Sentinel, io: &mut Io, call: &mut Call<'_>) {
    let shard = call.word(2).parse::<u32>().ok();
    let Some(name) =
        shard.and_then(|i| s.map()?.shard(i).map(|_| ())).and_then(|()| Some(s.map()?.master_name(shard?)))
    else {
        return call.reply.error(&format!("ERR no shard '{}' in the map", call.word(2)));
    };
    let mut target = None;
    if call.args.len() == 5 {
        if !call.word(3).eq_ignore_ascii_case("to") {
            return call.reply.error("ERR syntax error");
        }
        match call.word(4).parse::<NodeAddr>() {
            Ok(addr) => target = Some(addr),
            Err(e) => return call.reply.error(&format!("ERR {e}")),
        }
    }
    match s.start_planned(io, &name, target.as_ref()) {
        Ok(()) => call.reply.ok(),
        Err(text) => call.reply.error(&text),
    }
}

impl Sentinel {
    /// INFO with Redis' sections and field names.
    fn info(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let wanted: Vec<String> =
            call.args[1..].iter().map(|a| String::from_utf8_lossy(a).to_ascii_lowercase()).collect();
        let any = |name: &str| {
            wanted.is_empty()
                || wanted.iter().any(|w| w == name || matches!(w.as_str(), "all" | "everything" | "default"))
        };
        let uptime = (io.now.mono_ms().saturating_sub(self.started.mono_ms())) / 1000;
        let mut text = String::new();
        if any("server") {
            text += &format!(
                "# Server\r\nredis_version:{VERSION}\r\nredis_mode:sentinel\r\nos:{}\r\narch_bits:{}\r\nprocess_id:{}\r\n\
                 run_id:{}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n\
                 config_file:{}\r\n\r\n",
                std::env::consts::OS,
                usize::BITS,
                std::process::id(),
                self.run_id,
                self.cfg.port,
                io.now.unix_ms * 1000,
                uptime / 86_400,
                self.cfg.file.as_ref().map(|f| f.display().to_string()).unwrap_or_default()
            );
        }
        if any("clients") {
            text += &format!(
                "# Clients\r\nconnected_clients:{}\r\nmaxclients:{MAX_CLIENTS}\r\nblocked_clients:0\r\n\r\n",
                self.clients.len()
            );
        }
        if any("cpu") {
            let t = cpu_times();
            text += &format!("# CPU\r\nused_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\n\r\n", t.system, t.user);
        }
        if any("stats") {
            text += &format!(
                "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\n\r\n",
                self.stats.connections, self.stats.commands
            );
        }
        if any("sentinel") {
            text += &self.sentinel_section(io.now.mono_ms());
        }
        call.reply.verbatim(text.trim_end_matches("\r\n").to_owned().as_str());
    }
}
