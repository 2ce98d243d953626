package io.s3vault;

import com.sun.jna.Memory;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

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
        Text.name("container", container);
        Text.name("path", path);
        return new Listing<>(control, row -> new Version(this, row),
                (p, frame) -> Native.s3v_list_versions(
                        p[0], container, path, null, frame.ctl, frame.out, frame.err),
                handle);
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
        Text.name("container", container);
        Text.name("prefix", prefix);
        return new Listing<>(control, row -> new Version(this, row),
                (p, frame) -> Native.s3v_list_paths(
                        p[0], container, prefix, null, frame.ctl, frame.out, frame.err),
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
