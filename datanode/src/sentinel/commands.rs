//! The commands that a sentinel carries out itself, for clients, other sentinels and the operator; all others are those of
//! the server in front of it.

use super::Sentinel;
use crate::command::OwnedArgs;
use crate::command::admin::shutdown_mode;
use crate::io::{Action, Io};
use crate::resp::writer::Reply;
use crate::shardmap::{Authority, NodeAddr, ShardMap};

/// One request being served.
pub(super) struct Call<'a> {
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

impl Sentinel {
    /// Carries out what the server in front has left to it.
    pub(super) fn serve_left(&mut self, io: &mut Io) {
        while let Some(left) = self.front.next_left() {
            let args: Vec<Vec<u8>> = left.args.as_args().iter().map(<[u8]>::to_vec).collect();
            let mut out = Vec::new();
            let reply = Reply { out: &mut out, proto: left.proto };
            let mut call = Call { args: &args, reply, close: false };
            match call.word(0).to_ascii_lowercase().as_str() {
                "info" => self.info(io, &mut call),
                "publish" => self.publish_command(io, &mut call),
                "replicaset" => replicaset(self, io, &mut call),
                "role" => self.role(&mut call),
                "sentinel" => self.sentinel_command(io, &mut call),
                "shutdown" => self.shutdown(io, &mut call),
                name => call.reply.error(&format!("ERR '{name}' is not a sentinel's business")),
            }
            let close = call.close;
            self.front.answer(io, &left, &out, close);
        }
    }

    /// Other sentinels say hello so; nothing else may be published, for events are this sentinel's own (as Redis).
    fn publish_command(&mut self, io: &mut Io, call: &mut Call<'_>) {
        if call.args[1] != super::HELLO_CHANNEL.as_bytes() {
            return call.reply.error("ERR Only HELLO messages are accepted by Sentinel instances.");
        }
        let text = call.word(2);
        self.process_hello(io, &text);
        call.reply.int(1);
    }

    fn role(&mut self, call: &mut Call<'_>) {
        call.reply.array(2);
        call.reply.bulk(b"sentinel");
        call.reply.array(self.masters.len());
        for name in self.masters.keys() {
            call.reply.bulk(name.as_bytes());
        }
    }

    /// There is no dataset: however it is asked for, it ends at once.
    fn shutdown(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let words = OwnedArgs::collect(call.args.iter());
        match shutdown_mode(words.as_args()) {
            Err(e) => call.reply.error(&e.text()),
            Ok((_, true)) => call.reply.error("ERR No shutdown in progress."),
            Ok(_) => {
                call.close = true;
                self.end(io);
            }
        }
    }

    /// Ends the process.
    pub(super) fn end(&mut self, io: &mut Io) {
        if !self.terminating {
            self.terminating = true;
            self.save_if_unsaved();
            tracing::warn!("Sentinel is now ready to exit, bye bye...");
            io.ask(Action::Exit(0));
        }
    }

    /// INFO: the front's sections, and the one about masters.
    fn info(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let wanted: Vec<String> =
            call.args[1..].iter().map(|a| String::from_utf8_lossy(a).to_ascii_lowercase()).collect();
        let mut text = self.front.info(io, &wanted);
        let shown = |w: &String| matches!(w.as_str(), "sentinel" | "all" | "everything" | "default");
        if wanted.is_empty() || wanted.iter().any(shown) {
            if !text.is_empty() {
                text += "\r\n";
            }
            text += &self.sentinel_section(io.now.mono_ms());
        }
        call.reply.bulk(text.as_bytes());
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
        ("vote", 7) => s.asked_for_vote(io, call),
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
