#define _POSIX_C_SOURCE 200809L
#include "steps.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <s3vault.h>

#include "data.h"

#define MIB ((size_t)1 << 20)
#define SAVED_MAX 64

struct session {
    s3v_keyring *keyring; /* of this run */
    s3v_vault *own;       /* opened with it */
    s3v_vault *vault;     /* of the case: `own`, or the one that a step "vault" opened */
    s3v_keyring *made;    /* that the case has made; NULL if it has made none */
    struct {
        const char *name; /* lives in the case's JSON */
        char vid[64], hash[160];
    } saved[SAVED_MAX];
    size_t saved_count;
    char folder[256]; /* for files that are stored and restored, and for checkpoints */
    unsigned cases;   /* started so far */
};

/* The outcome of a step. CHECK_FAILED: the call succeeded, but the result is not what the case expects. */
enum outcome { STEP_DONE = 0, CHECK_FAILED = 1, LIBRARY_ERROR = 2 };

static enum outcome failed(char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, WHY_SIZE, format, args);
    va_end(args);
    return CHECK_FAILED;
}

static void fatal(const char *what, s3v_error *err) {
    fprintf(stderr, "cases: %s: %s\n", what, s3v_error_get(err, S3V_FIELD_MESSAGE));
    s3v_error_free(err);
    exit(2);
}

/* A field that this runner does not know would not be checked, without a word. */
static enum outcome only_fields(const cJSON *step, const char *known, char *why) {
    const cJSON *child = NULL;
    cJSON_ArrayForEach(child, step) {
        char word[64];
        snprintf(word, sizeof word, " %s ", child->string);
        if (strstr(known, word) == NULL) return failed(why, "this runner does not know the field '%s'", child->string);
    }
    return STEP_DONE;
}

/* ---- settings and saved versions ---- */

/* "$name" is the vid that a put saved, "$name.hash" its manifest's hash. Returns NULL if there is no such name. */
static const char *expand(const struct session *session, const char *value, char *why) {
    if (value == NULL || value[0] != '$') return value;
    for (size_t i = 0; i < session->saved_count; i++) {
        size_t length = strlen(session->saved[i].name);
        if (strncmp(value + 1, session->saved[i].name, length) != 0) continue;
        if (strcmp(value + 1 + length, "") == 0) return session->saved[i].vid;
        if (strcmp(value + 1 + length, ".hash") == 0) return session->saved[i].hash;
    }
    failed(why, "nothing was saved as '%s'", value);
    return NULL;
}

static enum outcome set_all(const struct session *session, s3v_config *config, const cJSON *settings, char *why,
                            s3v_error **err) {
    const cJSON *setting = NULL;
    cJSON_ArrayForEach(setting, settings) {
        if (!cJSON_IsString(setting)) return failed(why, "the value of '%s' is not a text", setting->string);
        const char *value = expand(session, setting->valuestring, why);
        if (value == NULL) return CHECK_FAILED;
        if (s3v_config_set(config, setting->string, value, err) < 0) return LIBRARY_ERROR;
    }
    return STEP_DONE;
}

/* The file of a step's checkpoint, for this case alone. Returns 0 if the step has none. */
static int checkpoint_file(const struct session *session, const cJSON *step, char path[512]) {
    const char *name = text(step, "checkpoint");
    if (name == NULL) return 0;
    snprintf(path, 512, "%s/%u-%s.checkpoint", session->folder, session->cases, name);
    return 1;
}

/* The options of a put, its checkpoint among them. */
static enum outcome put_options(const struct session *session, s3v_config *options, const cJSON *step, char *why,
                                s3v_error **err) {
    char path[512];
    enum outcome outcome = set_all(session, options, field(step, "options"), why, err);
    if (outcome == STEP_DONE && checkpoint_file(session, step, path) &&
        s3v_config_set(options, S3V_OPT_CHECKPOINT, path, err) < 0) {
        outcome = LIBRARY_ERROR;
    }
    return outcome;
}

static s3v_keyring *new_keyring(void) {
    s3v_error *err = NULL;
    s3v_keyring *keyring = NULL;
    if (s3v_keyring_open(NULL, NULL, 0, 1, &keyring, &err) < 0) fatal("a new keyring", err);
    return keyring;
}

