'use strict';

const { EventEmitter, once } = require('node:events');

const PATIENCE_MS = 120_000;

/**
 * Waiting by event: a wait ends when its condition holds, when anything has failed, or when nothing at all has happened
 * for two minutes.
 */
class Progress {
  constructor() {
    this.events = new EventEmitter().setMaxListeners(0);
  }

  /** Something has happened: conditions are looked at again. */
  step() {
    this.events.emit('step');
  }

  /** Ends all waits, present and future, with this failure. */
  fail(error) {
    this.failure ??= error;
    this.step();
  }

  async until(what, condition) {
    while (true) {
      if (this.failure) throw new Error(`failed while waiting for ${what}`, { cause: this.failure });
      if (condition()) return;
      try {
        await once(this.events, 'step', { signal: AbortSignal.timeout(PATIENCE_MS) });
      } catch (cause) {
        throw new Error(`nothing has happened for two minutes while waiting for ${what}`, { cause });
      }
    }
  }
}

module.exports = { Progress };
