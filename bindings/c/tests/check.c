#include "check.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

s3v_vault *vault;

void check(int holds, const char *what, const char *function, int line, const s3v_error *err) {
    if (holds) return;
    printf("FAIL %s: line %d: %s\n", function, line, what);
    if (err != NULL) printf("  %s: %s\n", s3v_error_get(err, S3V_FIELD_NAME), s3v_error_get(err, S3V_FIELD_MESSAGE));
    exit(1);
}

void check_fails(int32_t rc, int32_t code, s3v_error **err, const char *what, const char *function, int line) {
    if (rc != code) printf("  returned %" PRId32 " instead of %" PRId32 "\n", rc, code);
    check(rc == code, what, function, line, rc < 0 ? *err : NULL);
    check(*err != NULL && s3v_error_code(*err) == code, what, function, line, *err);
    check(*s3v_error_get(*err, S3V_FIELD_MESSAGE) != '\0', what, function, line, *err);
    s3v_error_free(*err);
    *err = NULL;
}

s3v_vault *open_vault(s3v_keyring *keyring) {
    s3v_error *err = NULL;
    s3v_vault *out = NULL;
    s3v_config *config = s3v_config_new();
    OK(s3v_config_env(config, &err));
    OK(s3v_vault_open(config, keyring, NULL, &out, &err));
    s3v_config_free(config);
    return out;
}

s3v_keyring *new_keyring(void) {
    s3v_error *err = NULL;
    s3v_keyring *out = NULL;
    OK(s3v_keyring_open(NULL, NULL, 0, 1, &out, &err));
    return out;
}

s3v_version *store(s3v_vault *into, const char *path, const void *data, size_t size) {
    s3v_error *err = NULL;
    s3v_put *put = NULL;
    s3v_version *version = NULL;
    OK(s3v_put_open(into, CONTAINER, path, NULL, NULL, &put, &err));
    OK(s3v_put_write(put, data, size, NULL, &err));
    OK(s3v_put_commit(put, NULL, &version, &err));
    s3v_put_free(put);
    return version;
}

void expect_data(s3v_get *get, const void *data, size_t size) {
    s3v_error *err = NULL;
    char *got = malloc(size + 1);
    size_t total = 0, count = 1;
    CHECK(got != NULL);
    while (count > 0 && total <= size) {
        OK(s3v_get_read(get, got + total, size + 1 - total, NULL, &count, &err));
        total += count;
    }
    CHECK(total == size && memcmp(got, data, size) == 0);
    free(got);
}

char *filled(size_t size) {
    char *data = malloc(size);
    CHECK(data != NULL);
    for (size_t i = 0; i < size; i++) data[i] = (char)(i * 31 + i / 4099);
    return data;
}

int run_tests(const struct test *tests, size_t count) {
    const char *store = getenv("S3VAULT_API_URL");
    s3v_error *err = NULL;
    if (store == NULL || *store == '\0') {
        fprintf(stderr, "S3VAULT_API_URL is not set: start a store, as scripts/with-store.sh does\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* A shell without job control starts background processes with SIGINT ignored. */
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    s3v_keyring *keyring = new_keyring();
    vault = open_vault(keyring);
    s3v_keyring_free(keyring);
    for (size_t i = 0; i < count; i++) {
        tests[i].run();
        printf("ok %s\n", tests[i].name);
    }
    s3v_vault_free(vault);
    OK(s3v_shutdown(30000, &err));
    return 0;
}

int free_null(void) {
    s3v_error_free(NULL);
    s3v_bytes_free(NULL);
    s3v_config_free(NULL);
    s3v_cancel_trigger(NULL);
    s3v_cancel_free(NULL);
    s3v_keyring_free(NULL);
    s3v_vault_free(NULL);
    s3v_put_free(NULL);
    s3v_version_free(NULL);
    s3v_get_free(NULL);
    s3v_list_free(NULL);
    return 11;
}
