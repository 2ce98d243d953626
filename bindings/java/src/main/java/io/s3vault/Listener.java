package io.s3vault;

/** Hears what a running call reports, on the thread that made the call. */
@FunctionalInterface
public interface Listener {
    /**
     * Takes an event. What it throws stops the call and comes out of it: an exception that is neither unchecked nor
     * an IOException as the cause of one. If it throws at the very end, the call may have taken effect.
     *
     * @param event what happened
     * @throws Exception to stop the call
     */
    void on(Event event) throws Exception;
}
