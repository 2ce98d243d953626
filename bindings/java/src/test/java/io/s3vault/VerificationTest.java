package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Verification and adoption: what the reports say. */
class VerificationTest {
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

    @Test
    void aVersionIsReadAndJudged() throws IOException {
        String container = Store.container();
        String vid = Store.put(vault, container, "disk", "a backup".getBytes()).vid();
        try (Version version = vault.find(container, "disk")) {
            VersionReport report = version.verify();
            assertEquals(VersionReport.Verdict.GOOD, report.verdict());
            assertEquals(List.of(container, "disk", vid), List.of(report.container(), report.path(), report.vid()));
            assertEquals(8, report.bytes());
            assertEquals(1, report.parts());
            assertEquals(Optional.empty(), report.firstBadPart());
            assertFalse(report.verdict().isBad());
        }
    }

    @Test
    void allVersionsOfAContainerAreVerifiedOrASampleOfThem() throws IOException {
        String container = Store.container();
        for (int n = 0; n < 5; n++) {
            Store.put(vault, container, "disk" + n, "a backup".getBytes());
        }
        List<String> seen = new ArrayList<>();
        VerifyOptions options = VerifyOptions.NONE.withContainer(container);
        VerifyReport report = vault.verify(options, one -> seen.add(one.path()), Control.NONE);
        assertEquals(List.of(5L, 5L, 5L, 0L), List.of(report.versions(), report.chosen(), report.good(), report.bad()));
        assertEquals(List.of("disk0", "disk1", "disk2", "disk3", "disk4"), seen);
        VerifyReport sample = vault.verify(options.withSample(20).withSampleSeed("3"), null, Control.NONE);
        assertEquals(5, sample.versions());
        assertTrue(sample.chosen() >= 1 && sample.good() == sample.chosen(), sample.toString());
        assertEquals(List.of(), sample.notGood());
    }

    @Test
    void whatTheVaultWroteItselfIsNotAdopted() throws IOException {
        String container = Store.container();
        Store.put(vault, container, "disk", "a backup".getBytes());
        List<JobItem> items = new ArrayList<>();
        AdoptOptions options = AdoptOptions.NONE.withContainer(container).withDryRun(true);
        JobReport report = vault.adopt(options, items::add, Control.NONE);
        assertTrue(report.dryRun() && items.isEmpty(), items.toString());
        assertEquals(List.of(1L, 0L, 0L), List.of(report.versions(), report.adopted(), report.problems()));
    }
}
