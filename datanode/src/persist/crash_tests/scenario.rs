//! What happens to a server, from a seed: clients' commands of all kinds, with what an operator does in between.

use super::machine::Machine;
use crate::io::Lane;
use crate::rng::Rng;

/// Which kinds of things happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    /// Steps.
    pub(super) steps: u64,
    /// An operator does something in one of so many steps.
    pub(super) operator_one_in: u64,
    /// What the operator does, each as often as the others; `_` is a space within a word.
    pub(super) operator: &'static [&'static str],
}

const SCRIPT: &str = "redis.call('RPUSH', KEYS[1], ARGV[1], ARGV[2]); redis.call('INCR', KEYS[2]); \
     return redis.call('SPOP', KEYS[3])";

const LIBRARY: &str = "#!lua name=lib%\nredis.register_function('f%', function(keys, args) return redis.call('SET', keys[1], args[1]) end)";

/// Plays a scenario; ends early where the server does.
pub(super) fn play(machine: &mut Machine, rng: &mut Rng, mix: Mix) {
    for step in 0..mix.steps {
        if machine.exited.is_some() {
            return;
        }
        if rng.below(mix.operator_one_in) == 0 {
            let what = mix.operator[rng.below(mix.operator.len() as u64) as usize];
            let words: Vec<_> = what.split(' ').map(|w| w.replace('_', " ")).collect();
            send(machine, &[words]);
        } else {
            write(machine, rng, step);
        }
        if rng.below(3) == 0 {
            let lane = Lane::ALL[rng.below(3) as usize];
            machine.run_job_of(lane);
        }
        if rng.below(2) == 0 {
            let longest = if rng.below(8) == 0 { 1500 } else { 60 };
            machine.pass(rng.below(longest));
        }
    }
}

fn write(machine: &mut Machine, rng: &mut Rng, step: u64) {
    match rng.below(16) {
        0 => {
            machine.send(&["MULTI"]);
            for _ in 0..=rng.below(4) {
                send(machine, &[command(rng, step)]);
            }
            machine.send(&["EXEC"]);
        }
        1 => {
            let (list, number, set) = (key(rng, 'l'), key(rng, 'n'), key(rng, 'e'));
            let (one, other) = (text(rng, step), text(rng, step));
            machine.send(&["EVAL", SCRIPT, "3", &list, &number, &set, &one, &other]);
        }
        2 => {
            let together: Vec<_> = (0..2 + rng.below(3)).map(|_| command(rng, step)).collect();
            send(machine, &together);
        }
        3 => {
            let db = rng.below(3).to_string();
            machine.send(&["SELECT", &db]);
            send(machine, &[command(rng, step)]);
        }
        _ => send(machine, &[command(rng, step)]),
    }
}

fn send(machine: &mut Machine, commands: &[Vec<String>]) {
    let words: Vec<Vec<&str>> = commands.iter().map(|c| c.iter().map(String::as_str).collect()).collect();
    machine.send_together(&words.iter().map(Vec::as_slice).collect::<Vec<_>>());
}

/// A key for values of a kind.
fn key(rng: &mut Rng, kind: char) -> String {
    format!("{kind}{}", rng.below(3))
}

/// A value that tells which step it is of; some are long.
fn text(rng: &mut Rng, step: u64) -> String {
    match rng.below(12) {
        0 => format!("{step}-").repeat(300),
        1 => step.to_string(),
        _ => format!("value-{step}-{}", rng.below(100)),
    }
}

