package io.s3vault;

import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Path;

/**
 * Checks a text before it becomes NUL-terminated UTF-8. A NUL would truncate it and an unpaired surrogate would become
 * '?', so that a backup would be stored under a different name.
 */
final class Text {
    private Text() {}

    /** Checks a container, path or prefix; null stays null. */
    static String name(String what, String text) throws S3VaultException {
        return check(ErrorCode.INVALID_NAME, what, text);
    }

    /** Checks any other text; null stays null. */
    static String argument(String what, String text) throws S3VaultException {
        return check(ErrorCode.INVALID_ARGUMENT, what, text);
    }

    /** The absolute name of a file of this machine. */
    static String file(Path file) throws S3VaultException {
        if (file.getFileSystem() != FileSystems.getDefault()) {
            throw new S3VaultException(
                    ErrorCode.INVALID_ARGUMENT, file.toUri() + " is not a file of the operating system");
        }
        return argument("file", file.toAbsolutePath().toString());
    }

    private static String check(ErrorCode code, String what, String text) throws S3VaultException {
        if (text != null && text.indexOf('\0') >= 0) {
            throw new S3VaultException(code, what + " contains a NUL character");
        }
        if (text != null && !StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new S3VaultException(code, what + " is not valid Unicode: it contains an unpaired surrogate");
        }
        return text;
    }
}
