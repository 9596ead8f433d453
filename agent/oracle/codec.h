/* Structs to JSON and back by tables of fields, so that writing and reading cannot drift apart. */
#pragma once
#include "agent/base/json.h"
#include <stdbool.h>
#include <stddef.h>

enum codec_kind {
    CODEC_U16,
    CODEC_U32,
    CODEC_U64, /* up to INT64_MAX */
    CODEC_INT,
    CODEC_BOOL,
    CODEC_CHAR, /* one printable sign, or '\0' as "" */
    CODEC_SCN,  /* SCN_NONE is null */
    CODEC_TEXT, /* char array in place; as "<key>_hex" when its bytes are not UTF-8 */
};

struct codec_field {
    const char *key;
    enum codec_kind kind;
    size_t offset, size;
};
#define CODEC_FIELD(kind, type, member) CODEC_FIELD_AS(kind, type, member, #member)
#define CODEC_FIELD_AS(kind, type, member, key)                                                    \
    {                                                                                              \
        key, CODEC_##kind, offsetof(type, member), sizeof(((type *)0)->member)                     \
    }

struct codec_table {
    const struct codec_field *fields;
    size_t count;
};
#define CODEC_TABLE(array) ((struct codec_table){array, sizeof(array) / sizeof *(array)})

/* Texts with control signs are refused both ways: these names end up in scripts. */
bool codec_write(json_t *object, const void *item, struct codec_table table, struct err *err) MUST;
/* Absent members stay as they are; a wrong type, range or length is INVALID or LIMIT. */
bool codec_read(const json_t *object, void *item, struct codec_table table, struct err *err) MUST;

/* An owned list in a struct: pointer, count and capacity side by side. */
struct codec_list {
    const char *key;
    size_t items_offset, count_offset, capacity_offset, item_size, max;
    struct codec_table table; /* empty: a list of texts (char *) of at most text_max bytes */
    size_t text_max;
};
bool codec_write_list(json_t *object, const void *owner, const struct codec_list *list,
                      struct err *err) MUST;
/* On failure the owner holds what was read so far and releases it as usual. */
bool codec_read_list(const json_t *object, void *owner, const struct codec_list *list,
                     struct err *err) MUST;

/* Bytes that may be no text: member "key", or "key_hex". Reading gives an owned string, NULL with
 * INVALID or LIMIT; absent is an empty one. */
bool codec_write_bytes(json_t *object, const char *key, const char *text, struct err *err) MUST;
char *codec_read_bytes(const json_t *object, const char *key, size_t max, struct err *err) MUST;
