package io.s3vault;

import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** The options of one call. Each kind of call has a class of its own, for example {@link PutOptions}. Immutable. */
public abstract class CallOptions {
    private final Map<String, String> values;

    CallOptions(Map<String, String> values) {
        this.values = Map.copyOf(values);
    }

    /** The text of a value that is one of several words. */
    static String word(Enum<?> value) {
        return value.name().toLowerCase(Locale.ROOT).replace('_', '-');
    }

    /** The values with one more. */
    final Map<String, String> with(String key, String value) {
        Map<String, String> copy = new HashMap<>(values);
        copy.put(key, value);
        return copy;
    }

    /** The options that are set, by key. */
    final Map<String, String> values() {
        return values;
    }

    /** Whether an option is set. */
    final boolean has(String key) {
        return !values.getOrDefault(key, "").isEmpty();
    }

    /** The options as a config; null, which the library accepts, if none is set. */
    final Config config() throws S3VaultException {
        return values.isEmpty() ? null : Config.of(values);
    }

    /** {@return the options that are set} */
    @Override
    public String toString() {
        return values.toString();
    }
}