/* Makes another key-encryption key current. */
static enum outcome rotate_keyring(s3v_keyring *keyring, s3v_error **err) {
    static const char recipient[] = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef";
    s3v_bytes *kek = NULL, *escrow = NULL;
    char id[64];
    size_t length = 0;
    enum outcome outcome = LIBRARY_ERROR;
    if (s3v_keyring_add(keyring, &kek, err) >= 0 &&
        s3v_keyring_export(keyring, NULL, "recipients", recipient, sizeof recipient - 1, NULL, &escrow, err) >= 0) {
        const char *data = s3v_bytes_data(kek, &length);
        snprintf(id, sizeof id, "%.*s", (int)length, data);
        if (s3v_keyring_activate(keyring, id, err) >= 0) outcome = STEP_DONE;
    }
    s3v_bytes_free(escrow);
    s3v_bytes_free(kek);
    return outcome;
}

static s3v_config *environment(void) {
    s3v_error *err = NULL;
    s3v_config *config = s3v_config_new();
    if (s3v_config_env(config, &err) < 0) fatal("the settings of the environment", err);
    return config;
}

struct session *session_open(void) {
    s3v_error *err = NULL;
    struct session *session = allocate(sizeof *session);
    const char *parent = getenv("TMPDIR");
    memset(session, 0, sizeof *session);
    session->keyring = new_keyring();
    s3v_config *config = environment();
    if (s3v_vault_open(config, session->keyring, NULL, &session->own, &err) < 0) fatal("the vault", err);
    s3v_config_free(config);
    session->vault = session->own;
    snprintf(session->folder, sizeof session->folder, "%s/s3vault-cases.XXXXXX", parent == NULL ? "/tmp" : parent);
    if (mkdtemp(session->folder) == NULL) {
        perror(session->folder);
        exit(2);
    }
    return session;
}

void start_case(struct session *session) {
    if (session->vault != session->own) s3v_vault_free(session->vault);
    session->vault = session->own;
    s3v_keyring_free(session->made);
    session->made = NULL;
    session->saved_count = 0;
    session->cases++;
}

void session_close(struct session *session) {
    start_case(session);
    s3v_vault_free(session->own);
    s3v_keyring_free(session->keyring);
    rmdir(session->folder);
    free(session);
    s3v_shutdown(10000, NULL);
}

/* ---- steps ---- */

static enum outcome step_vault(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    const char *which = text(step, "keyring");
    s3v_config *config = environment();
    s3v_keyring *keyring = session->keyring;
    s3v_vault *vault = NULL;
    enum outcome outcome = set_all(session, config, field(step, "settings"), why, err);
    if (which == NULL || outcome != STEP_DONE || strcmp(which, "own") == 0) {
        /* The keyring of this run. */
    } else if (strcmp(which, "none") == 0) {
        keyring = NULL;
    } else if (strcmp(which, "new") == 0) {
        s3v_keyring_free(session->made);
        keyring = session->made = new_keyring();
    } else if (strcmp(which, "rotated") == 0) {
        keyring = session->made;
        outcome = keyring == NULL ? failed(why, "the case has no keyring of its own") : rotate_keyring(keyring, err);
    } else {
        outcome = failed(why, "this runner does not know the keyring '%s'", which);
    }
    if (outcome == STEP_DONE && s3v_vault_open(config, keyring, NULL, &vault, err) < 0) outcome = LIBRARY_ERROR;
    if (vault != NULL) {
        if (session->vault != session->own) s3v_vault_free(session->vault);
        session->vault = vault;
    }
    s3v_config_free(config);
    return outcome;
}

static enum outcome save_row(struct session *session, const cJSON *step, const s3v_row *row, char *why) {
    const char *save = text(step, "save");
    if (save == NULL) return STEP_DONE;
    if (session->saved_count == SAVED_MAX) return failed(why, "this runner saves %d versions at most", SAVED_MAX);
    session->saved[session->saved_count].name = save;
    snprintf(session->saved[session->saved_count].vid, sizeof session->saved[0].vid, "%s", row->vid);
    snprintf(session->saved[session->saved_count].hash, sizeof session->saved[0].hash, "%s", row->manifest_hash);
    session->saved_count++;
    return STEP_DONE;
}

