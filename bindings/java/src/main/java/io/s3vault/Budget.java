package io.s3vault;

import com.sun.jna.Memory;
import io.s3vault.internal.Layout;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;

/** The limits that all transfers of this process share: memory, connections and bandwidth. */
public final class Budget {

    /**
     * Current, peak and total use of the transfers of this process.
     *
     * @param transfers number of transfers in progress
     * @param memory payload bytes held in memory
     * @param memoryPeak highest value of {@code memory} so far
     * @param memoryLimit upper limit of {@code memory}
     * @param connections requests in progress
     * @param connectionsPeak highest value of {@code connections} so far
     * @param connectionsLimit upper limit of {@code connections}
     * @param bytesUp payload bytes sent, including those sent again
     * @param bytesDown payload bytes received
     */
    public record Stats(
            int transfers,
            long memory,
            long memoryPeak,
            long memoryLimit,
            long connections,
            long connectionsPeak,
            long connectionsLimit,
            long bytesUp,
            long bytesDown) {}

    private Budget() {}

    /**
     * Sets an option of the whole process. It takes effect immediately, also for transfers in progress.
     *
     * @param key {@link Option#MEMORY}, {@link Option#CONNECTIONS}, {@link Option#BANDWIDTH_UP} or
     *     {@link Option#BANDWIDTH_DOWN}
     * @param value the new value
     * @throws S3VaultException if the option does not exist or does not accept this value
     */
    public static void set(String key, String value) throws S3VaultException {
        Loader.load();
        Text.argument("the key", key);
        Text.argument(key, value);
        try (Frame frame = new Frame()) {
            frame.callLocal(p -> Native.s3v_process_set(key, value, frame.err));
        }
    }

    /**
     * {@return what the transfers of this process use}
     *
     * @throws S3VaultException only if the library has a defect
     */
    public static Stats stats() throws S3VaultException {
        Loader.load();
        try (Frame frame = new Frame();
                Memory stats = new Memory(Layout.Stats.SIZE)) {
            stats.clear();
            stats.setInt(0, Layout.Stats.SIZE);
            frame.callLocal(p -> Native.s3v_process_stats(stats, frame.err));
            return new Stats(
                    stats.getInt(Layout.Stats.TRANSFERS),
                    stats.getLong(Layout.Stats.MEMORY),
                    stats.getLong(Layout.Stats.MEMORY_PEAK),
                    stats.getLong(Layout.Stats.MEMORY_LIMIT),
                    stats.getLong(Layout.Stats.CONNECTIONS),
                    stats.getLong(Layout.Stats.CONNECTIONS_PEAK),
                    stats.getLong(Layout.Stats.CONNECTIONS_LIMIT),
                    stats.getLong(Layout.Stats.BYTES_UP),
                    stats.getLong(Layout.Stats.BYTES_DOWN));
        }
    }
}
