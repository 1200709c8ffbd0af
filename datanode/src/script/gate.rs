//! How functions of the interpreter reach the script that is being run: they outlive it, and what it works with is only
//! borrowed while it runs.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::rc::Rc;

use mlua::{Function, LightUserData, Lua, Value, ffi, lua_State};

use super::convert::{Reader, push_error};
use super::engine::Shared;
use super::raise::Raised;
use super::run::{Answer, Caller, error_text};
use super::stack::Stack;

/// Where a script's [`Caller`] can be reached while it is lent.
#[derive(Default)]
pub struct Gate(Cell<Option<NonNull<Caller<'static, 'static>>>>);

impl Gate {
    /// Does something during which functions may reach `caller`.
    pub fn lend<R>(&self, caller: &mut Caller<'_, '_>, during: impl FnOnce() -> R) -> R {
        let _closed = PutBack(self, self.0.replace(Some(NonNull::from(caller).cast())));
        during()
    }

    /// Does something with what is lent. `None` if nothing is: no script is being run, or one of its commands is just being
    /// executed.
    pub fn with<R>(&self, act: impl FnOnce(&mut Caller<'_, '_>) -> R) -> Option<R> {
        let mut lent = self.0.take()?;
        let _again = PutBack(self, Some(lent));
        // SAFETY: the pointer is here only while `lend` runs, which has the one borrow of what it points to and does not
        // use it; and it is taken out meanwhile, so nobody else gets it before `act` has ended. `act` takes a borrow of
        // any length, so nothing of it can be kept.
        Some(act(unsafe { lent.as_mut() }))
    }

    /// What a command has replied to the script; nothing if none is lent.
    ///
    /// # Safety
    /// Nobody may use the gate as long as the result is used.
    unsafe fn reply(&self) -> &[u8] {
        // SAFETY: as above, but that it is the caller who sees to it that nobody else gets the pointer.
        self.0.get().map_or(&[], |lent| unsafe { lent.as_ref() }.reply())
    }
}

/// Sets a gate to what it was, whichever way a function is left.
struct PutBack<'a>(&'a Gate, Option<NonNull<Caller<'static, 'static>>>);

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.1);
    }
}

/// What `redis.call` (it `raises` errors) or `redis.pcall` is. A function of the binding would make handles of arguments and
/// result, and a frame to catch panics: that took longer than the command.
pub fn function(lua: &Lua, shared: &Rc<Shared>, raises: bool) -> mlua::Result<Function> {
    let s = shared.clone();
    let error = lua.create_function(move |_, ()| {
        let raised = s.raised.take().unwrap_or_else(|| Raised::reply("ERR no script is running"));
        Ok(Value::Error(Box::new(raised.into())))
    })?;
    let enter: ffi::lua_CFunction = if raises { enter::<true> } else { enter::<false> };
    let shared = LightUserData(Rc::as_ptr(shared).cast_mut().cast());
    // SAFETY: both are on the stack, and become the function's own.
    unsafe { lua.exec_raw((shared, error), |state| ffi::lua_pushcclosure(state, enter, 2)) }
}

/// A panic must not pass through the interpreter's frames. In the server none gets as far as here.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// An error of Lua's takes the stack down without any cleaning up, so where one may arise there must be nothing to clean up.
/// That is in the second part: once C calls are nested too deep, even the collector may raise one, when a value is pushed.
unsafe extern "C-unwind" fn enter<const RAISES: bool>(state: *mut lua_State) -> c_int {
    const SHARED: c_int = 1;
    const ERROR: c_int = 2;
    // SAFETY: the function has these two values of its own. The second holds what the first points to, so that is there as
    // long as the function is. While it runs the stack is its own, and the interpreter's memory has no limit.
    let (shared, mut stack) = unsafe {
        let shared = ffi::lua_touserdata(state, ffi::lua_upvalueindex(SHARED)).cast::<Shared>();
        (&*shared, Stack::of(state))
    };
    let whole = AbortOnUnwind;
    let answer = shared.gate.with(|caller| caller.call(&stack, RAISES)).unwrap_or(Answer::Raise);
    std::mem::forget(whole);

    // There may be so many arguments that there is hardly room for the result.
    stack.truncate(0);
    // SAFETY: what pushes does not use the gate, and neither do the finalizers that the collector may call, which free
    // errors.
    let reply = unsafe { shared.gate.reply() };
    let pushed = match answer {
        Answer::Reply => Reader { bytes: reply }.push(&mut stack).map_err(Some),
        Answer::Uncounted => {
            push_error(&mut stack, error_text(reply), false);
            Ok(())
        }
        Answer::Raise => Err(None),
    };
    let Err(why) = pushed else { return 1 };
    if let Some(text) = why {
        shared.raised.replace(Some(Raised::reply(text)));
    }
    // SAFETY: a function of C has room for these values.
    unsafe {
        ffi::lua_settop(state, 0);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(ERROR));
        ffi::lua_call(state, 0, 1);
        ffi::lua_error(state)
    }
}
