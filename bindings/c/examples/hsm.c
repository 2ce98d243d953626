/* hsm: stores and restores encrypted files whose keys only a hardware security module (HSM) can unwrap, over PKCS#11.
 *
 *   hsm init                        makes the key in the token, if it is not there
 *   hsm put CONTAINER PATH FILE     stores a new version
 *   hsm get CONTAINER PATH FILE     restores the newest version
 *
 * HSM_MODULE is the token's PKCS#11 module, for SoftHSM /usr/lib/softhsm/libsofthsm2.so; HSM_TOKEN the label of the
 * token, HSM_PIN its PIN, and HSM_KEY the label of an AES key of 256 bits, which never leaves the token. The settings
 * of s3vault come from the environment (S3VAULT_*), with S3VAULT_ENCRYPTION=envelope or sse-c; S3VAULT_KEYRING names
 * the file with the signing key.
 *
 * Build it with: cc -std=c99 hsm.c $(pkg-config --cflags --libs s3vault) $(pkg-config --cflags p11-kit-1) -ldl -o hsm
 */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRYPTOKI_GNU 1
#include <p11-kit/pkcs11.h>
#include <s3vault.h>

enum { NONCE = 12, TAG = 16, KEY = 32, SHA256 = 32 };

/* The token, after login. Threads share it: each call has a session of its own, since a session does one thing at a
 * time. */
struct token {
    struct ck_function_list *module;
    ck_slot_id_t slot;
    ck_session_handle_t login; /* keeps the login of all sessions */
    const char *label;         /* of the key */
};

static int fail(const char *what, ck_rv_t rv) {
    fprintf(stderr, "hsm: %s: the token answered 0x%lx\n", what, rv);
    return 0;
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    if (value == NULL || *value == '\0') {
        fprintf(stderr, "hsm: %s is not set\n", name);
        exit(2);
    }
    return value;
}

/* Opens the token with this label. Returns 0 if that fails. */
static int open_token(struct token *token) {
    ck_rv_t (*list)(struct ck_function_list **);
    void *library = dlopen(variable("HSM_MODULE"), RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "hsm: %s\n", dlerror());
        return 0;
    }
    /* ISO C has no conversion from void* to a function; POSIX has this one. */
    *(void **)&list = dlsym(library, "C_GetFunctionList");
    if (list == NULL || list(&token->module) != CKR_OK) return fail("C_GetFunctionList", CKR_GENERAL_ERROR);

    /* Several threads call. */
    struct ck_c_initialize_args args;
    memset(&args, 0, sizeof args);
    args.flags = CKF_OS_LOCKING_OK;
    ck_rv_t rv = token->module->C_Initialize(&args);
    if (rv != CKR_OK) return fail("C_Initialize", rv);

    const char *wanted = variable("HSM_TOKEN"), *pin = variable("HSM_PIN");
    ck_slot_id_t slots[64];
    unsigned long count = sizeof slots / sizeof *slots;
    rv = token->module->C_GetSlotList(1, slots, &count);
    if (rv != CKR_OK) return fail("C_GetSlotList", rv);
    for (unsigned long i = 0; i < count; i++) {
        struct ck_token_info info;
        size_t length = strlen(wanted);
        if (token->module->C_GetTokenInfo(slots[i], &info) != CKR_OK || length > sizeof info.label) continue;
        /* The label is filled up with spaces. */
        if (memcmp(info.label, wanted, length) != 0) continue;
        if (length < sizeof info.label && info.label[length] != ' ') continue;
        token->slot = slots[i];
        rv = token->module->C_OpenSession(token->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &token->login);
        if (rv != CKR_OK) return fail("C_OpenSession", rv);
        rv = token->module->C_Login(token->login, CKU_USER, (unsigned char *)pin, strlen(pin));
        return rv == CKR_OK ? 1 : fail("the PIN was refused", rv);
    }
    fprintf(stderr, "hsm: there is no token '%s'\n", wanted);
    return 0;
}

/* The key with the label. */
static ck_rv_t find_key(const struct token *token, ck_session_handle_t session, ck_object_handle_t *key) {
    ck_object_class_t class = CKO_SECRET_KEY;
    struct ck_attribute wanted[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_LABEL, (void *)token->label, strlen(token->label)},
    };
    unsigned long count = 0;
    ck_rv_t rv = token->module->C_FindObjectsInit(session, wanted, 2);
    if (rv != CKR_OK) return rv;
    rv = token->module->C_FindObjects(session, key, 1, &count);
    token->module->C_FindObjectsFinal(session);
    return rv == CKR_OK && count == 0 ? CKR_KEY_HANDLE_INVALID : rv;
}

/* Makes the key, which can neither be read nor copied out of the token. */
static int make_key(const struct token *token) {
    unsigned char yes = 1, no = 0;
    unsigned long length = KEY;
    struct ck_mechanism mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    struct ck_attribute with[] = {
        {CKA_LABEL, (void *)token->label, strlen(token->label)},
        {CKA_VALUE_LEN, &length, sizeof length},
        {CKA_TOKEN, &yes, 1},
        {CKA_PRIVATE, &yes, 1},
        {CKA_SENSITIVE, &yes, 1},
        {CKA_EXTRACTABLE, &no, 1},
        {CKA_ENCRYPT, &yes, 1},
        {CKA_DECRYPT, &yes, 1},
    };
    ck_object_handle_t key;
    if (find_key(token, token->login, &key) == CKR_OK) return 1;
    ck_rv_t rv = token->module->C_GenerateKey(token->login, &mechanism, with, sizeof with / sizeof *with, &key);
    return rv == CKR_OK ? 1 : fail("C_GenerateKey", rv);
}

