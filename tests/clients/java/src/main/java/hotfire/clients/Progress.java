package hotfire.clients;

import java.util.function.BooleanSupplier;

/**
 * Waiting by event: a wait ends when its condition holds, when anything has failed, or when nothing at all has happened
 * for two minutes.
 */
final class Progress {
    private static final long PATIENCE_MILLIS = 120_000;

    private long lastStep = System.currentTimeMillis();
    private Throwable failure;

    /** Something has happened: conditions are looked at again. */
    synchronized void step() {
        lastStep = System.currentTimeMillis();
        notifyAll();
    }

    /** Ends all waits, present and future, with this failure. */
    synchronized void fail(Throwable cause) {
        if (failure == null) {
            failure = cause;
        }
        notifyAll();
    }

    synchronized void await(String what, BooleanSupplier condition) throws InterruptedException {
        while (true) {
            if (failure != null) {
                throw new IllegalStateException("failed while waiting for " + what, failure);
            }
            if (condition.getAsBoolean()) {
                return;
            }
            long left = lastStep + PATIENCE_MILLIS - System.currentTimeMillis();
            if (left <= 0) {
                throw new IllegalStateException("nothing has happened for two minutes while waiting for " + what);
            }
            wait(left);
        }
    }
}
