"""Lua scripts and functions: the same ones to ours and to Redis, replies compared."""

import pytest
from harness import differential
from harness.wait import until

API = [
    'error()',
    'return {err="x"}',
    'return {err="x y"}',
    'return {err="x\\ny"}',
    'return {ok="x\\ny"}',
    'return {err=5}',
    'return {ok=5}',
    'return {err={}}',
    'return redis.error_reply("x")',
    'return redis.error_reply("MY x")',
    'return redis.error_reply("-MY x")',
    'return redis.error_reply("-x")',
    'return redis.error_reply()',
    'return redis.error_reply(1)',
    'return redis.error_reply({})',
    'return redis.status_reply("x")',
    'return redis.status_reply(1)',
    'return redis.status_reply("a","b")',
    'redis.call("get")',
    'redis.call("foo")',
    'redis.call()',
    'redis.call({})',
    'redis.call("get",nil)',
    'return redis.pcall("get")',
    'return redis.pcall()',
    'redis.call("lpush","s","a") return redis.call("get","s")',
    'return redis.call("subscribe","x")',
    'local f = function() return redis.call("incr","s") end return {pcall(f)}',
    'local a,b=pcall(redis.call,"incr","s") local t={} for k,v in pairs(b) do t[#t+1]=k..tostring(v) end return t',
    'local b=redis.pcall("incr","s") local t={} for k,v in pairs(b) do t[#t+1]=k..tostring(v) end return t',
    'local b=redis.pcall("incr") local t={} for k,v in pairs(b) do t[#t+1]=k..tostring(v) end return t',
    'return redis.pcall("incr","s")',
    'return redis.call("incr","s")',
    'return {redis.pcall("incr","s")}',
    'return 3.99',
    'return -3.99',
    'return 1e20',
    'return "x"',
    'return true',
    'return false',
    'return nil',
    'return {1,2,nil,4}',
    'return {1,{2,3},"x",false,true,1.5}',
    'return {double=3.5}',
    'return {map={a=1}}',
    'return {set={a=true,b=true}}',
    'return {big_number="123"}',
    'return {verbatim_string={format="txt",string="hello"}}',
    'return {double="x"}',
    'return function() end',
    'return coroutine.create(function() end)',
    'return {function() end}',
    'return redis.sha1hex("")',
    'return redis.sha1hex()',
    'return redis.sha1hex(1)',
    'return redis.sha1hex({})',
    'return redis.log(1,"x")',
    'return redis.log(1)',
    'return redis.log("x","y")',
    'return redis.log(9,"y")',
    'return redis.setresp(3)',
    'return redis.setresp(4)',
    'return redis.setresp()',
    'return redis.setresp("x")',
    'return redis.set_repl(1)',
    'return redis.set_repl(9)',
    'return redis.set_repl()',
    'return redis.replicate_commands()',
    'return redis.breakpoint()',
    'return redis.debug("a")',
    'return redis.acl_check_cmd("get","x")',
    'return redis.acl_check_cmd("foo","x")',
    'return redis.acl_check_cmd()',
    'return redis.acl_check_cmd("get",{})',
    'redis.setresp(3) return redis.call("hgetall","nokey")',
    'redis.call("hset","h","a","1") redis.setresp(3) return redis.call("hgetall","h")',
    'redis.setresp(3) local t=redis.call("hgetall","h") local o={} for k,v in pairs(t) do o[#o+1]=k..type(v) end return o',
    'redis.setresp(3) return type(redis.call("get","none"))',
    'return type(redis.call("get","none"))',
    'redis.call("zadd","z",1.5,"a") redis.setresp(3) local t=redis.call("zscore","z","a") return {type(t),tostring(t.double)}',
    'redis.setresp(3) return redis.call("zscore","z","a")',
    'redis.setresp(3) return redis.call("debug","protocol","bignum")',
    'redis.setresp(3) return redis.call("debug","protocol","true")',
    'redis.call("sadd","set","a") redis.setresp(3) local t=redis.call("smembers","set") return {type(t.set),tostring(t.set.a)}',
    'redis.setresp(3) return redis.call("smembers","set")',
    'redis.setresp(3) return redis.call("get","none")',
    'redis.setresp(3) return true',
    'redis.setresp(3) return false',
    'redis.setresp(3) return nil',
    'redis.setresp(3) return {1,false,nil,3}',
    'redis.setresp(3) return {false,true}',
    'return redis.call("set","a",1.5)',
    'redis.call("set","a",1.5) return redis.call("get","a")',
    'redis.call("set","a",100000000000000000000) return redis.call("get","a")',
    'redis.call("set","a",3) return redis.call("get","a")',
    'redis.call("set","a",-0) return redis.call("get","a")',
    'redis.call("set","a",0.1) return redis.call("get","a")',
    'redis.call("set","a",1/0) return redis.call("get","a")',
    'redis.call("set","a",true) return redis.call("get","a")',
    'return redis.call("select",1)',
    'return redis.call("auth","x")',
    'return redis.call("multi")',
    'return redis.call("eval","return 1",0)',
    'return redis.call("client","id")',
    'return redis.call("config","get","maxmemory")',
    'return redis.call("blpop","nokey",0)',
    'return redis.call("object")',
    'return redis.call("object","foo")',
    'return redis.call("config","foo")',
    'return redis.call("config")',
    'return redis.call("get","a","b")',
    'return redis.pcall("get","a","b").err',
    'redis.call("set","a","b") return redis.pcall("incr","a").err',
    'local ok,e=pcall(redis.call,"incr","a") return {tostring(ok),e.err}',
    'local ok,e=pcall(redis.call,"nope") return {type(e),e.err}',
    'local ok,e=pcall(redis.error_reply) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=pcall(redis.log) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=pcall(redis.sha1hex) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=pcall(redis.setresp,9) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=pcall(function() redis.setresp(9) end) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=pcall(function() return undefinedvar end) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=pcall(function() redis.x=1 end) return {type(e),type(e)=="table" and e.err or e}',
    'local ok,e=xpcall(function() return undefinedvar end,function(x) return type(x) end) return {tostring(ok),e}',
    'return {pcall(__redis__err__handler,"x")}',
    'local function f() error("deep") end local function g() f() end g()',
    'local function f() redis.call("incr","a") end local function g() f() end g()',
    'string.rep()',
    'string.rep("x",{})',
    'local t=setmetatable({},{__index=function(t,k) return undefinedvar end}) return t.x',
    'return string.dump(function() end)',
    'return tostring(redis):sub(1,6)',
    'return {type(getmetatable(redis)),type(next),type(next(redis)),tostring(rawget(redis,"zzz")),type(rawget(redis,"call")),type(rawget(_G,"redis"))}',
    'local n=0 for k in pairs(redis) do n=n+1 end return n',
    'local x={} for k in pairs(_G) do x[#x+1]=k end return #x',
    'return _G._G==_G',
    'return getmetatable("").__index==string',
    'return {unpack({1,2,3},2)}',
    'return #{unpack({}, 1, 8000)}',
    'unpack({},0,2^31-1)',
    'return collectgarbage("count")>0',
    'return collectgarbage("stop")',
    'return os',
    'return require',
    'return print',
    'return dofile',
    'return debug',
    'return newproxy',
    'return getfenv',
    'return setfenv',
    'return module',
    'return string.format("%d",1.5)',
    'return 1e15',
    'return tostring(1e15)',
    'return tostring(1e14)',
    'return 9007199254740993',
    'return "a\\0b"',
    'redis.call("set","a\\0b","c\\0d") return redis.call("get","a\\0b")',
]

