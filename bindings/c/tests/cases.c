/* Runs the shared cases (*.json in the folder S3VAULT_CASES) against the store that the environment names.
 *
 * Prints a line for each case, "ok NAME", "FAIL NAME: why" or "skip NAME: why", then the counts. The exit code is 0 only
 * if some case ran and none failed. Cases that need a feature which this caller does not have are left to others.
 * tests/cases/README.md says what a case and its steps mean; steps.c has the steps.
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "steps.h"

static struct {
    unsigned passed, failed;
} count;

static void run_steps(struct session *session, const cJSON *test) {
    const char *name = text(test, "name");
    const cJSON *step = NULL;
    int number = 0;
    char why[WHY_SIZE] = "it has no steps";
    int rc = -1;

    start_case(session);
    cJSON_ArrayForEach(step, field(test, "steps")) {
        number++;
        rc = run_step(session, step, why);
        if (rc != 0) break;
    }
    if (rc == 0) {
        printf("ok %s\n", name);
        count.passed++;
    } else {
        printf("FAIL %s: step %d: %s\n", name, number, why);
        count.failed++;
    }
}

static void run_verify(const cJSON *test, const cJSON *verify) {
    const char *name = text(test, "name");
    char why[WHY_SIZE] = "";
    if (run_verification(verify, why) == 0) {
        printf("ok %s\n", name);
        count.passed++;
    } else {
        printf("FAIL %s: %s\n", name, why);
        count.failed++;
    }
}

/* Whether a case is for another encryption than that of the environment. */
static int is_for_other(const char *encryption) {
    const char *own = getenv("S3VAULT_ENCRYPTION");
    return encryption != NULL && (own == NULL || strcmp(own, encryption) != 0);
}

static void run_file(struct session *session, const char *folder, const char *file) {
    char path[4096];
    struct bytes content = {NULL, 0};
    const cJSON *test = NULL;
    cJSON *root = NULL;
    const cJSON *cases;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (read_file(path, &content) == 0) root = cJSON_ParseWithLength((const char *)content.data, content.size);
    free(content.data);
    cases = field(root, "cases");
    if (!cJSON_IsArray(cases)) {
        printf("FAIL %s: no JSON object with an array 'cases'\n", file);
        count.failed++;
    }
    cJSON_ArrayForEach(test, cases) {
        const cJSON *verify = field(test, "verify");
        if (text(test, "name") == NULL) {
            printf("FAIL %s: a case without a name\n", file);
            count.failed++;
        } else if (text(test, "needs") != NULL) {
            printf("skip %s: needs %s\n", text(test, "name"), text(test, "needs"));
        } else if (is_for_other(text(test, "encryption"))) {
            printf("skip %s: S3VAULT_ENCRYPTION is not %s\n", text(test, "name"), text(test, "encryption"));
        } else if (verify != NULL) {
            run_verify(test, verify);
        } else {
            run_steps(session, test);
        }
        fflush(stdout);
    }
    cJSON_Delete(root);
}

static int is_json(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".json") == 0;
}

int main(void) {
    const char *folder = getenv("S3VAULT_CASES"), *store = getenv("S3VAULT_API_URL");
    struct dirent **files = NULL;
    struct session *session;
    int n;

    if (store == NULL || *store == '\0') {
        fprintf(stderr, "cases: S3VAULT_API_URL is not set: start a store, as scripts/with-store.sh does\n");
        return 2;
    }
    if (folder == NULL) folder = "../../tests/cases";
    n = scandir(folder, &files, is_json, alphasort);
    if (n < 0) {
        perror(folder);
        return 2;
    }
    session = session_open();
    for (int i = 0; i < n; i++) {
        run_file(session, folder, files[i]->d_name);
        free(files[i]);
    }
    free(files);
    session_close(session);

    printf("%u passed, %u failed\n", count.passed, count.failed);
    return count.failed == 0 && count.passed > 0 ? 0 : 1;
}
