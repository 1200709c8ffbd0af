//! An interpreter with the world that scripts live in: what Redis 7 leaves of Lua 5.1, its libraries, and read-only
//! globals. There is one for `EVAL` and one for functions; they share nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{
    ChunkMode, Error, Function, HookTriggers, Lua, LuaOptions, RegistryKey, Result, StdLib,
    String as LuaString, Table, Value, VmState,
};

use super::gate::Gate;
use super::raise::{Raised, to_number};
use super::random::Random;
use super::run::Caller;
use super::stack::Stack;
use super::{bit, cjson, cmsgpack, struct_lib};

/// Instructions between looks at the clock.
const HOOK_INSTRUCTIONS: u32 = 100_000;
/// The collector begins anew when memory is so many percent of what was in use when it last ended, …
const COLLECT_AT: i32 = 130;
/// … and works so many percent as fast as memory is taken. It takes 3 to 5 % more time than with Lua's own 200 and 200, which
/// let an interpreter grow to twice of what is in use, and more while it collects.
const COLLECT_SPEED: i32 = 400;
/// The name under which the prelude's functions stand on the stack.
const PRELUDE: &str = "=(sandbox)";
/// What stands there for a function that was left by a tail call.
const TAIL_CALL: &str = "=(tail call)";

/// Where effects go: `redis.set_repl`.
pub const REPL_AOF: u8 = 1;
/// To replicas.
pub const REPL_REPLICA: u8 = 2;
/// To both.
pub const REPL_ALL: u8 = REPL_AOF | REPL_REPLICA;

/// An error that nothing in the script caught.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// Its text, code first.
    pub text: String,
    /// Chunk and line where it was raised.
    pub at: Option<(String, i64)>,
    /// The statistics of errors have it already.
    pub counted: bool,
}

/// What the interpreter's own functions, which outlive a run, know of the present one.
pub struct Shared {
    /// RESP version of replies to the script: `redis.setresp`.
    pub proto: Cell<u8>,
    /// `redis.set_repl`
    pub repl: Cell<u8>,
    /// When other clients are to be served meanwhile.
    pub patience: Cell<Option<Instant>>,
    /// Where `math.random` takes its numbers from.
    pub random: Cell<Random>,
    /// A library may be loaded no longer than until then.
    pub load_until: Cell<Option<Instant>>,
    /// What ended the script.
    pub failure: RefCell<Option<Failure>>,
    /// Through which functions reach the script that is being run.
    pub gate: Gate,
    /// What a function that has been called through the gate is about to raise.
    pub raised: RefCell<Option<Raised>>,
}

/// Which scripts an interpreter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `EVAL` and its kin.
    Eval,
    /// Functions.
    Function,
}

/// An interpreter.
pub struct Engine {
    /// The interpreter.
    pub lua: Lua,
    /// What it was made for.
    pub kind: Kind,
    /// Shared with its functions.
    pub shared: Rc<Shared>,
    /// The stack of its main thread, on which programs are run.
    pub stack: RefCell<Stack>,
    world: Table,
    globals: RegistryKey,
    enter: Function,
    xpcall: Function,
    handler: RegistryKey,
}

