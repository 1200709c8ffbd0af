// PROGRAM JOB CLIENT PROTOCOL MODE PASSWORD ADDRESS…: see ../README.md.
'use strict';

const { follow } = require('./follow');

const LIMIT_MS = 120000;
const CLIENTS = { ioredis: './ioredis', 'node-redis': './node-redis', bullmq: './bullmq' };

async function main() {
  const [job, client, protocol, mode, password, ...addresses] = process.argv.slice(2);
  const library = require(CLIENTS[client]);
  const nodes = addresses.map((address) => {
    const [host, port] = address.split(':');
    return { host, port: Number(port) };
  });
  const options = { protocol: Number(protocol), mode, password, nodes };
  if (job === 'work') await library.work(options);
  else if (job === 'follow') await follow(await library.follower(options));
  else throw new Error(`no such job: ${job}`);
}

setTimeout(() => {
  console.error(`not done within ${LIMIT_MS} ms`);
  process.exit(2);
}, LIMIT_MS).unref();
main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
