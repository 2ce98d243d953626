/* backup: stores files and streams with s3vault, lists their versions, and restores them.
 *
 *   backup put CONTAINER PATH FILE|- [--checkpoint CHECKPOINT]
 *                                             stores a new version; prints its vid and its manifest's hash. With a
 *                                             checkpoint file, the same command resumes after Ctrl-C, a crash, or on
 *                                             another host; a pipe must be read from its start again
 *   backup get CONTAINER PATH FILE|- [VID]    restores the newest version, or the given one
 *   backup versions CONTAINER PATH            lists versions, newest first
 *
 * Settings come from the environment (S3VAULT_API_URL, S3VAULT_ACCESS_KEY, S3VAULT_SECRET_KEY, S3VAULT_BUCKET ...),
 * which has precedence over the TOML file that S3VAULT_CONFIG names. S3VAULT_KEYRING names the file with the signing
 * key; without it, backups are not signed.
 *
 * Build it with: cc -std=c99 backup.c $(pkg-config --cflags --libs s3vault) -o backup
 *
 * Three rules hold for all of it. A call that returns less than 0 has failed, and has set an s3v_error. Every handle has
 * a free function that accepts NULL, in any order. Nothing is stored until s3v_put_commit (or s3v_put_file) returns 0.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <s3vault.h>

#define PIECE ((size_t)1 << 20)

/* Exit codes: those of the s3vault command, so that a script can act on them. */
enum { DONE, OTHER, MISUSE, NOT_FOUND, REFUSED, UNREACHABLE, DAMAGED, UNKNOWN_OUTCOME };

/* Ctrl-C. s3v_cancel_trigger is async-signal-safe: it only sets a flag, which the running call checks. */
static s3v_cancel *cancel;
static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
    s3v_cancel_trigger(cancel);
}

/* Without SA_RESTART, so that waiting for a silent pipe is interrupted too. */
static void catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Whether the last line of standard error is a progress line. */
static int line_open;

static void end_line(void) {
    if (line_open) fputc('\n', stderr);
    line_open = 0;
}

/* Runs on the thread that called the library, during the call. Return non-zero to stop the call. */
static int32_t on_event(void *ctx, const s3v_event *event) {
    (void)ctx;
    if (event->kind == S3V_EVENT_LOG) {
        end_line();
        fprintf(stderr, "backup: %s\n", event->text);
    }
    if (event->kind == S3V_EVENT_PROGRESS && isatty(STDERR_FILENO)) {
        double mib = (double)event->done / (1 << 20);
        if (event->total == UINT64_MAX) {
            fprintf(stderr, "\r%10.1f MiB", mib);
        } else {
            fprintf(stderr, "\r%10.1f of %.1f MiB", mib, (double)event->total / (1 << 20));
        }
        if (event->retries > 0) fprintf(stderr, ", %" PRIu64 " retries", event->retries);
        line_open = 1;
    }
    return 0;
}

static int exit_code(const s3v_error *err) {
    switch (s3v_error_code(err)) {
    case S3V_E_VERSIONING: case S3V_E_VAULT_MISMATCH: return MISUSE;
    case S3V_E_NO_SUCH_BUCKET: case S3V_E_NOT_FOUND: return NOT_FOUND;
    case S3V_E_ACCESS_DENIED: case S3V_E_SIGNATURE_REFUSED: case S3V_E_UNKNOWN_ACCESS_KEY:
    case S3V_E_CLOCK_SKEW: case S3V_E_WRONG_REGION: case S3V_E_STORE: return REFUSED;
    case S3V_E_UNAVAILABLE: return UNREACHABLE;
    case S3V_E_FORMAT: case S3V_E_DAMAGED: case S3V_E_DATA_MISSING: case S3V_E_UNTRUSTED:
    case S3V_E_PIN_MISMATCH: return DAMAGED;
    case S3V_E_OUTCOME_UNKNOWN: return UNKNOWN_OUTCOME;
    default: break;
    }
    if (s3v_error_flags(err) & S3V_FLAG_MISUSE) return MISUSE;
    if (s3v_error_flags(err) & S3V_FLAG_TRANSPORT) return UNREACHABLE;
    return OTHER;
}

/* Prints what failed and what to do; frees the error; returns the exit code. */
static int report(s3v_error *err) {
    int code = exit_code(err);
    const char *hint = s3v_error_get(err, S3V_FIELD_HINT);
    const char *request_id = s3v_error_get(err, S3V_FIELD_REQUEST_ID);
    end_line();
    fprintf(stderr, "backup: %s\n", s3v_error_get(err, S3V_FIELD_MESSAGE));
    if (*hint != '\0') fprintf(stderr, "  hint: %s\n", hint);
    if (*request_id != '\0') fprintf(stderr, "  request id, for the store's support: %s\n", request_id);
    s3v_error_free(err);
    return code;
}

static int system_failed(const char *what) {
    end_line();
    fprintf(stderr, "backup: %s: %s\n", what, interrupted ? "interrupted" : strerror(errno));
    return OTHER;
}

