/* Arguments, errors, frees in any order, fork and signals.
 *
 * Uses the store that the environment names, in its own container. Ends at the first check that fails. It also runs under
 * valgrind, which finds what the checks do not: leaks, and memory used after its free.
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* ---- arguments and errors ---- */

static void every_free_accepts_null(void) {
    free_null();
}

static void null_arguments_are_refused_and_outputs_unchanged(void) {
    s3v_error *err = NULL;
    s3v_put *put = (s3v_put *)&vault; /* any address: it must stay unchanged */
    s3v_put *before = put;
    size_t count = 77;
    FAILS(s3v_put_open(NULL, CONTAINER, "null", NULL, NULL, &put, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_put_open(vault, NULL, "null", NULL, NULL, &put, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_put_open(vault, CONTAINER, NULL, NULL, NULL, &put, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_put_open(vault, "not\xff utf-8", "null", NULL, NULL, &put, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_put_open(vault, "a/b", "null", NULL, NULL, &put, &err), S3V_E_INVALID_NAME);
    CHECK(put == before);
    FAILS(s3v_put_open(vault, CONTAINER, "null", NULL, NULL, NULL, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_put_write(NULL, "x", 1, NULL, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_get_read(NULL, &count, 1, NULL, &count, &err), S3V_E_INVALID_ARGUMENT);
    CHECK(count == 77);
    FAILS(s3v_list_next(NULL, NULL, NULL, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_version_find(vault, CONTAINER, "never-stored", NULL, NULL, NULL, &err), S3V_E_INVALID_ARGUMENT);
    CHECK(s3v_put_open(NULL, NULL, NULL, NULL, NULL, NULL, NULL) == S3V_E_INVALID_ARGUMENT);
    CHECK(s3v_error_code(NULL) == S3V_OK && s3v_error_get(NULL, S3V_FIELD_MESSAGE) == NULL);
}

static void an_error_says_what_happened(void) {
    s3v_error *err = NULL;
    s3v_version *version = NULL;
    CHECK(s3v_version_find(vault, CONTAINER, "never-stored", NULL, NULL, &version, &err) == S3V_E_NOT_FOUND);
    CHECK(strcmp(s3v_error_get(err, S3V_FIELD_NAME), "S3V_E_NOT_FOUND") == 0);
    CHECK(strstr(s3v_error_get(err, S3V_FIELD_MESSAGE), "never-stored") != NULL);
    CHECK(*s3v_error_get(err, S3V_FIELD_HINT) != '\0');
    CHECK(s3v_error_get(err, S3V_FIELD_JSON)[0] == '{');
    CHECK(s3v_error_get(err, 9999) == NULL);
    CHECK(s3v_error_flags(err) & S3V_FLAG_REMOTE);
    s3v_error_free(err);

    /* A call that succeeds clears the error of an earlier one. */
    err = (s3v_error *)&version;
    s3v_config *config = s3v_config_new();
    CHECK(s3v_config_set(config, "bucket", "b", &err) == 0 && err == NULL);
    CHECK(s3v_config_set(config, "buckte", "b", &err) == S3V_E_UNKNOWN_OPTION);
    CHECK(strstr(s3v_error_get(err, S3V_FIELD_HINT), "bucket") != NULL);
    CHECK(s3v_error_flags(err) & S3V_FLAG_MISUSE);
    s3v_error_free(err);
    s3v_config_free(config);
}

static void secrets_are_not_shown(void) {
    s3v_error *err = NULL;
    s3v_bytes *shown = NULL;
    s3v_config *config = s3v_config_new();
    size_t length = 0;
    OK(s3v_config_set(config, "secret_key", "hush-hush", &err));
    OK(s3v_config_set(config, "bucket", "seen", &err));
    OK(s3v_config_get(config, NULL, &shown, &err));
    const char *json = s3v_bytes_data(shown, &length);
    char *copy = calloc(1, length + 1);
    CHECK(copy != NULL);
    memcpy(copy, json, length);
    CHECK(strstr(copy, "seen") != NULL && strstr(copy, "***") != NULL && strstr(copy, "hush") == NULL);
    free(copy);
    s3v_bytes_free(shown);
    s3v_config_free(config);
}

static void a_keyring_file_is_created_once(void) {
    s3v_error *err = NULL;
    s3v_keyring *made = NULL, *read = NULL;
    s3v_bytes *one = NULL, *two = NULL;
    size_t length_one = 0, length_two = 0;
    const char *folder = getenv("TMPDIR");
    char path[300];
    snprintf(path, sizeof path, "%s/keyring.%ld", folder == NULL ? "/tmp" : folder, (long)getpid());
    FAILS(s3v_keyring_open(path, NULL, 0, 0, &read, &err), S3V_E_KEYRING);
    OK(s3v_keyring_open(path, NULL, 0, 1, &made, &err));
    FAILS(s3v_keyring_open(path, NULL, 0, 1, &read, &err), S3V_E_KEYRING);
    OK(s3v_keyring_open(path, NULL, 0, 0, &read, &err));
    CHECK(unlink(path) == 0);
    OK(s3v_keyring_info(made, &one, &err));
    OK(s3v_keyring_info(read, &two, &err));
    const void *info_one = s3v_bytes_data(one, &length_one), *info_two = s3v_bytes_data(two, &length_two);
    CHECK(length_one > 0 && length_one == length_two && memcmp(info_one, info_two, length_one) == 0);
    s3v_bytes_free(one);
    s3v_bytes_free(two);
    s3v_keyring_free(made);
    s3v_keyring_free(read);
}

static void after_commit_only_free_may_follow(void) {
    s3v_error *err = NULL;
    s3v_put *put = NULL;
    s3v_version *version = NULL, *second = NULL;
    OK(s3v_put_open(vault, CONTAINER, "wrong-state", NULL, NULL, &put, &err));
    OK(s3v_put_write(put, NULL, 0, NULL, &err)); /* with length 0 the pointer is ignored */
    OK(s3v_put_commit(put, NULL, &version, &err));
    FAILS(s3v_put_write(put, "x", 1, NULL, &err), S3V_E_WRONG_STATE);
    FAILS(s3v_put_commit(put, NULL, &second, &err), S3V_E_WRONG_STATE);
    FAILS(s3v_put_abort(put, NULL, &err), S3V_E_WRONG_STATE);
    CHECK(s3v_version_info(version)->bytes == 0 && second == NULL);
    s3v_put_free(put);
    s3v_version_free(version);
}

/* A program built with a later header has fields that this library does not know. */
static void a_ctl_tells_its_size(void) {
    s3v_error *err = NULL;
    s3v_version *version = NULL;
    struct {
        s3v_ctl ctl;
        char later[24];
    } longer;
    memset(&longer, 0, sizeof longer);
    memset(longer.later, 0xff, sizeof longer.later);
    longer.ctl.size = sizeof longer;
    OK(s3v_version_find(vault, CONTAINER, "wrong-state", NULL, &longer.ctl, &version, &err));
    s3v_version_free(version);
    longer.ctl.size = 0; /* forgotten */
    FAILS(s3v_version_find(vault, CONTAINER, "wrong-state", NULL, &longer.ctl, &version, &err), S3V_E_INVALID_ARGUMENT);
}

/* ---- frees ---- */

struct family {
    s3v_keyring *keyring;
    s3v_vault *vault;
    s3v_put *put;
    s3v_version *version;
    s3v_get *get;
    s3v_list *list;
};

/* Each member that was not freed still works, whatever was freed before it. */
static void use(struct family *f) {
    s3v_error *err = NULL;
    const s3v_row *row = NULL;
    char byte;
    size_t count = 0;
    if (f->vault != NULL) {
        s3v_version *found = NULL;
        OK(s3v_version_find(f->vault, CONTAINER, "frees", NULL, NULL, &found, &err));
        s3v_version_free(found);
    }
    if (f->put != NULL) OK(s3v_put_write(f->put, "more", 4, NULL, &err));
    if (f->version != NULL) CHECK(strcmp(s3v_version_info(f->version)->path, "frees") == 0);
    if (f->get != NULL) {
        OK(s3v_get_read(f->get, &byte, 1, NULL, &count, &err));
        CHECK(count == 1);
    }
    if (f->list != NULL) CHECK(s3v_list_next(f->list, NULL, &row, &err) >= 0);
}

static void free_member(struct family *f, int n) {
    switch (n) {
    case 0: s3v_keyring_free(f->keyring); f->keyring = NULL; break;
    case 1: s3v_vault_free(f->vault); f->vault = NULL; break;
    case 2: s3v_put_free(f->put); f->put = NULL; break;
    case 3: s3v_version_free(f->version); f->version = NULL; break;
    case 4: s3v_get_free(f->get); f->get = NULL; break;
    default: s3v_list_free(f->list); f->list = NULL; break;
    }
}

static void open_family(struct family *f) {
    s3v_error *err = NULL;
    f->keyring = new_keyring();
    f->vault = open_vault(f->keyring);
    f->version = store(f->vault, "frees", "twelve bytes", 12);
    OK(s3v_put_open(f->vault, CONTAINER, "unfinished", NULL, NULL, &f->put, &err));
    OK(s3v_get_open(f->version, NULL, NULL, &f->get, &err));
    OK(s3v_list_versions(f->vault, CONTAINER, NULL, NULL, NULL, &f->list, &err));
}

static void frees_in_any_order(void) {
    for (int first = 0; first < 6; first++) {
        for (int step = 1; step <= 5; step += 4) { /* forwards, and (6 - 1) backwards */
            struct family f;
            open_family(&f);
            for (int i = 0; i < 6; i++) {
                free_member(&f, (first + i * step) % 6);
                use(&f);
            }
        }
    }
}

static void an_unfinished_put_leaves_no_version(void) {
    s3v_error *err = NULL;
    s3v_put *put = NULL;
    s3v_list *list = NULL;
    const s3v_row *row = NULL;
    char *data = filled(20 * MIB);
    OK(s3v_put_open(vault, CONTAINER, "unfinished", NULL, NULL, &put, &err));
    OK(s3v_put_write(put, data, 20 * MIB, NULL, &err));
    CHECK(s3v_put_offset(put) == 20 * MIB);
    s3v_put_free(put);
    OK(s3v_list_versions(vault, CONTAINER, "unfinished", NULL, NULL, &list, &err));
    CHECK(s3v_list_next(list, NULL, &row, &err) == 0);
    s3v_list_free(list);
    free(data);
}

/* ---- the process ---- */

/* The child reports through a pipe: valgrind, which counts the leaks of a child, may change its exit code. */
static void calls_in_a_forked_child_fail(void) {
    int ends[2];
    int32_t rc = 0;
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        s3v_version *version = NULL;
        rc = s3v_version_find(vault, CONTAINER, "frees", NULL, NULL, &version, NULL);
        s3v_vault_free(vault); /* leaks, and neither blocks nor crashes */
        _exit(write(ends[1], &rc, sizeof rc) == (ssize_t)sizeof rc ? 0 : 1);
    }
    close(ends[1]);
    CHECK(read(ends[0], &rc, sizeof rc) == (ssize_t)sizeof rc);
    close(ends[0]);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(rc == S3V_E_FORKED);
}

/* Every other thread belongs to the library, and blocks the program's signals. */
static void signals_are_left_to_the_program(void) {
    struct sigaction action;
    int seen = 0;
    DIR *threads = opendir("/proc/self/task");
    CHECK(threads != NULL);
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        char path[300], line[256];
        unsigned long long blocked = 0;
        if (entry->d_name[0] == '.' || atol(entry->d_name) == (long)getpid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *status = fopen(path, "r");
        if (status == NULL) continue; /* it has ended */
        while (fgets(line, sizeof line, status) != NULL) sscanf(line, "SigBlk: %llx", &blocked);
        fclose(status);
        CHECK((blocked >> (SIGINT - 1)) & (blocked >> (SIGTERM - 1)) & (blocked >> (SIGCHLD - 1)) & 1);
        seen++;
    }
    closedir(threads);
    CHECK(seen > 0);
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
}

static void limits_of_the_process_are_set_and_reported(void) {
    s3v_error *err = NULL;
    s3v_stats stats = {.size = sizeof stats}, older = {.size = 8, .memory = 77};
    char before[32];
    CHECK(s3v_process_stats(&stats, &err) == 0);
    CHECK(stats.memory <= stats.memory_peak && stats.memory_peak <= stats.memory_limit);
    snprintf(before, sizeof before, "%llu", (unsigned long long)stats.connections_limit);
    CHECK(s3v_process_set(S3V_OPT_CONNECTIONS, "7", &err) == 0);
    CHECK(s3v_process_stats(&stats, &err) == 0 && stats.connections_limit == 7);
    CHECK(s3v_process_set(S3V_OPT_CONNECTIONS, before, &err) == 0);
    FAILS(s3v_process_stats(&older, &err), S3V_E_INVALID_ARGUMENT); /* no caller has so short a struct */
    CHECK(older.memory == 77);
    FAILS(s3v_process_set("connection", "7", &err), S3V_E_UNKNOWN_OPTION);
    FAILS(s3v_process_set(S3V_OPT_CONNECTIONS, "0", &err), S3V_E_INVALID_OPTION);
    FAILS(s3v_process_set(S3V_OPT_BUCKET, "b", &err), S3V_E_INVALID_OPTION);
    FAILS(s3v_process_set(NULL, "7", &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_process_stats(NULL, &err), S3V_E_INVALID_ARGUMENT);
}

static void positional_reads_and_descriptors_refuse_invalid_arguments(void) {
    s3v_error *err = NULL;
    size_t count = 77;
    FAILS(s3v_get_pread(NULL, 0, &count, 1, NULL, &count, &err), S3V_E_INVALID_ARGUMENT);
    CHECK(count == 77);
    FAILS(s3v_put_fd(vault, CONTAINER, "fd", -1, NULL, NULL, NULL, &err), S3V_E_INVALID_ARGUMENT);
    FAILS(s3v_put_suspend(NULL, NULL, &err), S3V_E_INVALID_ARGUMENT);
}

static const struct test tests[] = {
    TEST(limits_of_the_process_are_set_and_reported),
    TEST(positional_reads_and_descriptors_refuse_invalid_arguments),
    TEST(every_free_accepts_null),
    TEST(null_arguments_are_refused_and_outputs_unchanged),
    TEST(an_error_says_what_happened),
    TEST(secrets_are_not_shown),
    TEST(a_keyring_file_is_created_once),
    TEST(after_commit_only_free_may_follow),
    TEST(a_ctl_tells_its_size),
    TEST(frees_in_any_order),
    TEST(an_unfinished_put_leaves_no_version),
    TEST(calls_in_a_forked_child_fail),
    TEST(signals_are_left_to_the_program),
};

int main(void) { return run_tests(tests, sizeof tests / sizeof tests[0]); }
