package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.jna.Pointer;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.lang.ref.WeakReference;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Handles: who frees them and when, and what still works afterwards. */
class LifecycleTest {
    private final String container = Store.container();
    private Keyring keyring;
    private Vault vault;

    @BeforeEach
    void open() throws IOException {
        keyring = Keyring.generate();
        vault = Store.open(keyring);
    }

    @AfterEach
    void close() {
        vault.close();
        keyring.close();
    }

    private static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static void assertClosed(org.junit.jupiter.api.function.Executable call) {
        assertEquals(ErrorCode.WRONG_STATE, assertThrows(S3VaultException.class, call).code());
    }

    private List<String> vids(String path) throws IOException {
        try (Listing<Version> versions = vault.versions(container, path);
                Stream<Version> stream = versions.stream()) {
            return stream.map(Version::vid).toList();
        }
    }

    @Test
    void anythingMayBeClosedTwiceAndRefusesCallsAfterwards() throws IOException {
        Config config = Store.config(Map.of());
        Cancel cancel = new Cancel();
        Keyring other = Keyring.generate();
        Vault second = Vault.open(config, keyring);
        Upload upload = second.create(container, "p");
        Version version = Store.put(second, container, "q", text("data"));
        Download download = version.openStream();
        Listing<String> containers = second.containers();
        List<AutoCloseable> all =
                List.of(config, cancel, other, second, upload, version, download, containers);
        for (int round = 0; round < 2; round++) {
            for (AutoCloseable closeable : all) {
                assertDoesNotFail(closeable);
            }
        }
        assertClosed(() -> config.set(Option.BUCKET, "b"));
        assertClosed(cancel::trigger);
        assertClosed(other::info);
        assertClosed(() -> second.find(container, "q"));
        assertClosed(() -> upload.write(1));
        assertClosed(upload::commit);
        assertFalse(upload.isOpen());
        assertClosed(version::manifest);
        assertClosed(download::read);
        assertFalse(download.isOpen());
        assertThrows(java.io.UncheckedIOException.class, () -> containers.iterator().hasNext());
    }

    private static void assertDoesNotFail(AutoCloseable closeable) {
        org.junit.jupiter.api.Assertions.assertDoesNotThrow(closeable::close);
    }

    @Test
    void aVersionNamesTheKeyThatSignedIt() throws IOException {
        Version stored = Store.put(vault, container, "signed", text("data"));
        String id = keyring.info().id();
        assertEquals(Optional.of(id), stored.signedBy());
        assertEquals(Optional.of(id), vault.find(container, "signed").signedBy());
        List<String> logged = new ArrayList<>();
        Control control = Control.NONE.withListener(event -> {
            if (event.kind() == EventKind.LOG) {
                logged.add(event.text());
            }
        });
        try (Vault blind = Store.open(null)) {
            assertEquals(Optional.empty(), blind.find(container, "signed", FindOptions.NONE, control).signedBy());
        }
        assertEquals(1, logged.size());
        assertTrue(logged.get(0).contains("not verified"), logged.get(0));
    }

    @Test
    void processLimitsAreSetAndReported() throws IOException {
        Budget.Stats before = Budget.stats();
        assertTrue(before.memory() <= before.memoryPeak() && before.memoryPeak() <= before.memoryLimit());
        Budget.set(Option.CONNECTIONS, "7");
        assertEquals(7, Budget.stats().connectionsLimit());
        Budget.set(Option.CONNECTIONS, Long.toString(before.connectionsLimit()));
        Store.put(vault, container, "counted", text("data"));
        assertTrue(Budget.stats().bytesUp() > before.bytesUp());
        assertEquals(ErrorCode.UNKNOWN_OPTION,
                assertThrows(S3VaultException.class, () -> Budget.set("memroy", "1")).code());
    }

    @Test
    void suspendWithoutACheckpointIsRefusedAndTheUploadStaysUsable() throws IOException {
        try (Upload upload = vault.create(container, "p")) {
            assertClosed(upload::suspend);
            upload.write(text("still usable"));
            upload.commit();
        }
        assertEquals(1, vids("p").size());
    }

    @Test
    void uploadsAndDownloadsWorkAfterTheirParentsAreClosed() throws IOException {
        Keyring own = Keyring.generate();
        Config config = Store.config(Map.of());
        Vault parent = Vault.open(config, own);
        config.close();
        own.close();
        Upload upload = parent.create(container, "p");
        parent.close();
        upload.write(text("data"));
        Version version = upload.commit();
        upload.close();
        Download download = version.openStream();
        version.close();
        assertArrayEquals(text("data"), download.readAllBytes());
        download.close();
    }

