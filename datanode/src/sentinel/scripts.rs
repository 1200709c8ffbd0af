//! Notification and reconfiguration scripts: run one at a time in the background, bounded in time, retried as Redis
//! does (exit code 1 or a timeout: again later; 2 or more: given up).

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Sentinel;
use crate::io::{Action, Io, JobId};

const POLL: Duration = Duration::from_millis(20);
/// Runs waiting at most; the oldest is given up for a new one.
const MAX_QUEUE: usize = 256;
/// Attempts at most.
const MAX_TRIES: u32 = 10;
/// Stands for a timeout or a signal among exit codes.
const KILLED: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Scripts {
    pub queue: VecDeque<Run>,
    pub running: Option<(JobId, Run)>,
}

/// One call of a script.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub argv: Vec<String>,
    pub tries: u32,
    pub not_before_ms: u64,
}

impl Sentinel {
    pub(super) fn schedule_script(&mut self, io: &mut Io, path: String, args: Vec<String>) {
        if self.scripts.queue.len() >= MAX_QUEUE {
            self.scripts.queue.pop_front();
            tracing::warn!("more than {MAX_QUEUE} scripts are waiting: the oldest one is given up");
        }
        let argv = std::iter::once(path).chain(args).collect();
        self.scripts.queue.push_back(Run { argv, tries: 0, not_before_ms: io.now.mono_ms() });
    }

    /// The script to be told of a master's new address.
    pub(super) fn reconfig_script(
        &mut self,
        io: &mut Io,
        name: &str,
        role: &str,
        from: (&str, u16),
        to: (&str, u16),
    ) {
        if let Some(path) = self.masters.get(name).and_then(|m| m.opt.client_reconfig_script.clone()) {
            let words = [name, role, "start", from.0, &from.1.to_string(), to.0, &to.1.to_string()];
            let args = words.iter().map(|w| (*w).to_owned()).collect();
            self.schedule_script(io, path, args);
        }
    }

    /// Starts the next script that is due.
    pub(super) fn run_scripts(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        if self.scripts.running.is_some() {
            return;
        }
        let due = self.scripts.queue.iter().position(|r| r.not_before_ms <= now);
        let Some(mut run) = due.and_then(|i| self.scripts.queue.remove(i)) else { return };
        run.tries += 1;
        let job = JobId(self.next_id);
        self.next_id += 1;
        let argv = run.argv.clone();
        let (dir, limit) = (self.cfg.dir.clone(), Duration::from_millis(self.timing.script_max_runtime));
        self.scripts.running = Some((job, run));
        io.ask(Action::Run(job, Box::new(move || execute(&argv, &dir, limit))));
    }

    pub(super) fn script_done(&mut self, io: &mut Io, job: JobId, result: std::io::Result<u64>) {
        let Some((_, mut run)) = self.scripts.running.take_if(|(id, _)| *id == job) else { return };
        let what = run.argv.join(" ");
        match result {
            Ok(0) => tracing::debug!("script done: {what}"),
            Ok(code) if (code == 1 || code == KILLED) && run.tries < MAX_TRIES => {
                if code == KILLED {
                    self.tell(io, "-script-timeout", &run.argv[0], None);
                }
                run.not_before_ms = io.now.mono_ms() + (self.timing.script_retry_delay << (run.tries - 1));
                self.scripts.queue.push_back(run);
            }
            Ok(code) => self.tell(io, "-script-error", &format!("{} {code} 0", run.argv[0]), None),
            Err(e) => self.tell(io, "-script-error", &format!("{}: {e}", run.argv[0]), None),
        }
    }
}

/// Runs a script in `dir` to its end or the limit; its exit code.
fn execute(argv: &[String], dir: &Path, limit: Duration) -> std::io::Result<u64> {
    let mut child = Command::new(dir.join(&argv[0]))
        .args(&argv[1..])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().map_or(KILLED, |c| c as u64));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(KILLED);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn exit_codes() {
        let run =
            |s: &str| execute(&["/bin/sh".into(), "-c".into(), s.into()], Path::new("/"), LIMIT).unwrap();
        assert_eq!(run("exit 0"), 0);
        assert_eq!(run("exit 3"), 3);
        assert_eq!(run("kill -9 $$"), KILLED);
        assert!(execute(&["/does/not/exist".into()], Path::new("/"), LIMIT).is_err());
    }
}
