'use strict';

const { sha256 } = require('./plan');

const ERRORS_KEPT = 10;

/**
 * What one group has consumed, checked against the plan: every message unaltered and none missing; in order within each
 * queue as long as it stays with one consumer (a consumer of this client takes one message after the other); in order of
 * first sight within each sharding key. Repeats are counted.
 */
class Ledger {
  constructor(plan, progress) {
    this.plan = plan;
    this.progress = progress;
    this.seen = new Set();
    this.byConsumer = new Map();
    this.lastOffsets = new WeakMap();
    this.lastOfShard = new Map();
    this.duplicates = 0;
    this.errors = [];
    this.errorCount = 0;
  }

  /** Takes down one delivery; the process queue is the client's, a new one each time that a consumer gets a queue. */
  accept(consumer, message, processQueue) {
    this.byConsumer.set(consumer, this.seenBy(consumer) + 1);
    this.checkQueueOrder(consumer, message, processQueue);
    const i = this.plan.indexOf(message.keys);
    if (i < 0) {
      this.error(`unknown keys ${message.keys}`);
    } else if (this.seen.has(i)) {
      this.duplicates++;
      this.checkContent(i, message);
    } else {
      this.seen.add(i);
      this.checkContent(i, message);
      this.checkShardOrder(i);
    }
    this.progress.step();
  }

  checkContent(i, message) {
    const { plan } = this;
    const differences = [];
    if (sha256(message.body ?? '') !== plan.digests[i]) differences.push('body');
    if (message.tags !== plan.tag(i)) differences.push(`tags=${message.tags}`);
    if (message.properties.greeting !== plan.greeting(i)) differences.push(`greeting=${message.properties.greeting}`);
    if (message.shardingKey !== plan.shard(i)) differences.push(`shard=${message.shardingKey}`);
    if (differences.length) this.error(`message ${i} was altered: ${differences.join(' ')}`);
  }

  checkQueueOrder(consumer, { queueId, queueOffset }, processQueue) {
    const last = this.lastOffsets.get(processQueue);
    this.lastOffsets.set(processQueue, queueOffset);
    if (queueOffset <= last) {
      this.error(`queue ${queueId}: ${consumer} saw offset ${queueOffset} after ${last}`);
    }
  }

  checkShardOrder(i) {
    const shard = this.plan.shard(i);
    if (!shard) return;
    const last = this.lastOfShard.get(shard);
    this.lastOfShard.set(shard, i);
    if (i < last) this.error(`${shard}: message ${i} came after ${last}`);
  }

  error(error) {
    this.errorCount++;
    if (this.errors.length < ERRORS_KEPT) this.errors.push(error);
  }

  get distinct() {
    return this.seen.size;
  }

  get complete() {
    return this.distinct === this.plan.messages;
  }

  seenBy(consumer) {
    return this.byConsumer.get(consumer) ?? 0;
  }

  /** Throws unless every message came unaltered, in order, and at most so many of them again. */
  verify(duplicatesAllowed) {
    if (!this.complete) this.error(`${this.plan.messages - this.distinct} messages missing`);
    if (this.duplicates > duplicatesAllowed) this.error(`${this.duplicates} duplicates, allowed ${duplicatesAllowed}`);
    if (this.errorCount) throw new Error(`${this.errorCount} faults:\n  ${this.errors.join('\n  ')}`);
  }
}

module.exports = { Ledger };
