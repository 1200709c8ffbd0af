//! `crash-log-enabled`: what a crash leaves in the log.
//!
//! The process crashes by a panic: an error in the program. Memory is never tested (`crash-memcheck-enabled`): the
//! program gets no signal of a broken access that it could answer.

use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::REDIS_VERSION;

static ENABLED: AtomicBool = AtomicBool::new(true);

/// Says whether a crash is to be logged in full.
pub fn enable(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Has a crash written to the log, and then end the process by SIGABRT.
pub fn install() {
    std::panic::set_hook(Box::new(|panic| {
        if !ENABLED.load(Ordering::Relaxed) {
            tracing::error!("{panic}");
            std::process::abort();
        }
        let trace = Backtrace::force_capture();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(
            "=== REDIS BUG REPORT START ===\nRedis {REDIS_VERSION} crashed in thread '{thread}': {panic}\n{trace}\n\
             === REDIS BUG REPORT END ==="
        );
        // Nothing goes on with a part of it missing.
        std::process::abort();
    }));
}
