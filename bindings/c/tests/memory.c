/* Measures the peak memory of a process during transfers, as the kernel counts it.
 *
 *   memory file FILE          stores FILE
 *   memory restore FILE       restores it to FILE.restored
 *   memory stream MIB         stores a stream of MIB mebibytes
 *   memory pipe TIMES         reads it TIMES times, one after the other
 *   memory many N FILE        stores N backups at once, each in a thread: small streams and FILE, alternately
 *   memory empty              opens the vault and ends
 *
 * Prints one line of JSON: peak_kib (VmHWM), and memory_peak, memory_limit and connections_peak from s3v_process_stats. The
 * store comes from the environment (S3VAULT_*); S3VAULT_MEMORY and S3VAULT_CONNECTIONS are set for the process.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <s3vault.h>

#define MIB ((size_t)1 << 20)

static s3v_vault *vault;
static const char *source;

static void fatal(const char *what, s3v_error *err) {
    fprintf(stderr, "memory: %s: %s\n", what, s3v_error_get(err, S3V_FIELD_MESSAGE));
    exit(1);
}

/* As fatal, with errno. */
static void failed(const char *what) {
    fprintf(stderr, "memory: %s: %s\n", what, strerror(errno));
    exit(1);
}

static unsigned char *room(size_t size) {
    unsigned char *data = malloc(size);
    if (data == NULL) failed("a buffer");
    memset(data, 0x5a, size);
    return data;
}

static void limit(const char *key, const char *variable) {
    s3v_error *err = NULL;
    const char *value = getenv(variable);
    if (value != NULL && s3v_process_set(key, value, &err) < 0) fatal(variable, err);
}

static void open_vault(void) {
    s3v_error *err = NULL;
    s3v_config *config = s3v_config_new();
    limit(S3V_OPT_MEMORY, "S3VAULT_MEMORY");
    limit(S3V_OPT_CONNECTIONS, "S3VAULT_CONNECTIONS");
    if (s3v_config_env(config, &err) < 0 || s3v_vault_open(config, NULL, NULL, &vault, &err) < 0) fatal("vault", err);
    s3v_config_free(config);
}

static void put_stream(const char *path, size_t mib, size_t more) {
    s3v_error *err = NULL;
    s3v_put *put = NULL;
    unsigned char *data = room(MIB);
    int32_t rc = s3v_put_open(vault, "memory", path, NULL, NULL, &put, &err);
    for (size_t n = 0; rc == 0 && n < mib; n++) rc = s3v_put_write(put, data, MIB, NULL, &err);
    if (rc == 0) rc = s3v_put_write(put, data, more, NULL, &err);
    if (rc == 0) rc = s3v_put_commit(put, NULL, NULL, &err);
    if (rc < 0) fatal(path, err);
    s3v_put_free(put);
    free(data);
}

static void put_file(const char *path) {
    s3v_error *err = NULL;
    if (s3v_put_file(vault, "memory", path, source, NULL, NULL, NULL, &err) < 0) fatal(path, err);
}

static s3v_version *find(const char *path) {
    s3v_error *err = NULL;
    s3v_version *version = NULL;
    if (s3v_version_find(vault, "memory", path, NULL, NULL, &version, &err) < 0) fatal(path, err);
    return version;
}

static void get_stream(const char *path) {
    s3v_error *err = NULL;
    s3v_version *version = find(path);
    s3v_get *get = NULL;
    unsigned char *data = room(MIB);
    size_t count = 1;
    int32_t rc = s3v_get_open(version, NULL, NULL, &get, &err);
    while (rc == 0 && count > 0) rc = s3v_get_read(get, data, MIB, NULL, &count, &err);
    if (rc < 0) fatal(path, err);
    s3v_get_free(get);
    s3v_version_free(version);
    free(data);
}

static void get_file(const char *path) {
    s3v_error *err = NULL;
    s3v_version *version = find(path);
    char restored[4096];
    snprintf(restored, sizeof restored, "%s.restored", source);
    if (s3v_get_file(version, restored, NULL, NULL, &err) < 0) fatal(path, err);
    if (unlink(restored) != 0) failed(restored);
    s3v_version_free(version);
}

static void *one_of_many(void *number) {
    size_t n = (size_t)number;
    char path[32];
    snprintf(path, sizeof path, "many/%zu", n);
    if (n % 2 == 0) put_stream(path, n % 8, 1000 * n % MIB);
    else put_file(path);
    return NULL;
}

static void many(size_t count) {
    pthread_t *threads = calloc(count, sizeof *threads);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    if (threads == NULL) failed("the threads");
    for (size_t n = 0; n < count; n++) {
        errno = pthread_create(&threads[n], &small, one_of_many, (void *)n);
        if (errno != 0) failed("a thread");
    }
    for (size_t n = 0; n < count; n++) pthread_join(threads[n], NULL);
    free(threads);
}

/* Peak memory of this process. ru_maxrss of getrusage would start with that of the process that started it. */
static long peak_kib(void) {
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    }
    if (kib == 0) failed("VmHWM in /proc/self/status");
    fclose(status);
    return kib;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    s3v_error *err = NULL;
    s3v_stats stats = {.size = sizeof stats};
    if (strcmp(what, "empty") == 0 && argc == 2) {
        open_vault();
    } else if (strcmp(what, "file") == 0 && argc == 3) {
        source = argv[2];
        open_vault();
        put_file("file");
    } else if (strcmp(what, "restore") == 0 && argc == 3) {
        source = argv[2];
        open_vault();
        get_file("file");
    } else if (strcmp(what, "stream") == 0 && argc == 3) {
        open_vault();
        put_stream("stream", strtoul(argv[2], NULL, 10), 1);
    } else if (strcmp(what, "pipe") == 0 && argc == 3) {
        open_vault();
        for (unsigned long n = strtoul(argv[2], NULL, 10); n > 0; n--) get_stream("stream");
    } else if (strcmp(what, "many") == 0 && argc == 4) {
        source = argv[3];
        open_vault();
        many(strtoul(argv[2], NULL, 10));
    } else {
        fprintf(stderr, "usage: memory empty | file FILE | restore FILE | stream MIB | pipe TIMES | many N FILE\n");
        return 2;
    }
    if (s3v_process_stats(&stats, &err) < 0) fatal("statistics", err);
    printf("{\"peak_kib\": %ld, \"memory_peak\": %" PRIu64 ", \"memory_limit\": %" PRIu64 ", \"connections_peak\": %" PRIu64
           "}\n", peak_kib(), stats.memory_peak, stats.memory_limit, stats.connections_peak);
    s3v_vault_free(vault);
    s3v_shutdown(10000, NULL);
    return 0;
}
