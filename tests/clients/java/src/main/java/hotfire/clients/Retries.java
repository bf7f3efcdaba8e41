package hotfire.clients;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Messages that a group fails to consume: they come again, unaltered and after the delay that was asked for, as often as
 * the group allows, and then they are dead letters. An orderly group gets past a message that it cannot consume.
 *
 * <p>Message i fails i % 4 times, of which two retries are allowed: every fourth is a dead letter.
 */
final class Retries {
    private static final int MESSAGES = 40;
    private static final int MOST = 2;
    private static final int KINDS = 4;
    private static final int POISON = 7;

    /** Level 3 of the broker's table: what it chooses for a first retry. */
    private static final long FIRST_DELAY_MILLIS = 10_000;

    private final String namesrv;
    private final String prefix;
    private final Progress progress;
    private final Map<Integer, SendResult> sent = new HashMap<>();
    private final Map<Integer, Integer> failures = new HashMap<>();
    private final Map<Integer, Long> failedAt = new HashMap<>();
    private final Map<Integer, MessageExt> dead = new HashMap<>();
    private final List<Integer> consumed = new ArrayList<>();

    Retries(String namesrv, String prefix, Progress progress) {
        this.namesrv = namesrv;
        this.prefix = prefix;
        this.progress = progress;
    }

    void run() throws Exception {
        long start = System.nanoTime();
        String topic = prefix + "-tasks";
        send(topic);
        DefaultMQPushConsumer workers = consumer("workers", topic);
        workers.registerMessageListener((MessageListenerConcurrently) this::work);
        workers.start();
        DefaultMQPushConsumer letters = letters("workers");
        progress.await("retries and dead letters", () -> {
            synchronized (this) {
                return consumed.size() == MESSAGES / KINDS * (KINDS - 1) && dead.size() == MESSAGES / KINDS;
            }
        });
        workers.shutdown();
        letters.shutdown();
        check(topic);
        System.out.printf(
                "retries: %d messages came again unaltered until they were consumed, %d are dead letters, %.1f s%n",
                MESSAGES / 2, dead.size(), (System.nanoTime() - start) / 1e9);
        inOrder();
    }

    private void send(String topic) throws Exception {
        sent.clear();
        DefaultMQProducer producer = new DefaultMQProducer(prefix + "-tasks");
        producer.setNamesrvAddr(namesrv);
        producer.start();
        for (int i = 0; i < MESSAGES; i++) {
            Message message = new Message(topic, "tag-" + i, "task-" + i, body(i));
            message.putUserProperty("greeting", "世界-" + i);
            sent.put(i, producer.send(message, (queues, m, all) -> queues.get(0), null));
        }
        producer.shutdown();
    }

    private static byte[] body(int i) {
        return ("to do: " + i + " ").repeat(1 + i * 50).getBytes(StandardCharsets.UTF_8);
    }

