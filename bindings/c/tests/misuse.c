/* What a program can do wrong: each misuse is refused with the code that the header names, and with a message, or is a
 * no-op that the header names. Nothing crashes, no output is written, and the library works afterwards.
 *
 * Left out is what the header forbids without a way to notice it: a handle that was freed or is of another type, a pointer
 * to memory that does not exist, a struct that is shorter than its size says.
 *
 * Uses the store that the environment names, in its own container. Each test checks all of its misuses, and then ends the
 * program if one was not refused.
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

/* How many misuses there must be at least. */
#define LEAST 155

static int misuses, accepted;

/* The outputs of all calls that must fail. They point here, and must stay as they are. */
static struct {
    s3v_vault *vault;
    s3v_keyring *keyring;
    s3v_put *put;
    s3v_version *version;
    s3v_get *get;
    s3v_list *list;
    s3v_bytes *bytes;
    const s3v_row *row;
    size_t count;
} out, before;

/* The end of text that a log or a terminal would obey must not be in a message. */
static int is_printable(const char *text) {
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) return 0;
    return 1;
}

static void judge(int32_t rc, s3v_error *err, int32_t code, const char *call, int line) {
    const char *name = s3v_error_get(err, S3V_FIELD_NAME), *message = s3v_error_get(err, S3V_FIELD_MESSAGE);
    const char *hint = s3v_error_get(err, S3V_FIELD_HINT), *json = s3v_error_get(err, S3V_FIELD_JSON);
    const char *wrong = NULL;
    misuses++;
    if (rc != code) wrong = "another code";
    else if (err == NULL || s3v_error_code(err) != code) wrong = "no error, or another one";
    else if (*message == '\0' || (*hint == '\0' && code != S3V_E_CANCELLED) || strncmp(name, "S3V_E_", 6) != 0 || *json != '{') wrong = "an empty field";
    else if (strlen(message) > 8100 || strlen(hint) > 8100) wrong = "a long message";
    else if (!is_printable(message) || !is_printable(hint) || !is_printable(json)) wrong = "control characters";
    else if (code >= -19 && s3v_error_flags(err) != S3V_FLAG_MISUSE) wrong = "not the family of misuses";
    else if (memcmp(&out, &before, sizeof out) != 0) wrong = "an output was written";
    if (wrong != NULL) {
        accepted++;
        printf("FAIL line %d: %s\n  %s: returned %" PRId32 " instead of %" PRId32 ": %s: %.300s (%.300s)\n", line, call, wrong,
               rc, code, name == NULL ? "" : name, message == NULL ? "" : message, hint == NULL ? "" : hint);
        out = before;
    }
    s3v_error_free(err);
}

static void judge_silent(int32_t rc, int32_t code, const char *call, int line) {
    if (rc == code) return;
    accepted++;
    printf("FAIL line %d: %s\n  without err: returned %" PRId32 " instead of %" PRId32 "\n", line, call, rc, code);
}

