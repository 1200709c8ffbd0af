//! The interactive session: lines with history, completion and hints; read one by one where nobody types.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use super::connection::Failure;
use super::help;
use super::options::Stop;
use super::session::Session;
use crate::resp::parse::split_words;

/// Lines kept in the history file.
const HISTORY: usize = 100;
/// Most often that a number before a command repeats it.
const MAX_REPEAT: i64 = 1_000_000;

/// Reads and runs lines until the end of the input, `quit` or `exit`; the exit code.
pub fn run(session: &mut Session) -> i32 {
    if !std::io::stdin().is_terminal() {
        return lines(session);
    }
    session.interactive = true;
    preferences(session);
    if let Err(failure) = session.connected() {
        eprintln!("{failure}");
    }
    let config = match Config::builder().max_history_size(HISTORY) {
        Ok(builder) => builder.history_ignore_space(true).build(),
        Err(_) => Config::default(),
    };
    let mut editor: Editor<Assistant, rustyline::history::FileHistory> = match Editor::with_config(config) {
        Ok(editor) => editor,
        Err(e) => {
            eprintln!("the terminal cannot be used: {e}");
            return 1;
        }
    };
    editor.set_helper(Some(Assistant { hints: session.hints }));
    let history = home("REDISCLI_HISTFILE", ".rediscli_history");
    if let Some(file) = &history {
        // There is none the first time.
        let _ = editor.load_history(file);
    }
    loop {
        match editor.readline(&prompt(session)) {
            Ok(line) => {
                if !line.trim().is_empty() && !is_secret(&line) {
                    let _ = editor.add_history_entry(&line);
                }
                if !one_line(session, &line).goes_on {
                    break;
                }
                if let Some(assistant) = editor.helper_mut() {
                    assistant.hints = session.hints;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => break,
            Err(e) => {
                eprintln!("the terminal cannot be read: {e}");
                return 1;
            }
        }
    }
    if let Some(file) = &history {
        // In the image nothing can be written: the history is then this session's only.
        let _ = editor.save_history(file);
    }
    0
}

/// Lines of a pipe or file: nothing is prompted, and an error reply is a reply as any other.
fn lines(session: &mut Session) -> i32 {
    session.options.exit_error = false;
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let done = one_line(session, &line);
        if done.failed {
            return 1;
        }
        if !done.goes_on {
            break;
        }
    }
    0
}

/// What a line came to.
struct Done {
    goes_on: bool,
    /// There was no connection, or it broke.
    failed: bool,
}

fn one_line(session: &mut Session, line: &str) -> Done {
    let mut done = Done { goes_on: true, failed: false };
    let Some(mut words) = split_words(line.as_bytes()) else {
        println!("Invalid argument(s)");
        return done;
    };
    let mut repeat = 1;
    if let Some(n) = words.first().and_then(|w| crate::resp::parse::parse_i64(w))
        && words.len() > 1
    {
        if !(1..=MAX_REPEAT).contains(&n) {
            println!("Invalid redis-cli repeat command option value.");
            return done;
        }
        repeat = n;
        words.remove(0);
    }
    let Some(first) = words.first().map(|w| String::from_utf8_lossy(w).to_ascii_lowercase()) else {
        return done;
    };
    let texts: Vec<String> = words[1..].iter().map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    match (first.as_str(), &texts[..]) {
        ("quit" | "exit", _) => done.goes_on = false,
        ("help" | "?", topic) => print!("{}", help::answer(topic)),
        (":set", [what]) => set(session, what),
        ("clear", []) => print!("\x1b[H\x1b[2J"),
        ("connect", [host, port]) => match port.parse() {
            Ok(port) => {
                (session.options.host, session.options.port, session.options.socket) =
                    (host.clone(), port, None);
                session.connection = None;
                told(session.connected().map(|_| ()), &mut done);
            }
            Err(_) => println!("Invalid argument(s)"),
        },
        _ => {
            for n in 0..repeat {
                if n > 0 {
                    std::thread::sleep(session.options.interval);
                }
                told(session.run(&words).map(|_| ()), &mut done);
                if done.failed {
                    break;
                }
            }
        }
    }
    done
}

fn told(result: Result<(), Failure>, done: &mut Done) {
    if let Err(failure) = result {
        eprintln!("{failure}");
        done.failed = true;
    }
}

fn prompt(session: &Session) -> String {
    let options = &session.options;
    if session.connection.is_none() {
        return "not connected> ".into();
    }
    let place = match &options.socket {
        Some(path) => format!("redis {path}"),
        None if options.host.contains(':') => format!("[{}]:{}", options.host, options.port),
        None => format!("{}:{}", options.host, options.port),
    };
    let db = if options.db == 0 { String::new() } else { format!("[{}]", options.db) };
    let transaction = if session.transaction { "(TX)" } else { "" };
    format!("{place}{db}{transaction}> ")
}

fn set(session: &mut Session, what: &str) {
    match what.to_ascii_lowercase().as_str() {
        "hints" => session.hints = true,
        "nohints" => session.hints = false,
        _ => println!("unknown preference '{what}': hints or nohints"),
    }
}

/// `~/.redisclirc`: lines of `:set`.
fn preferences(session: &mut Session) {
    let text = home("REDISCLI_RCFILE", ".redisclirc").and_then(|file| std::fs::read_to_string(file).ok());
    for line in text.unwrap_or_default().lines() {
        if let Some(what) = line.trim().strip_prefix(":set ") {
            set(session, what.trim());
        }
    }
}

/// The file that the variable names, else the one in the home directory.
fn home(variable: &str, name: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(file) => Some(file.into()),
        None => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(name)),
    }
}