    @Test
    void closeWithoutCommitStoresNothing() throws IOException {
        try (Upload upload = vault.create(container, "p")) {
            upload.write(text("half"));
            upload.flush();
            assertEquals(4, upload.offset());
        }
        try (Upload upload = vault.create(container, "p")) {
            upload.write(text("half"));
            upload.abort();
            assertEquals(ErrorCode.WRONG_STATE, assertThrows(S3VaultException.class, upload::commit).code());
        }
        assertEquals(List.of(), vids("p"));
    }

    @Test
    void anExceptionBetweenWriteAndCommitStoresNothing() throws IOException {
        assertThrows(IllegalStateException.class, () -> {
            try (Upload upload = vault.create(container, "p")) {
                upload.write(text("half"));
                throw new IllegalStateException("the source broke");
            }
        });
        assertEquals(List.of(), vids("p"));
    }

    @Test
    void aWriteAfterTheCommitIsRefused() throws IOException {
        try (Upload upload = vault.create(container, "p")) {
            upload.write(text("whole"));
            Version version = upload.commit();
            assertEquals(5, version.size());
            upload.write(text("more"));
            assertEquals(ErrorCode.WRONG_STATE, assertThrows(S3VaultException.class, upload::flush).code());
            assertEquals(List.of(version.vid()), vids("p"));
        }
    }

    @Test
    void aCommitAfterACancelledWriteIsRefused() throws IOException {
        try (Cancel cancel = new Cancel();
                Upload upload = vault.create(container, "p", PutOptions.NONE, Control.NONE.withCancel(cancel))) {
            cancel.trigger();
            upload.write(text("half"));
            S3VaultException cancelled = assertThrows(S3VaultException.class, upload::flush);
            assertEquals(ErrorCode.CANCELLED, cancelled.code());
            assertTrue(cancelled.isLocal() && !cancelled.isMisuse() && !cancelled.isRemote());
            S3VaultException e = assertThrows(S3VaultException.class, upload::commit);
            assertEquals(ErrorCode.WRONG_STATE, e.code());
            assertEquals(cancelled, e.getCause());
        }
        assertEquals(List.of(), vids("p"));
    }

    @Test
    void allWriteAndReadMethodsTransferTheSameBytes() throws IOException {
        byte[] data = new Data((5 << 20) + 3, 1).bytes();
        try (Upload upload = vault.create(container, "p")) {
            upload.write(data[0]);
            upload.write(data, 1, (2 << 20) + 1);
            upload.write(ByteBuffer.wrap(data).position((2 << 20) + 2).limit(3 << 20));
            ByteBuffer direct = ByteBuffer.allocateDirect(data.length).put(data).flip().position(3 << 20);
            assertEquals(data.length - (3 << 20), upload.write(direct));
            assertFalse(direct.hasRemaining());
            assertEquals(data.length, upload.offset());
            assertEquals(data.length, upload.commit().size());
        }
        try (Download download = vault.find(container, "p").openStream()) {
            assertArrayEquals(data, download.readAllBytes());
            assertEquals(-1, download.read());
        }
        try (Download download = vault.find(container, "p").openStream()) {
            ByteArrayOutputStream read = new ByteArrayOutputStream();
            ByteBuffer direct = ByteBuffer.allocateDirect(300_000);
            ByteBuffer heap = ByteBuffer.allocate(1000);
            read.write(download.read());
            while (true) {
                ByteBuffer buffer = read.size() % 2 == 0 ? direct.position(17).limit(200_000) : heap.clear();
                int start = buffer.position();
                int count = download.read(buffer);
                if (count < 0) {
                    break;
                }
                assertEquals(start + count, buffer.position());
                byte[] bytes = new byte[count];
                buffer.flip().position(start).get(bytes);
                read.write(bytes);
            }
            assertArrayEquals(data, read.toByteArray());
        }
    }

    @Test
    void anUploadWorksInsideAnotherStream(@TempDir Path folder) throws IOException {
        try (Upload upload = vault.create(container, "größe/日本")) {
            OutputStream out = new BufferedOutputStream(upload);
            out.write(text("über"));
            out.flush();
            Version version = upload.commit();
            assertEquals("größe/日本", version.path());
            version.restore(folder.resolve("restored"));
        }
        assertEquals("über", Files.readString(folder.resolve("restored")));
    }

