package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Replaces the keys of an open vault. */
class KeysTest {
    private static final String ACCESS_KEY = System.getenv("S3VAULT_ACCESS_KEY");
    private static final String SECRET_KEY = System.getenv("S3VAULT_SECRET_KEY");

    private static byte[] read(Vault vault, String container) throws IOException {
        try (Version version = vault.find(container, "disk");
                Download download = version.openStream()) {
            return download.readAllBytes();
        }
    }

    @Test
    void theVaultKeepsItsKeysWhenNewOnesAreRefused() throws IOException {
        String container = Store.container();
        try (Keyring keyring = Keyring.generate();
                Vault vault = Store.open(keyring)) {
            S3VaultException refused =
                    assertThrows(S3VaultException.class, () -> vault.update(ACCESS_KEY, "wrong-secret-key", null));
            assertEquals(ErrorCode.SIGNATURE_REFUSED, refused.code());
            vault.update(ACCESS_KEY, SECRET_KEY, null);
            byte[] data = {1, 2, 3};
            Store.put(vault, container, "disk", data);
            assertArrayEquals(data, read(vault, container));
        }
    }

    /** A listener that receives the credentials event calls update from inside of the callback. */
    @Test
    void aListenerMayReplaceTheKeysOfItsOwnCall() throws Exception {
        String container = Store.container();
        AtomicInteger updates = new AtomicInteger();
        byte[] data = new Data(24 << 20, 7).bytes();
        try (Keyring keyring = Keyring.generate();
                Vault vault = Store.open(keyring)) {
            Control control = Control.NONE.withListener(event -> {
                if (updates.get() == 0) {
                    vault.update(ACCESS_KEY, SECRET_KEY, null);
                    updates.incrementAndGet();
                }
            });
            try (Upload upload = vault.create(container, "disk", PutOptions.NONE, control)) {
                upload.write(data);
                upload.commit();
            }
            assertTrue(updates.get() > 0, "the listener received no event");
            assertArrayEquals(data, read(vault, container));
        }
    }
}
