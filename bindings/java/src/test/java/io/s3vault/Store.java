package io.s3vault;

import static org.junit.jupiter.api.Assertions.fail;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.UUID;

/** The store that the environment configures, with an empty bucket that has versioning enabled. */
final class Store {
    private Store() {}

    /** The settings of the environment, with these changes. */
    static Config config(Map<String, String> changes) throws S3VaultException {
        if (System.getenv("S3VAULT_API_URL") == null) {
            fail("S3VAULT_API_URL is not set. Run these tests with a store:"
                    + " scripts/with-store.sh embedded -- mvn -f bindings/java verify");
        }
        Config config = new Config().environment();
        for (Map.Entry<String, String> change : changes.entrySet()) {
            config.set(change.getKey(), change.getValue());
        }
        return config;
    }

    static Vault open(Keyring keyring) throws IOException {
        return open(keyring, Map.of());
    }

    static Vault open(Keyring keyring, Map<String, String> changes) throws IOException {
        try (Config config = config(changes)) {
            return Vault.open(config, keyring);
        }
    }

    /** A container that no other test uses. */
    static String container() {
        return "java " + UUID.randomUUID();
    }

    static Version put(Vault vault, String container, String path, byte[] data) throws IOException {
        try (Upload upload = vault.create(container, path)) {
            upload.write(data);
            return upload.commit();
        }
    }

    /** The environment for a child process. */
    static Map<String, String> environment(Map<String, String> changes) throws S3VaultException {
        config(Map.of()).close();
        Map<String, String> environment = new HashMap<>(System.getenv());
        environment.putAll(changes);
        return environment;
    }
}
