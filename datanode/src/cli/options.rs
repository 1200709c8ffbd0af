//! The client's command line, in redis-cli's words.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use super::show::Form;
use crate::resp::parse::split_words;

/// What the client is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// One command, or an interactive session where there is none.
    Commands,
    /// `--stat`
    Stat,
    /// `--latency`, and `--latency-history` with its interval.
    Latency {
        /// A new line for each interval.
        history: bool,
    },
    /// `--intrinsic-latency`
    IntrinsicLatency(Duration),
    /// `--replica`
    Replica,
    /// `--rdb` and `--functions-rdb`
    Rdb {
        /// Where it goes; `-` is standard output.
        file: String,
        /// Only the libraries of functions.
        functions: bool,
    },
    /// `--pipe`
    Pipe,
    /// `--bigkeys`, `--memkeys`, `--hotkeys`
    Keys(By),
    /// `--scan`
    Scan,
    /// `--eval`
    Eval(String),
}

/// By what keys are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Number of elements, or length.
    Size,
    /// Bytes, by so many sampled elements of each key; 0: the server's default.
    Memory(u64),
    /// Access frequency.
    Frequency,
}

/// Everything the command line says.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Unix socket; goes before host and port.
    pub socket: Option<String>,
    /// User of AUTH.
    pub user: Option<String>,
    /// Password of AUTH.
    pub password: Option<String>,
    /// Database selected after connecting.
    pub db: i64,
    /// Protocol version of HELLO; none: no HELLO.
    pub protocol: Option<u8>,
    /// How often a command is sent; negative: without end.
    pub repeat: i64,
    /// Pause between repetitions or cycles.
    pub interval: Duration,
    /// How replies are printed; none: for people on a terminal, else raw.
    pub form: Option<Form>,
    /// Between the elements of a raw reply.
    pub within: Vec<u8>,
    /// Between raw replies.
    pub between: Vec<u8>,
    /// The last argument comes from standard input.
    pub stdin_last: bool,
    /// The argument of this text is replaced by standard input.
    pub stdin_tag: Option<String>,
    /// Arguments are quoted strings with escapes.
    pub quoted_input: bool,
    /// Redirections of a cluster are followed.
    pub cluster: bool,
    /// An error reply is the exit code's too.
    pub exit_error: bool,
    /// Push messages are printed; none: where standard output is a terminal.
    pub show_pushes: Option<bool>,
    /// Pattern of the keys that are looked at.
    pub pattern: Option<Vec<u8>>,
    /// Time without a reply after which `--pipe` gives up; zero: never.
    pub pipe_timeout: Duration,
    /// What to do.
    pub mode: Mode,
    /// The command.
    pub words: Vec<Vec<u8>>,
}

/// Why the client does not start.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was asked for this text: exit code 0.
    Text(String),
    /// The command line is wrong.
    Wrong(String),
    /// An argument is wrong: as redis-cli, that is said on standard output.
    WrongArgument(&'static str),
}

/// Environment variable with the password.
const PASSWORD_VARIABLE: &str = "REDISCLI_AUTH";
/// Environment variable with the name of a file that holds the password: in a pod, the mounted Secret.
const PASSWORD_FILE_VARIABLE: &str = "REDISCLI_AUTH_FILE";
/// Environment variable that has standard output taken for a terminal.
const FAKE_TERMINAL_VARIABLE: &str = "FAKETTY";
const PIPE_TIMEOUT: Duration = Duration::from_secs(30);
const NOT_HERE: &[(&str, &str)] = &[
    ("--tls", "TLS is not supported by this client"),
    (
        "--cluster",
        "the cluster manager is not part of this client: who serves which slots is for the operator to say",
    ),
    ("--ldb", "the Lua debugger is not part of this client"),
    ("--ldb-sync-mode", "the Lua debugger is not part of this client"),
    ("--lru-test", "--lru-test is not part of this client"),
    ("--latency-dist", "--latency-dist is not part of this client: use --latency-history"),
];

impl Default for Options {
    fn default() -> Options {
        Options {
            host: "127.0.0.1".into(),
            port: 6379,
            socket: None,
            user: None,
            password: None,
            db: 0,
            protocol: None,
            repeat: 1,
            interval: Duration::ZERO,
            form: None,
            within: b"\n".to_vec(),
            between: b"\n".to_vec(),
            stdin_last: false,
            stdin_tag: None,
            quoted_input: false,
            cluster: false,
            exit_error: false,
            show_pushes: None,
            pattern: None,
            pipe_timeout: PIPE_TIMEOUT,
            mode: Mode::Commands,
            words: Vec::new(),
        }
    }
}