    private DefaultMQPushConsumer consumer(String group, String topic) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(prefix + "-" + group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1000);
        consumer.setMaxReconsumeTimes(MOST);
        consumer.subscribe(topic, "*");
        return consumer;
    }

    /** Reads the dead letters of a group. */
    private DefaultMQPushConsumer letters(String group) throws Exception {
        DefaultMQPushConsumer letters = consumer(group + "-letters", "%DLQ%" + prefix + "-" + group);
        letters.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(this::letter);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        letters.start();
        return letters;
    }

    private void letter(MessageExt message) {
        int i = number(message);
        boolean isFirst;
        synchronized (this) {
            isFirst = dead.put(i, message) == null;
        }
        if (!isFirst) {
            progress.fail(new IllegalStateException("two dead letters of message " + i));
        }
        progress.step();
    }

    private ConsumeConcurrentlyStatus work(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        MessageExt message = messages.get(0);
        try {
            return isDone(message, context) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS
                    : ConsumeConcurrentlyStatus.RECONSUME_LATER;
        } catch (RuntimeException e) {
            progress.fail(e);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        } finally {
            progress.step();
        }
    }

    private synchronized boolean isDone(MessageExt message, ConsumeConcurrentlyContext context) {
        int i = number(message);
        int times = failures.getOrDefault(i, 0);
        unaltered(i, message);
        require(message.getTopic().equals(prefix + "-tasks"), i, "its topic is " + message.getTopic());
        require(message.getReconsumeTimes() == times, i,
                "came with " + message.getReconsumeTimes() + " failures, and had " + times);
        // Where a message is to fail once, the broker chooses how long it waits.
        boolean chosen = i % KINDS == 1;
        if (times > 0 && chosen) {
            long waited = System.currentTimeMillis() - failedAt.get(i);
            require(waited >= FIRST_DELAY_MILLIS - 100, i, "came again after " + waited + " ms");
        }
        if (times == i % KINDS) {
            require(!consumed.contains(i), i, "was consumed twice");
            consumed.add(i);
            return true;
        }
        failures.put(i, times + 1);
        failedAt.put(i, System.currentTimeMillis());
        context.setDelayLevelWhenNextConsume(chosen ? 0 : 1);
        return false;
    }

    private static int number(MessageExt message) {
        return Integer.parseInt(message.getKeys().substring("task-".length()));
    }

    private static void require(boolean holds, int i, String fault) {
        if (!holds) {
            throw new IllegalStateException("message " + i + " " + fault);
        }
    }

    private static void unaltered(int i, MessageExt message) {
        require(Arrays.equals(message.getBody(), body(i)), i, "has another body");
        require(("tag-" + i).equals(message.getTags()), i, "has the tag " + message.getTags());
        String greeting = message.getUserProperty("greeting");
        require(("世界-" + i).equals(greeting), i, "has the greeting " + greeting);
    }

    private synchronized void check(String topic) {
        for (int i = 0; i < MESSAGES; i++) {
            boolean isDead = i % KINDS > MOST;
            require(dead.containsKey(i) == isDead, i, "is among the wrong");
            if (isDead) {
                MessageExt letter = dead.get(i);
                unaltered(i, letter);
                require(letter.getReconsumeTimes() == MOST + 1, i, "failed " + letter.getReconsumeTimes() + " times");
                require(sent.get(i).getMsgId().equals(letter.getMsgId()), i, "is " + letter.getMsgId());
                String from = letter.getProperty(MessageConst.PROPERTY_RETRY_TOPIC);
                require(topic.equals(from), i, "comes from " + from);
                String origin = letter.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID);
                require(sent.get(i).getOffsetMsgId().equals(origin), i, "was " + origin);
            }
        }
    }

    /** A message that fails for ever holds up its queue twice, and then no longer. */
    private void inOrder() throws Exception {
        String topic = prefix + "-steps";
        send(topic);
        consumed.clear();
        failures.clear();
        dead.clear();
        DefaultMQPushConsumer workers = consumer("steppers", topic);
        workers.registerMessageListener((MessageListenerOrderly) this::step);
        workers.start();
        DefaultMQPushConsumer letters = letters("steppers");
        progress.await("steps and a dead letter", () -> {
            synchronized (this) {
                return consumed.size() == MESSAGES - 1 && dead.size() == 1;
            }
        });
        workers.shutdown();
        letters.shutdown();
        List<Integer> expected = new ArrayList<>();
        for (int i = 0; i < MESSAGES; i++) {
            if (i != POISON) {
                expected.add(i);
            }
        }
        require(consumed.equals(expected), POISON, "was passed, in the order " + consumed);
        unaltered(POISON, dead.get(POISON));
        System.out.printf("in order: %d messages, past one that is a dead letter%n", consumed.size());
    }

    private ConsumeOrderlyStatus step(List<MessageExt> messages, ConsumeOrderlyContext context) {
        int i = number(messages.get(0));
        if (i == POISON) {
            context.setSuspendCurrentQueueTimeMillis(50);
            return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
        }
        synchronized (this) {
            consumed.add(i);
        }
        progress.step();
        return ConsumeOrderlyStatus.SUCCESS;
    }
}
