// What the programs share: reports as JSON lines, and waiting.
'use strict';

const WAIT_MS = 10000;

const say = (report) => console.log(JSON.stringify(report));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs the parts of a piece of work in turn; each is reported once it has passed. */
async function checkAll(parts) {
  for (const [name, part] of Object.entries(parts)) {
    try {
      await part();
    } catch (error) {
      error.message = `${name}: ${error.message}`;
      throw error;
    }
    say({ checked: name });
  }
}

/** Waits until `probe` returns, or resolves to, something true. */
async function until(what, probe) {
  for (const end = Date.now() + WAIT_MS; ; await sleep(10)) {
    const seen = await probe();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`not within ${WAIT_MS} ms: ${what}`);
  }
}

module.exports = { checkAll, say, sleep, until };