LANGUAGE = [
    "local x = {} for i=1,5 do x[i]=redis.call('incr','counter') end return x",
    "return {redis.call('mset',KEYS[1] or 'a','1'),redis.call('type','a'),redis.call('exists','a','b')}",
    "redis.call('rpush','l','a','b','c') return redis.call('lrange','l',0,-1)",
    "return redis.call('lpop','none')",
    "return redis.call('lpop','none',3)",
    "return redis.call('hmget','none','a','b')",
    "redis.setresp(3) return redis.call('hmget','none','a','b')",
    "redis.setresp(3) return redis.call('lpop','none',3)",
    "redis.call('hset','h2','f','v') redis.setresp(3) return redis.call('hrandfield','h2',1,'withvalues')",
    "redis.call('set','k','v','px',100000) return {redis.call('pttl','k')>99000,redis.call('object','encoding','k')}",
    "return redis.call('set','k','v','nx')",
    "return redis.call('zrange','none',0,-1)",
    "redis.call('zadd','zz',1,'a',2,'b') return redis.call('zrange','zz',0,-1,'withscores')",
    "redis.setresp(3) return redis.call('zrange','zz',0,-1,'withscores')",
    "redis.setresp(3) return redis.call('zadd','zz','incr',1,'a')",
    "redis.setresp(3) return {redis.call('zscore','zz','nope')}",
    "return redis.call('SeT','a','1')",
    "return redis.call('echo','x')",
    "return redis.call('ping')",
    "return redis.pcall('zadd','zz','x','y')",
    "return redis.pcall('set','a')",
    "return {redis.pcall('nope'),redis.pcall('get','a')}",
    "local r=redis.pcall('lpush','a',1) return r.err",
    "local ok,err=pcall(redis.call,'lpush','a',1) return {ok,err}",
    "local ok,err=pcall(function() return redis.call('lpush','a',1) end) return {ok,err}",
    "return {xpcall(function() redis.call('lpush','a',1) end,function(e) return e.err end)}",
    "return {coroutine.resume(coroutine.create(function() redis.call('lpush','a',1) end))}",
    'local f=coroutine.wrap(function() coroutine.yield(1) coroutine.yield(2) end) return {f(),f()}',
    'return coroutine.status(coroutine.create(function() end))',
    'local t={} for w in string.gmatch("one two","%a+") do t[#t+1]=w end return t',
    'return {string.format("%5.2f|%s|%q",3.14159,"x","a\\nb"),("x"):upper(),string.reverse("abc")}',
    'return table.concat({1,2,3},",")',
    'local t={3,1,2} table.sort(t,function(a,b) return a>b end) return t',
    'table.sort({3,1,"x"})',
    'return #table.concat({("x"):rep(1000)})',
    'return tonumber("0x10")+tonumber("10",2)',
    'return {math.floor(1.5),math.max(1,2),math.fmod(7,3)}',
    'return tostring(nil)..tostring(true)..tostring(1.5)..tostring(1e100)',
    'return next({})',
    'return next({a=1})',
    'for k,v in pairs(nil) do end',
    'rawset(1,2,3)',
    'setmetatable(1,{})',
    'return getmetatable({})',
    "local t=setmetatable({},{__metatable='locked'}) return getmetatable(t)",
    "local t=setmetatable({},{__index=function(t,k) return k..'!' end}) return t.abc",
    'local t=setmetatable({},{__call=function(self,a) return a*2 end}) return t(21)',
    "local t=setmetatable({},{__tostring=function() return 'me' end}) return tostring(t)",
    "return select('#',1,nil,nil)",
    "return {select(2,'a','b','c')}",
    "return type(loadstring('return 1'))",
    "return loadstring('return 1+1')()",
    "return {loadstring('return x y')}",
    "return {loadstring('x =','=name')}",
    "return loadstring('return KEYS')()==KEYS",
    "local f=load((function() local d=false return function() if d then return nil end d=true return 'return 7' end end)()) return f()",
    "return loadstring('return function() return undefined_thing end')()()",
    '_G.x=1',
    '_G=1',
    'string.len=1',
    'table.foo=1',
    'cjson.encode=1',
    'return cjson.nothing',
    'math.pi=3',
    'local s=string s.x=1',
    'getmetatable(_G).__newindex=1',
    'return getmetatable(_G).__newindex',
    'ARGV={}',
    'return {#KEYS,#ARGV}',
    'return pcall(error)',
    "return {pcall(error,'x')}",
    'return {pcall(error,{a=1})}',
    'return {pcall(function() error() end)}',
    'pcall()',
    'xpcall()',
    'local function f() return f() end return 1',
    'local function f(n) return n==0 and 0 or 1+f(n-1) end return f(150)',
    'local function f() return 1+f() end return f()',
    "return string.rep('x',10,'y')",
    "if true then error('first\\nsecond') end",
    'local a = nil; return a.b',
    'return 1 + {}',
    "return {} .. 'x'",
    'return nil > 1',
    'return #nil',
    'local x = 5; x()',
    'x.y.z = 1',
    'goto done',
    'return "\\x41"',
    'return 0x1p4',
    "--[[ comment ]] return 'after'",
    'return [[long\nstring]]',
    'return redis.REDIS_VERSION_NUM',
    'return redis.LOG_WARNING',
    "return redis.call('info','server') ~= nil",
    "return redis.call('set','a','1','EX','0')",
    "return redis.call('expire','a','x')",
    "return redis.call('restore','a',0,'xx')",
    "return redis.call('sort','l')",
    "return redis.sha1hex('a','b')",
    "redis.error_reply('x').err='y' return 1",
    "local e=redis.error_reply('MY error') e.more=1 return e",
    "return {err='ERR x', ignore_error_stats_update=true}",
]

