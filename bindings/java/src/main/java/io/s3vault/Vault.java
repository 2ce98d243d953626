package io.s3vault;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;

/**
 * A vault: a store, the keys to it, and the backups in it. Threads may share it. Objects made from it stay usable after
 * it is closed, except listed versions whose data was not requested before.
 */
public final class Vault implements AutoCloseable {
    private final Handle handle;

    private Vault(Handle handle) {
        this.handle = handle.ownedBy(this);
    }

    /**
     * {@return the vault that these settings name} It checks the bucket, and makes it a vault if it is not one yet.
     *
     * @param config the settings; it may be closed afterwards
     * @param keyring signs and verifies; null for neither; it may be closed afterwards
     * @throws IOException if the settings are wrong, or the store cannot be reached or refuses
     */
    public static Vault open(Config config, Keyring keyring) throws IOException {
        return open(config, keyring, Control.NONE);
    }

    /**
     * {@return the vault that these settings name}
     *
     * @param settings values by key; {@link Option} has the keys
     * @param keyring signs and verifies; null for neither
     * @throws IOException if the settings are wrong, or the store cannot be reached or refuses
     */
    public static Vault open(Map<String, String> settings, Keyring keyring) throws IOException {
        try (Config config = Config.of(settings)) {
            return open(config, keyring, Control.NONE);
        }
    }

    /**
     * {@return the vault that these settings name}
     *
     * @param config the settings
     * @param keyring signs and verifies; null for neither
     * @param control follows and stops the call
     * @throws IOException if the settings are wrong, or the store cannot be reached or refuses
     */
    public static Vault open(Config config, Keyring keyring, Control control) throws IOException {
        try (Frame frame = new Frame(control)) {
            return new Vault(frame.open("vault", Native::s3v_vault_free,
                    p -> Native.s3v_vault_open(p[0], p[1], frame.ctl, frame.out, frame.err),
                    config.handle, keyring == null ? null : keyring.handle));
        }
    }

    /**
     * {@return a stream that stores a new version once it is committed}
     *
     * @param container the container, for example a machine's name
     * @param path the path in it, for example a disk's name
     * @throws IOException if a name is refused, or the store cannot be reached or refuses
     */
    public Upload create(String container, String path) throws IOException {
        return create(container, path, PutOptions.NONE, Control.NONE);
    }

    /**
     * {@return a stream that stores a new version once it is committed}
     *
     * @param container the container, for example a machine's name
     * @param path the path in it, for example a disk's name
     * @param options the options of the call
     * @param control follows and stops the create, each write and the commit
     * @throws IOException if a name is refused, or the store cannot be reached or refuses
     */
    public Upload create(String container, String path, PutOptions options, Control control) throws IOException {
        Text.name("container", container);
        Text.name("path", path);
        try (Config config = options.config()) {
            boolean resumable = options.has(Option.CHECKPOINT);
            return new Upload(this, handle, container, path, Config.handle(config), resumable, control);
        }
    }

    /**
     * {@return the new version that a file was stored as}
     *
     * @param container the container
     * @param path the path in it
     * @param file the file
     * @throws IOException if a name is refused, the file cannot be read, or the store cannot be reached or refuses
     */
    public Version put(String container, String path, Path file) throws IOException {
        return put(container, path, file, PutOptions.NONE, Control.NONE);
    }

    /**
     * {@return the new version that a file was stored as}
     *
     * @param container the container
     * @param path the path in it
     * @param file the file
     * @param options the options of the call
     * @param control follows and stops the call
     * @throws IOException if a name is refused, the file cannot be read, or the store cannot be reached or refuses
     */
    public Version put(String container, String path, Path file, PutOptions options, Control control)
            throws IOException {
        Text.name("container", container);
        Text.name("path", path);
        String name = Text.file(file);
        try (Config config = options.config();
                Frame frame = new Frame(control)) {
            return new Version(this, frame.open("version", Native::s3v_version_free,
                    p -> Native.s3v_put_file(p[0], container, path, name, p[1], frame.ctl, frame.out, frame.err),
                    handle, Config.handle(config)));
        }
    }

