package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Stops a call that hangs because the network does. */
class StoppingTest {
    private static final int SIZE = 24 << 20;
    private static final String CONTAINER = Store.container();
    private static Keyring keyring;

    private StallingProxy proxy;
    private Vault vault;
    private final CountDownLatch hangs = new CountDownLatch(1);
    private Throwable result;
    private boolean interruptedAfterwards;

    @BeforeAll
    static void storeABackup() throws IOException {
        keyring = Keyring.generate();
        try (Vault vault = Store.open(keyring)) {
            Store.put(vault, CONTAINER, "disk", new Data(SIZE, 7).bytes());
        }
    }

    @BeforeEach
    void open() throws IOException {
        proxy = new StallingProxy();
        vault = Store.open(keyring, Map.of(Option.API_URL, proxy.url()));
    }

    @AfterEach
    void close() throws IOException {
        vault.close();
        proxy.close();
    }

    private interface Call {
        void run() throws Exception;
    }

    /** Runs a call in a thread, and returns once a heartbeat shows that it hangs. */
    private Thread hang(Call call) throws InterruptedException {
        Thread thread = new Thread(() -> {
            try {
                call.run();
            } catch (Throwable e) {
                result = e;
            }
            interruptedAfterwards = Thread.currentThread().isInterrupted();
        });
        thread.start();
        assertTrue(hangs.await(60, TimeUnit.SECONDS), () -> "no heartbeat was sent; the call ended with " + result);
        return thread;
    }

    private void end(Thread thread) throws InterruptedException {
        thread.join(60_000);
        assertFalse(thread.isAlive(), "the call was not stopped");
        assertNotNull(result, "the call succeeded");
    }

    private Listener onHeartbeat(Call call) {
        return event -> {
            if (event.kind() == EventKind.HEARTBEAT) {
                call.run();
            }
        };
    }

    private Control untilItHangs() {
        return Control.NONE.withListener(onHeartbeat(hangs::countDown));
    }

    private Download download(Control control) throws IOException {
        Version version = vault.find(CONTAINER, "disk");
        proxy.stallAfter(1 << 20);
        return version.openStream(GetOptions.NONE, control);
    }

    @Test
    void anInterruptStopsARead() throws Exception {
        Download download = download(untilItHangs());
        Thread thread = hang(download::readAllBytes);
        thread.interrupt();
        end(thread);
        assertInstanceOf(InterruptedIOException.class, result);
        assertEquals(ErrorCode.STOPPED, ((S3VaultException) result.getCause()).code());
        assertTrue(interruptedAfterwards, "the thread is still interrupted");
        download.close();
    }

    @Test
    void anInterruptedPutOfAFileSaysHowToResume(@TempDir Path folder) throws Exception {
        Path file = Files.write(folder.resolve("disk"), new Data(SIZE, 7).bytes());
        PutOptions options = PutOptions.NONE.withCheckpoint(folder.resolve("checkpoint"));
        proxy.stallAfter(1 << 20);
        Thread thread = hang(() -> vault.put(CONTAINER, "file", file, options, untilItHangs()));
        thread.interrupt();
        end(thread);
        assertInstanceOf(InterruptedIOException.class, result);
        String hint = "to resume from the checkpoint " + folder.resolve("checkpoint");
        assertTrue(result.getMessage().contains(hint), result.getMessage());
    }

    @Test
    void aCloseByAnotherThreadStopsARead() throws Exception {
        Download download = download(untilItHangs());
        Thread thread = hang(download::readAllBytes);
        download.close();
        end(thread);
        assertEquals(ErrorCode.WRONG_STATE, assertInstanceOf(S3VaultException.class, result).code());
    }

    @Test
    void aCancelStopsARead() throws Exception {
        try (Cancel cancel = new Cancel();
                Download download = download(untilItHangs().withCancel(cancel))) {
            Thread thread = hang(download::readAllBytes);
            cancel.trigger();
            end(thread);
            assertEquals(ErrorCode.CANCELLED, assertInstanceOf(S3VaultException.class, result).code());
        }
    }

    @Test
    void theCallThrowsWhatItsListenerThrows() throws Exception {
        Exception thrown = new IllegalStateException("enough");
        try (Download download = download(Control.NONE.withListener(onHeartbeat(() -> {
            throw thrown;
        })))) {
            assertSame(thrown, assertThrows(IllegalStateException.class, download::readAllBytes));
        }
    }

    @Test
    void aCheckedExceptionOfAListenerBecomesACause() throws Exception {
        Exception thrown = new Exception("enough");
        try (Download download = download(Control.NONE.withListener(onHeartbeat(() -> {
            throw thrown;
        })))) {
            assertSame(thrown, assertThrows(IOException.class, download::readAllBytes).getCause());
        }
    }

    @Test
    void aStreamIsBusyInItsOwnListener() throws Exception {
        Download[] download = new Download[1];
        download[0] = download(Control.NONE.withListener(onHeartbeat(() -> download[0].read())));
        S3VaultException e = assertThrows(S3VaultException.class, download[0]::readAllBytes);
        assertEquals(ErrorCode.BUSY, e.code());
        download[0].close();
    }

    @Test
    void anInterruptStopsAnUploadAndTheCommitIsRefused() throws Exception {
        Upload upload = vault.create(CONTAINER, "interrupted", PutOptions.NONE, untilItHangs());
        proxy.stallAfter(1 << 20);
        Thread thread = hang(() -> {
            byte[] block = new byte[1 << 20];
            while (true) {
                upload.write(block);
            }
        });
        thread.interrupt();
        end(thread);
        assertInstanceOf(InterruptedIOException.class, result);
        S3VaultException e = assertThrows(S3VaultException.class, upload::commit);
        assertEquals(ErrorCode.WRONG_STATE, e.code());
        assertSame(result, e.getCause());
        upload.close();
    }

    @Test
    void aTimeoutEndsACall() throws Exception {
        try (Download download = download(Control.NONE.withTimeout(java.time.Duration.ofMillis(500)))) {
            S3VaultException e = assertThrows(S3VaultException.class, download::readAllBytes);
            assertEquals(ErrorCode.TIMED_OUT, e.code());
        }
    }

    @Test
    void anInterruptedThreadMakesNoCall() throws Exception {
        Thread.currentThread().interrupt();
        try {
            assertThrows(InterruptedIOException.class, () -> vault.find(CONTAINER, "disk"));
        } finally {
            assertTrue(Thread.interrupted());
        }
    }
}
