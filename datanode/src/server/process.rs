//! What the kernel says about this process and machine. Read from `/proc`; neutral values where it says nothing.

use std::fs::read_to_string;

/// Ticks per second of the times in `/proc/…/stat`: the same on all of Linux' architectures.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page of `/proc/self/statm`.
const PAGE: u64 = 4096;

/// Seconds of processor time.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTimes {
    /// In the kernel.
    pub system: f64,
    /// In the process.
    pub user: f64,
    /// In the kernel, the main thread only.
    pub main_system: f64,
    /// In the process, the main thread only.
    pub main_user: f64,
}

/// Name, release and architecture of the system.
pub fn system() -> String {
    let read = |name: &str| read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    format!("{} {} {}", read("ostype").trim(), read("osrelease").trim(), std::env::consts::ARCH)
}

/// Bytes of memory of the machine.
pub fn total_memory() -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Bytes of this process in physical memory.
pub fn resident() -> u64 {
    let text = read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

/// Processor time used so far.
pub fn cpu_times() -> CpuTimes {
    let (user, system) = times("/proc/self/stat");
    let (main_user, main_system) = times(&format!("/proc/self/task/{}/stat", std::process::id()));
    CpuTimes { system, user, main_system, main_user }
}

/// User and system time, seconds: fields 14 and 15; the name before them may hold blanks and brackets.
fn times(path: &str) -> (f64, f64) {
    let text = read_to_string(path).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = fields.split_whitespace().skip(11).map(|f| f.parse::<f64>().unwrap_or(0.0));
    let mut next = || fields.next().unwrap_or(0.0) / TICKS_PER_SECOND;
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        assert!(system().starts_with("Linux "));
        assert!(resident() > 100_000 && resident() < total_memory());
        // On a busy machine it may take a while until a tick of processor time has been had.
        let (before, mut x) = (cpu_times(), 1u64);
        let started = std::time::Instant::now();
        let used = || cpu_times().user + cpu_times().system > before.user + before.system;
        while !used() {
            assert!(started.elapsed().as_secs() < 60, "no processor time is counted");
            (0..1_000_000).for_each(|_| x = std::hint::black_box(x.wrapping_mul(3)));
        }
    }
}
