//! Scripts as a client sees them, without sockets; and limits, with a driver that plays one.

use std::any::Any;

use crate::config::Config;
use crate::io::{ConnId, Driver, Io, Service};
use crate::server::testing::Bench;

fn bench() -> (Bench, ConnId) {
    let mut bench = Bench::new(Config::default());
    let conn = bench.connect();
    (bench, conn)
}

fn eval(bench: &mut Bench, conn: ConnId, script: &str) -> String {
    let text = script.replace('"', "\\\"");
    bench.send(conn, &format!("EVAL \"{text}\" 0"))
}

#[test]
fn a_script_reads_and_writes_and_answers() {
    let (mut b, c) = bench();
    assert_eq!(eval(&mut b, c, "redis.call('set', 'a', 5) return redis.call('incrby', 'a', 2)"), ":7\r\n");
    assert_eq!(eval(&mut b, c, "return {1, 'x', false, {2}}"), "*4\r\n:1\r\n$1\r\nx\r\n$-1\r\n*1\r\n:2\r\n");
    assert_eq!(eval(&mut b, c, "return {ok='fine'}"), "+fine\r\n");
}

#[test]
fn what_is_compiled_is_kept_by_its_digest() {
    let (mut b, c) = bench();
    assert_eq!(eval(&mut b, c, "return 1"), ":1\r\n");
    assert_eq!(b.send(c, "EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0"), ":1\r\n");
    assert_eq!(b.server.scripting.figures().cached, 1);
    assert_eq!(b.send(c, "SCRIPT FLUSH"), "+OK\r\n");
    assert!(b.send(c, "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0").starts_with("-NOSCRIPT "));
    assert_eq!(b.server.scripting.figures().vm_eval, 0);
}

#[test]
fn nothing_of_a_script_is_there_in_the_next() {
    let (mut b, c) = bench();
    let attempts = [
        "x = 1",
        "_G.x = 1",
        "rawset(_G, 'x', 1)",
        "setmetatable(_G, {})",
        "redis.call = nil",
        "string.len = nil",
        "getmetatable(_G).__index = nil",
        "getmetatable('').__index = nil",
        "loadstring('x = 1')()",
        "rawset(redis, 'call', 1)",
        "local _, t = pairs(_G) rawset(getmetatable(_G), '__index', 1)",
        "coroutine.wrap(function() x = 1 end)()",
    ];
    for attempt in attempts {
        let reply = eval(&mut b, c, attempt);
        assert!(reply.contains("Attempt to modify a readonly table"), "{attempt}: {reply}");
    }
    let reply = eval(&mut b, c, "return x");
    assert!(reply.contains("nonexistent global variable 'x'"), "{reply}");
    assert_eq!(eval(&mut b, c, "return {redis.call('ping').ok, ('x'):len()}"), "*2\r\n$4\r\nPONG\r\n:1\r\n");
}

#[test]
fn bytecode_is_text_like_any_other() {
    let (mut b, c) = bench();
    let reply = eval(&mut b, c, "return {loadstring(string.dump(function() return 1 end))}");
    assert_eq!(reply, "*0\r\n");
    let reader = "local parts = {string.dump(function() end)} return (load(function() return table.remove(parts) end))";
    let reply = eval(&mut b, c, reader);
    assert_eq!(reply, "$-1\r\n");
    assert!(b.send(c, "EVAL \"\\x1bLua\" 0").starts_with("-ERR Error compiling script"));
}

#[test]
fn deep_recursion_ends_in_an_error() {
    // What a process's main thread has.
    const STACK: usize = 8 << 20;
    std::thread::Builder::new().stack_size(STACK).spawn(recurse_deeply).unwrap().join().unwrap();
}

fn recurse_deeply() {
    let (mut b, c) = bench();
    for script in [
        "local function f() return 1 + f() end return f()",
        "local t = {} t[1] = t return cjson.encode(t)",
        "cjson.decode_max_depth(1e6) return cjson.decode(string.rep('[', 1e6))",
        "return cmsgpack.unpack(string.rep(string.char(0x91), 1e6))",
        "local t = {} for i = 1, 1e5 do t = {t} end cjson.encode_max_depth(1e9) return cjson.encode(t)",
        "return string.rep('x', 10):gsub('.', function() error('in a callback') end)",
    ] {
        let reply = eval(&mut b, c, script);
        assert!(reply.starts_with("-ERR "), "{script}: {reply}");
    }
    let reply = eval(&mut b, c, "local t = {} for i = 1, 1e5 do t = {t} end return t");
    assert!(reply.contains("-ERR reached lua stack limit\r\n"));
}

