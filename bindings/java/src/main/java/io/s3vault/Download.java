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
 * The data of a version as a stream, or read by position. The end of the stream is reported when all of it was verified;
 * data that is not what was stored ends in {@link ErrorCode#DAMAGED}. {@link Option#VERIFY} says which bytes are given out
 * before.
 */
public final class Download extends InputStream implements ReadableByteChannel {
    // One direct buffer for each stream: JNA would copy a whole byte[] for each call.
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

    /**
     * Reads by position, wherever the stream is, and without a copy if the buffer is direct. Threads may share it.
     *
     * <p>The bytes are verified only where the download was opened with {@link Option#VERIFY} as {@code part}.
     *
     * @param bytes where they go: as many as there is room for, fewer at the data's end
     * @param position of the first one in the data
     * @return how many there were, -1 at or behind the end
     * @throws IOException if they cannot be read, or are not what was stored
     */
    public int readAt(ByteBuffer bytes, long position) throws IOException {
        if (position < 0) {
            throw new IllegalArgumentException("the position is " + position);
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
        int given = 0;
        int count;
        do {
            count = receiveAt(address, Math.min(into.capacity(), room - given), position + given);
            if (bytes.isDirect()) {
                bytes.position(bytes.position() + count);
            } else {
                bytes.put(into.clear().limit(count));
            }
            given += count;
        } while (given < room && count == into.capacity());
        Reference.reachabilityFence(bytes);
        Reference.reachabilityFence(into);
        return given == 0 ? -1 : given;
    }

    private int receiveAt(Pointer bytes, long length, long position) throws IOException {
        // A frame of its own: the stream's serves one call at a time.
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
