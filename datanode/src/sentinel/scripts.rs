//! Notification and reconfiguration scripts: run beside the sentinel, some at a time, bounded in time, retried as Redis
//! does (exit code 1 or a signal, such as the one at the limit: again later; 2 or more: given up).
//!
//! Children are started and asked after in background jobs, none of which waits for a script.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::Sentinel;
use super::commands::Call;
use crate::io::{Action, Io, Job, JobId, Lane};

/// Runs waiting at most; the oldest is given up for a new one (as Redis).
const MAX_QUEUE: usize = 256;
/// Runs at the same time (as Redis).
const MAX_RUNNING: usize = 16;
/// Attempts at most (as Redis).
const MAX_TRIES: u32 = 10;
/// Time between two questions whether a script has ended, milliseconds.
const ASK_MS: u64 = 50;
/// What a question is answered with while the script runs: no exit code, and no signal.
const RUNS: u64 = u64::MAX;
/// Signals stand above the exit codes.
const SIGNAL_SHIFT: u32 = 8;

/// Children that run, by the id of their run.
type Children = Arc<Mutex<BTreeMap<u64, Child>>>;

#[derive(Default)]
pub(super) struct Scripts {
    queue: VecDeque<Run>,
    running: Vec<Running>,
    children: Children,
    next_id: u64,
}

/// One call of a script.
#[derive(Debug, Clone)]
struct Run {
    argv: Vec<String>,
    tries: u32,
    not_before_ms: u64,
}

struct Running {
    id: u64,
    run: Run,
    since_ms: u64,
    /// 0 until it is known.
    pid: u64,
    asked_ms: u64,
    /// The job that starts it or asks after it.
    job: Option<JobId>,
    killed: bool,
}

impl Scripts {
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Those that wait and those that run, as Redis counts them.
    pub fn len(&self) -> usize {
        self.queue.len() + self.running.len()
    }

    fn schedule(&mut self, argv: Vec<String>, now: u64) {
        if self.len() >= MAX_QUEUE && self.queue.pop_front().is_some() {
            tracing::warn!("more than {MAX_QUEUE} scripts are waiting: the oldest one is given up");
        }
        self.queue.push_back(Run { argv, tries: 0, not_before_ms: now });
    }
}

