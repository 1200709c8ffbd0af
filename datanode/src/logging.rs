//! Log output: lines as people know them from Redis, or JSON in a cluster.

use std::sync::OnceLock;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use crate::config::Config;
use crate::config::types::{LogFormat, LogLevel};

/// Changes the level of the installed log output.
type SetLevel = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

fn filter_of(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Verbose | LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    };
    EnvFilter::default().add_directive(level.into())
}

/// Installs the log output that the configuration asks for. Only the first call has an effect.
pub fn init(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter_of(config.loglevel))
        .with_target(false)
        .with_ansi(false);
    let (installed, set_level): (_, SetLevel) = match config.log_format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| drop(handle.reload(filter))))
        }
    };
    // A second call in one process happens only in tests.
    if installed.is_ok() {
        let _ = SET_LEVEL.set(set_level);
    }
}

/// Changes the level at run time.
pub fn set_level(level: LogLevel) {
    if let Some(set) = SET_LEVEL.get() {
        set(filter_of(level));
    }
}
