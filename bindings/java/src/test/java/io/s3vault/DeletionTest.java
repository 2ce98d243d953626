package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Deletions and jobs: what is hidden, what is taken back, and what the items and the report say. */
class DeletionTest {
    private static Keyring keyring;
    private static Vault vault;

    @BeforeAll
    static void open(@TempDir java.nio.file.Path folder) throws IOException {
        keyring = Keyring.create(folder.resolve("vault.keys"));
        vault = Store.open(keyring, Map.of());
    }

    @AfterAll
    static void close() {
        vault.close();
        keyring.close();
    }

    private static String put(String container, String text) throws IOException {
        return Store.put(vault, container, "disk", text.getBytes()).vid();
    }

    private static List<String> listed(String container) throws IOException {
        List<String> vids = new ArrayList<>();
        try (Listing<Version> versions = vault.versions(container, "disk")) {
            for (Version version : versions) {
                vids.add(version.vid());
            }
        }
        return vids;
    }

    @Test
    void aDeletedBackupIsGoneUntilItIsTakenBack() throws IOException {
        String container = Store.container();
        String vid = put(container, "one");
        try (Version deleted = vault.delete(container, "disk")) {
            assertEquals(Version.Kind.DELETED, deleted.kind());
        }
        S3VaultException gone = assertThrows(S3VaultException.class, () -> vault.find(container, "disk"));
        assertEquals(ErrorCode.NOT_FOUND, gone.code());
        assertEquals(ErrorCode.NOT_FOUND,
                assertThrows(S3VaultException.class, () -> vault.delete(container, "disk")).code());
        try (Version back = vault.undelete(container, "disk")) {
            assertEquals(vid, back.vid());
        }
        assertEquals(List.of(vid), listed(container));
        assertEquals(ErrorCode.NOT_FOUND,
                assertThrows(S3VaultException.class, () -> vault.undelete(container, "disk")).code());
    }

    @Test
    void aVersionThatAnotherNeedsIsNotDeleted() throws IOException {
        String container = Store.container();
        String full = put(container, "full");
        PutOptions options = PutOptions.NONE.withKind(PutOptions.Kind.INCREMENTAL).withParent(full);
        String incremental;
        try (Upload upload = vault.create(container, "disk", options, Control.NONE)) {
            upload.write("more".getBytes());
            incremental = upload.commit().vid();
        }
        try (Version version = vault.find(container, "disk", FindOptions.NONE.withVersion(full), Control.NONE)) {
            S3VaultException needed = assertThrows(S3VaultException.class, version::delete);
            assertEquals(ErrorCode.HAS_DEPENDENTS, needed.code());
            assertTrue(needed.detail().contains(incremental), needed.detail());
        }
        try (Version version = vault.find(container, "disk")) {
            version.delete();
        }
        assertEquals(List.of(full), listed(container));
    }

    @Test
    void aPruneDoesWhatItsDryRunSaidAndTellsEachVersion() throws IOException {
        String container = Store.container();
        List<String> vids = new ArrayList<>();
        for (int n = 0; n < 3; n++) {
            vids.add(0, put(container, "version " + n));
        }
        PruneOptions options = PruneOptions.NONE.withContainer(container).withRetentionFullVersions(1);
        List<JobItem> would = new ArrayList<>();
        JobReport dry = vault.prune(options.withDryRun(true), would::add, Control.NONE);
        assertEquals(3, listed(container).size());
        List<JobItem> items = new ArrayList<>();
        JobReport report = vault.prune(options, items::add, Control.NONE);
        assertEquals(vids, items.stream().map(item -> item.vid().orElseThrow()).toList());
        assertEquals(List.of(JobItem.Action.KEEP, JobItem.Action.DELETE, JobItem.Action.DELETE),
                items.stream().map(JobItem::action).toList());
        assertEquals(items.stream().map(JobItem::reason).toList(), would.stream().map(JobItem::reason).toList());
        JobItem first = items.get(1);
        assertEquals(Optional.of(Version.Kind.FULL), first.kind());
        assertEquals(9, first.bytes());
        assertFalse(first.dryRun());
        assertTrue(would.get(1).dryRun());
        assertTrue(first.recorded().isPresent());
        assertEquals(new JobReport(false, 1, 3, 1, 2, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, List.of()), report);
        assertTrue(dry.dryRun());
        assertEquals(2, dry.deleted());
        assertEquals(List.of(vids.get(0)), listed(container));
        SweepOptions sweep = SweepOptions.NONE.withContainer(container).withGrace(Duration.ofHours(36));
        assertEquals(2, vault.sweep(sweep, null, Control.NONE).waiting());
    }

    @Test
    void whatTheConsumerOfItemsThrowsStopsTheJob() throws IOException {
        String container = Store.container();
        put(container, "one");
        put(container, "two");
        PruneOptions options = PruneOptions.NONE.withContainer(container).withRetentionFullVersions(1);
        IllegalStateException thrown = new IllegalStateException("enough");
        assertEquals(thrown, assertThrows(IllegalStateException.class, () -> vault.prune(options, item -> {
            throw thrown;
        }, Control.NONE)));
    }

    @Test
    void aPruneWithoutARetentionIsRefused() {
        S3VaultException refused = assertThrows(S3VaultException.class,
                () -> vault.prune(PruneOptions.NONE, null, Control.NONE));
        assertEquals(ErrorCode.INVALID_OPTION, refused.code());
        assertEquals(ErrorCode.INVALID_OPTION, assertThrows(S3VaultException.class,
                () -> vault.sweep(SweepOptions.NONE.withGrace(Duration.ofMinutes(1)), null, Control.NONE)).code());
    }

    @Test
    void aVaultIsMadeOnce() throws IOException {
        vault.init(Control.NONE);
        assertFalse(vault.init(Control.NONE));
    }
}
