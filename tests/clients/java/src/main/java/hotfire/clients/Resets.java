package hotfire.clients;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;

/**
 * An operator says where groups go on: a running one to an offset, one that is offline to a time, and another to where
 * the first is; each then consumes exactly what lies behind. And what brokers say of how far groups are.
 */
final class Resets {
    private static final int MESSAGES = 40;
    private static final int AGAIN_FROM = 15;
    private static final int TIME_OF = 30;
    private static final int MORE = 5;
    private static final long TIMEOUT = 10_000;

    private final String namesrv;
    private final String prefix;
    private final String topic;
    private final Progress progress;
    private final List<Long> storedAt = new ArrayList<>();
    private final List<Integer> consumed = new ArrayList<>();

    Resets(String namesrv, String prefix, Progress progress) {
        this.namesrv = namesrv;
        this.prefix = prefix;
        this.topic = prefix + "-resets";
        this.progress = progress;
    }

    void run() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(prefix + "-resets");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("resets");
        producer.start();
        send(producer, 0, MESSAGES);
        DefaultMQPushConsumer running = consumer("running");
        consumes(0, MESSAGES);
        MQClientInstance client = running.getDefaultMQPushConsumerImpl().getmQClientFactory();
        MQClientAPIImpl api = client.getMQClientAPIImpl();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        String broker = client.findBrokerAddressInPublish(queue.getBrokerName());
        caughtUp(api, broker, "running", queue);

        Map<MessageQueue, Long> moved = api.invokeBrokerToResetOffset(
                broker, topic, group("running"), -1, queue.getQueueId(), (long) AGAIN_FROM, TIMEOUT);
        require(moved.equals(Map.of(queue, (long) AGAIN_FROM)), "moved to " + moved);
        consumes(AGAIN_FROM, MESSAGES);
        caughtUp(api, broker, "running", queue);

        api.cloneGroupOffset(broker, group("running"), group("copy"), topic, true, TIMEOUT);
        send(producer, MESSAGES, MESSAGES + MORE);
        consumes(MESSAGES, MESSAGES + MORE);
        running.shutdown();
        DefaultMQPushConsumer copy = consumer("copy");
        consumes(MESSAGES, MESSAGES + MORE);
        copy.shutdown();

        DefaultMQPushConsumer other = consumer("other");
        consumes(0, MESSAGES + MORE);
        other.shutdown();
        MQClientAPIImpl open = producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
        open.invokeBrokerToResetOffset(broker, topic, group("other"), storedAt.get(TIME_OF), true, TIMEOUT);
        other = consumer("other");
        consumes(TIME_OF, MESSAGES + MORE);
        other.shutdown();
        producer.shutdown();
        System.out.println("resets: a running group, one that was offline, and a copy went where they were sent");
    }

    private void send(DefaultMQProducer producer, int from, int upto) throws Exception {
        for (int i = from; i < upto; i++) {
            Message message = new Message(topic, ("reset " + i).getBytes(StandardCharsets.UTF_8));
            producer.send(message, (queues, m, all) -> queues.get(0), null);
            // What is consumed says when it was stored; no two at the same time.
            Thread.sleep(3);
        }
    }

    private String group(String name) {
        return prefix + "-resets-" + name;
    }

    private DefaultMQPushConsumer consumer(String name) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group(name));
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("resets-" + name);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1000);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setConsumeThreadMin(1);
        consumer.setConsumeThreadMax(1);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(this::consume);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }

    private void consume(MessageExt message) {
        String body = new String(message.getBody(), StandardCharsets.UTF_8);
        synchronized (this) {
            int i = (int) message.getQueueOffset();
            if (!body.equals("reset " + i)) {
                progress.fail(new IllegalStateException("message " + i + " is " + body));
            }
            consumed.add(i);
            if (i == storedAt.size()) {
                storedAt.add(message.getStoreTimestamp());
            }
        }
        progress.step();
    }

    /** These are consumed, in order, and nothing else. */
    private void consumes(int from, int upto) throws Exception {
        List<Integer> expected = IntStream.range(from, upto).boxed().collect(Collectors.toList());
        progress.await("messages " + from + " to " + upto, () -> {
            synchronized (this) {
                return consumed.size() >= expected.size();
            }
        });
        synchronized (this) {
            require(consumed.equals(expected), "consumed " + consumed + ", not " + from + " to " + upto);
            consumed.clear();
        }
    }

    /** Clients commit now and then: nobody tells when. */
    private void caughtUp(MQClientAPIImpl api, String broker, String name, MessageQueue queue) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.MINUTES.toNanos(1);
        while (lag(api, broker, name, queue) != 0) {
            require(System.nanoTime() < deadline, "the group " + name + " is said to be behind");
            Thread.sleep(100);
        }
    }

    /** What is before a group, as its broker says; -1 before it knows the group. */
    private long lag(MQClientAPIImpl api, String broker, String name, MessageQueue queue) {
        try {
            ConsumeStats stats = api.getConsumeStats(broker, group(name), topic, TIMEOUT);
            OffsetWrapper offsets = stats.getOffsetTable().get(queue);
            if (offsets == null) {
                return -1;
            }
            require(offsets.getBrokerOffset() == MESSAGES, "the queue ends at " + offsets.getBrokerOffset());
            return offsets.getBrokerOffset() - offsets.getConsumerOffset();
        } catch (MQBrokerException e) {
            return -1;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private static void require(boolean holds, String fault) {
        if (!holds) {
            throw new IllegalStateException("resets: " + fault);
        }
    }
}
