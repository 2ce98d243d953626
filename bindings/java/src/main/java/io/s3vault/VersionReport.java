package io.s3vault;

import java.util.Optional;

/**
 * What is known of a version after all of it was read.
 *
 * @param verdict the verdict
 * @param container the container
 * @param path the path in it
 * @param vid the version's id
 * @param bytes bytes that were read and are right
 * @param parts parts that were read and are right
 * @param firstBadPart the first part that is not what was stored
 * @param reason why the verdict is not {@link Verdict#GOOD}; empty if it is
 */
public record VersionReport(
        Verdict verdict, String container, String path, String vid, long bytes, long parts,
        Optional<BadPart> firstBadPart, String reason) {

    /** A verdict. */
    public enum Verdict {
        /** All of it is what was stored. */
        GOOD,
        /** Bytes differ. */
        DAMAGED,
        /** An object is gone or was replaced. */
        MISSING,
        /** No trusted key signed its manifest or its locator. */
        UNTRUSTED,
        /** It is there, and nothing tells whether it is what was stored. */
        UNVERIFIABLE,
        /** A verdict of a newer library. */
        OTHER;

        /**
         * Whether the version cannot be restored as it was stored.
         *
         * @return whether it is damaged, missing or untrusted
         */
        public boolean isBad() {
            return this == DAMAGED || this == MISSING || this == UNTRUSTED;
        }

        private static Verdict of(String word) {
            return switch (word) {
                case "good" -> GOOD;
                case "damaged" -> DAMAGED;
                case "missing" -> MISSING;
                case "untrusted" -> UNTRUSTED;
                case "unverifiable" -> UNVERIFIABLE;
                default -> OTHER;
            };
        }
    }

    /**
     * A part of a version.
     *
     * @param part its number, from 1
     * @param extent the number of its extent, from 1
     * @param key the key of the extent when it was written
     * @param start its offset in the extent, in stored bytes
     * @param offset its offset in the backup, in bytes
     * @param length its length in bytes
     */
    public record BadPart(long part, long extent, String key, long start, long offset, long length) {}

    /** A report as the library writes it. */
    record Line(String verdict, String container, String path, String vid, long bytes, long parts,
            BadPart firstBadPart, String reason) {
        VersionReport report() {
            return new VersionReport(Verdict.of(verdict), container, path, vid, bytes, parts,
                    Optional.ofNullable(firstBadPart), reason);
        }
    }

    static VersionReport parse(String json) {
        return Json.parse(json, Line.class).report();
    }
}
