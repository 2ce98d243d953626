package io.s3vault;

import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.time.Duration;

/** Functions of the native library as a whole. */
public final class Library {
    private Library() {}

    /** {@return name and version of the native library, for example {@code s3vault 0.1.0}} */
    public static String version() {
        Loader.load();
        return Native.s3v_version_text();
    }

    /** {@return the table of all options as a JSON array: key, scope, kind, default, doc and more} */
    public static String settingsJson() {
        Loader.load();
        return Native.s3v_settings_json();
    }

    /**
     * Waits for work in the background, such as aborting uploads that were closed without a commit. Call it at the end
     * of a program, and nothing after it.
     *
     * @param timeout how long to wait
     * @throws S3VaultException if work is left after the timeout, or if the store refused to abort an upload: the message
     *     names the upload
     */
    public static void shutdown(Duration timeout) throws S3VaultException {
        Loader.load();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_shutdown(timeout.toMillis(), frame.err));
        }
    }
}