impl Engine {
    /// A new interpreter. Errors are those of memory.
    pub fn new(kind: Kind) -> Result<Engine> {
        let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::default())?;
        lua.gc_set_pause(COLLECT_AT);
        lua.gc_set_step_multiplier(COLLECT_SPEED);
        let shared = Rc::new(Shared {
            proto: Cell::new(2),
            repl: Cell::new(REPL_ALL),
            patience: Cell::new(None),
            random: Cell::default(),
            load_until: Cell::new(None),
            failure: RefCell::default(),
            gate: Gate::default(),
            raised: RefCell::default(),
        });
        let api = super::api::table(&lua, kind, &shared)?;
        let libraries = lua.create_table()?;
        libraries.set("redis", api)?;
        libraries.set("cjson", cjson::table(&lua)?)?;
        libraries.set("cmsgpack", cmsgpack::table(&lua)?)?;
        libraries.set("struct", struct_lib::table(&lua)?)?;
        libraries.set("bit", bit::table(&lua)?)?;
        let expose = lua.create_function(expose)?;
        let exposed_table = lua.create_function(exposed_table)?;
        let compile = lua.create_function(compile)?;
        let native = lua.globals();
        super::random::replace(&lua, &native.get("math")?, &shared)?;
        let xpcall: Function = native.get("xpcall")?;
        let prelude = lua.load(include_str!("prelude.lua")).set_name(PRELUDE).into_function()?;
        let with_keys = kind == Kind::Eval;
        let (world, globals, enter): (Table, Table, Function) =
            prelude.call((native, libraries, expose, exposed_table, compile, with_keys))?;
        let s = shared.clone();
        let handler = lua.create_function(move |lua, error: Value| {
            s.failure.replace(Some(failure(lua, error)));
            Ok(())
        })?;
        let s = shared.clone();
        let triggers = HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS);
        lua.set_global_hook(triggers, move |_, _| s.on_hook())?;
        let (globals, handler) = (lua.create_registry_value(globals)?, lua.create_registry_value(handler)?);
        let stack = RefCell::new(main_stack(&lua)?);
        Ok(Engine { lua, kind, shared, stack, world, globals, enter, xpcall, handler })
    }

    /// Compiles a chunk that lives in the world of scripts. The error is the text.
    pub fn compile(&self, text: &[u8], name: &str) -> std::result::Result<Function, String> {
        let chunk = self.lua.load(text).set_name(name).set_mode(ChunkMode::Text);
        chunk.set_environment(self.world.clone()).into_function().map_err(|e| syntax_text(&e))
    }

    /// Runs a function with its arguments, `KEYS` and `ARGV`; other functions reach `caller` meanwhile. Its result is on top
    /// of the stack then. `None`: [`Shared::failure`] has what was raised.
    pub fn run<'a>(
        &self,
        stack: &mut Stack,
        function: &RegistryKey,
        caller: &mut Caller<'_, '_>,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        argv: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Option<()> {
        self.shared.failure.take();
        stack.push_kept(&self.handler);
        let handler = stack.top();
        if self.kind == Kind::Eval {
            stack.push_kept(&self.globals);
            let globals = stack.top();
            stack.push_text(b"KEYS");
            stack.push_texts(keys);
            stack.set(globals);
            stack.push_text(b"ARGV");
            stack.push_texts(argv);
            stack.set(globals);
            stack.push_kept(function);
        } else {
            stack.push_kept(function);
            stack.push_texts(keys);
            stack.push_texts(argv);
        }
        let arguments = if self.kind == Kind::Eval { 0 } else { 2 };
        self.shared.gate.lend(caller, || stack.call(arguments, handler)).then_some(())
    }

    /// Runs a library's chunk in the world that has only `api`, no longer than `limit`.
    pub fn load(&self, chunk: &Function, api: Table, limit: Duration) -> std::result::Result<(), String> {
        let run = || -> Result<bool> {
            self.shared.failure.take();
            self.enter.call::<()>(api)?;
            self.shared.load_until.set(Some(Instant::now() + limit));
            let handler: Function = self.lua.registry_value(&self.handler)?;
            let (done, _): (bool, Value) = self.xpcall.call((chunk, handler))?;
            Ok(done)
        };
        let outcome = run();
        self.shared.load_until.set(None);
        let left = self.enter.call::<()>(Value::Nil);
        match (outcome, left) {
            (Ok(true), Ok(())) => Ok(()),
            (Ok(false), Ok(())) => Err(self.shared.failure.take().unwrap_or_default().text),
            (Err(e), _) | (_, Err(e)) => Err(Raised::of(&e).to_string()),
        }
    }

    /// Bytes that the interpreter holds.
    pub fn memory(&self) -> usize {
        self.lua.used_memory()
    }
}

/// The stack of an interpreter's main thread.
#[allow(unsafe_code)]
fn main_stack(lua: &Lua) -> Result<Stack> {
    let mut main = std::ptr::null_mut();
    // SAFETY: nothing is done with the stack. Nothing else is running, so the state is that of the main thread, which is
    // there as long as the interpreter: its owner, the engine, has both. There is one such stack for each engine, and the
    // engine has set no limit of memory.
    unsafe {
        lua.exec_raw::<()>((), |state| main = state)?;
        Ok(Stack::of(main))
    }
}

