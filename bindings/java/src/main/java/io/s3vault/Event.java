package io.s3vault;

import com.sun.jna.Pointer;

/**
 * What a running call reports.
 *
 * @param kind what it is about
 * @param done bytes that are done
 * @param total bytes in all, -1 while that is not known
 * @param parts parts that are done
 * @param retries requests that were sent again
 * @param text for a person; empty where there is nothing to say
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

    /** The kinds of events; the order is that of their numbers in the C interface, which begin at 1. */
    public enum Kind {
        /** Bytes moved. */
        PROGRESS,
        /** Something a person may want to know; it also goes to the system logger {@code io.s3vault}. */
        LOG,
        /** The store refuses the keys, or they have expired. */
        CREDENTIALS,
        /** Something that nobody refers to was left in the store; it also goes to the system logger. */
        ORPHAN,
        /** The call still runs; it comes every 200 ms. */
        HEARTBEAT
    }

    /** Reads an event and hands it to the listener, which may be null. */
    static void deliver(Pointer event, Listener listener) throws Exception {
        int number = event.getInt(KIND);
        if (number < 1 || number > Kind.values().length) {
            return; // of a newer library
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
