//! Libraries of functions: loaded whole or not at all, kept with the data.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::rc::Rc;
use std::time::Duration;

use mlua::{MultiValue, RegistryKey, Result, Value};

use super::api;
use super::engine::{Engine, Kind};
use super::raise::Raised;
use super::shebang::{self, Flags, valid_name};
use crate::command::Error;

/// Longest time that loading a library may take.
const LOAD_LIMIT: Duration = Duration::from_millis(500);
/// What a function is told that wants to register another.
const LOADED: &str = "redis.register_function can only be called on FUNCTION LOAD command";

/// A function that can be called.
pub struct Registered {
    /// Its name as it was given.
    pub name: Rc<str>,
    /// What it is for.
    pub description: Option<String>,
    /// What it may do.
    pub flags: Flags,
    pub(super) callback: Rc<RegistryKey>,
}

/// A library.
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its text, the first line included.
    pub text: Box<[u8]>,
    /// Its functions, by name in lower case.
    pub functions: BTreeMap<String, Rc<Registered>>,
}

/// All libraries.
#[derive(Default)]
pub struct Libraries {
    engine: Option<Rc<Engine>>,
    by_name: BTreeMap<String, Rc<Library>>,
    /// Functions by name in lower case: looked up for every call.
    functions: HashMap<String, Rc<Registered>, foldhash::fast::FixedState>,
}

/// What to do where a library of the same name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// Nothing is loaded.
    Refuse,
    /// It is replaced.
    Replace,
}

impl Libraries {
    /// Number of libraries.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// All libraries, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<Library>> {
        self.by_name.values()
    }

    /// The library of this name.
    pub fn get(&self, name: &str) -> Option<&Rc<Library>> {
        self.by_name.get(name)
    }

    /// A function by name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<Rc<Registered>> {
        let name = std::str::from_utf8(name).ok()?;
        match self.functions.get(name) {
            Some(f) => Some(f.clone()),
            None => self.functions.get(&name.to_ascii_lowercase()).cloned(),
        }
    }

    /// Bytes of texts, and number of functions.
    pub(super) fn figures(&self) -> (usize, usize) {
        let bytes = self.iter().map(|l| l.text.len() + size_of::<Library>()).sum();
        (bytes, self.functions.len())
    }

    pub(super) fn engine_memory(&self) -> usize {
        self.engine.as_ref().map_or(0, |e| e.memory())
    }

    pub(super) fn engine(&mut self) -> std::result::Result<Rc<Engine>, Error> {
        if let Some(engine) = &self.engine {
            return Ok(engine.clone());
        }
        let engine = Rc::new(Engine::new(Kind::Function).map_err(super::internal)?);
        Ok(self.engine.insert(engine).clone())
    }

    /// Loads a library; its name.
    pub fn load(&mut self, text: &[u8], clash: Clash) -> std::result::Result<String, Error> {
        let (name, _) = shebang::of_library(text)?;
        if clash == Clash::Refuse && self.by_name.contains_key(&name) {
            return Err(Error::err(format_args!("Library '{name}' already exists")));
        }
        let library = self.compile(text)?;
        // Nothing has changed up to here; what is replaced does not stand in the way of what replaces it.
        let own = |f: &str| self.by_name.get(&name).is_some_and(|old| old.functions.contains_key(f));
        if let Some(f) = library.functions.keys().find(|f| self.functions.contains_key(*f) && !own(f)) {
            let shown = &library.functions[f].name;
            return Err(Error::err(format_args!("Function {shown} already exists")));
        }
        self.delete(&name);
        for (key, f) in &library.functions {
            self.functions.insert(key.clone(), f.clone());
        }
        self.by_name.insert(name.clone(), Rc::new(library));
        Ok(name)
    }

    fn compile(&mut self, text: &[u8]) -> std::result::Result<Library, Error> {
        let (name, body) = shebang::of_library(text)?;
        let engine = self.engine()?;
        let chunk = engine
            .compile(body, "@user_function")
            .map_err(|e| Error::err(format_args!("Error compiling function: {e}")))?;
        // A library can keep `redis.register_function` in a variable: once it is loaded there is nothing to register in.
        let found = Rc::new(RefCell::new(Some(BTreeMap::new())));
        let into = found.clone();
        let register = engine
            .lua
            .create_function(move |lua, args| {
                if into.borrow().is_none() {
                    return refuse(LOADED);
                }
                // Nothing is borrowed as long as an error of Lua's may leave it so.
                let (key, function) = registered(lua, args)?;
                let mut into = into.borrow_mut();
                match into.as_mut().map(|into| into.entry(key)) {
                    Some(Entry::Vacant(place)) => drop(place.insert(Rc::new(function))),
                    _ => return refuse("Function already exists in the library"),
                }
                Ok(())
            })
            .map_err(super::internal)?;
        let api = api::load_table(&engine.lua, register).map_err(super::internal)?;
        let outcome = engine.load(&chunk, api, LOAD_LIMIT);
        let functions = found.take().unwrap_or_default();
        outcome.map_err(|e| Error::err(format_args!("Error registering functions: {e}")))?;
        if functions.is_empty() {
            return Err(Error::err("No functions registered"));
        }
        Ok(Library { name, text: text.into(), functions })
    }

    /// Removes a library; false if there is none of this name.
    pub fn delete(&mut self, name: &str) -> bool {
        let Some(library) = self.by_name.remove(name) else { return false };
        for f in library.functions.keys() {
            self.functions.remove(f);
        }
        drop(library);
        if let Some(engine) = &self.engine {
            engine.lua.expire_registry_values();
        }
        true
    }

    /// Removes all, and whatever their interpreter holds.
    pub fn flush(&mut self) {
        *self = Libraries::default();
    }

    /// These libraries in the place of all, or beside those that are there; all or none of them.
    pub fn restore(&mut self, texts: &[Vec<u8>], policy: Restore) -> std::result::Result<(), Error> {
        let mut next = Libraries::default();
        if policy != Restore::Flush {
            next.engine = self.engine.clone();
            next.by_name = self.by_name.clone();
            next.functions = self.functions.clone();
        }
        let mut loaded = Libraries { engine: next.engine.clone(), ..Libraries::default() };
        for text in texts {
            loaded.load(text, Clash::Refuse)?;
        }
        for library in loaded.by_name.into_values() {
            if policy == Restore::Append && next.by_name.contains_key(&library.name) {
                return Err(Error::err(format_args!("Library {} already exists", library.name)));
            }
            next.delete(&library.name);
            if let Some((_, f)) = library.functions.iter().find(|(key, _)| next.functions.contains_key(*key))
            {
                return Err(Error::err(format_args!("Function {} already exists", f.name)));
            }
            next.functions.extend(library.functions.iter().map(|(key, f)| (key.clone(), f.clone())));
            next.by_name.insert(library.name.clone(), library);
        }
        next.engine = loaded.engine;
        *self = next;
        Ok(())
    }
}