static s3v_vault *open_vault(const s3v_ctl *ctl, s3v_error **err) {
    const char *settings_file = getenv("S3VAULT_CONFIG");
    const char *keyring_file = getenv("S3VAULT_KEYRING");
    s3v_config *config = s3v_config_new();
    s3v_keyring *keyring = NULL;
    s3v_vault *vault = NULL;
    int32_t rc = 0;

    /* A later value replaces an earlier one. */
    if (settings_file != NULL) rc = s3v_config_load(config, settings_file, err);
    if (rc == 0) rc = s3v_config_env(config, err);
    if (rc == 0 && keyring_file != NULL) rc = s3v_keyring_open(keyring_file, NULL, 0, 0, &keyring, err);
    if (rc == 0) s3v_vault_open(config, keyring, ctl, &vault, err);

    /* The vault has copied the settings and keeps the keyring alive. */
    s3v_keyring_free(keyring);
    s3v_config_free(config);
    return vault;
}

/* Waits until standard input can be read. Returns 0 after a signal, also if it came just before: it is blocked between
 * the check and the wait. A read alone would never return after such a signal. */
static int wait_for_input(void) {
    int ready = 0;
    sigset_t both, before;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &both, &before);
    while (!interrupted && ready <= 0) {
        fd_set input;
        FD_ZERO(&input);
        FD_SET(STDIN_FILENO, &input);
        ready = pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &before);
        if (ready < 0 && errno != EINTR) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (interrupted) errno = EINTR;
    return ready > 0 && !interrupted;
}

/* Writes standard input to an open put. What a resumed put has stored already is read and dropped. Returns an exit
 * code. */
static int feed(s3v_put *put, const s3v_ctl *ctl) {
    int result = DONE;
    uint64_t stored = s3v_put_offset(put);
    char *piece = malloc(PIECE);
    if (piece == NULL) return system_failed("out of memory");
    if (stored > 0) fprintf(stderr, "backup: resuming at byte %" PRIu64 "\n", stored);
    for (;;) {
        s3v_error *err = NULL;
        size_t wanted = stored > 0 && stored < PIECE ? (size_t)stored : PIECE;
        ssize_t count = wait_for_input() ? read(STDIN_FILENO, piece, wanted) : -1;
        if (count < 0) result = system_failed("standard input");
        if (count == 0 && stored > 0) {
            fprintf(stderr, "backup: standard input is shorter than what is already stored: not the same source\n");
            result = OTHER;
        }
        if (count <= 0) break;
        if (stored > 0) {
            stored -= (uint64_t)count;
            continue;
        }
        /* Accepts all of it, or fails after its own retries. */
        if (s3v_put_write(put, piece, (size_t)count, ctl, &err) < 0) {
            result = report(err);
            break;
        }
    }
    free(piece);
    return result;
}

static int put_stream(s3v_vault *vault, const char *container, const char *path, const s3v_config *options,
                      const s3v_ctl *ctl, s3v_version **version) {
    s3v_put *put = NULL;
    s3v_error *err = NULL;
    if (s3v_put_open(vault, container, path, options, ctl, &put, &err) < 0) return report(err);

    int result = feed(put, ctl);
    if (result != DONE) {
        /* Keeps the checkpoint, so that the put can be resumed; without one, removes the parts from the store. It works
         * although `cancel` was triggered. */
        if (s3v_put_suspend(put, NULL, &err) < 0) report(err);
    } else {
        /* Only this makes the backup visible. If the answer is lost, the outcome is unknown: committing again finds out,
         * and stores nothing twice. */
        int32_t rc = s3v_put_commit(put, ctl, version, &err);
        for (int again = 0; rc == S3V_E_OUTCOME_UNKNOWN && again < 3; again++) {
            s3v_error_free(err);
            rc = s3v_put_commit(put, ctl, version, &err);
        }
        if (rc < 0) result = report(err);
    }
    s3v_put_free(put);
    return result;
}

static int put(s3v_vault *vault, const char *container, const char *path, const char *file, const char *checkpoint,
               const s3v_ctl *ctl) {
    s3v_version *version = NULL;
    s3v_error *err = NULL;
    int result = DONE;
    s3v_config *options = s3v_config_new(); /* options of the call */
    if (checkpoint != NULL && s3v_config_set(options, S3V_OPT_CHECKPOINT, checkpoint, &err) < 0) {
        result = report(err);
    } else if (strcmp(file, "-") == 0) {
        result = put_stream(vault, container, path, options, ctl, &version);
    } else if (s3v_put_file(vault, container, path, file, options, ctl, &version, &err) < 0) {
        result = report(err);
    }
    s3v_config_free(options);
    struct stat found;
    /* An empty checkpoint has nothing to resume. */
    if (result != DONE && checkpoint != NULL && stat(checkpoint, &found) == 0 && found.st_size > 0) {
        fprintf(stderr, "backup: run the same command again to resume from %s\n", checkpoint);
    }
    if (result == DONE) {
        /* Keep the hash outside of the store: as option `pin` it proves that the version was not replaced. */
        const s3v_row *row = s3v_version_info(version);
        end_line();
        printf("vid=%s hash=%s bytes=%" PRIu64 "\n", row->vid, row->manifest_hash, row->bytes);
    }
    s3v_version_free(version);
    return result;
}

