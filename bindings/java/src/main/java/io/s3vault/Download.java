package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.io.InputStream;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.channels.ReadableByteChannel;
import java.util.Objects;

/**
 * The data of a version as a stream. Each byte is verified before it is given out, and the end is reported when all
 * of it was; data that is not what was stored ends in {@link ErrorCode#DAMAGED}.
 */
public final class Download extends InputStream implements ReadableByteChannel {
    // One direct buffer for each stream: JNA would copy a whole byte[] for each call.
    private static final int BUFFER = 1 << 20;

    private final Frame frame;
    private final Handle handle;
    private final Pointer count;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER).limit(0);
    private final Pointer bufferAddress = com.sun.jna.Native.getDirectBufferPointer(buffer);
    private boolean ended;

    Download(Handle version, Handle options, Control control) throws IOException {
        this.frame = new Frame(control);
        this.count = frame.out; // a size_t is as wide as a pointer
        this.handle = frame.open("download", Native::s3v_get_free,
                p -> Native.s3v_get_open(p[0], p[1], frame.ctl, frame.out, frame.err), version, options).ownedBy(this);
        frame.stopsWith(handle);
    }

    @Override
    public synchronized int read() throws IOException {
        check();
        return fill() ? buffer.get() & 0xff : -1;
    }

    @Override
    public synchronized int read(byte[] bytes, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, bytes.length);
        check();
        if (length == 0) {
            return 0;
        }
        if (!fill()) {
            return -1;
        }
        int given = Math.min(length, buffer.remaining());
        buffer.get(bytes, offset, given);
        return given;
    }

    /**
     * Reads some bytes into the buffer; without a copy if it is direct.
     *
     * @param bytes where they go
     * @return how many there were, -1 at the end
     */
    @Override
    public synchronized int read(ByteBuffer bytes) throws IOException {
        check();
        if (!bytes.hasRemaining()) {
            return 0;
        }
        if (bytes.isDirect() && !bytes.isReadOnly() && !buffer.hasRemaining()) {
            // JNA checks no length: address and count come from the buffer itself.
            int given = receive(
                    com.sun.jna.Native.getDirectBufferPointer(bytes).share(bytes.position()), bytes.remaining());
            bytes.position(bytes.position() + given);
            Reference.reachabilityFence(bytes);
            return given == 0 ? -1 : given;
        }
        if (!fill()) {
            return -1;
        }
        ByteBuffer part = buffer.slice(buffer.position(), Math.min(bytes.remaining(), buffer.remaining()));
        buffer.position(buffer.position() + part.remaining());
        int given = part.remaining();
        bytes.put(part);
        return given;
    }

    @Override
    public synchronized int available() throws IOException {
        check();
        return buffer.remaining();
    }

    @Override
    public boolean isOpen() {
        return !handle.isClosed();
    }

    /** Ends the download. A read that runs in another thread is stopped. */
    @Override
    public void close() {
        handle.close();
    }

    private void check() throws IOException {
        if (frame.isBusy()) {
            throw new S3VaultException(ErrorCode.BUSY, "the download is used from inside its own listener");
        }
        if (handle.isClosed()) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the download is closed");
        }
    }

    /** Whether there is a byte to give; if none waits, it fetches some. */
    private boolean fill() throws IOException {
        if (!buffer.hasRemaining()) {
            buffer.limit(0); // stays empty if the call fails
            buffer.position(0).limit(receive(bufferAddress, BUFFER));
        }
        return buffer.hasRemaining();
    }

    /** 0 at the end, and from then on. */
    private int receive(Pointer bytes, long length) throws IOException {
        if (ended) {
            return 0;
        }
        try {
            frame.call(p -> Native.s3v_get_read(p[0], bytes, length, frame.ctl, count, frame.err), handle);
            int given = Math.toIntExact(count.getLong(0));
            ended = given == 0;
            return given;
        } finally {
            Reference.reachabilityFence(this);
        }
    }
}
