package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import javax.crypto.AEADBadTagException;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import org.junit.jupiter.api.Test;

/** The key that wraps the others is behind the caller's own functions. */
class KeyWrapperTest {
    private static final Map<String, String> ENVELOPE = Map.of(Option.ENCRYPTION, "envelope");
    private static final String KEK = "0123456789abcdef";
    private static final byte[] PASSPHRASE = "correct horse".getBytes(StandardCharsets.UTF_8);

    /** A KMS: AES-GCM under a key that only it has. */
    private static class Kms implements KeyWrapper {
        private final SecretKeySpec key = new SecretKeySpec(random(32), "AES");
        final Set<String> threads = ConcurrentHashMap.newKeySet();

        static byte[] random(int length) {
            byte[] bytes = new byte[length];
            new SecureRandom().nextBytes(bytes);
            return bytes;
        }

        private byte[] run(int mode, byte[] nonce, byte[] data, byte[] associated) throws GeneralSecurityException {
            threads.add(Thread.currentThread().getName());
            Cipher cipher = Cipher.getInstance("AES/GCM/NoPadding");
            cipher.init(mode, key, new GCMParameterSpec(128, nonce));
            cipher.updateAAD(associated);
            return cipher.doFinal(data);
        }

        @Override
        public byte[] wrap(byte[] dataKey, byte[] associated) throws GeneralSecurityException {
            assertEquals(32, dataKey.length);
            byte[] nonce = random(12);
            byte[] sealed = run(Cipher.ENCRYPT_MODE, nonce, dataKey, associated);
            byte[] wrapped = Arrays.copyOf(nonce, 12 + sealed.length);
            System.arraycopy(sealed, 0, wrapped, 12, sealed.length);
            return wrapped;
        }

        @Override
        public byte[] unwrap(byte[] wrapped, byte[] associated) throws Exception {
            byte[] nonce = Arrays.copyOf(wrapped, 12);
            return run(Cipher.DECRYPT_MODE, nonce, Arrays.copyOfRange(wrapped, 12, wrapped.length), associated);
        }
    }

    private static S3VaultException refused(Keyring keyring, String container) {
        return assertThrows(S3VaultException.class, () -> {
            try (Vault vault = Store.open(keyring, ENVELOPE)) {
                Store.put(vault, container, "disk", new byte[] {1}).close();
            }
        });
    }

    /** What the library no longer needs is not held. A thread of the library may be the last to need a wrapper. */
    private static void assertHeld(int expected) throws InterruptedException {
        for (int waits = 0; KeyWrappers.held() != expected && waits < 3000; waits++) {
            Thread.sleep(10);
        }
        assertEquals(expected, KeyWrappers.held());
    }

    @Test
    void aBackupNeedsTheKeyOfItsKeyring() throws Exception {
        String container = Store.container();
        byte[] data = {1, 2, 3};
        int before = KeyWrappers.held();
        try (Keyring inside = Keyring.generate()) {
            Kms kms = new Kms();
            try (Keyring keyring = inside.custom(KEK, kms);
                    Vault vault = Store.open(keyring, ENVELOPE)) {
                Keyring.Kek kek = keyring.info().keks().get(1);
                assertTrue(kek.external() && kek.current());
                assertEquals(KEK, kek.id());
                Store.put(vault, container, "disk", data).close();
                try (Version version = vault.find(container, "disk");
                        Download download = version.openStream()) {
                    assertArrayEquals(data, download.readAllBytes());
                }
                assertFalse(kms.threads.isEmpty());
                byte[] escrow = keyring.export(PASSPHRASE, null, null);
                Keyring.Imported found = inside.importEscrow(escrow, PASSPHRASE);
                assertEquals(List.of(KEK), found.external());
                // A keyring keeps what it was made from as it was.
                assertEquals(1, inside.info().keks().size());
            }
            try (Keyring other = inside.custom(KEK, new Kms());
                    Vault vault = Store.open(other, ENVELOPE)) {
                S3VaultException e = assertThrows(S3VaultException.class, () -> {
                    try (Version version = vault.find(container, "disk");
                            Download download = version.openStream()) {
                        download.readAllBytes();
                    }
                });
                assertEquals(ErrorCode.EXTERNAL_KEY, e.code());
                assertTrue(e.getMessage().contains(KEK), e.getMessage());
            }
        }
        assertHeld(before);
    }

    @Test
    void whatAWrapperThrowsIsInTheError() throws Exception {
        String container = Store.container();
        int before = KeyWrappers.held();
        try (Keyring inside = Keyring.generate()) {
            Map<String, KeyWrapper> wrappers = Map.of(
                    "the session is over", new Kms() {
                        @Override
                        public byte[] wrap(byte[] dataKey, byte[] associated) {
                            throw new IllegalStateException("the session is over");
                        }
                    },
                    "AEADBadTagException", new Kms() {
                        @Override
                        public byte[] unwrap(byte[] wrapped, byte[] associated) throws AEADBadTagException {
                            throw new AEADBadTagException();
                        }
                    },
                    "returned null", new Kms() {
                        @Override
                        public byte[] wrap(byte[] dataKey, byte[] associated) {
                            return null;
                        }
                    },
                    "returned 5000 bytes", new Kms() {
                        @Override
                        public byte[] wrap(byte[] dataKey, byte[] associated) {
                            return new byte[5000];
                        }
                    },
                    "unwrapped 31 bytes", new Kms() {
                        @Override
                        public byte[] unwrap(byte[] wrapped, byte[] associated) {
                            return new byte[31];
                        }
                    });
            for (Map.Entry<String, KeyWrapper> wrapper : wrappers.entrySet()) {
                try (Keyring keyring = inside.custom(KEK, wrapper.getValue())) {
                    S3VaultException e = refused(keyring, container);
                    assertEquals(ErrorCode.EXTERNAL_KEY, e.code());
                    assertTrue(e.getMessage().contains(wrapper.getKey()), e.getMessage());
                }
            }
            for (String id : List.of("", "0123456789ABCDEF", inside.info().keks().get(0).id())) {
                S3VaultException e = assertThrows(S3VaultException.class, () -> inside.custom(id, new Kms()));
                assertEquals(ErrorCode.INVALID_ARGUMENT, e.code());
            }
        }
        assertHeld(before);
    }
}
