package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;

import java.util.Optional;

/** One stored version of a backup. Threads may share it, and it stays usable after the vault is closed. */
public final class Version implements AutoCloseable {
    /** The kinds of versions. */
    public enum Kind {
        /** A full backup. */
        FULL,
        /** The changes since its parent. */
        INCREMENTAL,
        /** A deletion marker. */
        DELETED,
        /** A kind that this binding does not know. */
        OTHER
    }

    private final Vault vault;
    private final Row row;
    private Handle handle; // null for a listed version until it is needed
    private boolean closed;

    /** A version with a handle of the library. */
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

    /** A version of a listing. The handle is fetched when its data is requested. */
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

    /** {@return the version id: 26 characters that sort by time} */
    public String vid() {
        return row.vid();
    }

    /** {@return the kind of the version} */
    public Kind kind() {
        return switch (row.kind()) {
            case Native.S3V_ROW_FULL -> Kind.FULL;
            case Native.S3V_ROW_INCREMENTAL -> Kind.INCREMENTAL;
            case Native.S3V_ROW_DELETED -> Kind.DELETED;
            default -> Kind.OTHER;
        };
    }

    /** {@return the version id of the backup that an incremental builds on} */
    public Optional<String> parent() {
        return row.parent() == null || row.parent().isEmpty() ? Optional.empty() : Optional.of(row.parent());
    }

    /** {@return when the put started} */
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

    /** {@return the hash of the signed manifest, for {@link Option#PIN}; empty if the version was only listed} */
    public Optional<String> manifestHash() {
        return Optional.ofNullable(row.manifestHash());
    }

    /**
     * {@return the id of the trusted key that signed the manifest; empty if the version was only listed, and where no
     * signature was checked, since the vault has neither a keyring nor {@link Option#VERIFY_KEYS}}
     */
    public Optional<String> signedBy() {
        return Optional.ofNullable(row.signedBy());
    }

    /**
     * {@return the signed manifest, byte for byte as it is stored}
     *
     * @throws IOException if the manifest cannot be read
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
     * @throws IOException if the data cannot be read
     */
    public Download openStream() throws IOException {
        return openStream(GetOptions.NONE, Control.NONE);
    }

    /**
     * {@return the data as a stream}
     *
     * @param options the options of the call
     * @param control follows and stops each read
     * @throws IOException if the data cannot be read
     */
    public Download openStream(GetOptions options, Control control) throws IOException {
        Handle version = handle(control);
        try (Config config = options.config()) {
            return new Download(version, Config.handle(config), control);
        }
    }

    /**
     * Restores the data to a file, which appears only after all of the data was verified.
     *
     * @param file the file
     * @throws IOException if the data cannot be read or is damaged, or the file cannot be written
     */
    public void restore(Path file) throws IOException {
        restore(file, RestoreOptions.NONE, Control.NONE);
    }

    /**
     * Restores the data to a file, which appears only after all of the data was verified.
     *
     * @param file the file
     * @param options the options of the call
     * @param control follows and stops the call
     * @throws IOException if the data cannot be read or is damaged, or the file cannot be written
     */
    public void restore(Path file, RestoreOptions options, Control control) throws IOException {
        String name = Text.file(file);
        Handle version = handle(control);
        try (Config config = options.config();
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
            FindOptions options = FindOptions.NONE.withVersion(row.vid());
            handle = vault.findHandle(row.container(), row.path(), options, control).ownedBy(this);
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