static enum outcome check_row(struct session *session, const cJSON *step, const s3v_row *row, size_t size, char *why) {
    if (row == NULL) return failed(why, "the new version has no row");
    if (strcmp(row->container, text(step, "container")) != 0 || strcmp(row->path, text(step, "path")) != 0) {
        return failed(why, "the row is of %s/%s", row->container, row->path);
    }
    if (row->bytes != size) return failed(why, "the row has %" PRIu64 " bytes, not %zu", row->bytes, size);
    if (strlen(row->vid) != 26) return failed(why, "the vid '%s' is not 26 characters long", row->vid);
    if (row->manifest_hash == NULL) return failed(why, "the row has no manifest hash");
    return save_row(session, step, row, why);
}

/* Opens a put and writes the data from its offset, which must be within "resumes_at", up to byte `end`, `chunk` bytes
 * at a time. The put is the caller's, also after an error. */
static enum outcome write_up_to(struct session *session, const cJSON *step, const s3v_config *options,
                                struct bytes data, size_t end, s3v_put **put, char *why, s3v_error **err) {
    const cJSON *asked = field(step, "chunk"), *resumes_at = field(step, "resumes_at");
    size_t chunk = cJSON_IsNumber(asked) && asked->valuedouble >= 1 ? (size_t)asked->valuedouble : MIB;
    if (s3v_put_open(session->vault, text(step, "container"), text(step, "path"), options, NULL, put, err) < 0) {
        return LIBRARY_ERROR;
    }
    size_t at = (size_t)s3v_put_offset(*put);
    if (resumes_at != NULL) {
        double least = cJSON_GetNumberValue(cJSON_GetArrayItem(resumes_at, 0));
        double most = cJSON_GetNumberValue(cJSON_GetArrayItem(resumes_at, 1));
        if ((double)at < least || (double)at > most || at % (8 * MIB) != 0) {
            return failed(why, "the put resumes at byte %zu, not at a multiple of 8 MiB from %.0f to %.0f", at, least, most);
        }
    }
    for (; at < end; at += chunk) {
        size_t length = end - at < chunk ? end - at : chunk;
        if (s3v_put_write(*put, data.data + at, length, NULL, err) < 0) return LIBRARY_ERROR;
    }
    if (s3v_put_offset(*put) != end) return failed(why, "the put accepted %" PRIu64 " bytes", s3v_put_offset(*put));
    return STEP_DONE;
}

/* Stores the data from a file, by name or by descriptor. */
static int32_t put_from_file(struct session *session, const cJSON *step, const s3v_config *options, struct bytes data,
                             int by_name, s3v_version **version, s3v_error **err) {
    const char *container = text(step, "container"), *path = text(step, "path");
    char file[512];
    int32_t rc;
    snprintf(file, sizeof file, "%s/source", session->folder);
    write_file(file, data);
    if (by_name) {
        rc = s3v_put_file(session->vault, container, path, file, options, NULL, version, err);
    } else {
        int fd = open(file, O_RDONLY);
        rc = s3v_put_fd(session->vault, container, path, fd, options, NULL, version, err);
        close(fd);
    }
    unlink(file);
    return rc;
}

static enum outcome step_put(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    const char *from = text(step, "from");
    struct bytes data = make_data(field(step, "data"));
    s3v_config *options = s3v_config_new();
    s3v_version *version = NULL;
    char checkpoint[512];
    int32_t rc = 0;
    enum outcome outcome = put_options(session, options, step, why, err);
    if (outcome == STEP_DONE && (from == NULL || strcmp(from, "stream") == 0)) {
        s3v_put *put = NULL;
        outcome = write_up_to(session, step, options, data, data.size, &put, why, err);
        if (outcome == STEP_DONE) rc = s3v_put_commit(put, NULL, &version, err);
        s3v_put_free(put);
    } else if (outcome == STEP_DONE && (strcmp(from, "file") == 0 || strcmp(from, "fd") == 0)) {
        rc = put_from_file(session, step, options, data, strcmp(from, "file") == 0, &version, err);
    } else if (outcome == STEP_DONE) {
        outcome = failed(why, "this runner does not know the source '%s'", from);
    }
    if (rc < 0) outcome = LIBRARY_ERROR;
    if (outcome == STEP_DONE && checkpoint_file(session, step, checkpoint) && access(checkpoint, F_OK) == 0) {
        outcome = failed(why, "the backup is stored, but its checkpoint still exists");
    }
    if (outcome == STEP_DONE) outcome = check_row(session, step, s3v_version_info(version), data.size, why);
    s3v_version_free(version);
    s3v_config_free(options);
    free(data.data);
    return outcome;
}

