package io.s3vault;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Stream;

/** Runs the steps of one case, and keeps the versions that they save. */
final class CaseSteps implements AutoCloseable {
    private static final int CHUNK = 1 << 20;
    /** Who can open the escrow files of the cases. */
    private static final String RECIPIENT = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef";

    private final Keyring own;
    private final Path folder;
    private final Map<String, Version> saved = new HashMap<>();
    private final List<AutoCloseable> opened = new ArrayList<>();
    private Vault vault;
    /** The keyring that the case has made. */
    private Keyring made;

    CaseSteps(Vault vault, Keyring own, Path parent) throws IOException {
        this.vault = vault;
        this.own = own;
        this.folder = Files.createTempDirectory(parent, "case");
    }

    void run(JsonArray steps) throws IOException {
        for (JsonElement element : steps) {
            JsonObject step = element.getAsJsonObject();
            if (!step.has("error")) {
                run(step);
                continue;
            }
            S3VaultException e = assertThrows(S3VaultException.class, () -> run(step), step::toString);
            assertEquals(step.get("error").getAsString(), e.name(), () -> step + " failed with " + e);
            assertFalse(e.detail().isEmpty(), e.name());
            assertEquals(e.name(), e.code().symbol());
            assertTrue(e.code().hint().isEmpty() || !e.hint().isEmpty(), () -> e.name() + " has no hint");
        }
    }

    private void run(JsonObject step) throws IOException {
        switch (step.get("do").getAsString()) {
            case "put" -> put(step);
            case "suspend" -> suspend(step);
            case "abandon" -> abandon(step);
            case "get" -> get(step);
            case "rm" -> remove(step);
            case "undelete" -> undelete(step);
            case "delete" -> delete(step);
            case "prune", "sweep", "rotate", "rekey" -> job(step);
            case "versions" -> versions(step);
            case "paths" -> paths(step);
            case "chain" -> chain(step);
            case "containers" -> containers(step);
            case "vault" -> openVault(step);
            default -> throw new AssertionError("unknown step: " + step);
        }
    }

