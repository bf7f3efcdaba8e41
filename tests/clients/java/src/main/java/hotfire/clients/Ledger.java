package hotfire.clients;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * What one group has consumed, checked against the plan: every message unaltered and none missing; in order within each
 * queue as long as it stays with one consumer; in order of first sight within each sharding key. Repeats are counted.
 */
final class Ledger {
    private static final int ERRORS_KEPT = 10;

    private final Plan plan;
    private final Progress progress;
    private final boolean ordered;
    private final boolean[] seen;
    private final Map<String, Integer> byConsumer = new HashMap<>();
    private final Map<String, Set<Integer>> assigned = new HashMap<>();
    private final Map<String, Map<Integer, Long>> lastOffsets = new HashMap<>();
    private final Map<String, Integer> shards = new HashMap<>();
    private final List<String> errors = new ArrayList<>();
    private int distinct;
    private int duplicates;
    private int errorCount;

    /** Ordered: the consumers use an orderly listener, so that order is checked too. */
    Ledger(Plan plan, Progress progress, boolean ordered) {
        this.plan = plan;
        this.progress = progress;
        this.ordered = ordered;
        seen = new boolean[plan.messages];
    }

    /** The consumer has these queues from now on; one that it did not have before may start at any offset. */
    synchronized void assign(String consumer, Set<Integer> queues) {
        Set<Integer> before = assigned.put(consumer, queues);
        if (before != null) {
            offsetsOf(consumer).keySet().retainAll(before);
        }
    }

    /** Takes down one delivery; any number of threads may call it. */
    void accept(String consumer, MessageExt message) {
        int i = plan.indexOf(message.getKeys());
        String fault = i < 0 ? "unknown keys " + message.getKeys() : alteration(i, message);
        synchronized (this) {
            byConsumer.merge(consumer, 1, Integer::sum);
            if (fault != null) {
                error(fault);
            }
            if (ordered) {
                checkQueueOrder(consumer, message);
            }
            if (i >= 0 && seen[i]) {
                duplicates++;
            } else if (i >= 0) {
                seen[i] = true;
                distinct++;
                checkShardOrder(i);
            }
        }
        progress.step();
    }

    private String alteration(int i, MessageExt message) {
        String difference = "";
        if (!Arrays.equals(Plan.sha256(message.getBody()), plan.digest(i))) {
            difference += " body";
        }
        if (!plan.tag(i).equals(message.getTags())) {
            difference += " tags=" + message.getTags();
        }
        if (!plan.greeting(i).equals(message.getUserProperty("greeting"))) {
            difference += " greeting=" + message.getUserProperty("greeting");
        }
        return difference.isEmpty() ? null : "message " + i + " was altered:" + difference;
    }

    private void checkQueueOrder(String consumer, MessageExt message) {
        int queue = message.getQueueId();
        long offset = message.getQueueOffset();
        Long last = offsetsOf(consumer).put(queue, offset);
        if (last != null && offset <= last) {
            error("queue " + queue + ": " + consumer + " saw offset " + offset + " after " + last);
        }
    }

    private Map<Integer, Long> offsetsOf(String consumer) {
        return lastOffsets.computeIfAbsent(consumer, name -> new HashMap<>());
    }

    private void checkShardOrder(int i) {
        String shard = plan.shard(i);
        if (!ordered || shard == null) {
            return;
        }
        Integer last = shards.put(shard, i);
        if (last != null && i < last) {
            error(shard + ": message " + i + " came after " + last);
        }
    }

    private void error(String error) {
        errorCount++;
        if (errors.size() < ERRORS_KEPT) {
            errors.add(error);
        }
    }

    synchronized int distinct() {
        return distinct;
    }

    synchronized boolean complete() {
        return distinct == plan.messages;
    }

    synchronized int seenBy(String consumer) {
        return byConsumer.getOrDefault(consumer, 0);
    }

    synchronized int duplicates() {
        return duplicates;
    }

    /** Throws unless every message came unaltered, in order, and at most so many of them again. */
    synchronized void verify(int duplicatesAllowed) {
        if (!complete()) {
            error(plan.messages - distinct + " messages missing");
        }
        if (duplicates > duplicatesAllowed) {
            error(duplicates + " duplicates, allowed " + duplicatesAllowed);
        }
        if (errorCount > 0) {
            throw new IllegalStateException(errorCount + " faults:\n  " + String.join("\n  ", errors));
        }
    }
}
