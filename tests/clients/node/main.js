'use strict';

/**
 * Checks a cluster end to end with ali-ons, unmodified: sends in every mode that it offers while a cluster group consumes
 * and is rebalanced three times, then lets a broadcast group read it all again. Exits 0 only if every message came to
 * each as it was sent.
 */

const { parseArgs } = require('node:util');
const { Consumer } = require('ali-ons');
const AllocateAveragely = require('ali-ons/lib/consumer/rebalance/allocate_message_queue_averagely');
const { Ledger } = require('./ledger');
const { Plan } = require('./plan');
const { Progress } = require('./progress');
const { Sender } = require('./sender');

const LEAST_MESSAGES = 100;

/** Rebalances may repeat so many messages, or a fifth of all if that is more. */
const FEW_DUPLICATES = 200;

/** A retry topic that does not exist yet and a queue without an offset: the client calls them errors, but goes on. */
const EXPECTED = [17, 22];

class Run {
  constructor(namesrv, plan) {
    this.plan = plan;
    this.progress = new Progress();
    this.members = new Map(); // How many members of the group each cluster consumer saw at its latest rebalance.
    this.options = {
      nameSrv: namesrv,
      httpclient: {}, // Required, but of use only for finding name servers.
      logger: { debug() {}, info() {}, warn() {}, error: console.error },
      pollNameServerInteval: 1000, // The client's spelling.
    };
  }

  /**
   * The second consumer joins when a third is consumed, leaves when it has had some, and joins again; the sender is held
   * back at each step so that there is something left to consume after it. It does not leave at once: Apache's broker,
   * when it comes to a heartbeat only after the connection is closed, keeps the dead member for two minutes.
   */
  async sendAndConsume() {
    const start = Date.now();
    const { plan, progress } = this;
    const ledger = new Ledger(plan, progress);
    const sender = new Sender(plan, progress, this.options);
    sender.open(plan.messages / 2);
    await sender.createTopic();
    const one = this.startCluster('one', 'one', ledger);
    const sending = sender.send(1).catch(error => progress.fail(error));

    await progress.until('a third of the messages', () => ledger.distinct >= plan.messages / 3);
    let two = this.startCluster('two', 'two', ledger);
    await progress.until('a group of two', () => this.sees('one', 2) && this.sees('two', 2));
    sender.open((plan.messages / 4) * 3);
    await progress.until('messages of the second consumer', () => ledger.seenBy('two') >= plan.messages / 20);

    await two.close();
    await progress.until('a group of one', () => this.sees('one', 1));
    two = this.startCluster('two', 'two again', ledger);
    await progress.until('a group of two again', () => this.sees('one', 2) && this.sees('two again', 2));
    sender.open(plan.messages);
    await progress.until('messages of the second consumer again', () => ledger.seenBy('two again') > 0);

    await progress.until('all messages', () => ledger.complete);
    await sending;
    sender.report();
    await Promise.all([one.close(), two.close(), sender.producer.close()]);
    ledger.verify(Math.max(FEW_DUPLICATES, plan.messages / 5));
    console.log(
      `cluster: ${ledger.distinct} messages unaltered and in order through 3 rebalances (consumer one ` +
        `${ledger.seenBy('one')}, two ${ledger.seenBy('two')} + ${ledger.seenBy('two again')}), ` +
        `${ledger.duplicates} duplicates, ${seconds(start)} s`,
    );
  }

  sees(consumer, count) {
    return this.members.get(consumer) === count;
  }

  async broadcast() {
    const start = Date.now();
    const { plan, progress } = this;
    const ledgers = [0, 1].map(() => new Ledger(plan, progress));
    const consumers = ledgers.map((ledger, i) => {
      const name = `broadcast-${i}`;
      return this.start(name, name, ledger, { consumerGroup: `${plan.topic}-broadcast`, isBroadcast: true });
    });
    await progress.until('all messages, twice', () => ledgers.every(ledger => ledger.complete));
    await Promise.all(consumers.map(consumer => consumer.close()));
    ledgers.forEach(ledger => ledger.verify(0));
    console.log(
      `broadcast: ${plan.messages} messages unaltered and once to each of 2 consumers, ${seconds(start)} s`,
    );
  }

  startCluster(instance, name, ledger) {
    const { members, plan, progress } = this;
    class Strategy extends AllocateAveragely {
      allocate(group, client, queues, clients) {
        if (queues[0].topic === plan.topic) {
          members.set(name, clients.length);
          progress.step();
        }
        return super.allocate(group, client, queues, clients);
      }
    }
    return this.start(instance, name, ledger, {
      consumerGroup: `${plan.topic}-cluster`,
      allocateMessageQueueStrategy: new Strategy(),
      rebalanceInterval: 250, // The client does not listen to the broker's word that the group has changed.
    });
  }

  start(instance, name, ledger, options) {
    const consumer = new Consumer({
      ...this.options,
      ...options,
      instanceName: instance,
      consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
      // A queue that is taken away is consumed to the end of what was pulled, so pull little ahead: fewer duplicates.
      pullThresholdForQueue: 64,
      pullTimeDelayMillsWhenFlowControl: 20,
    });
    consumer.on('error', error => {
      if (!EXPECTED.includes(error.code)) console.error(`${name}: ${error.message}`);
    });
    consumer.subscribe(this.plan.topic, '*', async (message, queue, processQueue) => ledger.accept(name, message, processQueue));
    return consumer;
  }
}

function seconds(start) {
  return ((Date.now() - start) / 1000).toFixed(1);
}

async function main() {
  const { values } = parseArgs({
    options: {
      namesrv: { type: 'string', default: '127.0.0.1:9876' },
      messages: { type: 'string', default: '10000' },
      'max-body': { type: 'string', default: '1048576' },
      seed: { type: 'string', default: '1' },
      'topic-prefix': { type: 'string', default: 'clients-node' },
    },
  });
  const messages = Number(values.messages);
  if (!(messages >= LEAST_MESSAGES)) throw new Error(`--messages must be ${LEAST_MESSAGES} or more`);
  const plan = new Plan(values['topic-prefix'], messages, Number(values['max-body']), values.seed);
  const run = new Run(values.namesrv, plan);
  await run.sendAndConsume();
  await run.broadcast();
}

// The client keeps timers alive after its close.
main().then(
  () => process.exit(0),
  error => {
    console.error(error);
    process.exit(1);
  },
);
