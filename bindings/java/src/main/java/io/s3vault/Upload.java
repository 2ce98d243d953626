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
 * Stores a stream as a new version. The version exists from {@link #commit()} on, and only then: {@link #close()}
 * without it gives the upload up, so that an exception never leaves half a backup behind.
 *
 * <p>With {@link Option#CHECKPOINT}, a file, it is suspended instead: create with the same checkpoint, in another process
 * too, goes on. Write the stream from {@link #offset()} on then.
 *
 * <p>A stream that wraps this one must be flushed before the commit. After a write that failed nothing but close
 * works.
 */
public final class Upload extends OutputStream implements WritableByteChannel {
    // One direct buffer for each stream: JNA would copy a whole byte[] for each call.
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
            Control control)
            throws IOException {
        this.vault = vault;
        this.resumable = resumable;
        this.frame = new Frame(control);
        this.handle = frame.open("upload", Native::s3v_put_free,
                p -> Native.s3v_put_open(p[0], container, path, p[1], frame.ctl, frame.out, frame.err),
                vaultHandle, options).ownedBy(this);
        frame.stopsWith(handle);
    }

    /**
     * {@return where in the stream to go on: after create with a checkpoint, what it had; from then on, how many bytes the
     * library has taken. What waits for a {@link #flush()} is not among them}
     *
     * @throws S3VaultException if this is closed
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
     * Writes all that remains in the buffer; without a copy if it is direct.
     *
     * @param bytes the bytes
     * @return how many there were
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

    /** Hands what was written to the library. It does not make a version of it. */
    @Override
    public synchronized void flush() throws IOException {
        check();
        send();
    }

    /**
     * Makes what was written a version. When the outcome is not known ({@link ErrorCode#OUTCOME_UNKNOWN}), call it
     * again.
     *
     * @return the version
     * @throws IOException if it was not stored
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
     * Gives the upload up and waits until the store has forgotten it; a checkpoint is removed. {@link #close()} does the
     * same in the background where there is no checkpoint. An interrupt does not stop it.
     *
     * @throws S3VaultException if this is closed, or the store could not be told
     */
    public synchronized void abort() throws S3VaultException {
        // Without a control: what stopped the writes must not stop the cleaning up.
        check(false);
        ended = "aborted";
        try (Frame local = new Frame()) {
            local.callLocal(p -> Native.s3v_put_abort(p[0], null, local.err), handle);
        }
    }

    /**
     * Stops where it stands and waits until the checkpoint has all that it takes to go on; {@link #close()} does the same
     * in the background. What waits for a {@link #flush()} is dropped. An interrupt does not stop it.
     *
     * @throws S3VaultException if this is closed or has no checkpoint, or the checkpoint cannot be written
     */
    public synchronized void suspend() throws S3VaultException {
        check(false);
        if (!resumable) {
            throw new S3VaultException(
                    ErrorCode.WRONG_STATE, "the upload has no checkpoint, so nothing could go on with it");
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
     * Gives the upload up, or suspends it where it has a checkpoint, unless it was committed; in the background, which
     * {@link Library#shutdown} waits for. A write that runs in another thread is stopped.
     */
    @Override
    public void close() {
        handle.close();
    }

    private void check() throws S3VaultException {
        check(true);
    }

    private void check(boolean goesOn) throws S3VaultException {
        if (frame.isBusy()) {
            throw new S3VaultException(ErrorCode.BUSY, "the upload is used from inside its own listener");
        }
        if (handle.isClosed()) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the upload is closed");
        }
        if (goesOn && ended != null) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the upload was " + ended);
        }
        if (goesOn && failure != null) {
            // Going on would leave a hole: a part of what failed was taken.
            S3VaultException e =
                    new S3VaultException(ErrorCode.WRONG_STATE, "a write to this upload has failed before");
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
