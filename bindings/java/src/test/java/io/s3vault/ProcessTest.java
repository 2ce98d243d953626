package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.s3vault.examples.Backup;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Tests that need a JVM of their own: the example, and a library that cannot be loaded. */
class ProcessTest {
    @TempDir
    Path folder;

    private record Result(int exit, byte[] out, String err) {
        String text() {
            return new String(out, StandardCharsets.UTF_8);
        }
    }

    /** Loads the library twice, and prints the result of each attempt. */
    static final class LoadsTwice {
        private LoadsTwice() {}

        public static void main(String[] args) {
            for (int i = 0; i < 2; i++) {
                try {
                    System.out.println(Library.version());
                } catch (UnsatisfiedLinkError e) {
                    System.out.println("UnsatisfiedLinkError: " + e.getMessage());
                }
            }
        }
    }

    private Result java(Map<String, String> environment, byte[] in, List<String> options, Class<?> main, String... args)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin/java").toString());
        ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
                .filter(argument -> argument.contains("native-access"))
                .forEach(command::add);
        command.addAll(options);
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
        command.addAll(List.of(args));
        Path err = Files.createTempFile(folder, "err", null);
        ProcessBuilder builder = new ProcessBuilder(command).redirectError(err.toFile());
        builder.environment().putAll(environment);
        Process process = builder.start();
        Thread writer = new Thread(() -> {
            try (OutputStream out = process.getOutputStream()) {
                out.write(in);
            } catch (IOException e) {
                // the process does not read its input
            }
        });
        writer.start();
        try (InputStream out = process.getInputStream()) {
            byte[] read = out.readAllBytes();
            return new Result(process.waitFor(), read, Files.readString(err));
        }
    }

    private Result backup(Map<String, String> environment, byte[] in, String... args)
            throws IOException, InterruptedException {
        return java(environment, in, List.of(), Backup.class, args);
    }

    @Test
    void theExampleStoresListsAndRestores() throws Exception {
        Path keyring = folder.resolve("keyring");
        Keyring.create(keyring).close();
        Map<String, String> environment = Store.environment(Map.of("S3VAULT_KEYRING", keyring.toString()));
        String container = Store.container();
        byte[] first = new Data(3_000_001, 1).bytes();
        byte[] second = new Data(70_000, 2).bytes();
        Path file = Files.write(folder.resolve("second"), second);

        Result put = backup(environment, first, "put", container, "disk", "-");
        assertEquals(0, put.exit(), put.err());
        String vid = put.text().split("\t")[0];
        assertEquals(26, vid.length(), put.text());
        assertEquals(0, backup(environment, new byte[0], "put", container, "disk", file.toString()).exit());

        List<String> rows = backup(environment, new byte[0], "versions", container, "disk").text().lines().toList();
        assertEquals(2, rows.size(), rows.toString());
        assertEquals(put.text().strip(), rows.get(1));
        assertTrue(rows.get(0).contains("\tfull\t70000\t"), rows.get(0));

        assertArrayEquals(second, backup(environment, new byte[0], "get", container, "disk", "-").out());
        Path restored = folder.resolve("restored");
        Result get = backup(environment, new byte[0], "get", container, "disk", restored.toString(), vid);
        assertEquals(0, get.exit(), get.err());
        assertArrayEquals(first, Files.readAllBytes(restored));
    }

    @Test
    void theExampleReportsErrors() throws Exception {
        Result missing = backup(Store.environment(Map.of("S3VAULT_KEYRING", "")), new byte[0],
                "get", Store.container(), "nothing", "-");
        assertEquals(1, missing.exit());
        assertTrue(missing.err().startsWith("S3V_E_NOT_FOUND: "), missing.err());
        assertEquals(2, backup(Map.of(), new byte[0], "frobnicate").exit());
    }

    @Test
    void theErrorForAFolderThatIsNotWritableNamesItEachTime() throws Exception {
        String bad = folder.resolve("missing/deeper").toString();
        Files.createFile(folder.resolve("missing"));
        Result result = java(Map.of(), new byte[0], List.of("-Djna.tmpdir=" + bad), LoadsTwice.class);
        List<String> lines = result.text().lines().toList();
        assertEquals(2, lines.size(), result.toString());
        for (String line : lines) {
            assertTrue(line.contains(bad) && line.contains("-Djna.tmpdir") && line.contains("noexec"), line);
        }
    }

    @Test
    void anotherLibraryWithTheSameNameIsRefused() throws Exception {
        String name = System.mapLibraryName("s3vault");
        try (InputStream jna = com.sun.jna.Native.class.getResourceAsStream(
                com.sun.jna.Platform.RESOURCE_PREFIX + "/libjnidispatch.so")) {
            Files.copy(jna, folder.resolve(name));
        }
        Result result = java(Map.of(), new byte[0], List.of("-Djna.library.path=" + folder), LoadsTwice.class);
        List<String> lines = result.text().lines().toList();
        assertEquals(2, lines.size(), result.toString());
        for (String line : lines) {
            assertTrue(line.contains(folder.resolve(name) + " lacks a function"), line);
        }
    }
}
