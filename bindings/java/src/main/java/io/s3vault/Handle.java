package io.s3vault;

import com.sun.jna.Pointer;
import java.lang.ref.Cleaner;
import java.util.function.Consumer;

/**
 * A handle of the library, freed once: by {@link #close()}, or when its owner is garbage collected. While calls on it
 * are in progress, a close takes effect when the last of them ends. The Cleaner holds it, so it must not refer to its
 * owner.
 */
final class Handle {
    private static final Cleaner CLEANER = Cleaner.create();

    private final String name;
    private final Pointer pointer;
    private final Consumer<Pointer> free;
    private int calls;
    private boolean closed;

    Handle(String name, Pointer pointer, Consumer<Pointer> free) {
        this.name = name;
        this.pointer = pointer;
        this.free = free;
    }

    /** Frees the handle when {@code owner} is no longer reachable. */
    Handle ownedBy(Object owner) {
        CLEANER.register(owner, this::close);
        return this;
    }

    /** Starts a call; {@link #leave()} ends it. */
    synchronized Pointer enter() throws S3VaultException {
        if (closed) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the " + name + " is closed");
        }
        calls++;
        return pointer;
    }

    synchronized void leave() {
        calls--;
        if (closed && calls == 0) {
            free.accept(pointer);
        }
    }

    synchronized void close() {
        if (!closed) {
            closed = true;
            if (calls == 0) {
                free.accept(pointer);
            }
        }
    }

    synchronized boolean isClosed() {
        return closed;
    }

    String name() {
        return name;
    }
}