impl Shared {
    /// Every so many instructions: has other clients served when the script has taken long, and ends it if they say so.
    fn on_hook(&self) -> Result<VmState> {
        let now = Instant::now();
        if self.load_until.get().is_some_and(|until| now > until) {
            return Err(Raised::Killed("FUNCTION LOAD timeout").into());
        }
        if self.patience.get().is_some_and(|until| now >= until) {
            self.gate.with(|caller| caller.serve_others()).unwrap_or(Ok(()))?;
        }
        Ok(VmState::Continue)
    }
}

fn syntax_text(error: &Error) -> String {
    match error {
        Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Compiles text for `loadstring`: the function, or nil and what is wrong.
fn compile(lua: &Lua, (text, name): (LuaString, LuaString)) -> Result<(Option<Function>, Option<String>)> {
    let name = name.to_string_lossy();
    let bytes = text.as_bytes().to_vec();
    match lua.load(bytes).set_name(name).set_mode(ChunkMode::Text).into_function() {
        Ok(f) => Ok((Some(f), None)),
        Err(e) => Ok((None, Some(syntax_text(&e)))),
    }
}

fn caught(value: Value) -> Result<Raised> {
    match value {
        Value::Error(e) => match Raised::of(&e) {
            killed @ Raised::Killed(_) => Err(killed.into()),
            other => Ok(other),
        },
        // No script can make userdata but `cjson.null`.
        _ => Ok(Raised::Text(b"userdata".to_vec())),
    }
}

/// An error value for `pcall`: as `err` alone, where it has one.
fn expose(lua: &Lua, value: Value) -> Result<Value> {
    if value.is_null() {
        return Ok(value);
    }
    Ok(Value::String(match caught(value)? {
        Raised::Text(text) => lua.create_string(text)?,
        other => lua.create_string(other.to_string())?,
    }))
}

/// An error value for handlers and for coroutines.
fn exposed_table(lua: &Lua, value: Value) -> Result<Value> {
    if value.is_null() {
        return Ok(value);
    }
    match caught(value)? {
        Raised::Reply { text, counted } => {
            let t = lua.create_table()?;
            t.raw_set("err", text)?;
            if counted {
                t.raw_set("ignore_error_stats_update", true)?;
            }
            Ok(Value::Table(t))
        }
        other => expose(lua, Value::Error(Box::new(other.into()))),
    }
}

/// What an uncaught error says, and where it was raised.
fn failure(lua: &Lua, error: Value) -> Failure {
    let mut f = Failure::default();
    match &error {
        Value::Error(e) => match Raised::of(e) {
            Raised::Reply { text, counted } => (f.text, f.counted) = (text, counted),
            Raised::Text(text) => f.text = format!("ERR {}", String::from_utf8_lossy(&text)),
            Raised::Killed(text) => f.text = format!("ERR {text}"),
        },
        Value::Table(t) => {
            f.text = match t.raw_get::<Value>("err") {
                Ok(v) if to_number(lua, &v).is_some() || v.is_string() => v.to_string().unwrap_or_default(),
                _ => "ERR unknown error".into(),
            };
            f.counted = t.raw_get("ignore_error_stats_update").unwrap_or(false);
        }
        other => {
            let text = lua.coerce_string(other.clone()).ok().flatten();
            let text = match (text, other) {
                (Some(s), _) => s.to_string_lossy(),
                (None, Value::Nil) => "nil".into(),
                (None, Value::Boolean(b)) => b.to_string(),
                (None, v) => format!("{}: {:p}", super::raise::type_name(v), v.to_pointer()),
            };
            f.text = format!("ERR {text}");
        }
    }
    // The function that raised it; where that is not Lua's, the one that called it. Ours of the prelude do not count.
    let mut natives = 0;
    for level in 1.. {
        let found = lua.inspect_stack(level, |d| {
            let source = d.source();
            let name = source.source.as_deref().unwrap_or_default().to_owned();
            (source.what, name, d.current_line())
        });
        match found {
            None => break,
            Some((_, name, _)) if name == PRELUDE || name == TAIL_CALL => {}
            Some(("C", ..)) if natives == 0 => natives += 1,
            Some((_, name, Some(line))) => {
                f.at = Some((name, line as i64));
                break;
            }
            Some((_, name, None)) => {
                // It is not Lua's.
                f.at = Some((name, -1));
                break;
            }
        }
    }
    f
}