CJSON = [
    'return cjson.encode({1,2,3})',
    'return cjson.encode({})',
    'return cjson.encode({a=1})',
    'return cjson.encode({[1]=1,[5]=2})',
    'return cjson.encode({[1]=1,[20]=2})',
    'return cjson.encode({[1.5]=1})',
    'return cjson.encode({[true]=1})',
    'return cjson.encode({[-1]=1})',
    'return cjson.encode({[0]=1})',
    'return cjson.encode({"a\\"\\\\/\\b\\f\\n\\r\\t\\0\\127\\200"})',
    'return cjson.encode({1.5,1e20,0.1,123456789012345,1e15,-0,1/3})',
    'return cjson.encode(1/0)',
    'return cjson.encode(0/0)',
    'return cjson.encode(nil)',
    'return cjson.encode(cjson.null)',
    'return cjson.encode(true)',
    'return cjson.encode("x")',
    'return cjson.encode(function() end)',
    'return cjson.encode({function() end})',
    'return cjson.encode()',
    'return cjson.encode(1,2)',
    'local t={} t[1]=t return cjson.encode(t)',
    'local t={} for i=1,1001 do t={t} end return cjson.encode(t)',
    'cjson.encode_max_depth(3) return cjson.encode({{{{1}}}})',
    'return cjson.encode({{{{1}}}})',
    'return {cjson.encode_max_depth(1000),cjson.decode_max_depth(),cjson.encode_number_precision(),cjson.encode_keep_buffer() and 1 or 0}',
    'return {cjson.encode_sparse_array()}',
    'return {tostring(cjson.encode_invalid_numbers()),tostring(cjson.decode_invalid_numbers())}',
    'cjson.encode_sparse_array(true) local r= cjson.encode({[1]=1,[20]=2}) cjson.encode_sparse_array(false,2,10) return r',
    'cjson.encode_sparse_array("x")',
    'cjson.encode_sparse_array(true,-1)',
    'cjson.encode_max_depth(0)',
    'cjson.encode_number_precision(15)',
    'cjson.encode_number_precision(14)',
    'cjson.encode_invalid_numbers("null") local r=cjson.encode({1/0,0/0}) cjson.encode_invalid_numbers(false) return r',
    'cjson.encode_invalid_numbers(true) local r=cjson.encode({1/0,0/0,-1/0}) cjson.encode_invalid_numbers(false) return r',
    'cjson.encode_invalid_numbers("zz")',
    'cjson.encode_keep_buffer("x")',
    'return cjson.decode("[1,2,{\\"a\\":null,\\"b\\":[]}]")',
    'local t=cjson.decode("{\\"a\\":null,\\"b\\":[1.5,true,\\"x\\"]}") return {tostring(t.a==cjson.null),type(t.a),t.b[1],t.b[3]}',
    'return cjson.decode("")',
    'return cjson.decode("[1,2")',
    'return cjson.decode("{\\"a\\" 1}")',
    'return cjson.decode("{a:1}")',
    'return cjson.decode("[1] x")',
    'return cjson.decode("nul")',
    'return cjson.decode("tru")',
    'return cjson.decode("[1,]")',
    'return cjson.decode("\\"\\\\u00e9\\\\ud83d\\\\ude00\\\\n\\"")',
    'return cjson.decode("\\"\\\\ud83d\\"")',
    'return cjson.decode("\\"\\\\x\\"")',
    'return cjson.decode("\\"abc")',
    'return cjson.decode("\\"a\\001b\\"")',
    'return tostring(cjson.decode("01"))',
    'return tostring(cjson.decode("0x1F"))',
    'return tostring(cjson.decode("-"))',
    'return tostring(cjson.decode("-5.5e2"))',
    'return tostring(cjson.decode("1e"))',
    'return tostring(cjson.decode("inf"))',
    'return tostring(cjson.decode("nan"))',
    'return tostring(cjson.decode("Infinity"))',
    'return tostring(cjson.decode("-Infinity"))',
    'return cjson.decode(string.rep("[",1001)..string.rep("]",1001))',
    'cjson.decode_max_depth(2) return cjson.decode("[[[1]]]")',
    'cjson.decode_max_depth(1000)',
    'return cjson.decode()',
    'return cjson.decode({})',
    'return tostring(cjson.decode(5))',
    'return tostring(cjson.decode("1 2"))',
    'return tostring(cjson.decode("[1,2}"))',
    'return tostring(cjson.decode("\\\\"))',
    'return tostring(cjson.decode("/"))',
    'return tostring(cjson.decode("{\\"a\\":1,}"))',
    'return tostring(cjson.decode("{1:2}"))',
    'return tostring(cjson.decode("\\0"))',
    'return tostring(cjson.decode("[\\"a\\":1]"))',
    'return {pcall(cjson.decode,"x")}',
    'return type(cjson.new())',
    'return tostring(cjson.null)',
    'local c=cjson.new() c.encode_max_depth(2) return {pcall(c.encode,{{{1}}})}',
]

CMSGPACK = [
    'return cmsgpack.pack(1,-1,127,128,255,256,65535,65536,-32,-33,-128,-129,-32768,-32769,2^31,2^32,2^53,-2^31,-2^31-1)',
    'return cmsgpack.pack(1.5,0.1,1e300,-0.5)',
    'return cmsgpack.pack(true,false,nil)',
    'return cmsgpack.pack("",("x"):rep(31),("x"):rep(32),("x"):rep(255),("x"):rep(256))',
    'return cmsgpack.pack({},{1,2,3},{a=1},{[1]=1,[3]=3},{[0]=1})',
    'local t={} for i=1,16 do t[i]=i end return cmsgpack.pack(t)',
    'local t={} for i=1,20 do t={t} end return cmsgpack.pack(t)',
    'return cmsgpack.pack()',
    'return cmsgpack.pack(function() end)',
    'return {cmsgpack.unpack(cmsgpack.pack(1,"a",{1,2},{x=5}))}',
    'return {cmsgpack.unpack("")}',
    'cmsgpack.unpack()',
    'cmsgpack.unpack("\\147\\001")',
    'cmsgpack.unpack("\\193")',
    'cmsgpack.unpack({})',
    'return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3))}',
    'return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),1)}',
    'return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2)}',
    'return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2,1)}',
    'return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),3)}',
    'return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),9)}',
    'return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),-1)}',
    'return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),-1)}',
    'return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3))}',
    'return {cmsgpack.unpack("\\202\\063\\192\\000\\000")}',
    'return {tostring((cmsgpack.unpack("\\211\\255\\255\\255\\255\\255\\255\\255\\254"))),tostring((cmsgpack.unpack("\\207\\255\\255\\255\\255\\255\\255\\255\\255")))}',
    'return {cmsgpack.unpack("\\196\\003abc")}',
    'return {cmsgpack.unpack("\\217\\003abc")}',
    'return {pcall(cmsgpack.unpack,"\\220\\255\\255")}',
]

