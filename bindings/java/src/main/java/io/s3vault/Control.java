package io.s3vault;

import java.time.Duration;

/**
 * How a caller follows and stops a call. For a stream it holds for each of its reads and writes.
 *
 * @param listener hears what happens; null for nobody
 * @param cancel stops the call from another thread; null for none
 * @param timeout longest time for one call; null for no limit
 */
public record Control(Listener listener, Cancel cancel, Duration timeout) {
    /** Nobody listens, and there is no limit. */
    public static final Control NONE = new Control(null, null, null);

    /**
     * Checks the parts.
     *
     * @param listener hears what happens; null for nobody
     * @param cancel stops the call from another thread; null for none
     * @param timeout longest time for one call; null for no limit
     * @throws IllegalArgumentException if the timeout is shorter than a millisecond
     */
    public Control {
        if (timeout != null && timeout.toMillis() < 1) {
            throw new IllegalArgumentException("timeout " + timeout + ": a millisecond or more expected");
        }
    }

    /**
     * {@return the same with this listener}
     *
     * @param listener hears what happens
     */
    public Control withListener(Listener listener) {
        return new Control(listener, cancel, timeout);
    }

    /**
     * {@return the same with this cancel}
     *
     * @param cancel stops the call
     */
    public Control withCancel(Cancel cancel) {
        return new Control(listener, cancel, timeout);
    }

    /**
     * {@return the same with this limit}
     *
     * @param timeout longest time for one call
     */
    public Control withTimeout(Duration timeout) {
        return new Control(listener, cancel, timeout);
    }

    /** As {@code s3v_ctl} has it: 0 for no limit. */
    long timeoutMillis() {
        return timeout == null ? 0 : timeout.toMillis();
    }
}
