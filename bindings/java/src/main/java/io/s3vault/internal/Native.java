package io.s3vault.internal;

import com.sun.jna.Callback;
import com.sun.jna.Pointer;

/**
 * The functions of {@code include/s3vault.h}, under their own names and in its order; {@link Loader} binds them. Text
 * is UTF-8; {@code size_t} is {@code long}; handles, {@code s3v_ctl} and out-parameters are pointers.
 */
public final class Native {
    /** The {@code s3v_abi_version()} that this class declares. */
    public static final int ABI_VERSION = 0;

    /** {@code s3v_event_fn}. It must not throw: JNA would swallow the exception and return 0, which continues the call. */
    public interface EventFn extends Callback {
        int invoke(Pointer ctx, Pointer event);
    }

    private Native() {}

    public static native int s3v_abi_version();

    public static native String s3v_version_text();

    public static native String s3v_settings_json();

    public static native int s3v_process_set(String key, String value, Pointer err);

    public static native int s3v_process_stats(Pointer stats, Pointer err);

    public static native int s3v_shutdown(long timeoutMs, Pointer err);

    public static native int s3v_error_code(Pointer error);

    public static native int s3v_error_http_status(Pointer error);

    public static native int s3v_error_flags(Pointer error);

    public static native String s3v_error_get(Pointer error, int field);

    public static native void s3v_error_free(Pointer error);

    public static native Pointer s3v_bytes_data(Pointer bytes, Pointer len);

    public static native void s3v_bytes_free(Pointer bytes);

    public static native Pointer s3v_config_new();

    public static native int s3v_config_set(Pointer config, String key, String value, Pointer err);

    public static native int s3v_config_get(Pointer config, String key, Pointer out, Pointer err);

    public static native int s3v_config_load(Pointer config, String file, Pointer err);

    public static native int s3v_config_env(Pointer config, Pointer err);

    public static native void s3v_config_free(Pointer config);

    public static native Pointer s3v_cancel_new();

    public static native void s3v_cancel_trigger(Pointer cancel);

    public static native void s3v_cancel_free(Pointer cancel);

    public static native int s3v_keyring_open(
            String path, Pointer buf, long len, int create, Pointer out, Pointer err);

    public static native int s3v_keyring_info(Pointer keyring, Pointer out, Pointer err);

    public static native void s3v_keyring_free(Pointer keyring);

    public static native int s3v_vault_update(Pointer vault, Pointer config, Pointer ctl, Pointer err);

    public static native int s3v_vault_open(Pointer config, Pointer keyring, Pointer ctl, Pointer out, Pointer err);

    public static native void s3v_vault_free(Pointer vault);

    public static native int s3v_put_open(
            Pointer vault, String container, String path, Pointer options, Pointer ctl, Pointer out, Pointer err);

    public static native long s3v_put_offset(Pointer put);

    public static native int s3v_put_write(Pointer put, Pointer buf, long len, Pointer ctl, Pointer err);

    public static native int s3v_put_commit(Pointer put, Pointer ctl, Pointer out, Pointer err);

    public static native int s3v_put_suspend(Pointer put, Pointer ctl, Pointer err);

    public static native int s3v_put_abort(Pointer put, Pointer ctl, Pointer err);

    public static native void s3v_put_free(Pointer put);

    public static native int s3v_put_file(
            Pointer vault, String container, String path, String file, Pointer options, Pointer ctl, Pointer out,
            Pointer err);

    public static native int s3v_put_fd(
            Pointer vault, String container, String path, int fd, Pointer options, Pointer ctl, Pointer out,
            Pointer err);

    public static native int s3v_version_find(
            Pointer vault, String container, String path, Pointer options, Pointer ctl, Pointer out, Pointer err);

    public static native Pointer s3v_version_info(Pointer version);

    public static native int s3v_version_manifest(Pointer version, Pointer ctl, Pointer out, Pointer err);

    public static native void s3v_version_free(Pointer version);

    public static native int s3v_get_open(Pointer version, Pointer options, Pointer ctl, Pointer out, Pointer err);

    public static native int s3v_get_read(
            Pointer get, Pointer buf, long len, Pointer ctl, Pointer count, Pointer err);

    public static native int s3v_get_pread(
            Pointer get, long offset, Pointer buf, long len, Pointer ctl, Pointer count, Pointer err);

    public static native void s3v_get_free(Pointer get);

    public static native int s3v_get_file(Pointer version, String file, Pointer options, Pointer ctl, Pointer err);

    public static native int s3v_get_fd(Pointer version, int fd, Pointer options, Pointer ctl, Pointer err);

    public static native int s3v_list_versions(
            Pointer vault, String container, String path, Pointer options, Pointer ctl, Pointer out, Pointer err);

    public static native int s3v_list_containers(
            Pointer vault, Pointer options, Pointer ctl, Pointer out, Pointer err);

    public static native int s3v_list_paths(
            Pointer vault, String container, String prefix, Pointer options, Pointer ctl, Pointer out, Pointer err);

    public static native int s3v_list_next(Pointer list, Pointer ctl, Pointer row, Pointer err);

    public static native void s3v_list_free(Pointer list);

    public static native int s3v_manifest_verify(
            Pointer object, long len, String publicKeys, Pointer out, Pointer err);

    public static native int s3v_sign(
            Pointer config, long nowMs, String method, String url, String headers, String payloadHash, Pointer out,
            Pointer err);

    public static native int s3v_presign(
            Pointer config, long nowMs, String method, String url, String headers, int expiresS, Pointer out,
            Pointer err);

    public static native int s3v_explain(String request, String reply, Pointer out, Pointer err);
}