STRUCT = [
    'return struct.pack(">I2",258)',
    'return struct.pack("<i4 b B h H l L",1,2,3,4,5,6,7)',
    'return struct.pack("!8 b i8",1,2)',
    'return struct.pack("bxxb",1,2)',
    'return struct.pack("c3","abcdef")',
    'return struct.pack("c5","abc")',
    'return struct.pack("c0","abc")',
    'return struct.pack("s","abc")',
    'return struct.pack("f d n",1.5,2.5,3.5)',
    'return struct.pack("i17",1)',
    'return struct.pack("i0",1)',
    'return struct.pack("i3",-2)',
    'return struct.pack("I16",1)',
    'return struct.pack("y",1)',
    'return struct.pack("i","x")',
    'return struct.pack("i")',
    'return struct.pack()',
    'return struct.pack("!3 i",1)',
    'return struct.pack("! i",1)',
    'return struct.pack("i4",2^31)',
    'return struct.pack("I4",-1)',
    'return struct.pack("I4",2^33)',
    'return struct.pack("T",5)',
    'return struct.pack("= i",5)',
    'return struct.pack(">d",1)',
    'return {struct.unpack(">I2","\\1\\2")}',
    'return {struct.unpack("<i2","\\255\\255")}',
    'return {struct.unpack("s","abc\\0def")}',
    'return {struct.unpack("s","abc")}',
    'return {struct.unpack("Bc0","\\3abcd")}',
    'return {struct.unpack("c2","abcd")}',
    'return {struct.unpack("c0","abcd")}',
    'return {struct.unpack("c5","abcd")}',
    'return {struct.unpack("i4","abc")}',
    'return {struct.unpack("b","abc",2)}',
    'return {struct.unpack("b","abc",9)}',
    'return {struct.unpack("b","abc",0)}',
    'return {struct.unpack("b","abc",-1)}',
    'return {struct.unpack("bxb","abc")}',
    'return {struct.unpack("<I8","\\255\\255\\255\\255\\255\\255\\255\\255")}',
    'return {tostring(struct.unpack("<d",struct.pack("<d",1.5)))}',
    'return {struct.unpack()}',
    'return {struct.unpack("b")}',
    'return struct.size("b i8 c3")',
    'return struct.size("!8 b i8")',
    'return struct.size("s")',
    'return struct.size("c0")',
    'return struct.size("z")',
    'return struct.size()',
    'return struct.size("i2147483648")',
    'return struct.size("c2147483648")',
    'return struct.size("!4 i8 b")',
]

BIT = [
    'return {bit.band(7,3),bit.bor(1,2),bit.bxor(5,1),bit.bnot(0),bit.lshift(1,31),bit.rshift(-1,28),bit.arshift(-8,1),bit.rol(0x12345678,12),bit.ror(0x12345678,12),bit.bswap(0x12345678)}',
    'return {bit.tobit(0xffffffff),bit.tobit(2^40+5),bit.tobit(1.5),bit.tobit(2.5),bit.tobit(-1.5),bit.tobit(1e20)}',
    'return {bit.tohex(255),bit.tohex(255,4),bit.tohex(255,-4),bit.tohex(-1),bit.tohex(1,0),bit.tohex(1,100),bit.tohex(1,-2147483648)}',
    'return bit.band()',
    'return bit.band("5",6)',
    'return bit.band("x")',
    'return bit.bnot()',
    'return bit.lshift(1)',
    'return bit.lshift(1,32)',
    'return bit.lshift(1,-1)',
    'return bit.tobit({})',
    'return bit.band(1,{})',
    'return bit.band(1)',
    'return bit.tobit("0x10")',
]

