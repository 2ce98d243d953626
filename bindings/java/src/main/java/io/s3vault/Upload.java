package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.util.Objects;

/**
 * Stores a stream as a new version. The version exists once {@link #commit()} has returned. {@link #close()} without a
 * commit aborts the upload, so that an exception never leaves half a backup behind.
 *
 * <p>With {@link Option#CHECKPOINT}, which names a file, {@link #close()} suspends the upload instead. To resume it,
 * also in another process, call {@link Vault#create} with the same checkpoint and write the stream from
 * {@link #offset()} on.
 *
 * <p>Flush a stream that wraps this one before the commit. After a failed write, only close, abort and suspend work.
 */
public final class Upload extends OutputStream implements WritableByteChannel {
    // One direct buffer per stream: JNA would copy a whole byte[] in each call.
    private static final int BUFFER = 1 << 20;

    private final Vault vault;
    private final Frame frame;
    private final Handle handle;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER);
    private final Pointer bufferAddress = com.sun.jna.Native.getDirectBufferPointer(buffer);
    private Throwable failure;
    private final boolean resumable;
    private String ended; // "aborted" or "suspended"

    Upload(
            Vault vault, Handle vaultHandle, String container, String path, Handle options, boolean resumable,
            Control control) throws IOException {
        this.vault = vault;
        this.resumable = resumable;
        this.frame = new Frame(control);
        this.handle = frame.open("upload", Native::s3v_put_free,
                p -> Native.s3v_put_open(p[0], container, path, p[1], frame.ctl, frame.out, frame.err),
                vaultHandle, options).ownedBy(this);
        frame.stopsWith(handle);
    }

    /**
     * {@return the position from which to write the stream: after a create that resumed an upload, the number of bytes
     * it already has; later, the number of bytes that the library has accepted. Bytes that wait for a
     * {@link #flush()} are not included}
     *
     * @throws S3VaultException if this upload is closed
     */
    public long offset() throws S3VaultException {
        Pointer put = handle.enter();
        try {
            return Native.s3v_put_offset(put);
        } finally {
            handle.leave();
        }
    }

    @Override
    public synchronized void write(int b) throws IOException {
        check();
        if (!buffer.hasRemaining()) {
            send();
        }
        buffer.put((byte) b);
    }

    @Override
    public synchronized void write(byte[] bytes, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, bytes.length);
        check();
        int at = offset;
        int end = offset + length;
        while (at < end) {
            if (!buffer.hasRemaining()) {
                send();
            }
            int count = Math.min(end - at, buffer.remaining());
            buffer.put(bytes, at, count);
            at += count;
        }
    }

    /**
     * Writes all that remains in a buffer, without a copy if the buffer is direct.
     *
     * @param bytes the bytes
     * @return the number of bytes written
     */
    @Override
    public synchronized int write(ByteBuffer bytes) throws IOException {
        check();
        int length = bytes.remaining();
        if (bytes.isDirect() && length > 0) {
            send();
            // JNA checks no length: address and count come from the buffer itself.
            send(com.sun.jna.Native.getDirectBufferPointer(bytes).share(bytes.position()), length);
            bytes.position(bytes.limit());
            Reference.reachabilityFence(bytes);
        } else {
            while (bytes.hasRemaining()) {
                if (!buffer.hasRemaining()) {
                    send();
                }
                ByteBuffer part = bytes.slice(bytes.position(), Math.min(bytes.remaining(), buffer.remaining()));
                bytes.position(bytes.position() + part.remaining());
                buffer.put(part);
            }
        }
        return length;
    }

    /** Passes the written bytes to the library. Only {@link #commit()} makes them a version. */
    @Override
    public synchronized void flush() throws IOException {
        check();
        send();
    }

    /**
     * Makes a version of the written bytes. Call it again if the outcome is unknown ({@link ErrorCode#OUTCOME_UNKNOWN}).
     *
     * @return the version
     * @throws IOException if the version was not stored
     */
    public synchronized Version commit() throws IOException {
        check();
        send();
        try {
            return new Version(vault, frame.open("version", Native::s3v_version_free,
                    p -> Native.s3v_put_commit(p[0], frame.ctl, frame.out, frame.err), handle));
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Aborts the upload, waits until the store has dropped its parts, and removes the checkpoint. Without a checkpoint,
     * {@link #close()} does the same in the background. An interrupt does not stop it.
     *
     * @throws S3VaultException if this upload is closed, or the store did not drop it
     */
    public synchronized void abort() throws S3VaultException {
        // Without a control: what stopped the writes must not stop the cleanup.
        check(false);
        ended = "aborted";
        try (Frame local = new Frame()) {
            local.callLocal(p -> Native.s3v_put_abort(p[0], null, local.err), handle);
        }
    }

    /**
     * Suspends the upload and waits until the checkpoint has all that is needed to resume it. {@link #close()} does the
     * same in the background. Bytes that wait for a {@link #flush()} are dropped. An interrupt does not stop it.
     *
     * @throws S3VaultException if this upload is closed or has no checkpoint, or the checkpoint cannot be written
     */
    public synchronized void suspend() throws S3VaultException {
        check(false);
        if (!resumable) {
            throw new S3VaultException(
                    ErrorCode.WRONG_STATE, "the upload has no checkpoint, so it could not be resumed");
        }
        ended = "suspended";
        try (Frame local = new Frame()) {
            local.callLocal(p -> Native.s3v_put_suspend(p[0], null, local.err), handle);
        }
    }

    @Override
    public boolean isOpen() {
        return !handle.isClosed();
    }

    /**
     * Closes the upload. Unless it was committed, it is aborted, or suspended if it has a checkpoint. That happens in the
     * background; {@link Library#shutdown} waits for it. A write in progress in another thread is stopped.
     */
    @Override
    public void close() {
        handle.close();
    }

    private void check() throws S3VaultException {
        check(true);
    }

    private void check(boolean continues) throws S3VaultException {
        if (frame.isBusy()) {
            throw new S3VaultException(ErrorCode.BUSY, "the upload is used from inside its own listener");
        }
        if (handle.isClosed()) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the upload is closed");
        }
        if (continues && ended != null) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the upload was " + ended);
        }
        if (continues && failure != null) {
            // The library may have accepted only a part of that write: continuing would leave a hole.
            S3VaultException e =
                    new S3VaultException(ErrorCode.WRONG_STATE, "an earlier write to this upload failed");
            e.initCause(failure);
            throw e;
        }
    }

    private void send() throws IOException {
        if (buffer.position() > 0) {
            send(bufferAddress, buffer.position());
            buffer.clear();
        }
    }

    private void send(Pointer bytes, long length) throws IOException {
        try {
            frame.call(p -> Native.s3v_put_write(p[0], bytes, length, frame.ctl, frame.err), handle);
        } catch (IOException | RuntimeException | Error e) {
            failure = e;
            throw e;
        } finally {
            Reference.reachabilityFence(this);
        }
    }
}
