package io.s3vault;

/** Receives the events of a call, on the thread that made the call. */
@FunctionalInterface
public interface Listener {
    /**
     * Handles an event. An exception stops the call, which then throws it; a checked exception other than IOException
     * becomes the cause of an IOException. If the last event's listener throws, the call may have taken effect already.
     *
     * @param event what happened
     * @throws Exception to stop the call
     */
    void on(Event event) throws Exception;
}