# Commands, one after the other: what each finds depends on those before.
LIBRARIES = [
    ['FUNCTION', 'LOAD', "#!lua name=l1\nlocal t={} for k,v in pairs(redis) do t[#t+1]=k end table.sort(t) local s=table.concat(t,' ') redis.register_function('f', function(keys,args) local u={} for k in pairs(redis) do u[#u+1]=k end table.sort(u) local g={} for k in pairs(_G) do g[#g+1]=k end table.sort(g) return {s,table.concat(u,' '),table.concat(g,' ')} end)"],
    ['FCALL', 'f', '0'],
    ['FUNCTION', 'LOAD', 'foo'],
    ['FUNCTION', 'LOAD', '#!lua'],
    ['FUNCTION', 'LOAD', '#!lua name=a-b\nx'],
    ['FUNCTION', 'LOAD', '#!lua name=a name=b\nx'],
    ['FUNCTION', 'LOAD', '#!lua foo=a\nx'],
    ['FUNCTION', 'LOAD', '#!foo name=a\nx'],
    ['FUNCTION', 'LOAD', '#!lua name=\nx'],
    ['FUNCTION', 'LOAD', '#! name=a\nx'],
    ['FUNCTION', 'LOAD', '#!lua name=a\nx='],
    ['FUNCTION', 'LOAD', '#!lua name=a\nlocal x=1'],
    ['FUNCTION', 'LOAD', '#!lua name=a\nfoo()'],
    ['FUNCTION', 'LOAD', '#!lua name=a\nfoo=1'],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.call('get','x')"],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.foo=1'],
    ['FUNCTION', 'LOAD', "#!lua name=a\nerror('x')"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nerror({err='x'})"],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.register_function()'],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('x')"],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.register_function(1,2)'],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.register_function({},2)'],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('x',2)"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('x-y',function() end)"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('',function() end)"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('x',function() end,3)"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('x',function() end) redis.register_function('x',function() end)"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function('f',function() end)"],
    ['FUNCTION', 'LOAD', "#!lua name=l1\nredis.register_function('f',function() end)"],
    ['FUNCTION', 'LOAD', 'REPLACE', "#!lua name=l1\nredis.register_function('f',function() return 1 end)"],
    ['FUNCTION', 'LOAD', 'FOO', "#!lua name=l1\nredis.register_function('f',function() end)"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x'}"],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.register_function{callback=function() end}'],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=1}"],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.register_function{function_name=1,callback=function() end}'],
    ['FUNCTION', 'LOAD', '#!lua name=a\nredis.register_function{function_name={},callback=function() end}'],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=function() end,flags=1}"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=function() end,flags={'foo'}}"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=function() end,flags={1}}"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=function() end,foo=1}"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=function() end,description=1}"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{function_name='x',callback=function() end,description={}}"],
    ['FUNCTION', 'LOAD', "#!lua name=a\nredis.register_function{[1]='x'}"],
    ['FUNCTION', 'LOAD', "#!lua name=b\nredis.register_function{function_name='bx',callback=function(k,a) return redis.call('set',k[1],a[1]) end,flags={'no-writes','allow-oom','allow-stale','no-cluster'},description='d'}"],
    ['FUNCTION', 'LIST'],
    ['FUNCTION', 'LIST', 'LIBRARYNAME', 'b*'],
    ['FUNCTION', 'LIST', 'WITHCODE', 'LIBRARYNAME', 'b'],
    ['FUNCTION', 'LIST', 'FOO'],
    ['FUNCTION', 'LIST', 'LIBRARYNAME'],
    ['FUNCTION', 'LIST', 'WITHCODE', 'WITHCODE'],
    ['FUNCTION', 'LIST', 'LIBRARYNAME', 'b', 'LIBRARYNAME', 'b'],
    ['FCALL', 'bx', '1', 'k', 'v'],
    ['FCALL', 'nope', '0'],
    ['FCALL', 'f', '-1'],
    ['FCALL', 'f', '5'],
    ['FCALL', 'f', 'x'],
    ['FCALL_RO', 'f', '0'],
    ['FCALL_RO', 'bx', '1', 'k', 'v'],
    ['FUNCTION', 'STATS'],
    ['FUNCTION', 'KILL'],
    ['SCRIPT', 'KILL'],
    ['FUNCTION', 'DELETE', 'nope'],
    ['FUNCTION', 'DELETE', 'b'],
    ['FUNCTION', 'DUMP'],
    ['FUNCTION', 'RESTORE', 'x'],
    ['FUNCTION', 'RESTORE', 'x', 'FOO'],
    ['FUNCTION', 'FLUSH', 'FOO'],
    ['FUNCTION', 'FLUSH', 'SYNC'],
    ['FUNCTION', 'DUMP'],
    ['FUNCTION', 'LIST'],
    ['FUNCTION', 'FOO'],
    ['FUNCTION', 'LOAD', "#!lua name=e\nlocal function g() error('deep') end redis.register_function('e1',g) redis.register_function('e2',function() return redis.call('incr') end) redis.register_function('e3',function() return redis.register_function('z',function() end) end) redis.register_function('e4',function() return foo end) redis.register_function('e5',function() foo=1 end)  redis.register_function('e6',function() return KEYS end)"],
    ['FCALL', 'e1', '0'],
    ['FCALL', 'e2', '0'],
    ['FCALL', 'e3', '0'],
    ['FCALL', 'e4', '0'],
    ['FCALL', 'e5', '0'],
    ['FCALL', 'e6', '0'],
    ['FCALL', 'E1', '0'],
    ['EVAL', "#!lua\nreturn redis.call('set','x',1)", '0'],
    ['EVAL', "#!lua flags=no-writes\nreturn redis.call('set','x',1)", '0'],
    ['EVAL', '#!lua flags=foo\nreturn 1', '0'],
    ['EVAL', '#!lua name=foo\nreturn 1', '0'],
    ['EVAL', '#!lua foo\nreturn 1', '0'],
    ['EVAL', '#!foo\nreturn 1', '0'],
    ['EVAL', '#!lua flags=no-writes,allow-oom,allow-stale,no-cluster,allow-cross-slot-keys\nreturn 1', '0'],
    ['EVAL', '#!lua flags=no-writes flags=allow-oom\nreturn 1', '0'],
    ['EVAL', '#!lua', '0'],
    ['EVAL', '#!lua\n', '0'],
    ['EVAL', "#!lua\nerror('x')", '0'],
    ['EVAL_RO', '#!lua\nreturn 1', '0'],
    ['EVAL_RO', "return redis.call('set','x',1)", '0'],
    ['EVAL_RO', "return redis.call('get','x')", '0'],
    ['EVAL', 'return 1', '-1'],
    ['EVAL', 'return 1', '1'],
    ['EVAL', 'return 1', 'x'],
    ['EVALSHA', 'abc', '0'],
    ['EVALSHA', 'ffffffffffffffffffffffffffffffffffffffff', '0'],
    ['SCRIPT', 'LOAD', 'return 1'],
    ['SCRIPT', 'LOAD', 'return ='],
    ['SCRIPT', 'EXISTS', 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db', 'E0E1F9FABFC9D4800C877A703B823AC0578FF8DB', 'x'],
    ['EVALSHA', 'E0E1F9FABFC9D4800C877A703B823AC0578FF8DB', '0'],
    ['SCRIPT', 'FLUSH', 'FOO'],
    ['SCRIPT', 'FLUSH', 'SYNC', 'ASYNC'],
    ['SCRIPT', 'FLUSH', 'ASYNC'],
    ['SCRIPT', 'DEBUG', 'FOO'],
    ['SCRIPT', 'DEBUG', 'NO'],
    ['SCRIPT', 'FOO'],
    ['FUNCTION', 'LOAD', "#!lua name=l1\nlocal r=redis local function f(k,a) local t={} for k,v in pairs(_G) do t[#t+1]=k end table.sort(t) local u={} for k in pairs(redis) do u[#u+1]=k end table.sort(u) local w={} for k in pairs(r) do w[#w+1]=k end table.sort(w) return {table.concat(t,' '),table.concat(u,' '),table.concat(w,' ')} end r.register_function('f',f)"],
    ['FCALL', 'f', '0'],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.log(redis.LOG_WARNING,'x') redis.register_function{function_name='x'}"],
    ['FUNCTION', 'LOAD', '#!lua name=m1\nredis.register_function{callback=function() end}'],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{function_name='x',callback=1}"],
    ['FUNCTION', 'LOAD', '#!lua name=m1\nredis.register_function{function_name={},callback=function() end}'],
    ['FUNCTION', 'LOAD', '#!lua name=m2\nredis.register_function{function_name=1,callback=function() end}'],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{function_name='x',callback=function() end,flags=1}"],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{function_name='x',callback=function() end,flags={'foo'}}"],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{function_name='x',callback=function() end,flags={1}}"],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{function_name='x',callback=function() end,foo=1}"],
    ['FUNCTION', 'LOAD', "#!lua name=m3\nredis.register_function{function_name='x',callback=function() end,description=1}"],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{function_name='x',callback=function() end,description={}}"],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function{[1]='x'}"],
    ['FUNCTION', 'LOAD', "#!lua name=m1\nredis.register_function('x')"],
    ['FUNCTION', 'LOAD', "#!lua name=m4\nredis.register_function('X',function() return {redis.call('ping'),redis.REDIS_VERSION} end)"],
    ['FUNCTION', 'LOAD', "#!lua name=M4\nredis.register_function('Y',function() return 1 end)"],
    ['FUNCTION', 'LIST'],
    ['FCALL', 'X', '0'],
    ['FUNCTION', 'LOAD', '#!lua name=m6\nredis.setresp(3)'],
    ['FUNCTION', 'LOAD', '#!lua name=m6\nlocal x = KEYS'],
    ['FUNCTION', 'LOAD', "#!lua name=m6\nreturn redis.sha1hex('a')"],
    ['FUNCTION', 'LOAD', "#!lua name=m6\nreturn string.rep('a',2)"],
    ['FUNCTION', 'LOAD', "#!lua name=m6\nreturn ('a'):rep(2)"],
    ['FUNCTION', 'LOAD', "#!lua name='m7'\nredis.register_function('q7',function() return 1 end)"],
    ['FUNCTION', 'LOAD', '#!lua name="m8" \nredis.register_function(\'q8\',function() return 1 end)'],
    ['FUNCTION', 'LOAD', "#!lua  name=m9\\r\nredis.register_function('q9',function() return 1 end)"],
    ['FUNCTION', 'LOAD', "#!LUA name=m10\nredis.register_function('q10',function() return 1 end)"],
    ['FUNCTION', 'LOAD', "#!lua name=m11\nredis.register_function('q11',function() return 1 end) error('x')"],
    ['FCALL', 'q11', '0'],
]

