/* Structs to JSON and back by tables of fields, so that writing and reading cannot drift apart. */
#include "agent/oracle/codec.h"

#include "agent/base/str.h"
#include "agent/oracle/scn.h"
#include <ctype.h>
#include <limits.h>
#include <string.h>

enum { KEY_MAX = 64 };

static bool has_control_sign(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

bool codec_write_bytes(json_t *object, const char *key, const char *text, struct err *err)
{
    size_t len = strlen(text);
    if (str_is_utf8(text, len))
        return json_put_text(object, key, text, err);
    char hex_key[KEY_MAX];
    str_format(hex_key, sizeof hex_key, "%s_hex", key);
    AUTO(mem) char *hex = own_alloc(2 * len + 1, err);
    if (!hex)
        return false;
    str_hex(text, len, hex);
    return json_put_text(object, hex_key, hex, err);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *from_hex(const char *hex, const char *key, size_t max, struct err *err)
{
    size_t len = strlen(hex);
    if (len / 2 > max) {
        err_set(err, ERR_LIMIT, "'%s' is longer than %zu bytes", key, max);
        return NULL;
    }
    AUTO(mem) char *text = own_alloc(len / 2 + 1, err);
    if (!text)
        return NULL;
    for (size_t i = 0; i < len / 2; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0 || (high | low) == 0) {
            err_set(err, ERR_INVALID, "'%s_hex' is not made of hex bytes", key);
            return NULL;
        }
        text[i] = (char)(high << 4 | low);
    }
    if (len % 2) {
        err_set(err, ERR_INVALID, "'%s_hex' has an odd length", key);
        return NULL;
    }
    return TAKE(text);
}

char *codec_read_bytes(const json_t *object, const char *key, size_t max, struct err *err)
{
    char hex_key[KEY_MAX];
    str_format(hex_key, sizeof hex_key, "%s_hex", key);
    json_t *plain = json_object_get(object, key);
    json_t *hex = json_object_get(object, hex_key);
    if ((plain && hex) || (plain && !json_is_string(plain)) || (hex && !json_is_string(hex))) {
        err_set(err, ERR_INVALID, "'%s' is not a text", key);
        return NULL;
    }
    if (hex)
        return from_hex(json_string_value(hex), key, max, err);
    const char *text = plain ? json_string_value(plain) : "";
    if (strlen(text) > max) {
        err_set(err, ERR_LIMIT, "'%s' is longer than %zu bytes", key, max);
        return NULL;
    }
    return own_strdup(text, err);
}

static bool write_text(json_t *object, const char *key, const char *text, struct err *err)
{
    if (has_control_sign(text))
        return err_set(err, ERR_INVALID, "'%s' holds control signs", key);
    return codec_write_bytes(object, key, text, err);
}

static json_t *scn_to_json(struct scn scn)
{
    return scn_is_none(scn) ? json_null() : json_integer((json_int_t)scn.n);
}

static bool write_field(json_t *object, const void *at, const struct codec_field *f,
                        struct err *err)
{
    char sign[2] = {0};
    uint64_t wide;
    switch (f->kind) {
    case CODEC_U16:
        return json_put_u64(object, f->key, *(const uint16_t *)at, err);
    case CODEC_U32:
        return json_put_u64(object, f->key, *(const uint32_t *)at, err);
    case CODEC_INT:
        return json_put(object, f->key, json_integer(*(const int *)at), err);
    case CODEC_BOOL:
        return json_put_flag(object, f->key, *(const bool *)at, err);
    case CODEC_CHAR:
        sign[0] = *(const char *)at;
        return write_text(object, f->key, sign, err);
    case CODEC_TEXT:
        return write_text(object, f->key, at, err);
    case CODEC_SCN:
        return json_put(object, f->key, scn_to_json(*(const struct scn *)at), err);
    case CODEC_U64:
        memcpy(&wide, at, sizeof wide);
        return json_put_u64(object, f->key, wide > INT64_MAX ? INT64_MAX : wide, err);
    }
    return err_set(err, ERR_INTERNAL, "field '%s' has no kind", f->key);
}

bool codec_write(json_t *object, const void *item, struct codec_table table, struct err *err)
{
    for (size_t i = 0; i < table.count; i++)
        if (!write_field(object, (const char *)item + table.fields[i].offset, &table.fields[i],
                         err))
            return false;
    return true;
}

static bool read_whole(const json_t *value, const char *key, json_int_t low, json_int_t high,
                       json_int_t *ret_number, struct err *err)
{
    if (!json_is_integer(value))
        return err_set(err, ERR_INVALID, "'%s' is not a whole number", key);
    json_int_t number = json_integer_value(value);
    if (number < low || number > high)
        return err_set(err, ERR_INVALID, "'%s' is out of range", key);
    *ret_number = number;
    return true;
}

static bool read_number(const json_t *value, void *at, const struct codec_field *f, struct err *err)
{
    static const struct {
        json_int_t low, high;
    } ranges[] = {
        [CODEC_U16] = {0, UINT16_MAX}, [CODEC_U32] = {0, UINT32_MAX},
        [CODEC_U64] = {0, INT64_MAX},  [CODEC_INT] = {INT_MIN, INT_MAX},
        [CODEC_SCN] = {0, INT64_MAX},
    };
    json_int_t number = 0;
    if (!read_whole(value, f->key, ranges[f->kind].low, ranges[f->kind].high, &number, err))
        return false;
    if (f->kind == CODEC_U16)
        *(uint16_t *)at = (uint16_t)number;
    else if (f->kind == CODEC_U32)
        *(uint32_t *)at = (uint32_t)number;
    else if (f->kind == CODEC_INT)
        *(int *)at = (int)number;
    else
        *(uint64_t *)at = (uint64_t)number;
    return true;
}

static bool read_text(const json_t *object, char *at, const struct codec_field *f, struct err *err)
{
    size_t max = f->kind == CODEC_CHAR ? 1 : f->size - 1;
    AUTO(mem) char *text = codec_read_bytes(object, f->key, max, err);
    if (!text)
        return false;
    if (has_control_sign(text))
        return err_set(err, ERR_INVALID, "'%s' holds control signs", f->key);
    if (f->kind == CODEC_CHAR)
        *at = text[0];
    else
        memcpy(at, text, strlen(text) + 1);
    return true;
}

bool codec_read(const json_t *object, void *item, struct codec_table table, struct err *err)
{
    for (size_t i = 0; i < table.count; i++) {
        const struct codec_field *f = &table.fields[i];
        void *at = (char *)item + f->offset;
        const json_t *value = json_object_get(object, f->key);
        if (f->kind == CODEC_TEXT || f->kind == CODEC_CHAR) {
            if (!read_text(object, at, f, err))
                return false;
        } else if (!value) {
            continue;
        } else if (f->kind == CODEC_BOOL) {
            if (!json_is_boolean(value))
                return err_set(err, ERR_INVALID, "'%s' is neither true nor false", f->key);
            *(bool *)at = json_is_true(value);
        } else if (f->kind == CODEC_SCN && json_is_null(value)) {
            *(struct scn *)at = SCN_NONE;
        } else if (!read_number(value, at, f, err)) {
            return false;
        }
    }
    return true;
}

static json_t *item_to_json(const void *item, const struct codec_list *list, struct err *err)
{
    if (!list->table.count) {
        AUTO(json) json_t *text = json_object();
        if (!text || !write_text(text, "text", *(char *const *)item, err))
            return NULL;
        json_t *plain = json_object_get(text, "text");
        return plain ? json_incref(plain) : TAKE(text);
    }
    AUTO(json) json_t *object = json_object();
    if (!object || !codec_write(object, item, list->table, err))
        return NULL;
    return TAKE(object);
}

bool codec_write_list(json_t *object, const void *owner, const struct codec_list *list,
                      struct err *err)
{
    const char *items = *(char *const *)((const char *)owner + list->items_offset);
    size_t count = *(const size_t *)((const char *)owner + list->count_offset);
    AUTO(json) json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *item = item_to_json(items + i * list->item_size, list, err);
        if (!item || !json_add(array, item, err))
            return err_wrap(err, "write '%s' %zu", list->key, i);
    }
    return json_put(object, list->key, TAKE(array), err);
}