/* A call that must fail with this code. It is made twice: with `err`, which the call names, and with NULL in its place. */
#define MISUSE(code, call) \
    do { \
        s3v_error *failure = NULL, **err = &failure; \
        int32_t rc = (call); \
        judge(rc, failure, (code), #call, __LINE__); \
        err = NULL; \
        judge_silent((call), (code), #call, __LINE__); \
    } while (0)

/* A misuse that the header defines as harmless. */
#define NO_OP(statement) \
    do { \
        misuses++; \
        CHECK(statement); \
    } while (0)

static const char not_utf8[] = "\xff\xfe", overlong[] = "a\xc0\x80", surrogate[] = "a\xed\xa0\x80", cut[] = "a\xe2\x82";

/* ---- what the tests need ---- */

static char folder[300];
static s3v_version *version; /* "twelve bytes" */
static s3v_keyring *keyring;

static const char *in_folder(const char *name) {
    static char path[4][400];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static void write_file(const char *path, const char *text, mode_t mode) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, mode);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

/* A config with one value. */
static s3v_config *with(const char *key, const char *value) {
    s3v_error *err = NULL;
    s3v_config *config = s3v_config_new();
    OK(s3v_config_set(config, key, value, &err));
    return config;
}

/* The environment's config, with one value changed. */
static s3v_config *environment_with(const char *key, const char *value) {
    s3v_error *err = NULL;
    s3v_config *config = s3v_config_new();
    OK(s3v_config_env(config, &err));
    OK(s3v_config_set(config, key, value, &err));
    return config;
}

static const char *repeated(char c, size_t length) {
    static char text[2][2000];
    static int next;
    next = !next;
    CHECK(length < sizeof text[next]);
    memset(text[next], c, length);
    text[next][length] = '\0';
    return text[next];
}

static void prepare(void) {
    s3v_error *err = NULL;
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/misuse.XXXXXX", parent == NULL ? "/tmp" : parent);
    CHECK(mkdtemp(folder) != NULL);
    memset(&out, 0x5a, sizeof out);
    before = out;
    version = store(vault, "stored", "twelve bytes", 12);
    OK(s3v_keyring_open(NULL, NULL, 0, 1, &keyring, &err));
}

/* ---- errors, bytes, the library ---- */

static void handles_that_are_null_are_freed_and_read_as_empty(void) {
    size_t length = 7;
    misuses += free_null();
    NO_OP(s3v_error_code(NULL) == 0);
    NO_OP(s3v_error_http_status(NULL) == 0);
    NO_OP(s3v_error_flags(NULL) == 0);
    NO_OP(s3v_error_get(NULL, S3V_FIELD_MESSAGE) == NULL);
    NO_OP(s3v_bytes_data(NULL, &length) == NULL && length == 0);
    NO_OP(s3v_bytes_data(NULL, NULL) == NULL);
    NO_OP(s3v_put_offset(NULL) == 0);
    NO_OP(s3v_version_info(NULL) == NULL);
}

static void a_field_that_an_error_does_not_have_is_null(void) {
    static const int32_t unknown[] = {-1, S3V_FIELD_JSON + 1, INT32_MIN, INT32_MAX};
    s3v_error *err = NULL;
    CHECK(s3v_config_set(NULL, "bucket", "b", &err) == S3V_E_INVALID_ARGUMENT);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) NO_OP(s3v_error_get(err, unknown[i]) == NULL);
    s3v_error_free(err);
}

static void the_process(void) {
    s3v_stats stats = {.size = 0, .memory = 77};
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_set(NULL, "64", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_set("connections", NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_set(not_utf8, "64", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_set("connections", not_utf8, err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_process_set("", "64", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_process_set("Connections", "64", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_process_set("\x1b[31mconnections\n", "64", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_process_set(repeated('k', 1900), "64", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("bucket", "b", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("kind", "full", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("connections", "0", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("connections", "4097", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("connections", "-1", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("connections", "1e3", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("memory", "33554431", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("memory", "64MB", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("bandwidth_up", "18446744073709551616", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_process_set("bandwidth_down", "\x1b[2J", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_stats(NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_stats(&stats, err));
    stats.size = 1;
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_stats(&stats, err));
    stats.size = sizeof stats - 1;
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_process_stats(&stats, err));
    CHECK(stats.memory == 77);
}

/* ---- configuration ---- */

static void settings(void) {
    s3v_config *config = s3v_config_new();
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(NULL, "bucket", "b", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(config, NULL, "b", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(config, "bucket", NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(config, not_utf8, "b", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(config, "bucket", overlong, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(config, "bucket", surrogate, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_set(config, "bucket", cut, err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_set(config, "", "b", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_set(config, "buckte", "b", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_set(config, " bucket", "b", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_set(config, "S3VAULT_BUCKET", "b", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_set(config, "bucket\n\x1b[31m", "b", err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_set(config, repeated('x', 1999), "b", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "mode", "two-buckets", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "path_style", "yes", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "path_style", "True", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "credentials", "static chain", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "connect_timeout_ms", "0", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "connect_timeout_ms", "600001", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "idle_timeout_ms", "-1", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "idle_timeout_ms", repeated('9', 400), err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "idle_timeout_ms", "0x10", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "as_of", "yesterday", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "as_of", "2026-02-30T00:00:00Z", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "as_of", "9223372036854775808", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "kind", "differential", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "verify", "never", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "holes", "1", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "provider", "\x1b[31m", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "bucket", "a\rb", err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_set(config, "secret_key", "a\rb", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_get(NULL, "bucket", &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_get(config, "bucket", NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_get(config, not_utf8, &out.bytes, err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_get(config, "", &out.bytes, err));
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_get(config, "bukket", &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_warnings(NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_warnings(config, NULL, err));
    s3v_config_free(config);
}

static void files_and_variables(void) {
    s3v_config *config = s3v_config_new();
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_load(NULL, "x.toml", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_load(config, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_load(config, not_utf8, err));
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, "", err));
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, in_folder("missing.toml"), err));
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, in_folder("\x1b[31m\nmissing.toml"), err));
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, folder, err));
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, repeated('f', 1999), err));
    write_file(in_folder("bad.toml"), "bucket = 'b'\nregion = {a = 1}\n", 0600);
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, in_folder("bad.toml"), err));
    write_file(in_folder("bad.toml"), "bucket = 'b'\n[region]\nname = 'r'\n", 0600);
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, in_folder("bad.toml"), err));
    write_file(in_folder("bad.toml"), "bucket = 'b'\nbuckte = 'c'\n", 0600);
    MISUSE(S3V_E_UNKNOWN_OPTION, s3v_config_load(config, in_folder("bad.toml"), err));
    write_file(in_folder("bad.toml"), "path_style = 7\n", 0600);
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_load(config, in_folder("bad.toml"), err));
    write_file(in_folder("bad.toml"), "bucket = \"\xff\"\n", 0600);
    MISUSE(S3V_E_CONFIG, s3v_config_load(config, in_folder("bad.toml"), err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_config_env(NULL, err));
    CHECK(setenv("S3VAULT_PATH_STYLE", "perhaps", 1) == 0);
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_env(config, err));
    CHECK(setenv("S3VAULT_PATH_STYLE", not_utf8, 1) == 0);
    MISUSE(S3V_E_INVALID_OPTION, s3v_config_env(config, err));
    CHECK(unsetenv("S3VAULT_PATH_STYLE") == 0);
    s3v_config_free(config);
}

/* ---- keyring ---- */

static void keyrings(void) {
    const char *path = in_folder("keys");
    write_file(path, "these are not keys", 0600);
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(path, NULL, 0, 0, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(NULL, NULL, 0, 0, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(NULL, NULL, 9, 0, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(NULL, "x", SIZE_MAX, 0, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(path, "x", 1, 0, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(NULL, "x", 1, 1, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(path, NULL, 0, 2, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(path, NULL, 0, -1, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_open(not_utf8, NULL, 0, 0, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open("", NULL, 0, 0, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open("", NULL, 0, 1, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open(path, NULL, 0, 0, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open(path, NULL, 0, 1, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open(folder, NULL, 0, 0, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open(folder, NULL, 0, 1, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open(in_folder("missing/keys"), NULL, 0, 1, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open("/dev/null", NULL, 0, 0, &out.keyring, err));
    MISUSE(S3V_E_KEYRING, s3v_keyring_open(NULL, "x\0y\xff", 4, 0, &out.keyring, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_info(NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_keyring_info(keyring, NULL, err));
}

/* ---- vault ---- */

/* Opens a vault with one setting changed, and makes the first request if it opened. */
static int32_t open_with(const char *key, const char *value, s3v_error **err) {
    s3v_config *config = environment_with(key, value);
    int32_t rc = s3v_vault_open(config, keyring, NULL, &out.vault, err);
    s3v_config_free(config);
    return rc;
}

static int32_t update_with(const char *key, const char *value, s3v_error **err) {
    s3v_error *first = NULL;
    s3v_config *config = s3v_config_new();
    check(s3v_config_set(config, "access_key", "somebody", &first) == 0, "access_key", __func__, __LINE__, first);
    check(s3v_config_set(config, "secret_key", "something", &first) == 0, "secret_key", __func__, __LINE__, first);
    check(s3v_config_set(config, key, value, &first) == 0, key, __func__, __LINE__, first);
    int32_t rc = s3v_vault_update(vault, config, NULL, err);
    s3v_config_free(config);
    return rc;
}

static void vaults(void) {
    s3v_config *empty = s3v_config_new();
    MISUSE(S3V_E_INVALID_OPTION, s3v_vault_open(NULL, keyring, NULL, &out.vault, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_vault_open(empty, keyring, NULL, &out.vault, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_vault_open(empty, keyring, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("kind", "full", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("checkpoint", "file", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "a/b", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "..", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "a\x1b[31mb", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "b\xc3\xbc" "cket", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", repeated('b', 1000), err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("bucket", "arn:aws:s3:::", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "ftp://127.0.0.1", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "127.0.0.1:9000", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "http://", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "http://127.0.0.1:99999", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "http://user:password@127.0.0.1", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "http://127.0.0.1/a?b", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "http://127.0.0.1\nx", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", "http://b\xc3\xbc" "cket", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("api_url", repeated('u', 1999), err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("region", "eu west", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("region", "eu\n1", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("region", "\x01", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("vault_id", "7", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("vault_id", repeated('A', 32), err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("verify_keys", "ed25519 x y", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("verify_keys", "\x1b[31m", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("proxy", "gopher://127.0.0.1", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("proxy", "http://127.0.0.1:x", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("proxy", "socks5://127.0.0.1:9", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("ca_file", in_folder("missing.pem"), err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("ca_file", folder, err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("ca_file", "/dev/null", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("access_key", "", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("secret_key", "", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("access_key", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("access_key", "a\x01", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("access_key", "k\xc3\xa4y", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("session_token", "a\nx-amz-acl: public-read", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("session_token", "a\x7f", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("storage_class", "A\nB", err));
    MISUSE(S3V_E_INVALID_OPTION, open_with("storage_class", "\x1b", err));
    MISUSE(S3V_E_SIGNATURE_REFUSED, open_with("secret_key", "another", err));
    MISUSE(S3V_E_UNKNOWN_ACCESS_KEY, open_with("access_key", "nobody", err));
    MISUSE(S3V_E_NO_SUCH_BUCKET, open_with("bucket", "no-such-bucket", err));
    MISUSE(S3V_E_VAULT_MISMATCH, open_with("vault_id", repeated('a', 32), err));
    MISUSE(S3V_E_CONNECT, open_with("api_url", "http://127.0.0.1:9", err));

    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_vault_update(NULL, empty, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_vault_update(vault, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_vault_update(vault, empty, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, update_with("secret_key", "", err));
    MISUSE(S3V_E_INVALID_OPTION, update_with("bucket", "b", err));
    MISUSE(S3V_E_INVALID_OPTION, update_with("kind", "full", err));
    MISUSE(S3V_E_INVALID_OPTION, update_with("session_token", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, update_with("access_key", "a\x01", err));
    MISUSE(S3V_E_UNKNOWN_ACCESS_KEY, update_with("secret_key", "another", err));
    s3v_config_free(empty);
}

/* ---- s3v_ctl ---- */

static void controls(void) {
    s3v_cancel *triggered = s3v_cancel_new();
    s3v_cancel_trigger(triggered);
    s3v_cancel_trigger(triggered); /* it stays triggered */
    misuses++;
    s3v_ctl ctl = {.size = 0};
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(vault, CONTAINER, "stored", NULL, &ctl, &out.version, err));
    ctl.size = 1;
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(vault, CONTAINER, "ctl", NULL, &ctl, &out.put, err));
    ctl.size = sizeof ctl - 1;
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_file(version, in_folder("ctl"), NULL, &ctl, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_file(vault, CONTAINER, "ctl", "/dev/null", NULL, &ctl, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_open(version, NULL, &ctl, &out.get, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_containers(vault, NULL, &ctl, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_manifest(version, &ctl, &out.bytes, err));
    ctl.size = sizeof ctl;
    ctl.cancel = triggered;
    MISUSE(S3V_E_CANCELLED, s3v_version_find(vault, CONTAINER, "stored", NULL, &ctl, &out.version, err));
    MISUSE(S3V_E_CANCELLED, s3v_get_file(version, in_folder("ctl"), NULL, &ctl, err));
    MISUSE(S3V_E_CANCELLED, s3v_put_file(vault, CONTAINER, "ctl", "/dev/null", NULL, &ctl, &out.version, err));
    s3v_cancel_free(triggered);

    /* The longest time limit is a time limit; a size that is larger than that of any version names fields of a later one. */
    s3v_error *err = NULL;
    s3v_version *found = NULL;
    s3v_ctl longest = {.size = UINT32_MAX, .timeout_ms = UINT64_MAX};
    OK(s3v_version_find(vault, CONTAINER, "stored", NULL, &longest, &found, &err));
    s3v_version_free(found);
    misuses++;
}

/* ---- put ---- */

static void names(void) {
    static const char *const containers[] = {"", ".", "..", " ..", "a/b", "/", "_s3vault"};
    static const char *const paths[] = {"", ".", "..", "/", "/a", "a/", "a//b", "a/../b", "../../etc/passwd", "a/. /b"};
    for (size_t i = 0; i < sizeof containers / sizeof *containers; i++) {
        MISUSE(S3V_E_INVALID_NAME, s3v_put_open(vault, containers[i], "p", NULL, NULL, &out.put, err));
        MISUSE(S3V_E_INVALID_NAME, s3v_version_find(vault, containers[i], "p", NULL, NULL, &out.version, err));
        MISUSE(S3V_E_INVALID_NAME, s3v_list_paths(vault, containers[i], NULL, NULL, NULL, &out.list, err));
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        MISUSE(S3V_E_INVALID_NAME, s3v_put_file(vault, CONTAINER, paths[i], "/dev/null", NULL, NULL, &out.version, err));
        MISUSE(S3V_E_INVALID_NAME, s3v_list_versions(vault, CONTAINER, paths[i], NULL, NULL, &out.list, err));
    }
    MISUSE(S3V_E_INVALID_NAME, s3v_put_open(vault, repeated('c', 201), "p", NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_NAME, s3v_put_open(vault, CONTAINER, repeated('p', 201), NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_NAME, s3v_put_open(vault, CONTAINER, repeated('p', 701), NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_NAME, s3v_put_open(vault, "\x1b[31m/\n", "p", NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(vault, not_utf8, "p", NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(vault, CONTAINER, surrogate, NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(vault, overlong, "p", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(vault, CONTAINER, cut, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_versions(vault, not_utf8, NULL, NULL, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_paths(vault, CONTAINER, not_utf8, NULL, NULL, &out.list, err));
}

static void null_arguments_of_a_put(void) {
    s3v_error *err = NULL;
    s3v_put *put = NULL;
    OK(s3v_put_open(vault, CONTAINER, "null", NULL, NULL, &put, &err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(NULL, CONTAINER, "p", NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(vault, NULL, "p", NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(vault, CONTAINER, NULL, NULL, NULL, &out.put, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_open(vault, CONTAINER, "p", NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_write(NULL, "x", 1, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_write(put, NULL, 1, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_write(put, "x", SIZE_MAX, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_write(put, "x", (size_t)INT64_MAX + 1, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_commit(NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_suspend(NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_abort(NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_file(NULL, CONTAINER, "p", "f", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_file(vault, NULL, "p", "f", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_file(vault, CONTAINER, NULL, "f", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_file(vault, CONTAINER, "p", NULL, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_file(vault, CONTAINER, "p", not_utf8, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_fd(NULL, CONTAINER, "p", 0, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_fd(vault, NULL, "p", 0, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_fd(vault, CONTAINER, NULL, 0, NULL, NULL, &out.version, err));
    NO_OP(s3v_put_write(put, NULL, 0, NULL, &err) == 0); /* with length 0 the pointer is ignored */
    NO_OP(s3v_put_write(put, "x", 0, NULL, &err) == 0);
    CHECK(s3v_put_offset(put) == 0);
    OK(s3v_put_abort(put, NULL, &err));
    s3v_put_free(put);
}

/* Starts a put with one option. */
static int32_t put_with(const char *key, const char *value, s3v_error **err) {
    s3v_config *options = with(key, value);
    int32_t rc = s3v_put_open(vault, CONTAINER, "options", options, NULL, &out.put, err);
    s3v_config_free(options);
    return rc;
}

static int32_t incremental_of(const char *parent, s3v_error **err) {
    s3v_error *first = NULL;
    s3v_config *options = with("kind", "incremental");
    check(s3v_config_set(options, "parent", parent, &first) == 0, parent, __func__, __LINE__, first);
    int32_t rc = s3v_put_file(vault, CONTAINER, "options", "/dev/null", options, NULL, &out.version, err);
    s3v_config_free(options);
    return rc;
}

static void options_of_a_put(void) {
    MISUSE(S3V_E_INVALID_OPTION, put_with("bucket", "b", err));
    MISUSE(S3V_E_INVALID_OPTION, put_with("version", "00000000000000000000000000", err));
    MISUSE(S3V_E_INVALID_OPTION, put_with("verify", "part", err));
    MISUSE(S3V_E_INVALID_OPTION, put_with("connections", "7", err));
    MISUSE(S3V_E_INVALID_OPTION, put_with("kind", "incremental", err));
    MISUSE(S3V_E_INVALID_OPTION, put_with("parent", "00000000000000000000000000", err));
    MISUSE(S3V_E_INVALID_OPTION, incremental_of("no version id", err));
    MISUSE(S3V_E_INVALID_OPTION, incremental_of("\x1b[31m", err));
    MISUSE(S3V_E_BAD_PARENT, incremental_of("00000000000000000000000000", err));
    MISUSE(S3V_E_BAD_PARENT, incremental_of(s3v_version_info(version)->vid, err)); /* of another path */
    MISUSE(S3V_E_BAD_CHECKPOINT, put_with("checkpoint", folder, err));
    MISUSE(S3V_E_BAD_CHECKPOINT, put_with("checkpoint", "/dev/null", err));
    write_file(in_folder("not-a-checkpoint"), "keep me", 0600);
    MISUSE(S3V_E_BAD_CHECKPOINT, put_with("checkpoint", in_folder("not-a-checkpoint"), err));
    write_file(in_folder("open-to-all"), "", 0600);
    CHECK(chmod(in_folder("open-to-all"), 0644) == 0);
    MISUSE(S3V_E_BAD_CHECKPOINT, put_with("checkpoint", in_folder("open-to-all"), err));
    CHECK(symlink("elsewhere", in_folder("link")) == 0);
    MISUSE(S3V_E_BAD_CHECKPOINT, put_with("checkpoint", in_folder("link"), err));
    MISUSE(S3V_E_IO, put_with("checkpoint", in_folder("missing/checkpoint"), err));
}

static void sources(void) {
    int write_only = open(in_folder("target"), O_CREAT | O_WRONLY, 0600), directory = open(folder, O_RDONLY);
    int closed = dup(write_only);
    CHECK(write_only >= 0 && directory >= 0 && closed >= 0 && close(closed) == 0);
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_fd(vault, CONTAINER, "fd", -1, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_put_fd(vault, CONTAINER, "fd", INT32_MIN, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_fd(vault, CONTAINER, "fd", closed, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_fd(vault, CONTAINER, "fd", INT32_MAX, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_fd(vault, CONTAINER, "fd", directory, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_file(vault, CONTAINER, "file", "", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_file(vault, CONTAINER, "file", folder, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_file(vault, CONTAINER, "file", in_folder("missing"), NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_file(vault, CONTAINER, "file", in_folder("\x1b[31m\n"), NULL, NULL, &out.version, err));
    MISUSE(S3V_E_IO, s3v_put_file(vault, CONTAINER, "file", repeated('f', 1999), NULL, NULL, &out.version, err));
    CHECK(write(write_only, "x", 1) == 1);
    MISUSE(S3V_E_IO, s3v_put_fd(vault, CONTAINER, "fd", write_only, NULL, NULL, &out.version, err));
    close(write_only);
    close(directory);
}

static void calls_after_the_last_one(void) {
    s3v_error *err = NULL;
    s3v_version *stored = NULL;
    for (int ending = 0; ending < 3; ending++) {
        s3v_put *put = NULL;
        OK(s3v_put_open(vault, CONTAINER, "ended", NULL, NULL, &put, &err));
        OK(s3v_put_write(put, "x", 1, NULL, &err));
        switch (ending) {
        case 0: OK(s3v_put_commit(put, NULL, &stored, &err)); break;
        case 1: OK(s3v_put_suspend(put, NULL, &err)); break;
        default: OK(s3v_put_abort(put, NULL, &err)); break;
        }
        MISUSE(S3V_E_WRONG_STATE, s3v_put_write(put, "x", 1, NULL, err));
        MISUSE(S3V_E_WRONG_STATE, s3v_put_commit(put, NULL, &out.version, err));
        MISUSE(S3V_E_WRONG_STATE, s3v_put_suspend(put, NULL, err));
        MISUSE(S3V_E_WRONG_STATE, s3v_put_abort(put, NULL, err));
        s3v_put_free(put);
    }
    s3v_version_free(stored);

    /* A suspended put says so, and keeps its checkpoint. */
    s3v_put *put = NULL;
    s3v_config *options = with("checkpoint", in_folder("checkpoint"));
    OK(s3v_put_open(vault, CONTAINER, "suspended", options, NULL, &put, &err));
    OK(s3v_put_suspend(put, NULL, &err));
    MISUSE(S3V_E_SUSPENDED, s3v_put_write(put, "x", 1, NULL, err));
    MISUSE(S3V_E_SUSPENDED, s3v_put_commit(put, NULL, &out.version, err));
    MISUSE(S3V_E_SUSPENDED, s3v_put_suspend(put, NULL, err));
    MISUSE(S3V_E_SUSPENDED, s3v_put_abort(put, NULL, err));
    s3v_put_free(put);
    CHECK(access(in_folder("checkpoint"), F_OK) == 0);
    put = NULL;
    OK(s3v_put_open(vault, CONTAINER, "suspended", options, NULL, &put, &err));
    MISUSE(S3V_E_BUSY, s3v_put_open(vault, CONTAINER, "suspended", options, NULL, &out.put, err));
    MISUSE(S3V_E_BUSY, s3v_put_file(vault, CONTAINER, "suspended", "/dev/null", options, NULL, &out.version, err));
    OK(s3v_put_abort(put, NULL, &err));
    CHECK(access(in_folder("checkpoint"), F_OK) != 0);
    MISUSE(S3V_E_WRONG_STATE, s3v_put_suspend(put, NULL, err));
    s3v_put_free(put);
    s3v_config_free(options);
}

/* ---- version and get ---- */

static int32_t find_with(const char *key, const char *value, s3v_error **err) {
    s3v_config *options = with(key, value);
    int32_t rc = s3v_version_find(vault, CONTAINER, "stored", options, NULL, &out.version, err);
    s3v_config_free(options);
    return rc;
}

static void versions(void) {
    s3v_error *first = NULL;
    s3v_config *both = with("version", s3v_version_info(version)->vid);
    check(s3v_config_set(both, "as_of", "0", &first) == 0, "as_of", __func__, __LINE__, first);
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(NULL, CONTAINER, "stored", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(vault, NULL, "stored", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(vault, CONTAINER, NULL, NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_find(vault, CONTAINER, "stored", NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_version_find(vault, CONTAINER, "stored", both, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_OPTION, find_with("version", "7U", err));
    MISUSE(S3V_E_INVALID_OPTION, find_with("version", repeated('\x1b', 1900), err));
    MISUSE(S3V_E_INVALID_OPTION, find_with("kind", "full", err));
    MISUSE(S3V_E_INVALID_OPTION, find_with("holes", "true", err));
    MISUSE(S3V_E_NOT_FOUND, find_with("version", "00000000000000000000000000", err));
    MISUSE(S3V_E_NOT_FOUND, find_with("as_of", "0", err));
    MISUSE(S3V_E_NOT_FOUND, find_with("as_of", "-9223372036854775808", err));
    MISUSE(S3V_E_PIN_MISMATCH, find_with("pin", "no hash", err));
    MISUSE(S3V_E_PIN_MISMATCH, find_with("pin", "\x1b[31m", err));
    MISUSE(S3V_E_NOT_FOUND, s3v_version_find(vault, CONTAINER, "never\n\x1b[31m", NULL, NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_manifest(NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_manifest(version, NULL, NULL, err));
    s3v_config_free(both);
}

static int32_t job_with(int is_prune, const char *key, const char *value, s3v_error **err) {
    s3v_config *options = with(key, value);
    int32_t rc = (is_prune ? s3v_prune : s3v_sweep)(vault, options, NULL, &out.bytes, err);
    s3v_config_free(options);
    return rc;
}

static void deletions_and_jobs(void) {
    s3v_config *wrong = with("kind", "full");
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_vault_init(NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_version_delete(NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_version_delete(version, wrong, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_delete(NULL, CONTAINER, "stored", NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_delete(vault, NULL, "stored", NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_delete(vault, CONTAINER, NULL, NULL, &out.version, err));
    /* Without a place for the result nothing is deleted: the tests after this one still find the version. */
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_delete(vault, CONTAINER, "stored", NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_delete(vault, overlong, "stored", NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_NAME, s3v_delete(vault, "..", "stored", NULL, &out.version, err));
    MISUSE(S3V_E_NOT_FOUND, s3v_delete(vault, CONTAINER, "never", NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_undelete(NULL, CONTAINER, "stored", NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_undelete(vault, CONTAINER, "stored", NULL, NULL, err));
    MISUSE(S3V_E_NOT_FOUND, s3v_undelete(vault, CONTAINER, "stored", NULL, &out.version, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_prune(NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_prune(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_prune(vault, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_prune(vault, wrong, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, job_with(1, "retention_full_versions", "0", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sweep(NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_rotate(NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_rotate(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_rekey(NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_rekey(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_rekey(vault, wrong, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_retire(NULL, "0123456789abcdef", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_retire(vault, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_retire(vault, "0123456789abcdef", NULL, NULL, err));
    MISUSE(S3V_E_KEYRING, s3v_retire(vault, "0123456789abcdef", NULL, &out.bytes, err));
    MISUSE(S3V_E_KEYRING, s3v_retire(vault, "\x1b[31m", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sweep(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, job_with(0, "grace", "29m", err));
    MISUSE(S3V_E_INVALID_OPTION, job_with(0, "keep_last", "true", err));
    MISUSE(S3V_E_INVALID_NAME, job_with(0, "container", "a/b", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_adopt(NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_adopt(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_adopt(vault, wrong, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_verify(NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_verify(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_verify(vault, wrong, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_verify(NULL, NULL, NULL, &out.bytes, err));
    s3v_config_free(wrong);
}

static int32_t get_with(const char *key, const char *value, s3v_error **err) {
    s3v_config *options = with(key, value);
    int32_t rc = s3v_get_open(version, options, NULL, &out.get, err);
    s3v_config_free(options);
    return rc;
}

static int32_t restore_with(const char *key, const char *value, s3v_error **err) {
    s3v_config *options = with(key, value);
    int32_t rc = s3v_get_file(version, in_folder("restored"), options, NULL, err);
    s3v_config_free(options);
    return rc;
}

static void reading(void) {
    s3v_error *err = NULL;
    s3v_get *get = NULL;
    char buffer[16] = "unchanged";
    size_t count = 77;
    OK(s3v_get_open(version, NULL, NULL, &get, &err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_open(NULL, NULL, NULL, &out.get, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_open(version, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, get_with("holes", "true", err));
    MISUSE(S3V_E_INVALID_OPTION, get_with("checkpoint", "f", err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_read(NULL, buffer, 1, NULL, &out.count, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_read(get, NULL, 1, NULL, &out.count, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_read(get, buffer, 1, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_read(get, buffer, SIZE_MAX, NULL, &out.count, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_pread(NULL, 0, buffer, 1, NULL, &out.count, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_pread(get, 0, NULL, 1, NULL, &out.count, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_pread(get, 0, buffer, 1, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_pread(get, 0, buffer, SIZE_MAX, NULL, &out.count, err));
    CHECK(strcmp(buffer, "unchanged") == 0);
    /* At and after the end there is nothing to read; a length of 0 reads nothing, and is not the end. */
    NO_OP(s3v_get_pread(get, 12, buffer, 1, NULL, &count, &err) == 0 && count == 0);
    NO_OP(s3v_get_pread(get, 13, buffer, 1, NULL, &count, &err) == 0 && count == 0);
    NO_OP(s3v_get_pread(get, UINT64_MAX, buffer, sizeof buffer, NULL, &count, &err) == 0 && count == 0);
    NO_OP(s3v_get_pread(get, 0, NULL, 0, NULL, &count, &err) == 0 && count == 0);
    NO_OP(s3v_get_read(get, NULL, 0, NULL, &count, &err) == 0 && count == 0);
    expect_data(get, "twelve bytes", 12);
    NO_OP(s3v_get_read(get, buffer, 1, NULL, &count, &err) == 0 && count == 0); /* after the end */
    s3v_get_free(get);
}

static void targets(void) {
    int read_only = open("/dev/null", O_RDONLY), closed = dup(read_only);
    int appending = open(in_folder("log"), O_CREAT | O_WRONLY | O_APPEND, 0600), directory = open(folder, O_RDONLY);
    CHECK(read_only >= 0 && appending >= 0 && directory >= 0 && closed >= 0 && close(closed) == 0);
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_file(NULL, "f", NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_file(version, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_file(version, not_utf8, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, restore_with("kind", "full", err));
    MISUSE(S3V_E_INVALID_OPTION, restore_with("bucket", "b", err));
    MISUSE(S3V_E_IO, s3v_get_file(version, "", NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_file(version, folder, NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_file(version, in_folder("missing/file"), NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_file(version, in_folder("missing\x1b[31m\n/file"), NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_file(version, repeated('f', 1999), NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_file(version, "/", NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_fd(NULL, 1, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_fd(version, -1, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_fd(version, INT32_MIN, NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_fd(version, closed, NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_fd(version, INT32_MAX, NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_fd(version, read_only, NULL, NULL, err));
    MISUSE(S3V_E_IO, s3v_get_fd(version, directory, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_get_fd(version, appending, NULL, NULL, err));
    close(read_only);
    close(appending);
    close(directory);
}

/* ---- lists ---- */

static void lists(void) {
    s3v_error *err = NULL;
    s3v_list *list = NULL;
    s3v_config *options = with("kind", "full");
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_versions(NULL, CONTAINER, "p", NULL, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_versions(vault, NULL, "p", NULL, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_versions(vault, CONTAINER, "p", NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_list_versions(vault, CONTAINER, "p", options, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_containers(NULL, NULL, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_containers(vault, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_list_containers(vault, options, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_paths(NULL, CONTAINER, NULL, NULL, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_paths(vault, NULL, NULL, NULL, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_paths(vault, CONTAINER, NULL, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_list_paths(vault, CONTAINER, NULL, options, NULL, &out.list, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_next(NULL, NULL, &out.row, err));
    OK(s3v_list_versions(vault, CONTAINER, "never", NULL, NULL, &list, &err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_list_next(list, NULL, NULL, err));
    for (int i = 0; i < 3; i++) NO_OP(s3v_list_next(list, NULL, &out.row, &err) == 0 && out.row == before.row);
    s3v_list_free(list);
    s3v_config_free(options);
}

/* ---- offline functions ---- */

static int32_t sign_with(const char *key, const char *value, s3v_error **err) {
    s3v_config *options = environment_with(key, value);
    int32_t rc = s3v_sign(options, 0, "GET", "https://h/p", NULL, NULL, &out.bytes, err);
    s3v_config_free(options);
    return rc;
}

static void signatures(void) {
    s3v_config *keys = environment_with("region", "us-east-1"), *empty = s3v_config_new();
    const char *url = "https://h/p";
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_manifest_verify(NULL, 1, "", &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_manifest_verify("x", SIZE_MAX, "", &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_manifest_verify("x", 1, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_manifest_verify("x", 1, not_utf8, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_manifest_verify("x", 1, "", NULL, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_manifest_verify("x", 1, "ed25519 x y", &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_manifest_verify("x", 1, "\x1b[31m\n\n", &out.bytes, err));

    MISUSE(S3V_E_INVALID_OPTION, s3v_sign(NULL, 0, "GET", url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_sign(empty, 0, "GET", url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, NULL, url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", NULL, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, NULL, NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "", url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GE T", url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET\n", url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", "", NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", "ftp://h/p", NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", "https:///p", NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", "https://h\n/p", NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_sign(keys, 0, "GET", "s3://", NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, s3v_sign(keys, 0, "GET", "s3://a b/key", NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_UNSUPPORTED, s3v_sign(keys, 0, "GET", "s3://arn:aws:s3::123456789012:accesspoint/x.mrap/k", NULL, NULL,
                                       &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", not_utf8, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, "no colon", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, ": no name", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, "na me: x", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, "a: \x1b[31m", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, not_utf8, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, NULL, "abc", &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, NULL, repeated('g', 64), &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, 0, "GET", url, NULL, "STREAMING", &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_sign(keys, INT64_MAX, "GET", url, NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_OPTION, sign_with("secret_key", "", err));
    MISUSE(S3V_E_INVALID_OPTION, sign_with("access_key", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, sign_with("session_token", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, sign_with("region", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, sign_with("service", "a\nb", err));
    MISUSE(S3V_E_INVALID_OPTION, sign_with("service", "a/b", err));

    MISUSE(S3V_E_INVALID_OPTION, s3v_presign(NULL, 0, "GET", url, NULL, 60, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, NULL, url, NULL, 60, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "GET", NULL, NULL, 60, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "GET", url, NULL, 60, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "GET", url, NULL, 0, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "GET", url, NULL, 604801, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "GET", url, NULL, UINT32_MAX, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "PATCH", url, NULL, 60, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, 0, "GET", "https://h/?X-Amz-Date=1", NULL, 60, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_presign(keys, INT64_MAX, "GET", url, NULL, 60, &out.bytes, err));

    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain(NULL, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain("GET / HTTP/1.1\n", NULL, NULL, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain("", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain("\x1b[31m", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain("GET / HTTP/1.1\nhost: h\n", NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain(not_utf8, NULL, &out.bytes, err));
    MISUSE(S3V_E_INVALID_ARGUMENT, s3v_explain("GET / HTTP/1.1\n", not_utf8, &out.bytes, err));
    MISUSE(S3V_E_UNSUPPORTED, s3v_explain("GET / HTTP/1.1\nauthorization: AWS a:b\n", NULL, &out.bytes, err));
    s3v_config_free(keys);
    s3v_config_free(empty);
}

/* ---- calls from a callback ---- */

struct caller {
    s3v_put *put;
    s3v_get *get;
    int called;
};

/* Calls what is busy, once; stops a read. */
static int32_t call_the_busy_handle(void *ctx, const s3v_event *event) {
    struct caller *caller = ctx;
    char byte;
    (void)event;
    if (caller->called++ > 0) return 0;
    if (caller->put != NULL) {
        MISUSE(S3V_E_BUSY, s3v_put_write(caller->put, "x", 1, NULL, err));
        MISUSE(S3V_E_BUSY, s3v_put_commit(caller->put, NULL, &out.version, err));
        MISUSE(S3V_E_BUSY, s3v_put_suspend(caller->put, NULL, err));
        MISUSE(S3V_E_BUSY, s3v_put_abort(caller->put, NULL, err));
    }
    if (caller->get != NULL) MISUSE(S3V_E_BUSY, s3v_get_read(caller->get, &byte, 1, NULL, &out.count, err));
    return caller->get != NULL;
}

static void the_handle_of_a_call_is_busy_in_its_callback(void) {
    s3v_error *err = NULL;
    struct caller caller = {.put = NULL};
    s3v_version *stored = NULL;
    s3v_get *get = NULL;
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &caller, .on_event = call_the_busy_handle};
    size_t length = 40 * MIB, count = 0;
    char *data = filled(length);
    OK(s3v_put_open(vault, CONTAINER, "busy", NULL, NULL, &caller.put, &err));
    OK(s3v_put_write(caller.put, data, length, &ctl, &err));
    OK(s3v_put_commit(caller.put, &ctl, &stored, &err));
    CHECK(caller.called > 0);
    s3v_put_free(caller.put);

    /* A read that waits, so that an event comes. */
    caller = (struct caller){.put = NULL};
    OK(s3v_get_open(stored, NULL, NULL, &get, &err));
    caller.get = get;
    OK(s3v_process_set(S3V_OPT_BANDWIDTH_DOWN, "65536", &err));
    FAILS(s3v_get_read(get, data, length, &ctl, &count, &err), S3V_E_STOPPED);
    OK(s3v_process_set(S3V_OPT_BANDWIDTH_DOWN, "", &err));
    CHECK(caller.called > 0);
    s3v_get_free(get);
    s3v_version_free(stored);
    free(data);
}

static int32_t shut_down(void *ctx, const s3v_event *event) {
    (void)event;
    if ((*(int *)ctx)++ == 0) CHECK(s3v_shutdown(10000, NULL) == 0);
    return 0;
}

static void a_shutdown_during_a_call_ends_it(void) {
    s3v_error *err = NULL;
    s3v_put *put = NULL;
    int called = 0;
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &called, .on_event = shut_down};
    char *data = filled(20 * MIB);
    /* A commit that waits, so that an event comes. */
    OK(s3v_process_set(S3V_OPT_BANDWIDTH_UP, "65536", &err));
    OK(s3v_put_open(vault, CONTAINER, "shutdown", NULL, NULL, &put, &err));
    OK(s3v_put_write(put, data, 20 * MIB, NULL, &err));
    MISUSE(S3V_E_WRONG_STATE, s3v_put_commit(put, &ctl, &out.version, err));
    CHECK(called > 0);
    MISUSE(S3V_E_WRONG_STATE, s3v_put_write(put, data, 1, NULL, err));
    OK(s3v_process_set(S3V_OPT_BANDWIDTH_UP, "", &err));
    s3v_put_free(put);
    free(data);
}

/* ---- afterwards ---- */

static void the_library_still_works(void) {
    s3v_error *err = NULL;
    s3v_get *get = NULL;
    s3v_version *stored = store(vault, "afterwards", "still here", 10);
    OK(s3v_get_open(stored, NULL, NULL, &get, &err));
    expect_data(get, "still here", 10);
    s3v_get_free(get);
    s3v_version_free(stored);
    s3v_version_free(version);
    s3v_keyring_free(keyring);
    /* What a put left unchanged. */
    char kept[8] = "";
    int fd = open(in_folder("not-a-checkpoint"), O_RDONLY);
    CHECK(fd >= 0 && read(fd, kept, sizeof kept) == 7 && strcmp(kept, "keep me") == 0 && close(fd) == 0);
    static const char *const files[] = {"bad.toml", "keys", "not-a-checkpoint", "open-to-all", "link", "target", "log"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) CHECK(unlink(in_folder(files[i])) == 0);
    CHECK(rmdir(folder) == 0); /* nothing else was left there */
}

static void all_of_them_were_refused(void) {
    printf("%d misuses\n", misuses);
    CHECK(accepted == 0);
    CHECK(misuses >= LEAST);
}

static const struct test tests[] = {
    TEST(prepare),
    TEST(handles_that_are_null_are_freed_and_read_as_empty),
    TEST(a_field_that_an_error_does_not_have_is_null),
    TEST(the_process),
    TEST(settings),
    TEST(files_and_variables),
    TEST(keyrings),
    TEST(vaults),
    TEST(controls),
    TEST(names),
    TEST(null_arguments_of_a_put),
    TEST(options_of_a_put),
    TEST(sources),
    TEST(calls_after_the_last_one),
    TEST(versions),
    TEST(deletions_and_jobs),
    TEST(reading),
    TEST(targets),
    TEST(lists),
    TEST(signatures),
    TEST(the_handle_of_a_call_is_busy_in_its_callback),
    TEST(a_shutdown_during_a_call_ends_it),
    TEST(the_library_still_works),
    TEST(all_of_them_were_refused),
};

int main(void) { return run_tests(tests, sizeof tests / sizeof tests[0]); }
