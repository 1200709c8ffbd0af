//! Lua: scripts (<https://redis.io/docs/latest/develop/interact/programmability/eval-intro/>) and libraries of functions
//! (<https://redis.io/docs/latest/develop/interact/programmability/functions-intro/>). Compiled once, run as one unit:
//! what a script changes leaves together, and nothing else happens in between, except that other clients get errors while
//! one runs for too long ([`limits`]).

mod api;
mod bit;
mod cjson;
mod cjson_decode;
mod cmsgpack;
mod convert;
mod engine;
pub mod function;
mod gate;
pub mod limits;
mod raise;
mod random;
pub mod run;
mod shebang;
mod stack;
mod struct_lib;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::rc::Rc;

use mlua::RegistryKey;

use crate::command::{Args, Error};
use engine::{Engine, Kind};
use function::Libraries;
use limits::Running;

pub use shebang::Flags;

/// The name of a script: SHA-1 of its text, as hex digits in lower case. Clients send it so, and it is looked up for every
/// call: nothing has to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 40]);

impl Digest {
    /// The digest of a text.
    pub fn of(text: &[u8]) -> Digest {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bytes = sha1_smol::Sha1::from(text).digest().bytes();
        let digit = |i: usize| bytes[i / 2] >> (4 * (1 - i % 2)) & 0xF;
        Digest(std::array::from_fn(|i| DIGITS[usize::from(digit(i))]))
    }

    /// What a client has sent as a digest, in any case; none if that is no 40 bytes. Other bytes than digits name no script.
    pub fn sent(hex: &[u8]) -> Option<Digest> {
        let digits: &[u8; 40] = hex.try_into().ok()?;
        Some(Digest(digits.map(|b| b.to_ascii_lowercase())))
    }

    /// The digits.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A compiled script.
pub struct Script {
    /// Its digest as text.
    name: Rc<str>,
    function: Rc<RegistryKey>,
    /// Bytes of its text.
    size: usize,
    flags: Flags,
}

/// Everything about scripts that a server keeps.
#[derive(Default)]
pub struct Scripting {
    /// Made when it is first needed.
    engine: Option<Rc<Engine>>,
    scripts: HashMap<Digest, Rc<Script>, foldhash::fast::FixedState>,
    /// Libraries of functions.
    pub libraries: Libraries,
    /// What is being executed.
    pub running: Option<Running>,
    /// Used again by each run.
    scratch: run::Scratch,
}

/// How much memory scripts take, and how many there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// The interpreter of scripts, bytes.
    pub vm_eval: usize,
    /// The interpreter of functions, bytes.
    pub vm_functions: usize,
    /// Texts of scripts, bytes.
    pub scripts: usize,
    /// Texts of libraries, bytes.
    pub functions: usize,
    /// Number of scripts.
    pub cached: usize,
    /// Number of functions.
    pub number_of_functions: usize,
    /// Number of libraries.
    pub number_of_libraries: usize,
}

/// The interpreter could not be made.
pub(crate) fn internal(e: mlua::Error) -> Error {
    Error::err(format_args!("the script engine failed: {e}"))
}

impl Scripting {
    fn eval_engine(&mut self) -> Result<Rc<Engine>, Error> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let engine = Rc::new(Engine::new(Kind::Eval).map_err(internal)?);
        Ok(self.engine.insert(engine).clone())
    }

    /// The script of this digest.
    pub fn script(&self, digest: &Digest) -> Option<Rc<Script>> {
        self.scripts.get(digest).cloned()
    }

    /// What a script or function says of itself that a command is going to run; none where it says nothing, or is not there.
    pub fn declared(&self, command: &str, args: Args<'_>) -> Option<Flags> {
        let flags = match command {
            "eval" => shebang::of_script(args.get(1)?).ok()?.0,
            "evalsha" => self.scripts.get(&Digest::sent(args.get(1)?)?)?.flags,
            "fcall" => self.libraries.function(args.get(1)?)?.flags,
            _ => return None,
        };
        (!flags.any(Flags::COMPATIBLE)).then_some(flags)
    }

    /// Compiles a script, unless it has been before.
    pub fn add(&mut self, digest: Digest, text: &[u8]) -> Result<Rc<Script>, Error> {
        if let Some(script) = self.scripts.get(&digest) {
            return Ok(script.clone());
        }
        let (flags, body) = shebang::of_script(text)?;
        let engine = self.eval_engine()?;
        let function = engine
            .compile(body, "@user_script")
            .map_err(|e| Error::err(format_args!("Error compiling script (new function): {e}")))?;
        let function = Rc::new(engine.lua.create_registry_value(function).map_err(internal)?);
        let script = Rc::new(Script { name: digest.text().into(), function, size: text.len(), flags });
        self.scripts.insert(digest, script.clone());
        Ok(script)
    }

    /// Forgets all scripts, and whatever their interpreter holds.
    pub fn flush(&mut self) {
        self.scripts.clear();
        self.engine = None;
    }

    /// Figures for `INFO` and `MEMORY STATS`.
    pub fn figures(&self) -> Figures {
        let (functions, number_of_functions) = self.libraries.figures();
        Figures {
            vm_eval: self.engine.as_ref().map_or(0, |e| e.memory()),
            vm_functions: self.libraries.engine_memory(),
            scripts: self.scripts.values().map(|s| s.size + size_of::<Script>()).sum(),
            functions,
            cached: self.scripts.len(),
            number_of_functions,
            number_of_libraries: self.libraries.len(),
        }
    }
}
