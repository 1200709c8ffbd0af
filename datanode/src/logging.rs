//! Log output: lines in Redis' form, which people and tools know how to read, or JSON in a cluster; to standard output or
//! a file, and to the system's log.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use jiff::Zoned;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt, prelude::*, registry, reload};

use crate::config::Config;
use crate::config::types::{LogFormat, LogLevel};
use crate::system::syslog::{self, Syslog};

/// Changes the level of the installed log output.
type SetLevel = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

fn filter_of(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    };
    EnvFilter::default().add_directive(level.into())
}

/// What the process is, as the letter that each line has after the process id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Not settled yet, or a tool.
    Child = b'C' as isize,
    /// A master.
    Master = b'M' as isize,
    /// A replica.
    Replica = b'S' as isize,
    /// A sentinel.
    Sentinel = b'X' as isize,
}

static ROLE: AtomicU8 = AtomicU8::new(b'C');

/// Has lines from now on say what the process is.
pub fn set_role(role: Role) {
    ROLE.store(role as u8, Ordering::Relaxed);
}

/// Lines of the form `PID:ROLE DAY MONTH YEAR HH:MM:SS.MMM LEVEL TEXT`, in local time.
struct RedisLines;

/// Redis' sign of a level: `.` debug, `-` verbose, `*` notice, `#` warning.
fn sign(level: Level) -> char {
    match level {
        Level::TRACE => '.',
        Level::DEBUG => '-',
        Level::INFO => '*',
        Level::WARN | Level::ERROR => '#',
    }
}

impl<S, N> FormatEvent<S, N> for RedisLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let role = ROLE.load(Ordering::Relaxed) as char;
        let now = Zoned::now().strftime("%d %b %Y %H:%M:%S%.3f").to_string();
        write!(to, "{}:{role} {now} {} ", std::process::id(), sign(*event.metadata().level()))?;
        ctx.field_format().format_fields(to.by_ref(), event)?;
        to.write_char('\n')
    }
}

/// Writes text that is no message as it is, where lines of text are what the log has.
pub fn plain(config: &Config, text: &str) {
    if config.log_format == LogFormat::Text {
        let file = Output::of(config);
        // A log that can't be written to is not a reason to stop.
        let _ = file.make_writer().write_all(text.as_bytes());
    }
}

/// Where lines go: the file of `logfile`, or standard output.
struct Output(Option<PathBuf>);

impl Output {
    fn of(config: &Config) -> Output {
        Output((!config.logfile.is_empty()).then(|| config.dir.join(&config.logfile)))
    }
}

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
    let lines = fmt::layer().with_target(false).with_ansi(false).with_writer(Output::of(config));
    let lines = match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.event_format(RedisLines).boxed(),
    };
    let system = config.syslog_enabled.then(|| {
        let log = Syslog::new(Path::new(syslog::SOCKET), &config.syslog_ident, config.syslog_facility);
        fmt::layer().without_time().with_level(false).with_target(false).with_ansi(false).with_writer(log)
    });
    // A second call in one process happens only in tests.
    if registry().with(filter).with(lines).with(system).try_init().is_ok() {
        let _ = SET_LEVEL.set(Box::new(move |filter| drop(handle.reload(filter))));
    }
}

/// Says why the process ends before it has begun: in the log, or on standard error where there is no log yet.
pub fn fatal(text: &str) {
    match SET_LEVEL.get() {
        Some(_) => tracing::error!("{text}"),
        None => eprintln!("{text}"),
    }
}

/// Changes the level at run time.
pub fn set_level(level: LogLevel) {
    if let Some(set) = SET_LEVEL.get() {
        set(filter_of(level));
    }
}
