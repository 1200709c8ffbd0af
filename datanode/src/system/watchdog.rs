//! `watchdog-period`: a thread that says in the log what the server is doing when it does not come round in time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, Once};
use std::time::{Duration, Instant};

/// A shorter period would find fault with what is ordinary.
const MIN_PERIOD_MS: u64 = 200;
/// How often the thread looks whether it has been given something to do, and within a period.
const IDLE: Duration = Duration::from_millis(500);
const LOOKS_PER_PERIOD: u32 = 4;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
/// 0: off.
static PERIOD_MS: AtomicU64 = AtomicU64::new(0);
/// Milliseconds since [`STARTED`] at which the server last came round.
static BEAT: AtomicU64 = AtomicU64::new(0);
static COMMAND: Mutex<&str> = Mutex::new("");
static THREAD: Once = Once::new();

fn now_ms() -> u64 {
    STARTED.elapsed().as_millis() as u64
}

/// Sets the period; 0 turns the watchdog off. To be called by the thread that is to be watched.
pub fn set(period_ms: u64) {
    beat();
    PERIOD_MS.store(if period_ms == 0 { 0 } else { period_ms.max(MIN_PERIOD_MS) }, Ordering::Relaxed);
    if period_ms > 0 {
        // Without the thread there is just no watchdog.
        THREAD.call_once(|| drop(std::thread::Builder::new().name("watchdog".into()).spawn(watch)));
    }
}

/// The server has come round.
pub fn beat() {
    BEAT.store(now_ms(), Ordering::Relaxed);
}

/// A command is about to run.
#[inline]
pub fn running(command: &'static str) {
    if PERIOD_MS.load(Ordering::Relaxed) > 0
        && let Ok(mut last) = COMMAND.lock()
    {
        *last = command;
    }
}

/// What the kernel says the main thread is waiting for, if it is waiting.
fn waits_for() -> String {
    std::fs::read_to_string(format!("/proc/self/task/{}/wchan", std::process::id())).unwrap_or_default()
}

fn watch() {
    let mut reported = 0;
    loop {
        let period = PERIOD_MS.load(Ordering::Relaxed);
        if period == 0 {
            std::thread::sleep(IDLE);
            continue;
        }
        std::thread::sleep(Duration::from_millis(period) / LOOKS_PER_PERIOD);
        let (beat, now) = (BEAT.load(Ordering::Relaxed), now_ms());
        // Each stall is told once.
        if now > beat + period && beat != reported {
            reported = beat;
            let command = COMMAND.lock().map_or("", |c| *c);
            tracing::warn!(
                "--- WATCHDOG TIMER EXPIRED --- no sign of the server for {} ms; last command: '{command}', the kernel \
                 has it in '{}'",
                now - beat,
                waits_for()
            );
        }
    }
}
