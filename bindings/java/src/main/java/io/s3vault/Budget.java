package io.s3vault;

import com.sun.jna.Memory;
import io.s3vault.internal.Loader;
import io.s3vault.internal.Native;

/** The limits that all transfers of this process share: memory, connections and bandwidth. */
public final class Budget {
    // struct s3v_stats { uint32_t size, transfers; uint64_t memory, memory_peak, memory_limit, connections,
    // connections_peak, connections_limit, bytes_up, bytes_down; }
    private static final int STATS_SIZE = 72;

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
                Memory stats = new Memory(STATS_SIZE)) {
            stats.clear();
            stats.setInt(0, STATS_SIZE);
            frame.callLocal(p -> Native.s3v_process_stats(stats, frame.err));
            long[] counts = stats.getLongArray(2 * Integer.BYTES, 8);
            return new Stats(
                    stats.getInt(Integer.BYTES), counts[0], counts[1], counts[2], counts[3], counts[4], counts[5],
                    counts[6], counts[7]);
        }
    }
}
