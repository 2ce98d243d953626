/* Cancel, time-outs, stops from callbacks, busy handles, and handles that threads share.
 *
 * Two threads meet at a gate inside a callback, never by sleeping. For the rest see lifecycle.c.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* ---- a store that accepts connections and never answers ---- */

static int silent_socket;

static s3v_config *silent_store(void) {
    s3v_error *err = NULL;
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    char url[64];
    s3v_config *config = s3v_config_new();
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    silent_socket = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(silent_socket, (struct sockaddr *)&address, sizeof address) == 0 && listen(silent_socket, 16) == 0);
    CHECK(getsockname(silent_socket, (struct sockaddr *)&address, &length) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    OK(s3v_config_set(config, "api_url", url, &err));
    OK(s3v_config_set(config, "access_key", "nobody", &err));
    OK(s3v_config_set(config, "secret_key", "nothing", &err));
    OK(s3v_config_set(config, "bucket", "nowhere", &err));
    return config;
}

/* Makes the first request to the store: opening the vault, or finding a version in it. */
static int32_t ask(const s3v_config *config, const s3v_ctl *ctl, s3v_error **err) {
    s3v_vault *silent = NULL;
    s3v_version *version = NULL;
    int32_t rc = s3v_vault_open(config, NULL, ctl, &silent, err);
    if (rc == 0) rc = s3v_version_find(silent, CONTAINER, "x", NULL, ctl, &version, err);
    s3v_version_free(version);
    s3v_vault_free(silent);
    return rc;
}

/* Two threads meet: `hold` stops the calling thread inside its callback until the other one opens the gate. */
struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int entered, open;
};

static void gate_init(struct gate *gate) {
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->entered = gate->open = 0;
}

static int32_t hold(void *ctx, const s3v_event *event) {
    struct gate *gate = ctx;
    CHECK(event->size == sizeof *event);
    pthread_mutex_lock(&gate->mutex);
    gate->entered = 1;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open) pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    return 0;
}

static void wait_until_entered(struct gate *gate) {
    pthread_mutex_lock(&gate->mutex);
    while (!gate->entered) pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void open_gate(struct gate *gate) {
    pthread_mutex_lock(&gate->mutex);
    gate->open = 1;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

struct canceller {
    struct gate gate;
    s3v_cancel *cancel;
};

static void *cancel_when_entered(void *arg) {
    struct canceller *c = arg;
    wait_until_entered(&c->gate);
    s3v_cancel_trigger(c->cancel);
    return NULL;
}

static void cancel_from_another_thread_ends_a_waiting_call(void) {
    s3v_error *err = NULL;
    struct canceller c;
    pthread_t thread;
    s3v_config *config = silent_store();
    gate_init(&c.gate);
    open_gate(&c.gate); /* only to learn that the call has started */
    c.cancel = s3v_cancel_new();
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &c.gate, .on_event = hold, .cancel = c.cancel};
    CHECK(pthread_create(&thread, NULL, cancel_when_entered, &c) == 0);
    FAILS(ask(config, &ctl, &err), S3V_E_CANCELLED);
    CHECK(pthread_join(thread, NULL) == 0);
    /* A triggered cancel stays triggered. */
    FAILS(ask(config, &ctl, &err), S3V_E_CANCELLED);
    s3v_cancel_free(c.cancel);
    s3v_config_free(config);
    close(silent_socket);
}

static int32_t stop(void *ctx, const s3v_event *event) {
    (void)event;
    ++*(int *)ctx;
    return 1;
}

static void a_callback_stops_a_waiting_call(void) {
    s3v_error *err = NULL;
    int events = 0;
    s3v_config *config = silent_store();
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &events, .on_event = stop};
    FAILS(ask(config, &ctl, &err), S3V_E_STOPPED);
    CHECK(events == 1);
    s3v_config_free(config);
    close(silent_socket);
}

static void a_timeout_ends_a_waiting_call(void) {
    s3v_error *err = NULL;
    s3v_config *config = silent_store();
    s3v_ctl ctl = {.size = sizeof ctl, .timeout_ms = 300};
    FAILS(ask(config, &ctl, &err), S3V_E_TIMED_OUT);
    s3v_config_free(config);
    close(silent_socket);
}

/* ---- one handle, two calls ---- */

struct writer {
    struct gate gate;
    s3v_put *put;
    uint64_t written;
};

/* Writes until an event has stopped it at the gate, and to the end of that call. */
static void *write_until_held(void *arg) {
    struct writer *w = arg;
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &w->gate, .on_event = hold};
    s3v_error *err = NULL;
    char *data = filled(8 * MIB);
    for (int i = 0; i < 64 && !w->gate.entered; i++) {
        OK(s3v_put_write(w->put, data, 8 * MIB, &ctl, &err));
        w->written += 8 * MIB;
    }
    free(data);
    /* No event in 512 MiB: open the gate, so that the other thread does not wait. */
    CHECK(w->gate.entered);
    return NULL;
}

static void start_writer(struct writer *w, pthread_t *thread) {
    s3v_error *err = NULL;
    memset(w, 0, sizeof *w);
    gate_init(&w->gate);
    OK(s3v_put_open(vault, CONTAINER, "busy", NULL, NULL, &w->put, &err));
    CHECK(pthread_create(thread, NULL, write_until_held, w) == 0);
    wait_until_entered(&w->gate);
}

