//! Reading files, standard input and the command line.

use std::path::{Path, PathBuf};

use super::value::quote;
use super::{Config, Directive, REDIS_VERSION, SentinelLine, find};
use crate::disk::{self, Disk};
use crate::glob::glob_match;
use crate::resp::parse::split_words;

/// Port of a sentinel where none is configured.
const SENTINEL_PORT: u16 = 26379;
/// How deep files may include each other.
const MAX_INCLUDE_DEPTH: usize = 16;
/// Directives of older versions that mean nothing any more.
const DROPPED: [&str; 3] = ["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];
const NO_MODULES: &str = "Modules are not supported by this server";

/// What the process is started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A data server.
    Server,
    /// A sentinel: `sentinel` lines are kept, other defaults hold.
    Sentinel,
}

/// Where a configuration comes from.
pub struct Source<'a> {
    /// What the process is started as.
    pub mode: Mode,
    /// Arguments behind the program's name.
    pub args: &'a [String],
    /// Where files are read.
    pub disk: &'a dyn Disk,
    /// Directory that relative paths count from, absolute.
    pub cwd: &'a Path,
    /// Reads standard input, asked only where an argument is `-`.
    pub stdin: &'a dyn Fn() -> std::io::Result<Vec<u8>>,
    /// Whether there is a command of this name, for `rename-command`.
    pub is_command: &'a dyn Fn(&str) -> bool,
}

