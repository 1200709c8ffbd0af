//! What `/metrics` and `/readyz` show of a sentinel, by redis_exporter's names.

use std::fmt::Write;

use super::Sentinel;
use crate::io::Io;

/// Time between two looks, milliseconds.
const PERIOD_MS: u64 = 1000;

impl Sentinel {
    /// Shows the present state to probes and scrapers, once a second.
    pub(super) fn publish_figures(&mut self, io: &Io) {
        let Some(board) = &self.metrics else { return };
        let now = io.now.mono_ms();
        if now < self.published_ms + PERIOD_MS {
            return;
        }
        self.published_ms = now;
        let mut text = String::from("# TYPE redis_up gauge\nredis_up 1\n");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# TYPE redis_sentinel_masters gauge\nredis_sentinel_masters {}",
            self.masters.len()
        );
        let _ =
            writeln!(text, "# TYPE redis_sentinel_tilt gauge\nredis_sentinel_tilt {}", u8::from(self.tilt()));
        let _ = writeln!(
            text,
            "# TYPE redis_commands_processed_total counter\nredis_commands_processed_total {}",
            self.front.stats.commands_processed
        );
        let _ = writeln!(
            text,
            "# TYPE redis_connections_received_total counter\nredis_connections_received_total {}",
            self.front.stats.connections_received
        );
        if !self.masters.is_empty() {
            text.push_str("# TYPE redis_sentinel_master_ok_sentinels gauge\n");
        }
        for (name, master) in &self.masters {
            let ok = self.usable_sentinels(master);
            let _ = writeln!(text, "redis_sentinel_master_ok_sentinels{{master_name=\"{name}\"}} {ok}");
        }
        // A sentinel is of use as soon as it answers: what it does not know yet it learns from the others.
        board.publish(Ok(()), text);
    }
}
