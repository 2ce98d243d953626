/* secrets CONFIG KEYRING PASSPHRASE write|read PATH: opens a vault, stores a backup unless it is to read only, and reads it.
 * If PASSPHRASE is not "-", it is a file with a passphrase, and KEYRING is an escrow file that opens with it.
 *
 * Prints the error, or "ok", as soon as that is known, and waits for a line with everything open. Then it frees everything,
 * prints "freed", and stays until its input ends, so that its memory can be searched for secrets both times. */
#include <stdio.h>
#include <string.h>

#include <s3vault.h>

/* A line of input, or its end. */
static void wait_for_line(void) {
    int got;
    do got = getchar();
    while (got != '\n' && got != EOF);
}

/* Reads a small file without a copy in a buffer of the C library. */
static size_t content_of(const char *name, char *buffer, size_t size) {
    size_t count = 0;
    FILE *file = fopen(name, "rb");
    if (!file) return 0;
    setvbuf(file, NULL, _IONBF, 0);
    count = fread(buffer, 1, size, file);
    fclose(file);
    return count;
}

static int keyring_of(const char *keys, const char *passphrase, s3v_keyring **keyring, s3v_error **err) {
    static char escrow[65536], secret[256];
    size_t escrow_len, secret_len;
    int result;
    if (strcmp(passphrase, "-") == 0) return s3v_keyring_open(keys, NULL, 0, 0, keyring, err);
    escrow_len = content_of(keys, escrow, sizeof escrow);
    secret_len = content_of(passphrase, secret, sizeof secret);
    result = s3v_keyring_restore(NULL, escrow, escrow_len, secret, secret_len, keyring, err);
    memset(secret, 0, sizeof secret);
    return result;
}

static void work(char **args, s3v_error **err) {
    const char *file = args[0], *keys = args[1], *passphrase = args[2], *path = args[4];
    int writes = strcmp(args[3], "write") == 0;
    s3v_config *config = s3v_config_new();
    s3v_keyring *keyring = NULL;
    s3v_vault *vault = NULL;
    s3v_put *put = NULL;
    s3v_version *version = NULL;
    s3v_get *get = NULL;
    char buffer[64];
    size_t count = 0;
    int result = s3v_config_load(config, file, err);
    if (result >= 0) result = keyring_of(keys, passphrase, &keyring, err);
    if (result >= 0) result = s3v_vault_open(config, keyring, NULL, &vault, err);
    if (result >= 0 && writes) result = s3v_put_open(vault, "secrets", path, NULL, NULL, &put, err);
    if (result >= 0 && writes) result = s3v_put_write(put, "data", 4, NULL, err);
    if (result >= 0 && writes) result = s3v_put_commit(put, NULL, NULL, err);
    if (result >= 0) result = s3v_version_find(vault, "secrets", path, NULL, NULL, &version, err);
    if (result >= 0) result = s3v_get_open(version, NULL, NULL, &get, err);
    if (result >= 0) result = s3v_get_read(get, buffer, sizeof buffer, NULL, &count, err);
    printf("%s\n", result < 0 ? s3v_error_get(*err, S3V_FIELD_MESSAGE) : "ok");
    fflush(stdout);
    wait_for_line();
    s3v_get_free(get);
    s3v_version_free(version);
    s3v_put_free(put);
    s3v_vault_free(vault);
    s3v_keyring_free(keyring);
    s3v_config_free(config);
}

int main(int argc, char **argv) {
    s3v_error *err = NULL;
    if (argc != 6) {
        fprintf(stderr, "usage: secrets CONFIG KEYRING PASSPHRASE|- write|read PATH\n");
        return 2;
    }
    work(argv + 1, &err);
    s3v_error_free(err);
    s3v_shutdown(10000, NULL);
    printf("freed\n");
    fflush(stdout);
    wait_for_line();
    return 0;
}