    /**
     * {@return the newest version}
     *
     * @param container the container
     * @param path the path in it
     * @throws IOException if there is none, or the store cannot be reached or refuses
     */
    public Version find(String container, String path) throws IOException {
        return find(container, path, FindOptions.NONE, Control.NONE);
    }

    /**
     * {@return the version that the options select}
     *
     * @param container the container
     * @param path the path in it
     * @param options which version; without any, the newest
     * @param control follows and stops the call
     * @throws IOException if there is none, or the store cannot be reached or refuses
     */
    public Version find(String container, String path, FindOptions options, Control control) throws IOException {
        return new Version(this, findHandle(container, path, options, control));
    }

    Handle findHandle(String container, String path, FindOptions options, Control control) throws IOException {
        Text.name("container", container);
        Text.name("path", path);
        try (Config config = options.config();
                Frame frame = new Frame(control)) {
            return frame.open("version", Native::s3v_version_free,
                    p -> Native.s3v_version_find(p[0], container, path, p[1], frame.ctl, frame.out, frame.err),
                    handle, Config.handle(config));
        }
    }

    /**
     * {@return the versions of a backup, newest first}
     *
     * @param container the container; null for all
     * @param path the path in it; null for all paths
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<Version> versions(String container, String path) throws IOException {
        return versions(container, path, Control.NONE);
    }

    /**
     * {@return the versions of a backup, newest first}
     *
     * @param container the container; null for all
     * @param path the path in it; null for all paths
     * @param control follows and stops each step
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<Version> versions(String container, String path, Control control) throws IOException {
        return versions(container, path, ListOptions.NONE, control);
    }

    /**
     * {@return the versions that the options choose, newest first within each path}
     *
     * @param container the container; null for all
     * @param path the path in it; null for all paths
     * @param options which versions
     * @param control follows and stops each step
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<Version> versions(String container, String path, ListOptions options, Control control)
            throws IOException {
        Text.name("container", container);
        Text.name("path", path);
        try (Config config = options.config()) {
            return new Listing<>(control, row -> new Version(this, row),
                    (p, frame) -> Native.s3v_list_versions(
                            p[0], container, path, p[1], frame.ctl, frame.out, frame.err),
                    handle, Config.handle(config));
        }
    }

    /**
     * {@return the newest version of each path}
     *
     * @param container the container
     * @param prefix start of the paths to list; null for all
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<Version> paths(String container, String prefix) throws IOException {
        return paths(container, prefix, Control.NONE);
    }

    /**
     * {@return the newest version of each path}
     *
     * @param container the container
     * @param prefix start of the paths to list; null for all
     * @param control follows and stops each step
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<Version> paths(String container, String prefix, Control control) throws IOException {
        return paths(container, prefix, ListOptions.NONE, control);
    }

    /**
     * {@return the newest version of each path, of those that the options choose}
     *
     * @param container the container
     * @param prefix start of the paths to list; null for all
     * @param options which versions
     * @param control follows and stops each step
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<Version> paths(String container, String prefix, ListOptions options, Control control)
            throws IOException {
        Text.name("container", container);
        Text.name("prefix", prefix);
        try (Config config = options.config()) {
            return new Listing<>(control, row -> new Version(this, row),
                    (p, frame) -> Native.s3v_list_paths(
                            p[0], container, prefix, p[1], frame.ctl, frame.out, frame.err),
                    handle, Config.handle(config));
        }
    }

    /**
     * {@return the multipart uploads in progress at keys of the vault's data: those of puts that are running, and what
     * puts that were killed left} Some stores (MinIO) list uploads only of a whole key, so that this finds none.
     *
     * @param control follows and stops each step
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<UnfinishedUpload> uploads(Control control) throws IOException {
        return new Listing<>(control, UnfinishedUpload::of,
                (p, frame) -> Native.s3v_list_uploads(p[0], null, frame.ctl, frame.out, frame.err),
                handle);
    }

    /**
     * {@return the names of the containers}
     *
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<String> containers() throws IOException {
        return containers(Control.NONE);
    }

    /**
     * {@return the names of the containers}
     *
     * @param control follows and stops each step
     * @throws IOException if the store cannot be reached or refuses
     */
    public Listing<String> containers(Control control) throws IOException {
        return new Listing<>(control, Row::container,
                (p, frame) -> Native.s3v_list_containers(p[0], null, frame.ctl, frame.out, frame.err),
                handle);
    }

