package io.s3vault;

import com.google.gson.annotations.SerializedName;
import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * The keys of a vault. Its signing key signs the vault's backups, and backups signed with it are trusted. Its
 * key-encryption keys (KEKs) wrap the keys of encrypted backups. A vault keeps the keys that the keyring had when the
 * vault was opened.
 */
public final class Keyring implements AutoCloseable {
    /**
     * The public part of a keyring.
     *
     * @param id id of the signing key: 16 hex digits
     * @param publicKey the line that a verifier needs, {@code ed25519 <id> <base64>}: a line of
     *     {@link Option#VERIFY_KEYS}, and of the keys of {@link Vault#verifyManifest}
     * @param earlier public keys of the signing keys before, oldest first: what they have signed is still trusted
     * @param keks the key-encryption keys, in the order in which they were added
     * @param retired ids of the KEKs that were retired: the keyring does not accept them again
     */
    public record Info(
            String id, String publicKey, List<String> earlier, List<Kek> keks, List<String> retired) {}

    /**
     * A key-encryption key.
     *
     * @param id 16 hex digits
     * @param created when it was made
     * @param escrowed whether an export has it
     * @param current whether it is for new backups
     * @param external whether it is in a KMS or an HSM, behind a {@link KeyWrapper}
     */
    public record Kek(String id, Instant created, boolean escrowed, boolean current, boolean external) {}

    /**
     * What an import found in an escrow file.
     *
     * @param added ids of the KEKs that were missing and are there now
     * @param leftOut ids of the KEKs that were retired before, and were left out
     * @param vaultId the vault's id, or null if the export did not know it
     * @param verifyKeys the public keys that the exporter trusted
     * @param settings the vault's settings without secrets; empty if the export did not know them
     * @param external ids of the KEKs that are in a KMS or an HSM: backups whose keys they wrap need them, too
     */
    public record Imported(
            List<String> added, List<String> leftOut, String vaultId, List<String> verifyKeys,
            Map<String, String> settings, List<String> external) {}

    /** The library's JSON. */
    private record Fields(
            SigningFields signing, List<String> earlier, List<KekFields> keks, List<String> retired) {}

    private record SigningFields(String id, @SerializedName("public") String publicKey) {}

    private record KekFields(String id, long created, boolean escrowed, boolean current, boolean external) {}

    final Handle handle;

