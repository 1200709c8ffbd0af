//! What the kernel is asked for: `oom-score-adj`, `disable-thp`, `server_cpulist` and `bio_cpulist`.

use std::fs::{read_to_string, write};

use rustix::thread::CpuSet;

use crate::config::Config;
use crate::config::types::OomScoreAdj;

const OOM: &str = "/proc/self/oom_score_adj";
const THP: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// Bounds that the kernel sets.
const OOM_RANGE: std::ops::RangeInclusive<i32> = -1000..=1000;

/// How soon the kernel kills this process when memory is short.
#[derive(Debug, Default)]
pub struct OomScore {
    /// What it was before it was changed.
    base: Option<i32>,
    applied: Option<i32>,
}

impl OomScore {
    /// Sets what the configuration says for a master, or a replica. Costs nothing where that is so already.
    pub fn apply(&mut self, config: &Config, replica: bool) -> std::io::Result<()> {
        let value = config.oom_score_adj_values[usize::from(replica)];
        let wanted = match (config.oom_score_adj, self.base) {
            // It is not ours.
            (OomScoreAdj::No, None) => return Ok(()),
            (OomScoreAdj::No, Some(base)) => {
                // Whoever changes it from now on: that is the base next time.
                *self = OomScore::default();
                return write(OOM, base.to_string());
            }
            (OomScoreAdj::Absolute, _) => value,
            (OomScoreAdj::Relative, _) => self.base()? + value,
        };
        let wanted = wanted.clamp(*OOM_RANGE.start(), *OOM_RANGE.end());
        if self.applied == Some(wanted) {
            return Ok(());
        }
        self.base()?;
        // Whether or not it works: it is not tried again until something else is wanted.
        self.applied = Some(wanted);
        write(OOM, wanted.to_string())
    }

    fn base(&mut self) -> std::io::Result<i32> {
        if self.base.is_none() {
            let text = read_to_string(OOM)?;
            self.base = text.trim().parse().ok();
        }
        self.base.ok_or_else(|| std::io::Error::other(format!("{OOM} holds no number")))
    }
}

/// Turns transparent huge pages off for this process where the system uses them unasked.
pub fn disable_huge_pages() {
    let always = read_to_string(THP).is_ok_and(|text| text.contains("[always]"));
    if always && let Err(e) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!("Transparent huge pages could not be disabled: {e}");
    }
}

/// Binds the calling thread, and those it starts from now on, to processors: `0,2-6:2` is 0, 2, 4 and 6. Empty: all.
pub fn run_on(list: &str) -> Result<(), String> {
    if list.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus(list).ok_or_else(|| format!("'{list}' is no list of processors"))? {
        set.set(cpu);
    }
    rustix::thread::sched_setaffinity(None, &set).map_err(|e| format!("processors '{list}': {e}"))
}

/// The processors of a list: numbers and ranges, with a step where one is given.
fn cpus(list: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let step = step.parse().ok().filter(|&s| s > 0)?;
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        found.extend((first..=last).step_by(step));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpus("0,2-6:2"), Some(vec![0, 2, 4, 6]));
        assert_eq!(cpus("3"), Some(vec![3]));
        for wrong in ["", "a", "1-", "3-1", "1:0", "0-1:x", "100000"] {
            assert_eq!(cpus(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_score_that_was_never_changed_is_left_alone() {
        let mut score = OomScore::default();
        score.apply(&Config::default(), false).unwrap();
        assert!(score.base.is_none());
    }
}
