//! The sentinel's times, and `SENTINEL DEBUG`, by which tests change them while it runs.

use super::Sentinel;
use super::answers::MANAGED;
use super::commands::Call;
use super::config::{DEFAULT_DOWN_AFTER_MS, DEFAULT_FAILOVER_TIMEOUT_MS};

/// Times in milliseconds, with Redis' defaults.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    /// Between INFOs to an instance while nothing is wrong.
    pub info_period: u64,
    /// Longest between pings.
    pub ping_period: u64,
    /// Between questions to other sentinels about a master that is down.
    pub ask_period: u64,
    /// Between hello messages.
    pub publish_period: u64,
    /// Of masters that are monitored from now on.
    pub default_down_after: u64,
    /// Of masters that are monitored from now on.
    pub default_failover_timeout: u64,
    /// A pause of this sentinel's own timer after which it trusts nothing.
    pub tilt_trigger: u64,
    /// For how long.
    pub tilt_period: u64,
    /// After which a replica that was told of its new master is given up.
    pub replica_reconf_timeout: u64,
    /// A link younger than this is not suspected.
    pub min_link_reconnect: u64,
    /// Longest that votes are waited for.
    pub election_timeout: u64,
    /// Longest run of a script.
    pub script_max_runtime: u64,
    /// Wait before a script's second attempt, doubled with each further one.
    pub script_retry_delay: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            info_period: 10_000,
            ping_period: 1000,
            ask_period: 1000,
            publish_period: 2000,
            default_down_after: DEFAULT_DOWN_AFTER_MS,
            default_failover_timeout: DEFAULT_FAILOVER_TIMEOUT_MS,
            tilt_trigger: 2000,
            tilt_period: 30_000,
            replica_reconf_timeout: 10_000,
            min_link_reconnect: 15_000,
            election_timeout: 10_000,
            script_max_runtime: 60_000,
            script_retry_delay: 30_000,
        }
    }
}

impl Timing {
    /// All of them by Redis' names, in its order.
    fn named(&mut self) -> [(&'static str, &mut u64); 13] {
        [
            ("INFO-PERIOD", &mut self.info_period),
            ("PING-PERIOD", &mut self.ping_period),
            ("ASK-PERIOD", &mut self.ask_period),
            ("PUBLISH-PERIOD", &mut self.publish_period),
            ("DEFAULT-DOWN-AFTER", &mut self.default_down_after),
            ("DEFAULT-FAILOVER-TIMEOUT", &mut self.default_failover_timeout),
            ("TILT-TRIGGER", &mut self.tilt_trigger),
            ("TILT-PERIOD", &mut self.tilt_period),
            ("SLAVE-RECONF-TIMEOUT", &mut self.replica_reconf_timeout),
            ("MIN-LINK-RECONNECT-PERIOD", &mut self.min_link_reconnect),
            ("ELECTION-TIMEOUT", &mut self.election_timeout),
            ("SCRIPT-MAX-RUNTIME", &mut self.script_max_runtime),
            ("SCRIPT-RETRY-DELAY", &mut self.script_retry_delay),
        ]
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let found = self.named().into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, place) = found.ok_or_else(|| unknown(name))?;
        let positive = value.parse().ok().filter(|&ms| ms > 0);
        *place = positive.ok_or_else(|| format!("Invalid argument '{value}' for SENTINEL DEBUG '{name}'"))?;
        Ok(())
    }
}

fn unknown(name: &str) -> String {
    format!("Unknown option or number of arguments for SENTINEL DEBUG '{name}'")
}

impl Sentinel {
    /// `SENTINEL DEBUG [parameter milliseconds …]`: all of them or none.
    pub(super) fn debug_command(&mut self, call: &mut Call<'_>) {
        let mut timing = self.timing.clone();
        if call.args.len() == 2 {
            call.reply.map(timing.named().len());
            for (name, ms) in timing.named() {
                call.reply.bulk(name.as_bytes());
                call.reply.bulk(ms.to_string().as_bytes());
            }
            return;
        }
        if self.managed.is_some() {
            return call.reply.error(MANAGED);
        }
        for i in (2..call.args.len()).step_by(2) {
            let name = call.word(i);
            let outcome = match call.args.get(i + 1) {
                Some(value) => timing.set(&name, &String::from_utf8_lossy(value)),
                None => Err(unknown(&name)),
            };
            if let Err(text) = outcome {
                return call.reply.error(&format!("ERR {text}"));
            }
        }
        self.timing = timing;
        call.reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_by_their_names_and_stay_positive() {
        let mut t = Timing::default();
        t.set("info-period", "5").unwrap();
        t.set("Tilt-Period", "6").unwrap();
        assert_eq!((t.info_period, t.tilt_period), (5, 6));
        for (name, value, text) in [
            ("ping-period", "0", "Invalid argument '0'"),
            ("ping-period", "-1", "'-1'"),
            ("x", "1", "Unknown option"),
        ] {
            assert!(t.set(name, value).unwrap_err().contains(text), "{name} {value}");
        }
        assert_eq!(t.ping_period, Timing::default().ping_period);
    }
}