REPLICATED = [
    "return 1",
    "return redis.call('get', KEYS[1])",
    "return redis.call('set', KEYS[1], ARGV[1])",
    "redis.call('set', KEYS[1], 1) redis.call('incr', KEYS[1]) return redis.call('del', 'nothing')",
    "redis.call('set', KEYS[1], 1, 'px', 100000) return redis.call('expire', KEYS[1], 50)",
    "redis.call('sadd', 's', 1, 2, 3) return #redis.call('spop', 's')",
    "redis.call('set', 'before', 1) return redis.call('incr', 'a list')",
    "return redis.pcall('lpush', KEYS[1], 1)",
    "redis.call('select', 3) redis.call('set', KEYS[1], 'three') redis.call('select', 0) return redis.call('set', 'zero', 1)",
    "redis.set_repl(redis.REPL_NONE) redis.call('set', 'nowhere', 1) redis.set_repl(redis.REPL_ALL) "
    "return redis.call('set', 'everywhere', 1)",
    "redis.set_repl(redis.REPL_AOF) redis.call('set', 'in the file', 1) redis.set_repl(redis.REPL_REPLICA) "
    "return redis.call('set', 'in the stream', 1)",
    "return redis.call('publish', 'channel', 'message')",
    "redis.call('hset', 'h', 'a', 1) redis.call('hincrbyfloat', 'h', 'a', 0.5) return redis.call('rpush', 'q', 1, 2, 3)",
    "redis.call('set', 'last', redis.call('exists', 'q')) return {redis.call('incr', 'n'), redis.call('incr', 'n')}",
]


def ask_all(pair, scripts):
    for script in scripts:
        pair.ask("1", ["EVAL".encode(), script.encode(), b"0"])


@pytest.mark.parametrize("scripts", [API, LANGUAGE, CJSON, CMSGPACK, STRUCT, BIT],
                         ids=["api", "language", "cjson", "cmsgpack", "struct", "bit"])
def test_script(pair, scripts):
    ask_all(pair, scripts)


def test_random_numbers_are_those_of_redis(servers, ours, peer):
    pair = differential.Pair(servers.start(ours), servers.start(peer))
    ask_all(pair, ["return math.random(1000)", "return {math.random(5, 9), math.random(100), tostring(math.random())}",
                   "math.randomseed(42) return {math.random(100), math.random(1000)}", "return math.random(3, 1)",
                   "return math.random(0)", "return math.random(1, 2, 3)", "return math.random(1000)"])
    pair.close()


def in_order(reply):
    """The reply with all its arrays sorted."""
    kind, content = reply
    if kind == "%":
        return kind, [(key, in_order(value)) for key, value in content]
    return (kind, sorted(map(in_order, content), key=repr)) if isinstance(content, list) else reply


def test_libraries(pair):
    pair.ask("1", [b"FUNCTION", b"FLUSH"])
    pair.ask("1", [b"SCRIPT", b"FLUSH"])
    for command in LIBRARIES:
        command = [word.encode() for word in command]
        if command[:2] != [b"FUNCTION", b"LIST"] or len(command) > 2:
            pair.ask("1", command)
            continue
        # In which order libraries and their functions are listed is each server's own affair.
        ours, peer = (connection.call(*command) for connection in pair.connections("1"))
        assert in_order(ours) == in_order(peer)


def test_keys_arguments_and_the_cache(pair):
    pair.run('''
        CONFIG RESETSTAT
        SCRIPT FLUSH
        EVAL "return {KEYS, ARGV}" 2 a b c d
        EVAL "return {KEYS[1], KEYS[2], ARGV[1]}" 1 "" "\\x00\\r\\n"
        EVAL "return #ARGV[1]" 0 {100000*x}
        EVAL "return 1" 0 # the same again
        EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
        EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 1
        EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
        SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db e0e1f9fabfc9d4800c877a703b823ac0578ff8dc
        EVAL
        EVAL "return 1"
        EVALSHA x
        SCRIPT
        SCRIPT EXISTS
        SCRIPT LOAD
        SCRIPT LOAD "return 2" x
        SCRIPT KILL
        SCRIPT HELP
        FUNCTION HELP
        FUNCTION KILL
        FUNCTION
        FCALL
        COMMAND INFO eval evalsha eval_ro evalsha_ro fcall fcall_ro
        COMMAND GETKEYS EVAL x 2 a b c
        COMMAND GETKEYS EVALSHA x 3 a b
        COMMAND GETKEYSANDFLAGS FCALL_RO x 1 a
        COMMAND GETKEYS EVAL x 0
        SELECT 2
        EVAL "redis.call('select', 5) return redis.call('set', 'five', 1)" 0
        EXISTS five
        SELECT 5
        EXISTS five
        SELECT 0
        MULTI
        EVAL "return redis.call('incr', KEYS[1])" 1 n
        EVAL "return redis.call('incr', 'a', 'b')" 0
        FCALL nothing 0
        EXEC
        WATCH n
        2: EVAL "redis.call('incr', KEYS[1])" 1 n
        MULTI
        GET n
        EXEC
        2> BLPOP q 5
        EVAL "redis.call('rpush', 'q', 'a', 'b') return redis.call('lpop', 'q')" 0
        2<
        LRANGE q 0 -1
        INFO errorstats # not counted twice
    ''')


def test_what_scripts_must_not_do(pair):
    """Wait, or where they say that they only read: have others write."""
    pair.ask("1", [b"FUNCTION", b"FLUSH"])
    keeper = ("#!lua name=keeper\nlocal own = redis\nown.register_function('late', function() "
              "own.register_function('later', function() return 1 end) end)")
    pair.ask("1", [b"FUNCTION", b"LOAD", keeper.encode()])
    pair.run("""
        XADD s 1-1 f v
        EVAL "return redis.pcall('xread', 'BLOCK', 0, 'STREAMS', 's', '$')" 0
        EVAL "return redis.call('XREAD', 'count', 1, 'block', 'x', 'streams', 's', '0')" 0
        EVAL "return redis.call('xread', 'streams', 's', '0')" 0
        XGROUP CREATE s g 0
        EVAL "return redis.pcall('xreadgroup', 'group', 'g', 'c', 'block', 0, 'streams', 's', '>')" 0
        EVAL_RO "return redis.pcall('publish', 'c', 'm')" 0
        EVAL "#!lua flags=no-writes\\nreturn redis.pcall('publish', 'c', 'm')" 0
        EVAL "return redis.call('publish', 'c', 'm')" 0
        FCALL late 0
        FCALL later 0
        FUNCTION LIST
        FUNCTION FLUSH
    """)


