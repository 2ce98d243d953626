/* secrets CONFIG KEYRING: opens a vault, stores and restores a backup as far as that works, and frees everything. Prints
 * the last error, or "ok", and then stays until its input ends, so that its memory can be searched for secrets. */
#include <stdio.h>

#include <s3vault.h>

static int work(const char *file, const char *keys, s3v_error **err) {
    s3v_config *config = s3v_config_new();
    s3v_keyring *keyring = NULL;
    s3v_vault *vault = NULL;
    s3v_put *put = NULL;
    s3v_version *version = NULL;
    s3v_get *get = NULL;
    char buffer[64];
    size_t count = 0;
    int result = s3v_config_load(config, file, err);
    if (result >= 0) result = s3v_keyring_open(keys, NULL, 0, 0, &keyring, err);
    if (result >= 0) result = s3v_vault_open(config, keyring, NULL, &vault, err);
    if (result >= 0) result = s3v_put_open(vault, "secrets", "disk", NULL, NULL, &put, err);
    if (result >= 0) result = s3v_put_write(put, "data", 4, NULL, err);
    if (result >= 0) result = s3v_put_commit(put, NULL, &version, err);
    if (result >= 0) result = s3v_get_open(version, NULL, NULL, &get, err);
    if (result >= 0) result = s3v_get_read(get, buffer, sizeof buffer, NULL, &count, err);
    s3v_get_free(get);
    s3v_version_free(version);
    s3v_put_free(put);
    s3v_vault_free(vault);
    s3v_keyring_free(keyring);
    s3v_config_free(config);
    return result;
}

int main(int argc, char **argv) {
    s3v_error *err = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: secrets CONFIG KEYRING\n");
        return 2;
    }
    if (work(argv[1], argv[2], &err) < 0) {
        printf("%s\n", s3v_error_get(err, S3V_FIELD_MESSAGE));
    } else {
        printf("ok\n");
    }
    fflush(stdout);
    s3v_error_free(err);
    s3v_shutdown(10000, NULL);
    printf("freed\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    return 0;
}
