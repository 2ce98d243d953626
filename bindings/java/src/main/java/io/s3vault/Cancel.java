package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;

/** Stops, from any thread, the calls that it was given to; they fail with {@link ErrorCode#CANCELLED}. */
public final class Cancel implements AutoCloseable {
    final Handle handle;

    /** Makes one that is not triggered. */
    public Cancel() {
        Loader.load();
        handle = new Handle("cancel", Native.s3v_cancel_new(), Native::s3v_cancel_free).ownedBy(this);
    }

    /**
     * Stops the running calls, and each later one. It cannot be undone.
     *
     * @throws S3VaultException if this was closed
     */
    public void trigger() throws S3VaultException {
        Pointer cancel = handle.enter();
        try {
            Native.s3v_cancel_trigger(cancel);
        } finally {
            handle.leave();
        }
    }

    @Override
    public void close() {
        handle.close();
    }
}
