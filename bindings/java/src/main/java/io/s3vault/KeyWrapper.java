package io.s3vault;

/**
 * A key-encryption key in a key management service (KMS) or a hardware security module (HSM), for
 * {@link Keyring#custom}.
 *
 * <p>Both methods are called in threads of the library, several at the same time, and block the operation that needs
 * them; no time-out ends them. An exception becomes the text of the error {@link ErrorCode#EXTERNAL_KEY}. They must not
 * use this library.
 *
 * <p>{@code associated} says which version a data key belongs to, and must be needed to unwrap it: pass it as the
 * associated data of AES-GCM, or its SHA-256 in the encryption context of a KMS. Otherwise those who can write to the
 * bucket can exchange the keys of versions, which only the signatures then show.
 */
public interface KeyWrapper {
    /**
     * Wraps a data key.
     *
     * @param dataKey its 32 bytes, which are secret; they are overwritten once this returns
     * @param associated what it belongs to
     * @return 1 to 4096 bytes, which may be others each time
     * @throws Exception if the key cannot be wrapped
     */
    byte[] wrap(byte[] dataKey, byte[] associated) throws Exception;

    /**
     * Unwraps a data key.
     *
     * @param wrapped what {@link #wrap} returned
     * @param associated the same bytes as then
     * @return the 32 bytes of the data key; they are overwritten once the library has them
     * @throws Exception if it cannot be unwrapped
     */
    byte[] unwrap(byte[] wrapped, byte[] associated) throws Exception;
}