impl Options {
    /// Reads the command line, without the program's name.
    pub fn parse(args: &[String]) -> Result<Options, Stop> {
        let mut o = Options::default();
        let mut rest = args.iter();
        let (mut ask, mut warn, mut given) = (false, true, false);
        while let Some(option) = rest.next() {
            if let Some((_, why)) = NOT_HERE.iter().find(|(name, _)| name == option) {
                return Err(Stop::Wrong((*why).into()));
            }
            let wrong = || Stop::Wrong(format!("Unrecognized option or bad number of args for: '{option}'"));
            let mut value = || rest.next().cloned().ok_or_else(wrong);
            match option.as_str() {
                "-h" => match rest.next() {
                    Some(host) => o.host = host.clone(),
                    None => return Err(Stop::Text(super::help::USAGE.into())),
                },
                "-p" => {
                    o.port = value()?.parse().map_err(|_| Stop::Wrong("Invalid server port.".into()))?;
                }
                "-s" => o.socket = Some(value()?),
                "-a" | "--pass" => (o.password, given) = (Some(value()?), true),
                "--user" => o.user = Some(value()?),
                "--askpass" => ask = true,
                "--no-auth-warning" => warn = false,
                "-u" => {
                    o.uri(&value()?)?;
                    given = o.password.is_some();
                }
                "-n" => o.db = number(&value()?, option)?,
                "-2" => o.protocol = Some(2),
                "-3" => o.protocol = Some(3),
                "-r" => o.repeat = number(&value()?, option)?,
                "-i" => {
                    let seconds: f64 = number(&value()?, option)?;
                    o.interval = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
                }
                "--raw" => o.form = Some(Form::Raw),
                "--no-raw" => o.form = Some(Form::Pretty),
                "--csv" => o.form = Some(Form::Csv),
                "--json" => o.form = Some(Form::Json { ascii: false }),
                "--quoted-json" => o.form = Some(Form::Json { ascii: true }),
                "-d" => o.within = value()?.into_bytes(),
                "-D" => o.between = value()?.into_bytes(),
                "-x" => o.stdin_last = true,
                "-X" => o.stdin_tag = Some(value()?),
                "--quoted-input" => o.quoted_input = true,
                "-c" => o.cluster = true,
                "-e" => o.exit_error = true,
                "--show-pushes" => {
                    o.show_pushes = Some(match value()?.chars().next() {
                        Some('y' | 'Y') => true,
                        Some('n' | 'N') => false,
                        _ => return Err(Stop::Wrong("Unknown --show-pushes value: use yes or no".into())),
                    });
                }
                "--stat" => o.mode = Mode::Stat,
                "--latency" => o.mode = Mode::Latency { history: false },
                "--latency-history" => o.mode = Mode::Latency { history: true },
                "--intrinsic-latency" => {
                    o.mode = Mode::IntrinsicLatency(Duration::from_secs(number(&value()?, option)?));
                }
                "--replica" | "--slave" => o.mode = Mode::Replica,
                "--rdb" => o.mode = Mode::Rdb { file: value()?, functions: false },
                "--functions-rdb" => o.mode = Mode::Rdb { file: value()?, functions: true },
                "--pipe" => o.mode = Mode::Pipe,
                "--pipe-timeout" => o.pipe_timeout = Duration::from_secs(number(&value()?, option)?),
                "--bigkeys" => o.mode = Mode::Keys(By::Size),
                "--memkeys" => o.mode = Mode::Keys(By::Memory(0)),
                "--memkeys-samples" => o.mode = Mode::Keys(By::Memory(number(&value()?, option)?)),
                "--hotkeys" => o.mode = Mode::Keys(By::Frequency),
                "--scan" => o.mode = Mode::Scan,
                "--pattern" => o.pattern = Some(value()?.into_bytes()),
                "--quoted-pattern" => {
                    let wrong = "Invalid quoted string specified for --quoted-pattern.";
                    let pattern = unquoted(value()?.as_bytes()).ok_or_else(|| Stop::Wrong(wrong.into()));
                    o.pattern = Some(pattern?);
                }
                "--eval" => o.mode = Mode::Eval(value()?),
                "--verbose" => {}
                "--version" | "-v" => return Err(Stop::Text(format!("redis-cli {}\n", super::VERSION))),
                "--help" => return Err(Stop::Text(super::help::USAGE.into())),
                "--" => {
                    o.words.extend(rest.by_ref().map(|word| word.clone().into_bytes()));
                }
                // A negative number may be a command's argument, not its name.
                word if word.starts_with('-') && word.len() > 1 => return Err(wrong()),
                word => {
                    o.words.push(word.as_bytes().to_vec());
                    o.words.extend(rest.by_ref().map(|word| word.clone().into_bytes()));
                }
            }
        }
        if ask {
            o.password = Some(super::prompt::password()?);
        } else if o.password.is_none() {
            o.password = environment_password()?;
        }
        if given && warn && !ask {
            eprintln!(
                "Warning: Using a password with '-a' or '-u' option on the command line interface may not be safe."
            );
        }
        o.finish()?;
        Ok(o)
    }