    /**
     * Makes the vault before its first put, which does the same: checks that the bucket's versioning fits, and writes the
     * vault's description.
     *
     * @param control follows and stops the call
     * @return whether it was written; false if it was there, or if each container has a bucket of its own
     * @throws IOException if the bucket does not fit, or the store cannot be reached or refuses
     */
    public boolean init(Control control) throws IOException {
        try (Frame frame = new Frame(control)) {
            return frame.call(p -> Native.s3v_vault_init(p[0], frame.ctl, frame.err), handle) == 1;
        }
    }

    /**
     * Deletes a backup: {@link #find} no longer finds it. Its versions stay and nothing is freed; {@link #undelete} takes
     * it back.
     *
     * @param container the container
     * @param path the path in it
     * @return the version of kind {@link Version.Kind#DELETED} that records the deletion
     * @throws IOException if there is no such backup, or the store cannot be reached or refuses
     */
    public Version delete(String container, String path) throws IOException {
        return delete(container, path, Control.NONE);
    }

    /**
     * Deletes a backup: {@link #find} no longer finds it. Its versions stay and nothing is freed; {@link #undelete} takes
     * it back.
     *
     * @param container the container
     * @param path the path in it
     * @param control follows and stops the call
     * @return the version of kind {@link Version.Kind#DELETED} that records the deletion
     * @throws IOException if there is no such backup, or the store cannot be reached or refuses
     */
    public Version delete(String container, String path, Control control) throws IOException {
        Text.name("container", container);
        Text.name("path", path);
        try (Frame frame = new Frame(control)) {
            return new Version(this, frame.open("version", Native::s3v_version_free,
                    p -> Native.s3v_delete(p[0], container, path, frame.ctl, frame.out, frame.err), handle));
        }
    }

    /**
     * Takes the newest deletion of a backup back.
     *
     * @param container the container
     * @param path the path in it
     * @return the version that is the newest now
     * @throws IOException if the backup is not deleted, or the store cannot be reached or refuses
     */
    public Version undelete(String container, String path) throws IOException {
        return undelete(container, path, Control.NONE);
    }

    /**
     * Takes the newest deletion of a backup back.
     *
     * @param container the container
     * @param path the path in it
     * @param control follows and stops the call
     * @return the version that is the newest now
     * @throws IOException if the backup is not deleted, or the store cannot be reached or refuses
     */
    public Version undelete(String container, String path, Control control) throws IOException {
        Text.name("container", container);
        Text.name("path", path);
        try (Frame frame = new Frame(control)) {
            return new Version(this, frame.open("version", Native::s3v_version_free,
                    p -> Native.s3v_undelete(p[0], container, path, frame.ctl, frame.out, frame.err), handle));
        }
    }

    /**
     * Hides the versions that the retention lets go, and frees the space of what was hidden more than half an hour ago.
     * The retention is that of the settings, except for what the options say. A job that was stopped continues when it
     * is run again.
     *
     * @param options the options of the call
     * @param onItem receives each version that the job looks at, in order; null for none. What it throws stops the job
     * @param control follows and stops the call
     * @return what was done
     * @throws IOException if no retention is set, or the store cannot be reached or refuses
     */
    public JobReport prune(PruneOptions options, Consumer<JobItem> onItem, Control control) throws IOException {
        return job(options, onItem, control,
                (p, frame) -> Native.s3v_prune(p[0], p[1], frame.ctl, frame.out, frame.err));
    }