    private Keyring(String path, Pointer content, long length, boolean create) throws S3VaultException {
        Loader.load();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_open(
                    path, content, length, create ? 1 : 0, frame.out, frame.err));
            handle = new Handle("keyring", frame.out.getPointer(0), Native::s3v_keyring_free).ownedBy(this);
        }
    }

    private Keyring(String path, Secret escrow, Secret secret) throws S3VaultException {
        Loader.load();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_restore(
                    path, escrow.memory, escrow.length, secret.memory, secret.length, frame.out, frame.err));
            handle = new Handle("keyring", frame.out.getPointer(0), Native::s3v_keyring_free).ownedBy(this);
        }
    }

    private Keyring(Keyring keys, String kekId, Pointer ctx) throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(
                    p -> Native.s3v_keyring_custom(
                            p[0],
                            kekId,
                            KeyWrappers.WRAP,
                            KeyWrappers.UNWRAP,
                            ctx,
                            KeyWrappers.FREE,
                            frame.out,
                            frame.err),
                    keys.handle);
            handle = new Handle("keyring", frame.out.getPointer(0), Native::s3v_keyring_free).ownedBy(this);
        }
    }

    /** A copy of secret bytes in native memory, which is cleared. */
    private static final class Secret implements AutoCloseable {
        final Memory memory;
        final long length;

        Secret(byte[] bytes) {
            memory = new Memory(Math.max(1, bytes.length));
            memory.write(0, bytes, 0, bytes.length);
            length = bytes.length;
        }

        @Override
        public void close() {
            memory.clear();
            memory.close();
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
        try (Secret secret = new Secret(content)) {
            return new Keyring(null, secret.memory, secret.length, false);
        }
    }

    /**
     * {@return a keyring with all keys of an escrow file}
     *
     * @param escrow content of the escrow file
     * @param secret its passphrase in UTF-8, or the content of a file of age identities
     * @param file the keyring file to create, which must not exist yet; null for a keyring in memory
     * @throws S3VaultException if the escrow file cannot be opened, or the keyring file cannot be created
     */
    public static Keyring restore(byte[] escrow, byte[] secret, Path file) throws S3VaultException {
        Loader.load();
        try (Secret content = new Secret(escrow);
                Secret key = new Secret(secret)) {
            return new Keyring(file == null ? null : Text.file(file), content, key);
        }
    }

    /**
     * {@return a keyring whose current KEK is in a KMS or an HSM; it is in memory only} It has the keys of this keyring
     * as they are now: the signing key, and the KEKs of older backups.
     *
     * @param kekId names the key, always the same: 16 lower-case hex digits, such as the first 8 bytes of the SHA-256
     *     of its name
     * @param wrapper wraps and unwraps with it; it is held until the keyring and the vaults that were opened with it
     *     are closed
     * @throws S3VaultException if the id is not one, or this keyring has it already
     */
    public Keyring custom(String kekId, KeyWrapper wrapper) throws S3VaultException {
        Text.argument("kekId", kekId);
        Objects.requireNonNull(wrapper, "wrapper");
        Pointer ctx = KeyWrappers.hold(wrapper);
        try {
            return new Keyring(this, kekId, ctx);
        } catch (S3VaultException | RuntimeException | Error e) {
            // Without a keyring, nothing frees it.
            KeyWrappers.free(ctx);
            throw e;
        }
    }

    /**
     * Adds a new KEK. It becomes current by {@link #activate}, or at once if it is the first.
     *
     * @return its id
     * @throws S3VaultException if the keyring file cannot be written
     */
    public String add() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_add(p[0], frame.out, frame.err), handle);
            return new String(frame.takeBytes(), StandardCharsets.UTF_8);
        }
    }

    /**
     * Makes a KEK current, for the backups of vaults that are opened from now on.
     *
     * @param kek its id
     * @throws S3VaultException if there is no such KEK, no export has it, or the keyring file cannot be written
     */
    public void activate(String kek) throws S3VaultException {
        Text.argument("kek", kek);
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_activate(p[0], kek, frame.err), handle);
        }
    }

    /**
     * Replaces the signing key by a new one: it signs the backups of vaults that are opened from now on. The public key
     * of the old one stays, and verifies what it has signed, until {@link #distrust}. Export the keyring before the next
     * backup: an escrow file from before does not have the new key. A put that was suspended or interrupted does not
     * resume under the new key: let it end before, or remove its checkpoint.
     *
     * @return the id of the new key
     * @throws S3VaultException if the keyring file cannot be written
     */
    public String newSigningKey() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_new_signing_key(p[0], frame.out, frame.err), handle);
            return new String(frame.takeBytes(), StandardCharsets.UTF_8);
        }
    }

    /**
     * Drops the public key of an earlier signing key. Vaults that are opened from now on trust nothing that it has
     * signed: such a version is not read any more, and no job removes it.
     *
     * @param key its id
     * @throws S3VaultException if there is no such key, it signs new backups, or the keyring file cannot be written
     */
    public void distrust(String key) throws S3VaultException {
        Text.argument("key", key);
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_distrust(p[0], key, frame.err), handle);
        }
    }

    /**
     * Exports all keys as an age file that opens with a passphrase, and notes that all KEKs are escrowed.
     *
     * @param passphrase the passphrase in UTF-8
     * @param config the vault's settings, which the export carries without secrets; may be null
     * @param file a new file that gets the same content before anything is noted; may be null
     * @return content of the escrow file
     * @throws S3VaultException if the passphrase is empty or a file cannot be written
     */
    public byte[] export(byte[] passphrase, Config config, Path file) throws S3VaultException {
        return export("passphrase", passphrase, config, file);
    }

    /**
     * Exports all keys as an age file for recipients, and notes that all KEKs are escrowed.
     *
     * @param recipients age recipients, {@code age1...}
     * @param config the vault's settings, which the export carries without secrets; may be null
     * @param file a new file that gets the same content before anything is noted; may be null
     * @return content of the escrow file
     * @throws S3VaultException if a recipient is not valid or a file cannot be written
     */
    public byte[] export(List<String> recipients, Config config, Path file) throws S3VaultException {
        return export("recipients", String.join("\n", recipients).getBytes(StandardCharsets.UTF_8), config, file);
    }

    private byte[] export(String how, byte[] secret, Config config, Path file) throws S3VaultException {
        String path = file == null ? null : Text.file(file);
        try (Frame frame = new Frame();
                Secret key = new Secret(secret)) {
            frame.callLocal(
                    p -> Native.s3v_keyring_export(
                            p[0], p[1], how, key.memory, key.length, path, frame.out, frame.err),
                    handle,
                    Config.handle(config));
            return frame.takeBytes();
        }
    }

    /**
     * Adds the KEKs of an escrow file that are missing here.
     *
     * @param escrow content of the escrow file
     * @param secret its passphrase in UTF-8, or the content of a file of age identities
     * @return what was found
     * @throws S3VaultException if the escrow file cannot be opened or belongs to another keyring
     */
    public Imported importEscrow(byte[] escrow, byte[] secret) throws S3VaultException {
        try (Frame frame = new Frame();
                Secret content = new Secret(escrow);
                Secret key = new Secret(secret)) {
            frame.callLocal(
                    p -> Native.s3v_keyring_import(
                            p[0], content.memory, content.length, key.memory, key.length, frame.out, frame.err),
                    handle);
            return Json.parse(new String(frame.takeBytes(), StandardCharsets.UTF_8), Imported.class);
        }
    }

    /**
     * {@return the content of the keyring file, which is secret: to keep a keyring that is in memory only}
     *
     * @throws S3VaultException if this keyring was closed
     */
    public byte[] toBytes() throws S3VaultException {
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_keyring_bytes(p[0], frame.out, frame.err), handle);
            return frame.takeBytes();
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
            Fields found = Json.parse(new String(frame.takeBytes(), StandardCharsets.UTF_8), Fields.class);
            List<Kek> keks = found.keks().stream()
                    .map(kek -> new Kek(
                            kek.id(),
                            Instant.ofEpochMilli(kek.created()),
                            kek.escrowed(),
                            kek.current(),
                            kek.external()))
                    .toList();
            SigningFields signing = found.signing();
            return new Info(signing.id(), signing.publicKey(), found.earlier(), keks, found.retired());
        }
    }

    @Override
    public void close() {
        handle.close();
    }
}
