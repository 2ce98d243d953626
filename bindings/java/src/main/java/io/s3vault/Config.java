package io.s3vault;

import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * Settings by key; {@link Option} has the keys. Unknown keys and invalid values are refused when they are set. Later
 * values replace earlier ones. Files and the environment are read only by {@link #load} and {@link #environment}.
 */
public final class Config implements AutoCloseable {
    final Handle handle;

    /** Creates a config without settings. */
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


    static Handle handle(Config config) {
        return config == null ? null : config.handle;
    }

    /**
     * Sets a value; an empty value removes the setting.
     *
     * @param key one of {@link Option}
     * @param value the value as text
     * @return this config
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
     * Reads settings from the environment: {@code S3VAULT_} and the key in upper case, for example
     * {@code S3VAULT_API_URL}.
     *
     * @return this config
     * @throws S3VaultException if a value is refused
     */
    public synchronized Config environment() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_env(p[0], frame.err), handle);
        }
        return this;
    }

    /**
     * Reads settings from a TOML file, which is one flat table of keys and values.
     *
     * @param file the file
     * @return this config
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
     * {@return the value of a setting, or its default; {@code ***} for a secret}
     *
     * @param key one of {@link Option}
     * @throws S3VaultException if the key does not exist
     */
    public String get(String key) throws S3VaultException {
        return read(Text.argument("key", key));
    }

    /**
     * {@return all settings that were set, as a JSON object; secrets are {@code ***}}
     *
     * @throws S3VaultException if this config was closed
     */
    public String json() throws S3VaultException {
        return read(null);
    }

    /**
     * {@return the warnings of {@link #environment()}, such as a misspelled variable}
     *
     * @throws S3VaultException if this config was closed
     */
    public synchronized List<String> warnings() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_warnings(p[0], frame.out, frame.err), handle);
            String json = new String(frame.takeBytes(), StandardCharsets.UTF_8);
            return List.of(Json.parse(json, String[].class));
        }
    }

    private synchronized String read(String key) throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_config_get(p[0], key, frame.out, frame.err), handle);
            return new String(frame.takeBytes(), StandardCharsets.UTF_8);
        }
    }

    /** {@return the settings that were set; secrets are {@code ***}} */
    @Override
    public String toString() {
        try {
            return "Config" + json();
        } catch (S3VaultException e) {
            return "Config(closed)";
        }
    }

    @Override
    public void close() {
        handle.close();
    }
}
