/* Data that the tests store and compare: the JSON of cases, files, and the data that a case describes. */
#ifndef DATA_H
#define DATA_H

#include <stddef.h>

#include <cjson/cJSON.h>

struct bytes {
    unsigned char *data; /* the caller frees it */
    size_t size;
};

/* The value of a key, or NULL; `text` returns NULL for a value that is not a text. */
const cJSON *field(const cJSON *object, const char *key);
const char *text(const cJSON *object, const char *key);

/* {"text": "..."} is its UTF-8 bytes; {"size": N, "seed": S} is N bytes of an xorshift64* stream. */
int is_data(const cJSON *data);
/* The bytes; empty if `data` is not valid. */
struct bytes make_data(const cJSON *data);

/* The first offset at which they differ, or the length of the shorter one. */
size_t first_difference(struct bytes a, struct bytes b);

/* Allocates memory. Ends the program if there is none. */
void *allocate(size_t size);

/* Reads a whole file. Returns 0, or -1 after a message. */
int read_file(const char *path, struct bytes *out);
/* Ends the program if the file cannot be written. */
void write_file(const char *path, struct bytes content);

#endif
