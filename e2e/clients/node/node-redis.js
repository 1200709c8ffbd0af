// node-redis: the usual work with one server, behind sentinels, and in a cluster; RESP2 and RESP3.
'use strict';

const assert = require('node:assert/strict');
const redis = require('redis');
const { checkAll, until } = require('./common');

async function connect({ mode, protocol, password, nodes }, more = {}) {
  const common = { RESP: protocol, password, ...more };
  let client;
  if (mode === 'cluster') {
    client = redis.createCluster({
      RESP: protocol,
      rootNodes: nodes.map(({ host, port }) => ({ socket: { host, port } })),
      defaults: common,
    });
  } else if (mode === 'sentinel') {
    // docs: sentinel
    client = redis.createSentinel({
      name: 'orders',
      RESP: protocol,
      sentinelRootNodes: nodes,
      sentinelClientOptions: { password },
      nodeClientOptions: common,
    });
    // end
  } else {
    client = redis.createClient({ socket: nodes[0], ...common });
  }
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function follower(options) {
  const client = await connect(options);
  return { set: (k, v) => client.set(k, v), get: (k) => client.get(k), close: () => client.close() };
}

async function work(options) {
  const client = await connect(options);
  await checkAll({ ...everywhere(client, options), ...MODES[options.mode](client, options) });
  client.destroy();
}

function everywhere(client, options) {
  const k = (name) => `{nr}${name}`;
  return {
    async fresh() {
      const keys = ['s', 'n', 'h', 'l', 'set', 'z', 'x', 'q', 'counter', 't', 'by script'].map(k);
      await client.del(keys);
    },
    async strings() {
      assert.equal(await client.set(k('s'), 'v', { EX: 100, NX: true }), 'OK');
      assert.equal(await client.set(k('s'), 'w', { NX: true }), null);
      assert.deepEqual(await client.mGet([k('s'), k('none')]), ['v', null]);
      assert.equal(await client.incrBy(k('n'), 41), 41);
      assert.equal(await client.getEx(k('s'), { type: 'PERSIST' }), 'v');
    },
    async hashes() {
      assert.equal(await client.hSet(k('h'), { a: '1', b: '2' }), 2);
      assert.deepEqual({ ...await client.hGetAll(k('h')) }, { a: '1', b: '2' });
      assert.equal(await client.hIncrBy(k('h'), 'a', 5), 6);
    },
    async lists() {
      assert.equal(await client.rPush(k('l'), ['a', 'b', 'c']), 3);
      assert.deepEqual(await client.lRange(k('l'), 0, -1), ['a', 'b', 'c']);
      assert.deepEqual(await client.lmPop([k('l')], 'LEFT', { COUNT: 2 }), [k('l'), ['a', 'b']]);
    },
    async sets() {
      assert.equal(await client.sAdd(k('set'), ['a', 'b']), 2);
      assert.deepEqual((await client.sMembers(k('set'))).sort(), ['a', 'b']);
      assert.deepEqual(await client.smIsMember(k('set'), ['a', 'c']).then((found) => found.map(Boolean)), [true, false]);
    },
    async 'sorted sets'() {
      await client.zAdd(k('z'), [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]);
      assert.deepEqual(await client.zRangeWithScores(k('z'), 0, -1), [{ value: 'a', score: 1 }, { value: 'b', score: 2.5 }]);
      assert.equal(await client.zScore(k('z'), 'b'), 2.5);
      assert.deepEqual(await client.zPopMin(k('z')), { value: 'a', score: 1 });
    },
    async streams() {
      const id = await client.xAdd(k('x'), '*', { f: 'v' });
      assert.equal(await client.xGroupCreate(k('x'), 'g', '0'), 'OK');
      const read = await client.xReadGroup('g', 'me', { key: k('x'), id: '>' }, { COUNT: 10 });
      const entries = Array.isArray(read) ? read[0].messages : Object.values(read)[0];
      assert.equal(JSON.stringify(entries).includes(id), true);
      assert.equal(await client.xAck(k('x'), 'g', id), 1);
      assert.equal(await client.xLen(k('x')), 1);
    },
    async blocking() {
      const other = await connect(options);
      const popped = other.blPop(k('q'), 5);
      await client.rPush(k('q'), 'job');
      assert.deepEqual({ ...await popped }, { key: k('q'), element: 'job' });
      other.destroy();
    },
    async pipeline() {
      // What is sent in one turn of the event loop goes out as one pipeline.
      const answers = await Promise.all(Array.from({ length: 1000 }, () => client.incr(k('counter'))));
      assert.deepEqual(answers, Array.from({ length: 1000 }, (_, n) => n + 1));
    },
    async transaction() {
      assert.deepEqual(await client.multi().set(k('t'), 1).incr(k('t')).get(k('t')).exec(), ['OK', 2, '2']);
    },
    async script() {
      const script = "return {redis.call('incrby', KEYS[1], ARGV[1]), 'two'}";
      assert.deepEqual(await client.eval(script, { keys: [k('by script')], arguments: ['5'] }), [5, 'two']);
    },
    async expiry() {
      await client.set(k('soon'), 1, { PX: 50 });
      await until('it has expired', async () => await client.exists(k('soon')) === 0);
    },
    async errors() {
      await client.set(k('s'), 'text');
      await assert.rejects(client.lPush(k('s'), 'x'), /WRONGTYPE /);
    },
    async 'publish and subscribe'() {
      const subscriber = await connect(options);
      const heard = [];
      await subscriber.subscribe('news', (message, channel) => heard.push(`${channel} ${message}`));
      await subscriber.pSubscribe('n?ws', (message, channel) => heard.push(`p ${channel} ${message}`));
      await client.publish('news', 'hello');
      await until('both are heard', () => heard.length === 2);
      assert.deepEqual(heard.sort(), ['news hello', 'p news hello']);
      await subscriber.unsubscribe('news');
      await subscriber.pUnsubscribe('n?ws');
      subscriber.destroy();
    },
  };
}

const MODES = {
  standalone: (client, options) => ({
    async watch() {
      const other = await connect(options);
      await client.set('w', 1);
      await client.watch('w');
      await other.set('w', 2);
      await assert.rejects(client.multi().set('w', 3).exec(), redis.WatchError);
      assert.equal(await other.get('w'), '2');
      other.destroy();
    },
    async scan() {
      await client.mSet(Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`scan:${n}`, String(n)])));
      const found = new Set();
      for await (const keys of client.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) keys.forEach((key) => found.add(key));
      assert.equal(found.size, 500);
    },
    async functions() {
      const library = "#!lua name=mine\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)";
      assert.equal(await client.functionLoad(library, { REPLACE: true }), 'mine');
      assert.equal(await client.fCall('twice', { keys: [], arguments: ['21'] }), 42);
      assert.equal((await client.functionList())[0].library_name, 'mine');
    },
    async 'client side caching'() {
      if (options.protocol !== 3) return;
      const cached = await connect(options, { clientSideCache: { ttl: 0, maxEntries: 100 } });
      await client.set('cached', 1);
      assert.equal(await cached.get('cached'), '1');
      assert.equal(await cached.get('cached'), '1');
      await client.set('cached', 2);
      await until('the entry is invalidated', async () => await cached.get('cached') === '2');
      cached.destroy();
    },
    async 'commands and documentation'() {
      const [get] = await client.commandInfo(['get']);
      assert.equal(get.arity, 2);
      assert.ok(await client.commandCount() > 200);
    },
    async 'info and configuration'() {
      assert.match(await client.info('server'), /redis_version:7\./);
      assert.deepEqual({ ...await client.configGet('maxmemory') }, { maxmemory: '0' });
      assert.equal((await client.clientInfo()).db, 0);
      assert.equal((await client.role()).role, 'master');
    },
  }),
  sentinel: (client) => ({
    async 'a connection of its own'() {
      await client.use(async (own) => {
        await own.watch('w');
        assert.deepEqual(await own.multi().set('w', 1).get('w').exec(), ['OK', '1']);
      });
    },
  }),
  cluster: (client) => ({
    async 'keys of all slots'() {
      const keys = Array.from({ length: 600 }, (_, n) => `nr:${n}`);
      await Promise.all(keys.map((key, n) => client.set(key, n)));
      assert.deepEqual(await Promise.all(keys.map((key) => client.get(key))), keys.map((_, n) => String(n)));
      assert.equal(client.masters.length, 3);
    },
    async 'cross-slot errors'() {
      await assert.rejects(client.mGet(['a', 'b', 'c']), /CROSSSLOT/);
    },
    async 'shard channels'() {
      const heard = [];
      await client.sSubscribe('{a}news', (message, channel) => heard.push(`${channel} ${message}`));
      await client.sPublish('{a}news', 'hello');
      await until('it is heard', () => heard.length === 1);
      assert.deepEqual(heard, ['{a}news hello']);
      await client.sUnsubscribe('{a}news');
    },
  }),
};

module.exports = { work, follower };
