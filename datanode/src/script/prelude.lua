-- Makes the world that scripts live in, once per interpreter. Gets the interpreter's own globals, our libraries, what to
-- do with an error value that only Rust understands (`expose`: as a string; `exposed_table`: as a table), and whether
-- KEYS and ARGV exist. What is read-only is an empty table that stands for the real one.
local native, lib, expose, exposed_table, compile, with_keys = ...
local type, next_of, pairs_of = native.type, native.next, native.pairs
local setmetatable, getmetatable, rawget, rawset = native.setmetatable, native.getmetatable, native.rawget, native.rawset
local raise, tostring, select, unpack = native.error, native.tostring, native.select, native.unpack
local READONLY = 'Attempt to modify a readonly table'

-- What stands for what, and the metatables that are shown of those that have one.
local real, shown = {}, {}

local function refuse() raise(READONLY, 2) end

local function readonly(t)
  local p = setmetatable({}, {__index = t, __newindex = refuse, __metatable = false})
  real[p] = t
  return p
end

local function expect_table(t, name, place)
  if type(t) ~= 'table' then
    raise("bad argument #" .. place .. " to '" .. name .. "' (table expected, got " .. (t == nil and 'nil' or type(t)) .. ')', 3)
  end
end

local globals = {}
for _, name in native.ipairs {
  '_VERSION', 'assert', 'collectgarbage', 'error', 'gcinfo', 'ipairs', 'rawequal', 'select', 'tonumber', 'tostring',
  'type', 'unpack',
} do
  globals[name] = native[name]
end

function globals.pairs(t)
  expect_table(t, 'pairs', 1)
  return next_of, real[t] or t, nil
end

function globals.next(t, k)
  expect_table(t, 'next', 1)
  return next_of(real[t] or t, k)
end

function globals.rawget(t, k)
  expect_table(t, 'rawget', 1)
  return rawget(real[t] or t, k)
end

function globals.rawset(t, k, v)
  expect_table(t, 'rawset', 1)
  if real[t] then raise(READONLY, 0) end
  return rawset(t, k, v)
end

function globals.getmetatable(t)
  local m = shown[t]
  if m ~= nil then return m end
  if real[t] then return nil end
  return getmetatable(t)
end

function globals.setmetatable(t, m)
  if real[t] then raise(READONLY, 0) end
  expect_table(t, 'setmetatable', 1)
  return setmetatable(t, m)
end

-- Whoever catches an error finds a string or a table there, and cannot catch the end of a killed script.
local function caught(ok, err, ...)
  if ok then return ok, err, ... end
  if type(err) == 'userdata' then err = expose(err) end
  if type(err) == 'table' then
    local text = rawget(err, 'err')
    if type(text) == 'string' or type(text) == 'number' then err = text end
  end
  return false, err
end

function globals.pcall(...)
  if select('#', ...) == 0 then return false, 'attempt to call a nil value' end
  return caught(native.pcall(...))
end

local function passed(ok, err, ...)
  if not ok and type(err) == 'userdata' then err = exposed_table(err) end
  return ok, err, ...
end

function globals.xpcall(...)
  if select('#', ...) < 2 then raise("bad argument #2 to 'xpcall' (value expected)", 2) end
  local f, handler = ...
  local killed
  local function handle(err)
    if type(err) == 'userdata' then
      local known, shown_err = native.pcall(exposed_table, err)
      if not known then
        killed = shown_err
        return nil
      end
      err = shown_err
    end
    return handler(err)
  end
  local function finish(...)
    if killed ~= nil then raise(killed, 0) end
    return ...
  end
  return finish(native.xpcall(f, handle))
end

local function error_handler(err)
  if type(err) ~= 'table' then err = {err = 'ERR ' .. tostring(err)} end
  err.source, err.line = '@user_script', 1
  return err
end

-- A first byte of escape would announce bytecode, which is not checked and must not be run: no text begins so.
local world = {}
local function load_text(text, name)
  local f, err = compile(text, name)
  if f then native.setfenv(f, world) end
  return f, err
end

function globals.loadstring(text, name)
  if type(text) == 'number' then text = tostring(text) end
  if type(text) ~= 'string' then
    raise("bad argument #1 to 'loadstring' (string expected, got " .. (text == nil and 'no value' or type(text)) .. ')', 2)
  end
  return load_text(text, name == nil and text or tostring(name))
end

function globals.load(reader, name)
  if type(reader) ~= 'function' then
    raise("bad argument #1 to 'load' (function expected, got " .. (reader == nil and 'no value' or type(reader)) .. ')', 2)
  end
  local parts = {}
  while true do
    local part = reader()
    if part == nil or part == '' then break end
    if type(part) ~= 'string' then return nil, 'reader function must return a string' end
    parts[#parts + 1] = part
  end
  return load_text(native.table.concat(parts), name == nil and '=(load)' or tostring(name))
end

local coroutines = {}
for name, f in pairs_of(native.coroutine) do coroutines[name] = f end
function coroutines.resume(...) return passed(native.coroutine.resume(...)) end

globals.coroutine = readonly(coroutines)
globals.string = readonly(native.string)
globals.table = readonly(native.table)
globals.math = readonly(native.math)
for name, t in pairs_of(lib) do globals[name] = readonly(t) end
globals._G = world
if with_keys then
  globals.KEYS, globals.ARGV = {}, {}
  globals.__redis__err__handler = error_handler
end

local function missing(_, name)
  raise("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end
setmetatable(globals, {__index = missing})
local switch = {__index = globals, __newindex = refuse, __metatable = false}
setmetatable(world, switch)
real[world] = globals
shown[world] = readonly {__index = missing}
getmetatable('').__metatable = readonly {__index = globals.string}

-- A library of functions is loaded in a world that has nothing but `redis`, and that one only what loading needs.
local function enter(api)
  if api == nil then
    switch.__index = globals
    real[world] = globals
    return
  end
  local only = setmetatable({redis = readonly(setmetatable(api, {__index = missing}))}, {__index = missing})
  switch.__index = only
  real[world] = only
end

return world, globals, enter