/// Why a configuration could not be loaded. Its text is Redis', to be written to standard error before exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong.
    Line {
        /// Line number, from 1, command-line arguments counted behind the file's.
        number: usize,
        /// The line.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The whole is wrong.
    Whole(String),
    /// A file cannot be read.
    File {
        /// Its path as it was given.
        path: String,
        /// What the system says.
        reason: String,
    },
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header = format_args!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***").to_string();
        match self {
            LoadError::Line { number, text, reason } => write!(
                f,
                "{header}\nReading the configuration file, at line {number}\n>>> '{text}'\n{reason}"
            ),
            LoadError::Whole(reason) => write!(f, "{header}\n{reason}"),
            LoadError::File { path, reason } => {
                write!(f, "Fatal error, can't open config file '{path}': {reason}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl Mode {
    /// As the program's name and its arguments say.
    pub fn of(program: &str, args: &[String]) -> Mode {
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
        let sentinel = name.contains("redis-sentinel") || args.iter().any(|a| a == "--sentinel");
        if sentinel { Mode::Sentinel } else { Mode::Server }
    }
}

impl Config {
    /// Reads the configuration as `redis-server ARGS` does: a first argument without dashes is the file, `-` is
    /// standard input, `--directive value …` counts as lines behind them; the last word on a directive holds.
    pub fn load(source: &Source<'_>) -> Result<Config, LoadError> {
        let mut config = Config { dir: source.cwd.into(), ..Config::default() };
        if source.mode == Mode::Sentinel {
            config.port = SENTINEL_PORT;
            config.extra.of_sentinel = true;
            config.protected_mode = false;
        }
        let line = CommandLine::parse(source.args);
        let mut text = Vec::new();
        if let Some(file) = line.file {
            let path = source.cwd.join(file);
            text.extend(read(source.disk, &path, &path.to_string_lossy())?);
            config.extra.config_file = Some(path);
        }
        if line.stdin {
            let input =
                (source.stdin)().map_err(|e| LoadError::File { path: "-".into(), reason: os_text(&e) })?;
            text.extend(input);
        }
        text.push(b'\n');
        text.extend(line.options.into_bytes());
        let mut loader = Loader { source, config, save_seen: false };
        loader.lines(&text, 0)?;
        loader.finish()
    }
}

/// The command line taken apart.
#[derive(Debug, PartialEq, Eq)]
struct CommandLine<'a> {
    file: Option<&'a str>,
    stdin: bool,
    /// `--directive value …` as lines of a file.
    options: String,
}

impl<'a> CommandLine<'a> {
    fn parse(args: &'a [String]) -> Self {
        let file = args.first().filter(|a| !a.starts_with('-')).map(String::as_str);
        let from = usize::from(file.is_some());
        let mut stdin = false;
        let mut options = String::new();
        // Right behind a directive's name a word is its value even if it begins with dashes.
        let mut value_due = false;
        for (i, arg) in args.iter().enumerate().skip(from) {
            let last = i + 1 == args.len();
            if arg == "-" && (i == 0 || last) {
                stdin = true;
            } else if let Some(name) = arg.strip_prefix("--").filter(|_| !value_due) {
                if !options.is_empty() {
                    options.push('\n');
                }
                options.push_str(name);
                options.push(' ');
                let alone = split_words(arg.as_bytes()).is_some_and(|words| words.len() == 1);
                // These two may stand without a value, as scripts have long written them.
                let bare = last || args[i + 1].starts_with("--");
                let empty_save = alone && bare && name.trim_end().eq_ignore_ascii_case("save");
                if empty_save {
                    options.push_str("\"\"");
                }
                let empty_sentinel = bare && name.trim_end().eq_ignore_ascii_case("sentinel");
                value_due = alone && !empty_save && !empty_sentinel;
            } else {
                options.push_str(&quote(arg));
                options.push(' ');
                value_due = false;
            }
        }
        CommandLine { file, stdin, options }
    }
}

/// A configuration being read.
struct Loader<'a> {
    source: &'a Source<'a>,
    config: Config,
    /// A `save` line was seen: the first one replaces the defaults, others add to it.
    save_seen: bool,
}

impl Loader<'_> {
    fn lines(&mut self, text: &[u8], depth: usize) -> Result<(), LoadError> {
        for (i, line) in text.split(|&b| b == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            self.line(line, i + 1, depth).map_err(|problem| match problem {
                Problem::Here(reason) => {
                    let text = String::from_utf8_lossy(line).into_owned();
                    LoadError::Line { number: i + 1, text, reason }
                }
                Problem::Elsewhere(error) => error,
            })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], number: usize, depth: usize) -> Result<(), Problem> {
        let words = split_words(line).ok_or("Unbalanced quotes in configuration line")?;
        if let [name, user @ ..] = words.as_slice()
            && name.eq_ignore_ascii_case(b"user")
            && !user.is_empty()
        {
            let users = &mut self.config.extra.users;
            crate::acl::file::check_line(user, users)?;
            users.push(user.to_vec());
            return Ok(());
        }
        let words: Vec<String> = words
            .into_iter()
            .map(|w| String::from_utf8(w).map_err(|_| "Configuration line is not UTF-8 text"))
            .collect::<Result<_, _>>()?;
        let Some((name, values)) = words.split_first() else { return Ok(()) };
        let name = name.to_ascii_lowercase();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if let Some(directive) = find(&name) {
            if depth > 0 {
                self.config.extra.included.insert(directive.name);
            }
            return Ok(self.directive(directive, &values)?);
        }
        match (name.as_str(), values.as_slice()) {
            (name, [_]) if DROPPED.contains(&name) => {}
            ("include", [path]) => self.include(path, depth)?,
            ("rename-command", [from, to]) => self.rename_command(from, to)?,
            ("loadmodule", [_, ..]) => return Err(NO_MODULES.into()),
            // The mode was chosen before.
            ("sentinel", []) => {}
            ("sentinel", _) if self.source.mode == Mode::Server => {
                return Err("sentinel directive while not in sentinel mode".into());
            }
            ("sentinel", _) => {
                let text = String::from_utf8_lossy(line).into_owned();
                let words = words[1..].to_vec();
                self.config.extra.sentinel.push(SentinelLine { number, text, words });
            }
            (name, values) if name.contains('.') => {
                return Err(match values {
                    [_] => NO_MODULES.into(),
                    _ => "Module config specified without value".into(),
                });
            }
            _ => return Err("Bad directive or wrong number of arguments".into()),
        }
        Ok(())
    }

    fn directive(&mut self, directive: &Directive, words: &[&str]) -> Result<(), String> {
        // One quoted word may hold the whole list.
        let inner = match words {
            [word] if directive.flags.list && !word.is_empty() => split_words(word.as_bytes()),
            _ => None,
        };
        let inner: Vec<_> = inner.iter().flatten().map(|w| String::from_utf8_lossy(w)).collect();
        let split: Vec<&str> = inner.iter().map(|w| &**w).collect();
        let words = if split.is_empty() { words } else { &split };
        let keep =
            if directive.name == "save" && std::mem::replace(&mut self.save_seen, true) && words != [""] {
                std::mem::take(&mut self.config.save)
            } else {
                Vec::new()
            };
        directive.assign(&mut self.config, words, self.source.disk)?;
        self.config.save.splice(0..0, keep);
        Ok(())
    }

    fn include(&mut self, pattern: &str, depth: usize) -> Result<(), Problem> {
        if depth == MAX_INCLUDE_DEPTH {
            return Err("Files include each other too deep".into());
        }
        let disk = self.source.disk;
        let path = self.config.dir.join(pattern);
        let mut text = Vec::new();
        if is_pattern(pattern) {
            for found in expand(disk, &path) {
                text.extend(read(disk, &found, &found.to_string_lossy())?);
            }
        } else {
            text = read(disk, &path, pattern)?;
        }
        Ok(self.lines(&text, depth + 1)?)
    }

    fn rename_command(&mut self, from: &str, to: &str) -> Result<(), String> {
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        let renames = &mut self.config.extra.rename_commands;
        // The latest line that mentions a name says whether it stands for a command.
        let exists = |renames: &[(String, String)], name: &str| {
            let mention = renames.iter().rev().find(|(from, to)| from == name || to == name);
            mention.map_or_else(|| (self.source.is_command)(name), |(_, to)| to == name)
        };
        if !exists(renames, &from) {
            return Err("No such command in rename-command".into());
        }
        if !to.is_empty() && to != from && exists(renames, &to) {
            return Err("Target command name already exists".into());
        }
        renames.push((from, to));
        Ok(())
    }

    /// What holds only once everything is known.
    fn finish(mut self) -> Result<Config, LoadError> {
        let config = &mut self.config;
        let refuse = |reason: &str| Err(LoadError::Whole(reason.into()));
        if config.cluster_enabled && config.replicaof.is_some() {
            return refuse("replicaof directive not allowed in cluster mode");
        }
        if config.managed && config.replicaof.is_some() {
            return refuse("replicaof directive not allowed in managed mode");
        }
        if let Some((_, reason)) = super::refuse::contradiction(config) {
            return refuse(reason);
        }
        if !config.logfile.is_empty() {
            let opened = self.source.disk.open_append(&config.dir.join(&config.logfile));
            if let Err(e) = opened {
                return refuse(&format!("Can't open the log file: {}", os_text(&e)));
            }
        }
        config.reload_password(self.source.disk).map_err(LoadError::Whole)?;
        Ok(self.config)
    }
}

