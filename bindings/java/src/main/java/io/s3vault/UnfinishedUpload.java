package io.s3vault;

import java.time.Instant;
import java.util.Optional;

/**
 * A multipart upload that is in progress: of a put that is running, or that was killed.
 *
 * @param container the container
 * @param path the path in it
 * @param vid the version that it is for; empty where the key does not tell it
 * @param uploadId the id of the upload
 * @param initiated when it started, by the store's clock
 */
public record UnfinishedUpload(
        String container, String path, Optional<String> vid, String uploadId, Instant initiated) {
    static UnfinishedUpload of(Row row) {
        return new UnfinishedUpload(row.container(), row.path(), Optional.of(row.vid()).filter(vid -> !vid.isEmpty()),
                row.uploadId(), Instant.ofEpochMilli(row.initiatedMs()));
    }
}
