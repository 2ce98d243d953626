package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;

/** Stops calls from any thread. A call that was given this object fails with {@link ErrorCode#CANCELLED}. */
public final class Cancel implements AutoCloseable {
    final Handle handle;

    /** Creates a cancel that is not triggered. */
    public Cancel() {
        Loader.load();
        handle = new Handle("cancel", Native.s3v_cancel_new(), Native::s3v_cancel_free).ownedBy(this);
    }

    /**
     * Stops the calls in progress, and each later one. It cannot be undone.
     *
     * @throws S3VaultException if this object was closed
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
