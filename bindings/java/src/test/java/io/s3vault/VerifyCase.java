package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.JsonObject;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** Runs a case that needs no store: the verdict on a signed object. */
final class VerifyCase {
    private VerifyCase() {}

    static void run(JsonObject one) throws S3VaultException {
        JsonObject verify = one.getAsJsonObject("verify");
        byte[] object = verify.get("object").getAsString().getBytes(StandardCharsets.UTF_8);
        Verdict verdict = Vault.verifyManifest(object, verify.get("public_keys").getAsString());
        String expected = verify.getAsJsonObject("expect").get("verdict").getAsString();
        assertEquals(expected, verdict.status().name().toLowerCase(Locale.ROOT), verdict.toString());
    }
}
