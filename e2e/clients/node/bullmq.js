// BullMQ: queues as applications use them, and one that goes on while its master fails.
'use strict';

const assert = require('node:assert/strict');
const { FlowProducer, Queue, QueueEvents, Worker } = require('bullmq');
const Redis = require('ioredis');
const { checkAll, until } = require('./common');

const MOST_WAITERS = 500;

function connection({ mode, password, nodes }) {
  const common = { password, maxRetriesPerRequest: null };
  if (mode === 'sentinel') return { sentinels: nodes, name: 'orders', sentinelPassword: password, ...common };
  if (mode === 'cluster') return new Redis.Cluster(nodes, { redisOptions: common });
  return { ...nodes[0], ...common };
}

/** What the job returned; throws what it failed with. */
async function finished(queue, { id }) {
  const state = await until(`job ${id} is finished`, async () => {
    const now = await queue.getJobState(id);
    return ['completed', 'failed'].includes(now) && now;
  });
  const job = await queue.getJob(id);
  if (state === 'failed') throw new Error(job.failedReason);
  return job.returnvalue;
}

async function allFinished(queue, jobs) {
  const results = [];
  for (const job of jobs) results.push(await finished(queue, job));
  return results;
}

/** Queue and worker of one queue; both are closed after `body`. */
async function withQueue(options, name, process, body, workerOptions = {}) {
  const prefix = '{bull}'; // All of a queue's keys are in one slot.
  const open = () => ({ connection: connection(options), prefix });
  const queue = new Queue(name, open());
  const worker = new Worker(name, process, { ...open(), ...workerOptions });
  for (const one of [queue, worker]) one.on('error', () => {}).setMaxListeners(MOST_WAITERS);
  await Promise.all([queue, worker].map((one) => one.waitUntilReady()));
  try {
    return await body(queue);
  } finally {
    await worker.close(true);
    await queue.obliterate({ force: true });
    await queue.close();
  }
}