#[test]
fn commands_are_reached_from_wherever_a_script_calls_them() {
    let (mut b, c) = bench();
    for (script, expected) in [
        ("return coroutine.wrap(function() return redis.call('incr', 'n') end)()", ":1\r\n"),
        ("return ('xx'):gsub('x', function() return redis.call('incr', 'n') end)", "$2\r\n23\r\n"),
        ("return ('x'):gsub('x', redis.call)", "-ERR Unknown Redis command called from script"),
        ("local call = redis.call return {pcall(call, 'incr', 'n')}", "*2\r\n:1\r\n:4\r\n"),
        ("return {pcall(redis.call, 'lpush', 'n', 1)}", "*2\r\n$-1\r\n$65\r\nWRONGTYPE "),
        ("local ok, err = pcall(redis.call, 'lpush', 'n', 1) return err", "$65\r\nWRONGTYPE "),
        ("return redis.pcall('lpush', 'n', 1)", "-WRONGTYPE "),
        ("return redis.pcall()", "-ERR Please specify at least one argument"),
        ("return redis.call('get', {})", "-ERR Lua redis lib command arguments must be strings or integers"),
        ("redis.call('set', 'n', 1.5) return redis.call('append', 'n', -0.0)", ":5\r\n"),
        ("redis.call('set', 'n', 2^53) return redis.call('get', 'n')", "$16\r\n9007199254740992\r\n"),
        ("return redis.call('get', 'n', 'n')", "-ERR Wrong number of args calling Redis command from script"),
    ] {
        let reply = eval(&mut b, c, script);
        assert!(reply.starts_with(expected), "{script}: {reply}");
    }
}

#[test]
fn a_command_takes_as_many_arguments_as_a_function() {
    let (mut b, c) = bench();
    let script = "local t = {'rpush', 'l'} for i = 1, 7900 do t[#t + 1] = i end redis.call(unpack(t)) \
                  t[1] = 'lrange' return #redis.call('lrange', 'l', 0, -1)";
    assert_eq!(eval(&mut b, c, script), ":7900\r\n");
    let script = "local t = {} for i = 1, 7990 do t[i] = 'get' end return redis.pcall(unpack(t))";
    assert!(eval(&mut b, c, script).starts_with("-ERR Wrong number of args"));
}

#[test]
fn where_calls_are_nested_too_deep_a_command_is_an_error_and_nothing_else() {
    // Whatever is raised leaves garbage that wants to be finalized, for which no call may be left.
    let script = "local function deep(n) \
                    if n == 0 then \
                      for i = 1, 2000 do \
                        if not pcall(redis.call, 'get', 'n' .. i) then return 'too deep' end pcall(redis.call, 'no') \
                      end \
                      return 'fine' \
                    end \
                    local ok, result = pcall(deep, n - 1) \
                    return result \
                  end \
                  local seen = {} \
                  for n = 185, 199 do local s = tostring(deep(n)) seen[s] = true end \
                  redis.call('incr', 'n') \
                  return {seen['fine'] and 1 or 0, redis.call('get', 'n')}";
    let (mut b, c) = bench();
    assert_eq!(eval(&mut b, c, script), "*2\r\n:1\r\n$1\r\n1\r\n");
}

#[test]
fn an_error_of_the_collector_leaves_nothing_behind() {
    // The same where it is our functions that the collector is at work in.
    for called in [
        "redis.call('time')",
        "cjson.decode('[[1],[2]]')",
        "cjson.encode({{}, {}})",
        "cmsgpack.pack({{}, {}})",
    ] {
        let script = format!(
            "local function deep(n) \
               if n == 0 then for i = 1, 2000 do {called} end return end \
               pcall(deep, n - 1) \
             end \
             for n = 194, 199 do for i = 1, 1000 do pcall(redis.call, 'no') end deep(n) end \
             cjson.encode_max_depth(10) cjson.decode_max_depth(10) cjson.encode_sparse_array(true) \
             return redis.call('incr', 'n')"
        );
        let (mut b, c) = bench();
        assert_eq!(eval(&mut b, c, &script), ":1\r\n", "{called}");
    }
}

#[test]
fn a_script_runs_no_other() {
    let (mut b, c) = bench();
    b.server.debug.scripts_may_all = true;
    let reply = eval(&mut b, c, "return redis.call('eval', 'return 1', 0)");
    assert!(reply.starts_with("-ERR A script cannot run another one"), "{reply}");
    // The outer one is where it was.
    let reply = eval(&mut b, c, "redis.pcall('eval', 'return 1', 0) return redis.call('incr', 'n')");
    assert_eq!(reply, ":1\r\n");
    let reply = eval(&mut b, c, "redis.call('script', 'flush') return redis.call('incr', 'n')");
    assert_eq!(reply, ":2\r\n");
}

#[test]
fn functions_of_a_library_that_has_gone_are_let_go() {
    let (mut b, c) = bench();
    let body = "local t = {} for i = 1, 1000 do t[i] = 'element ' .. i end \
                redis.register_function('f', function() return #t end)";
    let mut held = Vec::new();
    for _ in 0..50 {
        b.send(c, &format!("FUNCTION LOAD REPLACE \"#!lua name=one\\n{body}\""));
        assert_eq!(b.send(c, "FCALL f 0"), ":1000\r\n");
        held.push(b.server.scripting.figures().vm_functions);
    }
    assert!(held[49] < 4 * held[0], "{held:?}");
}