/// What is wrong with a line, or with a file it includes.
enum Problem {
    Here(String),
    Elsewhere(LoadError),
}

impl From<&str> for Problem {
    fn from(reason: &str) -> Self {
        Problem::Here(reason.into())
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Problem::Here(reason)
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        Problem::Elsewhere(error)
    }
}

fn read(disk: &dyn Disk, path: &Path, given: &str) -> Result<Vec<u8>, LoadError> {
    disk::read(disk, path).map_err(|e| LoadError::File { path: given.into(), reason: os_text(&e) })
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The paths that match a pattern, in order, as a shell expands it: names that begin with a dot only where the pattern
/// does. What cannot be listed matches nothing.
fn expand(disk: &dyn Disk, pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().to_string_lossy();
        found = found
            .into_iter()
            .flat_map(|base| {
                if !is_pattern(&part) {
                    return vec![base.join(&*part)];
                }
                let matches = |name: &String| {
                    name.starts_with('.') == part.starts_with('.')
                        && glob_match(part.as_bytes(), name.as_bytes(), false)
                };
                let names = disk.list(&base).unwrap_or_default();
                names.into_iter().filter(matches).map(|name| base.join(name)).collect()
            })
            .collect();
    }
    found.retain(|path| disk.len(path).is_ok());
    found.sort();
    found
}

/// What the system says about an error, without Rust's addition of the number.
pub(crate) fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].into(),
        None => text,
    }
}
