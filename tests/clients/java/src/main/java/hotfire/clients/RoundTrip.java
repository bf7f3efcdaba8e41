package hotfire.clients;

import java.io.BufferedWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.topic.TopicValidator;

/**
 * One visit to a store that several brokers take turns on. What was acknowledged is kept in a file between visits; each
 * visit first reads everything back (per queue, in order, by hash; a sample by key and by id; the offsets committed),
 * then writes more. tests/apache/round-trip says who serves the store meanwhile.
 *
 * <pre>
 *  --namesrv ADDR --kept FILE      where, and what was acknowledged so far
 *  --write TOPIC --messages N      after the check, send so many
 *  --adopt TOPIC,TOPIC             take over what these hold, unchecked
 *  --keys yes                      query by key and by id, too
 *  --grown yes                     queues may have grown since: a broker delivers what was delayed
 *  --master NAME                   write once the master of that name is registered, and not only a slave of it
 *  --delay N                       send N messages of delay level 1 to the topic Delayed, and wait for them
 *  --delayed N                     N are delivered there, and in a while still no more
 *  --survivor yes                  the master is gone: ask nothing that only a master is asked
 * </pre>
 */
@SuppressWarnings("deprecation") // The pull consumer reads where it is told to, and nothing else.
public final class RoundTrip {
    private static final long PATIENCE_MILLIS = 20_000;
    private static final int QUERIES = 12;
    private static final String GROUP = "round-trip-readers";
    private static final String DELAYED = "Delayed";
    /** A broker looks for delayed messages a second after its start, and ten times a second from then on. */
    private static final long DELIVERS_MILLIS = 5_000;

    /** What is known of one message: its place, a hash of what the sender said, and its names. */
    private record Kept(String topic, int queue, long offset, String hash, String id, String key, String place) {
        static Kept parse(String[] f) {
            return new Kept(f[1], Integer.parseInt(f[2]), Long.parseLong(f[3]), f[4], f[5], f[6], f[7]);
        }

        String line() {
            return String.join("\t", "M", topic, "" + queue, "" + offset, hash, id, key, place);
        }
    }

    private final Map<String, String> options;
    private final DefaultMQPullConsumer reader = new DefaultMQPullConsumer(GROUP);
    private final List<String> news = new ArrayList<>();
    private final Map<String, TreeMap<Integer, TreeMap<Long, Kept>>> kept = new TreeMap<>();
    private final Map<MessageQueue, Long> committed = new HashMap<>();

    private RoundTrip(Map<String, String> options) {
        this.options = options;
    }

    public static void main(String[] args) {
        try {
            Map<String, String> options = new HashMap<>();
            for (int i = 0; i + 1 < args.length; i += 2) {
                options.put(args[i], args[i + 1]);
            }
            new RoundTrip(options).run();
            System.exit(0);
        } catch (Throwable e) {
            e.printStackTrace();
            System.exit(1);
        }
    }

