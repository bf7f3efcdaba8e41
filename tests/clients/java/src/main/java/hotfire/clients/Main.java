package hotfire.clients;

import hotfire.clients.Plan.Mode;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/**
 * Checks a cluster end to end with the official Java client, unmodified: sends in every mode that it offers while an
 * orderly cluster group consumes and is rebalanced three times, then lets a broadcast group read it all again, and fails
 * to consume some. Exits 0 only if every message came to each as it was sent.
 */
public final class Main {
    private static final int LEAST_MESSAGES = 100;

    /** Rebalances may repeat so many messages, or a fifth of all if that is more. */
    private static final int FEW_DUPLICATES = 200;

    /** How many members of the group each cluster consumer saw at its latest rebalance. */
    private final Map<String, Integer> members = new ConcurrentHashMap<>();

    private final String namesrv;
    private final Plan plan;
    private final Progress progress = new Progress();

    private Main(String namesrv, Plan plan) {
        this.namesrv = namesrv;
        this.plan = plan;
    }

    public static void main(String[] args) {
        // Quicker than by default (20 s each): handing a queue over, and looking at the group again.
        System.setProperty("rocketmq.client.unlockDelayTimeMills", "1000");
        System.setProperty("rocketmq.client.rebalance.waitInterval", "2000");
        try {
            Map<String, String> options = options(args);
            int messages = Integer.parseInt(options.getOrDefault("--messages", "10000"));
            if (messages < LEAST_MESSAGES) {
                throw new IllegalArgumentException("--messages must be " + LEAST_MESSAGES + " or more");
            }
            Plan plan = new Plan(
                    options.getOrDefault("--topic-prefix", "clients-java"),
                    messages,
                    Integer.parseInt(options.getOrDefault("--max-body", "1048576")),
                    Long.parseLong(options.getOrDefault("--seed", "1")));
            Main main = new Main(options.getOrDefault("--namesrv", "127.0.0.1:9876"), plan);
            main.sendAndConsume();
            main.broadcast();
            new Retries(main.namesrv, plan.topic, main.progress).run();
            new Resets(main.namesrv, plan.topic, main.progress).run();
            System.exit(0);
        } catch (Throwable e) {
            e.printStackTrace();
            System.exit(1);
        }
    }

    private static Map<String, String> options(String[] args) {
        List<String> known = List.of("--namesrv", "--messages", "--max-body", "--seed", "--topic-prefix");
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i < args.length; i += 2) {
            if (!known.contains(args[i]) || i + 1 == args.length) {
                throw new IllegalArgumentException("options: " + String.join(" ", known) + ", each with a value");
            }
            options.put(args[i], args[i + 1]);
        }
        return options;
    }

    /**
     * The second consumer joins when a third is consumed, leaves when it has had some, and joins again; the sender is
     * held back at each step so that there is something left to consume after it. It does not leave at once: Apache's
     * broker, when it comes to a heartbeat only after the connection is closed, keeps the dead member for two minutes.
     */
    private void sendAndConsume() throws Exception {
        long start = System.nanoTime();
        Ledger ledger = new Ledger(plan, progress, true);
        try (Sender sender = new Sender(plan, progress, namesrv, plan.topic + "-producers")) {
            sender.open(plan.messages / 2);
            sender.send(0, 1); // Creates the topic.
            DefaultMQPushConsumer one = startOrderly("one", "one", ledger);
            CompletableFuture<Void> sending = CompletableFuture.runAsync(() -> {
                try {
                    sender.send(1, plan.messages);
                } catch (Exception e) {
                    progress.fail(e);
                }
            });

            progress.await("a third of the messages", () -> ledger.distinct() >= plan.messages / 3);
            DefaultMQPushConsumer two = startOrderly("two", "two", ledger);
            progress.await("a group of two", () -> sees("one", 2) && sees("two", 2));
            sender.open(plan.messages / 4 * 3);
            progress.await("messages of the second consumer", () -> ledger.seenBy("two") >= plan.messages / 20);

            two.shutdown();
            progress.await("a group of one", () -> sees("one", 1));
            two = startOrderly("two", "two again", ledger);
            progress.await("a group of two again", () -> sees("one", 2) && sees("two again", 2));
            sender.open(plan.messages);
            progress.await("messages of the second consumer again", () -> ledger.seenBy("two again") > 0);

            progress.await("the sender", sending::isDone);
            for (Mode mode : Mode.values()) {
                System.out.println(sender.report(mode));
            }
            progress.await("all messages", ledger::complete);
            one.shutdown();
            two.shutdown();
        }
        ledger.verify(Math.max(FEW_DUPLICATES, plan.messages / 5));
        System.out.printf(
                "cluster: %d messages unaltered and in order through 3 rebalances (consumer one %d, two %d + %d), "
                        + "%d duplicates, %.1f s%n",
                ledger.distinct(),
                ledger.seenBy("one"),
                ledger.seenBy("two"),
                ledger.seenBy("two again"),
                ledger.duplicates(),
                (System.nanoTime() - start) / 1e9);
    }

    private boolean sees(String consumer, int count) {
        return members.getOrDefault(consumer, 0) == count;
    }

    private void broadcast() throws Exception {
        long start = System.nanoTime();
        Ledger[] ledgers = {new Ledger(plan, progress, false), new Ledger(plan, progress, false)};
        DefaultMQPushConsumer[] consumers = new DefaultMQPushConsumer[ledgers.length];
        for (int i = 0; i < ledgers.length; i++) {
            String name = "broadcast-" + i;
            Ledger ledger = ledgers[i];
            consumers[i] = consumer(plan.topic + "-broadcast", name);
            consumers[i].setMessageModel(MessageModel.BROADCASTING);
            consumers[i].setMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> ledger.accept(name, message));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumers[i].start();
        }
        progress.await("all messages, twice", () -> ledgers[0].complete() && ledgers[1].complete());
        for (int i = 0; i < ledgers.length; i++) {
            consumers[i].shutdown();
            ledgers[i].verify(0);
        }
        System.out.printf(
                "broadcast: %d messages unaltered and once to each of 2 consumers, %.1f s%n",
                plan.messages, (System.nanoTime() - start) / 1e9);
    }

    private DefaultMQPushConsumer startOrderly(String instance, String name, Ledger ledger) throws Exception {
        DefaultMQPushConsumer consumer = consumer(plan.topic + "-cluster", instance);
        consumer.setAllocateMessageQueueStrategy(new AllocateMessageQueueAveragely() {
            @Override
            public List<MessageQueue> allocate(
                    String group, String client, List<MessageQueue> queues, List<String> clients) {
                List<MessageQueue> mine = super.allocate(group, client, queues, clients);
                if (queues.get(0).getTopic().equals(plan.topic)) {
                    ledger.assign(name, mine.stream().map(MessageQueue::getQueueId).collect(Collectors.toSet()));
                    members.put(name, clients.size());
                    progress.step();
                }
                return mine;
            }
        });
        consumer.setMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(message -> ledger.accept(name, message));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    private DefaultMQPushConsumer consumer(String group, String instance) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1000);
        consumer.setPullThresholdSizeForQueue(16);
        consumer.setConsumeThreadMax(4);
        consumer.setConsumeThreadMin(4);
        consumer.subscribe(plan.topic, "*");
        return consumer;
    }
}
