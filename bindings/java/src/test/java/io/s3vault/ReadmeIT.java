package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The README's program and its commands, as they are in the README. They need the jar, so Maven runs this after it. */
class ReadmeIT {
    private static final Path JAVA = Path.of("").toAbsolutePath();

    @TempDir
    Path folder;

    /** The content of the first code block in this language that contains a text. */
    private static String block(String language, String contained) throws IOException {
        String readme = Files.readString(JAVA.resolve("README.md"));
        Matcher blocks = Pattern.compile("```" + language + "\n(.*?)```", Pattern.DOTALL).matcher(readme);
        return blocks.results()
                .map(block -> block.group(1))
                .filter(code -> code.contains(contained))
                .findFirst()
                .orElseThrow(() -> new AssertionError("the README has no " + language + " with " + contained));
    }

    /** Runs commands in the folder, where the repository's bindings are too. */
    private String run(String commands, Map<String, String> environment) throws IOException, InterruptedException {
        Path output = folder.resolve("output");
        ProcessBuilder builder = new ProcessBuilder("sh", "-e", "-c", commands)
                .directory(folder.toFile())
                .redirectErrorStream(true)
                .redirectOutput(output.toFile());
        builder.environment().putAll(environment);
        String path = Path.of(System.getProperty("java.home"), "bin") + ":" + System.getenv("PATH");
        builder.environment().put("PATH", path);
        int exit = builder.start().waitFor();
        assertEquals(0, exit, () -> {
            try {
                return commands + Files.readString(output);
            } catch (IOException e) {
                return commands + e;
            }
        });
        return Files.readString(output);
    }

    @Test
    void theProgramStoresAndRestores() throws Exception {
        Files.createSymbolicLink(folder.resolve("bindings"), JAVA.getParent());
        Files.writeString(folder.resolve("FirstBackup.java"), block("java", "class FirstBackup"));
        byte[] image = new Data(9 << 20, 1).bytes();
        Files.write(folder.resolve("disk.img"), image);
        Map<String, String> environment = Store.environment(Map.of("S3VAULT_KEYRING", "vault.keys"));
        run(block("sh", "FirstBackup.java"), environment);
        assertArrayEquals(image, Files.readAllBytes(folder.resolve("restored.img")));

        Files.delete(folder.resolve("restored.img"));
        run(block("sh", "io.s3vault.examples.Backup"), environment);
        assertArrayEquals(image, Files.readAllBytes(folder.resolve("restored.img")));
    }
}