    /**
     * Marks what puts left that crashed and were not resumed in time ({@link Option#GRACE}), and frees the space of what
     * was marked or hidden more than half an hour ago. A job that was stopped continues when it is run again.
     *
     * @param options the options of the call
     * @param onItem receives each version that the job looks at, in order; null for none. What it throws stops the job
     * @param control follows and stops the call
     * @return what was done
     * @throws IOException if the store cannot be reached or refuses
     */
    public JobReport sweep(SweepOptions options, Consumer<JobItem> onItem, Control control) throws IOException {
        return job(options, onItem, control,
                (p, frame) -> Native.s3v_sweep(p[0], p[1], frame.ctl, frame.out, frame.err));
    }

    /**
     * Wraps the data keys of the stored versions with the current key-encryption key of the keyring. Their data stays as
     * it is, and each version can be read at every moment by those who have both keys. A job that was stopped continues
     * when it is run again.
     *
     * @param options the options of the call
     * @param onItem receives each version that the job looks at, in order; null for none. What it throws stops the job
     * @param control follows and stops the call
     * @return what was done
     * @throws IOException if the keyring has no key-encryption key, or the store cannot be reached or refuses
     */
    public JobReport rotate(RotateOptions options, Consumer<JobItem> onItem, Control control) throws IOException {
        return job(options, onItem, control,
                (p, frame) -> Native.s3v_rotate(p[0], p[1], frame.ctl, frame.out, frame.err));
    }

    /**
     * Copies the data of stored versions that the store encrypts ({@code encryption = sse-c}) under new data keys, so that
     * keys that leaked do not open it: make a new key-encryption key current first. Each copy is verified before it counts,
     * and each version can be read at every moment by those who have both keys. What the old keys open is removed by a
     * later run, after {@link Option#GRACE}. Where the store cannot copy such data (Ceph), each version is a problem that
     * says how many bytes it has; with {@link Option#THROUGH_CLIENT} they pass through this machine. A job that was
     * stopped continues when it is run again.
     *
     * @param options the options of the call
     * @param onItem receives each version that the job looks at, in order; null for none. What it throws stops the job
     * @param control follows and stops the call
     * @return what was done
     * @throws IOException if the keyring has no key-encryption key that data keys can be made with, or the store cannot be
     *     reached or refuses
     */
    public JobReport rekey(RekeyOptions options, Consumer<JobItem> onItem, Control control) throws IOException {
        return job(options, onItem, control,
                (p, frame) -> Native.s3v_rekey(p[0], p[1], frame.ctl, frame.out, frame.err));
    }

    /**
     * Retires a key-encryption key (KEK) of the keyring with which the vault was opened, after {@link #rotate}. The first
     * call closes the KEK: no put uses it any more. Call it again at {@link Retirement#waitUntil()}: if nothing in the
     * vault needs the KEK then, it is dropped from the keyring and its file. The current KEK is refused. Retiring a KEK
     * again changes nothing. If each container has a bucket of its own, end the programs that opened the keyring while
     * the KEK was current before the first call.
     *
     * @param kek the id of the KEK
     * @param control follows and stops the call
     * @return where the retirement is
     * @throws IOException if the KEK is current or unknown, the vault has no keyring, or the store cannot be reached or
     *     refuses
     */
    public Retirement retire(String kek, Control control) throws IOException {
        Text.argument("kek", kek);
        try (Frame frame = new Frame(control)) {
            frame.call(p -> Native.s3v_retire(p[0], kek, frame.ctl, frame.out, frame.err), handle);
            return Retirement.parse(new String(frame.takeBytes(), StandardCharsets.UTF_8));
        }
    }

    /**
     * Makes versions of what other programs wrote into a bucket of the vault as {@code container/path}, without moving
     * it. What is adopted already is left as it is. With {@link Option#HASH} all of it is read, so that it is verified
     * as any other version. {@link Option#ADOPT_KEYS} names a file with the keys of objects that are encrypted with
     * SSE-C, one JSON object per line.
     *
     * @param options the options of the call
     * @param onItem receives each object that the job looks at, in order; null for none. What it throws stops the job
     * @param control follows and stops the call
     * @return what was done
     * @throws IOException if the bucket does not fit the vault, or the store cannot be reached or refuses
     */
    public JobReport adopt(AdoptOptions options, Consumer<JobItem> onItem, Control control) throws IOException {
        return job(options, onItem, control,
                (p, frame) -> Native.s3v_adopt(p[0], p[1], frame.ctl, frame.out, frame.err));
    }

