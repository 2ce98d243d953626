package io.s3vault;

import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;

/**
 * Settings by key; {@link Option} has the keys. A key that does not exist and a value that cannot be used are refused
 * when they are set. Later values replace earlier ones. Nothing is read from files or the environment unless it is
 * asked for.
 */
public final class Config implements AutoCloseable {
    final Handle handle;

    /** Makes one without settings. */
    public Config() {
        Loader.load();
        handle = new Handle("config", Native.s3v_config_new(), Native::s3v_config_free).ownedBy(this);
    }

    /**
     * {@return a config with these settings}
     *
     * @param settings values by key
     * @throws S3VaultException if a key or a value is refused
     */
    public static Config of(Map<String, String> settings) throws S3VaultException {
        Config config = new Config();
        for (Map.Entry<String, String> setting : settings.entrySet()) {
            config.set(setting.getKey(), setting.getValue());
        }
        return config;
    }

    /** The options of a call, null for none: the library takes NULL then. */
    static Config ofCall(Map<String, String> options) throws S3VaultException {
        return options.isEmpty() ? null : of(options);
    }

    static Handle handle(Config config) {
        return config == null ? null : config.handle;
    }

    /**
     * Sets a value; an empty one takes the setting back.
     *
     * @param key one of {@link Option}
     * @param value the value as text
     * @return this
     * @throws S3VaultException if the key or the value is refused
     */
    public synchronized Config set(String key, String value) throws S3VaultException {
        Text.argument("key", key);
        Text.argument(key, value);
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_set(p[0], key, value, frame.err), handle);
        }
        return this;
    }

    /**
     * Sets what the environment says: {@code S3VAULT_} and a key in upper case, for example {@code S3VAULT_API_URL}.
     *
     * @return this
     * @throws S3VaultException if a value is refused
     */
    public synchronized Config environment() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_env(p[0], frame.err), handle);
        }
        return this;
    }

    /**
     * Sets what a TOML file says: one flat table of settings.
     *
     * @param file the file
     * @return this
     * @throws S3VaultException if the file cannot be read, or a key or a value is refused
     */
    public synchronized Config load(Path file) throws S3VaultException {
        String name = Text.file(file);
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_load(p[0], name, frame.err), handle);
        }
        return this;
    }

    /**
     * {@return the value of a setting; {@code ***} for a secret}
     *
     * @param key one of {@link Option}
     * @throws S3VaultException if there is no such key
     */
    public String get(String key) throws S3VaultException {
        return read(Text.argument("key", key));
    }

    /**
     * {@return all that is set, as a JSON object; secrets are {@code ***}}
     *
     * @throws S3VaultException if this was closed
     */
    public String json() throws S3VaultException {
        return read(null);
    }

    private synchronized String read(String key) throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_get(p[0], key, frame.out, frame.err), handle);
            return new String(frame.takeBytes(), StandardCharsets.UTF_8);
        }
    }

    @Override
    public void close() {
        handle.close();
    }
}
