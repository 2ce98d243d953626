/**
 * Backups in AWS S3 and S3-compatible stores.
 *
 * <p>A {@link io.s3vault.Vault} holds backups, each named by a container and a path; each store of one makes a
 * {@link io.s3vault.Version}. An {@link io.s3vault.Upload} stores a stream, a {@link io.s3vault.Download} gives it
 * back, verified.
 *
 * <pre>{@code
 * try (Config config = new Config().environment();
 *         Keyring keyring = Keyring.open(Path.of("keyring.json"));
 *         Vault vault = Vault.open(config, keyring)) {
 *     try (Upload upload = vault.create("web-1", "disk0.img")) {
 *         Files.copy(Path.of("disk0.img"), upload);
 *         System.out.println(upload.commit().vid());
 *     }
 *     vault.find("web-1", "disk0.img").restore(Path.of("restored.img"));
 * }
 * }</pre>
 *
 * <p>Vault, keyring, version and cancel may be shared by threads; a stream or a listing serves one thread at a time.
 * Each may be closed by any thread, in any order, more than once; what is not closed is freed when it is collected.
 * An interrupt of the thread stops its call with {@link java.io.InterruptedIOException}; the thread stays
 * interrupted. Other failures are {@link io.s3vault.S3VaultException}.
 */
package io.s3vault;
