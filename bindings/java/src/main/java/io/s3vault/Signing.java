package io.s3vault;

import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Signs requests that another HTTP client sends (AWS Signature Version 4), and explains why a store refused a signature.
 *
 * <p>The settings are {@link Option#ACCESS_KEY}, {@link Option#SECRET_KEY}, {@link Option#SESSION_TOKEN},
 * {@link Option#REGION}, and {@link Option#SERVICE} where it is not s3. A URL must be the one that is sent, or
 * {@code s3://bucket/key} for the endpoint of the settings. All headers that are passed are signed, and must be sent
 * unchanged.
 */
public final class Signing {
    private Signing() {}

    /**
     * {@return the headers to add to a request, including {@code authorization}}
     *
     * @param settings the settings with the keys
     * @param now time of the signature; null for the current time
     * @param method GET, HEAD, PUT, POST or DELETE
     * @param url the URL
     * @param headers the headers to sign and send
     * @param payloadHash the body's SHA-256 in hex, or a special value of x-amz-content-sha256; null leaves the body
     *     unsigned
     * @throws S3VaultException if the request cannot be signed
     */
    public static Map<String, String> sign(
            Config settings, Instant now, String method, String url, Map<String, String> headers, String payloadHash)
            throws S3VaultException {
        String lines = lines(headers);
        Text.argument("method", method);
        Text.argument("url", url);
        Text.argument("payloadHash", payloadHash);
        Map<String, String> added = new LinkedHashMap<>();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_sign(
                    p[0], millis(now), method, url, lines, payloadHash, frame.out, frame.err), settings.handle);
            for (String line : new String(frame.takeBytes(), StandardCharsets.UTF_8).split("\n")) {
                int colon = line.indexOf(": ");
                added.put(line.substring(0, colon), line.substring(colon + 2));
            }
        }
        return added;
    }

    /**
     * {@return the URL with a signature in its query: anybody who has it may send this one request}
     *
     * @param settings the settings with the keys
     * @param now start of the period in which the URL is valid; null for the current time
     * @param method GET, HEAD, PUT or DELETE
     * @param url the URL
     * @param headers the headers that must be sent with the request
     * @param expires how long the URL is valid: 1 second to 7 days, in whole seconds
     * @throws S3VaultException if the request cannot be signed
     */
    public static String presign(
            Config settings, Instant now, String method, String url, Map<String, String> headers, Duration expires)
            throws S3VaultException {
        String lines = lines(headers);
        Text.argument("method", method);
        Text.argument("url", url);
        // A duration that is too long or negative stays invalid: the library refuses it.
        int seconds = (int) Math.max(0, Math.min(Integer.MAX_VALUE, expires.toSeconds()));
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_presign(
                    p[0], millis(now), method, url, lines, seconds, frame.out, frame.err), settings.handle);
            return new String(frame.takeBytes(), StandardCharsets.UTF_8);
        }
    }

    /**
     * {@return why a store refused a signature: the first difference and its likely cause}
     *
     * @param request the request as it was sent: its first line, then a line for each header; or the canonical request
     * @param reply the body of the store's answer; null to see only what was signed
     * @throws S3VaultException if the request cannot be parsed or is not signed with version 4
     */
    public static Explanation explain(String request, String reply) throws S3VaultException {
        Text.argument("request", request);
        Text.argument("reply", reply);
        Loader.load();
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_explain(request, reply, frame.out, frame.err));
            return Explanation.parse(new String(frame.takeBytes(), StandardCharsets.UTF_8));
        }
    }

    private static String lines(Map<String, String> headers) throws S3VaultException {
        StringBuilder lines = new StringBuilder();
        for (Map.Entry<String, String> header : headers.entrySet()) {
            String line = header.getKey() + ": " + header.getValue();
            if (line.indexOf('\n') >= 0 || line.indexOf('\r') >= 0) {
                throw new S3VaultException(
                        ErrorCode.INVALID_ARGUMENT, "header " + header.getKey() + " contains a line break");
            }
            lines.append(line).append('\n');
        }
        return Text.argument("headers", lines.toString());
    }

    private static long millis(Instant now) {
        return now == null ? 0 : now.toEpochMilli();
    }
}
