'use strict';

const crypto = require('node:crypto');

const MODES = ['sync', 'async', 'selected queue'];
const SHARDS = 16;
const QUEUES = 4; // What the client asks for when its first message creates the topic.
const CHUNK = 64;

/**
 * The messages of one run, a pure function of the seed: message i always has the same mode, body, tag, keys and
 * properties, so that sender and checker never need to talk.
 *
 * In every mode the first bodies run through all powers of two up to the largest size, that size included, from one byte
 * up: the client lets an empty body through, but Apache's broker answers it with code 1. The rest are log-uniform, three
 * in four of them below a 64th of the largest: about 20 KB on average when that is 1 MiB. Half of the bodies compress
 * well, half not at all.
 */
class Plan {
  constructor(topic, messages, maxBody, seed) {
    this.topic = topic;
    this.messages = messages;
    this.maxBody = maxBody;
    this.seed = seed;
    this.specialSizes = [];
    for (let size = 1; size < maxBody; size *= 2) this.specialSizes.push(size);
    this.specialSizes.push(maxBody);
    this.shards = shards();
    this.digests = Array.from({ length: messages }, (_, i) => sha256(this.body(i)));
  }

  mode(i) {
    return MODES[i % MODES.length];
  }

  body(i) {
    const random = xorshift(crypto.createHash('md5').update(`${this.seed}/${i}`).digest().readUInt32LE());
    const size = this.size(Math.floor(i / MODES.length), random);
    const chunk = random() % 2 ? size : Math.min(CHUNK, size);
    const words = new Uint32Array(Math.ceil(chunk / 4));
    for (let at = 0; at < words.length; at++) words[at] = random();
    return Buffer.alloc(size, Buffer.from(words.buffer, 0, chunk));
  }

  size(nthOfMode, random) {
    if (nthOfMode < this.specialSizes.length) return this.specialSizes[nthOfMode];
    const largest = random() % 4 ? Math.max(1, this.maxBody / 64) : this.maxBody;
    return Math.floor(largest ** (random() / 2 ** 32));
  }

  tag(i) {
    return `tag-${i % 7}`;
  }

  /** Two keys: the first names the message, the second a group of messages. */
  keys(i) {
    return [`message-${i}`, `group-${i % 100}`];
  }

  greeting(i) {
    return `héllo-世界-🚀-${i}`;
  }

  /** The sharding key; only messages of a selected queue have one. */
  shard(i) {
    return this.mode(i) === 'selected queue' ? this.shards[Math.floor(i / MODES.length) % SHARDS] : undefined;
  }

  /** The number of the message that has these keys, or -1. */
  indexOf(keys) {
    const i = Number(/^message-(\d+) /.exec(keys)?.[1] ?? -1);
    return i < this.messages && i >= 0 && keys === this.keys(i).join(' ') ? i : -1;
  }
}

/**
 * Keys that the client keeps in one queue each. It does not for one that hashes to queue 0, which it takes for no queue
 * (TopicPublishInfo.selectOneMessageQueue): it sends those round robin.
 */
function shards() {
  const keys = [];
  for (let n = 0; keys.length < SHARDS; n++) {
    const key = `shard-${n}`;
    if (crypto.createHash('md5').update(key).digest().readUInt32BE() % QUEUES) keys.push(key);
  }
  return keys;
}

function sha256(data) {
  return crypto.createHash('sha256').update(data).digest('hex');
}

/** Marsaglia's generator of 32-bit numbers. */
function xorshift(seed) {
  let x = seed || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

module.exports = { MODES, Plan, sha256 };
