package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Adopts objects that another program stored under customer keys (SSE-C) of its own. It needs a store that has SSE-C, over
 * TLS: {@code scripts/with-store.sh minio -- mvn -f bindings/java test -Dtest=AdoptSseCIT}.
 */
class AdoptSseCIT {
    private static final String STORE = System.getenv("S3VAULT_API_URL");
    private static final String BUCKET = System.getenv("S3VAULT_BUCKET");

    private static String base64(byte[] bytes) {
        return Base64.getEncoder().encodeToString(bytes);
    }

    private static byte[] key() {
        byte[] key = new byte[32];
        new SecureRandom().nextBytes(key);
        return key;
    }

    /** A client that trusts the store's CA. */
    private static HttpClient client() throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(System.getenv("S3VAULT_CA_FILE")))) {
            trusted.setCertificateEntry("store", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return HttpClient.newBuilder().sslContext(context).build();
    }

    /** Stores an object as another program does, under this key. */
    private static void store(HttpClient client, String object, byte[] key, byte[] data) throws Exception {
        String url = STORE + "/" + BUCKET + "/" + object;
        String prefix = "x-amz-server-side-encryption-customer-";
        Map<String, String> headers = new HashMap<>(Map.of(
                prefix + "algorithm", "AES256",
                prefix + "key", base64(key),
                prefix + "key-MD5", base64(MessageDigest.getInstance("MD5").digest(key))));
        try (Config config = Store.config(Map.of())) {
            headers.putAll(Signing.sign(config, null, "PUT", url, headers, null));
        }
        HttpRequest.Builder request =
                HttpRequest.newBuilder(URI.create(url)).PUT(HttpRequest.BodyPublishers.ofByteArray(data));
        headers.forEach(request::header);
        HttpResponse<String> reply = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        assertEquals(200, reply.statusCode(), reply.body());
    }

    private static String line(String object, byte[] key) {
        return String.format("{\"key\": \"%s\", \"sse_c_key\": \"%s\"}\n", object, base64(key));
    }

    private static byte[] read(Vault vault, String container, String path) throws IOException {
        try (Version version = vault.find(container, path);
                Download download = version.openStream()) {
            return download.readAllBytes();
        }
    }

    @Test
    void whatIsEncryptedWithKeysOfTheFileIsAdopted(@TempDir Path folder) throws Exception {
        String container = Store.container().replace(' ', '-');
        byte[] data = new Data(100_000, 5).bytes();
        byte[] own = key();
        HttpClient client = client();
        store(client, container + "/disk", own, data);
        store(client, container + "/wrong", key(), data);
        store(client, container + "/missing", key(), data);
        Path keys = folder.resolve("keys");
        Files.writeString(keys, line(container + "/disk", own) + line(container + "/wrong", key()));
        AdoptOptions options = AdoptOptions.NONE.withContainer(container).withAdoptKeys(keys);
        List<String> items = new ArrayList<>();
        try (Keyring keyring = Keyring.generate();
                Vault vault = Store.open(keyring, Map.of(Option.ENCRYPTION, "sse-c"))) {
            Files.setPosixFilePermissions(keys, PosixFilePermissions.fromString("rw-r--r--"));
            S3VaultException readable =
                    assertThrows(S3VaultException.class, () -> vault.adopt(options, null, Control.NONE));
            assertTrue(readable.hint().contains("chmod 600"), readable.toString());
            Files.setPosixFilePermissions(keys, PosixFilePermissions.fromString("rw-------"));
            JobReport report =
                    vault.adopt(options, item -> items.add(item.action() + " " + item.path()), Control.NONE);
            assertEquals(List.of("ADOPT disk", "PROBLEM missing", "PROBLEM wrong"), items.stream().sorted().toList());
            assertEquals(List.of(1L, 2L), List.of(report.adopted(), report.problems()));
            String problems = String.join("\n", report.problemTexts());
            assertTrue(problems.contains("the key file has none for it"), problems);
            assertTrue(problems.contains("is not the one that it is encrypted with"), problems);
            // The vault keeps the key: the file is not needed any more.
            Files.delete(keys);
            assertArrayEquals(data, read(vault, container, "disk"));
            // The other program's key is the data key, so it stays.
            assertEquals(1, vault.rekey(RekeyOptions.NONE.withContainer(container), null, Control.NONE).left());
        }
    }
}