    private void run() throws Exception {
        Path file = Path.of(options.get("--kept"));
        load(file);
        reader.setNamesrvAddr(options.get("--namesrv"));
        reader.setInstanceName("reader");
        reader.start();
        check();
        if (options.containsKey("--adopt")) {
            for (String topic : options.get("--adopt").split(",")) {
                adopt(topic);
            }
        }
        if (options.containsKey("--write")) {
            write(options.get("--write"), Integer.parseInt(options.getOrDefault("--messages", "200")));
        }
        if (options.containsKey("--delay")) {
            delay(Integer.parseInt(options.get("--delay")));
        }
        if (options.containsKey("--delayed")) {
            long count = Long.parseLong(options.get("--delayed"));
            awaitDelivery(count);
            Thread.sleep(DELIVERS_MILLIS);
            require(delivered() == count, "delivered: " + delivered() + ", not " + count);
            System.out.printf("delayed: %d messages, delivered once%n", count);
        }
        Files.createDirectories(file.toAbsolutePath().getParent());
        try (BufferedWriter out = Files.newBufferedWriter(
                file, StandardCharsets.UTF_8, StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            for (String line : news) {
                out.write(line);
                out.newLine();
            }
        }
        reader.shutdown();
    }

    private void load(Path file) throws Exception {
        if (!Files.exists(file)) {
            return;
        }
        for (String line : Files.readAllLines(file)) {
            String[] f = line.split("\t", -1);
            if (f[0].equals("M")) {
                put(Kept.parse(f));
            } else {
                MessageQueue queue = new MessageQueue(f[1], f[2], Integer.parseInt(f[3]));
                committed.put(queue, Long.parseLong(f[4]));
            }
        }
    }

    private void put(Kept message) {
        kept.computeIfAbsent(message.topic, topic -> new TreeMap<>())
                .computeIfAbsent(message.queue, queue -> new TreeMap<>())
                .put(message.offset, message);
    }

    // Reading.

    private void check() throws Exception {
        int messages = 0;
        int queries = 0;
        for (String topic : kept.keySet()) {
            Map<Integer, MessageQueue> queues = queues(topic);
            for (Map.Entry<Integer, TreeMap<Long, Kept>> entry : kept.get(topic).entrySet()) {
                MessageQueue queue = queues.get(entry.getKey());
                require(queue != null, topic + " has no queue " + entry.getKey());
                messages += checkQueue(queue, entry.getValue());
            }
            queries += options.containsKey("--keys") ? checkKeys(topic) : 0;
        }
        for (Map.Entry<MessageQueue, Long> entry : committed.entrySet()) {
            long found = reader.fetchConsumeOffset(entry.getKey(), true);
            require(found == entry.getValue(), entry.getKey() + ": committed " + entry.getValue() + ", found " + found);
        }
        System.out.printf(
                "read: %d messages unaltered and in order, %d queries, %d offsets%n",
                messages, queries, committed.size());
    }

    private int checkQueue(MessageQueue queue, TreeMap<Long, Kept> expected) throws Exception {
        long first = expected.firstKey();
        long end = expected.lastKey() + 1;
        if (options.containsKey("--survivor")) {
            // A message that was sent before the slave was there is stored, and not acknowledged.
            await(queue + " to hold " + first + ".." + end, () -> {
                PullResult behind = reader.pull(queue, "*", end, 1);
                return behind.getMinOffset() <= first && behind.getMaxOffset() == end;
            });
        } else {
            checkRange(queue, first, end);
        }
        Iterator<Kept> kept = expected.values().iterator();
        pull(queue, first, end, got -> {
            require(kept.hasNext(), () -> queue + " holds more than was sent: " + got);
            check(got, kept.next());
        });
        require(!kept.hasNext(), queue + " lacks messages at its end");
        return expected.size();
    }

    private static void check(MessageExt got, Kept message) {
        require(got.getQueueOffset() == message.offset, () -> message + ": found offset " + got.getQueueOffset());
        require(hash(got).equals(message.hash), () -> message + " is altered: " + got);
        require(got.getMsgId().equals(message.id), () -> message + " is " + got.getMsgId());
    }

    private void checkRange(MessageQueue queue, long first, long end) throws Exception {
        boolean mayGrow = options.containsKey("--grown");
        await(queue + " to end at " + end, () -> reader.maxOffset(queue) >= end);
        require(mayGrow || reader.maxOffset(queue) == end, queue + " ends at " + reader.maxOffset(queue) + ", not " + end);
        require(reader.minOffset(queue) == first, queue + " begins at " + reader.minOffset(queue) + ", not " + first);
    }

    /** Everything in from..end of a queue, an inner batch unpacked by the client. */
    private void pull(MessageQueue queue, long from, long end, Consumer<MessageExt> each) throws Exception {
        long next = from;
        while (next < end) {
            PullResult result = reader.pull(queue, "*", next, 32);
            switch (result.getPullStatus()) {
                case FOUND -> {
                    for (MessageExt message : result.getMsgFoundList()) {
                        if (message.getQueueOffset() >= from && message.getQueueOffset() < end) {
                            each.accept(message);
                        }
                    }
                }
                case NO_MATCHED_MSG -> {}
                default -> throw new IllegalStateException(queue + " at " + next + ": " + result);
            }
            require(result.getNextBeginOffset() > next, queue + " does not get beyond " + next);
            next = result.getNextBeginOffset();
        }
    }

    /** By key and by id, some messages spread over the topic. */
    private int checkKeys(String topic) throws Exception {
        List<Kept> named = new ArrayList<>();
        kept.get(topic).values().forEach(queue -> named.addAll(queue.values()));
        named.removeIf(message -> message.key.isEmpty());
        int step = Math.max(1, named.size() / QUERIES);
        int asked = 0;
        for (int i = 0; i < named.size(); i += step) {
            Kept message = named.get(i);
            await(message + " by its key", () -> reader
                    .queryMessage(topic, message.key, 8, 0, Long.MAX_VALUE)
                    .getMessageList()
                    .stream()
                    .anyMatch(found -> found.getMsgId().equals(message.id) && hash(found).equals(message.hash)));
            MessageExt byId = reader.viewMessage(topic, message.id);
            require(hash(byId).equals(message.hash), message + " by its id: " + byId);
            MessageExt byPlace = reader.viewMessage(topic, message.place);
            require(hash(byPlace).equals(message.hash), message + " by its place: " + byPlace);
            asked += 3;
        }
        return asked;
    }

    private Map<Integer, MessageQueue> queues(String topic) throws Exception {
        Map<Integer, MessageQueue> queues = new TreeMap<>();
        await("a route to " + topic, () -> {
            reader.fetchSubscribeMessageQueues(topic).forEach(queue -> queues.put(queue.getQueueId(), queue));
            return true;
        });
        return queues;
    }

    private void adopt(String topic) throws Exception {
        int before = news.size();
        for (MessageQueue queue : queues(topic).values()) {
            // A queue that nobody wrote to begins at -1.
            long first = Math.max(0, reader.minOffset(queue));
            pull(queue, first, reader.maxOffset(queue), message -> keep(new Kept(
                    topic,
                    queue.getQueueId(),
                    message.getQueueOffset(),
                    hash(message),
                    message.getMsgId(),
                    "",
                    "")));
        }
        System.out.printf("adopted: %s, %d messages%n", topic, news.size() - before);
    }

    private void keep(Kept message) {
        news.add(message.line());
    }

    // Writing.

    private void write(String topic, int count) throws Exception {
        if (options.containsKey("--master")) {
            MQClientInstance client =
                    reader.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory();
            await("a master", () -> {
                client.updateTopicRouteInfoFromNameServer(TopicValidator.AUTO_CREATE_TOPIC_KEY_TOPIC);
                return client.findBrokerAddressInPublish(options.get("--master")) != null;
            });
        }
        DefaultMQProducer producer = producer("round-trip-writers");
        List<Message> batch = new ArrayList<>();
        // A topic is made by its first message; a client learns of it when it asks again.
        await("the first message", () -> {
            send(producer, List.of(message(topic, 0)));
            return true;
        });
        for (int i = 1; i < count; i++) {
            if (i % 40 < 30) {
                send(producer, List.of(message(topic, i)));
            } else {
                batch.add(message(topic, i));
                if (i % 40 == 39 || i == count - 1) {
                    send(producer, batch);
                    batch.clear();
                }
            }
        }
        producer.shutdown();
        commit(topic);
        System.out.printf("written: %d messages to %s%n", count, topic);
    }

    private DefaultMQProducer producer(String group) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group);
        producer.setNamesrvAddr(options.get("--namesrv"));
        producer.setInstanceName("writer");
        producer.setSendMsgTimeout(10_000);
        producer.setRetryTimesWhenSendFailed(0);
        producer.start();
        return producer;
    }

    /** Level 1 is a second. They are not kept: where they go, a broker decides later. */
    private void delay(int count) throws Exception {
        DefaultMQProducer producer = producer("round-trip-delayers");
        for (int i = 0; i < count; i++) {
            Message message = message(DELAYED, i);
            message.setDelayTimeLevel(1);
            SendResult result = producer.send(message);
            require(result.getSendStatus() == SendStatus.SEND_OK, "a delayed send: " + result);
        }
        producer.shutdown();
        awaitDelivery(count);
        System.out.printf("delayed: %d messages%n", count);
    }

    private void awaitDelivery(long count) throws Exception {
        await(count + " delayed messages", () -> delivered() >= count);
    }

    private long delivered() throws Exception {
        long total = 0;
        for (MessageQueue queue : queues(DELAYED).values()) {
            total += reader.maxOffset(queue);
        }
        return total;
    }

    /** Message i: bodies from one byte to a few pages, some that the client compresses; text of any script. */
    private static Message message(String topic, int i) {
        byte[] body = ("body-" + i + "-héllo-世界-🚀-").repeat(1 + i * 37 % 300).getBytes(StandardCharsets.UTF_8);
        Message message = new Message(topic, i % 11 == 0 ? new byte[] {(byte) i} : body);
        if (i % 3 > 0) {
            message.setTags(i % 3 == 1 ? "tag-" + i % 7 : "標籤-" + i % 5);
        }
        if (i % 4 > 0) {
            message.setKeys(List.of("key-" + i, "schlüssel-" + i % 10));
        }
        if (i % 5 == 0) {
            message.putUserProperty("greeting", "grüße-世界-" + i);
        }
        message.setFlag(i % 13);
        return message;
    }

    private void send(DefaultMQProducer producer, List<Message> messages) throws Exception {
        boolean isBatch = messages.size() > 1;
        SendResult result = isBatch ? producer.send(messages) : producer.send(messages.get(0));
        require(result.getSendStatus() == SendStatus.SEND_OK, "a send: " + result);
        String[] ids = result.getMsgId().split(",");
        String[] places = result.getOffsetMsgId().split(",");
        require(ids.length == messages.size() && places.length == ids.length, "names of a batch: " + result);
        for (int i = 0; i < messages.size(); i++) {
            Message message = messages.get(i);
            String keys = message.getKeys();
            keep(new Kept(
                    message.getTopic(),
                    result.getMessageQueue().getQueueId(),
                    result.getQueueOffset() + i,
                    hash(message),
                    ids[i],
                    keys == null ? "" : keys.split(" ")[0],
                    places[i]));
        }
    }

    /** The group has read half of each queue. */
    private void commit(String topic) throws Exception {
        for (MessageQueue queue : queues(topic).values()) {
            long half = reader.maxOffset(queue) / 2;
            reader.updateConsumeOffset(queue, half);
            reader.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            await("the offset of " + queue, () -> reader.getDefaultMQPullConsumerImpl()
                            .getOffsetStore()
                            .readOffset(queue, ReadOffsetType.READ_FROM_STORE)
                    == half);
            news.add(String.join(
                    "\t", "C", topic, queue.getBrokerName(), "" + queue.getQueueId(), "" + half));
        }
    }

    // Common.

    /** Of all that the sender said: body, flag, tags, keys, properties of its own. */
    private static String hash(Message message) {
        String text = message.getFlag() + "\n" + message.getTags() + "\n" + message.getKeys() + "\n"
                + message.getProperty("greeting") + "\n" + message.getProperty(MessageConst.PROPERTY_SHARDING_KEY) + "\n";
        byte[] head = text.getBytes(StandardCharsets.UTF_8);
        byte[] body = message.getBody() == null ? new byte[0] : message.getBody();
        ByteBuffer all = ByteBuffer.allocate(head.length + body.length).put(head).put(body);
        return HexFormat.of().formatHex(Plan.sha256(all.array()));
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    /** Until it holds; what it throws meanwhile is told if it never does. */
    private static void await(String what, Condition condition) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MILLIS;
        Exception last = null;
        while (System.currentTimeMillis() < deadline) {
            try {
                if (condition.holds()) {
                    return;
                }
                last = null;
            } catch (Exception e) {
                last = e;
            }
            Thread.sleep(100);
        }
        throw new IllegalStateException("waited in vain for " + what, last);
    }

    /** What a message looks like is long: it is put into words only if it matters. */
    private static void require(boolean holds, Supplier<String> otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise.get());
        }
    }

    private static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }
}
