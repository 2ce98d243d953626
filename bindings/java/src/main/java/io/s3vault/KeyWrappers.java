package io.s3vault;

import com.sun.jna.CallbackReference;
import com.sun.jna.Pointer;
import io.s3vault.internal.Layout;
import io.s3vault.internal.Native;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/** The wrappers that the library's keyrings and vaults need. The library knows each by a number, its context. */
final class KeyWrappers {
    // Native callbacks for all wrappers, never collected.
    private static final Native.KeyFn ON_WRAP = KeyWrappers::onWrap;
    private static final Native.KeyFn ON_UNWRAP = KeyWrappers::onUnwrap;
    private static final Native.FreeFn ON_FREE = KeyWrappers::free;

    static final Pointer WRAP = CallbackReference.getFunctionPointer(ON_WRAP);
    static final Pointer UNWRAP = CallbackReference.getFunctionPointer(ON_UNWRAP);
    static final Pointer FREE = CallbackReference.getFunctionPointer(ON_FREE);

    private static final Map<Long, KeyWrapper> HELD = new ConcurrentHashMap<>();
    private static final AtomicLong LAST = new AtomicLong();

    private KeyWrappers() {}

    /** A method of {@link KeyWrapper}. */
    private interface Method {
        byte[] call(KeyWrapper wrapper, byte[] data, byte[] associated) throws Exception;
    }

    /** Holds a wrapper until {@link #free}, and returns the context that names it. */
    static Pointer hold(KeyWrapper wrapper) {
        long number = LAST.incrementAndGet();
        HELD.put(number, wrapper);
        return new Pointer(number);
    }

    /** {@return how many wrappers are held} */
    static int held() {
        return HELD.size();
    }

    static void free(Pointer ctx) {
        HELD.remove(Pointer.nativeValue(ctx));
    }

    private static int onWrap(Pointer ctx, Pointer call) {
        return run(ctx, call, KeyWrapper::wrap, false);
    }

    private static int onUnwrap(Pointer ctx, Pointer call) {
        return run(ctx, call, KeyWrapper::unwrap, true);
    }

    private static int run(Pointer ctx, Pointer call, Method method, boolean isResultSecret) {
        byte[] data = bytes(call, Layout.KeyCall.DATA, Layout.KeyCall.DATA_LEN);
        byte[] result = null;
        try {
            byte[] associated = bytes(call, Layout.KeyCall.ASSOCIATED, Layout.KeyCall.ASSOCIATED_LEN);
            result = method.call(HELD.get(Pointer.nativeValue(ctx)), data, associated);
            long capacity = call.getLong(Layout.KeyCall.OUT_CAPACITY);
            if (result == null) {
                throw new IllegalStateException("the method returned null");
            }
            if (result.length > capacity) {
                throw new IllegalStateException(
                        "the method returned " + result.length + " bytes; at most " + capacity + " are accepted");
            }
            call.getPointer(Layout.KeyCall.OUT).write(0, result, 0, result.length);
            call.setLong(Layout.KeyCall.OUT_LEN, result.length);
            return 0;
        } catch (Throwable e) {
            // JNA would swallow it and return 0.
            say(call, e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage());
            return 1;
        } finally {
            Arrays.fill(data, (byte) 0);
            if (isResultSecret && result != null) {
                Arrays.fill(result, (byte) 0);
            }
        }
    }

    private static byte[] bytes(Pointer call, int data, int length) {
        return call.getPointer(data).getByteArray(0, Math.toIntExact(call.getLong(length)));
    }

    private static void say(Pointer call, String text) {
        byte[] message = text.replace('\0', ' ').getBytes(StandardCharsets.UTF_8);
        int length = Math.min(message.length, (int) call.getLong(Layout.KeyCall.MESSAGE_CAPACITY) - 1);
        Pointer out = call.getPointer(Layout.KeyCall.MESSAGE);
        out.write(0, message, 0, length);
        out.setByte(length, (byte) 0);
    }
}