static enum outcome step_abandon(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    struct bytes data = make_data(field(step, "data"));
    s3v_put *put = NULL;
    enum outcome outcome = write_up_to(session, step, NULL, data, data.size, &put, why, err);
    if (outcome == STEP_DONE && s3v_put_abort(put, NULL, err) < 0) outcome = LIBRARY_ERROR;
    s3v_put_free(put);
    free(data.data);
    return outcome;
}

/* Writes a byte with a triggered cancel, which fails, and suspends with it, which succeeds. */
static enum outcome cancel_and_suspend(s3v_put *put, struct bytes data, char *why, s3v_error **err) {
    s3v_cancel *cancel = s3v_cancel_new();
    s3v_ctl ctl = {.size = sizeof ctl, .cancel = cancel};
    enum outcome outcome = STEP_DONE;
    s3v_cancel_trigger(cancel);
    int32_t rc = s3v_put_write(put, data.data, 1, &ctl, err);
    if (rc != S3V_E_CANCELLED) {
        outcome = rc < 0 ? LIBRARY_ERROR : failed(why, "a write went through although it was cancelled");
    } else {
        s3v_error_free(*err);
        if (s3v_put_suspend(put, &ctl, err) < 0) outcome = LIBRARY_ERROR;
    }
    s3v_cancel_free(cancel);
    return outcome;
}

static enum outcome step_suspend(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    struct bytes data = make_data(field(step, "data"));
    double after = cJSON_GetNumberValue(field(step, "after"));
    s3v_config *options = s3v_config_new();
    s3v_put *put = NULL;
    char checkpoint[512];
    enum outcome outcome = put_options(session, options, step, why, err);
    if (outcome == STEP_DONE && !(after >= 0 && after <= (double)data.size)) {
        outcome = failed(why, "'after' is not an offset in the data");
    }
    if (outcome == STEP_DONE) outcome = write_up_to(session, step, options, data, (size_t)after, &put, why, err);
    if (outcome == STEP_DONE && cJSON_IsTrue(field(step, "cancel"))) {
        outcome = cancel_and_suspend(put, data, why, err);
    } else if (outcome == STEP_DONE && s3v_put_suspend(put, NULL, err) < 0) {
        outcome = LIBRARY_ERROR;
    }
    s3v_put_free(put);
    if (outcome == STEP_DONE && !(checkpoint_file(session, step, checkpoint) && access(checkpoint, F_OK) == 0)) {
        outcome = failed(why, "the backup is suspended, but its checkpoint does not exist");
    }
    s3v_config_free(options);
    free(data.data);
    return outcome;
}

static enum outcome compare(struct bytes got, struct bytes wanted, char *why) {
    size_t at = first_difference(got, wanted);
    if (at < got.size && at < wanted.size) return failed(why, "the data differs at offset %zu", at);
    if (got.size != wanted.size) return failed(why, "%zu bytes were restored, not %zu", got.size, wanted.size);
    return STEP_DONE;
}

static enum outcome get_stream(s3v_version *version, const s3v_config *reading, struct bytes wanted, char *why,
                               s3v_error **err) {
    /* One extra byte of room detects a stream that is too long. */
    struct bytes got = {allocate(wanted.size + 1), 0};
    s3v_get *get = NULL;
    size_t count = 1;
    int32_t rc = s3v_get_open(version, reading, NULL, &get, err);
    while (rc == 0 && count > 0 && got.size <= wanted.size) {
        size_t room = wanted.size + 1 - got.size;
        rc = s3v_get_read(get, got.data + got.size, room < MIB ? room : MIB, NULL, &count, err);
        if (rc == 0) got.size += count;
    }
    enum outcome outcome = rc < 0 ? LIBRARY_ERROR : compare(got, wanted, why);
    s3v_get_free(get);
    free(got.data);
    return outcome;
}

