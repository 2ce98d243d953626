package io.s3vault;

import com.sun.jna.Pointer;

/**
 * What a call in progress reports.
 *
 * @param kind the kind of event
 * @param done bytes transferred so far
 * @param total bytes to transfer in total, -1 while unknown
 * @param parts parts finished so far
 * @param retries requests that were sent again so far
 * @param text text of the event; empty where it has none
 */
public record Event(Kind kind, long done, long total, long parts, long retries, String text) {
    private static final System.Logger LOG = System.getLogger("io.s3vault");

    // struct s3v_event { uint32_t size; int32_t kind; uint64_t done, total, parts, retries; const char *text; }
    private static final int KIND = 4;
    private static final int DONE = 8;
    private static final int TOTAL = 16;
    private static final int PARTS = 24;
    private static final int RETRIES = 32;
    private static final int TEXT = 40;

    /** The kinds of events, in the order of their numbers in the C interface, which start at 1. */
    public enum Kind {
        /** Bytes were transferred. */
        PROGRESS,
        /** A log message; it also goes to the system logger {@code io.s3vault}. */
        LOG,
        /** The store refuses the keys, or they have expired. */
        CREDENTIALS,
        /** An upload could not be aborted and is left in the store; the text also goes to the system logger. */
        ORPHAN,
        /** The call is still in progress; sent every 200 ms. */
        HEARTBEAT
    }

    /** Reads an event and passes it to the listener, which may be null. */
    static void deliver(Pointer event, Listener listener) throws Exception {
        int number = event.getInt(KIND);
        if (number < 1 || number > Kind.values().length) {
            return; // from a newer library
        }
        Kind kind = Kind.values()[number - 1];
        boolean logged = kind == Kind.LOG || kind == Kind.ORPHAN;
        if (listener == null && !logged) {
            return;
        }
        Pointer text = event.getPointer(TEXT);
        Event read = new Event(kind, event.getLong(DONE), event.getLong(TOTAL), event.getLong(PARTS),
                event.getLong(RETRIES), text == null ? "" : text.getString(0, "UTF-8"));
        if (logged) {
            LOG.log(kind == Kind.LOG ? System.Logger.Level.INFO : System.Logger.Level.WARNING, read.text());
        }
        if (listener != null) {
            listener.on(read);
        }
    }
}