def test_replies_of_another_form(servers, ours, peer):
    """What would end a line early, and what stands before a reply."""
    conf = {"enable-debug-command": "yes"}
    for protocol in (2, 3):
        pair = differential.Pair(servers.start(ours, conf), servers.start(peer, conf), protocol)
        pair.run("DEBUG SET-DISABLE-DENY-SCRIPTS 1")
        ask_all(pair, ["return {big_number='1\\r\\n2'}", "redis.setresp(3) return {big_number='1\\r\\n2'}",
                       "redis.setresp(3) return redis.call('debug', 'protocol', 'attrib')",
                       "redis.setresp(3) return {redis.call('debug', 'protocol', 'attrib'), 1}"])
        pair.close()


def test_figures(pair):
    pair.ask("1", [b"FUNCTION", b"FLUSH"])
    pair.ask("1", [b"FUNCTION", b"LOAD", b"#!lua name=a\nfor i = 1, 3 do redis.register_function('f' .. i, function() end) end"])
    pair.run("SCRIPT FLUSH\nSCRIPT LOAD \"return 1\"\nEVAL \"return 2\" 0\nEVAL \"return 2\" 0\nEVAL \"return =\" 0")
    seen = []
    for connection in pair.connections("1"):
        _, text = connection.call("INFO", "memory")
        figures = dict(line.split(b":") for line in text.splitlines() if b":" in line and b" " not in line)
        seen.append({name: figures[name] for name in (b"number_of_cached_scripts", b"number_of_functions", b"number_of_libraries")})
        for name in (b"used_memory_lua", b"used_memory_vm_functions", b"used_memory_scripts", b"used_memory_functions"):
            assert int(figures[name]) > 0
    assert seen[0] == seen[1]


def test_limits_of_memory(pair):
    library = ("#!lua name=m\nredis.register_function{function_name='w', callback=function(k) return redis.call('set', 'x', 1) end}"
               " redis.register_function{function_name='o', callback=function(k) return redis.call('set', 'x', 1) end, "
               "flags={'allow-oom'}}")
    pair.ask("1", [b"FUNCTION", b"FLUSH"])
    pair.ask("1", [b"FUNCTION", b"LOAD", library.encode()])
    pair.run('CONFIG SET maxmemory 1\nSET x 1')
    for command in (["EVAL", "return redis.call('set', 'x', 1)", "0"], ["EVAL", "return redis.call('get', 'x')", "0"],
                    ["EVAL", "return redis.call('del', 'x')", "0"],
                    ["EVAL", "redis.call('del', 'x') return redis.call('set', 'x', 1)", "0"],
                    ["EVAL", "#!lua\nreturn 1", "0"], ["EVAL", "#!lua flags=allow-oom\nreturn redis.call('set', 'x', 1)", "0"],
                    ["EVAL", "#!lua flags=no-writes\nreturn redis.call('get', 'x')", "0"], ["FCALL", "w", "0"],
                    ["FCALL", "o", "0"], ["FUNCTION", "LOAD", "#!lua name=n\nfoo"], ["FUNCTION", "DELETE", "m"]):
        pair.ask("1", [word.encode() for word in command])
    pair.run("CONFIG SET maxmemory 0")


def test_a_replica_runs_what_does_not_write(servers, ours, peer):
    masters = [servers.start(ours), servers.start(peer)]
    replicas = [servers.start(kind, {"replicaof": f"127.0.0.1 {master.port}"}) for kind, master in zip((ours, peer), masters)]
    for replica in replicas:
        with replica.client() as client:
            until("a link to the master", lambda: client.info("replication")["master_link_status"] == "up")
    library = (b"#!lua name=r\nredis.register_function('w', function() return redis.call('set', 'x', 1) end) "
               b"redis.register_function{function_name='r', callback=function() return redis.call('get', 'x') end, "
               b"flags={'no-writes'}}")
    for master, replica in zip(masters, replicas):
        with master.client() as client, replica.client() as reader:
            client.function_load(library)
            client.set("x", "1")
            until("the stream to arrive", lambda: reader.get("x") == "1")
    pair = [differential.resp.Connection(replica.address) for replica in replicas]
    for command in (["EVAL", "return redis.call('get', 'x')", "0"], ["EVAL", "return redis.call('set', 'x', 2)", "0"],
                    ["EVAL", "#!lua\nreturn 1", "0"], ["EVAL", "#!lua flags=no-writes\nreturn redis.call('get', 'x')", "0"],
                    ["EVAL_RO", "return redis.call('get', 'x')", "0"], ["FCALL", "r", "0"], ["FCALL", "w", "0"],
                    ["FCALL_RO", "r", "0"], ["FUNCTION", "FLUSH"]):
        assert pair[0].call(*command) == pair[1].call(*command), command


def commands_of(file):
    """The commands of an append-only file."""
    text, found = file.read_bytes(), []
    while text:
        head, _, text = text.partition(b"\r\n")
        if head.startswith(b"#"):
            continue
        words = []
        for _ in range(int(head[1:])):
            size, _, text = text.partition(b"\r\n")
            words.append(text[:int(size[1:])])
            text = text[int(size[1:]) + 2:]
        found.append(b" ".join(words))
    return found


def normal_effects(lines):
    """Each command with its database. Times are not the same on both servers; which member SPOP took is chance."""
    out, database = [], None
    for line in lines:
        words = line.split(b" ")
        if words[0] == b"SELECT":
            database = words[1]
            continue
        if words[0] == b"PEXPIREAT" or b"PXAT" in words:
            words[-1] = b"TIME"
        if words[0] == b"SREM":
            words = [*words[:2], b"MEMBER"]
        out.append(words if words[0] in (b"MULTI", b"EXEC") else [database, *words])
    return out


def test_effects_are_what_is_replicated(servers, ours, peer):
    found = []
    commands = [["EVAL", script, "1", f"k{n}", "v"] for n, script in enumerate(REPLICATED)]
    commands[0:0] = [["FLUSHALL"], ["RPUSH", "a list", "1"],
                     ["FUNCTION", "LOAD", "#!lua name=e\nredis.register_function('two', function(k) redis.call('set', k[1], 1) "
                                          "return redis.call('incr', k[1]) end)"],
                     ["FCALL", "two", "1", "f"], ["FUNCTION", "LOAD", "REPLACE", "#!lua name=e\nredis.register_function('t', "
                                                  "function() return 1 end)"], ["FCALL", "t", "0"], ["FUNCTION", "DELETE", "e"],
                     ["SCRIPT", "LOAD", "return 1"], ["SCRIPT", "FLUSH"]]
    for implementation in (ours, peer):
        server = servers.start(implementation, {"appendonly": "yes", "auto-aof-rewrite-percentage": "0"})
        replica = servers.start(peer, {"replicaof": f"127.0.0.1 {server.port}"})
        with server.client() as client, replica.client() as reader:
            until("a link to the master", lambda: reader.info("replication")["master_link_status"] == "up")
            connection = differential.resp.Connection(server.address)
            replies = [connection.call(*command) for command in commands]
            client.set("the end", "1")
            until("the stream to arrive", lambda: reader.get("the end") == "1")
            [incremental] = server.dir.glob("appendonlydir/*.incr.aof")
            until("the file to have it all", lambda: b"the end" in incremental.read_bytes())
            keys = [sorted(reader.keys()), client.exists("nowhere", "in the file", "in the stream"),
                    [reader.exists(key) for key in ("nowhere", "in the file", "in the stream", "everywhere")]]
        found.append((replies, normal_effects(commands_of(incremental)), keys))
    assert found[0] == found[1]
    assert found[0][2][2] == [0, 0, 1, 1]