#[test]
fn libraries_are_loaded_whole_or_not_at_all() {
    let (mut b, c) = bench();
    let load = |b: &mut Bench, mode: &str, name: &str, body: &str| {
        b.send(c, &format!("FUNCTION LOAD {mode} \"#!lua name={name}\\n{body}\""))
    };
    let f = "redis.register_function('f', function() return 1 end)";
    assert_eq!(load(&mut b, "", "one", f), "$3\r\none\r\n");
    assert!(load(&mut b, "", "two", f).contains("Function f already exists"));
    assert!(load(&mut b, "", "one", f).contains("Library 'one' already exists"));
    assert!(load(&mut b, "REPLACE", "one", "error_in_here()").starts_with("-ERR "));
    assert_eq!(b.send(c, "FCALL F 0"), ":1\r\n", "names know no case");
    assert_eq!(
        load(&mut b, "REPLACE", "one", "redis.register_function('g', function() return 2 end)"),
        "$3\r\none\r\n"
    );
    assert!(b.send(c, "FCALL f 0").starts_with("-ERR Function not found"));
    assert_eq!(b.server.scripting.figures().number_of_functions, 1);
}

#[test]
fn in_cluster_mode_a_script_keeps_to_one_slot() {
    let (mut b, c) = bench();
    b.server.config.cluster_enabled = true;
    let refused = "do not hash to the same slot";
    assert!(eval(&mut b, c, "return redis.call('mset', 'a', 1, 'b', 2)").contains(refused));
    let apart = "redis.call('set', 'a', 1) return redis.call('set', 'b', 2)";
    assert_eq!(eval(&mut b, c, apart), "+OK\r\n", "without a first line it is as it always was");
    assert!(eval(&mut b, c, &format!("#!lua\\n{apart}")).contains(refused));
    let allowed = format!("#!lua flags=allow-cross-slot-keys\\n{apart}");
    assert_eq!(eval(&mut b, c, &allowed), "+OK\r\n");
    assert!(eval(&mut b, c, "#!lua flags=no-cluster\\nreturn 1").contains("'no-cluster' flag is set"));
}

/// A driver that, each time it is called, sends one line from another client.
struct Player {
    conn: ConnId,
    lines: Vec<&'static str>,
    replies: Vec<String>,
}

impl Driver for Player {
    fn hang_up(&mut self, _conn: ConnId) {}

    fn turn(mut self: Box<Self>, service: &mut dyn Service, io: &mut Io) -> Box<dyn Driver> {
        io.now.unix_ms += 1000;
        if let Some(line) = self.lines.pop() {
            io.conn(self.conn).unwrap().input.extend_from_slice(format!("{line}\r\n").as_bytes());
            service.received(io, self.conn);
        }
        service.before_sleep(io);
        let output = &mut io.conn(self.conn).unwrap().output;
        let text = String::from_utf8_lossy(output.sendable()).into_owned();
        let sent = output.sendable().len();
        output.consume(sent);
        self.replies.push(text);
        self
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What a script's client gets, and another one's replies to these lines meanwhile.
fn play(script: &str, mut lines: Vec<&'static str>) -> (Bench, String, Vec<String>) {
    let (mut b, c) = bench();
    b.server.config.busy_reply_threshold = 1;
    let conn = b.connect();
    lines.reverse();
    b.io.lend_driver(Box::new(Player { conn, lines, replies: Vec::new() }));
    let reply = eval(&mut b, c, script);
    let player = b.io.take_driver().unwrap().into_any().downcast::<Player>().unwrap();
    (b, reply, player.replies)
}

#[test]
fn a_long_script_lets_others_be_served_and_is_ended_by_them() {
    let script = "while true do pcall(function() while true do end end) end";
    let (_, reply, replies) = play(script, vec!["GET a", "FUNCTION KILL", "SCRIPT KILL"]);
    assert!(reply.contains("Script killed by user with SCRIPT KILL"), "{reply}");
    assert!(replies[0].starts_with("-BUSY ") && replies[1].starts_with("-BUSY "), "{replies:?}");
    assert_eq!(replies[2], "+OK\r\n");
}

#[test]
fn for_a_script_no_time_passes() {
    let script = "redis.call('set', 'a', 1, 'px', 500) local t = redis.call('pttl', 'a') \
                  for i = 1, 2e6 do end return {t, redis.call('pttl', 'a')}";
    let (_, reply, replies) = play(script, vec!["GET a"; 1000]);
    assert_eq!(reply, "*2\r\n:500\r\n:500\r\n");
    assert!(!replies.is_empty());
}

#[test]
fn a_script_that_wrote_is_not_ended_and_leaves_as_one_unit() {
    let script = "redis.call('set', 'a', 1) for i = 1, 2e6 do end return redis.call('incr', 'a')";
    let (mut b, reply, replies) = play(script, vec!["SCRIPT KILL", "MULTI", "EXEC"]);
    assert_eq!(reply, ":2\r\n");
    assert!(replies[0].starts_with("-UNKILLABLE "), "{replies:?}");
    let c = b.connect();
    assert_eq!(b.send(c, "GET a"), "$1\r\n2\r\n");
}
