//! `DEBUG` that ends the process: crashes of each kind, and starting it again.

use std::backtrace::Backtrace;

use signal_hook::consts::SIGSEGV;

use crate::command::{Ctx, Result, config};
use crate::io::Action;
use crate::server::start::ShutdownMode;
use crate::system::crash;

/// Longest delay before a restart, milliseconds: longer than any test waits.
const MAX_DELAY_MS: i64 = 3_600_000;

/// `DEBUG SEGFAULT`: ends by that signal, as an access to memory that is not there would.
pub fn segfault() -> Result {
    crash::report("by signal: 11, DEBUG SEGFAULT", &Backtrace::force_capture());
    // If the signal cannot be raised the process ends all the same.
    let _ = signal_hook::low_level::emulate_default_handler(SIGSEGV);
    std::process::abort();
}

/// `DEBUG ASSERT`, `OOM`
pub fn abort(why: &str) -> ! {
    crash::report(&format!("by signal: 6, DEBUG {why}"), &Backtrace::force_capture());
    std::process::abort();
}

fn delay(ctx: &Ctx<'_>) -> Result<u64> {
    if ctx.args.len() < 3 {
        return Ok(0);
    }
    Ok(ctx.int(2)?.clamp(0, MAX_DELAY_MS) as u64)
}

/// `DEBUG RESTART [milliseconds]`: writes the configuration and the data, then starts the program anew. Redis gives no
/// reply to either of these, unless it fails.
pub fn restart(ctx: &mut Ctx<'_>) -> Result {
    let after_ms = delay(ctx)?;
    let failed = "ERR failed to restart the server. Check server logs.";
    if ctx.keys.server.config.extra.config_file.is_some() {
        config::rewrite_file(ctx.keys.server, false).map_err(|_| failed)?;
    }
    ctx.keys.server.finish_files(ctx.io, ShutdownMode::default()).map_err(|e| {
        tracing::error!("DEBUG RESTART: {e}");
        failed
    })?;
    ctx.io.ask(Action::Restart { after_ms });
    Ok(())
}

/// `DEBUG CRASH-AND-RECOVER [milliseconds]`: starts the program anew at once, with what is on disk.
pub fn crash(ctx: &mut Ctx<'_>) -> Result {
    let after_ms = delay(ctx)?;
    ctx.io.ask(Action::Restart { after_ms });
    Ok(())
}
