package hotfire.clients;

import hotfire.clients.Plan.Mode;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Sends the plan's messages in order, the modes taking turns, so that the acknowledged sends pace the one-way ones. Any
 * answer but SEND_OK is a failure.
 */
final class Sender implements AutoCloseable {
    private static final int ASYNC_IN_FLIGHT = 16;
    private static final int BATCH_MESSAGES = 16;
    private static final int TIMEOUT_MILLIS = 10_000;

    private final Plan plan;
    private final Progress progress;
    private final DefaultMQProducer producer;
    private final AtomicInteger inFlight = new AtomicInteger();
    private final List<Message> batch = new ArrayList<>();
    private int batchBytes;
    private volatile int limit;
    private final Map<Mode, Integer> sent = new EnumMap<>(Mode.class);
    private final Map<Mode, Long> bytes = new EnumMap<>(Mode.class);

    Sender(Plan plan, Progress progress, String namesrv, String group) throws Exception {
        this.plan = plan;
        this.progress = progress;
        producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("producer");
        producer.setSendMsgTimeout(TIMEOUT_MILLIS);
        producer.start();
    }

    /** Lets messages up to number limit - 1 go. */
    void open(int limit) {
        this.limit = limit;
        progress.step();
    }

    /** Sends messages from..to - 1, each as soon as the limit lets it go. */
    void send(int from, int to) throws Exception {
        for (int i = from; i < to; i++) {
            int next = i;
            progress.await("leave to send message " + i, () -> next < limit);
            Message message = plan.message(i);
            sent.merge(plan.mode(i), 1, Integer::sum);
            bytes.merge(plan.mode(i), (long) message.getBody().length, Long::sum);
            switch (plan.mode(i)) {
                case SYNC -> check(producer.send(message));
                case ASYNC -> sendAsync(message);
                case ONE_WAY -> producer.sendOneway(message);
                case BATCH -> addToBatch(message);
                case SELECTED -> check(producer.send(
                        message,
                        (queues, q, key) -> queues.get(Math.floorMod(key.hashCode(), queues.size())),
                        plan.shard(i)));
            }
        }
        flushBatch();
        progress.await("the last asynchronous sends", () -> inFlight.get() == 0);
    }

    private void sendAsync(Message message) throws Exception {
        progress.await("an asynchronous send to end", () -> inFlight.get() < ASYNC_IN_FLIGHT);
        inFlight.incrementAndGet();
        producer.send(message, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                inFlight.decrementAndGet();
                progress.step();
                if (result.getSendStatus() != SendStatus.SEND_OK) {
                    progress.fail(new IllegalStateException("asynchronous send: " + result));
                }
            }

            @Override
            public void onException(Throwable e) {
                progress.fail(e);
            }
        });
    }

    private void addToBatch(Message message) throws Exception {
        if (batch.size() == BATCH_MESSAGES || batchBytes + message.getBody().length > plan.maxBody) {
            flushBatch();
        }
        batch.add(message);
        batchBytes += message.getBody().length;
    }

    private void flushBatch() throws Exception {
        if (!batch.isEmpty()) {
            check(producer.send(batch));
            batch.clear();
            batchBytes = 0;
        }
    }

    private static void check(SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            throw new IllegalStateException("send: " + result);
        }
    }

    String report(Mode mode) {
        return "mode %s: %d messages, %.1f MB".formatted(mode.label, sent.get(mode), bytes.get(mode) / 1e6);
    }

    @Override
    public void close() {
        producer.shutdown();
    }
}
