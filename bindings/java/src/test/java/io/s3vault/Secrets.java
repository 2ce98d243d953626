package io.s3vault;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;

/**
 * {@code Secrets CONFIG KEYRING PASSPHRASE|- write|read PATH}: the program of {@code bindings/c/tests/secrets.c} in Java, for
 * {@code tests/system/test_secrets.py}.
 */
final class Secrets {
    private Secrets() {}

    public static void main(String[] args) throws Exception {
        work(Path.of(args[0]), Path.of(args[1]), args[2], args[3].equals("write"), args[4]);
        System.gc();
        Library.shutdown(Duration.ofSeconds(10));
        System.out.println("freed");
        System.in.read();
    }

    private static void work(Path file, Path keys, String passphrase, boolean writes, String path) throws Exception {
        Config config = new Config();
        Keyring keyring = null;
        Vault vault = null;
        try {
            config.load(file);
            keyring = passphrase.equals("-") ? Keyring.open(keys) : restored(keys, Path.of(passphrase));
            vault = Vault.open(config, keyring);
            if (writes) {
                try (Upload upload = vault.create("secrets", path)) {
                    upload.write("data".getBytes());
                    upload.commit().close();
                }
            }
            try (Version version = vault.find("secrets", path);
                    InputStream source = version.openStream()) {
                source.readAllBytes();
            }
            System.out.println("ok");
        } catch (S3VaultException e) {
            System.out.println(e.getMessage());
        }
        System.in.read();
        for (AutoCloseable opened : Arrays.asList(vault, keyring, config)) {
            if (opened != null) {
                opened.close();
            }
        }
    }

    private static Keyring restored(Path escrow, Path passphrase) throws IOException {
        byte[] secret = Files.readAllBytes(passphrase);
        try {
            return Keyring.restore(Files.readAllBytes(escrow), secret, null);
        } finally {
            Arrays.fill(secret, (byte) 0);
        }
    }
}
