package io.s3vault;

import java.util.List;

/**
 * What {@link Vault#prune}, {@link Vault#sweep}, {@link Vault#rotate}, {@link Vault#rekey} or {@link Vault#adopt} did altogether; in a dry run, what it would do.
 *
 * @param dryRun whether it was a dry run
 * @param backups number of backups that were looked at
 * @param versions number of versions that were looked at
 * @param kept number of versions that stay
 * @param deleted number of versions that were hidden
 * @param deletedBytes size of the versions that were hidden
 * @param freed number of versions whose data was removed
 * @param freedBytes bytes in the store that were freed
 * @param suspected number of abandoned puts that were marked
 * @param waiting number of versions that wait for a later run
 * @param adopted number of objects of other programs that were made versions
 * @param aborted number of uploads that were aborted although their version stays
 * @param rotated number of versions whose data key was wrapped with the current key-encryption key
 * @param rekeyed number of versions whose data was copied under a new data key
 * @param rekeyedBytes bytes of these versions in the store
 * @param left number of versions that a re-keying leaves under their data keys: only new backups can have others
 * @param problems number of problems
 * @param problemTexts what the first hundred problems are
 */
public record JobReport(
        boolean dryRun, long backups, long versions, long kept, long deleted, long deletedBytes, long freed,
        long freedBytes, long suspected, long waiting, long adopted, long aborted, long rotated,
        long rekeyed, long rekeyedBytes, long left, long problems, List<String> problemTexts) {

    static JobReport parse(String json) {
        return Json.parse(json, JobReport.class);
    }
}
