// ioredis: the usual work with one server, behind sentinels, and in a cluster.
'use strict';

const assert = require('node:assert/strict');
const Redis = require('ioredis');
const { checkAll, until } = require('./common');

function connect({ mode, password, nodes }, more = {}) {
  if (mode === 'cluster') {
    return new Redis.Cluster(nodes, { redisOptions: { password }, scaleReads: 'master', ...more });
  }
  const common = { password, ...more };
  // docs: sentinel
  if (mode === 'sentinel') {
    return new Redis({ sentinels: nodes, name: 'orders', sentinelPassword: password, ...common });
  }
  // end
  return new Redis({ ...nodes[0], ...common });
}

async function follower(options) {
  // A command that was sent and not answered may have been carried out: that it is sent again is the client's default.
  const client = connect(options);
  client.on('error', () => {});
  return { set: (k, v) => client.set(k, v), get: (k) => client.get(k), close: () => client.quit() };
}

async function work(options) {
  const redis = connect(options);
  const other = connect(options);
  try {
    await checkAll(options.mode === 'cluster' ? cluster(redis, options) : single(redis, other, options));
  } finally {
    redis.disconnect();
    other.disconnect();
  }
}

/** What any mode serves; `tag` puts all keys into one slot. */
function everywhere(redis, connectAgain, tag = '') {
  const k = (name) => `${tag}${name}`;
  return {
    async strings() {
      assert.equal(await redis.set(k('s'), 'v', 'EX', 100, 'NX'), 'OK');
      assert.equal(await redis.set(k('s'), 'w', 'NX'), null);
      assert.equal(await redis.set(k('s'), 'w', 'GET'), 'v');
      assert.deepEqual(await redis.mget(k('s'), k('none')), ['w', null]);
      assert.equal(await redis.incrby(k('n'), 41), 41);
      assert.equal(await redis.incrbyfloat(k('n'), 0.5), '41.5');
    },
    async binary() {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
      await redis.set(k('b'), bytes);
      assert.deepEqual(await redis.getBuffer(k('b')), bytes);
      assert.equal(await redis.set(k('big'), 'x'.repeat(3000000)), 'OK');
      assert.equal((await redis.get(k('big'))).length, 3000000);
    },
    async hashes() {
      assert.equal(await redis.hset(k('h'), { a: 1, b: 2 }), 2);
      assert.deepEqual(await redis.hgetall(k('h')), { a: '1', b: '2' });
      assert.equal(await redis.hincrby(k('h'), 'a', 5), 6);
    },
    async lists() {
      assert.equal(await redis.rpush(k('l'), 'a', 'b', 'c'), 3);
      assert.deepEqual(await redis.lrange(k('l'), 0, -1), ['a', 'b', 'c']);
      assert.equal(await redis.lmove(k('l'), k('l2'), 'LEFT', 'RIGHT'), 'a');
    },
    async sets() {
      assert.equal(await redis.sadd(k('set'), 'a', 'b'), 2);
      assert.deepEqual((await redis.smembers(k('set'))).sort(), ['a', 'b']);
    },
    async 'sorted sets'() {
      assert.equal(await redis.zadd(k('z'), 1, 'a', 2.5, 'b'), 2);
      assert.deepEqual(await redis.zrange(k('z'), 0, -1, 'WITHSCORES'), ['a', '1', 'b', '2.5']);
      assert.deepEqual(await redis.zpopmin(k('z')), ['a', '1']);
    },
    async streams() {
      const id = await redis.xadd(k('x'), '*', 'f', 'v');
      assert.equal(await redis.xgroup('CREATE', k('x'), 'g', '0'), 'OK');
      assert.deepEqual(await redis.xreadgroup('GROUP', 'g', 'me', 'COUNT', 10, 'STREAMS', k('x'), '>'),
        [[k('x'), [[id, ['f', 'v']]]]]);
      assert.equal(await redis.xack(k('x'), 'g', id), 1);
    },
    async blocking() {
      const other = connectAgain();
      const popped = other.blpop(k('q'), 5);
      await redis.rpush(k('q'), 'job');
      assert.deepEqual(await popped, [k('q'), 'job']);
      assert.equal(await other.blpop(k('q'), 0.05), null);
      other.disconnect();
    },
    async pipeline() {
      const pipe = redis.pipeline();
      for (let n = 0; n < 1000; n++) pipe.incr(k('counter'));
      const answers = await pipe.exec();
      assert.deepEqual(answers.map(([error, n]) => error || n), Array.from({ length: 1000 }, (_, n) => n + 1));
    },
    async transaction() {
      assert.deepEqual(await redis.multi().set(k('t'), 1).incr(k('t')).get(k('t')).exec(),
        [[null, 'OK'], [null, 2], [null, '2']]);
      const failed = await redis.multi().set(k('t'), 'x').incr(k('t')).exec();
      assert.match(failed[1][0].message, /^ERR value is not an integer/);
    },
    async script() {
      redis.defineCommand('addTo', { numberOfKeys: 1, lua: "return redis.call('incrby', KEYS[1], ARGV[1])" });
      assert.equal(await redis.addTo(k('by script'), 5), 5);
      assert.equal(await redis.addTo(k('by script'), 5), 10);
      assert.deepEqual(await redis.eval("return {1, 'two', {3}, false}", 1, k('x')), [1, 'two', [3], null]);
    },
    async 'publish and subscribe'() {
      const heard = [];
      const subscriber = connectAgain();
      subscriber.on('message', (channel, message) => heard.push(`${channel} ${message}`));
      subscriber.on('pmessage', (pattern, channel, message) => heard.push(`${pattern} ${channel} ${message}`));
      await subscriber.subscribe('news');
      await subscriber.psubscribe('n?ws');
      await redis.publish('news', 'hello');
      await until('both are heard', () => heard.length === 2);
      assert.deepEqual(heard.sort(), ['n?ws news hello', 'news hello']);
      await subscriber.unsubscribe('news');
      await subscriber.punsubscribe('n?ws');
      subscriber.disconnect();
    },
    async expiry() {
      await redis.set(k('soon'), 1, 'PX', 50);
      await until('it has expired', async () => await redis.exists(k('soon')) === 0);
    },
    async errors() {
      await redis.set(k('s'), 'text');
      await assert.rejects(redis.lpush(k('s'), 'x'), { name: 'ReplyError', message: /^WRONGTYPE / });
      await assert.rejects(redis.call('nonsense'), /^ReplyError: ERR unknown command/);
    },
  };
}