/* Reads by position, the last piece first; a read across the end returns what is there. */
static enum outcome get_by_position(s3v_version *version, const s3v_config *reading, struct bytes wanted, char *why,
                                    s3v_error **err) {
    const size_t piece = 5000000;
    struct bytes got = {allocate(wanted.size + piece), wanted.size};
    s3v_get *get = NULL;
    size_t count = 1;
    enum outcome outcome = STEP_DONE;
    int32_t rc = s3v_get_open(version, reading, NULL, &get, err);
    if (rc == 0) rc = s3v_get_pread(get, wanted.size, got.data, 10, NULL, &count, err);
    if (rc == 0 && count != 0) outcome = failed(why, "%zu bytes were read after the end", count);
    for (size_t n = (wanted.size + piece - 1) / piece; rc == 0 && outcome == STEP_DONE && n-- > 0;) {
        /* A separate buffer, since the next piece is already in place after this one. */
        size_t at = n * piece, expected = wanted.size - at < piece ? wanted.size - at : piece;
        unsigned char *room = allocate(piece);
        rc = s3v_get_pread(get, at, room, piece, NULL, &count, err);
        if (rc == 0 && count != expected) outcome = failed(why, "%zu bytes were read at byte %zu, not %zu", count, at, expected);
        if (rc == 0 && outcome == STEP_DONE) memcpy(got.data + at, room, count);
        free(room);
    }
    if (rc < 0) outcome = LIBRARY_ERROR;
    if (outcome == STEP_DONE) outcome = compare(got, wanted, why);
    s3v_get_free(get);
    free(got.data);
    return outcome;
}

static enum outcome get_file(const struct session *session, s3v_version *version, const s3v_config *reading,
                             int by_name, struct bytes wanted, char *why, s3v_error **err) {
    char path[512];
    struct bytes got = {NULL, 0};
    enum outcome outcome;
    int32_t rc;
    snprintf(path, sizeof path, "%s/restored", session->folder);
    if (by_name) {
        rc = s3v_get_file(version, path, reading, NULL, err);
    } else {
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        rc = s3v_get_fd(version, fd, reading, NULL, err);
        close(fd);
    }
    if (rc < 0) {
        outcome = LIBRARY_ERROR;
    } else if (read_file(path, &got) < 0) {
        outcome = failed(why, "the restored file cannot be read");
    } else {
        outcome = compare(got, wanted, why);
    }
    unlink(path);
    free(got.data);
    return outcome;
}

static enum outcome step_get(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    const char *to = text(step, "to");
    s3v_config *options = s3v_config_new(), *reading = s3v_config_new();
    s3v_version *version = NULL;
    struct bytes wanted = make_data(field(step, "data"));
    enum outcome outcome = set_all(session, options, field(step, "options"), why, err);
    if (outcome == STEP_DONE) outcome = set_all(session, reading, field(step, "reading"), why, err);
    if (outcome == STEP_DONE && s3v_version_find(session->vault, text(step, "container"), text(step, "path"), options,
                                                 NULL, &version, err) < 0) {
        outcome = LIBRARY_ERROR;
    }
    if (outcome == STEP_DONE && (to == NULL || strcmp(to, "stream") == 0)) {
        outcome = get_stream(version, reading, wanted, why, err);
    } else if (outcome == STEP_DONE && strcmp(to, "pread") == 0) {
        outcome = get_by_position(version, reading, wanted, why, err);
    } else if (outcome == STEP_DONE && (strcmp(to, "file") == 0 || strcmp(to, "fd") == 0)) {
        outcome = get_file(session, version, reading, strcmp(to, "file") == 0, wanted, why, err);
    } else if (outcome == STEP_DONE) {
        outcome = failed(why, "this runner does not know the target '%s'", to);
    }
    free(wanted.data);
    s3v_version_free(version);
    s3v_config_free(reading);
    s3v_config_free(options);
    return outcome;
}

/* Compares the rows of a list with the texts in "expect", in order. */
static enum outcome expect_exactly(const struct session *session, s3v_list *list, const cJSON *step, int is_vid,
                                   char *why, s3v_error **err) {
    const cJSON *expected = field(step, "expect");
    const s3v_row *row = NULL;
    int n = 0;
    int32_t rc;
    while ((rc = s3v_list_next(list, NULL, &row, err)) > 0) {
        const char *got = is_vid ? row->vid : row->path;
        const char *wanted = cJSON_GetStringValue(cJSON_GetArrayItem(expected, n++));
        if (wanted == NULL) return failed(why, "row %d, %s, is one too many", n, got);
        wanted = expand(session, wanted, why);
        if (wanted == NULL) return CHECK_FAILED;
        if (strcmp(got, wanted) != 0) return failed(why, "row %d is %s, not %s", n, got, wanted);
    }
    if (rc < 0) return LIBRARY_ERROR;
    if (field(step, "error") == NULL && n != cJSON_GetArraySize(expected)) {
        return failed(why, "%d rows were listed, not %d", n, cJSON_GetArraySize(expected));
    }
    return STEP_DONE;
}

