package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Map;
import java.util.Optional;

/** One stored version of a backup. It may be shared by threads, and stays good when the vault is closed. */
public final class Version implements AutoCloseable {
    /** What a version is. */
    public enum Kind {
        /** A whole image. */
        FULL,
        /** What has changed since its parent. */
        INCREMENTAL,
        /** The mark of a deletion. */
        DELETED,
        /** A kind that this binding does not know. */
        OTHER
    }

    private final Vault vault;
    private final Row row;
    private Handle handle; // of a listed version: null until it is needed
    private boolean closed;

    /** A version that the library gave a handle for. */
    Version(Vault vault, Handle handle) throws S3VaultException {
        this.vault = vault;
        this.handle = handle.ownedBy(this);
        Pointer version = handle.enter();
        try {
            this.row = Row.read(Native.s3v_version_info(version));
        } finally {
            handle.leave();
        }
    }

    /** A version of a listing: the handle is fetched when its data is asked for. */
    Version(Vault vault, Row row) {
        this.vault = vault;
        this.row = row;
    }

    /** {@return the container} */
    public String container() {
        return row.container();
    }

    /** {@return the path} */
    public String path() {
        return row.path();
    }

    /** {@return the version id, which is made from the time} */
    public String vid() {
        return row.vid();
    }

    /** {@return what it is} */
    public Kind kind() {
        return switch (row.kind()) {
            case 1 -> Kind.FULL;
            case 2 -> Kind.INCREMENTAL;
            case 3 -> Kind.DELETED;
            default -> Kind.OTHER;
        };
    }

    /** {@return the version id of the backup that an incremental builds on} */
    public Optional<String> parent() {
        return row.parent() == null || row.parent().isEmpty() ? Optional.empty() : Optional.of(row.parent());
    }

    /** {@return when the put began} */
    public Instant initiated() {
        return Instant.ofEpochMilli(row.initiatedMs());
    }

    /** {@return the time that {@link Option#AS_OF} compares} */
    public Instant recorded() {
        return Instant.ofEpochMilli(row.recordedMs());
    }

    /** {@return the size of the data in bytes} */
    public long size() {
        return row.bytes();
    }

    /** {@return the hash of the signed manifest, for {@link Option#PIN}; empty where the version was only listed} */
    public Optional<String> manifestHash() {
        return Optional.ofNullable(row.manifestHash());
    }

    /**
     * {@return the signed manifest, byte for byte as it is stored}
     *
     * @throws IOException if it cannot be read
     */
    public byte[] manifest() throws IOException {
        Handle version = handle(Control.NONE);
        try (Frame frame = new Frame()) {
            frame.call(p -> Native.s3v_version_manifest(p[0], frame.ctl, frame.out, frame.err), version);
            return frame.takeBytes();
        }
    }

    /**
     * {@return the data as a stream}
     *
     * @throws IOException if it cannot be read
     */
    public Download openStream() throws IOException {
        return openStream(Map.of(), Control.NONE);
    }

    /**
     * {@return the data as a stream}
     *
     * @param options options of the call, by key
     * @param control follows and stops each read
     * @throws IOException if it cannot be read
     */
    public Download openStream(Map<String, String> options, Control control) throws IOException {
        Handle version = handle(control);
        try (Config config = Config.ofCall(options)) {
            return new Download(version, Config.handle(config), control);
        }
    }

    /**
     * Writes the data to a file, which appears when all of it was verified.
     *
     * @param file the file
     * @throws IOException if the data cannot be read or is not what was stored, or the file cannot be written
     */
    public void restore(Path file) throws IOException {
        restore(file, Map.of(), Control.NONE);
    }

    /**
     * Writes the data to a file, which appears when all of it was verified.
     *
     * @param file the file
     * @param options options of the call, by key
     * @param control follows and stops the call
     * @throws IOException if the data cannot be read or is not what was stored, or the file cannot be written
     */
    public void restore(Path file, Map<String, String> options, Control control) throws IOException {
        String name = Text.file(file);
        Handle version = handle(control);
        try (Config config = Config.ofCall(options);
                Frame frame = new Frame(control)) {
            frame.call(p -> Native.s3v_get_file(p[0], name, p[1], frame.ctl, frame.err),
                    version, Config.handle(config));
        }
    }

    private synchronized Handle handle(Control control) throws IOException {
        if (closed) {
            throw new S3VaultException(ErrorCode.WRONG_STATE, "the version is closed");
        }
        if (handle == null) {
            handle = vault.findHandle(row.container(), row.path(), Map.of(Option.VERSION, row.vid()), control)
                    .ownedBy(this);
        }
        return handle;
    }

    @Override
    public synchronized void close() {
        closed = true;
        if (handle != null) {
            handle.close();
        }
    }

    @Override
    public String toString() {
        return row.container() + "/" + row.path() + "@" + row.vid();
    }
}
