//! Log output: lines as people know them from Redis, or JSON in a cluster.

use tracing_subscriber::filter::LevelFilter;

use crate::config::Config;
use crate::config::types::{LogFormat, LogLevel};

/// Installs the log output that the configuration asks for. Only the first call has an effect.
pub fn init(config: &Config) {
    let level = match config.loglevel {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Verbose | LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false);
    // A second call in one process happens only in tests.
    let _ = match config.log_format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
