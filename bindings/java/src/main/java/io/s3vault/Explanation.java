package io.s3vault;

import java.util.List;
import java.util.Optional;

/**
 * Why a store refused a signature: {@link Signing#explain} returns it. Secret values are shown as {@code ***}.
 *
 * @param canonicalRequest the canonical request that was signed
 * @param stringToSign the string that was signed
 * @param store what the store answered
 * @param difference the first difference; empty if nothing differs or the store's answer does not say enough
 * @param cause the likely cause, and what to do about it
 * @param notes other findings
 */
public record Explanation(
        String canonicalRequest,
        String stringToSign,
        Store store,
        Optional<Difference> difference,
        String cause,
        List<String> notes) {

    /**
     * What the store answered. A text that its answer does not have is empty.
     *
     * @param code S3's error code
     * @param message S3's error message
     * @param canonicalRequest the canonical request that the store computed
     * @param stringToSign the string to sign that the store computed
     */
    public record Store(String code, String message, String canonicalRequest, String stringToSign) {}

    /**
     * The first difference between the request that was signed and the one that the store received.
     *
     * @param part where it is: {@code method}, {@code path}, {@code query}, {@code header}, {@code signed headers},
     *     {@code payload hash}, {@code date}, {@code scope}, {@code canonical request's hash} or {@code access key}
     * @param name name of the header or the query parameter; otherwise empty
     * @param line line of the canonical request or of the string to sign, from 1; 0 if it is in neither
     * @param column column of the first character that differs, from 1
     * @param ours the text that was signed
     * @param store the text that the store has
     */
    public record Difference(String part, String name, int line, int column, String ours, String store) {}

    /** The fields of the library's JSON. */
    private record Fields(
            String canonicalRequest, String stringToSign, Store store, Difference difference, String cause,
            List<String> notes) {}

    static Explanation parse(String json) {
        Fields read = Json.parse(json, Fields.class);
        return new Explanation(
                read.canonicalRequest(), read.stringToSign(), read.store(), Optional.ofNullable(read.difference()),
                read.cause(), List.copyOf(read.notes()));
    }
}
