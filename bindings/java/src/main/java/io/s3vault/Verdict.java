package io.s3vault;

import com.google.gson.annotations.SerializedName;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Optional;

/**
 * The verdict on a signed manifest: {@link Vault#verifyManifest} returns it.
 *
 * @param status whether to trust the manifest
 * @param reason why the status is {@link Status#BAD}; otherwise empty
 * @param keyId id of the key that signed the manifest; empty if it is not signed
 * @param info the version that the manifest describes; empty if it cannot be read. Trust it only if the status is
 *     {@link Status#GOOD}
 * @param parts number of parts of the data
 */
public record Verdict(Status status, String reason, Optional<String> keyId, Optional<Info> info, long parts) {
    /** Whether to trust a manifest. */
    public enum Status {
        /** It is signed by one of the trusted keys. */
        @SerializedName("good")
        GOOD,
        /** It is valid, but not signed. */
        @SerializedName("unsigned")
        UNSIGNED,
        /** Do not trust it. */
        @SerializedName("bad")
        BAD
    }

    /**
     * The version that a manifest describes.
     *
     * @param container the container
     * @param path the path in it
     * @param vid the version id
     * @param kind the kind of the version
     * @param parent version id of the backup that an incremental builds on
     * @param size size of the data in bytes
     * @param initiated when the put started
     * @param recorded the time that {@link Option#AS_OF} compares
     * @param manifestHash hash of the manifest, for {@link Option#PIN}
     */
    public record Info(
            String container,
            String path,
            String vid,
            Version.Kind kind,
            Optional<String> parent,
            long size,
            Instant initiated,
            Instant recorded,
            String manifestHash) {}

    /** The fields of the library's JSON. */
    private record Fields(
            Status verdict, String reason, String keyId, String container, String path, String vid, String kind,
            String parent, long size, long initiated, long recorded, String hash, long parts) {}

    static Verdict parse(byte[] json) {
        Fields read = Json.parse(new String(json, StandardCharsets.UTF_8), Fields.class);
        return new Verdict(
                read.verdict(), text(read.reason()), present(read.keyId()),
                present(read.vid()).map(vid -> info(read)), read.parts());
    }

    private static Info info(Fields read) {
        Version.Kind kind = switch (read.kind()) {
            case "full" -> Version.Kind.FULL;
            case "inc" -> Version.Kind.INCREMENTAL;
            case "del" -> Version.Kind.DELETED;
            default -> Version.Kind.OTHER;
        };
        return new Info(
                read.container(), read.path(), read.vid(), kind, present(read.parent()), read.size(),
                Instant.ofEpochMilli(read.initiated()), Instant.ofEpochMilli(read.recorded()), read.hash());
    }

    private static String text(String text) {
        return text == null ? "" : text;
    }

    private static Optional<String> present(String text) {
        return Optional.ofNullable(text).filter(found -> !found.isEmpty());
    }
}
