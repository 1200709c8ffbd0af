//! `redis-cli`: the client that people expect beside a server, in redis-cli's words. What it prints of a reply is what
//! redis-cli prints.

mod connection;
mod figures;
mod help;
mod keys;
mod options;
mod prompt;
mod session;
mod show;
mod transfer;

use std::path::Path;

use connection::{Connection, Failure};
use options::{Mode, Options, Stop};
use session::{Outcome, Session};

/// The version whose client this is like.
const VERSION: &str = crate::config::REDIS_VERSION;

/// Runs the client with the arguments after the program's name; the exit code.
pub fn main(args: &[String]) -> i32 {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(Stop::Text(text)) => {
            print!("{text}");
            return 0;
        }
        Err(Stop::Wrong(text)) => {
            eprintln!("{text}");
            return 1;
        }
        Err(Stop::WrongArgument(text)) => {
            println!("{text}");
            return 1;
        }
    };
    match start(options) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            1
        }
    }
}

fn start(mut options: Options) -> Result<i32, Failure> {
    if let Mode::IntrinsicLatency(duration) = options.mode {
        figures::intrinsic(duration);
        return Ok(0);
    }
    if let Mode::Eval(file) = &options.mode {
        options.words = script(Path::new(file), &options.words)?;
        options.mode = Mode::Commands;
    }
    if options.mode == Mode::Commands {
        let mut session = Session::new(options);
        return if session.options.words.is_empty() {
            Ok(prompt::run(&mut session))
        } else {
            once(&mut session)
        };
    }
    let connection = &mut Connection::establish(&options)?;
    match options.mode.clone() {
        Mode::Stat => figures::stat(connection, &options)?,
        Mode::Latency { history } => figures::latency(connection, &options, history)?,
        Mode::Replica => transfer::replica(connection)?,
        Mode::Rdb { file, functions } => transfer::rdb(connection, &file, functions)?,
        Mode::Pipe => {
            let last = crate::rng::Rng::new(crate::net::random_seed()).hex40();
            return Ok(i32::from(!transfer::pipe(connection, &options, &last)?));
        }
        Mode::Keys(by) => keys::search(connection, &options, by)?,
        Mode::Scan => keys::scan(connection, &options)?,
        Mode::Commands | Mode::Eval(_) | Mode::IntrinsicLatency(_) => {}
    }
    Ok(0)
}

/// The command of the command line, as often as it says.
fn once(session: &mut Session) -> Result<i32, Failure> {
    let words = session.options.words.clone();
    let mut left = session.options.repeat;
    let mut error = false;
    while left != 0 {
        error = session.run(&words)? == Outcome::Error;
        left = if left > 0 { left - 1 } else { left };
        if left != 0 {
            std::thread::sleep(session.options.interval);
        }
    }
    Ok(i32::from(error && session.options.exit_error))
}

/// The command of `--eval file key … , arg …`
fn script(file: &Path, words: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Failure> {
    let text = std::fs::read(file)
        .map_err(|e| Failure::Refused(format!("Can't open file '{}': {e}", file.display())))?;
    let comma = words.iter().position(|word| word == b",");
    let keys = comma.unwrap_or(words.len());
    let mut command = vec![b"EVAL".to_vec(), text, keys.to_string().into_bytes()];
    command.extend_from_slice(&words[..keys]);
    command.extend_from_slice(words.get(keys + 1..).unwrap_or_default());
    Ok(command)
}
