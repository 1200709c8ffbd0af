//! The interpreter's stack as it is: the way in and out for what every run hands over. Values that are only passed on need
//! no handles, which cost more than the values.
//!
//! An error of Lua's would leave our functions without their cleaning up. Nothing here raises one, but for a push deep
//! below others ([`Stack::of`]):
//! - memory that is not there ends the process, as everywhere (the interpreter has no limit of its own);
//! - access is raw, so no metamethods are called, and metamethods for collected values are the binding's own alone;
//! - keys that a table refuses (nil, no number) are not set;
//! - no table gets more than it may have ([`MOST_ELEMENTS`], [`MOST_FIELDS`]): who makes one sees to that.

#![allow(unsafe_code)]

use std::ffi::c_int;

use mlua::{RegistryKey, ffi, lua_State};

/// Most fields of a table: half of what the interpreter bears.
pub const MOST_FIELDS: usize = 1 << 25;
/// Most elements of a table that is made with room for them.
pub const MOST_ELEMENTS: usize = c_int::MAX as usize;

/// Where on the stack, from 1 on.
pub type Place = c_int;

/// A value on the stack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// Nil, or there is nothing.
    Nil,
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(&'a [u8]),
    /// A table.
    Table,
    /// Anything else.
    Other,
}

/// The part of a stack that belongs to one function.
pub struct Stack(*mut lua_State);

impl Stack {
    /// The stack of a state.
    ///
    /// # Safety
    /// The state must be alive as long as this is used, its interpreter without a limit of memory, and only one such value
    /// be used at a time for a state: a function called by [`Stack::call`] may have its own until it returns. Such a function
    /// may be nested so deep in others of C that no further one can be called, not even by the collector, for which pushing
    /// is the occasion: an error of Lua's leaves it then, so while it pushes it must have nothing to clean up.
    pub unsafe fn of(state: *mut lua_State) -> Stack {
        Stack(state)
    }

    /// The uppermost place, 0 if there is none.
    #[inline]
    pub fn top(&self) -> Place {
        // SAFETY: `of`.
        unsafe { ffi::lua_gettop(self.0) }
    }

