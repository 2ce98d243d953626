#include "data.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *text(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

const cJSON *field(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static void out_of_memory(void) {
    fprintf(stderr, "out of memory\n");
    exit(2);
}

void *allocate(size_t size) {
    void *memory = malloc(size == 0 ? 1 : size);
    if (memory == NULL) out_of_memory();
    return memory;
}

int read_file(const char *path, struct bytes *out) {
    size_t room = 64 * 1024, got;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return -1;
    }
    out->data = allocate(room);
    out->size = 0;
    while ((got = fread(out->data + out->size, 1, room - out->size, file)) > 0) {
        out->size += got;
        if (out->size == room) {
            room *= 2;
            out->data = realloc(out->data, room);
            if (out->data == NULL) out_of_memory();
        }
    }
    fclose(file);
    return 0;
}

void write_file(const char *path, struct bytes content) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(content.data, 1, content.size, file) != content.size || fclose(file) != 0) {
        perror(path);
        exit(2);
    }
}

int is_data(const cJSON *data) {
    return text(data, "text") != NULL || (cJSON_IsNumber(field(data, "size")) && cJSON_IsNumber(field(data, "seed")));
}

struct bytes make_data(const cJSON *data) {
    const char *literal = text(data, "text");
    struct bytes out = {NULL, 0};
    if (!is_data(data)) return out;
    out.size = literal != NULL ? strlen(literal) : (size_t)field(data, "size")->valuedouble;
    out.data = allocate(out.size);
    if (literal != NULL) {
        memcpy(out.data, literal, out.size);
        return out;
    }
    uint64_t state = (uint64_t)field(data, "seed")->valuedouble * UINT64_C(0x9E3779B97F4A7C15) + 1;
    if (state == 0) state = 1;
    for (size_t at = 0; at < out.size; at += 8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        uint64_t word = state * UINT64_C(0x2545F4914F6CDD1D);
        for (size_t i = 0; i < 8 && at + i < out.size; i++) out.data[at + i] = (unsigned char)(word >> (8 * i));
    }
    return out;
}

size_t first_difference(struct bytes a, struct bytes b) {
    size_t at = 0;
    while (at < a.size && at < b.size && a.data[at] == b.data[at]) at++;
    return at;
}