    private void put(JsonObject step) throws IOException {
        String container = text(step, "container", null);
        String path = text(step, "path", null);
        Version version;
        // Java has no file descriptors: a step that uses one uses a file's name here.
        if (!text(step, "from", "stream").equals("stream")) {
            Path file = Files.createTempFile(folder, "put", null);
            try (InputStream data = data(step)) {
                Files.copy(data, file, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
                version = vault.put(container, path, file, putOptions(step), Control.NONE);
            } finally {
                Files.delete(file);
            }
        } else {
            try (Upload upload = vault.create(container, path, putOptions(step), Control.NONE)) {
                writeTo(step, upload, size(step));
                version = upload.commit();
            }
        }
        if (step.has("checkpoint")) {
            assertFalse(Files.exists(checkpoint(step)), "the checkpoint of a stored backup still exists");
        }
        assertEquals(container, version.container());
        assertEquals(path, version.path());
        assertEquals(size(step), version.size());
        assertEquals(26, version.vid().length());
        if (step.has("save")) {
            saved.put(step.get("save").getAsString(), version);
        }
    }

    private void remove(JsonObject step) throws IOException {
        Version deleted = vault.delete(text(step, "container", null), text(step, "path", null));
        assertEquals(Version.Kind.DELETED, deleted.kind());
        saved.put(text(step, "save", ""), deleted);
    }

    private void undelete(JsonObject step) throws IOException {
        try (Version newest = vault.undelete(text(step, "container", null), text(step, "path", null))) {
            assertEquals(substitute(text(step, "expect", null)), newest.vid());
        }
    }

    private void delete(JsonObject step) throws IOException {
        FindOptions options = FindOptions.NONE.withVersion(substitute(text(step, "version", null)));
        try (Version version = vault.find(
                text(step, "container", null), text(step, "path", null), options, Control.NONE)) {
            version.delete();
        }
    }

    private void job(JsonObject step) throws IOException {
        Map<String, String> options = map(step, "options");
        options.put(Option.CONTAINER, text(step, "container", ""));
        List<String> items = new ArrayList<>();
        Consumer<JobItem> onItem =
                item -> items.add(item.action().name().toLowerCase(Locale.ROOT) + " " + item.vid().orElse(""));
        JobReport report = switch (text(step, "do", null)) {
            case "prune" -> vault.prune(new PruneOptions(options), onItem, Control.NONE);
            case "sweep" -> vault.sweep(new SweepOptions(options), onItem, Control.NONE);
            case "rotate" -> vault.rotate(new RotateOptions(options), onItem, Control.NONE);
            default -> vault.rekey(new RekeyOptions(options), onItem, Control.NONE);
        };
        List<String> expected = texts(step, "expect").stream()
                .map(item -> item.split(" "))
                .map(words -> words[0] + " " + substitute(words[1]))
                .toList();
        assertEquals(expected, items);
        assertEquals(0, report.problems());
        assertEquals(
                items.size(),
                report.kept() + report.deleted() + report.freed() + report.waiting() + report.rotated()
                        + report.rekeyed() + report.left());
        if (step.has("report")) {
            step.getAsJsonObject("report")
                    .asMap()
                    .forEach((name, number) -> assertEquals(number.getAsLong(), number(report, name), name));
        }
    }

    /** A number of the report by the name that it has in JSON. */
    private static long number(JobReport report, String name) {
        return switch (name) {
            case "versions" -> report.versions();
            case "kept" -> report.kept();
            case "waiting" -> report.waiting();
            case "rotated" -> report.rotated();
            case "rekeyed" -> report.rekeyed();
            case "rekeyed_bytes" -> report.rekeyedBytes();
            case "left" -> report.left();
            default -> throw new AssertionError("this runner does not know the number " + name);
        };
    }

    private void suspend(JsonObject step) throws IOException {
        try (Cancel cancel = new Cancel();
                Upload upload = vault.create(
                        text(step, "container", null), text(step, "path", null), putOptions(step),
                        Control.NONE.withCancel(cancel))) {
            writeTo(step, upload, step.get("after").getAsLong());
            if (step.has("cancel")) {
                cancel.trigger();
                upload.write(0);
                S3VaultException e = assertThrows(S3VaultException.class, upload::flush);
                assertEquals(ErrorCode.CANCELLED, e.code());
            }
            upload.suspend();
            assertThrows(S3VaultException.class, () -> upload.write(0), "a write to a suspended upload");
        }
        assertTrue(Files.exists(checkpoint(step)), "the checkpoint of a suspended backup is gone");
    }

    /** Writes from the upload's offset, which must be within {@code resumes_at}, up to byte {@code end}. */
    private static void writeTo(JsonObject step, Upload upload, long end) throws IOException {
        long start = upload.offset();
        if (step.has("resumes_at")) {
            JsonArray bounds = step.getAsJsonArray("resumes_at");
            assertTrue(bounds.get(0).getAsLong() <= start && start <= bounds.get(1).getAsLong()
                    && start % (8 << 20) == 0, () -> "the upload resumes at byte " + start);
        }
        write(step, upload, start, end);
        assertEquals(end, upload.offset());
    }

    private Path checkpoint(JsonObject step) {
        return folder.resolve(text(step, "checkpoint", null) + ".checkpoint");
    }

    private void abandon(JsonObject step) throws IOException {
        try (Upload upload = vault.create(
                text(step, "container", null), text(step, "path", null), putOptions(step), Control.NONE)) {
            write(step, upload, 0, size(step));
            upload.abort();
        }
    }

    private void get(JsonObject step) throws IOException {
        FindOptions options = new FindOptions(map(step, "options"));
        try (Version version = vault.find(
                        text(step, "container", null), text(step, "path", null), options, Control.NONE);
                InputStream expected = data(step)) {
            String to = text(step, "to", "stream");
            Map<String, String> reading = map(step, "reading");
            if (to.equals("pread")) {
                try (Download download = version.openStream(new GetOptions(reading), Control.NONE)) {
                    assertSame(expected, readBackwards(download, version.size()));
                }
            } else if (!to.equals("stream")) {
                Path file = folder.resolve("got-" + version.vid());
                version.restore(file, new RestoreOptions(reading), Control.NONE);
                try (InputStream restored = Files.newInputStream(file)) {
                    assertSame(expected, restored);
                } finally {
                    Files.delete(file);
                }
            } else {
                try (Download download = version.openStream(new GetOptions(reading), Control.NONE)) {
                    assertSame(expected, download);
                }
            }
        }
    }

    private void versions(JsonObject step) throws IOException {
        List<String> expected = texts(step, "expect").stream().map(this::substitute).toList();
        ListOptions options = new ListOptions(map(step, "options"));
        try (Listing<Version> versions = vault.versions(
                text(step, "container", null), text(step, "path", null), options, Control.NONE)) {
            assertEquals(expected, all(versions, Version::vid));
        }
    }

    private void chain(JsonObject step) throws IOException {
        List<String> expected = texts(step, "expect").stream().map(this::substitute).toList();
        FindOptions options = new FindOptions(map(step, "options"));
        try (Version version = vault.find(
                        text(step, "container", null), text(step, "path", null), options, Control.NONE);
                Listing<Version> chain = version.chain()) {
            assertEquals(expected, all(chain, Version::vid));
        }
    }

    private void paths(JsonObject step) throws IOException {
        ListOptions options = new ListOptions(map(step, "options"));
        try (Listing<Version> paths = vault.paths(
                text(step, "container", null), text(step, "prefix", null), options, Control.NONE)) {
            assertEquals(texts(step, "expect"), all(paths, Version::path));
        }
    }

    private void containers(JsonObject step) throws IOException {
        try (Listing<String> containers = vault.containers()) {
            List<String> names = all(containers, Function.identity());
            texts(step, "includes").forEach(name -> assertTrue(names.contains(name), () -> name + " in " + names));
            texts(step, "excludes").forEach(name -> assertFalse(names.contains(name), () -> name + " in " + names));
        }
    }

    private void openVault(JsonObject step) throws IOException {
        Keyring keyring = switch (text(step, "keyring", "own")) {
            case "own" -> own;
            case "new" -> made = Keyring.generate();
            case "rotated" -> rotated(made);
            case "none" -> null;
            default -> throw new AssertionError("unknown keyring: " + step);
        };
        Vault second = Store.open(keyring, map(step, "settings"));
        opened.add(second);
        vault = second;
    }

    /** Makes another key-encryption key current. */
    private static Keyring rotated(Keyring keyring) throws IOException {
        String kek = keyring.add();
        keyring.export(List.of(RECIPIENT), null, null);
        keyring.activate(kek);
        return keyring;
    }

    @Override
    public void close() throws IOException {
        for (AutoCloseable one : opened) {
            try {
                one.close();
            } catch (Exception e) {
                throw new IOException(e);
            }
        }
    }

    /** Writes the data in pieces of the step's size; the flush passes each to the library as it is. */
    private static void write(JsonObject step, Upload upload, long start, long end) throws IOException {
        int chunk = step.has("chunk") ? step.get("chunk").getAsInt() : CHUNK;
        try (InputStream data = data(step)) {
            data.skipNBytes(start);
            byte[] piece;
            for (long at = start; at < end; at += piece.length) {
                piece = data.readNBytes((int) Math.min(chunk, end - at));
                upload.write(piece);
                upload.flush();
            }
        }
    }

    /** Reads by position, the last piece first, into a direct and a heap buffer in turn. */
    private static InputStream readBackwards(Download download, long size) throws IOException {
        int piece = 5_000_000;
        byte[] all = new byte[Math.toIntExact(size)];
        assertEquals(-1, download.readAt(ByteBuffer.allocate(10), size), "bytes after the end");
        for (int start = all.length / piece * piece; start >= 0; start -= piece) {
            ByteBuffer into = start / piece % 2 == 0 ? ByteBuffer.allocateDirect(piece) : ByteBuffer.allocate(piece);
            int expected = Math.min(piece, all.length - start);
            int count = download.readAt(into, start);
            assertEquals(expected == 0 ? -1 : expected, count);
            if (count < 0) {
                continue;
            }
            into.flip().get(all, start, count);
        }
        return new ByteArrayInputStream(all);
    }

    private static InputStream data(JsonObject step) {
        JsonObject data = step.has("data") ? step.getAsJsonObject("data") : new JsonObject();
        if (data.has("size")) {
            return new Data(data.get("size").getAsLong(), seed(data)).stream();
        }
        return new ByteArrayInputStream(text(data, "text", "").getBytes(StandardCharsets.UTF_8));
    }

    private static long seed(JsonObject data) {
        return data.has("seed") ? data.get("seed").getAsBigInteger().longValue() : 0;
    }

    private static long size(JsonObject step) {
        JsonObject data = step.getAsJsonObject("data");
        return data.has("size")
                ? data.get("size").getAsLong()
                : data.get("text").getAsString().getBytes(StandardCharsets.UTF_8).length;
    }

    private static void assertSame(InputStream expected, InputStream actual) throws IOException {
        byte[] piece;
        for (long at = 0; (piece = expected.readNBytes(CHUNK)).length > 0; at += piece.length) {
            long offset = at;
            assertArrayEquals(piece, actual.readNBytes(piece.length), () -> "the bytes from " + offset);
        }
        assertEquals(-1, actual.read(), "the version has more bytes than were stored");
    }

    /** The options as the step has them, so that a case may give a wrong one. */
    private PutOptions putOptions(JsonObject step) {
        PutOptions options = new PutOptions(map(step, "options"));
        return step.has("checkpoint") ? options.withCheckpoint(checkpoint(step)) : options;
    }

    private Map<String, String> map(JsonObject step, String field) {
        Map<String, String> read = new HashMap<>();
        if (step.has(field)) {
            step.getAsJsonObject(field)
                    .entrySet()
                    .forEach(entry -> read.put(entry.getKey(), substitute(entry.getValue().getAsString())));
        }
        return read;
    }

    /** {@code $name} is the saved version's id, {@code $name.hash} its manifest's hash. */
    private String substitute(String text) {
        if (!text.startsWith("$")) {
            return text;
        }
        boolean hash = text.endsWith(".hash");
        String name = text.substring(1, text.length() - (hash ? ".hash".length() : 0));
        Version version = saved.get(name);
        if (version == null) {
            throw new AssertionError("the case saved no " + name);
        }
        return hash ? version.manifestHash().orElseThrow() : version.vid();
    }

    private static <T> List<String> all(Listing<T> listing, Function<T, String> name) {
        try (Stream<T> stream = listing.stream()) {
            return stream.map(name).toList();
        }
    }

    private static List<String> texts(JsonObject step, String field) {
        List<String> read = new ArrayList<>();
        if (step.has(field)) {
            step.getAsJsonArray(field).forEach(element -> read.add(element.getAsString()));
        }
        return read;
    }

    private static String text(JsonObject step, String field, String otherwise) {
        return step.has(field) && !step.get(field).isJsonNull() ? step.get(field).getAsString() : otherwise;
    }
}
