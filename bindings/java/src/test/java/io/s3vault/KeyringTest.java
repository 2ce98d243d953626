package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Keys are added, escrowed and restored. */
class KeyringTest {
    private static final byte[] PASSPHRASE = "correct horse".getBytes(StandardCharsets.UTF_8);

    @TempDir
    Path folder;

    @Test
    void aLaterKekBecomesCurrentAfterItsExport() throws Exception {
        Path escrow = folder.resolve("escrow.age");
        try (Keyring keyring = Keyring.create(folder.resolve("vault.keys"))) {
            String added = keyring.add();
            assertEquals(
                    ErrorCode.KEYRING,
                    assertThrows(S3VaultException.class, () -> keyring.activate(added)).code());
            byte[] exported = keyring.export(PASSPHRASE, null, escrow);
            assertArrayEquals(Files.readAllBytes(escrow), exported);
            keyring.activate(added);
            List<Keyring.Kek> keks = keyring.info().keks();
            assertFalse(keks.get(0).current());
            assertTrue(keks.get(1).current() && keks.get(1).escrowed());
            assertEquals(added, keks.get(1).id());
        }
    }

    @Test
    void aNewSigningKeyKeepsThePublicKeyOfTheOneBeforeUntilThatIsDistrusted() throws Exception {
        Path file = folder.resolve("vault.keys");
        try (Keyring keyring = Keyring.create(file)) {
            Keyring.Info before = keyring.info();
            String made = keyring.newSigningKey();
            assertEquals(made, keyring.info().id());
            assertEquals(List.of(before.publicKey()), keyring.info().earlier());
            try (Keyring again = Keyring.open(file)) {
                assertEquals(keyring.info(), again.info());
            }
            assertEquals(
                    ErrorCode.KEYRING,
                    assertThrows(S3VaultException.class, () -> keyring.distrust(made)).code());
            keyring.distrust(before.id());
            assertEquals(List.of(), keyring.info().earlier());
        }
    }

    @Test
    void anEscrowFileGivesTheWholeKeyringBack() throws Exception {
        try (Keyring keyring = Keyring.generate();
                Config config = Config.of(Map.of(Option.BUCKET, "backups", Option.SECRET_KEY, "hidden"))) {
            byte[] escrow = keyring.export(PASSPHRASE, config, null);
            try (Keyring restored = Keyring.restore(escrow, PASSPHRASE, folder.resolve("restored.keys"));
                    Keyring copy = Keyring.of(restored.toBytes());
                    Keyring other = Keyring.generate()) {
                assertEquals(keyring.info(), restored.info());
                assertEquals(keyring.info(), copy.info());
                Keyring.Imported found = restored.importEscrow(escrow, PASSPHRASE);
                assertEquals(List.of(), found.added());
                assertEquals(Map.of("bucket", "backups"), found.settings());
                assertEquals(List.of(keyring.info().publicKey()), found.verifyKeys());
                assertEquals(32, found.vaultId().length());
                assertThrows(S3VaultException.class, () -> other.importEscrow(escrow, PASSPHRASE));
            }
            byte[] wrong = "wrong".getBytes(StandardCharsets.UTF_8);
            assertThrows(S3VaultException.class, () -> Keyring.restore(escrow, wrong, null));
        }
    }

    @Test
    void aSecretIdentityIsNotARecipient() throws Exception {
        try (Keyring keyring = Keyring.generate()) {
            S3VaultException refused = assertThrows(
                    S3VaultException.class, () -> keyring.export(List.of("AGE-SECRET-KEY-1ABC"), null, null));
            assertEquals(ErrorCode.INVALID_ARGUMENT, refused.code());
            assertFalse(refused.getMessage().contains("1ABC"));
        }
    }
}
