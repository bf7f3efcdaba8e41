package hotfire.clients;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.apache.rocketmq.common.message.Message;

/**
 * The messages of one run, a pure function of the seed: message i always has the same mode, body, tag, keys and
 * properties, so that sender and checker never need to talk.
 *
 * <p>In every mode the first bodies run through all powers of two up to the largest size, that size included. The rest
 * are log-uniform, three in four of them below a 64th of the largest: about 20 KB on average when that is 1 MiB. Half of
 * the bodies compress well, half not at all.
 */
final class Plan {
    enum Mode {
        SYNC("sync"),
        ASYNC("async"),
        ONE_WAY("one-way"),
        BATCH("batch"),
        SELECTED("selected queue");

        final String label;

        Mode(String label) {
            this.label = label;
        }
    }

    /** The Java client refuses an empty body before it reaches the wire. */
    static final int MIN_BODY = 1;

    private static final Mode[] MODES = Mode.values();
    private static final int SHARDS = 16;
    private static final int CHUNK = 64;

    final String topic;
    final int messages;
    final int maxBody;
    private final long seed;
    private final List<Integer> specialSizes = new ArrayList<>();
    private final byte[][] digests;

    Plan(String topic, int messages, int maxBody, long seed) {
        this.topic = topic;
        this.messages = messages;
        this.maxBody = maxBody;
        this.seed = seed;
        for (int size = MIN_BODY; size < maxBody; size *= 2) {
            specialSizes.add(size);
        }
        specialSizes.add(maxBody);
        digests = new byte[messages][];
        for (int i = 0; i < messages; i++) {
            digests[i] = sha256(body(i));
        }
    }

    Mode mode(int i) {
        return MODES[i % MODES.length];
    }

    byte[] digest(int i) {
        return digests[i];
    }

    byte[] body(int i) {
        SplittableRandom random = new SplittableRandom(seed * 1_000_003 + i);
        byte[] body = new byte[size(i / MODES.length, random)];
        if (random.nextBoolean()) {
            random.nextBytes(body);
        } else {
            byte[] chunk = new byte[CHUNK];
            random.nextBytes(chunk);
            for (int at = 0; at < body.length; at += CHUNK) {
                System.arraycopy(chunk, 0, body, at, Math.min(CHUNK, body.length - at));
            }
        }
        return body;
    }

    private int size(int nthOfMode, SplittableRandom random) {
        if (nthOfMode < specialSizes.size()) {
            return specialSizes.get(nthOfMode);
        }
        double largest = random.nextInt(4) == 0 ? maxBody : Math.max(1, maxBody / 64.0);
        return Math.max(MIN_BODY, (int) Math.pow(largest, random.nextDouble()));
    }

    String tag(int i) {
        return "tag-" + i % 7;
    }

    /** Two keys: the first names the message, the second a group of messages. */
    String keys(int i) {
        return "message-" + i + " group-" + i % 100;
    }

    String greeting(int i) {
        return "héllo-世界-🚀-" + i;
    }

    /** The sharding key, or null: only messages of mode SELECTED have one. */
    String shard(int i) {
        return mode(i) == Mode.SELECTED ? "shard-" + i / MODES.length % SHARDS : null;
    }

    /** The number of the message that has these keys, or -1. */
    int indexOf(String keys) {
        try {
            int i = Integer.parseInt(keys.substring("message-".length(), keys.indexOf(' ')));
            return i >= 0 && i < messages && keys.equals(keys(i)) ? i : -1;
        } catch (NullPointerException | IndexOutOfBoundsException | NumberFormatException e) {
            return -1;
        }
    }

    Message message(int i) {
        Message message = new Message(topic, tag(i), keys(i), body(i));
        message.putUserProperty("greeting", greeting(i));
        return message;
    }

    static byte[] sha256(byte[] data) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(data);
        } catch (NoSuchAlgorithmException e) {
            throw new AssertionError("every JDK has SHA-256", e);
        }
    }
}