    /// What follows from several options together.
    fn finish(&mut self) -> Result<(), Stop> {
        // JSON tells maps and numbers apart only where the protocol does.
        if matches!(self.form, Some(Form::Json { .. })) && self.protocol.is_none() {
            self.protocol = Some(3);
        }
        if self.quoted_input {
            self.words = self
                .words
                .iter()
                .map(|word| unquoted(word).ok_or(Stop::WrongArgument("Invalid quoted string")))
                .collect::<Result<_, _>>()?;
        }
        if !self.stdin_last && self.stdin_tag.is_none() {
            return Ok(());
        }
        if self.stdin_last && self.stdin_tag.is_some() {
            return Err(Stop::Wrong("Options -x and -X are mutually exclusive.".into()));
        }
        let mut input = Vec::new();
        std::io::stdin()
            .read_to_end(&mut input)
            .map_err(|e| Stop::Wrong(format!("cannot read standard input: {e}")))?;
        match &self.stdin_tag {
            None => self.words.push(input),
            Some(tag) => {
                let place = self.words.iter_mut().find(|word| *word == tag.as_bytes());
                *place.ok_or_else(|| Stop::Wrong("Using -X option but stdin tag not match.".into()))? = input;
            }
        }
        Ok(())
    }

    /// How replies are printed, with what standard output is.
    pub fn form(&self) -> Form {
        // Whoever drives the client through a pipe can have it print as to a person.
        let person = std::io::stdout().is_terminal() || std::env::var_os(FAKE_TERMINAL_VARIABLE).is_some();
        self.form.unwrap_or(if person { Form::Pretty } else { Form::Raw })
    }

    /// `redis://[[user:]password@]host[:port][/db]`
    fn uri(&mut self, uri: &str) -> Result<(), Stop> {
        let wrong = || Stop::Wrong("Invalid URI scheme".into());
        let Some(rest) = uri.strip_prefix("redis://").or_else(|| uri.strip_prefix("valkey://")) else {
            return Err(match uri.starts_with("rediss://") {
                true => Stop::Wrong(NOT_HERE[0].1.into()),
                false => wrong(),
            });
        };
        let (place, db) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) =
            place.rsplit_once('@').map_or((None, place), |(login, place)| (Some(login), place));
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or(("", login));
            self.user = (!user.is_empty()).then(|| percent_decoded(user));
            self.password = Some(percent_decoded(password));
        }
        let (host, port) = match place.strip_prefix('[').and_then(|six| six.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        if !host.is_empty() {
            self.host = percent_decoded(host);
        }
        if let Some(port) = port {
            self.port = number(port, "-u")?;
        }
        if !db.is_empty() {
            self.db = number(db, "-u")?;
        }
        Ok(())
    }
}

fn environment_password() -> Result<Option<String>, Stop> {
    if let Some(password) = std::env::var(PASSWORD_VARIABLE).ok().filter(|p| !p.is_empty()) {
        return Ok(Some(password));
    }
    let Some(file) = std::env::var_os(PASSWORD_FILE_VARIABLE) else { return Ok(None) };
    let text = std::fs::read_to_string(&file)
        .map_err(|e| Stop::Wrong(format!("{PASSWORD_FILE_VARIABLE}: cannot read {}: {e}", file.display())))?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn number<T: std::str::FromStr>(text: &str, option: &str) -> Result<T, Stop> {
    text.parse().map_err(|_| Stop::Wrong(format!("{option} needs a number, not '{text}'")))
}

fn unquoted(word: &[u8]) -> Option<Vec<u8>> {
    match split_words(word).as_deref() {
        Some([one]) => Some(one.clone()),
        _ => None,
    }
}

/// RFC 3986, section 2.1; what is no escape stays.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|h| std::str::from_utf8(h).ok())
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, Stop> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let o = parse("-h h -p 7 -n 3 -r 5 -i 0.5 --csv set -p 8").unwrap();
        assert_eq!((o.host.as_str(), o.port, o.db, o.repeat), ("h", 7, 3, 5));
        assert_eq!((o.interval, o.form), (Duration::from_millis(500), Some(Form::Csv)));
        assert_eq!(o.words, [b"set".to_vec(), b"-p".to_vec(), b"8".to_vec()]);
        assert_eq!(parse("--json get a").unwrap().protocol, Some(3));
        assert_eq!(parse("--json -2 get a").unwrap().protocol, Some(2));
        let quoted = Options::parse(&["--quoted-input".into(), "get".into(), "\"a\\x00b\"".into()]).unwrap();
        assert_eq!(quoted.words[1], b"a\x00b");
    }

    #[test]
    fn uris() {
        let o = parse("--no-auth-warning -u redis://u%40x:p%3ap@db.example:7000/2").unwrap();
        assert_eq!((o.user.as_deref(), o.password.as_deref()), (Some("u@x"), Some("p:p")));
        assert_eq!((o.host.as_str(), o.port, o.db), ("db.example", 7000, 2));
        assert_eq!(parse("-u redis://[::1]:9").unwrap().host, "::1");
        for wrong in ["http://x", "rediss://x", "redis://h:port"] {
            assert!(parse(&format!("-u {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let bad = |line| match parse(line) {
            Err(Stop::Wrong(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(bad("--bogus"), "Unrecognized option or bad number of args for: '--bogus'");
        assert_eq!(bad("-n"), "Unrecognized option or bad number of args for: '-n'");
        assert_eq!(bad("-p x"), "Invalid server port.");
        for (option, why) in NOT_HERE {
            assert_eq!(bad(option), *why);
        }
        assert!(matches!(parse("--version"), Err(Stop::Text(t)) if t.starts_with("redis-cli 7.0")));
    }
}