/* Lists with the step's options, and compares. */
static enum outcome step_list(struct session *session, const cJSON *step, int is_versions, char *why,
                              s3v_error **err) {
    s3v_config *options = s3v_config_new();
    s3v_list *list = NULL;
    const char *container = text(step, "container");
    enum outcome outcome = set_all(session, options, field(step, "options"), why, err);
    if (outcome == STEP_DONE) {
        int32_t rc = is_versions
            ? s3v_list_versions(session->vault, container, text(step, "path"), options, NULL, &list, err)
            : s3v_list_paths(session->vault, container, text(step, "prefix"), options, NULL, &list, err);
        outcome = rc < 0 ? LIBRARY_ERROR : expect_exactly(session, list, step, is_versions, why, err);
    }
    s3v_list_free(list);
    s3v_config_free(options);
    return outcome;
}

static enum outcome step_versions(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    return step_list(session, step, 1, why, err);
}

static enum outcome step_paths(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    return step_list(session, step, 0, why, err);
}

static enum outcome step_chain(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    s3v_config *options = s3v_config_new();
    s3v_version *version = NULL;
    s3v_list *list = NULL;
    enum outcome outcome = set_all(session, options, field(step, "options"), why, err);
    if (outcome == STEP_DONE && (s3v_version_find(session->vault, text(step, "container"), text(step, "path"), options,
                                                  NULL, &version, err) < 0 ||
                                 s3v_list_chain(version, NULL, &list, err) < 0)) {
        outcome = LIBRARY_ERROR;
    }
    if (outcome == STEP_DONE) outcome = expect_exactly(session, list, step, 1, why, err);
    s3v_list_free(list);
    s3v_version_free(version);
    s3v_config_free(options);
    return outcome;
}

static enum outcome step_rm(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    s3v_version *deleted = NULL;
    enum outcome outcome = STEP_DONE;
    if (s3v_delete(session->vault, text(step, "container"), text(step, "path"), NULL, &deleted, err) < 0) {
        return LIBRARY_ERROR;
    }
    const s3v_row *row = s3v_version_info(deleted);
    if (row->kind != S3V_ROW_DELETED) outcome = failed(why, "the row has kind %" PRId32, row->kind);
    if (outcome == STEP_DONE) outcome = save_row(session, step, row, why);
    s3v_version_free(deleted);
    return outcome;
}

static enum outcome step_undelete(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    s3v_version *newest = NULL;
    enum outcome outcome = STEP_DONE;
    if (s3v_undelete(session->vault, text(step, "container"), text(step, "path"), NULL, &newest, err) < 0) {
        return LIBRARY_ERROR;
    }
    const char *wanted = expand(session, text(step, "expect"), why), *vid = s3v_version_info(newest)->vid;
    if (wanted == NULL) {
        outcome = failed(why, "it was expected to fail");
    } else if (strcmp(wanted, vid) != 0) {
        outcome = failed(why, "the newest version is %s, not %s", vid, wanted);
    }
    s3v_version_free(newest);
    return outcome;
}

static enum outcome step_delete(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    s3v_config *options = s3v_config_new();
    s3v_version *version = NULL;
    const char *vid = expand(session, text(step, "version"), why);
    enum outcome outcome = vid == NULL ? CHECK_FAILED : STEP_DONE;
    if (outcome == STEP_DONE &&
        (s3v_config_set(options, S3V_OPT_VERSION, vid, err) < 0 ||
         s3v_version_find(session->vault, text(step, "container"), text(step, "path"), options, NULL, &version, err) < 0 ||
         s3v_version_delete(version, NULL, NULL, err) < 0)) {
        outcome = LIBRARY_ERROR;
    }
    s3v_version_free(version);
    s3v_config_free(options);
    return outcome;
}

/* The items of a job that were compared with "expect" so far. */
struct items {
    const struct session *session;
    const cJSON *expected;
    int count;
    char why[WHY_SIZE]; /* of the first difference; empty if there is none */
};