static bool item_from_json(const json_t *value, void *item, const struct codec_list *list,
                           struct err *err)
{
    if (list->table.count && !json_is_object(value))
        return err_set(err, ERR_INVALID, "not an object");
    if (list->table.count)
        return codec_read(value, item, list->table, err);
    AUTO(json) json_t *box = NULL;
    if (json_is_string(value)) { /* boxed, so that plain and hex texts are read by one function */
        box = json_pack("{s:O}", "text", value);
        value = box;
    }
    if (!json_is_object(value))
        return err_set(err, ERR_INVALID, "not a text");
    char *text = codec_read_bytes(value, "text", list->text_max, err);
    *(char **)item = text;
    if (!text)
        return false;
    return !has_control_sign(text) || err_set(err, ERR_INVALID, "holds control signs");
}

bool codec_read_list(const json_t *object, void *owner, const struct codec_list *list,
                     struct err *err)
{
    void **items = (void **)((char *)owner + list->items_offset);
    size_t *count = (size_t *)((char *)owner + list->count_offset);
    size_t *capacity = (size_t *)((char *)owner + list->capacity_offset);
    const json_t *array = json_object_get(object, list->key);
    if (!array)
        return true;
    if (!json_is_array(array))
        return err_set(err, ERR_INVALID, "'%s' is not a list", list->key);
    if (json_array_size(array) > list->max)
        return err_set(err, ERR_LIMIT, "'%s' has more than %zu rows", list->key, list->max);
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (!own_grow(items, capacity, *count, list->item_size, err))
            return false;
        char *item = (char *)*items + *count * list->item_size;
        memset(item, 0, list->item_size);
        ++*count;
        if (!item_from_json(json_array_get(array, i), item, list, err))
            return err_wrap(err, "'%s' row %zu", list->key, i);
    }
    return true;
}
