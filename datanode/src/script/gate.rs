//! How functions of the interpreter reach the script that is being run: they outlive it, and what it works with is only
//! borrowed while it runs.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::NonNull;
use std::rc::Rc;

use mlua::{Function, LightUserData, Lua, Value, ffi, lua_State};

use super::engine::Shared;
use super::raise::Raised;
use super::run::Caller;
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

unsafe extern "C-unwind" fn enter<const RAISES: bool>(state: *mut lua_State) -> c_int {
    const SHARED: c_int = 1;
    const ERROR: c_int = 2;
    // SAFETY: the function has these two values of its own. The second holds what the first points to, so that is there as
    // long as the function is. While it runs the stack is its own, and the interpreter's memory has no limit.
    let answered = unsafe {
        let whole = AbortOnUnwind;
        let shared = &*ffi::lua_touserdata(state, ffi::lua_upvalueindex(SHARED)).cast::<Shared>();
        let mut stack = Stack::of(state);
        let answered = shared.gate.with(|caller| caller.call(&mut stack, RAISES));
        std::mem::forget(whole);
        answered.unwrap_or(false)
    };
    if answered {
        return 1;
    }
    // SAFETY: a function of C has room for more values than these. Nothing here has anything to clean up that would be left
    // out when the error takes the stack down.
    unsafe {
        ffi::lua_settop(state, 0);
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(ERROR));
        ffi::lua_call(state, 0, 1);
        ffi::lua_error(state)
    }
}