static int32_t compare_item(void *ctx, const s3v_event *event) {
    struct items *items = ctx;
    if (event->kind != S3V_EVENT_ITEM || items->why[0] != '\0') return 0;
    cJSON *item = cJSON_Parse(event->text);
    const char *wanted = cJSON_GetStringValue(cJSON_GetArrayItem(items->expected, items->count++));
    const char *action = text(item, "action"), *vid = text(item, "vid"), *space = wanted ? strchr(wanted, ' ') : NULL;
    const char *wanted_vid = space ? expand(items->session, space + 1, items->why) : NULL;
    if (wanted_vid == NULL || event->done != (uint64_t)items->count || vid == NULL || strcmp(vid, wanted_vid) != 0 ||
        strlen(action) != (size_t)(space - wanted) || strncmp(action, wanted, strlen(action)) != 0) {
        failed(items->why, "item %d is %s, not %s", items->count, event->text, wanted ? wanted : "expected");
    }
    cJSON_Delete(item);
    return 0;
}

static const struct {
    const char *name;
    int32_t (*run)(s3v_vault *, const s3v_config *, const s3v_ctl *, s3v_bytes **, s3v_error **);
} jobs[] = {{"prune", s3v_prune}, {"sweep", s3v_sweep}, {"rotate", s3v_rotate}, {"rekey", s3v_rekey}};

static enum outcome check_report(const cJSON *step, int items, const cJSON *report, char *why) {
    const cJSON *wanted = NULL;
    if (items != cJSON_GetArraySize(field(step, "expect"))) return failed(why, "%d items came", items);
    if (cJSON_GetNumberValue(field(report, "problems")) != 0) return failed(why, "there are problems");
    cJSON_ArrayForEach(wanted, field(step, "report")) {
        double number = cJSON_GetNumberValue(field(report, wanted->string));
        if (number != wanted->valuedouble) {
            return failed(why, "%s is %.0f, not %.0f", wanted->string, number, wanted->valuedouble);
        }
    }
    return STEP_DONE;
}

static enum outcome step_job(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    struct items items = {.session = session, .expected = field(step, "expect")};
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &items, .on_event = compare_item};
    s3v_config *options = s3v_config_new();
    s3v_bytes *report = NULL;
    enum outcome outcome = set_all(session, options, field(step, "options"), why, err);
    if (outcome == STEP_DONE) {
        const char *container = text(step, "container");
        int32_t rc = s3v_config_set(options, S3V_OPT_CONTAINER, container == NULL ? "" : container, err);
        size_t n = 0;
        while (strcmp(jobs[n].name, text(step, "do")) != 0) n++;
        if (rc == 0) rc = jobs[n].run(session->vault, options, &ctl, &report, err);
        if (rc < 0) outcome = LIBRARY_ERROR;
    }
    if (outcome == STEP_DONE && items.why[0] != '\0') outcome = failed(why, "%s", items.why);
    if (outcome == STEP_DONE && field(step, "error") == NULL) {
        size_t length = 0;
        const char *json = s3v_bytes_data(report, &length);
        cJSON *found = cJSON_ParseWithLength(json, length);
        outcome = check_report(step, items.count, found, why);
        cJSON_Delete(found);
    }
    s3v_bytes_free(report);
    s3v_config_free(options);
    return outcome;
}

static enum outcome step_containers(struct session *session, const cJSON *step, char *why, s3v_error **err) {
    s3v_list *list = NULL;
    const s3v_row *row = NULL;
    const cJSON *name = NULL;
    cJSON *missing = cJSON_Duplicate(field(step, "includes"), 1);
    enum outcome outcome = STEP_DONE;
    int32_t rc = s3v_list_containers(session->vault, NULL, NULL, &list, err);
    while (rc >= 0 && outcome == STEP_DONE && (rc = s3v_list_next(list, NULL, &row, err)) > 0) {
        cJSON_ArrayForEach(name, field(step, "excludes")) {
            if (strcmp(name->valuestring, row->container) == 0) outcome = failed(why, "%s is listed", row->container);
        }
        for (int i = cJSON_GetArraySize(missing) - 1; i >= 0; i--) {
            if (strcmp(cJSON_GetArrayItem(missing, i)->valuestring, row->container) == 0) {
                cJSON_DeleteItemFromArray(missing, i);
            }
        }
    }
    if (rc < 0) {
        outcome = LIBRARY_ERROR;
    } else if (outcome == STEP_DONE && cJSON_GetArraySize(missing) > 0) {
        outcome = failed(why, "%s is not listed", cJSON_GetArrayItem(missing, 0)->valuestring);
    }
    cJSON_Delete(missing);
    s3v_list_free(list);
    return outcome;
}