function single(redis, other, options) {
  return {
    async fresh() {
      await redis.flushall();
    },
    ...everywhere(redis, () => connect(options)),
    async watch() {
      await redis.set('w', 1);
      await redis.watch('w');
      await other.set('w', 2);
      assert.equal(await redis.multi().set('w', 3).exec(), null);
      assert.equal(await redis.get('w'), '2');
    },
    async scan() {
      await redis.mset(Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`scan:${n}`, n])));
      const found = new Set();
      for await (const keys of redis.scanStream({ match: 'scan:*', count: 50 })) keys.forEach((key) => found.add(key));
      assert.equal(found.size, 500);
    },
    async 'automatic pipelining'() {
      const auto = connect(options, { enableAutoPipelining: true });
      const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => auto.set(`auto:${n}`, n)));
      assert.ok(answers.every((answer) => answer === 'OK'));
      auto.disconnect();
    },
    async monitor() {
      const monitor = await other.monitor();
      const seen = [];
      monitor.on('monitor', (time, words) => seen.push(words.join(' ')));
      await redis.set('watched', 1);
      await until('the command is shown', () => seen.some((line) => line === 'set watched 1'));
      monitor.disconnect();
    },
    async 'key prefix'() {
      const prefixed = connect(options, { keyPrefix: 'app:' });
      await prefixed.set('k', 1);
      assert.equal(await redis.get('app:k'), '1');
      await prefixed.sort('l', 'BY', 'w_*');
      prefixed.disconnect();
    },
    async database() {
      if (options.mode !== 'standalone') return;
      const third = connect(options, { db: 3 });
      await third.set('only here', 1);
      assert.equal(await redis.exists('only here'), 0);
      await third.flushdb();
      third.disconnect();
    },
    async 'ready check and INFO'() {
      assert.match(await redis.info('replication'), /role:master/);
      assert.equal(redis.status, 'ready');
    },
  };
}

function cluster(redis, options) {
  return {
    async fresh() {
      await until('the slots are known', () => redis.nodes('master').length === 3);
      await Promise.all(redis.nodes('master').map((node) => node.flushall()));
    },
    ...everywhere(redis, () => connect(options), '{same}'),
    async 'keys of all slots'() {
      await Promise.all(Array.from({ length: 600 }, (_, n) => redis.set(`key:${n}`, n)));
      assert.deepEqual(await Promise.all(Array.from({ length: 600 }, (_, n) => redis.get(`key:${n}`))),
        Array.from({ length: 600 }, (_, n) => String(n)));
      const sizes = await Promise.all(redis.nodes('master').map((node) => node.dbsize()));
      assert.ok(sizes.every((size) => size > 100), sizes.join());
    },
    async redirection() {
      // A client that knows one node only, and takes it for the owner of all slots until told otherwise.
      const one = new Redis({ ...options.nodes[0], password: options.password });
      let moved = 0;
      for (let n = 0; n < 30; n++) {
        await one.get(`key:${n}`).catch((error) => {
          assert.match(error.message, /^MOVED \d+ 127\.0\.0\.1:\d+$/);
          moved++;
        });
      }
      assert.ok(moved > 5);
      one.disconnect();
    },
    async 'cross-slot errors'() {
      await assert.rejects(redis.mget('a', 'b', 'c'), /CROSSSLOT/);
    },
    async 'scan of every master'() {
      const found = new Set();
      for (const node of redis.nodes('master')) {
        for await (const keys of node.scanStream({ match: 'key:*', count: 100 })) keys.forEach((key) => found.add(key));
      }
      assert.equal(found.size, 600);
    },
    async 'shard channels'() {
      const subscriber = connect(options, { shardedSubscribers: true });
      const heard = [];
      subscriber.on('smessage', (channel, message) => heard.push(`${channel} ${message}`));
      await subscriber.ssubscribe('{a}news');
      await redis.spublish('{a}news', 'hello');
      await until('it is heard', () => heard.length === 1);
      assert.deepEqual(heard, ['{a}news hello']);
      subscriber.disconnect();
    },
    async 'reads from replicas'() {
      const reader = connect(options, { scaleReads: 'all' });
      await redis.set('{same}read', 1);
      for (let n = 0; n < 20; n++) {
        await until('replicas have it', async () => await reader.get('{same}read') === '1');
      }
      reader.disconnect();
    },
  };
}

module.exports = { work, follower };
