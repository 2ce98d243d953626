/**
 * Backups in AWS S3 and S3-compatible stores.
 *
 * <p>A {@link io.s3vault.Vault} holds backups, each named by a container and a path. Every time one is stored, a new
 * {@link io.s3vault.Version} of it is created. An {@link io.s3vault.Upload} stores a stream; a
 * {@link io.s3vault.Download} reads it back, verified.
 *
 * <pre>{@code
 * try (Config config = new Config().environment();
 *         Keyring keyring = Keyring.open(Path.of("vault.keys"));
 *         Vault vault = Vault.open(config, keyring)) {
 *     try (Upload upload = vault.create("web-1", "disk0.img")) {
 *         Files.copy(Path.of("disk0.img"), upload);
 *         System.out.println(upload.commit().vid());
 *     }
 *     vault.find("web-1", "disk0.img").restore(Path.of("restored.img"));
 * }
 * }</pre>
 *
 * <p>Threads may share a vault, a keyring, a version and a cancel; a stream or a listing serves one thread at a time.
 * Any thread may close any of them, in any order, more than once. An object that is not closed is freed when it is
 * garbage collected. If the thread is interrupted, its call throws {@link java.io.InterruptedIOException} and the thread
 * stays interrupted. Other failures are {@link io.s3vault.S3VaultException}.
 */
package io.s3vault;
