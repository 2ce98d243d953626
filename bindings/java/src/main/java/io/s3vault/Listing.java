package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.ref.Reference;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * The entries of a vault, fetched as they are read. It can be read once. If fetching fails, the iterator throws an
 * {@link UncheckedIOException} whose cause is the {@link S3VaultException}.
 *
 * @param <T> type of an entry
 */
public final class Listing<T> implements Iterable<T>, AutoCloseable {
    /** The call that opens a listing. */
    interface Open {
        int call(Pointer[] handles, Frame frame);
    }

    private final Frame frame;
    private final Handle handle;
    private final Function<Row, T> convert;
    private boolean iterated;

    Listing(Control control, Function<Row, T> convert, Open open, Handle... handles) throws IOException {
        this.frame = new Frame(control);
        this.convert = convert;
        this.handle = frame.open("listing", Native::s3v_list_free, p -> open.call(p, frame), handles).ownedBy(this);
        frame.stopsWith(handle);
    }

    /**
     * {@return the iterator}
     *
     * @throws IllegalStateException if it was called before
     */
    @Override
    public Iterator<T> iterator() {
        if (iterated) {
            throw new IllegalStateException("a listing can be read once");
        }
        iterated = true;
        return new Rows();
    }

    /** {@return the entries as a stream; closing it closes this listing} */
    public Stream<T> stream() {
        return StreamSupport.stream(
                        Spliterators.spliteratorUnknownSize(iterator(), Spliterator.ORDERED | Spliterator.NONNULL),
                        false)
                .onClose(this::close);
    }

    @Override
    public void close() {
        handle.close();
    }

    /** The next entry, or null at the end. */
    private synchronized T next() {
        try {
            int rc = frame.call(p -> Native.s3v_list_next(p[0], frame.ctl, frame.out, frame.err), handle);
            return rc == 0 ? null : convert.apply(Row.read(frame.out.getPointer(0)));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** The iterator, which keeps the listing reachable while it is read. */
    private final class Rows implements Iterator<T> {
        private T ahead;
        private boolean ended;

        @Override
        public boolean hasNext() {
            if (ahead == null && !ended) {
                ahead = Listing.this.next();
                ended = ahead == null;
            }
            return !ended;
        }

        @Override
        public T next() {
            if (!hasNext()) {
                throw new NoSuchElementException();
            }
            T row = ahead;
            ahead = null;
            return row;
        }
    }
}