static void a_second_call_is_busy(void) {
    s3v_error *err = NULL;
    s3v_version *version = NULL;
    struct writer w;
    pthread_t thread;
    start_writer(&w, &thread);
    FAILS(s3v_put_write(w.put, "x", 1, NULL, &err), S3V_E_BUSY);
    FAILS(s3v_put_commit(w.put, NULL, &version, &err), S3V_E_BUSY);
    CHECK(s3v_put_offset(w.put) <= UINT64_C(64) * 8 * MIB); /* allowed, and does not wait */
    open_gate(&w.gate);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(s3v_put_offset(w.put) == w.written);
    OK(s3v_put_commit(w.put, NULL, &version, &err));
    CHECK(s3v_version_info(version)->bytes == w.written);
    s3v_version_free(version);
    s3v_put_free(w.put);
}

static void a_free_during_a_call_takes_effect_at_its_end(void) {
    struct writer w;
    pthread_t thread;
    start_writer(&w, &thread);
    s3v_put_free(w.put);
    open_gate(&w.gate);
    CHECK(pthread_join(thread, NULL) == 0);
}

static int32_t write_again(void *ctx, const s3v_event *event) {
    struct writer *w = ctx;
    s3v_error *err = NULL;
    (void)event;
    w->gate.entered = 1;
    FAILS(s3v_put_write(w->put, "x", 1, NULL, &err), S3V_E_BUSY);
    CHECK(s3v_put_offset(w->put) <= w->written + 8 * MIB);
    return 7;
}

static void a_stopped_write_continues_where_it_was(void) {
    s3v_error *err = NULL;
    s3v_version *version = NULL;
    s3v_get *get = NULL;
    struct writer w;
    char *data = filled(8 * MIB);
    memset(&w, 0, sizeof w);
    OK(s3v_put_open(vault, CONTAINER, "stopped", NULL, NULL, &w.put, &err));
    s3v_ctl ctl = {.size = sizeof ctl, .ctx = &w, .on_event = write_again};
    int32_t rc = 0;
    for (int i = 0; i < 64 && rc == 0; i++) {
        rc = s3v_put_write(w.put, data, 8 * MIB, &ctl, &err);
        if (rc == 0) w.written += 8 * MIB;
    }
    CHECK(w.gate.entered);
    FAILS(rc, S3V_E_STOPPED);
    uint64_t taken = s3v_put_offset(w.put) - w.written;
    CHECK(taken <= 8 * MIB);
    OK(s3v_put_write(w.put, data + taken, 8 * MIB - (size_t)taken, NULL, &err));
    OK(s3v_put_commit(w.put, NULL, &version, &err));
    w.written += 8 * MIB;
    CHECK(s3v_version_info(version)->bytes == w.written);
    s3v_put_free(w.put);

    size_t size = (size_t)w.written;
    char *all = malloc(size);
    CHECK(all != NULL);
    for (size_t at = 0; at < size; at += 8 * MIB) memcpy(all + at, data, 8 * MIB);
    OK(s3v_get_open(version, NULL, NULL, &get, &err));
    expect_data(get, all, size);
    s3v_get_free(get);
    s3v_version_free(version);
    free(all);
    free(data);
}

/* ---- shared handles ---- */

static void *put_and_get(void *arg) {
    const char *path = arg;
    char text[32];
    for (int i = 0; i < 5; i++) {
        s3v_error *err = NULL;
        s3v_version *newest = NULL;
        s3v_get *get = NULL;
        snprintf(text, sizeof text, "%s %d", path, i);
        s3v_version *stored = store(vault, path, text, strlen(text));
        OK(s3v_version_find(vault, CONTAINER, path, NULL, NULL, &newest, &err));
        CHECK(strcmp(s3v_version_info(stored)->vid, s3v_version_info(newest)->vid) == 0);
        OK(s3v_get_open(newest, NULL, NULL, &get, &err));
        expect_data(get, text, strlen(text));
        s3v_get_free(get);
        s3v_version_free(newest);
        s3v_version_free(stored);
    }
    return NULL;
}

static s3v_version *shared_version;

static void *read_shared_version(void *arg) {
    s3v_error *err = NULL;
    for (int i = 0; i < 5; i++) {
        s3v_get *get = NULL;
        OK(s3v_get_open(shared_version, NULL, NULL, &get, &err));
        expect_data(get, arg, 3 * MIB);
        s3v_get_free(get);
    }
    return NULL;
}

static void two_threads_share_a_vault_and_a_version(void) {
    pthread_t one, two;
    char *data = filled(3 * MIB);
    CHECK(pthread_create(&one, NULL, put_and_get, "thread-one") == 0);
    CHECK(pthread_create(&two, NULL, put_and_get, "thread-two") == 0);
    CHECK(pthread_join(one, NULL) == 0 && pthread_join(two, NULL) == 0);
    shared_version = store(vault, "shared", data, 3 * MIB);
    CHECK(pthread_create(&one, NULL, read_shared_version, data) == 0);
    CHECK(pthread_create(&two, NULL, read_shared_version, data) == 0);
    CHECK(pthread_join(one, NULL) == 0 && pthread_join(two, NULL) == 0);
    s3v_version_free(shared_version);
    free(data);
}

static const struct test tests[] = {
    TEST(cancel_from_another_thread_ends_a_waiting_call),
    TEST(a_callback_stops_a_waiting_call),
    TEST(a_timeout_ends_a_waiting_call),
    TEST(a_second_call_is_busy),
    TEST(a_free_during_a_call_takes_effect_at_its_end),
    TEST(a_stopped_write_continues_where_it_was),
    TEST(two_threads_share_a_vault_and_a_version),
};

int main(void) { return run_tests(tests, sizeof tests / sizeof tests[0]); }