    /// The value at a place.
    #[inline]
    pub fn item(&self, at: Place) -> Item<'_> {
        if !(1..=self.top()).contains(&at) {
            return Item::Nil;
        }
        // SAFETY: there is such a place. A string stays where it is as long as it is on the stack, from which nothing can be
        // taken while the result borrows it.
        unsafe {
            match ffi::lua_type(self.0, at) {
                ffi::LUA_TNIL => Item::Nil,
                ffi::LUA_TBOOLEAN => Item::Boolean(ffi::lua_toboolean(self.0, at) != 0),
                ffi::LUA_TNUMBER => Item::Number(ffi::lua_tonumber(self.0, at)),
                ffi::LUA_TSTRING => {
                    let mut len = 0;
                    let start = ffi::lua_tolstring(self.0, at, &mut len);
                    Item::Text(std::slice::from_raw_parts(start.cast(), len))
                }
                ffi::LUA_TTABLE => Item::Table,
                _ => Item::Other,
            }
        }
    }

    /// Takes away everything above a place.
    #[inline]
    pub fn truncate(&mut self, top: Place) {
        if (0..self.top()).contains(&top) {
            // SAFETY: it only gets smaller.
            unsafe { ffi::lua_settop(self.0, top) }
        }
    }

    /// Makes room for one more value.
    #[inline]
    fn grow(&mut self) -> *mut lua_State {
        // SAFETY: `of`. It answers 0 where a function has thousands of values; those here have few.
        let there = unsafe { ffi::lua_checkstack(self.0, 1) };
        assert!(there != 0, "the interpreter's stack is full");
        self.0
    }

    /// Pushes nil.
    pub fn push_nil(&mut self) {
        // SAFETY: there is room; so for all that push.
        unsafe { ffi::lua_pushnil(self.grow()) }
    }

    /// Pushes a boolean.
    pub fn push_boolean(&mut self, value: bool) {
        // SAFETY: above.
        unsafe { ffi::lua_pushboolean(self.grow(), value.into()) }
    }

    /// Pushes a number.
    #[inline]
    pub fn push_number(&mut self, value: f64) {
        // SAFETY: above.
        unsafe { ffi::lua_pushnumber(self.grow(), value) }
    }

    /// Pushes a string.
    #[inline]
    pub fn push_text(&mut self, text: &[u8]) {
        // SAFETY: above; the bytes are copied.
        unsafe { ffi::lua_pushlstring_(self.grow(), text.as_ptr().cast(), text.len()) }
    }

    /// Pushes a table with room for so many elements from 1 on, which it gets no more of, and for so many fields.
    #[inline]
    pub fn push_table(&mut self, elements: usize, fields: usize) {
        assert!(elements <= MOST_ELEMENTS && fields <= MOST_FIELDS, "a table for {elements} and {fields}");
        // SAFETY: above.
        unsafe { ffi::lua_createtable(self.grow(), elements as c_int, fields as c_int) }
    }

    /// Pushes a list of strings.
    pub fn push_texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.push_table(texts.len(), 0);
        let table = self.top();
        for (i, text) in texts.enumerate() {
            self.push_text(text);
            self.set_element(table, i + 1);
        }
    }

    /// Pushes what the interpreter's registry has.
    #[inline]
    pub fn push_kept(&mut self, key: &RegistryKey) {
        // SAFETY: above; the registry is a table.
        unsafe { ffi::lua_rawgeti_(self.grow(), ffi::LUA_REGISTRYINDEX, key.id()) }
    }

    /// Pushes a field of the table at a place.
    #[inline]
    pub fn push_field(&mut self, table: Place, name: &[u8]) {
        assert!(self.item(table) == Item::Table);
        self.push_text(name);
        // SAFETY: that is a table, and the key is on top.
        unsafe { ffi::lua_rawget_(self.0, table) }
    }

    /// Pushes an element of the table at a place.
    #[inline]
    pub fn push_element(&mut self, table: Place, i: usize) {
        assert!(self.item(table) == Item::Table);
        match c_int::try_from(i) {
            // SAFETY: that is a table.
            Ok(i) => unsafe { ffi::lua_rawgeti_(self.grow(), table, i) },
            Err(_) => self.push_nil(),
        }
    }

    /// Number of elements of the table at a place, from 1 on.
    pub fn len(&self, table: Place) -> usize {
        match self.item(table) {
            // SAFETY: that is a table.
            Item::Table => unsafe { ffi::lua_objlen(self.0, table) },
            _ => 0,
        }
    }

    /// Has the value on top taken for an element of the table at a place below it.
    #[inline]
    pub fn set_element(&mut self, table: Place, i: usize) {
        assert!(i <= MOST_ELEMENTS && table < self.top() && self.item(table) == Item::Table);
        // SAFETY: that is a table, and the value above it; it has room.
        unsafe { ffi::lua_rawseti_(self.0, table, i as c_int) }
    }

    /// Has the value on top and the key below it taken for a field of the table at a place below them.
    pub fn set(&mut self, table: Place) {
        let key = self.top() - 1;
        assert!(table < key && self.item(table) == Item::Table);
        match self.item(key) {
            Item::Nil => self.truncate(key - 1),
            Item::Number(x) if x.is_nan() => self.truncate(key - 1),
            // SAFETY: that is a table, key and value are above it, and the key is one; it has room.
            _ => unsafe { ffi::lua_rawset(self.0, table) },
        }
    }

    /// In the place of a key on top, the next key of the table at a place below it and its value; after the last, nothing.
    /// The first comes after nil. The table must not be changed in between.
    pub fn next(&mut self, table: Place) -> bool {
        assert!(table < self.top() && self.item(table) == Item::Table);
        let state = self.grow();
        // SAFETY: that is a table, and the key above it its own or nil.
        unsafe { ffi::lua_next(state, table) != 0 }
    }

    /// Calls the function below so many arguments on top: in their place is its result, or what it raised, which is false,
    /// after the function at `handler` has seen it.
    pub fn call(&mut self, arguments: c_int, handler: Place) -> bool {
        assert!((1..self.top() - arguments).contains(&handler));
        // SAFETY: function and arguments are there; what is no function raises an error, which is caught here.
        unsafe { ffi::lua_pcall(self.0, arguments, 1, handler) == ffi::LUA_OK }
    }
}