/// A command that changes data, most of the time.
fn command(rng: &mut Rng, step: u64) -> Vec<String> {
    let (v, w) = (text(rng, step), text(rng, step));
    let n = rng.below(20).to_string();
    let score = format!("{}.5", rng.below(9));
    let soon = (1 + rng.below(3000)).to_string();
    let mut k = |kind| key(rng, kind);
    let (s, number, list, other_list) = (k('s'), k('n'), k('l'), k('l'));
    let (set, other_set, hash, zset, other_zset, stream) = (k('e'), k('e'), k('h'), k('z'), k('z'), k('x'));
    let any = [&s, &number, &list, &set, &hash, &zset, &stream][rng.below(7) as usize].clone();
    let target = format!("{}{}", &any[..1], rng.below(3));
    let db = rng.below(3).to_string();
    let function = format!("f{db}");
    let words = match rng.below(60) {
        0 | 1 => vec!["SET", &s, &v],
        2 => vec!["SET", &s, &v, "PX", &soon],
        3 => vec!["APPEND", &s, &v],
        4 => vec!["SETRANGE", &s, &n, &v],
        5 => vec!["GETDEL", &s],
        6 => vec!["GETEX", &s, "EX", "100"],
        7 => vec!["INCRBY", &number, &n],
        8 => vec!["INCRBYFLOAT", &number, &score],
        9 => vec!["MSET", &s, &v, &number, &n],
        10 => vec!["SETBIT", &s, &n, "1"],
        11 => vec!["BITFIELD", "b0", "INCRBY", "u8", "4", "100"],
        12 => vec!["PFADD", "p0", &v, &w],
        13 => vec!["PFMERGE", "p1", "p0"],
        14 | 15 => vec!["RPUSH", &list, &v, &w],
        16 => vec!["LPUSH", &list, &v],
        17 => vec!["LPOP", &list, "2"],
        18 => vec!["LMOVE", &list, &other_list, "LEFT", "RIGHT"],
        19 => vec!["LTRIM", &list, "0", "10"],
        20 => vec!["LINSERT", &list, "BEFORE", &v, &w],
        21 | 22 => vec!["SADD", &set, &v, &n],
        23 => vec!["SPOP", &set],
        24 => vec!["SPOP", &set, "3"],
        25 => vec!["SMOVE", &set, &other_set, &n],
        26 => vec!["SUNIONSTORE", &set, &set, &other_set],
        27 | 28 => vec!["HSET", &hash, &v, &w, &n, &v],
        29 => vec!["HDEL", &hash, &n],
        30 => vec!["HINCRBY", &hash, "count", &n],
        31 => vec!["HINCRBYFLOAT", &hash, "float", &score],
        32 | 33 => vec!["ZADD", &zset, &score, &v, "3", &n],
        34 => vec!["ZINCRBY", &zset, &score, &n],
        35 => vec!["ZPOPMIN", &zset],
        36 => vec!["ZUNIONSTORE", &zset, "2", &zset, &other_zset],
        37 => vec!["ZREMRANGEBYRANK", &zset, "0", "1"],
        38 => vec!["GEOADD", "g0", &score, &score, &v],
        39 | 40 => vec!["XADD", &stream, "*", "field", &v],
        41 => vec!["XADD", &stream, "MAXLEN", "~", "5", "*", "a", &n, "b", &v],
        42 => vec!["XGROUP", "CREATE", &stream, "group", "0", "MKSTREAM"],
        43 => vec!["XREADGROUP", "GROUP", "group", &v[..1], "COUNT", "2", "STREAMS", &stream, ">"],
        44 => vec!["XAUTOCLAIM", &stream, "group", "claimer", "0", "0", "COUNT", "1"],
        45 => vec!["XTRIM", &stream, "MAXLEN", "3"],
        46 => vec!["XSETID", &stream, "99999999999999-0"],
        47 => vec!["DEL", &any],
        48 => vec!["UNLINK", &any, &target],
        49 => vec!["RENAME", &any, &target],
        50 => vec!["COPY", &any, &target, "REPLACE"],
        51 => vec!["MOVE", &any, &db],
        52 => vec!["PEXPIRE", &any, &soon],
        53 => vec!["EXPIRE", &any, "1000"],
        54 => vec!["PERSIST", &any],
        55 => vec!["SWAPDB", "0", &db],
        56 => vec!["SORT", &set, "ALPHA", "STORE", &list],
        57 if step.is_multiple_of(5) => vec!["FLUSHDB"],
        58 if step.is_multiple_of(9) => vec!["FLUSHALL"],
        59 => {
            let library = LIBRARY.replace('%', &db);
            return ["FUNCTION", "LOAD", "REPLACE", &library].map(str::to_owned).to_vec();
        }
        _ => vec!["FCALL", &function, "1", &s, &v],
    };
    words.into_iter().map(str::to_owned).collect()
}
