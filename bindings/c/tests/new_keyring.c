/* new_keyring FILE: creates a keyring with a new signing key. */
#include <stdio.h>

#include <s3vault.h>

int main(int argc, char **argv) {
    s3v_keyring *keyring = NULL;
    s3v_error *err = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: new_keyring FILE\n");
        return 2;
    }
    if (s3v_keyring_open(argv[1], NULL, 0, 1, &keyring, &err) < 0) {
        fprintf(stderr, "new_keyring: %s\n", s3v_error_get(err, S3V_FIELD_MESSAGE));
        s3v_error_free(err);
        return 1;
    }
    s3v_keyring_free(keyring);
    return 0;
}