impl Sentinel {
    pub(super) fn schedule_script(&mut self, io: &mut Io, path: String, args: Vec<String>) {
        let argv = std::iter::once(path).chain(args).collect();
        self.scripts.schedule(argv, io.now.mono_ms());
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

    /// Starts scripts that are due, asks after those that run, and ends those that run too long.
    pub(super) fn run_scripts(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        while self.scripts.running.len() < MAX_RUNNING {
            let due = self.scripts.queue.iter().position(|r| r.not_before_ms <= now);
            let Some(mut run) = due.and_then(|i| self.scripts.queue.remove(i)) else { break };
            run.tries += 1;
            self.scripts.next_id += 1;
            let (id, argv) = (self.scripts.next_id, run.argv.clone());
            let (children, dir) = (self.scripts.children.clone(), self.cfg.dir.clone());
            let job = self.script_job(io, Box::new(move || start(&children, id, &argv, &dir)));
            self.scripts.running.push(Running {
                id,
                run,
                since_ms: now,
                pid: 0,
                asked_ms: now,
                job: Some(job),
                killed: false,
            });
        }
        let limit = self.timing.script_max_runtime;
        for i in 0..self.scripts.running.len() {
            let r = &mut self.scripts.running[i];
            if r.job.is_some() || now.saturating_sub(r.asked_ms) < ASK_MS {
                continue;
            }
            r.asked_ms = now;
            let late = now.saturating_sub(r.since_ms) > limit;
            let news = late && !std::mem::replace(&mut r.killed, late);
            let (id, told) = (r.id, format!("{} {}", r.run.argv[0], r.pid));
            let children = self.scripts.children.clone();
            let job = self.script_job(io, Box::new(move || ask(&children, id, late)));
            self.scripts.running[i].job = Some(job);
            if news {
                self.tell(io, "-script-timeout", &told, None);
            }
        }
    }

    fn script_job(&mut self, io: &mut Io, job: Job) -> JobId {
        let id = JobId(self.next_id);
        self.next_id += 1;
        io.ask(Action::Run(Lane::Files, id, job));
        id
    }

    pub(super) fn script_done(&mut self, io: &mut Io, job: JobId, result: std::io::Result<u64>) {
        let Some(i) = self.scripts.running.iter().position(|r| r.job == Some(job)) else { return };
        let r = &mut self.scripts.running[i];
        r.job = None;
        let status = match result {
            Ok(pid) if r.pid == 0 => {
                r.pid = pid;
                return;
            }
            Ok(RUNS) => return,
            Ok(status) => status,
            Err(e) => {
                tracing::warn!("{}: {e}", r.run.argv[0]);
                // As a child of Redis ends that cannot become the script.
                2
            }
        };
        let mut run = self.scripts.running.swap_remove(i).run;
        let (signal, code) = (status >> SIGNAL_SHIFT, status & ((1 << SIGNAL_SHIFT) - 1));
        if (signal != 0 || code == 1) && run.tries < MAX_TRIES {
            run.not_before_ms = io.now.mono_ms() + (self.timing.script_retry_delay << (run.tries - 1));
            self.scripts.queue.push_back(run);
        } else if status != 0 {
            self.tell(io, "-script-error", &format!("{} {signal} {code}", run.argv[0]), None);
        }
    }

    /// `SENTINEL PENDING-SCRIPTS`
    pub(super) fn pending_scripts(&mut self, call: &mut Call<'_>, now: u64) {
        let running = self
            .scripts
            .running
            .iter()
            .map(|r| (&r.run, "running", r.pid, "run-time", now.saturating_sub(r.since_ms)));
        let waiting = self
            .scripts
            .queue
            .iter()
            .map(|r| (r, "scheduled", 0, "run-delay", r.not_before_ms.saturating_sub(now)));
        call.reply.array(self.scripts.len());
        for (run, flags, pid, time, ms) in running.chain(waiting) {
            call.reply.map(5);
            call.reply.bulk(b"argv");
            call.reply.array(run.argv.len());
            for a in &run.argv {
                call.reply.bulk(a.as_bytes());
            }
            let figures = [
                ("flags", flags.to_owned()),
                ("pid", pid.to_string()),
                (time, ms.to_string()),
                ("retry-num", run.tries.to_string()),
            ];
            for (key, value) in figures {
                call.reply.bulk(key.as_bytes());
                call.reply.bulk(value.as_bytes());
            }
        }
    }
}

/// Starts a script in `dir`; its process id.
fn start(children: &Children, id: u64, argv: &[String], dir: &Path) -> std::io::Result<u64> {
    let program: PathBuf = dir.join(&argv[0]);
    let child = Command::new(program)
        .args(&argv[1..])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let pid = child.id().into();
    children.lock().unwrap_or_else(PoisonError::into_inner).insert(id, child);
    Ok(pid)
}

/// How a script has ended, or that it runs; `kill`: it is to end now.
fn ask(children: &Children, id: u64, kill: bool) -> std::io::Result<u64> {
    let mut children = children.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(child) = children.get_mut(&id) else { return Err(std::io::ErrorKind::NotFound.into()) };
    let mut ended = child.try_wait()?;
    if kill && ended.is_none() {
        child.kill()?;
        ended = Some(child.wait()?);
    }
    match ended {
        Some(status) => {
            children.remove(&id);
            Ok(in_one(status))
        }
        None => Ok(RUNS),
    }
}

fn in_one(status: ExitStatus) -> u64 {
    let signal = status.signal().unwrap_or(0) as u64;
    (signal << SIGNAL_SHIFT) | status.code().unwrap_or(0) as u64
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const KILLED: u64 = 9 << SIGNAL_SHIFT;

    fn shell(children: &Children, id: u64, script: &str) -> u64 {
        start(children, id, &["/bin/sh".into(), "-c".into(), script.into()], Path::new("/")).unwrap()
    }

    fn outcome(children: &Children, id: u64) -> u64 {
        let begun = Instant::now();
        loop {
            match ask(children, id, false).unwrap() {
                RUNS => assert!(begun.elapsed() < PATIENCE, "it does not end"),
                status => return status,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn how_scripts_end() {
        let children = Children::default();
        for (id, script, status) in [(1, "exit 0", 0), (2, "exit 3", 3), (3, "kill -9 $$", KILLED)] {
            assert!(shell(&children, id, script) > 0);
            assert_eq!(outcome(&children, id), status, "{script}");
        }
        shell(&children, 4, "sleep 600");
        assert_eq!(ask(&children, 4, false).unwrap(), RUNS);
        assert_eq!(ask(&children, 4, true).unwrap(), KILLED);
        assert!(ask(&children, 4, false).is_err(), "nobody is left");
        assert!(start(&children, 5, &["/does/not/exist".into()], Path::new("/")).is_err());
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut s = Scripts::default();
        for n in 0..=MAX_QUEUE {
            s.schedule(vec![n.to_string()], 0);
        }
        assert_eq!((s.len(), s.queue[0].argv[0].as_str()), (MAX_QUEUE, "1"));
    }
}