@pytest.mark.parametrize("way", ["rdb", "aof", "log", "dump", "resync"])
@pytest.mark.parametrize("source, target", [("ours", "peer"), ("peer", "ours"), ("ours", "ours")])
def test_libraries_travel(servers, request, source, target, way):
    source, target = request.getfixturevalue(source), request.getfixturevalue(target)
    code = ("#!lua name={0}\nredis.register_function{{function_name='{0}', flags={{'no-writes'}}, "
            "callback=function(k, a) return {{'{0}', a[1]}} end}} --[[ {1} ]]")
    directives = {"rdb": {"save": "3600 1"}, "aof": {"appendonly": "yes"},
                  "log": {"appendonly": "yes", "aof-use-rdb-preamble": "no"}}.get(way, {})
    first = servers.start(source, directives)
    with first.client() as client:
        client.function_load(code.format("one", "short"))
        client.function_load(code.format("two", "long " * 1000))
        if way in ("aof", "log"):
            client.bgrewriteaof()
            until("the rewrite", lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0
                  and client.info("persistence")["aof_rewrite_scheduled"] == 0)
        client.function_load(code.format("three", "later"))
        if way == "dump":
            payload = first.client(decode_responses=False).function_dump()
            second = servers.start(target)
            second.client().function_restore(payload)
        elif way == "resync":
            second = servers.start(target, {"replicaof": f"127.0.0.1 {first.port}"})
            until("a link to the master", lambda: second.client().info("replication")["master_link_status"] == "up")
        else:
            if way == "rdb":
                client.save()
            first.kill() if way == "rdb" else first.terminate()
            second = servers.start(target, directives, directory=first.dir)
    with second.client() as client:
        assert sorted(library[1] for library in client.function_list()) == ["one", "three", "two"]
        for name in ("one", "two", "three"):
            assert client.execute_command("FCALL", name, 0, "x") == [name, "x"]


def busy(connection):
    """Waits until the server says that a script is running; what it says."""
    def probe():
        kind, text = connection.call("GET", "x")
        return text if kind == "-" and text.startswith(b"BUSY") else None
    return until("a busy server", probe)


def long_scripts(server):
    """What clients see while scripts run for long."""
    seen = []
    one, two = (differential.resp.Connection(server.address) for _ in range(2))
    two.call("CONFIG", "SET", "busy-reply-threshold", "20")
    endless = "while true do end"
    one.send("EVAL", endless, "0")
    seen.append(busy(two))
    for command in (["PING"], ["FUNCTION", "KILL"], ["FUNCTION", "STATS"], ["MULTI"], ["GET", "x"], ["EXEC"], ["SHUTDOWN"]):
        seen.append(two.call(*command))
    three = differential.resp.Connection(server.address)
    seen.append(three.call("PING"))
    one.send("PING")  # waits for the end of its own script
    seen += [two.call("SCRIPT", "KILL"), one.read(), one.read(), two.call("GET", "x")]
    one.send("EVAL", "while true do pcall(function() while true do end end) end", "0")
    seen += [busy(two), two.call("SCRIPT", "KILL"), one.read()]
    one.send("EVAL", "redis.call('set', 'x', 1) local n = 0 while n < 8e6 do n = n + 1 end return 'done'", "0")
    seen += [busy(two), two.call("SCRIPT", "KILL"), one.read(), two.call("GET", "x")]
    two.call("FUNCTION", "LOAD", f"#!lua name=l\nredis.register_function('f', function() {endless} end)")
    one.send("FCALL", "f", "0", "argument")
    seen.append(busy(two))
    _, stats = two.call("FUNCTION", "STATS")
    seen += [stats[1][1][:5], two.call("SCRIPT", "KILL"), two.call("FUNCTION", "KILL"), one.read()]
    one.send("EVAL", "redis.call('set', 'half', 1) " + endless, "0")
    seen.append(busy(two))
    two.send("SHUTDOWN", "NOSAVE")
    return seen, server.wait_exit()


def test_long_scripts(servers, ours, peer):
    assert long_scripts(servers.start(ours)) == long_scripts(servers.start(peer))


def test_a_client_that_leaves_during_its_script(servers, ours):
    server = servers.start(ours)
    one, two = (differential.resp.Connection(server.address) for _ in range(2))
    two.call("CONFIG", "SET", "busy-reply-threshold", "20")
    one.send("EVAL", "redis.call('select', 1) while true do end", "0")
    busy(two)
    one.close()
    two.call("SCRIPT", "KILL")
    with server.client() as client:
        until("an idle server", lambda: len(client.client_list()) == 2)


def test_half_of_a_script_is_not_kept(servers, ours):
    """SHUTDOWN NOSAVE during a script that has written: the file has nothing of it."""
    server = servers.start(ours, {"appendonly": "yes"})
    one, two = (differential.resp.Connection(server.address) for _ in range(2))
    two.call("CONFIG", "SET", "busy-reply-threshold", "20")
    two.call("SET", "whole", "1")
    one.send("EVAL", "redis.call('set', 'half', 1) while true do end", "0")
    busy(two)
    two.send("SHUTDOWN", "NOSAVE")
    assert server.wait_exit() == 0
    with server.start().client() as client:
        assert client.keys() == ["whole"]


def test_monitor_shows_what_scripts_do(servers, ours, peer):
    seen = []
    for implementation in (ours, peer):
        server = servers.start(implementation)
        watcher, client = (differential.resp.Connection(server.address) for _ in range(2))
        watcher.call("MONITOR")
        client.call("EVAL", "redis.call('set', 'a', 1) return redis.pcall('get')", "0")
        client.call("EVAL", "return 1", "5")
        client.call("PING")
        lines = [watcher.read()[1] for _ in range(4)]
        seen.append([line.split(b" ", 1)[1].replace(line.split(b" ")[2], b"peer]" if b"lua" not in line else b"lua]")
                     for line in lines])
    assert seen[0] == seen[1]