static int get_stream(s3v_version *version, const s3v_ctl *ctl) {
    s3v_get *get = NULL;
    s3v_error *err = NULL;
    int result = DONE;
    char *piece = malloc(PIECE);
    if (piece == NULL) return system_failed("out of memory");
    int32_t rc = s3v_get_open(version, NULL, ctl, &get, &err);
    while (rc == 0) {
        size_t count = 0;
        rc = s3v_get_read(get, piece, PIECE, ctl, &count, &err);
        /* The end is reported only after everything was verified: what was read before an error is not a backup. */
        if (rc != 0 || count == 0) break;
        if (fwrite(piece, 1, count, stdout) != count) {
            result = system_failed("standard output");
            break;
        }
    }
    if (rc < 0) result = report(err);
    s3v_get_free(get);
    free(piece);
    return result;
}

static int get(s3v_vault *vault, const char *container, const char *path, const char *file, const char *vid,
               const s3v_ctl *ctl) {
    s3v_version *version = NULL;
    s3v_error *err = NULL;
    int result = DONE;
    s3v_config *options = s3v_config_new();
    int32_t rc = vid == NULL ? 0 : s3v_config_set(options, S3V_OPT_VERSION, vid, &err);
    if (rc == 0) rc = s3v_version_find(vault, container, path, options, ctl, &version, &err);
    if (rc == 0 && strcmp(file, "-") == 0) {
        result = get_stream(version, ctl);
    } else if (rc == 0) {
        rc = s3v_get_file(version, file, NULL, ctl, &err);
    }
    if (rc < 0) result = report(err);
    s3v_version_free(version);
    s3v_config_free(options);
    return result;
}

static int versions(s3v_vault *vault, const char *container, const char *path, const s3v_ctl *ctl) {
    static const char *const kinds[] = {[S3V_ROW_FULL] = "full", [S3V_ROW_INCREMENTAL] = "incremental"};
    s3v_list *list = NULL;
    s3v_error *err = NULL;
    const s3v_row *row = NULL;
    int32_t rc = s3v_list_versions(vault, container, path, NULL, ctl, &list, &err);
    /* 1: a row, valid until the next call. 0: the end. */
    while (rc >= 0 && (rc = s3v_list_next(list, ctl, &row, &err)) > 0) {
        char recorded[32];
        time_t seconds = (time_t)(row->recorded_ms / 1000);
        struct tm utc;
        strftime(recorded, sizeof recorded, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &utc));
        int known = row->kind == S3V_ROW_FULL || row->kind == S3V_ROW_INCREMENTAL;
        printf("%s %s %-11s %" PRIu64 "\n", row->vid, recorded, known ? kinds[row->kind] : "-", row->bytes);
    }
    s3v_list_free(list);
    return rc < 0 ? report(err) : DONE;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    int has_checkpoint = argc == 7 && strcmp(argv[5], "--checkpoint") == 0;
    int is_put = strcmp(what, "put") == 0 && (argc == 5 || has_checkpoint);
    int is_get = strcmp(what, "get") == 0 && (argc == 5 || argc == 6);
    int is_versions = strcmp(what, "versions") == 0 && argc == 4;
    if (!is_put && !is_get && !is_versions) {
        fprintf(stderr, "usage: backup put CONTAINER PATH FILE|- [--checkpoint CHECKPOINT]\n"
                        "       backup get CONTAINER PATH FILE|- [VID]\n"
                        "       backup versions CONTAINER PATH\n");
        return MISUSE;
    }
    if (s3v_abi_version() != S3V_ABI_VERSION) {
        fprintf(stderr, "backup: built for another version of the interface than that of %s\n", s3v_version_text());
        return OTHER;
    }
    cancel = s3v_cancel_new();
    catch_signals();

    /* Passed to every call that may take long. All of its fields may stay 0. */
    s3v_ctl ctl = {.size = sizeof ctl, .on_event = on_event, .cancel = cancel};
    s3v_error *err = NULL;
    s3v_vault *vault = open_vault(&ctl, &err);
    int result;
    if (vault == NULL) result = report(err);
    else if (is_put) result = put(vault, argv[2], argv[3], argv[4], has_checkpoint ? argv[6] : NULL, &ctl);
    else if (is_get) result = get(vault, argv[2], argv[3], argv[4], argc == 6 ? argv[5] : NULL, &ctl);
    else result = versions(vault, argv[2], argv[3], &ctl);
    end_line();
    if (fflush(stdout) != 0 && result == DONE) result = system_failed("standard output");

    s3v_vault_free(vault);
    /* Waits for background work, such as the removal of an unfinished upload. */
    s3v_error *left = NULL;
    if (s3v_shutdown(10000, &left) < 0) report(left);
    /* Not freed while a signal may arrive. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    s3v_cancel_free(cancel);
    return result;
}
