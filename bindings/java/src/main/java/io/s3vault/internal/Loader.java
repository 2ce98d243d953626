package io.s3vault.internal;

import com.sun.jna.Library;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Platform;
import java.io.File;
import java.io.IOException;
import java.util.Map;

/**
 * Finds the native library, checks its ABI version, and binds {@link Native} to it. It searches the folders of
 * {@code jna.library.path}, then the jar, then the system's library path.
 */
public final class Loader {
    private static final String FILE = System.mapLibraryName("s3vault");

    private static boolean loaded;

    private Loader() {}

    /**
     * Loads the library unless it is loaded already. Each later call after a failure throws again, with the reason: a
     * static initializer would throw a NoClassDefFoundError without it from the second time on.
     *
     * @throws UnsatisfiedLinkError with what is missing and what to do about it
     */
    public static synchronized void load() {
        if (loaded) {
            return;
        }
        startJna();
        Map<String, Object> options = Map.of(
                Library.OPTION_STRING_ENCODING, "UTF-8",
                Library.OPTION_CLASSLOADER, Loader.class.getClassLoader());
        File file = find();
        NativeLibrary library;
        try {
            library = NativeLibrary.getInstance(file == null ? "s3vault" : file.getPath(), options);
        } catch (UnsatisfiedLinkError e) {
            throw failed(file == null
                    ? "Cannot find " + FILE + " for " + Platform.RESOURCE_PREFIX + ", neither in the jar nor in the"
                            + " system's library path. Set -Djna.library.path to the folder that contains it."
                    : "Cannot load " + file + ": " + firstLine(e) + ". If that folder is mounted noexec, set -Djna.tmpdir"
                            + " to another one, or -Djna.library.path to a folder that contains " + FILE + ".", e);
        }
        if (file != null && isUnpacked(file)) {
            file.delete(); // it is mapped, so the name is not needed any more
        }
        bind(library);
        loaded = true;
    }

    /** Starts JNA, which unpacks a library of its own and so fails first where unpacked code cannot run. */
    private static void startJna() {
        try {
            Class.forName("com.sun.jna.Native", true, Loader.class.getClassLoader());
        } catch (LinkageError e) {
            throw failed("JNA cannot load its own library from " + unpackFolder() + ": " + firstLine(e)
                    + ". The folder must be writable and not mounted noexec: set -Djna.tmpdir to another one, or install"
                    + " JNA's library and set -Djna.boot.library.path.", e);
        } catch (ClassNotFoundException e) {
            throw failed("JNA is not on the class path: add net.java.dev.jna:jna.", e);
        }
    }

    private static File find() {
        for (String folder : System.getProperty("jna.library.path", "").split(File.pathSeparator)) {
            File file = new File(folder, FILE);
            if (!folder.isEmpty() && file.isFile()) {
                return file.getAbsoluteFile();
            }
        }
        String resource = Platform.RESOURCE_PREFIX + "/" + FILE;
        if (Loader.class.getClassLoader().getResource(resource) == null) {
            return null;
        }
        try {
            return com.sun.jna.Native.extractFromResourcePath("/" + resource, Loader.class.getClassLoader());
        } catch (IOException e) {
            throw failed("Cannot unpack " + FILE + " from the jar into " + unpackFolder() + ": " + firstLine(e)
                    + ". Set -Djna.tmpdir to a folder that is writable and not mounted noexec, or -Djna.library.path to a"
                    + " folder that contains " + FILE + ".", e);
        }
    }

    private static void bind(NativeLibrary library) {
        int abi;
        try {
            abi = library.getFunction("s3v_abi_version").invokeInt(new Object[0]);
            if (abi == Native.S3V_ABI_VERSION) {
                com.sun.jna.Native.register(Native.class, library);
                return;
            }
        } catch (UnsatisfiedLinkError e) {
            throw failed(library.getFile() + " lacks a function: " + firstLine(e)
                    + ". Use the " + FILE + " that was built with this binding.", e);
        }
        throw failed(library.getFile() + " has ABI version " + abi + ", this binding needs " + Native.S3V_ABI_VERSION
                + ". Use the " + FILE + " that was built with this binding.", null);
    }

    /** Whether JNA unpacked the file: a library in a folder of the class path is used in place, copies get other names. */
    private static boolean isUnpacked(File file) {
        return !file.getName().equals(FILE);
    }

    private static String unpackFolder() {
        String folder = System.getProperty("jna.tmpdir");
        return folder != null ? folder : System.getProperty("java.io.tmpdir") + " (or the user's cache folder)";
    }

    private static String firstLine(Throwable e) {
        Throwable reason = e instanceof NoClassDefFoundError && e.getCause() != null ? e.getCause() : e;
        return String.valueOf(reason.getMessage()).lines().findFirst().orElse("");
    }

    private static UnsatisfiedLinkError failed(String message, Throwable cause) {
        UnsatisfiedLinkError error = new UnsatisfiedLinkError(message);
        error.initCause(cause);
        return error;
    }
}
