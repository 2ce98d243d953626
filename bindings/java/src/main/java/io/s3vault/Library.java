package io.s3vault;

import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.time.Duration;

/** The native library as a whole. */
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
     * Waits for what goes on in the background, such as the abort of uploads that were closed without a commit. For
     * the end of a program; nothing may be called afterwards.
     *
     * @param timeout how long to wait
     * @throws S3VaultException if work is left then
     */
    public static void shutdown(Duration timeout) throws S3VaultException {
        Loader.load();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_shutdown(timeout.toMillis(), frame.err));
        }
    }
}
