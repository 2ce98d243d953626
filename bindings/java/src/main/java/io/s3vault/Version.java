package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Collections;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;

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

    /**
     * {@return the hash of the signed manifest, for {@link Option#PIN}; empty if the version was only listed, except in a
     * {@link #chain} and in a search for {@link Option#LABEL}}
     */
    public Optional<String> manifestHash() {
        return Optional.ofNullable(row.manifestHash());
    }

    /**
     * {@return the id of the trusted key that signed the manifest; empty where {@link #manifestHash} is, and where no
     * signature was checked, since the vault has neither a keyring nor {@link Option#VERIFY_KEYS}}
     */
    public Optional<String> signedBy() {
        return Optional.ofNullable(row.signedBy());
    }

    /** {@return the labels of the version, in the order of their keys; empty if the version was only listed} */
    public Optional<SortedMap<String, String>> labels() {
        if (row.labels() == null) {
            return Optional.empty();
        }
        SortedMap<String, String> labels = new TreeMap<>();
        row.labels().lines().map(line -> line.split("=", 2)).forEach(label -> labels.put(label[0], label[1]));
        return Optional.of(Collections.unmodifiableSortedMap(labels));
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
     * {@return the data key of a version that is stored with encryption sse-c or envelope} It is secret: it decrypts the
     * backup. With sse-c it is the key of the SSE-C headers.
     *
     * @throws IOException if the version has no data key, the keyring does not have the key that it is wrapped with, or
     *     the store cannot be reached or refuses
     */
    public byte[] dataKey() throws IOException {
        Handle version = handle(Control.NONE);
        try (Frame frame = new Frame()) {
            frame.call(p -> Native.s3v_version_key(p[0], frame.ctl, frame.out, frame.err), version);
            return frame.takeBytes();
        }
    }

    /**
     * {@return what has to be restored for this version, in order: the full backup first, then each incremental up to this
     * one} Each manifest is verified.
     *
     * @throws IOException if a version is missing or does not verify, or the store cannot be reached or refuses
     */
    public Listing<Version> chain() throws IOException {
        return chain(Control.NONE);
    }

    /**
     * {@return what has to be restored for this version, in order: the full backup first, then each incremental up to this
     * one} Each manifest is verified.
     *
     * @param control follows and stops each step
     * @throws IOException if a version is missing or does not verify, or the store cannot be reached or refuses
     */
    public Listing<Version> chain(Control control) throws IOException {
        return new Listing<>(control, row -> new Version(vault, row),
                (p, frame) -> Native.s3v_list_chain(p[0], frame.ctl, frame.out, frame.err), handle(control));
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

    /**
     * Deletes this version, for good: it is no longer listed. Its space is freed by a {@link Vault#prune} or
     * {@link Vault#sweep} that runs at least half an hour later.
     *
     * @throws IOException if an incremental needs it, it is held or locked, or the store cannot be reached or refuses
     */
    public void delete() throws IOException {
        delete(Control.NONE);
    }

    /**
     * Deletes this version, for good: it is no longer listed. Its space is freed by a {@link Vault#prune} or
     * {@link Vault#sweep} that runs at least half an hour later.
     *
     * @param control follows and stops the call
     * @throws IOException if an incremental needs it, it is held or locked, or the store cannot be reached or refuses
     */
    public void delete(Control control) throws IOException {
        Handle version = handle(control);
        try (Frame frame = new Frame(control)) {
            frame.call(p -> Native.s3v_version_delete(p[0], null, frame.ctl, frame.err), version);
        }
    }

    /**
     * Reads all data of this version and compares it with the signed manifest, as a restore does, and keeps none of it. A
     * version that is bad is no exception: look at {@link VersionReport#verdict()}.
     *
     * @return what was found
     * @throws IOException if the store cannot be reached or refuses
     */
    public VersionReport verify() throws IOException {
        return verify(Control.NONE);
    }

    /**
     * Reads all data of this version and compares it with the signed manifest, as a restore does, and keeps none of it. A
     * version that is bad is no exception: look at {@link VersionReport#verdict()}.
     *
     * @param control follows and stops the call
     * @return what was found
     * @throws IOException if the store cannot be reached or refuses
     */
    public VersionReport verify(Control control) throws IOException {
        Handle version = handle(control);
        try (Frame frame = new Frame(control)) {
            frame.call(p -> Native.s3v_get_verify(p[0], null, frame.ctl, frame.out, frame.err), version);
            return VersionReport.parse(new String(frame.takeBytes(), StandardCharsets.UTF_8));
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
