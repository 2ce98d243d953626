package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A key-encryption key is retired once nothing needs it. */
class RetireTest {
    private static final byte[] PASSPHRASE = "correct horse".getBytes(StandardCharsets.UTF_8);
    private static final Map<String, String> ENVELOPE = Map.of(Option.ENCRYPTION, "envelope");

    /** Makes the markers of closed keys so old that every put from before them has ended. */
    private static void ageMarkers() throws Exception {
        String body = String.format(
                "{\"bucket\": \"%s\", \"part\": \".closed\", \"seconds\": 7200}", System.getenv("S3VAULT_BUCKET"));
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("S3VAULT_API_URL") + "/_embedded/age"))
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
        HttpResponse<String> reply = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        assertEquals(200, reply.statusCode(), reply.body());
    }

    private static ErrorCode refused(Vault vault, String kek) {
        return assertThrows(S3VaultException.class, () -> vault.retire(kek, Control.NONE)).code();
    }

    @Test
    void aKeyIsRetiredOnceNothingNeedsIt(@TempDir Path folder) throws Exception {
        String container = Store.container();
        byte[] data = {1, 2, 3};
        Path file = folder.resolve("vault.keys");
        try (Keyring keyring = Keyring.create(file)) {
            String old = keyring.info().keks().get(0).id();
            try (Vault before = Store.open(keyring, ENVELOPE)) {
                Store.put(before, container, "disk", data).close();
            }
            String current = keyring.add();
            byte[] escrow = keyring.export(PASSPHRASE, null, null);
            keyring.activate(current);
            try (Vault vault = Store.open(keyring, ENVELOPE)) {
                assertEquals(ErrorCode.KEYRING, refused(vault, current));
                assertEquals(ErrorCode.KEYRING, refused(vault, "0123456789abcdef"));
                Retirement waiting = vault.retire(old, Control.NONE);
                assertEquals(Retirement.State.WAITING, waiting.state());
                assertTrue(waiting.waitUntil().orElseThrow().isAfter(Instant.now()));
                ageMarkers();
                Retirement needed = vault.retire(old, Control.NONE);
                assertEquals(Retirement.State.NEEDED, needed.state());
                assertEquals(1, needed.needed());
                assertTrue(needed.first().get(0).startsWith("_s3vault/1/loc/"), needed.first().get(0));
                // What was encrypted here is left by a re-keying.
                RekeyOptions through = RekeyOptions.NONE.withContainer(container).withThroughClient(true);
                JobReport left = vault.rekey(through, null, Control.NONE);
                assertEquals(1, left.left());
                assertEquals(0, left.rekeyed());
                assertEquals(1, vault.rotate(RotateOptions.NONE.withContainer(container), null, Control.NONE).rotated());
                assertEquals(
                        new Retirement(old, Retirement.State.RETIRED, Optional.empty(), 0, List.of()),
                        vault.retire(old, Control.NONE));
            }
            assertEquals(List.of(old), keyring.info().retired());
            Keyring.Imported found = keyring.importEscrow(escrow, PASSPHRASE);
            assertEquals(List.of(), found.added());
            assertEquals(List.of(old), found.leftOut());
        }
        try (Keyring keyring = Keyring.open(file);
                Vault vault = Store.open(keyring, ENVELOPE);
                Version version = vault.find(container, "disk");
                Download download = version.openStream()) {
            assertArrayEquals(data, download.readAllBytes());
        }
    }

    @Test
    void aVaultWithoutAKeyringRetiresNothing() throws IOException {
        try (Vault vault = Store.open(null, Map.of())) {
            assertEquals(ErrorCode.KEYRING, refused(vault, "0123456789abcdef"));
        }
    }
}
