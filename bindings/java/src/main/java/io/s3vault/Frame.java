package io.s3vault;

import com.sun.jna.CallbackReference;
import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import io.s3vault.internal.Layout;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.lang.ref.Reference;
import java.util.function.Consumer;

/**
 * The native memory that a call into the library needs: an {@code s3v_ctl} and the out-parameters, in one block that
 * the calls of a stream reuse. It serves one call at a time; its owner must make sure of that.
 *
 * <p>The library calls back on the calling thread, every 200 ms even when idle. The callback stops the call if the
 * thread was interrupted or another thread closed the stream.
 */
final class Frame implements AutoCloseable {
    // The block: an s3v_ctl, and a pointer each for the output and the error.
    private static final int OUT = Layout.Ctl.SIZE;
    private static final int ERR = OUT + Long.BYTES;
    private static final int SIZE = ERR + Long.BYTES;

    // One native callback for all frames, never collected. It finds the frame by the thread it is called on.
    private static final Native.EventFn CALLBACK = Frame::onEvent;
    private static final ThreadLocal<Frame> RUNNING = new ThreadLocal<>();

    /** Why the callback stopped the call. */
    private enum Stop { NONE, INTERRUPTED, CLOSED, THROWN }

    /** A call of a native function with the handles that were passed to {@link #call}; null for each that was null. */
    interface Body {
        int call(Pointer[] handles);
    }

    final Pointer ctl;
    final Pointer out;
    final Pointer err;

    private final Memory block = new Memory(SIZE);
    private final Control control;
    private Handle stream;
    private boolean busy;
    private Stop stop = Stop.NONE;
    private Throwable thrown;

    /** A frame without a control, for calls that do not wait. */
    Frame() {
        this(Control.NONE);
    }

    Frame(Control control) {
        this.control = control;
        ctl = block.share(0, Layout.Ctl.SIZE);
        out = block.share(OUT, Long.BYTES);
        err = block.share(ERR, Long.BYTES);
        block.clear();
        block.setInt(0, Layout.Ctl.SIZE);
        block.setPointer(Layout.Ctl.ON_EVENT, CallbackReference.getFunctionPointer(CALLBACK));
        block.setLong(Layout.Ctl.TIMEOUT_MS, control.timeoutMillis());
    }

    /** Makes a close of this handle stop the call in progress. */
    void stopsWith(Handle stream) {
        this.stream = stream;
    }

    /** Makes a call that may wait. An interrupt, the control's listener and its cancel stop it. Returns 0 or more. */
    int call(Body body, Handle... handles) throws IOException {
        checkInterrupt();
        int rc = run(body, handles);
        throwStop(rc);
        return rc;
    }

    /** Makes a {@link #call} that creates a handle. */
    Handle open(String name, Consumer<Pointer> free, Body body, Handle... handles) throws IOException {
        checkInterrupt();
        int rc = run(body, handles);
        Handle made = rc < 0 ? null : new Handle(name, out.getPointer(0), free);
        try {
            throwStop(rc);
        } catch (Throwable e) {
            if (made != null) {
                made.close();
            }
            throw e;
        }
        return made;
    }

    /** Makes a call that does not wait, or that an interrupt must not stop. */
    int callLocal(Body body, Handle... handles) throws S3VaultException {
        int rc = run(body, handles);
        if (rc < 0) {
            throw S3VaultException.take(rc, err.getPointer(0));
        }
        return rc;
    }

    /** Copies and frees the bytes that the last call returned. */
    byte[] takeBytes() {
        Pointer bytes = out.getPointer(0);
        try {
            Pointer data = Native.s3v_bytes_data(bytes, out);
            long length = out.getLong(0);
            return length == 0 ? new byte[0] : data.getByteArray(0, Math.toIntExact(length));
        } finally {
            Native.s3v_bytes_free(bytes);
        }
    }

    /** Whether a call is in progress; the caller is then inside of its callback. */
    boolean isBusy() {
        return busy;
    }

    /** Frees the block. No call may be in progress. */
    @Override
    public void close() {
        block.close();
    }

    private static void checkInterrupt() throws InterruptedIOException {
        if (Thread.currentThread().isInterrupted()) {
            throw new InterruptedIOException("the thread was interrupted before the call");
        }
    }

    private int run(Body body, Handle... handles) throws S3VaultException {
        if (busy) {
            throw new S3VaultException(ErrorCode.BUSY, "a call on this handle was made from inside its own listener");
        }
        Pointer[] pointers = new Pointer[handles.length];
        Handle cancel = control.cancel() == null ? null : control.cancel().handle;
        Frame outer = RUNNING.get();
        int entered = 0;
        boolean cancelEntered = false;
        try {
            for (; entered < handles.length; entered++) {
                pointers[entered] = handles[entered] == null ? null : handles[entered].enter();
            }
            block.setPointer(Layout.Ctl.CANCEL, cancel == null ? null : cancel.enter());
            cancelEntered = cancel != null;
            stop = Stop.NONE;
            thrown = null;
            err.setPointer(0, null);
            busy = true;
            RUNNING.set(this);
            return body.call(pointers);
        } finally {
            RUNNING.set(outer);
            busy = false;
            if (cancelEntered) {
                cancel.leave();
            }
            while (--entered >= 0) {
                if (handles[entered] != null) {
                    handles[entered].leave();
                }
            }
            Reference.reachabilityFence(control);
            Reference.reachabilityFence(this);
        }
    }

    /** Throws what ended the call, unless it succeeded. */
    private void throwStop(int rc) throws IOException {
        S3VaultException error = rc < 0 ? S3VaultException.take(rc, err.getPointer(0)) : null;
        if (stop == Stop.THROWN) {
            rethrow(thrown);
        }
        if (error == null) {
            return;
        }
        if (error.code() == ErrorCode.STOPPED && stop == Stop.INTERRUPTED) {
            InterruptedIOException interrupted = new InterruptedIOException(
                    S3VaultException.withHint("the call was stopped by an interrupt", error.hint()));
            interrupted.initCause(error);
            throw interrupted;
        }
        if (error.code() == ErrorCode.STOPPED && stop == Stop.CLOSED) {
            S3VaultException closed = new S3VaultException(
                    ErrorCode.WRONG_STATE, "the " + stream.name() + " was closed while the call ran");
            closed.initCause(error);
            throw closed;
        }
        throw error;
    }

    private static void rethrow(Throwable thrown) throws IOException {
        if (thrown instanceof IOException e) {
            throw e;
        }
        if (thrown instanceof RuntimeException e) {
            throw e;
        }
        if (thrown instanceof Error e) {
            throw e;
        }
        throw new IOException("the listener failed", thrown);
    }

    private static int onEvent(Pointer ctx, Pointer event) {
        Frame frame = RUNNING.get();
        return frame == null ? 0 : frame.onEvent(event);
    }

    private int onEvent(Pointer event) {
        try {
            if (stop != Stop.NONE) {
                return 1;
            }
            if (Thread.currentThread().isInterrupted()) {
                stop = Stop.INTERRUPTED;
            } else if (stream != null && stream.isClosed()) {
                stop = Stop.CLOSED;
            } else {
                Event.deliver(event, control.listener());
            }
        } catch (Throwable e) {
            // JNA would swallow it and return 0, which continues the call.
            stop = Stop.THROWN;
            thrown = e;
        }
        return stop == Stop.NONE ? 0 : 1;
    }
}
