package io.s3vault;

import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * Where the retirement of a key-encryption key (KEK) is.
 *
 * @param kek the KEK's id
 * @param state what is to be done next
 * @param waitUntil until when to wait, by the store's clock; empty if no bucket has to be waited for
 * @param needed number of locators that need the KEK
 * @param first keys of the first ten of them
 */
public record Retirement(String kek, State state, Optional<Instant> waitUntil, long needed, List<String> first) {
    /** What is to be done next. */
    public enum State {
        /** Puts that are running may still need the KEK: retire it again at that time. */
        WAITING,
        /** Versions need the KEK: rotate first. */
        NEEDED,
        /** Nothing needs the KEK, and the keyring no longer has it. */
        RETIRED
    }

    /** A report as the library writes it. */
    private record Line(String kek, String state, String waitUntil, long needed, List<String> first) {}

    static Retirement parse(String json) {
        Line line = Json.parse(json, Line.class);
        State state = switch (line.state()) {
            case "waiting" -> State.WAITING;
            case "needed" -> State.NEEDED;
            case "retired" -> State.RETIRED;
            default -> throw new IllegalStateException("the library reports the unknown state " + line.state());
        };
        return new Retirement(
                line.kek(), state, Optional.ofNullable(line.waitUntil()).map(Instant::parse), line.needed(), line.first());
    }
}
