// Writes through one client object for as long as it is told to, and reads back what was acknowledged.
'use strict';

const readline = require('node:readline');
const { say, sleep } = require('./common');

const PAUSE_MS = 5;
const PAUSE_AFTER_ERROR_MS = 20;
const IN_A_ROW = 100;

/** `client` has set(key, value) and get(key), promises, and close(). */
async function follow(client) {
  const prefix = `follow:${process.pid}`;
  const acknowledged = [];
  const errors = {};
  const lines = [];
  readline.createInterface({ input: process.stdin }).on('line', (line) => lines.push(line));
  let row = 0, waiting = true, last = null, outage = 0, ending = false;
  for (let n = 0; !ending; n++) {
    try {
      const answer = await client.set(`${prefix}:${n}`, `value ${n}`);
      if (answer !== 'OK') throw new Error(`SET was answered with ${answer}`);
      const now = performance.now();
      if (last !== null) outage = Math.max(outage, now - last);
      last = now;
      acknowledged.push(n);
      row++;
      await sleep(PAUSE_MS);
    } catch (error) {
      row = 0;
      const text = `${error.name}: ${error.message}`.slice(0, 80);
      errors[text] = (errors[text] || 0) + 1;
      await sleep(PAUSE_AFTER_ERROR_MS);
    }
    if (waiting && row >= IN_A_ROW) {
      waiting = false;
      say({ going: acknowledged.length, outage_ms: Math.round(outage) });
      outage = 0;
    }
    while (lines.length > 0) {
      const line = lines.shift();
      if (line === 'end') ending = true;
      else if (line === 'mark') outage = 0;
      else [waiting, row] = [true, 0];
    }
  }
  const missing = [];
  for (const n of acknowledged) {
    if (await client.get(`${prefix}:${n}`) !== `value ${n}`) missing.push(n);
  }
  say({ acknowledged: acknowledged.length, missing, errors });
  await client.close();
}

module.exports = { follow };