static const struct {
    const char *name, *fields;
    enum outcome (*run)(struct session *, const cJSON *, char *, s3v_error **);
} steps[] = {
    {"put", " do error container path data from chunk options checkpoint resumes_at save ", step_put},
    {"suspend", " do error container path data after chunk options checkpoint resumes_at cancel ", step_suspend},
    {"abandon", " do error container path data ", step_abandon},
    {"get", " do error container path options reading to data ", step_get},
    {"rm", " do error container path save ", step_rm},
    {"undelete", " do error container path expect ", step_undelete},
    {"delete", " do error container path version ", step_delete},
    {"prune", " do error container options expect report ", step_job},
    {"sweep", " do error container options expect report ", step_job},
    {"rotate", " do error container options expect report ", step_job},
    {"rekey", " do error container options expect report ", step_job},
    {"versions", " do error container path options expect ", step_versions},
    {"paths", " do error container prefix options expect ", step_paths},
    {"chain", " do error container path options expect ", step_chain},
    {"containers", " do error includes excludes ", step_containers},
    {"vault", " do error settings keyring ", step_vault},
};

/* An error must be the one that the case names, with a message and a hint. */
static enum outcome check_error(const s3v_error *err, const char *wanted, char *why) {
    if (err == NULL) return failed(why, "a call failed without an error");
    const char *name = s3v_error_get(err, S3V_FIELD_NAME);
    const char *message = s3v_error_get(err, S3V_FIELD_MESSAGE);
    int32_t code = s3v_error_code(err);
    if (wanted == NULL || strcmp(name, wanted) != 0) {
        return failed(why, "%s%s%s: %s", name, wanted == NULL ? "" : " instead of ", wanted == NULL ? "" : wanted,
                      message);
    }
    if (*message == '\0') return failed(why, "%s has no message", name);
    /* A cancelled or stopped call needs no hint; every other error has one. */
    if (code != S3V_E_CANCELLED && code != S3V_E_STOPPED && *s3v_error_get(err, S3V_FIELD_HINT) == '\0') {
        return failed(why, "%s has no hint", name);
    }
    return STEP_DONE;
}

int run_step(struct session *session, const cJSON *step, char why[WHY_SIZE]) {
    const char *name = text(step, "do"), *wanted = text(step, "error");
    enum outcome outcome = STEP_DONE;
    s3v_error *err = NULL;
    size_t n = 0, count = sizeof steps / sizeof steps[0];
    while (n < count && (name == NULL || strcmp(steps[n].name, name) != 0)) n++;
    if (n == count) {
        outcome = failed(why, "this runner does not know the step '%s'", name == NULL ? "" : name);
    } else {
        outcome = only_fields(step, steps[n].fields, why);
        if (outcome == STEP_DONE && strstr(steps[n].fields, " data ") != NULL && !is_data(field(step, "data")) &&
            !(wanted != NULL && field(step, "data") == NULL)) {
            outcome = failed(why, "its data is not a text, and not a size with a seed");
        }
        if (outcome == STEP_DONE) outcome = steps[n].run(session, step, why, &err);
    }
    if (outcome == LIBRARY_ERROR) {
        outcome = check_error(err, wanted, why);
    } else if (outcome == STEP_DONE && wanted != NULL) {
        outcome = failed(why, "it succeeded instead of failing with %s", wanted);
    }
    s3v_error_free(err);
    return outcome == STEP_DONE ? 0 : -1;
}

int run_verification(const cJSON *verify, char why[WHY_SIZE]) {
    const char *object = text(verify, "object"), *wanted = text(field(verify, "expect"), "verdict");
    s3v_bytes *report = NULL;
    s3v_error *err = NULL;
    enum outcome outcome = STEP_DONE;
    if (object == NULL || wanted == NULL || text(verify, "public_keys") == NULL) {
        failed(why, "the case has no object, no public_keys or no expected verdict");
        return -1;
    }
    if (s3v_manifest_verify(object, strlen(object), text(verify, "public_keys"), &report, &err) < 0) {
        outcome = check_error(err, NULL, why);
    } else {
        size_t length = 0;
        const char *json = s3v_bytes_data(report, &length);
        cJSON *verdict = cJSON_ParseWithLength(json, length);
        const char *got = text(verdict, "verdict");
        if (got == NULL || strcmp(got, wanted) != 0) outcome = failed(why, "%.*s", (int)length, json);
        cJSON_Delete(verdict);
    }
    s3v_bytes_free(report);
    s3v_error_free(err);
    return outcome == STEP_DONE ? 0 : -1;
}
