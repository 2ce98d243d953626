package io.s3vault;

import java.time.Instant;
import java.util.Optional;

/**
 * What {@link Vault#prune}, {@link Vault#sweep}, {@link Vault#rotate}, {@link Vault#rekey} or {@link Vault#adopt} does with one version.
 *
 * @param action what happens to it
 * @param dryRun whether it only says what would be done
 * @param container the container
 * @param path the path in it
 * @param vid the version's id; empty if the whole backup is meant
 * @param kind the kind of the version; empty if it is not known
 * @param recorded the time that {@link Option#AS_OF} compares; empty if it is not known
 * @param bytes its size; for what was freed, the bytes that it took in the store
 * @param reason why
 * @param text all of it in a sentence
 */
public record JobItem(
        Action action, boolean dryRun, String container, String path, Optional<String> vid,
        Optional<Version.Kind> kind, Optional<Instant> recorded, long bytes, String reason, String text) {

    /** What happens to a version. */
    public enum Action {
        /** It stays. */
        KEEP,
        /** It was hidden; a later job frees it. */
        DELETE,
        /** Its data was removed. */
        FREE,
        /** A put that was abandoned was marked; a later job removes what it left. */
        SUSPECT,
        /** It is too early, or something else goes first. */
        WAIT,
        /** The store refused to delete it, because of a lock or a missing permission; a later job tries again. */
        REFUSED,
        /** Something is wrong with it, and nothing was changed. */
        PROBLEM,
        /** An object of another program was made a version. */
        ADOPT,
        /** An upload that the version does not need was aborted. The version stays. */
        ABORT,
        /** Its data key was wrapped with the current key-encryption key. */
        ROTATE,
        /** Its data was copied under a new data key. */
        REKEY,
        /** It stays under its data key, since only a new backup can have another one. */
        LEAVE,
        /** An action of a newer library. */
        OTHER
    }

    /** An item as the library writes it. */
    private record Line(String action, boolean dryRun, String container, String path, String vid, String kind,
            String recorded, long bytes, String reason, String text) {}

    static JobItem parse(String json) {
        Line line = Json.parse(json, Line.class);
        Action action = switch (line.action()) {
            case "keep" -> Action.KEEP;
            case "delete" -> Action.DELETE;
            case "free" -> Action.FREE;
            case "suspect" -> Action.SUSPECT;
            case "wait" -> Action.WAIT;
            case "refused" -> Action.REFUSED;
            case "problem" -> Action.PROBLEM;
            case "adopt" -> Action.ADOPT;
            case "abort" -> Action.ABORT;
            case "rotate" -> Action.ROTATE;
            case "rekey" -> Action.REKEY;
            case "leave" -> Action.LEAVE;
            default -> Action.OTHER;
        };
        Optional<Version.Kind> kind = Optional.ofNullable(line.kind()).map(word -> switch (word) {
            case "full" -> Version.Kind.FULL;
            case "inc" -> Version.Kind.INCREMENTAL;
            case "del" -> Version.Kind.DELETED;
            default -> Version.Kind.OTHER;
        });
        return new JobItem(action, line.dryRun(), line.container(), line.path(), Optional.ofNullable(line.vid()), kind,
                Optional.ofNullable(line.recorded()).map(Instant::parse), line.bytes(), line.reason(), line.text());
    }
}
