package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;


import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Signatures match AWS's documented examples, and a refused one is explained. */
class SigningTest {
    private static final Instant MAY_24 = Instant.parse("2013-05-24T00:00:00Z");
    private static final String URL = "https://examplebucket.s3.amazonaws.com/test.txt";
    private static final String EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    private static Config keys() throws S3VaultException {
        return Config.of(Map.of(
                Option.ACCESS_KEY, "AKIAIOSFODNN7EXAMPLE",
                Option.SECRET_KEY, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"));
    }

    @Test
    void signaturesMatchTheDocumentedExamples() throws S3VaultException {
        try (Config keys = keys()) {
            Map<String, String> added = Signing.sign(keys, MAY_24, "GET", URL, Map.of("Range", "bytes=0-9"), EMPTY);
            assertEquals(List.of("x-amz-content-sha256", "x-amz-date", "authorization"), List.copyOf(added.keySet()));
            assertTrue(added.get("authorization").endsWith(
                    "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"), added.toString());
            String url = Signing.presign(keys, MAY_24, "GET", URL, Map.of(), Duration.ofDays(1));
            assertTrue(url.endsWith("=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"), url);
            assertEquals("UNSIGNED-PAYLOAD",
                    Signing.sign(keys, null, "GET", URL, Map.of(), null).get("x-amz-content-sha256"));
        }
    }

    @Test
    void aRequestThatCannotBeSignedIsRefused() throws S3VaultException {
        try (Config keys = keys()) {
            for (Duration expires : List.of(
                    Duration.ZERO, Duration.ofDays(8), Duration.ofDays(-1), Duration.ofDays(99_999))) {
                assertEquals(ErrorCode.INVALID_ARGUMENT, assertThrows(S3VaultException.class,
                        () -> Signing.presign(keys, null, "GET", URL, Map.of(), expires)).code());
            }
            assertEquals(ErrorCode.INVALID_ARGUMENT, assertThrows(S3VaultException.class,
                    () -> Signing.sign(keys, null, "GET", URL, Map.of("a", "b\nc: d"), null)).code());
        }
    }

    @Test
    void aChangedHostIsExplained() throws S3VaultException {
        StringBuilder request = new StringBuilder("GET /test.txt HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n");
        try (Config keys = keys()) {
            Signing.sign(keys, MAY_24, "GET", URL, Map.of(), null)
                    .forEach((name, value) -> request.append(name).append(": ").append(value).append('\n'));
        }
        Explanation alone = Signing.explain(request.toString(), null);
        assertTrue(alone.difference().isEmpty());
        String seen = alone.canonicalRequest().replace("host:examplebucket", "host:proxy");
        String reply = "<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>" + seen
                + "</CanonicalRequest></Error>";
        Explanation found = Signing.explain(request.toString(), reply);
        Explanation.Difference difference = found.difference().orElseThrow();
        assertEquals("header", difference.part());
        assertEquals("host", difference.name());
        assertTrue(difference.line() > 0 && difference.column() > 0, difference.toString());
        assertEquals("SignatureDoesNotMatch", found.store().code());
        assertEquals(seen, found.store().canonicalRequest());
        assertTrue(found.cause().contains("preserve"), found.toString());
    }
}