/// `FUNCTION RESTORE`'s policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restore {
    /// What is there goes.
    Flush,
    /// Nothing may be there twice.
    Append,
    /// What is there twice is replaced.
    Replace,
}

fn refuse<T>(text: &str) -> Result<T> {
    Err(Raised::reply(format!("ERR {text}")).into())
}

/// What `redis.register_function(name, callback)`, or the same with named arguments, registers; by its name in lower case.
fn registered(lua: &mlua::Lua, args: MultiValue) -> Result<(String, Registered)> {
    let (name, callback, mut description, mut flags);
    match (args.len(), &args.iter().collect::<Vec<_>>()[..]) {
        (1, [Value::Table(t)]) => {
            let (mut given_name, mut given_callback) = (None, None);
            (description, flags) = (None, Flags::default());
            for pair in t.pairs::<Value, Value>() {
                let (key, value) = pair?;
                let Some(key) = api::text_of(lua, &key) else {
                    return refuse("named argument key given to redis.register_function is not a string");
                };
                let text = || api::text_of(lua, &value);
                let must_be_text = |what: &str| {
                    let text =
                        format!("ERR {what} argument given to redis.register_function must be a string");
                    mlua::Error::from(Raised::reply(text))
                };
                match &key.as_bytes()[..] {
                    b"function_name" => {
                        given_name = Some(text().ok_or_else(|| must_be_text("function_name"))?)
                    }
                    b"description" => {
                        let text = text().ok_or_else(|| must_be_text("description"))?;
                        description = Some(text.to_string_lossy());
                    }
                    b"callback" => match value {
                        Value::Function(f) => given_callback = Some(f),
                        _ => {
                            return refuse(
                                "callback argument given to redis.register_function must be a function",
                            );
                        }
                    },
                    b"flags" => flags = flags_of(&value)?,
                    _ => return refuse("unknown argument given to redis.register_function"),
                }
            }
            let Some(n) = given_name else {
                return refuse("redis.register_function must get a function name argument");
            };
            let Some(f) = given_callback else {
                return refuse("redis.register_function must get a callback argument");
            };
            (name, callback) = (n, f);
        }
        (1, _) => {
            return refuse(
                "calling redis.register_function with a single argument is only applicable to Lua table \
                 (representing named arguments).",
            );
        }
        (2, [first, second]) => {
            let Some(n) = api::text_of(lua, first) else {
                return refuse("first argument to redis.register_function must be a string");
            };
            let Value::Function(f) = second else {
                return refuse("second argument to redis.register_function must be a function");
            };
            (name, callback) = (n, f.clone());
            (description, flags) = (None, Flags::default());
        }
        _ => return refuse("wrong number of arguments to redis.register_function"),
    }
    let name = match valid_name(&name.as_bytes()) {
        Ok(name) => name,
        Err(e) => return Err(Raised::reply(e.text()).into()),
    };
    let key = name.to_ascii_lowercase();
    let callback = Rc::new(lua.create_registry_value(callback)?);
    Ok((key, Registered { name: name.into(), description, flags, callback }))
}

fn flags_of(value: &Value) -> Result<Flags> {
    let Value::Table(list) = value else {
        let text =
            "ERR flags argument to redis.register_function must be a table representing function flags";
        return Err(Raised::reply(text).into());
    };
    let mut flags = Flags::default();
    for i in 1..=list.raw_len() {
        let flag = match list.raw_get::<Value>(i)? {
            Value::String(name) => Flags::named(&name.as_bytes()),
            _ => None,
        };
        flags = flags.with(flag.ok_or_else(|| mlua::Error::from(Raised::reply("ERR unknown flag given")))?);
    }
    Ok(flags)
}