async function work(options) {
  await checkAll({
    // docs: queue
    async jobs() {
      await withQueue(options, 'jobs', async (job) => job.data.n * 2, async (queue) => {
        const jobs = await queue.addBulk(Array.from({ length: 100 }, (_, n) => ({ name: 'double', data: { n } })));
        const results = await allFinished(queue, jobs);
        assert.deepEqual(results, jobs.map((job) => job.data.n * 2));
        assert.equal((await queue.getJobCounts('completed')).completed, 100);
      }, { concurrency: 10 });
    },
    // end
    async 'retries with backoff'() {
      const tries = [];
      await withQueue(options, 'retries', async (job) => {
        tries.push(Date.now());
        if (job.attemptsMade < 2) throw new Error('not yet');
        return 'at last';
      }, async (queue) => {
        const job = await queue.add('stubborn', {}, { attempts: 3, backoff: { type: 'exponential', delay: 100 } });
        assert.equal(await finished(queue, job), 'at last');
        assert.equal(tries.length, 3);
        assert.ok(tries[1] - tries[0] >= 95 && tries[2] - tries[1] >= 195, 'the pauses grow');
      });
    },
    async failures() {
      await withQueue(options, 'failures', async () => { throw new Error('broken'); }, async (queue) => {
        const job = await queue.add('hopeless', {}, { attempts: 2 });
        await assert.rejects(finished(queue, job), /broken/);
        await until('it is counted', async () => (await queue.getFailedCount()) === 1);
        const [failed] = await queue.getFailed();
        assert.equal(failed.attemptsMade, 2);
        assert.equal(failed.failedReason, 'broken');
      });
    },
    async 'delayed jobs'() {
      await withQueue(options, 'delayed', async () => Date.now(), async (queue) => {
        const begun = Date.now();
        const job = await queue.add('later', {}, { delay: 300 });
        assert.equal(await job.getState(), 'delayed');
        const ran = await finished(queue, job);
        assert.ok(ran - begun >= 295 && ran - begun < 5000, `${ran - begun} ms`);
      });
    },
    async priorities() {
      const order = [];
      await withQueue(options, 'priorities', async (job) => { order.push(job.name); }, async (queue) => {
        await queue.pause();
        const jobs = [];
        for (const [name, priority] of [['low', 10], ['middle', 5], ['high', 1]]) {
          jobs.push(await queue.add(name, {}, { priority }));
        }
        await queue.resume();
        await allFinished(queue, jobs);
        assert.deepEqual(order, ['high', 'middle', 'low']);
      });
    },
    async 'rate limit'() {
      const ran = [];
      await withQueue(options, 'limited', async () => { ran.push(Date.now()); }, async (queue) => {
        const jobs = await queue.addBulk(Array.from({ length: 6 }, () => ({ name: 'limited', data: {} })));
        await allFinished(queue, jobs);
        assert.ok(ran[5] - ran[0] >= 550, `6 jobs, 2 in 300 ms, took ${ran[5] - ran[0]} ms`);
      }, { limiter: { max: 2, duration: 300 } });
    },
    async flows() {
      const flow = new FlowProducer({ connection: connection(options), prefix: '{bull}' });
      await withQueue(options, 'flow', async (job) => {
        if (job.name !== 'parent') return job.data.n;
        const children = Object.values(await job.getChildrenValues());
        return children.reduce((sum, n) => sum + n, 0);
      }, async (queue) => {
        const child = (n) => ({ name: 'child', queueName: 'flow', data: { n } });
        const tree = await flow.add({ name: 'parent', queueName: 'flow', children: [child(1), child(2), child(39)] });
        assert.equal(await finished(queue, tree.job), 42);
      }, { concurrency: 4 });
      await flow.close();
    },
    async 'events and progress'() {
      await withQueue(options, 'events', async (job) => {
        await job.updateProgress(50);
        await job.log('half of it');
        return 'done';
      }, async (queue) => {
        const heard = [];
        // From the beginning, so that it does not matter when it begins to listen.
        const events = new QueueEvents('events', { connection: connection(options), prefix: '{bull}', lastEventId: '0' });
        for (const kind of ['waiting', 'active', 'progress', 'completed']) {
          events.on(kind, ({ jobId }) => heard.push(`${kind} ${jobId}`));
        }
        const job = await queue.add('watched', {}, { jobId: 'my-id' });
        assert.equal(await finished(queue, job), 'done');
        await until('all is heard', () => heard.length >= 4);
        await events.close();
        assert.deepEqual(heard, ['waiting', 'active', 'progress', 'completed'].map((kind) => `${kind} my-id`));
        assert.deepEqual((await queue.getJobLogs('my-id')).logs, ['half of it']);
      });
    },
    async 'repeated jobs'() {
      let ran = 0;
      await withQueue(options, 'repeated', async () => { ran++; }, async (queue) => {
        await queue.upsertJobScheduler('tick', { every: 100 });
        await until('it has run three times', () => ran >= 3);
        assert.equal(await queue.removeJobScheduler('tick'), true);
      });
    },
    async 'each job is done once by one of many workers'() {
      const done = [];
      await withQueue(options, 'shared', async (job) => { done.push(job.data.n); }, async (queue) => {
        const more = Array.from({ length: 4 }, () => new Worker('shared', async (job) => { done.push(job.data.n); },
          { connection: connection(options), prefix: '{bull}', concurrency: 5 }));
        const jobs = await queue.addBulk(Array.from({ length: 200 }, (_, n) => ({ name: 'once', data: { n } })));
        await allFinished(queue, jobs);
        await Promise.all(more.map((worker) => worker.close()));
        assert.deepEqual(done.sort((a, b) => a - b), Array.from({ length: 200 }, (_, n) => n));
      });
    },
  });
}

/** What is followed is the way of a job: to set a key is a job that must be done, to get it asks for the job's result. */
async function follower(options) {
  const prefix = '{bull}';
  const open = () => ({ connection: connection(options), prefix });
  const queue = new Queue('follow', open());
  // A job whose end was on its way when the master was lost is taken up again once its lock has run out.
  const worker = new Worker('follow', async (job) => job.data.value,
    { ...open(), lockDuration: 2000, stalledInterval: 1000, maxStalledCount: 10 });
  for (const one of [queue, worker]) one.on('error', () => {});
  await Promise.all([queue, worker].map((one) => one.waitUntilReady()));
  return {
    async set(key, value) {
      await queue.add('keep', { value }, { jobId: key.replaceAll(':', '-') });
      return 'OK';
    },
    async get(key) {
      return until(`job ${key} is done`, async () => {
        const job = await queue.getJob(key.replaceAll(':', '-'));
        if (!job) return 'lost';
        return job.returnvalue ?? (await job.isCompleted() ? 'no value' : null);
      });
    },
    async close() {
      await worker.close(true);
      await queue.close();
    },
  };
}

module.exports = { work, follower };
