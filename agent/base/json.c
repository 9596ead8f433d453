/* JSON through jansson, with errors and cleanup of the house. */
#include "agent/base/json.h"

#include <inttypes.h>

enum { JSON_MAX = 64 << 20 };

json_t *json_parse(const char *text, size_t len, struct err *err)
{
    if (len > JSON_MAX) {
        err_set(err, ERR_LIMIT, "JSON document of %zu bytes is too long", len);
        return NULL;
    }
    json_error_t why;
    json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!doc)
        err_set(err, ERR_INVALID, "bad JSON at line %d: %s", why.line, why.text);
    return doc;
}

static char *dump(const json_t *doc, size_t flags, struct err *err)
{
    char *text = json_dumps(doc, flags);
    if (!text)
        err_set(err, ERR_NO_MEMORY, "cannot write JSON");
    return text;
}

char *json_format(const json_t *doc, struct err *err) { return dump(doc, JSON_COMPACT, err); }

char *json_format_pretty(const json_t *doc, struct err *err)
{
    AUTO(mem) char *text = dump(doc, JSON_INDENT(2), err);
    return text ? own_printf(err, "%s\n", text) : NULL;
}

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

uint64_t json_u64(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value < 0 ? 0 : (uint64_t)value;
}

bool json_flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

bool json_put(json_t *object, const char *key, json_t *value, struct err *err)
{
    if (!value || json_object_set_new(object, key, value) != 0)
        return err_set(err, ERR_NO_MEMORY, "cannot write JSON member '%s'", key);
    return true;
}

bool json_add(json_t *array, json_t *value, struct err *err)
{
    if (!value || json_array_append_new(array, value) != 0)
        return err_set(err, ERR_NO_MEMORY, "cannot write JSON element");
    return true;
}

bool json_put_text(json_t *object, const char *key, const char *text, struct err *err)
{
    json_t *value = json_string(text);
    if (!value)
        return err_set(err, ERR_INVALID, "JSON member '%s' is not UTF-8", key);
    return json_put(object, key, value, err);
}

bool json_put_u64(json_t *object, const char *key, uint64_t value, struct err *err)
{
    if (value > INT64_MAX)
        return err_set(err, ERR_INVALID, "JSON member '%s' cannot hold %" PRIu64, key, value);
    return json_put(object, key, json_integer((json_int_t)value), err);
}

bool json_put_flag(json_t *object, const char *key, bool value, struct err *err)
{
    return json_put(object, key, json_boolean(value), err);
}
