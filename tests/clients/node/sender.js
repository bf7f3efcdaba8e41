'use strict';

const { Message, Producer } = require('ali-ons');
const { MODES } = require('./plan');

const ASYNC_IN_FLIGHT = 16;

/** Sends the plan's messages in order, the modes taking turns. Any answer but SEND_OK is a failure. */
class Sender {
  constructor(plan, progress, options) {
    this.plan = plan;
    this.progress = progress;
    this.limit = 0;
    this.inFlight = 0;
    this.queueOfShard = new Map();
    this.sent = Object.fromEntries(MODES.map(mode => [mode, { messages: 0, bytes: 0 }]));
    this.producer = new Producer({
      ...options,
      producerGroup: `${plan.topic}-producers`,
      instanceName: 'producer',
      sendMsgTimeout: 10_000,
      // A second try would compress the compressed body once more (MQProducer.sendKernelImpl).
      retryTimesWhenSendFailed: 0,
    });
    this.producer.on('error', error => progress.fail(error));
  }

  /** Lets messages up to number limit - 1 go. */
  open(limit) {
    this.limit = limit;
    this.progress.step();
  }

  /**
   * Creates the topic by sending message 0. The client means to fall back on the route of TBW102 for a topic that does
   * not exist, but fails on the way to it (MQProducer.tryToFindTopicPublishInfo); so fetch that route beforehand.
   */
  async createTopic() {
    await this.producer.ready();
    await this.producer._mqClient.updateTopicRouteInfoFromNameServer(this.plan.topic, true, this.producer);
    await this.sendOne(0);
  }

  /** Sends the messages from this one on, each as soon as the limit lets it go. */
  async send(from) {
    for (let i = from; i < this.plan.messages; i++) {
      await this.progress.until(`leave to send message ${i}`, () => i < this.limit);
      if (this.plan.mode(i) === 'async') {
        await this.progress.until('an asynchronous send to end', () => this.inFlight < ASYNC_IN_FLIGHT);
        this.inFlight++;
        this.sendOne(i)
          .catch(error => this.progress.fail(error))
          .finally(() => {
            this.inFlight--;
            this.progress.step();
          });
      } else {
        await this.sendOne(i);
      }
    }
    await this.progress.until('the last asynchronous sends', () => this.inFlight === 0);
  }

  async sendOne(i) {
    const { plan } = this;
    const message = new Message(plan.topic, plan.tag(i), plan.body(i));
    message.keys = plan.keys(i);
    message.properties.greeting = plan.greeting(i);
    const shard = plan.shard(i);
    if (shard) message.shardingKey = shard;
    const sent = this.sent[plan.mode(i)];
    sent.messages++;
    sent.bytes += message.body.length;

    const result = await this.producer.send(message);
    if (result.sendStatus !== 'SEND_OK') throw new Error(`send: ${JSON.stringify(result)}`);
    if (!shard) return;
    const queue = Number(result.messageQueue.queueId);
    const expected = this.queueOfShard.get(shard) ?? queue;
    if (queue !== expected) throw new Error(`${shard} went to queue ${queue} after queue ${expected}`);
    this.queueOfShard.set(shard, queue);
  }

  /** Prints one line for each mode. */
  report() {
    for (const mode of MODES) {
      const { messages, bytes } = this.sent[mode];
      console.log(`mode ${mode}: ${messages} messages, ${(bytes / 1e6).toFixed(1)} MB`);
    }
    console.log('mode one-way: not offered by this client');
    console.log('mode batch: not offered by this client');
  }
}

module.exports = { Sender };
