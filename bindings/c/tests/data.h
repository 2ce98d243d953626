/* What the tests store and compare: the JSON of cases, files, and the data that a case describes. */
#ifndef DATA_H
#define DATA_H

#include <stddef.h>

#include <cjson/cJSON.h>

struct bytes {
    unsigned char *data; /* for free() */
    size_t size;
};

/* What a key holds, or NULL; `text` gives NULL for all but a text. */
const cJSON *field(const cJSON *object, const char *key);
const char *text(const cJSON *object, const char *key);

/* {"text": "..."} is its UTF-8 bytes; {"size": N, "seed": S} is N bytes of an xorshift64* stream. */
int is_data(const cJSON *data);
/* The bytes; none where there is no data. */
struct bytes make_data(const cJSON *data);

/* The first offset at which they differ; the length of the shorter one where they do not. */
size_t first_difference(struct bytes a, struct bytes b);

/* Memory, or the end of the program. */
void *allocate(size_t size);

/* The whole of a file. 0, or -1 after a message. */
int read_file(const char *path, struct bytes *out);
/* Ends the program where it cannot be written. */
void write_file(const char *path, struct bytes content);

#endif
