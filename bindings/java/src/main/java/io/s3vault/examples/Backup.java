package io.s3vault.examples;

import io.s3vault.Config;
import io.s3vault.Control;
import io.s3vault.EventKind;
import io.s3vault.FindOptions;
import io.s3vault.GetOptions;
import io.s3vault.Keyring;
import io.s3vault.Library;
import io.s3vault.Listener;
import io.s3vault.Listing;
import io.s3vault.PutOptions;
import io.s3vault.RestoreOptions;
import io.s3vault.S3VaultException;
import io.s3vault.Upload;
import io.s3vault.Vault;
import io.s3vault.Version;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Path;
import java.time.Duration;


/**
 * Stores, restores and lists backups. The settings come from the environment ({@code S3VAULT_API_URL} etc.), the signing
 * key from the file in {@code S3VAULT_KEYRING}.
 */
public final class Backup {
    private static final String USAGE = """
            usage: Backup put CONTAINER PATH FILE|-
                   Backup get CONTAINER PATH FILE|- [VID]
                   Backup versions CONTAINER PATH""";

    private Backup() {}

    /**
     * Runs one command. It prints a version as its id, kind, size in bytes and recorded time, separated by tabs. The exit
     * code is 0 on success, 1 after a failure, 2 if the arguments are wrong.
     *
     * @param args the command and its arguments
     */
    public static void main(String[] args) {
        System.exit(run(args));
    }

    private static int run(String[] args) {
        String command = args.length == 0 ? "" : args[0];
        boolean valid = switch (command) {
            case "put" -> args.length == 4;
            case "get" -> args.length == 4 || args.length == 5;
            case "versions" -> args.length == 3;
            default -> false;
        };
        if (!valid) {
            System.err.println(USAGE);
            return 2;
        }
        try (Config config = new Config().environment();
                Keyring keyring = keyring();
                Vault vault = Vault.open(config, keyring)) {
            switch (command) {
                case "put" -> put(vault, args[1], args[2], args[3]);
                case "get" -> get(vault, args[1], args[2], args[3], args.length == 5 ? args[4] : null);
                default -> versions(vault, args[1], args[2]);
            }
            return 0;
        } catch (S3VaultException e) {
            System.err.println(e.name() + ": " + e.getMessage());
            if (e.httpStatus() != 0) {
                System.err.println("The store answered " + e.httpStatus() + " " + e.s3Code() + ", request "
                        + e.requestId());
            }
            return 1;
        } catch (IOException e) {
            System.err.println(e);
            return 1;
        } finally {
            finish();
        }
    }

    private static Keyring keyring() throws IOException {
        String file = System.getenv("S3VAULT_KEYRING");
        return file == null || file.isEmpty() ? null : Keyring.open(Path.of(file));
    }

    private static void put(Vault vault, String container, String path, String file) throws IOException {
        Control control = Control.NONE.withListener(progress());
        if (!file.equals("-")) {
            print(vault.put(container, path, Path.of(file), PutOptions.NONE, control));
            return;
        }
        try (Upload upload = vault.create(container, path, PutOptions.NONE, control)) {
            System.in.transferTo(upload);
            print(upload.commit());
        }
    }

    private static void get(Vault vault, String container, String path, String file, String vid) throws IOException {
        Control control = Control.NONE.withListener(progress());
        FindOptions options = vid == null ? FindOptions.NONE : FindOptions.NONE.withVersion(vid);
        try (Version version = vault.find(container, path, options, control)) {
            if (version.signedBy().isEmpty()) {
                System.err.println("The signature is not verified: without S3VAULT_KEYRING no public key is known.");
            }
            if (!file.equals("-")) {
                version.restore(Path.of(file), RestoreOptions.NONE, control);
                return;
            }
            try (InputStream download = version.openStream(GetOptions.NONE, control)) {
                download.transferTo(System.out);
            }
            System.out.flush();
        }
    }

    private static void versions(Vault vault, String container, String path) throws IOException {
        try (Listing<Version> versions = vault.versions(container, path)) {
            for (Version version : versions) {
                print(version);
            }
        }
    }

    private static void print(Version version) {
        System.out.println(version.vid() + "\t" + version.kind().name().toLowerCase() + "\t" + version.size() + "\t"
                + version.recorded());
    }

    /** Shows the transferred bytes on a terminal. */
    private static Listener progress() {
        if (System.console() == null) {
            return null;
        }
        return event -> {
            if (event.kind() == EventKind.PROGRESS) {
                System.err.print("\r" + (event.done() >> 20) + " MiB"
                        + (event.total() < 0 ? "" : " of " + (event.total() >> 20)) + "  ");
            }
        };
    }

    /** Waits until a failed upload is aborted. */
    private static void finish() {
        try {
            Library.shutdown(Duration.ofSeconds(10));
        } catch (S3VaultException e) {
            System.err.println(e.name() + ": " + e.getMessage());
        }
    }
}
