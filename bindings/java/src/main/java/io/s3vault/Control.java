package io.s3vault;

import java.time.Duration;

/**
 * How a caller follows and stops a call. For a stream it applies to each read and each write.
 *
 * @param listener receives the events of the call; null for none
 * @param cancel stops the call from another thread; null for none
 * @param timeout time limit of one call; null for no limit
 */
public record Control(Listener listener, Cancel cancel, Duration timeout) {
    /** No listener, no cancel and no time limit. */
    public static final Control NONE = new Control(null, null, null);

    /**
     * Checks the timeout.
     *
     * @param listener receives the events of the call; null for none
     * @param cancel stops the call from another thread; null for none
     * @param timeout time limit of one call; null for no limit
     * @throws IllegalArgumentException if the timeout is shorter than a millisecond
     */
    public Control {
        if (timeout != null && timeout.toMillis() < 1) {
            throw new IllegalArgumentException("timeout is " + timeout + ", expected one millisecond or more");
        }
    }

    /**
     * {@return a copy with this listener}
     *
     * @param listener receives the events of the call; null for none
     */
    public Control withListener(Listener listener) {
        return new Control(listener, cancel, timeout);
    }

    /**
     * {@return a copy with this cancel}
     *
     * @param cancel stops the call from another thread; null for none
     */
    public Control withCancel(Cancel cancel) {
        return new Control(listener, cancel, timeout);
    }

    /**
     * {@return a copy with this time limit}
     *
     * @param timeout time limit of one call; null for no limit
     */
    public Control withTimeout(Duration timeout) {
        return new Control(listener, cancel, timeout);
    }

    /** The timeout as {@code s3v_ctl} expects it: 0 for no limit. */
    long timeoutMillis() {
        return timeout == null ? 0 : timeout.toMillis();
    }
}
