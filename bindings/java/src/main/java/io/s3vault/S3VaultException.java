package io.s3vault;

import com.sun.jna.Pointer;
import io.s3vault.internal.Native;
import java.io.IOException;

/** The one exception of this binding: what failed and why, what the store answered, and what to do about it. */
public final class S3VaultException extends IOException {
    private static final long serialVersionUID = 1;


    /** The code. */
    private final ErrorCode code;
    /** Number of the code. */
    private final int number;
    /** Name of the code. */
    private final String name;
    /** The message without the hint. */
    private final String detail;
    /** What to do about it. */
    private final String hint;
    /** HTTP status. */
    private final int httpStatus;
    /** Flags of the C interface. */
    private final int flags;
    /** S3's own code. */
    private final String s3Code;
    /** The store's request id. */
    private final String requestId;
    /** The S3 operation. */
    private final String operation;
    /** The bucket. */
    private final String bucket;
    /** The key. */
    private final String key;
    /** All fields as JSON. */
    private final String json;

    /** A misuse that this binding detects itself. */
    S3VaultException(ErrorCode code, String detail) {
        super(withHint(detail, code.hint()));
        this.code = code;
        this.number = code.number();
        this.name = code.symbol();
        this.detail = detail;
        this.hint = code.hint();
        this.httpStatus = 0;
        this.flags = Native.S3V_FLAG_MISUSE;
        this.s3Code = "";
        this.requestId = "";
        this.operation = "";
        this.bucket = "";
        this.key = "";
        this.json = "";
    }

    private S3VaultException(int rc, Pointer error) {
        super(withHint(field(error, Native.S3V_FIELD_MESSAGE), field(error, Native.S3V_FIELD_HINT)));
        this.code = ErrorCode.of(rc);
        this.number = rc;
        this.name = field(error, Native.S3V_FIELD_NAME);
        this.detail = field(error, Native.S3V_FIELD_MESSAGE);
        this.hint = field(error, Native.S3V_FIELD_HINT);
        this.httpStatus = Native.s3v_error_http_status(error);
        this.flags = Native.s3v_error_flags(error);
        this.s3Code = field(error, Native.S3V_FIELD_S3_CODE);
        this.requestId = field(error, Native.S3V_FIELD_REQUEST_ID);
        this.operation = field(error, Native.S3V_FIELD_OPERATION);
        this.bucket = field(error, Native.S3V_FIELD_BUCKET);
        this.key = field(error, Native.S3V_FIELD_KEY);
        this.json = field(error, Native.S3V_FIELD_JSON);
    }

    /** Reads and frees the error that a call returned. */
    static S3VaultException take(int rc, Pointer error) {
        try {
            return new S3VaultException(rc, error);
        } finally {
            Native.s3v_error_free(error);
        }
    }

    /** {@return the code} */
    public ErrorCode code() {
        return code;
    }

    /** {@return the number of the code in the C interface; it tells apart the codes that are UNKNOWN here} */
    public int number() {
        return number;
    }

    /** {@return the name of the code in the C interface, for example {@code S3V_E_NOT_FOUND}} */
    public String name() {
        return name;
    }

    /** {@return the message without the hint: what failed and why} */
    public String detail() {
        return detail;
    }

    /** {@return what to do about it; may be empty} */
    public String hint() {
        return hint;
    }

    /** {@return the HTTP status of the store's answer; 0 where it did not answer} */
    public int httpStatus() {
        return httpStatus;
    }

    /** {@return S3's own code, for example {@code NoSuchBucket}; empty where the store did not send one} */
    public String s3Code() {
        return s3Code;
    }

    /** {@return the store's id of the request, for its support; empty where the store did not send one} */
    public String requestId() {
        return requestId;
    }

    /** {@return the S3 operation, for example {@code PutObject}; empty where none was involved} */
    public String operation() {
        return operation;
    }

    /** {@return the bucket; empty where none was involved} */
    public String bucket() {
        return bucket;
    }

    /** {@return the key; empty where none was involved} */
    public String key() {
        return key;
    }

    /** {@return all fields as a JSON object, for a log; empty for a misuse that never reached the library} */
    public String json() {
        return json;
    }

    /** {@return whether the call itself is wrong, so that it would fail again} */
    public boolean isMisuse() {
        return (flags & Native.S3V_FLAG_MISUSE) != 0;
    }

    /** {@return whether the store answered and its answer is the problem} */
    public boolean isRemote() {
        return (flags & Native.S3V_FLAG_REMOTE) != 0;
    }

    /** {@return whether the store did not answer} */
    public boolean isTransport() {
        return (flags & Native.S3V_FLAG_TRANSPORT) != 0;
    }

    /** {@return whether this machine failed, or the call was cancelled} */
    public boolean isLocal() {
        return (flags & Native.S3V_FLAG_LOCAL) != 0;
    }

    /** {@return whether the same call may succeed later} */
    public boolean isRetryable() {
        return (flags & Native.S3V_FLAG_RETRYABLE) != 0;
    }

    /** {@return whether the request may have taken effect although the store did not answer} */
    public boolean isMaybeSent() {
        return (flags & Native.S3V_FLAG_MAYBE_SENT) != 0;
    }

    @Override
    public String toString() {
        return getClass().getName() + ": " + name + ": " + getMessage();
    }

    static String withHint(String detail, String hint) {
        return hint.isEmpty() ? detail : detail + " (" + hint + ")";
    }

    private static String field(Pointer error, int field) {
        String text = Native.s3v_error_get(error, field);
        return text == null ? "" : text;
    }
}
