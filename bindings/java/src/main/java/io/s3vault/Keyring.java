package io.s3vault;

import com.google.gson.annotations.SerializedName;
import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** The keys of a vault. Its signing key signs the vault's backups, and backups signed with it are trusted. */
public final class Keyring implements AutoCloseable {
    /**
     * The public part of a keyring.
     *
     * @param id id of the signing key: 16 hex digits
     * @param publicKey the line that a verifier needs, {@code ed25519 <id> <base64>}: a line of
     *     {@link Option#VERIFY_KEYS}, and of the keys of {@link Vault#verifyManifest}
     */
    public record Info(String id, @SerializedName("public") String publicKey) {}

    /** The library's JSON. */
    private record Fields(Info signing) {}

    final Handle handle;

    private Keyring(String path, Pointer content, long length, boolean create) throws S3VaultException {
        Loader.load();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_open(
                    path, content, length, create ? 1 : 0, frame.out, frame.err));
            handle = new Handle("keyring", frame.out.getPointer(0), Native::s3v_keyring_free).ownedBy(this);
        }
    }

    /**
     * {@return the keyring in a file}
     *
     * @param file the file
     * @throws S3VaultException if the file cannot be read or is not a keyring
     */
    public static Keyring open(Path file) throws S3VaultException {
        return new Keyring(Text.file(file), null, 0, false);
    }

    /**
     * {@return a new keyring, written to a file}
     *
     * @param file the file, which must not exist yet
     * @throws S3VaultException if the file exists or cannot be written
     */
    public static Keyring create(Path file) throws S3VaultException {
        return new Keyring(Text.file(file), null, 0, true);
    }

    /**
     * {@return a new keyring that exists only in memory, for tests: once it is lost, what it signed is trusted no more}
     *
     * @throws S3VaultException if no key can be generated
     */
    public static Keyring generate() throws S3VaultException {
        return new Keyring(null, null, 0, true);
    }

    /**
     * {@return the keyring in these bytes}
     *
     * @param content the content of a keyring file, for example from a secret store
     * @throws S3VaultException if the content is not a keyring
     */
    public static Keyring of(byte[] content) throws S3VaultException {
        Loader.load();
        try (Memory memory = new Memory(Math.max(1, content.length))) {
            memory.write(0, content, 0, content.length);
            try {
                return new Keyring(null, memory, content.length, false);
            } finally {
                memory.clear();
            }
        }
    }

    /**
     * {@return the public part of the keyring}
     *
     * @throws S3VaultException if this keyring was closed
     */
    public Info info() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_info(p[0], frame.out, frame.err), handle);
            return Json.parse(new String(frame.takeBytes(), StandardCharsets.UTF_8), Fields.class).signing();
        }
    }

    @Override
    public void close() {
        handle.close();
    }
}