/// Lines with a password are not written to a file.
fn is_secret(line: &str) -> bool {
    let words: Vec<String> = line.split_whitespace().map(str::to_ascii_lowercase).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["auth", ..] | ["acl", "setuser", ..] => true,
        ["config", "set", ref rest @ ..] => {
            rest.iter().any(|w| matches!(*w, "requirepass" | "masterauth" | "masteruser"))
        }
        ["hello" | "migrate", ref rest @ ..] => rest.iter().any(|w| matches!(*w, "auth" | "auth2")),
        ["sentinel", "set", ref rest @ ..] => rest.contains(&"auth-pass"),
        _ => false,
    }
}

/// `--askpass`: a password that is typed and not shown.
pub fn password() -> Result<String, Stop> {
    let wrong = |e: ReadlineError| Stop::Wrong(format!("the password cannot be read: {e}"));
    let config = Config::builder().build();
    let mut editor: Editor<Masked, rustyline::history::FileHistory> =
        Editor::with_config(config).map_err(wrong)?;
    editor.set_helper(Some(Masked));
    editor.readline("Please input password: ").map_err(wrong)
}

/// Completes command names and shows what arguments follow.
struct Assistant {
    hints: bool,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, end: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line[..end].to_uppercase();
        if let Some(topic) = typed.strip_prefix("HELP ") {
            let groups = help::groups().into_iter().map(|group| format!("@{group}").to_uppercase());
            let found =
                help::commands().map(|(name, _)| name).chain(groups).filter(|name| name.starts_with(topic));
            return Ok((5, found.collect()));
        }
        Ok((0, help::commands().map(|(name, _)| name).filter(|name| name.starts_with(&typed)).collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, end: usize, _: &Context<'_>) -> Option<String> {
        (self.hints && end == line.len()).then(|| help::hint(line)).flatten()
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        format!("\x1b[90m{hint}\x1b[0m").into()
    }
}

impl Validator for Assistant {}
impl Helper for Assistant {}

/// Shows a star for each character.
struct Masked;

impl Completer for Masked {
    type Candidate = String;
}

impl Hinter for Masked {
    type Hint = String;
}

impl Highlighter for Masked {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> std::borrow::Cow<'l, str> {
        "*".repeat(line.chars().count()).into()
    }

    fn highlight_char(&self, _: &str, _: usize, _: rustyline::highlight::CmdKind) -> bool {
        true
    }
}

impl Validator for Masked {}
impl Helper for Masked {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_the_history() {
        for secret in [
            "AUTH x",
            "config set requirepass x",
            "HELLO 3 AUTH u p",
            "acl setuser u >p",
            "sentinel set m auth-pass x",
        ] {
            assert!(is_secret(secret), "{secret}");
        }
        for fine in ["get auth", "config set maxmemory 1", "hello 3", "set a 1"] {
            assert!(!is_secret(fine), "{fine}");
        }
    }
}
