package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Layout;

/**
 * What a call in progress reports. Events of the kinds {@link EventKind#LOG} and {@link EventKind#ORPHAN} also go to the
 * system logger {@code io.s3vault}.
 *
 * @param kind the kind of event
 * @param done bytes transferred so far; of a job, items so far
 * @param total bytes to transfer in total, -1 while unknown
 * @param parts parts finished so far
 * @param retries requests that were sent again so far
 * @param text text of the event; empty where it has none
 */
public record Event(EventKind kind, long done, long total, long parts, long retries, String text) {
    private static final System.Logger LOG = System.getLogger("io.s3vault");

    /**
     * Reads an event and passes it to the listener, which may be null. {@link EventKind#LOG} and
     * {@link EventKind#ORPHAN} also go to the system logger {@code io.s3vault}.
     */
    static void deliver(Pointer event, Listener listener) throws Exception {
        EventKind kind = EventKind.of(event.getInt(Layout.Event.KIND));
        boolean logged = kind == EventKind.LOG || kind == EventKind.ORPHAN;
        if (kind == null || listener == null && !logged) {
            return;
        }
        Pointer text = event.getPointer(Layout.Event.TEXT);
        Event read = new Event(
                kind,
                event.getLong(Layout.Event.DONE),
                event.getLong(Layout.Event.TOTAL),
                event.getLong(Layout.Event.PARTS),
                event.getLong(Layout.Event.RETRIES),
                text == null ? "" : text.getString(0, "UTF-8"));
        if (logged) {
            LOG.log(System.Logger.Level.WARNING, read.text());
        }
        if (listener != null) {
            listener.on(read);
        }
    }
}
