package hotfire.clients;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * An orderly consumer, which locks its queues, and a producer, that live while a broker's master dies and comes back.
 * tests/apache/pairs says on standard input what happens next:
 *
 * <pre>
 *  send N       send so many more
 *  hold, go     consume nothing; consume again
 *  await N      until so many were consumed, each at least once
 *  restart      leave the group, and come back as a member that knows nothing
 *  once         was each consumed once?
 * </pre>
 *
 * Each line is answered with one that repeats it; a failure ends the process.
 */
public final class Acting {
    private static final long PATIENCE_MILLIS = 60_000;
    private static final String TOPIC = "Acting";

    private final String namesrv;
    private final DefaultMQProducer producer = new DefaultMQProducer("acting-writers");
    private final Map<String, Integer> consumed = new ConcurrentHashMap<>();
    private DefaultMQPushConsumer consumer;
    private int sent;

    private Acting(String namesrv) {
        this.namesrv = namesrv;
    }

    public static void main(String[] args) {
        // Quicker than by default: 20 s each.
        System.setProperty("rocketmq.client.rebalance.waitInterval", "1000");
        System.setProperty("rocketmq.client.rebalance.lockInterval", "1000");
        try {
            new Acting(args[1]).run();
            System.exit(0);
        } catch (Throwable e) {
            e.printStackTrace();
            System.exit(1);
        }
    }

    private void run() throws Exception {
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("writer");
        producer.setPollNameServerInterval(1000);
        producer.start();
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String order = orders.readLine(); order != null; order = orders.readLine()) {
            String[] words = order.split(" ");
            switch (words[0]) {
                case "send" -> send(Integer.parseInt(words[1]));
                case "hold" -> consumer.suspend();
                case "go" -> consumer.resume();
                case "await" -> await(Integer.parseInt(words[1]));
                case "restart" -> restart();
                case "once" -> once();
                default -> throw new IllegalArgumentException(order);
            }
            System.out.println(order);
        }
        producer.shutdown();
    }

    private void restart() throws Exception {
        if (consumer != null) {
            consumer.shutdown();
        }
        consumer = new DefaultMQPushConsumer("acting-readers");
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("reader-" + System.nanoTime());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1000);
        consumer.setHeartbeatBrokerInterval(1000);
        consumer.setPersistConsumerOffsetInterval(200);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                consumed.merge(new String(message.getBody(), StandardCharsets.UTF_8), 1, Integer::sum);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
    }

    /** What is not acknowledged is sent again, and may come twice then: it gets another name. */
    private void send(int count) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        for (int done = 0, attempt = 0; done < count; attempt++) {
            String body = "message " + sent + " " + attempt;
            try {
                SendStatus status = producer.send(new Message(TOPIC, body.getBytes(StandardCharsets.UTF_8)))
                        .getSendStatus();
                if (status == SendStatus.SEND_OK) {
                    sent++;
                    done++;
                    continue;
                }
            } catch (Exception e) {
                if (System.currentTimeMillis() > deadline) {
                    throw e;
                }
            }
            Thread.sleep(100);
        }
    }

    private void await(int count) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        while (consumed.size() < count) {
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("consumed " + consumed.size() + " of " + count);
            }
            Thread.sleep(20);
        }
    }

    private void once() {
        consumed.forEach((body, times) -> {
            if (times > 1) {
                throw new IllegalStateException(body + " came " + times + " times");
            }
        });
    }
}
