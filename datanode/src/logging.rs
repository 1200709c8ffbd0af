//! Log output: lines as people know them from Redis, or JSON in a cluster; to standard output or a file, and to the
//! system's log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{Layer, fmt, prelude::*, registry, reload};

use crate::config::Config;
use crate::config::types::{LogFormat, LogLevel};
use crate::system::syslog::{self, Syslog};

/// Changes the level of the installed log output.
type SetLevel = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();
/// Set where the log does not go to standard output alone.
static ELSEWHERE: OnceLock<()> = OnceLock::new();

fn filter_of(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Verbose | LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    };
    EnvFilter::default().add_directive(level.into())
}

/// Where lines go: the file of `logfile`, or standard output.
struct Output(Option<PathBuf>);

impl<'a> MakeWriter<'a> for Output {
    type Writer = Box<dyn Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        // Opened for each line, so that the file may be moved away at any time.
        match &self.0 {
            None => Box::new(std::io::stdout()),
            Some(path) => match File::options().append(true).create(true).open(path) {
                Ok(file) => Box::new(file),
                Err(_) => Box::new(std::io::stderr()),
            },
        }
    }
}

/// Installs the log output that the configuration asks for. Only the first call has an effect.
pub fn init(config: &Config) {
    let (filter, handle) = reload::Layer::new(filter_of(config.loglevel));
    let file = (!config.logfile.is_empty()).then(|| config.dir.join(&config.logfile));
    let lines = fmt::layer().with_target(false).with_ansi(false).with_writer(Output(file));
    let lines = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    if !config.logfile.is_empty() || config.syslog_enabled {
        let _ = ELSEWHERE.set(());
    }
    let system = config.syslog_enabled.then(|| {
        let log = Syslog::new(Path::new(syslog::SOCKET), &config.syslog_ident, config.syslog_facility);
        fmt::layer().without_time().with_level(false).with_target(false).with_ansi(false).with_writer(log)
    });
    // A second call in one process happens only in tests.
    if registry().with(filter).with(lines).with(system).try_init().is_ok() {
        let _ = SET_LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
    }
}

/// Says why the process ends before it has begun: on standard error, and in the log where that goes elsewhere.
pub fn fatal(text: &str) {
    eprintln!("{text}");
    if ELSEWHERE.get().is_some() {
        tracing::error!("{text}");
    }
}

/// Changes the level at run time.
pub fn set_level(level: LogLevel) {
    if let Some(set) = SET_LEVEL.get() {
        set(filter_of(level));
    }
}
