//! Scripts that take long. After `busy-reply-threshold` the interpreter's hook lets the driver serve sockets, in the way
//! it always does; the core then refuses what has to wait for the script's end, and learns whether to end it. What the
//! script has changed so far is kept back until it is complete.

use std::time::Instant;

use super::engine::Kind;
use crate::command::{Args, Error, Flags, OwnedArgs, Spec};
use crate::io::{ConnId, Io};
use crate::server::Server;

/// A script or function that is being executed.
pub struct Running {
    /// Whose it is.
    pub conn: ConnId,
    pub(super) kind: Kind,
    pub(super) started: Instant,
    /// It may not write.
    pub read_only: bool,
    pub(super) cross_slot: bool,
    pub(super) checks_memory: bool,
    pub(super) slot: Option<u16>,
    /// It has called a command that writes: it cannot be ended any more.
    pub wrote: bool,
    /// It has taken so long that others are served meanwhile; its command, for those who ask.
    pub busy: Option<OwnedArgs>,
    pub(super) killed: Option<&'static str>,
    /// Its client has gone meanwhile.
    pub client_gone: bool,
}

/// What asked for the end of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killer {
    /// `SCRIPT KILL`
    Script,
    /// `FUNCTION KILL`
    Function,
}

const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
const UNKILLABLE: &str = "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either \
     wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.";

impl Server {
    /// A script is running: whatever happens now happens while it waits.
    pub fn in_script(&self) -> bool {
        self.scripting.running.is_some()
    }

    /// What a command is told that cannot be executed during a script.
    pub fn busy_refusal(&self, spec: &Spec) -> Option<Error> {
        if spec.flags.any(Flags::ALLOW_BUSY) { None } else { self.script_is_busy() }
    }

    /// What is said while a script is running.
    pub fn script_is_busy(&self) -> Option<Error> {
        self.scripting.running.as_ref().map(|r| busy_error(r.kind))
    }

    /// Has the driver serve sockets once while a script waits. A text if the script is to end.
    pub(super) fn serve_during_script(&mut self, io: &mut Io, command: Args<'_>) -> Option<&'static str> {
        let running = self.scripting.running.as_mut()?;
        if running.busy.is_none() {
            let took = running.started.elapsed().as_millis();
            tracing::warn!(
                "Slow script detected: still in execution after {took} milliseconds. You can try killing the script using the SCRIPT KILL or FUNCTION KILL command."
            );
            running.busy = Some(command.to_owned());
        }
        // For the script no time passes.
        let now = io.now;
        if let Some(driver) = io.take_driver() {
            let driver = driver.turn(self, io);
            io.lend_driver(driver);
        }
        io.now = now;
        self.scripting.running.as_ref().and_then(|r| r.killed)
    }

    /// A script has ended: what waited for that goes on.
    pub(super) fn script_ended(&mut self, io: &mut Io, running: &Running) {
        if running.busy.is_none() {
            return;
        }
        if running.client_gone {
            self.forget_client(io, running.conn);
        }
        if self.shutdown.is_some_and(|s| s.done) {
            // Half of a script is nothing to be kept.
            self.effects.clear();
        }
        // What the client has sent meanwhile, and the master.
        self.resume.push(running.conn);
        self.resume.extend(self.repl.link_conn());
    }

    /// Asks the running script to end.
    pub fn kill_script(&mut self, killer: Killer) -> Result<(), Error> {
        let Some(running) = &mut self.scripting.running else {
            return Err("NOTBUSY No scripts in execution right now.".into());
        };
        if (killer == Killer::Script) != (running.kind == Kind::Eval) {
            return Err(busy_error(running.kind));
        }
        if running.wrote {
            return Err(UNKILLABLE.into());
        }
        running.killed = Some("Script killed by user with SCRIPT KILL...");
        Ok(())
    }

    /// The process is about to end: there is nothing left for the script to do.
    pub fn abandon_script(&mut self) {
        if let Some(running) = &mut self.scripting.running {
            running.killed = Some("The server is shutting down.");
        }
    }
}

impl Running {
    /// Milliseconds since it was started.
    pub fn duration_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The name of its interpreter's commands.
    pub fn is_function(&self) -> bool {
        self.kind == Kind::Function
    }
}

fn busy_error(kind: Kind) -> Error {
    match kind {
        Kind::Eval => BUSY_SCRIPT.into(),
        Kind::Function => BUSY_FUNCTION.into(),
    }
}
