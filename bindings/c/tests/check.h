/* Checks for lifecycle.c and threads.c, and the vault that they share. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>

#include <s3vault.h>

#define MIB ((size_t)1 << 20)
#define CONTAINER "lifecycle-c"

/* Ends the program if a statement does not hold. */
#define CHECK(statement) check((statement) != 0, #statement, __func__, __LINE__, NULL)
/* A call that must succeed; `err` is its last argument. */
#define OK(call) check((call) >= 0, #call, __func__, __LINE__, err)
/* A call that must fail with this code, also in its error. Frees the error, `err`. */
#define FAILS(call, code) check_fails((call), (code), &err, #call, __func__, __LINE__)

void check(int holds, const char *what, const char *function, int line, const s3v_error *err);
void check_fails(int32_t rc, int32_t code, s3v_error **err, const char *what, const char *function, int line);

struct test {
    const char *name;
    void (*run)(void);
};
#define TEST(function) {#function, function}

/* Opens `vault`, runs the tests, and shuts the library down. Returns the exit code. */
int run_tests(const struct test *tests, size_t count);

/* The vault that the environment names, with a new signing key. */
extern s3v_vault *vault;

s3v_keyring *new_keyring(void);
s3v_vault *open_vault(s3v_keyring *keyring);
/* Stores a version at a path of CONTAINER. */
s3v_version *store(s3v_vault *into, const char *path, const void *data, size_t size);
/* Reads to the end, and expects exactly these bytes. */
void expect_data(s3v_get *get, const void *data, size_t size);
/* Calls every function that frees or triggers a handle with NULL. Returns how many there are. */
int free_null(void);
/* Memory with a pattern; the caller frees it. */
char *filled(size_t size);

#endif