    /**
     * Reads all data of all versions, or of a sample of them, and compares it with their signed manifests. A version that
     * is bad is no exception: look at {@link VerifyReport#bad()}.
     *
     * @param options the options of the call
     * @param onVersion receives each version once it was read; null for none. What it throws stops the call
     * @param control follows and stops the call
     * @return what was found
     * @throws IOException if the store cannot be reached or refuses
     */
    public VerifyReport verify(VerifyOptions options, Consumer<VersionReport> onVersion, Control control)
            throws IOException {
        Consumer<String> onLine = onVersion == null ? null : line -> onVersion.accept(VersionReport.parse(line));
        return VerifyReport.parse(reportOf(options, onLine, control,
                (p, frame) -> Native.s3v_verify(p[0], p[1], frame.ctl, frame.out, frame.err)));
    }

    /** The native function of a job. */
    private interface Job {
        int run(Pointer[] handles, Frame frame);
    }

    private JobReport job(CallOptions options, Consumer<JobItem> onItem, Control control, Job job) throws IOException {
        Consumer<String> onLine = onItem == null ? null : line -> onItem.accept(JobItem.parse(line));
        return JobReport.parse(reportOf(options, onLine, control, job));
    }

    /** Runs a job whose items are lines of JSON, and returns its report. */
    private String reportOf(CallOptions options, Consumer<String> onLine, Control control, Job job) throws IOException {
        Listener listener = control.listener();
        Control told = control.withListener(event -> {
            if (event.kind() == EventKind.ITEM && onLine != null) {
                onLine.accept(event.text());
            }
            if (listener != null) {
                listener.on(event);
            }
        });
        try (Config config = options.config();
                Frame frame = new Frame(told)) {
            frame.call(p -> job.run(p, frame), handle, Config.handle(config));
            return new String(frame.takeBytes(), StandardCharsets.UTF_8);
        }
    }

    /**
     * {@return the verdict on a signed manifest} It needs no vault and no store.
     *
     * @param manifest the signed manifest as {@link Version#manifest()} returns it
     * @param publicKeys the keys to trust, one {@code ed25519 <id> <base64>} per line
     * @throws S3VaultException if the manifest or a key cannot be parsed
     */
    public static Verdict verifyManifest(byte[] manifest, String publicKeys) throws S3VaultException {
        Loader.load();
        Text.argument("publicKeys", publicKeys);
        try (Memory memory = new Memory(Math.max(1, manifest.length));
                Frame frame = new Frame()) {
            memory.write(0, manifest, 0, manifest.length);
            frame.callLocal(p -> Native.s3v_manifest_verify(
                    memory, manifest.length, publicKeys, frame.out, frame.err));
            return Verdict.parse(frame.takeBytes());
        }
    }

    /**
     * Replaces the keys of the vault. The new keys are tried with one request; if the store refuses them, the vault keeps
     * the old ones. Transfers in progress continue with the new keys. A {@link Listener} may call it: that is how to
     * answer an event of {@link EventKind#CREDENTIALS}.
     *
     * @param accessKey the access key id
     * @param secretKey the secret access key
     * @param sessionToken the session token of temporary keys; null for none
     * @throws IOException if the store refuses the keys, or cannot be reached
     */
    public void update(String accessKey, String secretKey, String sessionToken) throws IOException {
        Map<String, String> keys = new HashMap<>(Map.of(
                Option.ACCESS_KEY, Text.argument("accessKey", accessKey),
                Option.SECRET_KEY, Text.argument("secretKey", secretKey)));
        if (sessionToken != null) {
            keys.put(Option.SESSION_TOKEN, Text.argument("sessionToken", sessionToken));
        }
        try (Config config = Config.of(keys);
                Frame frame = new Frame()) {
            frame.call(p -> Native.s3v_vault_update(p[0], p[1], frame.ctl, frame.err), handle, config.handle);
        }
    }

    /** Closes the vault. Calls in progress are not stopped. */
    @Override
    public void close() {
        handle.close();
    }
}
