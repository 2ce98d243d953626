package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** Errors say what failed, why, and what to do about it. */
class ErrorsTest {
    private static S3VaultException openFails(Map<String, String> changes) {
        return assertThrows(S3VaultException.class, () -> Store.open(null, changes).close());
    }

    @Test
    void aWrongSecretKeyIsReportedAsSignatureRefused() throws IOException {
        S3VaultException e = openFails(Map.of(Option.SECRET_KEY, "not the secret"));
        assertEquals(ErrorCode.SIGNATURE_REFUSED, e.code());
        assertEquals(-21, e.number());
        assertEquals("S3V_E_SIGNATURE_REFUSED", e.name());
        assertEquals(403, e.httpStatus());
        assertEquals("SignatureDoesNotMatch", e.s3Code());
        assertEquals(System.getenv("S3VAULT_BUCKET"), e.bucket());
        assertFalse(e.operation().isEmpty());
        assertFalse(e.requestId().isEmpty());
        assertTrue(e.isRemote() && !e.isMisuse() && !e.isTransport() && !e.isMaybeSent());
        assertTrue(e.hint().contains("secret_key"), e.hint());
        assertEquals(e.detail() + " (" + e.hint() + ")", e.getMessage());
        assertFalse(e.toString().contains("not the secret"));
        JsonObject json = JsonParser.parseString(e.json()).getAsJsonObject();
        assertTrue(json.toString().contains("SignatureDoesNotMatch"), e.json());
    }

    @Test
    void theErrorForAMissingBucketNamesIt() {
        S3VaultException e = openFails(Map.of(Option.BUCKET, "there-is-no-such-bucket"));
        assertEquals(ErrorCode.NO_SUCH_BUCKET, e.code());
        assertEquals(404, e.httpStatus());
        assertEquals("there-is-no-such-bucket", e.bucket());
    }

    @Test
    void aClosedPortIsATransportError() throws IOException {
        int port;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = socket.getLocalPort();
        }
        S3VaultException e = openFails(Map.of(Option.API_URL, "http://127.0.0.1:" + port));
        assertEquals(ErrorCode.CONNECT, e.code());
        assertTrue(e.isTransport() && !e.isRemote());
        assertEquals(0, e.httpStatus());
        assertEquals("", e.s3Code());
    }

    @Test
    void aMissingVersionIsNotFound() throws IOException {
        try (Vault vault = Store.open(null)) {
            S3VaultException e =
                    assertThrows(S3VaultException.class, () -> vault.find(Store.container(), "nothing"));
            assertEquals(ErrorCode.NOT_FOUND, e.code());
        }
    }

    @Test
    void namesThatCannotBePassedToCAreRefused() throws IOException {
        try (Vault vault = Store.open(null)) {
            for (String bad : new String[] {"a\0b", "a\ud800b"}) {
                assertEquals(ErrorCode.INVALID_NAME,
                        assertThrows(S3VaultException.class, () -> vault.create(bad, "p")).code());
                assertEquals(ErrorCode.INVALID_NAME,
                        assertThrows(S3VaultException.class, () -> vault.versions("c", bad)).code());
            }
        }
    }

    @Test
    void theErrorForAnUnknownOptionNamesTheNearestOne() {
        try (Config config = new Config()) {
            S3VaultException e = assertThrows(S3VaultException.class, () -> config.set("acces_key", "x"));
            assertEquals(ErrorCode.UNKNOWN_OPTION, e.code());
            assertTrue(e.isMisuse());
            assertTrue(e.hint().contains("access_key"), e.hint());
        }
    }

    @Test
    void textIsPassedAsUtf8InBothDirections() throws S3VaultException {
        try (Config config = new Config()) {
            S3VaultException e =
                    assertThrows(S3VaultException.class, () -> config.set(Option.MODE, "größe 日本 😀"));
            assertEquals(ErrorCode.INVALID_OPTION, e.code());
            assertTrue(e.detail().contains("größe 日本 😀"), e.detail());
            config.set(Option.STORAGE_CLASS, "größe 日本 😀");
            assertEquals("größe 日本 😀", config.get(Option.STORAGE_CLASS));
        }
    }

    @Test
    void secretsAreNotShown() throws S3VaultException {
        try (Config config = Config.of(Map.of(Option.SECRET_KEY, "hush", Option.BUCKET, "b"))) {
            assertEquals("***", config.get(Option.SECRET_KEY));
            assertFalse(config.json().contains("hush"));
            assertTrue(config.warnings().isEmpty());
            assertEquals("b", JsonParser.parseString(config.json()).getAsJsonObject().get("bucket").getAsString());
            assertEquals("Config{\"bucket\":\"b\",\"secret_key\":\"***\"}", config.toString());
        }
    }

    @Test
    void anOptionOfAnotherCallIsRefusedAndTheErrorNamesItsCall() throws IOException {
        try (Vault vault = Store.open(null)) {
            S3VaultException e = assertThrows(S3VaultException.class, () -> vault.find(
                    Store.container(), "p", new FindOptions(Map.of(Option.HOLES, "true")), Control.NONE));
            assertEquals(ErrorCode.INVALID_OPTION, e.code());
            assertEquals("option holes is for restore, not for find", e.detail());
        }
    }

    @Test
    void typedOptionsAreTheTextsOfTheLibrary() {
        PutOptions put = PutOptions.NONE.withKind(PutOptions.Kind.INCREMENTAL).withCheckpoint(Path.of("a", "b"));
        assertEquals(Map.of("kind", "incremental", "checkpoint", "a/b"), put.values());
        assertEquals(Map.of(), PutOptions.NONE.values());
        assertEquals(Map.of("as_of", "1500"), FindOptions.NONE.withAsOf(Instant.ofEpochMilli(1500)).values());
        assertEquals(Map.of("holes", "true", "verify", "part"),
                RestoreOptions.NONE.withHoles(true).withVerify(RestoreOptions.Verify.PART).values());
    }

    @Test
    void optionHasTheSameKeysAsTheLibrary() throws IllegalAccessException {
        Set<String> library = new TreeSet<>();
        JsonParser.parseString(Library.settingsJson())
                .getAsJsonArray()
                .forEach(row -> library.add(row.getAsJsonObject().get("key").getAsString()));
        Set<String> here = new TreeSet<>();
        for (Field field : Option.class.getFields()) {
            if (Modifier.isStatic(field.getModifiers())) {
                here.add((String) field.get(null));
            }
        }
        assertEquals(library, here);
    }

    @Test
    void aCodeFromANewerLibraryIsUnknown() {
        assertEquals(ErrorCode.UNKNOWN, ErrorCode.of(-9999));
        assertEquals(ErrorCode.NOT_FOUND, ErrorCode.of(-24));
        assertEquals("S3V_E_NOT_FOUND", ErrorCode.NOT_FOUND.symbol());
    }
}
