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
 * The data of a version, as a stream or read by position. The stream reports its end only after all of the data was
 * verified; a read of damaged data fails with {@link ErrorCode#DAMAGED}. {@link Option#VERIFY} selects which bytes
 * are handed out before that.
 */
public final class Download extends InputStream implements ReadableByteChannel {
    // One direct buffer per stream: JNA would copy a whole byte[] in each call.
    private static final int BUFFER = 1 << 20;

    private final Control control;
    private final Frame frame;
    private final Handle handle;
    private final Pointer count;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER).limit(0);
    private final Pointer bufferAddress = com.sun.jna.Native.getDirectBufferPointer(buffer);
    private boolean ended;

    Download(Handle version, Handle options, Control control) throws IOException {
        this.control = control;
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
        int count = Math.min(length, buffer.remaining());
        buffer.get(bytes, offset, count);
        return count;
    }

    /**
     * Reads some bytes into a buffer, without a copy if the buffer is direct.
     *
     * @param bytes the buffer to fill
     * @return the number of bytes read, -1 at the end
     */
    @Override
    public synchronized int read(ByteBuffer bytes) throws IOException {
        check();
        if (!bytes.hasRemaining()) {
            return 0;
        }
        if (bytes.isDirect() && !bytes.isReadOnly() && !buffer.hasRemaining()) {
            // JNA checks no length: address and count come from the buffer itself.
            int count = receive(
                    com.sun.jna.Native.getDirectBufferPointer(bytes).share(bytes.position()), bytes.remaining());
            bytes.position(bytes.position() + count);
            Reference.reachabilityFence(bytes);
            return count == 0 ? -1 : count;
        }
        if (!fill()) {
            return -1;
        }
        ByteBuffer part = buffer.slice(buffer.position(), Math.min(bytes.remaining(), buffer.remaining()));
        buffer.position(buffer.position() + part.remaining());
        int count = part.remaining();
        bytes.put(part);
        return count;
    }

    /**
     * Reads by position, independently of the stream's own position, and without a copy if the buffer is direct.
     * Several threads may call it at once.
     *
     * <p>The bytes are verified only if the download was opened with {@link Option#VERIFY} set to {@code part}.
     *
     * @param bytes the buffer to fill; fewer bytes are read only at the end of the data
     * @param position offset of the first byte in the data
     * @return the number of bytes read, -1 at or after the end
     * @throws IOException if the data cannot be read or is damaged
     */
    public int readAt(ByteBuffer bytes, long position) throws IOException {
        if (position < 0) {
            throw new IllegalArgumentException("position is " + position + ", expected 0 or more");
        }
        int room = bytes.remaining();
        if (room == 0) {
            return 0;
        }
        if (bytes.isReadOnly()) {
            throw new java.nio.ReadOnlyBufferException();
        }
        ByteBuffer into = bytes.isDirect() ? bytes.slice() : ByteBuffer.allocateDirect(Math.min(room, BUFFER));
        Pointer address = com.sun.jna.Native.getDirectBufferPointer(into);
        int total = 0;
        int count;
        do {
            count = receiveAt(address, Math.min(into.capacity(), room - total), position + total);
            if (bytes.isDirect()) {
                bytes.position(bytes.position() + count);
            } else {
                bytes.put(into.clear().limit(count));
            }
            total += count;
        } while (total < room && count == into.capacity());
        Reference.reachabilityFence(bytes);
        Reference.reachabilityFence(into);
        return total == 0 ? -1 : total;
    }

    private int receiveAt(Pointer bytes, long length, long position) throws IOException {
        // A frame of its own, since the stream's frame serves one call at a time.
        try (Frame own = new Frame(control)) {
            own.stopsWith(handle);
            own.call(p -> Native.s3v_get_pread(p[0], position, bytes, length, own.ctl, own.out, own.err), handle);
            return Math.toIntExact(own.out.getLong(0));
        } finally {
            Reference.reachabilityFence(this);
        }
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

    /** Closes the download. A read in progress in another thread is stopped. */
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

    /** Fills the buffer if it is empty; false at the end of the data. */
    private boolean fill() throws IOException {
        if (!buffer.hasRemaining()) {
            buffer.limit(0); // the buffer stays empty if the call fails
            buffer.position(0).limit(receive(bufferAddress, BUFFER));
        }
        return buffer.hasRemaining();
    }

    /** Reads up to {@code length} bytes; 0 at the end, also when called again. */
    private int receive(Pointer bytes, long length) throws IOException {
        if (ended) {
            return 0;
        }
        try {
            frame.call(p -> Native.s3v_get_read(p[0], bytes, length, frame.ctl, count, frame.err), handle);
            int received = Math.toIntExact(count.getLong(0));
            ended = received == 0;
            return received;
        } finally {
            Reference.reachabilityFence(this);
        }
    }
}
