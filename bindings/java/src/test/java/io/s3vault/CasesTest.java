package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertFalse;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicContainer;
import org.junit.jupiter.api.DynamicNode;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Runs {@code tests/cases/*.json}, the cases that all bindings share, each as a test of its own. */
class CasesTest {
    private static Keyring keyring;
    private static Vault vault;

    @TempDir
    static Path folder;

    @BeforeAll
    static void open() throws IOException {
        keyring = Keyring.generate();
        vault = Store.open(keyring);
    }

    @AfterAll
    static void close() {
        if (vault != null) {
            vault.close();
        }
    }

    @TestFactory
    List<DynamicNode> cases() throws IOException {
        String named = System.getenv("S3VAULT_CASES");
        Path cases = Path.of(named != null ? named : System.getProperty("s3vault.cases", "../../tests/cases"));
        List<DynamicNode> nodes = new ArrayList<>();
        try (Stream<Path> files = Files.list(cases)) {
            for (Path file : files.filter(f -> f.toString().endsWith(".json")).sorted().toList()) {
                nodes.add(casesOf(file));
            }
        }
        assertFalse(nodes.isEmpty(), () -> "there are no cases in " + cases.toAbsolutePath());
        return nodes;
    }

    private static DynamicNode casesOf(Path file) throws IOException {
        JsonObject read = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
        List<DynamicNode> tests = new ArrayList<>();
        for (JsonElement element : read.getAsJsonArray("cases")) {
            JsonObject one = element.getAsJsonObject();
            // This binding has none of the features that a case may need.
            if (one.has("needs")) {
                System.out.println("skip " + one.get("name").getAsString() + ": needs " + one.get("needs").getAsString());
                continue;
            }
            String encryption = one.has("encryption") ? one.get("encryption").getAsString() : null;
            if (encryption != null && !encryption.equals(System.getenv("S3VAULT_ENCRYPTION"))) {
                System.out.println(
                        "skip " + one.get("name").getAsString() + ": S3VAULT_ENCRYPTION is not " + encryption);
                continue;
            }
            tests.add(DynamicTest.dynamicTest(one.get("name").getAsString(), () -> run(one)));
        }
        assertFalse(tests.isEmpty(), () -> "there are no cases to run in " + file.toAbsolutePath());
        return DynamicContainer.dynamicContainer(file.getFileName().toString(), tests);
    }

    /** Prints the name of a failed case, since Maven's summary shows only its number. */
    private static void run(JsonObject one) throws IOException {
        try {
            runCase(one);
        } catch (IOException | RuntimeException | AssertionError e) {
            System.out.println("fail " + one.get("name").getAsString() + ": " + e);
            throw e;
        }
    }

    private static void runCase(JsonObject one) throws IOException {
        if (one.has("verify")) {
            VerifyCase.run(one);
            return;
        }
        try (CaseSteps steps = new CaseSteps(vault, keyring, folder)) {
            steps.run(one.getAsJsonArray("steps"));
        }
    }
}