    @Test
    void aListedVersionGivesItsDataAndAListingIsReadOnce() throws IOException {
        Version stored = Store.put(vault, container, "p", text("data"));
        try (Listing<Version> versions = vault.versions(container, "p")) {
            List<Version> rows = new ArrayList<>();
            versions.forEach(rows::add);
            assertEquals(1, rows.size());
            Version listed = rows.get(0);
            assertEquals(stored.vid(), listed.vid());
            assertEquals(stored.recorded(), listed.recorded());
            assertEquals(Version.Kind.FULL, listed.kind());
            assertTrue(listed.parent().isEmpty());
            assertTrue(stored.manifestHash().isPresent());
            assertArrayEquals(stored.manifest(), listed.manifest());
            Keyring.Info key = keyring.info();
            assertEquals("ed25519 " + key.id(), key.publicKey().substring(0, "ed25519 ".length() + 16));
            Verdict verdict = Vault.verifyManifest(stored.manifest(), key.publicKey());
            assertEquals(Verdict.Status.GOOD, verdict.status());
            assertEquals(key.id(), verdict.keyId().orElseThrow());
            assertEquals(new Verdict.Info(container, "p", stored.vid(), Version.Kind.FULL, Optional.empty(), 4,
                    stored.initiated(), stored.recorded(), stored.manifestHash().orElseThrow()),
                    verdict.info().orElseThrow());
            assertThrows(IllegalStateException.class, versions::iterator);
        }
    }

    @Test
    void writesOfSeveralThreadsAreSerialized() throws Exception {
        byte[] block = new byte[1 << 16];
        Arrays.fill(block, (byte) 7);
        try (Upload upload = vault.create(container, "p")) {
            List<Thread> threads = new ArrayList<>();
            List<Throwable> failures = java.util.Collections.synchronizedList(new ArrayList<>());
            for (int n = 0; n < 4; n++) {
                Thread thread = new Thread(() -> {
                    try {
                        for (int i = 0; i < 40; i++) {
                            upload.write(block);
                        }
                    } catch (IOException e) {
                        failures.add(e);
                    }
                });
                thread.start();
                threads.add(thread);
            }
            for (Thread thread : threads) {
                thread.join();
            }
            assertEquals(List.of(), failures);
            assertEquals(160L << 16, upload.commit().size());
        }
    }

    @Test
    void unreachableObjectsAreGarbageCollected() throws IOException {
        Store.put(vault, container, "p", text("data"));
        List<WeakReference<?>> unreachable = List.of(
                new WeakReference<>(new Cancel()),
                new WeakReference<>(vault.create(container, "p")),
                new WeakReference<>(vault.find(container, "p")),
                new WeakReference<>(vault.find(container, "p").openStream()),
                new WeakReference<>(vault.containers()),
                new WeakReference<>(Keyring.generate()),
                new WeakReference<>(Store.open(null)));
        for (WeakReference<?> reference : unreachable) {
            assertTrue(afterGc(() -> reference.get() == null), () -> "not collected: " + reference.get());
        }
    }

    @Test
    void aHandleIsFreedWhenItsOwnerIsCollected() {
        List<Pointer> freed = java.util.Collections.synchronizedList(new ArrayList<>());
        Handle handle = new Handle("thing", Pointer.createConstant(8), freed::add);
        handle.ownedBy(new Object());
        assertTrue(afterGc(() -> !freed.isEmpty()));
        handle.close();
        assertEquals(List.of(Pointer.createConstant(8)), freed);
    }

    @Test
    void aClosedHandleIsFreedWhenItsLastCallEnds() throws S3VaultException {
        List<Pointer> freed = new ArrayList<>();
        Handle handle = new Handle("thing", Pointer.createConstant(8), freed::add);
        handle.enter();
        handle.enter();
        handle.close();
        handle.leave();
        assertClosed(handle::enter);
        assertEquals(List.of(), freed);
        handle.leave();
        assertEquals(List.of(Pointer.createConstant(8)), freed);
    }

    /** Runs the garbage collector until the condition holds, for at most a minute. */
    private static boolean afterGc(BooleanSupplier condition) {
        for (int i = 0; i < 600 && !condition.getAsBoolean(); i++) {
            System.gc();
            try {
                Thread.sleep(100);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
        return condition.getAsBoolean();
    }

    private List<UnfinishedUpload> uploads() throws IOException {
        try (Listing<UnfinishedUpload> uploads = vault.uploads(Control.NONE);
                Stream<UnfinishedUpload> stream = uploads.stream()) {
            return stream.filter(upload -> upload.container().equals(container)).toList();
        }
    }

    @Test
    void anUploadInProgressIsListedWithItsContainerAndPath() throws Exception {
        try (Upload upload = vault.create(container, "disk", PutOptions.NONE, Control.NONE)) {
            upload.write(new byte[20 << 20]);
            upload.flush();
            List<UnfinishedUpload> found = uploads();
            for (int i = 0; found.isEmpty() && i < 300; i++) {
                Thread.sleep(100);
                found = uploads();
            }
            assertEquals(List.of("disk"), found.stream().map(UnfinishedUpload::path).toList());
            assertFalse(found.get(0).uploadId().isEmpty());
            assertTrue(found.get(0).vid().isEmpty());
        }
    }
}