/* The id by which s3vault names the key: always the same for this label. */
static int name_key(const struct token *token, char id[17]) {
    struct ck_mechanism mechanism = {CKM_SHA256, NULL, 0};
    unsigned char hash[SHA256];
    unsigned long length = sizeof hash;
    ck_rv_t rv = token->module->C_DigestInit(token->login, &mechanism);
    if (rv == CKR_OK) {
        rv = token->module->C_Digest(token->login, (unsigned char *)token->label, strlen(token->label), hash, &length);
    }
    if (rv != CKR_OK) return fail("C_Digest", rv);
    for (int i = 0; i < 8; i++) snprintf(id + 2 * i, 3, "%02x", hash[i]);
    return 1;
}

/* Encrypts or decrypts in the token. What the data key belongs to is the associated data of AES-GCM, so that a wrapped
 * key opens for its own version only. Returns what a function of s3v_keyring_custom returns. */
static int32_t transform(struct token *token, s3v_key_call *call, int wraps) {
    struct ck_function_list *module = token->module;
    unsigned char *in = (unsigned char *)call->data, *out = call->out, *nonce = wraps ? out : in;
    unsigned long written = call->out_capacity;
    ck_session_handle_t session;
    ck_object_handle_t key;
    if (!wraps && call->data_len < NONCE + TAG) {
        snprintf(call->message, call->message_capacity, "it is too short for a key that this token wrapped");
        return 1;
    }
    ck_rv_t rv = module->C_OpenSession(token->slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
    if (rv == CKR_OK) {
        rv = find_key(token, session, &key);
        if (rv == CKR_OK && wraps) rv = module->C_GenerateRandom(session, nonce, NONCE);
        unsigned char *associated = (unsigned char *)call->associated;
        struct ck_gcm_params gcm = {nonce, NONCE, 8 * NONCE, associated, call->associated_len, 8 * TAG};
        struct ck_mechanism mechanism = {CKM_AES_GCM, &gcm, sizeof gcm};
        if (rv == CKR_OK && wraps) {
            written -= NONCE;
            rv = module->C_EncryptInit(session, &mechanism, key);
            if (rv == CKR_OK) rv = module->C_Encrypt(session, in, call->data_len, out + NONCE, &written);
            written += NONCE;
        } else if (rv == CKR_OK) {
            rv = module->C_DecryptInit(session, &mechanism, key);
            if (rv == CKR_OK) rv = module->C_Decrypt(session, in + NONCE, call->data_len - NONCE, out, &written);
        }
        module->C_CloseSession(session);
    }
    if (rv == CKR_OK) {
        call->out_len = written;
        return 0;
    }
    if (rv == CKR_KEY_HANDLE_INVALID) {
        snprintf(call->message, call->message_capacity, "the token has no key '%s'", token->label);
    } else {
        snprintf(call->message, call->message_capacity, "the token answered 0x%lx", rv);
    }
    return 1;
}

static int32_t wrap(void *ctx, s3v_key_call *call) { return transform(ctx, call, 1); }
static int32_t unwrap(void *ctx, s3v_key_call *call) { return transform(ctx, call, 0); }

static int report(s3v_error *err) {
    const char *hint = s3v_error_get(err, S3V_FIELD_HINT);
    fprintf(stderr, "hsm: %s\n", s3v_error_get(err, S3V_FIELD_MESSAGE));
    if (*hint != '\0') fprintf(stderr, "  hint: %s\n", hint);
    s3v_error_free(err);
    return 1;
}

static int run(struct token *token, char **argv) {
    s3v_error *err = NULL;
    s3v_config *config = s3v_config_new();
    s3v_keyring *signing = NULL, *keyring = NULL;
    s3v_vault *vault = NULL;
    s3v_version *version = NULL;
    char id[17] = "";
    if (!name_key(token, id)) {
        s3v_config_free(config);
        return 1;
    }
    int32_t rc = s3v_config_env(config, &err);
    if (rc == 0) rc = s3v_keyring_open(variable("S3VAULT_KEYRING"), NULL, 0, 0, &signing, &err);
    /* The token outlives the library's use of it, so nothing is to be freed. */
    if (rc == 0) rc = s3v_keyring_custom(signing, id, wrap, unwrap, token, NULL, &keyring, &err);
    if (rc == 0) rc = s3v_vault_open(config, keyring, NULL, &vault, &err);
    if (rc == 0 && strcmp(argv[1], "put") == 0) {
        rc = s3v_put_file(vault, argv[2], argv[3], argv[4], NULL, NULL, &version, &err);
        if (rc == 0) printf("vid=%s kek=%s\n", s3v_version_info(version)->vid, id);
    } else if (rc == 0) {
        rc = s3v_version_find(vault, argv[2], argv[3], NULL, NULL, &version, &err);
        if (rc == 0) rc = s3v_get_file(version, argv[4], NULL, NULL, &err);
    }
    int result = rc < 0 ? report(err) : 0;
    s3v_version_free(version);
    s3v_vault_free(vault);
    s3v_keyring_free(keyring);
    s3v_keyring_free(signing);
    s3v_config_free(config);
    if (s3v_shutdown(10000, &err) < 0) report(err);
    return result;
}

int main(int argc, char **argv) {
    int is_init = argc == 2 && strcmp(argv[1], "init") == 0;
    int is_transfer = argc == 5 && (strcmp(argv[1], "put") == 0 || strcmp(argv[1], "get") == 0);
    if (!is_init && !is_transfer) {
        fprintf(stderr, "usage: hsm init\n       hsm put|get CONTAINER PATH FILE\n");
        return 2;
    }
    struct token token;
    memset(&token, 0, sizeof token);
    token.label = variable("HSM_KEY");
    if (!open_token(&token)) return 1;
    int result = is_init ? !make_key(&token) : run(&token, argv);
    token.module->C_Finalize(NULL);
    return result;
}
