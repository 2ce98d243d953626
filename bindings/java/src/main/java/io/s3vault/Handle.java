package io.s3vault;

import com.sun.jna.Pointer;
import java.lang.ref.Cleaner;
import java.util.function.Consumer;

/**
 * A handle of the library, freed once: by {@link #close()}, or when its owner is collected. While calls on it run, a
 * close takes effect at the end of the last. It is the state that the Cleaner keeps, so it never refers to its owner.
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

    /** Frees the handle when {@code owner} can no longer be reached. */
    Handle ownedBy(Object owner) {
        CLEANER.register(owner, this::close);
        return this;
    }

    /** Begins a call; {@link #leave()} ends it. */
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
