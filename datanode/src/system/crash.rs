//! `crash-log-enabled`: what a crash leaves in the log.
//!
//! The process crashes by a panic: an error in the program; or somebody ends it by SIGABRT. Memory is never tested
//! (`crash-memcheck-enabled`): the program gets no signal of a broken access that it could answer.

use std::backtrace::Backtrace;
use std::fmt::Display;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::REDIS_VERSION;

static ENABLED: AtomicBool = AtomicBool::new(true);
/// The end of a crash is another signal, and not to be reported again.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Says whether a crash is to be logged in full.
pub fn enable(on: bool) {
    ENABLED.store(on, Ordering::Relaxed);
}

/// Has a crash written to the log, and then end the process by SIGABRT.
pub fn install() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        report(&format!("in thread '{thread}': {panic}"), &Backtrace::force_capture());
        // Nothing goes on with a part of it missing.
        std::process::abort();
    }));
}

/// Writes to the log how the process crashed, and where it was.
pub fn report(how: &str, trace: &dyn Display) {
    if REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    if !ENABLED.load(Ordering::Relaxed) {
        return tracing::error!("Redis {REDIS_VERSION} crashed {how}");
    }
    tracing::error!(
        "\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\nRedis {REDIS_VERSION} crashed {how}\n\n\
         ------ STACK TRACE ------\n{trace}\n=== REDIS BUG REPORT END ==="
    );
}

/// What the kernel has each thread waiting for: where they are, as far as one of them can tell for the others.
pub fn threads() -> String {
    let of = |task: &fs::DirEntry, file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .map(|t| format!("{} ({}): {}\n", of(&t, "comm").trim(), t.file_name().display(), of(&t, "wchan")))
        .collect()
}
